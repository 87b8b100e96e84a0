//! Leader election: of several controllers, the one that holds the Lease reconciles.

use std::time::{Duration, Instant};

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// The name of the Lease, in the system namespace.
const NAME: &str = "webshell-controller";

/// How long a Lease holds without being renewed, and how long before its end it is renewed, in seconds.
const SECONDS: u64 = 15;
const GRACE_SECONDS: u64 = 5;

/// How long a call to renew it may take to connect, and again to be answered. One that hangs must not hide that the Lease ran
/// out.
pub const CALL_LIMIT: Duration = Duration::from_secs(3);

/// An attempt that took longer than two hanging calls has renewed the Lease in between.
const RENEWED: Duration = Duration::from_secs(8);

/// How often one that waits looks whether the Lease was given back; longer than a call may take.
const LOOK: Duration = Duration::from_secs(5);

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The Lease, held.
#[derive(Debug)]
pub struct Leadership(LeaseManager);

impl Leadership {
    /// Waits until the Lease is free and takes it, in the name of `pod`. The client's calls must end within [`CALL_LIMIT`].
    ///
    /// # Errors
    /// When there can be no such Lease.
    pub async fn acquire(client: Client, namespace: &str, pod: &str) -> Result<Self, LeaseManagerError> {
        let look = || {
            LeaseManagerBuilder::new(client.clone(), NAME)
                .with_namespace(namespace)
                .with_identity(pod)
                .with_field_manager(format!("webshell-controller/{pod}"))
                .with_duration(SECONDS)
                .with_grace(GRACE_SECONDS)
                .build()
        };
        let mut manager = look().await?;
        loop {
            let problem = match timeout(LOOK, manager.changed()).await {
                Ok(Ok(true)) => return Ok(Self(manager)),
                Ok(Ok(false)) => continue,
                Ok(Err(error)) => error,
                // It believes what it saw first until that runs out, also where the Lease was given back since.
                Err(_) => match look().await {
                    Ok(newer) => {
                        manager = newer;
                        continue;
                    }
                    Err(error) => error,
                },
            };
            warn!(error = %problem, "the Lease cannot be taken");
            sleep(PAUSE).await;
        }
    }

    /// Renews the Lease; returns when it is lost, or must be taken for lost because it could not be renewed in time.
    pub async fn lost(&self) {
        let mut failing_since = None;
        loop {
            let began = Instant::now();
            match self.0.changed().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    warn!(%error, "the Lease cannot be renewed");
                    if began.elapsed() > RENEWED {
                        failing_since = None;
                    }
                    let since: &mut Instant = failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= Duration::from_secs(GRACE_SECONDS) {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Gives the Lease to whoever wants it next. Where that fails it runs out by itself.
    pub async fn release(self) {
        if let Err(error) = self.0.release().await {
            warn!(%error, "the Lease could not be released");
        }
    }
}
