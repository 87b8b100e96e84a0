//! Watches: each tells the cache what it sees, and which namespaces to reconcile for it.

use std::sync::Arc;

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject, PartialObjectMeta, Selector},
    runtime::{
        controller::ReconcileRequest,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{
    build,
    cache::Cache,
    keys,
    kind::Kind,
    observe,
    owner::Owner,
    state::{Observed, Source},
};
use crate::{api::WebShell, config::Config, watch};

/// The object that is reconciled.
pub type Meta = PartialObjectMeta<Namespace>;

/// Namespaces to reconcile, as watches tell.
pub type Requests = SelectAll<BoxStream<'static, Result<ReconcileRequest<Meta>, watcher::Error>>>;

/// How many objects a list has on a page: a page is in memory as a whole.
const PAGE: u32 = 100;

/// What is watched.
pub struct Watches {
    /// The API server.
    pub client: Client,
    /// The installation's settings.
    pub config: Config,
    /// Which namespaces are served.
    pub selector: Selector,
    /// The namespace of controller and portals.
    pub system_namespace: String,
    /// The kinds of our objects that the API server knows.
    pub kinds: Vec<Kind>,
}

impl Watches {
    /// Everything that [`Watches::start`] watches.
    pub fn sources(&self) -> Vec<Source> {
        let others = [Source::Namespaces, Source::Shells, Source::Pods, Source::Keys];
        let children = self.kinds.iter().copied().map(Source::Children);
        others.into_iter().chain(Owner::ALL.map(Source::Owner)).chain(children).collect()
    }

    /// Begins to watch. The store has the names of all namespaces.
    pub fn start(self, cache: &Arc<Cache>) -> (Store<Meta>, Requests) {
        let (store, namespaces) = self.namespaces(cache);
        let Self { client, config, system_namespace, kinds, .. } = self;
        let mut requests = SelectAll::new();
        requests.push(namespaces);

        let resource = ApiResource::erase::<WebShell>(&());
        let shells = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let all = watcher::Config::default().page_size(PAGE);
        requests.push(follow(shells, all, Source::Shells, cache, move |object| observe::shell(object, &config)));

        let pods = Api::<Pod>::all(client.clone());
        let gateways = watcher::Config::default().page_size(PAGE).labels(&build::pod_selector());
        requests.push(follow(pods, gateways, Source::Pods, cache, observe::pod));

        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), &system_namespace);
        requests.push(follow(config_maps, named(keys::NAME), Source::Keys, cache, keys::observed));

        let roles = Api::<PartialObjectMeta<ClusterRole>>::all(client.clone());
        for owner in Owner::ALL {
            requests.push(follow(roles.clone(), named(owner.name()), Source::Owner(owner), cache, observe::owner));
        }

        for kind in kinds {
            let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
            let source = Source::Children(kind);
            requests.push(follow(api, named(build::NAME), source, cache, move |object| observe::child(kind, object)));
        }
        (store, requests)
    }

    fn namespaces(
        &self,
        cache: &Arc<Cache>,
    ) -> (Store<Meta>, BoxStream<'static, Result<ReconcileRequest<Meta>, watcher::Error>>) {
        let (store, writer) = reflector::store::<Meta>();
        let (cache, selector) = (cache.clone(), self.selector.clone());
        let api = Api::<Meta>::all(self.client.clone());
        let requests = watch::events(api, watcher::Config::default().page_size(PAGE), Source::Namespaces.name())
            .map_ok(move |event| {
                let observed = observed(&event, |object| observe::namespace(object, &selector));
                let changed = observed.map(|event| cache.take(Source::Namespaces, event)).unwrap_or_default();
                let event = event.modify(trim);
                (event, changed)
            });
        // The store must know a namespace before it is reconciled.
        let requests = stream::unfold((Box::pin(requests), writer), |(mut requests, mut writer)| async {
            let next = requests.next().await?;
            let next = next.map(|(event, changed)| {
                writer.apply_watcher_event(&event);
                changed
            });
            Some((next, (requests, writer)))
        });
        (store, to_requests(requests).boxed())
    }
}

/// What has this name.
fn named(name: &str) -> watcher::Config {
    watcher::Config::default().page_size(PAGE).fields(&format!("metadata.name={name}"))
}

/// What is not needed of a Namespace once it has been looked at.
fn trim(object: &mut Meta) {
    object.metadata.labels = None;
    object.metadata.annotations = None;
    object.metadata.managed_fields = None;
    object.metadata.owner_references = None;
}

fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    source: Source,
    cache: &Arc<Cache>,
    observe: impl Fn(&K) -> Option<Observed> + Send + 'static,
) -> BoxStream<'static, Result<ReconcileRequest<Meta>, watcher::Error>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let cache = cache.clone();
    let changes = watch::events(api, config, source.name()).map(move |event| match event {
        Ok(Event::Apply(object)) if cache.has(source, object.meta()) => Ok(Vec::new()),
        Ok(event) => Ok(observed(&event, &observe).map(|event| cache.take(source, event)).unwrap_or_default()),
        // With its definition all objects of a kind are gone, though the watch may not have told of each.
        Err(error) if source == Source::Children(Kind::HttpRoute) && watch::is_unknown(&error) => {
            cache.take(source, Event::Init);
            Ok(cache.take(source, Event::InitDone))
        }
        Err(error) => Err(error),
    });
    to_requests(changes).boxed()
}

/// The same event with what is kept of its object; nothing for an object of somebody else's.
fn observed<K>(event: &Event<K>, observe: impl Fn(&K) -> Option<Observed>) -> Option<Event<Observed>> {
    Some(match event {
        Event::Apply(object) => Event::Apply(observe(object)?),
        Event::Delete(object) => Event::Delete(observe(object)?),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(observe(object)?),
        Event::InitDone => Event::InitDone,
    })
}

/// A request for each namespace that there is news of.
pub fn requests(
    mut news: mpsc::Receiver<Box<str>>,
) -> BoxStream<'static, Result<ReconcileRequest<Meta>, watcher::Error>> {
    stream::poll_fn(move |context| news.poll_recv(context)).map(|namespace| Ok(request(&namespace))).boxed()
}

fn request(namespace: &str) -> ReconcileRequest<Meta> {
    ReconcileRequest::from(ObjectRef::new(namespace))
}

fn to_requests(
    changes: impl stream::Stream<Item = Result<Vec<Box<str>>, watcher::Error>> + Send,
) -> impl stream::Stream<Item = Result<ReconcileRequest<Meta>, watcher::Error>> + Send {
    changes
        .map_ok(|namespaces| stream::iter(namespaces.into_iter().map(|namespace| Ok(request(&namespace)))))
        .try_flatten()
}
