//! What people must know of sessions that they don't have themselves, told by Events: a host key was learned or refused,
//! credentials were refused.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kube::{Api, ResourceExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    api::{WebShell, conditions::reasons},
    calls::{Calls, Purpose},
    events::{Events, Notice},
    protocol::{Reason, v1::Ended},
    ssh::PresentedKey,
};

/// A WebShell has no second event of a reason within this: whoever reads them wants to know that it happens, and users who
/// try again, or a machine that is in the way, must not fill the cluster with them.
const PERIOD: Duration = Duration::from_secs(5 * 60);

/// How many wait while the API server is slow; what is beyond is not told.
const WAITING: usize = 64;

/// Takes notices. It never waits.
#[derive(Clone, Debug)]
pub struct Notices(mpsc::Sender<(String, Notice)>);

/// Publishes the notices that it receives.
pub struct Publisher {
    /// The WebShells.
    pub api: Api<WebShell>,
    /// Makes the calls.
    pub calls: Arc<Calls>,
    /// Where they are published.
    pub events: Events,
}

/// Notices that wait to be published.
pub type Waiting = mpsc::Receiver<(String, Notice)>;

// === impl Notices ===

impl Notices {
    /// Takes notices that the receiver has next.
    pub fn new() -> (Self, Waiting) {
        let (sender, waiting) = mpsc::channel(WAITING);
        (Self(sender), waiting)
    }

    /// Tells that a key was learned for the WebShell of this name.
    pub fn learned(&self, name: &str, key: &PresentedKey) {
        let short = match key.short {
            Some(bits) => format!("; an RSA key of only {bits} bits can be forged: give the host an Ed25519 key"),
            None => String::new(),
        };
        let message = format!(
            "the host's key was learned on first use and is trusted from now on (status.hostKey): {}; compare it with the host's \
             own (ssh-keygen -lf){short}",
            key.fingerprint
        );
        self.tell(name, Notice { warning: false, reason: reasons::HOST_KEY_LEARNED, message });
    }

    /// Tells of a session's end, where it is more than its user's concern.
    pub fn ended(&self, name: &str, ended: &Ended) {
        if let Some(reason) = reason(ended.reason) {
            self.tell(name, Notice { warning: true, reason, message: ended.message.clone() });
        }
    }

    fn tell(&self, name: &str, notice: Notice) {
        if self.0.try_send((name.to_owned(), notice)).is_err() {
            debug!(name, "there are too many events");
        }
    }
}

/// The reason of the event for an end.
fn reason(ended: Reason) -> Option<&'static str> {
    match ended {
        Reason::HostKeyUnknown
        | Reason::HostKeyChanged
        | Reason::HostKeyRevoked
        | Reason::HostCertificateInvalid
        | Reason::HostKeyShort => Some(reasons::HOST_KEY_REFUSED),
        Reason::AuthenticationFailed => Some(reasons::CREDENTIALS_REFUSED),
        Reason::HostNotAllowed => Some(reasons::HOST_NOT_ALLOWED),
        _ => None,
    }
}

// === impl Publisher ===

impl Publisher {
    /// Publishes what it receives, until it is stopped.
    pub async fn run(self, mut waiting: Waiting, namespace: String, stop: CancellationToken) {
        let mut told: HashMap<(String, &'static str), Instant> = HashMap::new();
        while let Some(Some((name, notice))) = stop.run_until_cancelled(waiting.recv()).await {
            let now = Instant::now();
            told.retain(|_, then| now - *then < PERIOD);
            let key = (name, notice.reason);
            if told.contains_key(&key) {
                continue;
            }
            let publishing = self.publish(&namespace, &key.0, notice);
            if stop.run_until_cancelled(publishing).await == Some(true) {
                told.insert(key, now);
            }
        }
    }

    /// Publishes an event about a WebShell, if there is one of that name.
    async fn publish(&self, namespace: &str, name: &str, notice: Notice) -> bool {
        let call = async {
            let uid = self.api.get_metadata(name).await?.uid().unwrap_or_default();
            self.events.publish(namespace, name, &uid, vec![notice]).await;
            Ok(())
        };
        let called = self.calls.make(Purpose::Background, call).await;
        called.inspect_err(|error| debug!(namespace, name, %error, "an event could not be published")).is_ok()
    }
}
