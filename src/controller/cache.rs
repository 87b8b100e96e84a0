//! What is known of the cluster: fed by watches and own writes, read by reconciles.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
};

use kube::{core::ObjectMeta, runtime::watcher::Event};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    metrics::ControllerMetrics,
    owner::{Owner, Owners},
    state::{Fact, Namespace, Observed, Source},
};
use crate::watch::version;

/// How many deleted objects are remembered. The answer to an own write is a few milliseconds behind at most.
const MAX_GONE: usize = 1024;

/// What is known of the cluster. Watches and writes feed it; reconciles read it.
#[derive(Debug)]
pub struct Cache {
    inner: Mutex<Inner>,
    synced: watch::Sender<bool>,
    metrics: ControllerMetrics,
}

/// The namespace and name of an object.
type Key = (Box<str>, Box<str>);

#[derive(Debug, Default)]
struct Inner {
    namespaces: HashMap<Box<str>, Namespace>,
    /// Resource versions of what is in `namespaces`, to tell old news.
    versions: HashMap<Source, HashMap<Key, u64>>,
    keys: Option<String>,
    owners: Owners,
    /// Who has not listed all there is yet.
    waiting: HashSet<Source>,
    /// What has been seen so far of a list under way.
    listed: HashMap<Source, HashSet<Key>>,
    /// What was deleted last, and with which version, so that the answer to an earlier write does not bring it back.
    gone: VecDeque<(Source, Key, u64)>,
    /// Namespaces with news that no reconcile has begun with.
    queued: HashSet<Box<str>>,
}

// === impl Cache ===

impl Cache {
    /// Knows nothing yet, and will be complete once each source has listed all there is.
    pub fn new(sources: impl IntoIterator<Item = Source>, metrics: ControllerMetrics) -> Self {
        let inner = Inner { waiting: sources.into_iter().collect(), ..Inner::default() };
        Self { inner: Mutex::new(inner), synced: watch::Sender::new(false), metrics }
    }

    /// Becomes true once every source has listed all there is.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Takes news in. Returns the namespaces that it changes something for.
    pub fn take(&self, source: Source, event: Event<Observed>) -> Vec<Box<str>> {
        let mut inner = self.inner.lock();
        let changed = match event {
            Event::Init => {
                inner.listed.insert(source, HashSet::new());
                Vec::new()
            }
            Event::InitApply(observed) => {
                let key = (observed.namespace.clone(), observed.name.clone());
                inner.listed.entry(source).or_default().insert(key);
                inner.set(source, observed)
            }
            Event::Apply(observed) if inner.is_old(source, &observed) => Vec::new(),
            Event::Apply(observed) => inner.set(source, observed),
            Event::Delete(observed) if inner.is_old(source, &observed) => Vec::new(),
            Event::Delete(observed) => {
                let key = (observed.namespace, observed.name);
                let changed = inner.unset(source, &key);
                inner.gone.truncate(MAX_GONE - 1);
                inner.gone.push_front((source, key, observed.version));
                changed
            }
            Event::InitDone => {
                let listed = inner.listed.remove(&source).unwrap_or_default();
                let known = inner.versions.get(&source).into_iter().flat_map(HashMap::keys);
                let gone: Vec<_> = known.filter(|key| !listed.contains(*key)).cloned().collect();
                let changed = gone.iter().flat_map(|key| inner.unset(source, key)).collect();
                inner.waiting.remove(&source);
                if inner.waiting.is_empty() && !self.synced.send_replace(true) {
                    Owner::ALL.into_iter().filter(|owner| !inner.owners.contains_key(owner)).for_each(tell_of_loss);
                }
                changed
            }
        };
        inner.queued.extend(changed.iter().cloned());
        self.metrics.queued(inner.queued.len());
        changed
    }

    /// Whether this very version of an object has been taken in, as that of an own write has before its watch tells of it.
    pub fn has(&self, source: Source, meta: &ObjectMeta) -> bool {
        let (Some(namespace), Some(name)) = (meta.namespace.as_deref(), meta.name.as_deref()) else { return false };
        let (key, version) = ((namespace.into(), name.into()), version(meta));
        let inner = self.inner.lock();
        let known = inner.versions.get(&source).and_then(|versions| versions.get(&key));
        // Versions that are no numbers all read as 0.
        version > 0 && known == Some(&version)
    }

