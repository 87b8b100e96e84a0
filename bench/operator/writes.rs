//! What the controller writes, for the bare client to write the same.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, future::join_all, stream};
use kube::{
    Api, Client, Resource as _,
    api::{DynamicObject, ListParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use webshell::{
    api::WebShell,
    controller::{
        build::{LABELS, NAME},
        digest,
        kind::Kind,
        observe::FIELD_MANAGER,
    },
};

use crate::plain::Call;

/// The kinds that it writes on this API server, which has no HTTPRoutes.
pub fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::HttpRoute)
}

/// The writes, by namespace.
pub struct Writes(Vec<Namespace>);

/// The writes of a namespace.
#[derive(Clone, Default)]
struct Namespace {
    /// The UID of the root, which the others name as their owner.
    root_uid: String,
    root: Option<Call>,
    rest: Vec<Call>,
}

impl Writes {
    /// Reads them off what is in place: an object cut down to what a field manager has applied is what it has sent.
    pub async fn read(client: &Client) -> Self {
        let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
        for kind in kinds() {
            let resource = kind.resource();
            for object in list(client, &resource, true).await {
                let namespace = object.metadata.namespace.clone().unwrap();
                let path = format!("{}/{NAME}", DynamicObject::url_path(&resource, Some(&namespace)));
                let call = call(&object, &resource, &path, None);
                let writes = namespaces.entry(namespace).or_default();
                if kind == Kind::ConfigMap {
                    writes.root_uid = object.metadata.uid.unwrap();
                    writes.root = Some(call);
                } else {
                    writes.rest.push(call);
                }
            }
        }
        let resource = ApiResource::erase::<WebShell>(&());
        for shell in list(client, &resource, false).await {
            let (namespace, name) = (shell.metadata.namespace.clone().unwrap(), shell.metadata.name.clone().unwrap());
            let path = format!("{}/{name}/status", DynamicObject::url_path(&resource, Some(&namespace)));
            namespaces.get_mut(&namespace).unwrap().rest.push(call(&shell, &resource, &path, Some("status")));
        }
        Self(namespaces.into_values().collect())
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|namespace| 1 + namespace.rest.len() as u64).sum()
    }

    /// Those of the first so many namespaces.
    pub fn first(&self, namespaces: usize) -> Self {
        Self(self.0.iter().take(namespaces).cloned().collect())
    }

    /// Writes the same, with so many requests at once. Of what is written first the UID must be known for the rest, as the
    /// controller must know it.
    pub async fn repeat(&self, client: &Client, at_once: usize) {
        let places = Semaphore::new(at_once);
        let send = async |call: &Call| {
            let _place = places.acquire().await.unwrap();
            call.send(client).await
        };
        let namespaces = stream::iter(&self.0).for_each_concurrent(at_once, async |namespace| {
            let root: Value = serde_json::from_slice(&send(namespace.root.as_ref().unwrap()).await).unwrap();
            let uid = root["metadata"]["uid"].as_str().unwrap();
            let rest = namespace.rest.iter().map(|call| {
                let body = std::str::from_utf8(&call.body).unwrap().replace(&namespace.root_uid, uid);
                let call = Call { body: body.into(), ..call.clone() };
                async move { send(&call).await }
            });
            join_all(rest).await;
        });
        namespaces.await;
    }
}

/// All objects of a kind, or those of ours.
pub async fn list(client: &Client, resource: &ApiResource, ours: bool) -> Vec<DynamicObject> {
    let labels = LABELS.map(|(name, value)| format!("{name}={value}")).join(",");
    let parameters = if ours { ListParams::default().labels(&labels) } else { ListParams::default() };
    let api = Api::<DynamicObject>::all_with(client.clone(), resource);
    let objects = api.list(&parameters).await.unwrap().items;
    // The installation's own have other names.
    objects.into_iter().filter(|object| !ours || object.metadata.name.as_deref() == Some(NAME)).collect()
}

fn call(object: &DynamicObject, resource: &ApiResource, path: &str, subresource: Option<&str>) -> Call {
    let mut content = digest::owned(object, FIELD_MANAGER, subresource);
    content["apiVersion"] = resource.api_version.clone().into();
    content["kind"] = resource.kind.clone().into();
    if content["metadata"].is_null() {
        content["metadata"] = json!({});
    }
    content["metadata"]["name"] = object.metadata.name.clone().into();
    content["metadata"]["namespace"] = object.metadata.namespace.clone().into();
    Call::apply(path, FIELD_MANAGER, &content)
}
