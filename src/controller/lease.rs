//! Leader election: of several controllers, the one that holds the Lease reconciles.
//!
//! Time is never compared between machines. Who waits takes the Lease once it has seen no renewal for as long as the Lease lasts;
//! who holds it writes for a shorter time after a renewal was sent ([`Fence`]).

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error as KubeError,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::fence::Fence;

/// The name of the Lease, in the system namespace.
const NAME: &str = "webshell-controller";

/// How long a Lease is left to a holder that does not renew it.
const LASTS: Duration = Duration::from_secs(15);

/// How long after a renewal was sent its holder may write. The rest is for what is on its way by then.
const HOLDS: Duration = Duration::from_secs(10);

/// How often it is renewed: two calls may hang before the holder must stop.
const RENEWED: Duration = Duration::from_secs(3);

/// How often one that waits looks at it.
const LOOK: Duration = Duration::from_secs(2);

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a call about it may take to connect, and again to be answered. One that hangs must leave time for another.
pub const CALL_LIMIT: Duration = Duration::from_secs(3);

/// The version of the Lease that one that waits has seen last, and since when.
#[derive(Debug, Default)]
struct Seen(Option<(String, Duration)>);

/// One that would hold the Lease, in the name of its pod.
#[derive(Debug)]
struct Candidate {
    api: Api<Lease>,
    pod: String,
    fence: Fence,
    seen: Seen,
}

/// The Lease, held.
#[derive(Debug)]
pub struct Leadership {
    candidate: Candidate,
    /// The resource version that it was given last.
    version: String,
}

// === impl Leadership ===

impl Leadership {
    /// Waits until the Lease is free and takes it, in the name of `pod`. While it is held `fence` is open. The client's calls must
    /// end within [`CALL_LIMIT`], and pass no fence.
    pub async fn acquire(client: Client, namespace: &str, pod: &str, fence: Fence) -> Self {
        let api = Api::namespaced(client, namespace);
        let mut candidate = Candidate { api, pod: pod.to_owned(), fence, seen: Seen::default() };
        loop {
            match candidate.attempt().await {
                Ok(Some(version)) => return Self { candidate, version },
                Ok(None) => sleep(LOOK).await,
                Err(error) => {
                    warn!(%error, "the Lease cannot be taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Renews the Lease; returns when it is lost, or could not be renewed in time. The fence is closed then.
    pub async fn lost(&mut self) {
        let fence = self.candidate.fence.clone();
        let mut pause = RENEWED;
        while let Some(left) = fence.left() {
            sleep(pause.min(left)).await;
            // The process may have been stopped.
            let Some(left) = fence.left() else { break };
            match timeout(left, self.renew()).await {
                Ok(Ok(true)) => pause = RENEWED,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => {
                    warn!(%error, "the Lease cannot be renewed");
                    pause = PAUSE;
                }
                Err(_) => warn!("the Lease was not renewed in time"),
            }
        }
        fence.close();
    }

    /// Gives the Lease to whoever wants it next. Where that fails it runs out by itself.
    pub async fn release(self) {
        self.candidate.fence.close();
        let nobody =
            json!({"holderIdentity": null, "acquireTime": null, "renewTime": null, "leaseDurationSeconds": null});
        if let Err(error) = self.candidate.write(&self.version, nobody).await {
            warn!(%error, "the Lease could not be released");
        }
    }

    /// Renews it. Returns whether it is still ours.
    async fn renew(&mut self) -> Result<bool, KubeError> {
        let candidate = &self.candidate;
        let sent = candidate.fence.now();
        let renewed = json!({"renewTime": now(), "leaseDurationSeconds": LASTS.as_secs()});
        match candidate.write(&self.version, renewed).await {
            Ok(lease) => {
                self.version = version(&lease);
                candidate.fence.open(sent + HOLDS);
                Ok(true)
            }
            // Somebody has written to it: another holder, or a person a label.
            Err(KubeError::Api(status)) if status.code == 409 => {
                let lease = candidate.api.get(NAME).await?;
                self.version = version(&lease);
                Ok(holder(&lease) == Some(&*candidate.pod))
            }
            Err(KubeError::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Whether nobody but `pod` holds the Lease, which is as it is at `now`.
    fn is_free(&mut self, lease: &Lease, pod: &str, now: Duration) -> bool {
        // A holder of this name was the pod's last container, which is no more.
        if holder(lease).is_none_or(|holder| holder == pod) {
            return true;
        }
        let version = version(lease);
        let lasts = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let lasts = lasts.and_then(|seconds| seconds.try_into().ok()).map_or(LASTS, Duration::from_secs);
        match &self.0 {
            Some((seen, since)) if *seen == version => now.saturating_sub(*since) >= lasts,
            _ => {
                self.0 = Some((version, now));
                false
            }
        }
    }
}

// === impl Candidate ===

impl Candidate {
    /// Takes the Lease if it is free. Returns the version that it was given then.
    async fn attempt(&mut self) -> Result<Option<String>, KubeError> {
        let sent = self.fence.now();
        let taken = match self.api.get_opt(NAME).await? {
            Some(lease) if self.seen.is_free(&lease, &self.pod, sent) => {
                self.write(&version(&lease), self.taken(&lease)).await
            }
            Some(_) => return Ok(None),
            None => self.create().await,
        };
        match taken {
            Ok(lease) => {
                self.fence.open(sent + HOLDS);
                Ok(Some(version(&lease)))
            }
            // Somebody else was first.
            Err(KubeError::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the spec is to say.
    fn taken(&self, lease: &Lease) -> Value {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        json!({
            "holderIdentity": self.pod,
            "acquireTime": now(),
            "renewTime": now(),
            "leaseDurationSeconds": LASTS.as_secs(),
            "leaseTransitions": transitions.saturating_add(1),
        })
    }

    async fn create(&self) -> Result<Lease, KubeError> {
        let spec = LeaseSpec {
            holder_identity: Some(self.pod.clone()),
            acquire_time: Some(now()),
            renew_time: Some(now()),
            lease_duration_seconds: LASTS.as_secs().try_into().ok(),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
    }

    /// Changes the spec, provided that the Lease still has this version.
    async fn write(&self, version: &str, spec: Value) -> Result<Lease, KubeError> {
        let change = json!({"metadata": {"resourceVersion": version}, "spec": spec});
        self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

fn version(lease: &Lease) -> String {
    lease.metadata.resource_version.clone().unwrap_or_default()
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: Option<&str>) -> Lease {
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2100-01-01T00:00:00.000000Z"});
        serde_json::from_value(json!({"metadata": {"resourceVersion": version}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_lease_is_taken_once_nobody_renews_it_for_as_long_as_it_lasts() {
        let mut seen = Seen::default();
        let mut is_free = |version, holder, now| seen.is_free(&lease(version, holder), "me", now);
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        assert!(is_free("1", None, at(0)));
        assert!(is_free("1", Some(""), at(0)));
        assert!(is_free("1", Some("me"), at(0)), "this pod had it before");
        // Whatever the holder's clock says, and for however long it has not been looked at.
        assert!(!is_free("1", Some("other"), at(100)));
        assert!(!is_free("1", Some("other"), at(114)));
        assert!(is_free("1", Some("other"), at(115)));
        assert!(!is_free("2", Some("other"), at(116)), "it was renewed after all");
        assert!(!is_free("2", Some("other"), at(130)));
        assert!(is_free("2", Some("other"), at(131)));
    }
}
