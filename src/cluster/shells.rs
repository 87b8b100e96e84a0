//! The WebShells of a namespace as a source of shells: watched, with what they name looked at on demand and again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::watcher::{self, Event},
};
use parking_lot::Mutex;
use tokio::{
    sync::{
        Notify,
        watch::{Receiver, Sender},
    },
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    found::{Found, Judge},
    notices::Notices,
    references::Fetch,
    schedule::{self, Mark},
    status::{self, Wanted},
};
use crate::{
    api::{WebShell, WebShellSpec},
    calls::{CallError, Calls, Purpose},
    catalog::{Catalog, Entry, Obstacle, ShellKey},
    policy::TargetPolicy,
    resolve,
    session::Registry,
    watch::{self, events},
};

/// How often it is seen what is due. Looks themselves are rarer.
const TICK: Duration = Duration::from_millis(250);

/// How often somebody who connects looks anew because the WebShell was changed meanwhile.
const LOOKS: usize = 4;

/// What is said of a WebShell that was not looked at yet.
const NOT_READ: &str = "what it names has not been read yet; try again in a moment";

/// The WebShells of a namespace.
#[derive(Debug)]
pub struct Shells {
    namespace: String,
    pod: String,
    /// All WebShells, whatever they say.
    api: Api<DeserializeGuard<WebShell>>,
    fetch: Fetch,
    calls: Arc<Calls>,
    policy: Receiver<Arc<TargetPolicy>>,
    judge: Judge,
    state: Mutex<State>,
    catalog: Sender<Arc<Catalog>>,
    /// There may be something to write.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    shells: BTreeMap<String, Shell>,
    /// What a list that is not complete yet has brought.
    relisted: Option<BTreeSet<String>>,
    looks: u64,
}

/// A WebShell, and what was found of it.
#[derive(Debug)]
struct Shell {
    generation: Option<i64>,
    /// What it says; or why that cannot be read.
    spec: Result<Arc<WebShellSpec>, String>,
    found: Option<Found>,
    /// When it was looked at last, unless its spec has changed since.
    looked: Option<Instant>,
    /// The number of the look that `found` is from.
    look: u64,
    /// Whether somebody is looking who was sent by the schedule.
    looking: bool,
    /// The resource version of what is known of it.
    version: u64,
    /// Whether that may be wrong.
    doubt: Doubt,
    /// What its status says, as far as gateways write it, and what was written since.
    told: Option<Condition>,
    wrote: Option<Wanted>,
    count: Option<i32>,
}

/// Whether a WebShell is as it is known. A list that lacks it, or news that are older, may come from a server that is behind;
/// what ends sessions must be the API server's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// There is no doubt.
    None,
    /// There is.
    Open,
    /// The API server is being asked.
    Asked,
}

// === impl Shells ===

impl Shells {
    /// Those of `namespace`, none of which is known yet. `pod` is the name of this gateway's.
    pub fn new(
        client: &Client,
        namespace: &str,
        pod: &str,
        calls: Arc<Calls>,
        notices: Notices,
        policy: Receiver<Arc<TargetPolicy>>,
    ) -> Self {
        let written = Api::namespaced(client.clone(), namespace);
        Self {
            judge: Judge::new(namespace, written, Arc::clone(&calls), notices, policy.clone()),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            api: Api::namespaced(client.clone(), namespace),
            fetch: Fetch::new(client, namespace),
            calls,
            policy,
            state: Mutex::default(),
            catalog: Sender::new(Arc::default()),
            changed: Notify::new(),
        }
    }

