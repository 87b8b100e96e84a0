//! What a gateway writes into the status of WebShells: the condition `CredentialsResolved`, learned host keys, and how many
//! sessions its pod has.
//!
//! Condition and host keys have one field manager, so each write of one must repeat the other: it is made from the object
//! just read, and only if nobody has changed that meanwhile.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shells::Shells;
use crate::{
    api::{WebShell, conditions::CREDENTIALS_RESOLVED},
    calls::{CallError, Calls, Purpose},
    session::Registry,
};

/// Of the condition and of learned host keys.
const MANAGER: &str = "webshell-gateway";

/// How often numbers of sessions are written, at most, and what failed is tried again.
const PERIOD: Duration = Duration::from_secs(10);

/// The most writes under way at once.
const CONCURRENT: usize = 4;

/// How often a write is begun anew because others have changed the object.
const ATTEMPTS: usize = 5;

/// How long the last writes may take when a gateway stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Whether what a WebShell names can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One of `api::conditions::reasons`.
    pub reason: &'static str,
    /// For people; says what to do.
    pub message: String,
}

/// What a gateway has to write into a WebShell's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What was found.
    pub finding: Finding,
    /// The generation of the spec that it is about.
    pub generation: Option<i64>,
}

/// Writes what there is to write.
#[derive(Debug)]
pub struct Writer {
    /// The WebShells.
    pub api: Api<WebShell>,
    /// Makes the calls.
    pub calls: Arc<Calls>,
    /// What is known of them.
    pub shells: Arc<Shells>,
    /// The name of the pod.
    pub pod: String,
}

// === impl Writer ===

impl Writer {
    /// Writes until it is stopped, and then takes this pod's numbers of sessions back.
    pub async fn run(self, registry: Registry, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.shells.changed() => false,
                () = stop.cancelled() => break,
            };
            let work = async {
                self.write_conditions().await;
                if tick {
                    self.write_counts(&registry).await;
                }
            };
            if stop.run_until_cancelled(work).await.is_none() {
                break;
            }
        }
        if timeout(FAREWELL, self.write_counts(&registry)).await.is_err() {
            warn!("numbers of sessions were left behind in status.gateways");
        }
    }

    async fn write_conditions(&self) {
        let wanted = self.shells.unwritten_findings();
        let writes = stream::iter(wanted).map(|(name, wanted)| async move {
            let result = self.write_condition(&name, &wanted).await;
            if result.is_ok() {
                self.shells.wrote_finding(&name, wanted);
            }
            result.map_err(|error| (name, error))
        });
        tell(writes.buffer_unordered(CONCURRENT).filter_map(async |result| result.err()).collect().await);
    }

    async fn write_condition(&self, name: &str, wanted: &Wanted) -> Result<(), CallError> {
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            let object = match self.calls.make(Purpose::Background, self.api.get(name)).await {
                Err(error) if error.is_not_found() => return Ok(()),
                got => got?,
            };
            let before = condition_of(&object);
            // Of an older or a newer spec somebody else will tell.
            if object.metadata.generation != wanted.generation || before.is_some_and(|before| wanted.is_told_by(before))
            {
                return Ok(());
            }
            let condition = Some(wanted.condition(before, SystemTime::now()));
            let host_key = Some(host_key(&object).to_owned()).filter(|text| !text.is_empty());
            result =
                apply_own(&self.api, &self.calls, Purpose::Background, &object, condition, host_key).await.map(drop);
            match &result {
                Err(error) if error.is_conflict() => {}
                _ => break,
            }
        }
        result
    }

    async fn write_counts(&self, registry: &Registry) {
        let counts: BTreeMap<_, _> = registry.counts().into_iter().map(|(key, count)| (key.name, count)).collect();
        let wanted = self.shells.unwritten_counts(&counts);
        let writes = stream::iter(wanted).map(|(name, count)| async move {
            let params = PatchParams::apply(&format!("{MANAGER}/{}", self.pod)).force();
            let body = count_body(&name, &self.pod, count);
            let result =
                self.calls.make(Purpose::Background, self.api.patch_status(&name, &params, &Patch::Apply(body))).await;
            match result {
                Err(error) if !error.is_not_found() => Err((name, error)),
                _ => {
                    self.shells.wrote_count(&name, count);
                    Ok(())
                }
            }
        });
        tell(writes.buffer_unordered(CONCURRENT).filter_map(async |result| result.err()).collect().await);
    }
}

/// Logs once for all writes of a round that failed.
fn tell(failed: Vec<(String, CallError)>) {
    if let Some((name, error)) = failed.first() {
        warn!(failed = failed.len(), name, %error, "the status of WebShells cannot be written; it is tried again");
    }
}

// === impl Wanted ===