    /// Takes in what an own write has made of an object, before a watch tells of it.
    pub fn note(&self, source: Source, observed: Observed) {
        let mut inner = self.inner.lock();
        if !inner.is_old(source, &observed) && !inner.is_gone(source, &observed) {
            inner.set(source, observed);
        }
    }

    /// Takes a namespace from the queue and tells what is known of it.
    pub fn begin(&self, namespace: &str) -> Namespace {
        let mut inner = self.inner.lock();
        inner.queued.remove(namespace);
        self.metrics.queued(inner.queued.len());
        inner.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// What is known of a namespace now.
    pub fn get(&self, namespace: &str) -> Namespace {
        self.inner.lock().namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// Whether a pod of the namespace's gateway has this UID.
    pub fn has_pod(&self, namespace: &str, uid: &str) -> bool {
        let inner = self.inner.lock();
        inner.namespaces.get(namespace).is_some_and(|state| state.pods.values().any(|pod| &*pod.uid == uid))
    }

    /// The portals' public keys, as a JSON Web Key Set; `None` when no portal has published any.
    pub fn keys(&self) -> Option<String> {
        self.inner.lock().keys.clone()
    }

    /// The ClusterRoles that may own what the controller makes.
    pub fn owners(&self) -> Owners {
        self.inner.lock().owners.clone()
    }
}

// === impl Inner ===

impl Inner {
    /// Whether something newer is known already. Resource versions of one API server are numbers that grow.
    fn is_old(&self, source: Source, observed: &Observed) -> bool {
        let key = (observed.namespace.clone(), observed.name.clone());
        let known = self.versions.get(&source).and_then(|versions| versions.get(&key));
        known.is_some_and(|known| *known > observed.version)
    }

    fn is_gone(&self, source: Source, observed: &Observed) -> bool {
        self.gone.iter().any(|(of, (namespace, name), version)| {
            *of == source && *namespace == observed.namespace && *name == observed.name && *version > observed.version
        })
    }

    fn set(&mut self, source: Source, observed: Observed) -> Vec<Box<str>> {
        let Observed { namespace, name, version, fact } = observed;
        self.versions.entry(source).or_default().insert((namespace.clone(), name.clone()), version);
        match (source, fact) {
            (Source::Keys, Fact::Keys(keys)) => self.set_keys(Some(keys)),
            (Source::Owner(owner), Fact::Owner(uid)) => self.set_owner(owner, uid),
            (_, fact) => self.set_in_namespace(source, namespace, name, fact),
        }
    }

    fn set_in_namespace(&mut self, source: Source, namespace: Box<str>, name: Box<str>, fact: Fact) -> Vec<Box<str>> {
        let state = self.namespaces.entry(namespace.clone()).or_default();
        let changed = match (source, fact) {
            (_, Fact::Namespace(itself)) => state.itself.replace(itself) != Some(itself),
            (_, Fact::Shell(shell)) => state.shells.insert(name, shell.clone()) != Some(shell),
            (_, Fact::Pod(pod)) => state.pods.insert(name, pod.clone()) != Some(pod),
            (Source::Children(kind), Fact::Child(mut child)) => {
                let known = state.children.get(&kind).filter(|known| known.uid == child.uid);
                child.stored_as = child.stored_as.or_else(|| known.and_then(|known| known.stored_as));
                state.children.insert(kind, child.clone()) != Some(child)
            }
            (_, Fact::Child(_) | Fact::Keys(_) | Fact::Owner(_)) => false,
        };
        if changed { vec![namespace] } else { Vec::new() }
    }

    fn unset(&mut self, source: Source, key: &Key) -> Vec<Box<str>> {
        if let Some(versions) = self.versions.get_mut(&source) {
            versions.remove(key);
        }
        let (namespace, name) = key;
        match source {
            Source::Keys => return self.set_keys(None),
            Source::Owner(owner) => return self.set_owner(owner, None),
            _ => {}
        }
        let Some(state) = self.namespaces.get_mut(namespace) else { return Vec::new() };
        match source {
            Source::Namespaces => state.itself = None,
            Source::Shells => drop(state.shells.remove(name)),
            Source::Pods => drop(state.pods.remove(name)),
            Source::Children(kind) => drop(state.children.remove(&kind)),
            Source::Keys | Source::Owner(_) => {}
        }
        if *state == Namespace::default() {
            self.namespaces.remove(namespace);
        }
        vec![namespace.clone()]
    }

    /// Every namespace with a gateway is told the keys.
    fn set_keys(&mut self, keys: Option<String>) -> Vec<Box<str>> {
        if mem::replace(&mut self.keys, keys.clone()) == keys {
            return Vec::new();
        }
        self.with_shells()
    }

    /// Every gateway is owned by what there is to own it.
    fn set_owner(&mut self, owner: Owner, uid: Option<Box<str>>) -> Vec<Box<str>> {
        let before = self.owners.get(&owner);
        if before == uid.as_ref() {
            return Vec::new();
        }
        let is_new = before.is_none() && self.waiting.is_empty();
        match uid {
            Some(uid) => {
                self.owners.insert(owner, uid);
                if is_new {
                    info!(role = owner.name(), "the ClusterRole is back");
                }
            }
            None => {
                self.owners.remove(&owner);
                tell_of_loss(owner);
            }
        }
        self.with_shells()
    }

    fn with_shells(&self) -> Vec<Box<str>> {
        let served = self.namespaces.iter().filter(|(_, state)| !state.shells.is_empty());
        served.map(|(namespace, _)| namespace.clone()).collect()
    }
}

fn tell_of_loss(owner: Owner) {
    warn!(role = owner.name(), "a ClusterRole of the installation is missing; make it anew, as by helm upgrade");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controller::{
        digest::Digest,
        state::{Itself, Pod, Shell, Trouble},
        validate::Verdict,
    };

    const HERE: Itself = Itself { terminating: false, selected: true };

    fn observed(name: &str, version: u64, fact: Fact) -> Observed {
        Observed { namespace: "team-a".into(), name: name.into(), version, fact }
    }

    fn pod(trouble: Option<&str>) -> Fact {
        let trouble = trouble.map(|message| Trouble { reason: "Crashing", message: message.to_owned() });
        Fact::Pod(Pod { uid: "u".into(), created: 1, trouble, lost_with: None })
    }

    fn shell() -> Shell {
        Shell {
            uid: "u".into(),
            generation: 1,
            verdict: Verdict::Accepted,
            target: None,
            ours: Digest::default(),
            conditions: Vec::new(),
            gateways: Vec::new(),
        }
    }

    fn cache() -> Cache {
        Cache::new([Source::Namespaces, Source::Pods], ControllerMetrics::default())
    }

    #[test]
    fn is_complete_once_every_source_has_listed() {
        let cache = cache();
        let synced = cache.synced();
        cache.take(Source::Namespaces, Event::Init);
        cache.take(Source::Namespaces, Event::InitDone);
        assert!(!*synced.borrow());
        cache.take(Source::Pods, Event::InitDone);
        assert!(*synced.borrow());
    }

    #[test]
    fn news_that_change_nothing_wake_nobody() {
        let cache = cache();
        let news = |version, trouble| Event::Apply(observed("a", version, pod(trouble)));
        assert_eq!(cache.take(Source::Pods, news(1, None)), ["team-a".into()]);
        assert!(cache.take(Source::Pods, news(2, None)).is_empty());
        assert_eq!(cache.take(Source::Pods, news(3, Some("exit 1"))), ["team-a".into()]);
    }

    #[test]
    fn old_news_do_not_undo_newer_ones() {
        let cache = cache();
        cache.note(Source::Pods, observed("a", 5, pod(Some("exit 1"))));
        assert!(cache.take(Source::Pods, Event::Apply(observed("a", 4, pod(None)))).is_empty());
        assert!(cache.take(Source::Pods, Event::Delete(observed("a", 3, pod(None)))).is_empty());
        assert!(cache.get("team-a").pods.values().all(|pod| pod.trouble.is_some()));
        // A new list is the truth, whatever its versions: the server may have been restored from a backup.
        cache.take(Source::Pods, Event::Init);
        cache.take(Source::Pods, Event::InitApply(observed("a", 4, pod(None))));
        assert!(cache.get("team-a").pods.values().all(|pod| pod.trouble.is_none()));
    }

    #[test]
    fn the_echo_of_an_own_write_is_known_by_its_version() {
        let cache = cache();
        let meta = |version: &str| ObjectMeta {
            namespace: Some("team-a".to_owned()),
            name: Some("a".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        assert!(!cache.has(Source::Pods, &meta("5")));
        cache.note(Source::Pods, observed("a", 5, pod(None)));
        assert!(cache.has(Source::Pods, &meta("5")));
        assert!(!cache.has(Source::Pods, &meta("6")) && !cache.has(Source::Namespaces, &meta("5")));
        cache.note(Source::Pods, observed("b", 0, pod(None)));
        assert!(!cache.has(Source::Pods, &ObjectMeta { name: Some("b".to_owned()), ..meta("odd") }));
    }

    #[test]
    fn the_answer_to_a_write_does_not_bring_back_what_was_deleted_since() {
        let cache = cache();
        cache.take(Source::Pods, Event::Apply(observed("a", 1, pod(None))));
        cache.take(Source::Pods, Event::Delete(observed("a", 3, pod(None))));
        cache.note(Source::Pods, observed("a", 2, pod(None)));
        assert!(cache.get("team-a").pods.is_empty());
        cache.note(Source::Pods, observed("a", 4, pod(None)));
        assert_eq!(cache.get("team-a").pods.len(), 1);
    }

    #[test]
    fn a_new_list_takes_away_what_it_lacks_only_when_it_is_whole() {
        let cache = cache();
        for name in ["a", "b"] {
            cache.take(Source::Pods, Event::Apply(observed(name, 1, pod(None))));
        }
        cache.take(Source::Pods, Event::Init);
        cache.take(Source::Pods, Event::InitApply(observed("b", 1, pod(None))));
        assert_eq!(cache.get("team-a").pods.len(), 2);
        assert_eq!(cache.take(Source::Pods, Event::InitDone), ["team-a".into()]);
        assert_eq!(cache.get("team-a").pods.keys().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_namespace_with_nothing_in_it_is_forgotten() {
        let cache = cache();
        cache.take(Source::Namespaces, Event::Apply(observed("team-a", 1, Fact::Namespace(HERE))));
        assert_eq!(cache.inner.lock().namespaces.len(), 1);
        cache.take(Source::Namespaces, Event::Delete(observed("team-a", 2, Fact::Namespace(HERE))));
        assert!(cache.inner.lock().namespaces.is_empty());
    }

    #[test]
    fn an_owner_that_comes_or_goes_wakes_the_namespaces_that_have_shells() {
        let cache = cache();
        let shell = Fact::Shell(Arc::new(shell()));
        cache.take(Source::Shells, Event::Apply(observed("db-1", 1, shell)));
        let source = Source::Owner(Owner::Gateway);
        let news = |version, uid: Option<&str>| {
            let fact = Fact::Owner(uid.map(Box::from));
            Event::Apply(Observed { namespace: "".into(), name: "webshell-gateway".into(), version, fact })
        };
        assert_eq!(cache.take(source, news(2, Some("u1"))), ["team-a".into()]);
        assert!(cache.take(source, news(3, Some("u1"))).is_empty());
        assert_eq!(cache.owners(), [(Owner::Gateway, "u1".into())].into());
        assert_eq!(cache.take(source, news(4, None)), ["team-a".into()], "it is being deleted");
        assert!(cache.owners().is_empty());
        assert_eq!(cache.take(source, news(6, Some("u2"))), ["team-a".into()]);
        cache.take(source, Event::Init);
        assert_eq!(cache.take(source, Event::InitDone), ["team-a".into()], "a list lacks it");
        assert!(cache.owners().is_empty());
    }

    #[test]
    fn new_keys_wake_the_namespaces_that_have_shells() {
        let cache = cache();
        cache.take(Source::Namespaces, Event::Apply(observed("team-b", 1, Fact::Namespace(HERE))));
        cache.take(Source::Shells, Event::Apply(observed("db-1", 1, Fact::Shell(Arc::new(shell())))));
        let keys = |version, keys: &str| Event::Apply(observed("keys", version, Fact::Keys(keys.to_owned())));
        assert_eq!(cache.take(Source::Keys, keys(2, "{}")), ["team-a".into()]);
        assert!(cache.take(Source::Keys, keys(3, "{}")).is_empty());
        assert_eq!(cache.keys().as_deref(), Some("{}"));
    }
}
