//! Calls to the API server: each with a deadline, so that one that hangs holds nothing up, and the writes counted.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, Error as KubeError, Resource as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::{DynamicObject, PartialObjectMeta, Selector, SelectorExt as _},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};

use super::{build, kind::Kind, metrics::ControllerMetrics, observe::FIELD_MANAGER};
use crate::api::WebShell;

/// How long a call may take, retries of the client included.
const DEADLINE: Duration = Duration::from_secs(30);

/// The most calls at once: enough to keep an API server busy, few enough to leave it time for others.
const MAX_CALLS: usize = 32;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server did not do it.
    #[error("{verb} {resource}: {}", words(.error))]
    Failed {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
        /// What the client says.
        error: Box<KubeError>,
    },
    /// It did not answer.
    #[error("{verb} {resource}: the API server did not answer within {} s", DEADLINE.as_secs())]
    Deadline {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
    },
}

/// The API server, as far as the controller calls it. Clones share their bounds.
#[derive(Clone)]
pub struct Server {
    client: Client,
    calls: Arc<Semaphore>,
    metrics: ControllerMetrics,
}

// === impl CallError ===

/// Without what the client adds for developers.
fn words(error: &KubeError) -> String {
    match error {
        KubeError::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl CallError {
    /// Which kind of error it is, for metrics.
    pub fn kind(&self) -> &'static str {
        let Self::Failed { error, .. } = self else { return "timeout" };
        match &**error {
            KubeError::Api(status) => match status.code {
                404 => "not-found",
                409 => "conflict",
                403 => "forbidden",
                400 | 422 => "invalid",
                429 => "throttled",
                _ => "server",
            },
            KubeError::SerdeError(_) => "answer",
            _ => "network",
        }
    }

    /// What was to be changed does not exist, or not any more.
    pub fn is_gone(&self) -> bool {
        self.kind() == "not-found"
    }

    /// The namespace is being deleted, and takes nothing new.
    pub fn is_terminating(&self) -> bool {
        let Self::Failed { error, .. } = self else { return false };
        let KubeError::Api(status) = &**error else { return false };
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// What the API server said, where it refused the object as it is, or knows no such kind.
    pub fn refusal(&self) -> Option<&str> {
        let Self::Failed { error, .. } = self else { return None };
        let KubeError::Api(status) = &**error else { return None };
        let is_of_namespace = status.details.as_ref().is_some_and(|details| details.kind == "namespaces");
        match status.code {
            400 | 403 | 422 => Some(&status.message),
            404 if !is_of_namespace => Some("the API server knows no such kind; install its definition"),
            _ => None,
        }
    }
}

// === impl Server ===

impl Server {
    /// Calls by `client`.
    pub fn new(client: Client, metrics: ControllerMetrics) -> Self {
        Self { client, calls: Arc::new(Semaphore::new(MAX_CALLS)), metrics }
    }

    /// Applies an object of ours, and tells what has become of it.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn apply(&self, kind: Kind, namespace: &str, object: &Value) -> Result<DynamicObject, CallError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.metrics.wrote("apply", kind.name());
        self.call("apply", kind.name(), api.patch(build::NAME, &parameters, &Patch::Apply(object))).await
    }

    /// Applies the status of a WebShell in the name of `manager`, and tells what has become of it.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn apply_status(
        &self,
        namespace: &str,
        name: &str,
        manager: &str,
        status: &Value,
    ) -> Result<DynamicObject, CallError> {
        let resource = kube::core::ApiResource::erase::<WebShell>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let object = json!({
            "apiVersion": WebShell::api_version(&()),
            "kind": WebShell::kind(&()),
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        });
        let parameters = PatchParams::apply(manager).force();
        self.metrics.wrote("apply", "webshells/status");
        self.call("apply", "webshells/status", api.patch_status(name, &parameters, &Patch::Apply(object))).await
    }

    /// Deletes an object of ours, provided that it is the one with this UID. That it is gone already is no error.
    ///
    /// # Errors
    /// When the API server does not do it.
    pub async fn delete(&self, kind: Kind, namespace: &str, uid: &str) -> Result<(), CallError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let same = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams::background().preconditions(same);
        self.metrics.wrote("delete", kind.name());
        match self.call("delete", kind.name(), api.delete(build::NAME, &parameters)).await {
            // A conflict may be another object of the name, or no more than bad luck: it is looked at again.
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the namespace has a WebShell, by the API server's own word and not by what watches have told.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn has_shells(&self, namespace: &str) -> Result<bool, CallError> {
        let api = Api::<PartialObjectMeta<WebShell>>::namespaced(self.client.clone(), namespace);
        let list = self.call("list", "webshells", api.list(&ListParams::default().limit(1))).await?;
        Ok(!list.items.is_empty())
    }

    /// Whether the namespace is one that `selector` selects, by the API server's own word.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn is_selected(&self, namespace: &str, selector: &Selector) -> Result<bool, CallError> {
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let found = self.call("get", "namespaces", api.get_opt(namespace)).await?;
        Ok(found.is_some_and(|found| selector.matches(&found.metadata.labels.unwrap_or_default())))
    }

    /// Whether the gateway has a pod, by the API server's own word.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn has_pods(&self, namespace: &str) -> Result<bool, CallError> {
        let api = Api::<PartialObjectMeta<Pod>>::namespaced(self.client.clone(), namespace);
        let gateways = ListParams::default().labels(&build::pod_selector()).limit(1);
        Ok(!self.call("list", "pods", api.list(&gateways)).await?.items.is_empty())
    }

    /// Whether a pod exists, by the API server's own word.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn has_pod(&self, namespace: &str, name: &str) -> Result<bool, CallError> {
        let api = Api::<PartialObjectMeta<Pod>>::namespaced(self.client.clone(), namespace);
        Ok(self.call("get", "pods", api.get_opt(name)).await?.is_some())
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        call: impl Future<Output = Result<T, KubeError>>,
    ) -> Result<T, CallError> {
        // Never closed; without a permit the call is merely not counted among the others.
        let _permit = self.calls.acquire().await;
        match timeout(DEADLINE, call).await {
            Ok(answer) => answer.map_err(|error| CallError::Failed { verb, resource, error: Box::new(error) }),
            Err(_) => Err(CallError::Deadline { verb, resource }),
        }
    }
}