impl Wanted {
    /// Whether a condition says this already.
    pub fn is_told_by(&self, condition: &Condition) -> bool {
        let Finding { status, reason, message } = &self.finding;
        condition.status == *status
            && condition.reason == *reason
            && condition.message == *message
            && condition.observed_generation == self.generation
    }

    /// The condition that says this, where there was one `before`.
    fn condition(&self, before: Option<&Condition>, now: SystemTime) -> Condition {
        let Finding { status, reason, message } = self.finding.clone();
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
        // Before 1970 or after 9999 no clock is right.
        let now = || Time(Timestamp::try_from(now).unwrap_or_default());
        Condition {
            type_: CREDENTIALS_RESOLVED.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(now),
        }
    }
}

// === objects ===

/// The condition that gateways write, where there is one.
pub fn condition_of(object: &WebShell) -> Option<&Condition> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.type_ == CREDENTIALS_RESOLVED)
}

/// How many sessions a pod is said to have.
pub fn count_of(object: &WebShell, pod: &str) -> Option<i32> {
    let gateways = object.status.iter().flat_map(|status| &status.gateways);
    gateways.into_iter().find(|gateway| gateway.pod == pod).map(|gateway| gateway.active_sessions)
}

/// The keys that were learned, as known_hosts text.
pub fn host_key(object: &WebShell) -> &str {
    object.status.as_ref().and_then(|status| status.host_key.as_deref()).unwrap_or_default()
}

/// Writes condition and host keys, if `object` is still the newest.
///
/// # Errors
/// Also where it isn't, which [`CallError::is_conflict`] tells.
pub async fn apply_own(
    api: &Api<WebShell>,
    calls: &Calls,
    purpose: Purpose,
    object: &WebShell,
    condition: Option<Condition>,
    host_key: Option<String>,
) -> Result<WebShell, CallError> {
    let name = object.name_any();
    let body = own_body(&name, object.resource_version(), condition, host_key);
    calls.make(purpose, api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body))).await
}

fn own_body(
    name: &str,
    resource_version: Option<String>,
    condition: Option<Condition>,
    host_key: Option<String>,
) -> Value {
    let conditions = condition.map(|condition| ("conditions".to_owned(), json!([condition])));
    let host_key = host_key.map(|host_key| ("hostKey".to_owned(), host_key.into()));
    let status = conditions.into_iter().chain(host_key).collect::<Map<_, _>>();
    body(json!({"name": name, "resourceVersion": resource_version}), status.into())
}

fn count_body(name: &str, pod: &str, count: Option<i32>) -> Value {
    let gateways: Vec<_> = count.iter().map(|count| json!({"pod": pod, "activeSessions": count})).collect();
    // Without an entry the one that was applied before is removed, and others stay.
    let status = if gateways.is_empty() { json!({}) } else { json!({"gateways": gateways}) };
    body(json!({"name": name}), status)
}

fn body(metadata: Value, status: Value) -> Value {
    json!({"apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell", "metadata": metadata, "status": status})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::reasons;

    fn wanted(status: &'static str, message: &str) -> Wanted {
        let finding = Finding { status, reason: reasons::RESOLVED, message: message.to_owned() };
        Wanted { finding, generation: Some(3) }
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let early = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let first = wanted("True", "one").condition(None, early);
        assert!(wanted("True", "one").is_told_by(&first) && !wanted("True", "two").is_told_by(&first));
        let second = wanted("True", "two").condition(Some(&first), SystemTime::now());
        assert_eq!((&second.last_transition_time, second.message.as_str()), (&first.last_transition_time, "two"));
        let third = wanted("False", "two").condition(Some(&second), SystemTime::now());
        assert_ne!(third.last_transition_time, first.last_transition_time);
        assert!(!wanted("True", "two").is_told_by(&third));
    }

    #[test]
    fn bodies_hold_what_their_manager_owns_and_nothing_else() {
        let condition = wanted("True", "one").condition(None, SystemTime::UNIX_EPOCH);
        let own = own_body("db-1", Some("7".into()), Some(condition), Some("db-1 ssh-ed25519 AAAA\n".into()));
        assert_eq!(own["metadata"], json!({"name": "db-1", "resourceVersion": "7"}));
        assert_eq!(own["status"]["hostKey"], "db-1 ssh-ed25519 AAAA\n");
        assert_eq!(own["status"]["conditions"][0]["type"], "CredentialsResolved");
        assert_eq!(own["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(
            count_body("db-1", "pod-1", Some(2))["status"],
            json!({"gateways": [{"pod": "pod-1", "activeSessions": 2}]})
        );
        assert_eq!(count_body("db-1", "pod-1", None)["status"], json!({}));
    }
}