    /// The shells, as last seen.
    pub fn catalog(&self) -> Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// Waits until there may be something new to write into a status.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Follows the WebShells until it is stopped; `listed` is cancelled once all are known. While they cannot be watched,
    /// what was seen last stays in force.
    pub async fn run(self: Arc<Self>, registry: Registry, listed: CancellationToken, stop: CancellationToken) {
        let mut events = std::pin::pin!(events(self.api.clone(), watcher::Config::default(), "WebShells"));
        let mut policy = self.policy.clone();
        let mut looks = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if matches!(event, Event::InitDone) {
                            listed.cancel();
                        }
                        self.take(event);
                    }
                    Some(Err(_)) => {}
                    None => return,
                },
                Ok(()) = policy.changed() => {
                    policy.borrow_and_update();
                    self.forget_looks();
                }
                Some(_) = looks.join_next() => {}
                _ = ticks.tick() => {}
            }
            for name in self.doubted() {
                let shells = Arc::clone(&self);
                looks.spawn(async move { shells.ask(&name).await });
            }
            for (name, purpose) in self.due(&registry) {
                let shells = Arc::clone(&self);
                looks.spawn(async move {
                    if let Err(error) = shells.look(&name, purpose).await {
                        debug!(name, %error, "what a WebShell names cannot be read");
                    }
                    shells.looked(&name);
                });
            }
        }
    }

    /// Takes what the watch tells.
    fn take(&self, event: Event<DeserializeGuard<WebShell>>) {
        let mut state = self.state.lock();
        match event {
            Event::Init => state.relisted = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                let name = object.name_any();
                state.relisted.get_or_insert_default().insert(name);
                state.hear(object, &self.pod);
            }
            // Only now it is known what may be gone.
            Event::InitDone => {
                if let Some(listed) = state.relisted.take() {
                    let lacking = state.shells.iter_mut().filter(|(name, _)| !listed.contains(*name));
                    lacking.for_each(|(_, shell)| shell.doubt());
                }
            }
            Event::Apply(object) => state.hear(object, &self.pod),
            Event::Delete(object) if state.is_old(&object) => state.doubt(&object.name_any()),
            Event::Delete(object) => _ = state.shells.remove(&object.name_any()),
        }
        // A list that is not complete yet is no reason to tell anything.
        if state.relisted.is_none() {
            self.publish(&state);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The WebShells that the API server is to be asked for. From now on somebody is asking.
    fn doubted(&self) -> Vec<String> {
        let mut state = self.state.lock();
        let open = state.shells.iter_mut().filter(|(_, shell)| shell.doubt == Doubt::Open);
        open.map(|(name, shell)| {
            shell.doubt = Doubt::Asked;
            name.clone()
        })
        .collect()
    }

    /// Asks the API server what is to be thought of a WebShell.
    async fn ask(&self, name: &str) {
        let answer = self.calls.make(Purpose::Session, self.api.get_opt(name)).await;
        let mut state = self.state.lock();
        // Otherwise a watch was quicker.
        let Some(shell) = state.shells.get_mut(name).filter(|shell| shell.doubt == Doubt::Asked) else { return };
        match answer {
            Ok(Some(object)) => state.apply(object, &self.pod),
            Ok(None) => _ = state.shells.remove(name),
            Err(error) => {
                debug!(name, %error, "whether a WebShell is gone cannot be found out");
                shell.doubt = Doubt::Open;
                return;
            }
        }
        self.publish(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// Looks afresh at what a WebShell names, and brings the catalog up to date.
    ///
    /// # Errors
    /// When that cannot be read now; what was found before stays in force.
    pub async fn look(&self, name: &str, purpose: Purpose) -> Result<(), CallError> {
        for _ in 0..LOOKS {
            let Some((look, spec, before)) = self.begin_look(name) else { return Ok(()) };
            let fetched = self.fetch.get(&spec, &self.calls, purpose).await;
            let (found, result) = match fetched {
                Ok(fetched) => (Some(self.judge.judge(name, &spec, &fetched, before.as_ref()).await), Ok(())),
                Err(error) => (None, Err(error)),
            };
            if self.end_look(name, look, &spec, found, result.as_ref().err()) {
                return result;
            }
        }
        Err(CallError::Late)
    }

    fn begin_look(&self, name: &str) -> Option<(u64, Arc<WebShellSpec>, Option<Found>)> {
        let mut state = self.state.lock();
        state.looks += 1;
        let look = state.looks;
        let shell = state.shells.get(name)?;
        Some((look, shell.spec.as_ref().ok()?.clone(), shell.found.clone()))
    }

    /// Takes what was found; whether it is about what the WebShell still says.
    fn end_look(
        &self,
        name: &str,
        look: u64,
        spec: &Arc<WebShellSpec>,
        found: Option<Found>,
        error: Option<&CallError>,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(shell) = state.shells.get_mut(name) else { return true };
        if !shell.spec.as_ref().is_ok_and(|now| Arc::ptr_eq(now, spec)) {
            return false;
        }
        shell.looked = Some(Instant::now());
        // What was begun later is newer.
        if look < shell.look {
            return true;
        }
        match (found, error) {
            (Some(mut found), _) => {
                shell.look = look;
                found.generation = shell.generation;
                shell.found = Some(found.keep(shell.found.as_ref()));
            }
            // Only of what was never read there is nothing better to tell.
            (None, Some(error)) if shell.found.as_ref().is_none_or(|found| found.finding.status == "Unknown") => {
                shell.found = Some(Found::unread(spec, shell.generation, error));
            }
            _ => {}
        }
        self.publish(&state);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// The WebShells that it is time to look at. From now on somebody is looking.
    fn due(&self, registry: &Registry) -> Vec<(String, Purpose)> {
        let counts = registry.counts();
        let in_use: BTreeSet<_> = counts.keys().map(|key| key.name.as_str()).collect();
        let now = Instant::now();
        let mut state = self.state.lock();
        let idle = state.shells.iter_mut().filter(|(_, shell)| !shell.looking && shell.spec.is_ok());
        let due = idle.filter(|(name, shell)| {
            schedule::is_due(Mark {
                looked: shell.looked.map(|looked| now - looked),
                resolved: shell.found.as_ref().is_some_and(|found| found.finding.status == "True"),
                in_use: in_use.contains(name.as_str()),
                missing: shell.found.as_ref().is_some_and(|found| found.keeps()),
            })
        });
        due.map(|(name, shell)| {
            shell.looking = true;
            let purpose = if in_use.contains(name.as_str()) { Purpose::Session } else { Purpose::Background };
            (name.clone(), purpose)
        })
        .collect()
    }

    fn looked(&self, name: &str) {
        if let Some(shell) = self.state.lock().shells.get_mut(name) {
            shell.looking = false;
        }
    }

    /// Everything is to be looked at again.
    fn forget_looks(&self) {
        for shell in self.state.lock().shells.values_mut() {
            shell.looked = None;
        }
    }

    fn publish(&self, state: &State) {
        let entry = |(name, shell): (&String, &Shell)| {
            let key = ShellKey { namespace: self.namespace.clone(), name: name.clone() };
            let (target, access) = match (&shell.spec, &shell.found) {
                (Err(reason), _) => (String::new(), Err(Obstacle::invalid(reason))),
                (Ok(_), Some(found)) => (found.target.clone(), found.access.clone()),
                (Ok(spec), None) => {
                    (resolve::target(spec, spec.target.user.as_ref()), Err(Obstacle::invalid(NOT_READ)))
                }
            };
            (key.clone(), Entry { key, target, access })
        };
        self.catalog.send_replace(Arc::new(Catalog { shells: state.shells.iter().map(entry).collect() }));
    }

    // === status ===

    /// What the status of WebShells does not say yet.
    pub(super) fn unwritten_findings(&self) -> Vec<(String, Wanted)> {
        let state = self.state.lock();
        let unwritten = state.shells.iter().filter_map(|(name, shell)| {
            let found = shell.found.as_ref()?;
            let wanted = Wanted { finding: found.finding.clone(), generation: found.generation };
            let told = shell.told.as_ref().is_some_and(|told| wanted.is_told_by(told));
            (!told && shell.wrote.as_ref() != Some(&wanted)).then(|| (name.clone(), wanted))
        });
        unwritten.collect()
    }

    /// Notes what was written.
    pub(super) fn wrote_finding(&self, name: &str, wanted: Wanted) {
        if let Some(shell) = self.state.lock().shells.get_mut(name) {
            shell.wrote = Some(wanted);
        }
    }

    /// The numbers of sessions that differ from what is written; none where there are no sessions.
    pub(super) fn unwritten_counts(&self, counts: &BTreeMap<String, usize>) -> Vec<(String, Option<i32>)> {
        let state = self.state.lock();
        let unwritten = state.shells.iter().filter_map(|(name, shell)| {
            let count = counts.get(name).map(|count| i32::try_from(*count).unwrap_or(i32::MAX));
            (shell.count != count).then(|| (name.clone(), count))
        });
        unwritten.collect()
    }

    /// Notes what was written.
    pub(super) fn wrote_count(&self, name: &str, count: Option<i32>) {
        if let Some(shell) = self.state.lock().shells.get_mut(name) {
            shell.count = count;
        }
    }
}

// === impl State ===

impl State {
    /// Whether something newer is known already.
    fn is_old(&self, object: &DeserializeGuard<WebShell>) -> bool {
        self.shells.get(&object.name_any()).is_some_and(|known| watch::version(object.meta()) < known.version)
    }

    fn doubt(&mut self, name: &str) {
        self.shells.get_mut(name).into_iter().for_each(Shell::doubt);
    }

    /// Takes what a list or a watch says.
    fn hear(&mut self, object: DeserializeGuard<WebShell>, pod: &str) {
        if self.is_old(&object) { self.doubt(&object.name_any()) } else { self.apply(object, pod) }
    }

    /// Takes a WebShell as it is now. What was found before stays in force until somebody has looked.
    fn apply(&mut self, object: DeserializeGuard<WebShell>, pod: &str) {
        let name = object.name_any();
        let (generation, version) = (object.meta().generation, watch::version(object.meta()));
        let (spec, told, count) = match object.0 {
            Ok(object) => {
                let told = status::condition_of(&object).cloned();
                let count = status::count_of(&object, pod);
                (Ok(Arc::new(object.spec)), told, count)
            }
            Err(invalid) => (Err(format!("it cannot be read: {}", invalid.error)), None, None),
        };
        let shell = self.shells.entry(name.clone()).or_insert_with(|| {
            info!(name, "a WebShell is served");
            Shell {
                generation,
                spec: spec.clone(),
                found: None,
                looked: None,
                look: 0,
                looking: false,
                version,
                doubt: Doubt::None,
                told: None,
                wrote: None,
                count: None,
            }
        });
        (shell.generation, shell.told, shell.wrote, shell.count) = (generation, told, None, count);
        (shell.version, shell.doubt) = (version, Doubt::None);
        if shell.spec != spec {
            shell.spec = spec;
            shell.looked = None;
        }
    }
}

// === impl Shell ===

impl Shell {
    fn doubt(&mut self) {
        if self.doubt == Doubt::None {
            self.doubt = Doubt::Open;
        }
    }
}

#[cfg(test)]
mod tests;
