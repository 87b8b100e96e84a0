//! Makes a namespace have the objects that it should have, by no more writes than that takes.

use std::{sync::Arc, time::Instant};

use kube::core::DynamicObject;
use serde_json::Value;
use tracing::{debug, info};

use super::{
    api::CallError,
    build::{self, Input},
    digest::{self, Digest},
    kind::Kind,
    observe,
    reconcile::{Context, Error},
    state::{Child, Fact, Namespace, Observed, Report, Source, Trouble},
};
use crate::api::conditions::reasons;

/// The key set of an installation whose portals have published no key yet.
const NO_KEYS: &str = r#"{"keys":[]}"#;

/// What has become of the objects of a namespace.
#[derive(Debug, Default)]
pub struct Applied {
    /// What the API server did not take, and why.
    pub refused: Vec<(Kind, Trouble)>,
    /// The error of the first refusal.
    pub error: Option<CallError>,
    /// The gateway's replacement waits for others'.
    pub waits: bool,
}

/// Applies what is not as it should be, and removes what should not be there. Where nothing is left to own them, objects are left
/// to the garbage collector, which would remove each that is made.
///
/// # Errors
/// When the API server cannot be asked. What it refuses is no error here, because a status tells of it.
pub async fn apply(context: &Context, namespace: &str, state: &Namespace) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    let owners = context.cache.owners();
    if owners.is_empty() {
        return Ok(applied);
    }
    let keys = context.cache.keys();
    let input = Input {
        config: &context.config,
        namespace,
        system_namespace: &context.system_namespace,
        shells: state.shells.values().map(Arc::as_ref).collect(),
        keys: keys.as_deref().unwrap_or(NO_KEYS),
        owners: &owners,
    };
    let root = build::root(&input)?;
    let root = match ensure(context, namespace, state, Kind::ConfigMap, &root).await {
        Ok(root) => root,
        Err(error) => {
            applied.refuse(Kind::ConfigMap, namespace, error)?;
            // One that cannot be changed owns the rest as before.
            let Some(root) = state.children.get(&Kind::ConfigMap) else { return Ok(applied) };
            root.clone()
        }
    };
    if root.terminating {
        // What it owns goes with it. The next one is applied once this one is gone, which a watch will tell.
        return Ok(applied);
    }
    for (kind, object) in build::objects(&input, &root.uid) {
        let done = match object {
            Some(object) if kind == Kind::Deployment && is_held_back(context, namespace, state, &object) => {
                applied.waits = true;
                Ok(())
            }
            Some(object) => ensure(context, namespace, state, kind, &object).await.map(drop),
            None => drop_child(context, namespace, state, kind).await,
        };
        if let Err(error) = done {
            let is_route = matches!(kind, Kind::Ingress | Kind::HttpRoute);
            applied.refuse(kind, namespace, error)?;
            if !is_route {
                break;
            }
        }
    }
    Ok(applied)
}

/// Takes the gateway away: first the Deployment, then, when its pods have drained and are gone, the root, with which the garbage
/// collector removes the rest.
///
/// # Errors
/// When the API server does not do it, or knows of a WebShell or a pod that no watch has told of yet.
pub async fn remove(context: &Context, namespace: &str, state: &Namespace) -> Result<(), Error> {
    context.rollouts.end(namespace);
    let living = |kind| state.children.get(&kind).filter(|child| !child.terminating);
    let deployment = living(Kind::Deployment);
    let root = living(Kind::ConfigMap).filter(|_| state.pods.is_empty());
    if deployment.is_none() && root.is_none() {
        return Ok(());
    }
    // An empty watch cache must never read as "none left".
    let selected = state.itself.is_some_and(|itself| itself.selected);
    let wanted = if selected {
        context.server.has_shells(namespace).await?
    } else {
        context.server.is_selected(namespace, &context.selector).await?
    };
    if wanted {
        return Err(Error::Stale);
    }
    info!(namespace, "the gateway is removed");
    if let Some(child) = deployment {
        context.server.delete(Kind::Deployment, namespace, &child.uid).await?;
    }
    if let Some(child) = root {
        // Nor must an empty cache of pods.
        if context.server.has_pods(namespace).await? {
            return Err(Error::Stale);
        }
        context.server.delete(Kind::ConfigMap, namespace, &child.uid).await?;
    }
    Ok(())
}

// === impl Applied ===

impl Applied {
    /// Takes note of a refusal.
    fn refuse(&mut self, kind: Kind, namespace: &str, error: CallError) -> Result<(), Error> {
        let Some(message) = error.refusal().filter(|_| !error.is_terminating()) else { return Err(error.into()) };
        let mut trouble = observe::refusal(message);
        if trouble.reason == reasons::IMMUTABLE {
            trouble.message = format!("{}; {}", trouble.message, build::replacement(kind, namespace));
        }
        self.refused.push((kind, trouble));
        self.error.get_or_insert(error);
        Ok(())
    }
}

/// The object as it is once it is as it should be.
async fn ensure(
    context: &Context,
    namespace: &str,
    state: &Namespace,
    kind: Kind,
    object: &Value,
) -> Result<Child, CallError> {
    let wanted = digest::digest(&digest::body(object));
    let known = state.children.get(&kind);
    if let Some(child) = known.filter(|child| child.terminating || is_as(child, wanted)) {
        if matches!(child.report, Report::Deployment { complete: true, .. }) {
            context.rollouts.end(namespace);
        }
        return Ok(child.clone());
    }
    debug!(namespace, kind = kind.name(), "applying");
    let stored = context.server.apply(kind, namespace, object).await?;
    Ok(note(context, kind, wanted, &stored).unwrap_or_else(|| unknown(known)))
}

/// Whether an object is what was, or would be, applied.
fn is_as(child: &Child, wanted: Digest) -> bool {
    child.ours == wanted || child.stored_as == Some((wanted, child.ours))
}

/// Keeps what an applied object has become.
fn note(context: &Context, kind: Kind, wanted: Digest, stored: &DynamicObject) -> Option<Child> {
    let observed = observe::child(kind, stored)?;
    let Fact::Child(mut child) = observed.fact else { return None };
    child.stored_as = Some((wanted, child.ours)).filter(|_| child.ours != wanted);
    context.cache.note(Source::Children(kind), Observed { fact: Fact::Child(child.clone()), ..observed });
    Some(child)
}

/// An answer that does not even have a UID. A watch will tell what is there.
fn unknown(known: Option<&Child>) -> Child {
    known.cloned().unwrap_or(Child {
        uid: "".into(),
        terminating: true,
        ours: Digest::default(),
        template: None,
        stored_as: None,
        relabelled: None,
        report: Report::Nothing,
    })
}

async fn drop_child(context: &Context, namespace: &str, state: &Namespace, kind: Kind) -> Result<(), CallError> {
    match state.children.get(&kind).filter(|child| !child.terminating) {
        Some(child) => context.server.delete(kind, namespace, &child.uid).await,
        None => Ok(()),
    }
}

/// Whether the gateway would be replaced, and must wait for others to be first.
fn is_held_back(context: &Context, namespace: &str, state: &Namespace, object: &Value) -> bool {
    let Some(child) = state.children.get(&Kind::Deployment) else { return false };
    let wanted = object.pointer(build::TEMPLATE).map(digest::digest);
    let stored_alike = is_as(child, digest::digest(&digest::body(object)));
    child.template != wanted && !stored_alike && !context.rollouts.begin(namespace, Instant::now())
}
