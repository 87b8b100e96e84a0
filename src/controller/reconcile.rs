//! Makes one namespace, and the status of its WebShells, what they should be: a thin driver over the steps of its
//! neighbours.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::{api::core::v1, jiff::Timestamp};
use kube::{
    core::{PartialObjectMeta, Selector},
    runtime::controller::Action,
};
use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::{
    api::{CallError, Server},
    apply::{self, Applied},
    backoff,
    cache::Cache,
    metrics::ControllerMetrics,
    observe::{self, FIELD_MANAGER},
    probe::{self, Outcome, Probes, Subject},
    rollout::Rollouts,
    state::{Namespace, Shell, Source},
    status::{Shared, Status},
};
use crate::{api::conditions::CREDENTIALS_RESOLVED, config::Config, events::Events};

/// How many statuses of a namespace are written at once.
const STATUSES_AT_ONCE: usize = 8;

/// How long a gateway's replacement waits before it asks again whether it may begin.
const ROLLOUT_PAUSE: Duration = Duration::from_secs(5);

/// The longest name of a pod whose entry is cleared: with a prefix it is a field manager, which has 128 bytes at most.
const MAX_POD_NAME: usize = 100;

/// What every reconcile works with.
pub struct Context {
    /// The installation's settings.
    pub config: Config,
    /// Which namespaces are served.
    pub selector: Selector,
    /// The namespace of controller and portal.
    pub system_namespace: String,
    /// What watches have told.
    pub cache: Arc<Cache>,
    /// Where to write.
    pub server: Server,
    /// Where to tell people.
    pub events: Events,
    /// Where to count.
    pub metrics: ControllerMetrics,
    /// Which gateways are being replaced.
    pub rollouts: Rollouts,
    /// Failures in a row, by namespace.
    pub failures: Failures,
    /// Whether gateways answer at their public URLs.
    pub probes: Probes,
    /// How many WebShells have which condition, by namespace, as far as they are counted in the metrics.
    pub counted: Mutex<HashMap<Box<str>, Counts>>,
}

/// How many WebShells have a condition in a status.
type Counts = BTreeMap<(&'static str, &'static str), i64>;

/// Failures in a row, by namespace.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<Box<str>, u32>>);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What watches have told is not what there is.
    #[error("the namespace is in use, which no watch has told yet; what is needed is not removed")]
    Stale,
    /// The gateway's settings cannot be written.
    #[error("the gateway's settings: {0}")]
    Settings(#[from] serde_saphyr::ser::Error),
}

// === impl Context ===

impl Context {
    /// Forgets a namespace that is gone.
    pub fn forget(&self, namespace: &str) {
        self.cache.begin(namespace);
        self.failures.forget(namespace);
        self.rollouts.end(namespace);
        self.probes.forget(namespace);
        count(self, namespace, Counts::new());
    }
}

// === impl Error ===

impl Error {
    /// Which kind of error it is, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind(),
            Self::Stale => "stale",
            Self::Settings(_) => "settings",
        }
    }
}

// === impl Failures ===

impl Failures {
    /// How long to wait after one more failure.
    fn pause(&self, namespace: &str, random: u32) -> Duration {
        let mut failures = self.0.lock();
        let count = failures.entry(namespace.into()).or_default();
        let pause = backoff::pause(*count, random);
        *count = count.saturating_add(1);
        pause
    }

    fn forget(&self, namespace: &str) {
        self.0.lock().remove(namespace);
    }
}

/// Reconciles a namespace.
///
/// # Errors
/// When something could not be done; what could be is done.
pub async fn reconcile(object: Arc<PartialObjectMeta<v1::Namespace>>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = object.metadata.name.as_deref().unwrap_or_default();
    // An empty cache would read as "no WebShell left".
    if context.cache.synced().wait_for(|synced| *synced).await.is_err() {
        return Ok(Action::await_change());
    }
    let began = Instant::now();
    let result = run(namespace, &context).await;
    context.metrics.reconciled(began.elapsed(), result.as_ref().err().map(Error::kind));
    if result.is_ok() {
        context.failures.forget(namespace);
    }
    result
}

/// What comes after a failure.
pub fn after_error(object: Arc<PartialObjectMeta<v1::Namespace>>, error: &Error, context: Arc<Context>) -> Action {
    let namespace = object.metadata.name.as_deref().unwrap_or_default();
    let pause = context.failures.pause(namespace, getrandom::u32().unwrap_or_default());
    warn!(namespace, %error, pause = pause.as_secs_f32(), "a reconcile failed");
    Action::requeue(pause)
}

async fn run(namespace: &str, context: &Context) -> Result<Action, Error> {
    let state = context.cache.begin(namespace);
    let Some(itself) = state.itself.filter(|itself| !itself.terminating) else {
        // Whatever is in it goes with it.
        context.probes.forget(namespace);
        count(context, namespace, Counts::new());
        return Ok(Action::await_change());
    };
    let wanted = itself.selected && !state.shells.is_empty();
    let (applied, removed) = if wanted {
        match apply::apply(context, namespace, &state).await {
            Err(Error::Call(error)) if error.is_terminating() || error.is_gone() => return Ok(Action::await_change()),
            applied => (applied?, Ok(())),
        }
    } else {
        context.probes.forget(namespace);
        (Applied::default(), apply::remove(context, namespace, &state).await)
    };
    let state = context.cache.get(namespace);
    let route = &context.config.route;
    let way = if wanted && route.probe {
        context.probes.look(namespace, Subject::of(route.kind, &state))
    } else {
        Outcome::Off
    };
    let statuses = write_statuses(context, namespace, &state, &applied, &way).await;
    removed?;
    statuses?;
    match applied.error {
        Some(error) => Err(error.into()),
        None if applied.waits => Ok(Action::requeue(ROLLOUT_PAUSE)),
        // A ping that comes to nothing must not hold statuses up.
        None if way == Outcome::Pending => Ok(Action::requeue(probe::GRACE)),
        None => Ok(Action::await_change()),
    }
}

/// Writes each status that is not as it should be.
async fn write_statuses(
    context: &Context,
    namespace: &str,
    state: &Namespace,
    applied: &Applied,
    way: &Outcome,
) -> Result<(), Error> {
    let shared = Shared::new(&context.config, namespace, state, &context.cache.owners(), &applied.refused, way);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut counts = Counts::new();
    let mut changed = Vec::new();
    for (name, shell) in &state.shells {
        let status = Status::new(&shared, name, shell, state, &now);
        let credentials = shell.seen(CREDENTIALS_RESOLVED).map(|seen| (CREDENTIALS_RESOLVED, known(&seen.status)));
        for key in status.conditions.iter().map(|said| (said.type_, said.status)).chain(credentials) {
            *counts.entry(key).or_default() += 1;
        }
        if status.digest() != shell.ours {
            changed.push((name, shell, status));
        }
    }
    count(context, namespace, counts);
    let writes = changed.into_iter().map(|(name, shell, status)| write(context, namespace, name, shell, status));
    let written: Vec<_> = stream::iter(writes).buffer_unordered(STATUSES_AT_ONCE).collect().await;
    clear_gone_pods(context, namespace, state).await?;
    written.into_iter().collect()
}

async fn write(context: &Context, namespace: &str, name: &str, shell: &Shell, status: Status) -> Result<(), Error> {
    debug!(namespace, name, "writing the status");
    match context.server.apply_status(namespace, name, FIELD_MANAGER, &status.content).await {
        Ok(stored) => {
            if let Some(observed) = observe::shell(&stored, &context.config) {
                context.cache.note(Source::Shells, observed);
            }
        }
        Err(error) if error.is_gone() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    context.events.publish(namespace, name, &shell.uid, status.notices(shell)).await;
    Ok(())
}

/// Removes what pods that are gone had to tell. Each entry is its pod's own, and so it is applied away in its name.
async fn clear_gone_pods(context: &Context, namespace: &str, state: &Namespace) -> Result<(), Error> {
    let mut gone: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, shell) in &state.shells {
        for (pod, _) in &shell.gateways {
            if state.pods.contains_key(pod) || pod.len() > MAX_POD_NAME {
                continue;
            }
            let is_gone = match gone.get(&**pod) {
                Some(is_gone) => *is_gone,
                // A watch may be behind.
                None => !context.server.has_pod(namespace, pod).await?,
            };
            gone.insert(pod, is_gone);
            if !is_gone {
                continue;
            }
            info!(namespace, name = &**name, pod = &**pod, "a pod that is gone is taken out of the status");
            let manager = format!("webshell-gateway/{pod}");
            match context.server.apply_status(namespace, name, &manager, &serde_json::json!({})).await {
                Ok(stored) => {
                    if let Some(observed) = observe::shell(&stored, &context.config) {
                        context.cache.note(Source::Shells, observed);
                    }
                }
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Brings the metrics from what was counted of the namespace last to what there is now.
fn count(context: &Context, namespace: &str, counts: Counts) {
    let mut counted = context.counted.lock();
    let before = counted.remove(namespace).unwrap_or_default();
    for ((condition, status), number) in before {
        context.metrics.count(condition, status, -number);
    }
    for ((condition, status), number) in &counts {
        context.metrics.count(condition, status, *number);
    }
    if !counts.is_empty() {
        counted.insert(namespace.into(), counts);
    }
}

fn known(status: &str) -> &'static str {
    ["True", "False"].into_iter().find(|known| *known == status).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_waits_longer_until_it_succeeds() {
        let failures = Failures::default();
        let pauses = [(); 3].map(|()| failures.pause("team-a", 0));
        assert_eq!(pauses, [1, 2, 4].map(Duration::from_secs));
        assert_eq!(failures.pause("team-b", 0), pauses[0], "each namespace has its own");
        failures.forget("team-a");
        assert_eq!(failures.pause("team-a", 0), pauses[0]);
    }
}
