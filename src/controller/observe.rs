//! From an object, as a watch or the answer to a write has it, to the facts that are kept of it. Pure.

use std::sync::Arc;

use k8s_openapi::api::{core::v1, rbac::v1::ClusterRole};
use kube::core::{DynamicObject, ObjectMeta, PartialObjectMeta, Selector, SelectorExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::{
    build, digest,
    kind::Kind,
    state::{Child, Fact, Itself, Observed, Pod, Report, Routed, Seen, Shell, Trouble},
    validate::{self, Verdict},
};
use crate::{
    api::{
        WebShellSpec,
        conditions::{ACCEPTED, CREDENTIALS_RESOLVED, GATEWAY_READY, READY, ROUTE_READY, reasons},
    },
    config::Config,
    watch,
};

/// The field manager of everything that the controller writes.
pub const FIELD_MANAGER: &str = "webshell-controller";

/// The condition types that are kept.
const CONDITIONS: [&str; 5] = [ACCEPTED, CREDENTIALS_RESOLVED, GATEWAY_READY, ROUTE_READY, READY];

/// The longest message that is kept or passed on, in characters. Those of API servers can quote whole objects.
const MAX_MESSAGE: usize = 512;

/// A Namespace.
pub fn namespace(object: &PartialObjectMeta<v1::Namespace>, selector: &Selector) -> Option<Observed> {
    let meta = &object.metadata;
    let name: Box<str> = meta.name.as_deref()?.into();
    let labels = meta.labels.as_ref();
    let selected = labels.map_or_else(|| selector.matches(&Default::default()), |labels| selector.matches(labels));
    let fact = Fact::Namespace(Itself { terminating: meta.deletion_timestamp.is_some(), selected });
    Some(Observed { namespace: name.clone(), name, version: watch::version(meta), fact })
}

/// A WebShell. One that cannot be read has the reason, and a status all the same.
pub fn shell(object: &DynamicObject, config: &Config) -> Option<Observed> {
    let meta = &object.metadata;
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let (verdict, target) = match WebShellSpec::deserialize(spec) {
        Ok(spec) => (validate::validate(&spec, config), validate::target(&spec)),
        Err(error) => {
            (Verdict::Invalid(format!("spec cannot be read: {}; correct it", shorten(&error.to_string()))), None)
        }
    };
    let status = object.data.get("status");
    let list = |name: &str| status.and_then(|status| status.get(name)?.as_array()).into_iter().flatten();
    let shell = Shell {
        uid: meta.uid.as_deref()?.into(),
        generation: meta.generation.unwrap_or_default(),
        verdict,
        target,
        ours: digest::digest(&digest::owned(object, FIELD_MANAGER, Some("status"))),
        conditions: list("conditions").filter_map(condition).collect(),
        gateways: list("gateways").filter_map(gateway).collect(),
    };
    observed(meta, Fact::Shell(Arc::new(shell)))
}

/// A ClusterRole that owns our objects.
pub fn owner(object: &PartialObjectMeta<ClusterRole>) -> Option<Observed> {
    let meta = &object.metadata;
    let uid = meta.uid.as_deref().filter(|_| meta.deletion_timestamp.is_none());
    let fact = Fact::Owner(uid.map(Box::from));
    Some(Observed { namespace: "".into(), name: meta.name.as_deref()?.into(), version: watch::version(meta), fact })
}

/// A pod of a gateway.
pub fn pod(object: &v1::Pod) -> Option<Observed> {
    let uid = object.metadata.uid.as_deref()?.into();
    let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let pod = Pod { uid, created, trouble: pod_trouble(object), lost_with: lost_with(object).map(Box::from) };
    observed(&object.metadata, Fact::Pod(pod))
}

/// An object of ours.
pub fn child(kind: Kind, object: &DynamicObject) -> Option<Observed> {
    let meta = &object.metadata;
    if meta.name.as_deref() != Some(build::NAME) {
        return None;
    }
    let ours = digest::owned(object, FIELD_MANAGER, None);
    let child = Child {
        uid: meta.uid.as_deref()?.into(),
        terminating: meta.deletion_timestamp.is_some(),
        ours: digest::digest(&ours),
        template: ours.pointer(build::TEMPLATE).map(digest::digest),
        stored_as: None,
        relabelled: relabelled(meta),
        report: match kind {
            Kind::ConfigMap => Report::Root { immutable: object.data.get("immutable") == Some(&Value::Bool(true)) },
            Kind::Deployment => deployment(object),
            Kind::Ingress => Report::Route(ingress(object)),
            Kind::HttpRoute => Report::Route(http_route(object)),
            _ => Report::Nothing,
        },
    };
    observed(meta, Fact::Child(child))
}

/// What happened, and the words for it where there are any.
pub fn told(what: &str, words: &str) -> String {
    if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") }
}

/// A message as it is kept: not at any length.
pub fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(MAX_MESSAGE).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

fn observed(meta: &ObjectMeta, fact: Fact) -> Option<Observed> {
    let namespace = meta.namespace.as_deref()?.into();
    Some(Observed { namespace, name: meta.name.as_deref()?.into(), version: watch::version(meta), fact })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn condition(value: &Value) -> Option<Seen> {
    let type_ = CONDITIONS.into_iter().find(|type_| *type_ == text(value, "type"))?;
    let status = text(value, "status");
    let message = if status == "True" { String::new() } else { shorten(text(value, "message")) };
    Some(Seen {
        type_,
        status: status.into(),
        reason: text(value, "reason").into(),
        message: message.into(),
        since: text(value, "lastTransitionTime").into(),
        generation: value.get("observedGeneration").and_then(Value::as_i64),
    })
}

fn gateway(value: &Value) -> Option<(Box<str>, i32)> {
    let sessions = value.get("activeSessions").and_then(Value::as_i64).unwrap_or_default();
    Some((value.get("pod")?.as_str()?.into(), i32::try_from(sessions).unwrap_or(i32::MAX)))
}

fn pod_trouble(pod: &v1::Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let trouble = |reason, cause: &str, message: Option<&str>| {
        Some(Trouble { reason, message: shorten(&told(cause, message.unwrap_or_default())) })
    };
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return trouble(reasons::UNSCHEDULABLE, "no node takes the pod", condition.message.as_deref());
    }
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((container, waiting.reason.as_deref()?, waiting.message.as_deref()))
    });
    match waiting {
        Some((_, cause, message)) if is_image_cause(cause) => trouble(reasons::IMAGE_PULL, cause, message),
        Some((container, cause @ "CrashLoopBackOff", _)) => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let exit = last.map(|last| format!("it ended with exit code {}", last.exit_code));
            trouble(reasons::CRASHING, cause, exit.as_deref())
        }
        Some((_, cause, message)) if cause.ends_with("Error") => trouble(reasons::CRASHING, cause, message),
        _ => None,
    }
}

/// The node of a pod that is lost with it. Whoever watches nodes says then that the pod is not ready, while what its containers
/// said last stands.
fn lost_with(pod: &v1::Pod) -> Option<&str> {
    let conditions = &pod.status.as_ref()?.conditions;
    let condition = |type_: &str| conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let ready = condition("Ready").filter(|ready| ready.status == "False")?;
    let gated = ready.reason.as_deref() == Some("ReadinessGatesNotReady");
    let containers_ready = condition("ContainersReady").is_some_and(|ready| ready.status == "True");
    pod.spec.as_ref()?.node_name.as_deref().filter(|_| containers_ready && !gated)
}

/// What has become of a label that every object of ours has, where it is not as it should be.
fn relabelled(meta: &ObjectMeta) -> Option<Box<str>> {
    let value = |name: &str| meta.labels.as_ref()?.get(name);
    let (name, _) = build::LABELS.into_iter().find(|(name, ours)| value(name).is_none_or(|value| value != ours))?;
    let Some(value) = value(name) else { return Some(format!("label {name} was taken away").into()) };
    let field = format!("/f:metadata/f:labels/f:{}", name.replace('/', "~1"));
    let entries = meta.managed_fields.iter().flatten();
    let by = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&field).is_some()))
        .find_map(|entry| entry.manager.as_deref().filter(|manager| *manager != FIELD_MANAGER));
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    Some(shorten(&format!("label {name} was changed to {value:?}{by}")).into())
}

fn is_image_cause(cause: &str) -> bool {
    cause.contains("Image") || cause == "RegistryUnavailable" || cause == "SignatureValidationFailed"
}

fn deployment(object: &DynamicObject) -> Report {
    let data = &object.data;
    let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let observed = number("/status/observedGeneration") >= object.metadata.generation.unwrap_or_default();
    let replicas = number("/status/replicas");
    let available = number("/status/availableReplicas");
    let updated = number("/status/updatedReplicas");
    let failure = items(data, "/status/conditions")
        .find(|condition| text(condition, "type") == "ReplicaFailure" && text(condition, "status") == "True");
    Report::Deployment {
        available: available > 0,
        complete: observed && available > 0 && updated == replicas && available == replicas,
        stalled: items(data, "/status/conditions").any(|condition| {
            text(condition, "type") == "Progressing" && text(condition, "reason") == "ProgressDeadlineExceeded"
        }),
        trouble: failure.map(|failure| refusal(text(failure, "message"))),
    }
}

/// Why an object was refused, from what the API server said.
pub fn refusal(message: &str) -> Trouble {
    let reason = if message.contains("exceeded quota") || message.contains("failed quota") {
        reasons::QUOTA
    } else if message.contains("immutable") || message.contains("cannot change roleRef") {
        reasons::IMMUTABLE
    } else {
        reasons::ADMISSION
    };
    Trouble { reason, message: shorten(message) }
}

fn ingress(object: &DynamicObject) -> Routed {
    let addressed = items(&object.data, "/status/loadBalancer/ingress").next().is_some();
    if addressed { Routed::Accepted } else { Routed::Unknown }
}

/// Every Gateway that the route names must have taken it. What is said of another, or of the route as it was before, does not count.
fn http_route(object: &DynamicObject) -> Routed {
    let data = &object.data;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let is_current = |condition: &&Value| {
        condition.get("observedGeneration").and_then(Value::as_i64).is_none_or(|observed| observed >= generation)
    };
    let wanted: Vec<_> = items(data, "/spec/parentRefs").map(|parent| parent_key(parent, namespace)).collect();
    let mut accepted = 0;
    for key in &wanted {
        let is_of = |said: &&Value| said.get("parentRef").is_some_and(|parent| parent_key(parent, namespace) == *key);
        let mut is_accepted = false;
        for said in items(data, "/status/parents").filter(is_of) {
            let conditions = || items(said, "/conditions").filter(is_current);
            let condition = |type_| conditions().find(|condition| text(condition, "type") == type_);
            for type_ in ["Accepted", "ResolvedRefs"] {
                if let Some(refused) = condition(type_).filter(|condition| text(condition, "status") == "False") {
                    let what = format!("Gateway {}: {type_} is False, {}", key.name, text(refused, "reason"));
                    let words = Some(text(refused, "message")).filter(|words| !words.is_empty());
                    let words = words.unwrap_or_else(|| why_refused(text(refused, "reason")));
                    return Routed::Refused(shorten(&told(&what, words)));
                }
            }
            let holds = |type_| condition(type_).is_some_and(|condition| text(condition, "status") == "True");
            is_accepted |= holds("Accepted") && holds("ResolvedRefs");
        }
        accepted += usize::from(is_accepted);
    }
    if !wanted.is_empty() && accepted == wanted.len() { Routed::Accepted } else { Routed::Unknown }
}

/// What tells one parent of a route from another, with the defaults that a controller may have filled in.
#[derive(PartialEq, Eq)]
struct ParentKey<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    section: &'a str,
    port: Option<i64>,
}

fn parent_key<'a>(parent: &'a Value, of_route: &'a str) -> ParentKey<'a> {
    let or = |field, default| parent.get(field).and_then(Value::as_str).unwrap_or(default);
    ParentKey {
        group: or("group", "gateway.networking.k8s.io"),
        kind: or("kind", "Gateway"),
        namespace: or("namespace", of_route),
        name: text(parent, "name"),
        section: text(parent, "sectionName"),
        port: parent.get("port").and_then(Value::as_i64),
    }
}

/// What a reason of the Gateway API means, where its controller says no more.
fn why_refused(reason: &str) -> &'static str {
    match reason {
        "NotAllowedByListeners" => "its listeners allow no routes of this namespace (allowedRoutes)",
        "NoMatchingListenerHostname" => "none of its listeners has the route's host",
        "NoMatchingParent" => "it has no listener of that sectionName and port",
        "RefNotPermitted" => "a ReferenceGrant is missing",
        "BackendNotFound" => "it does not find the Service",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config, controller::state::Target};

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn config() -> Config {
        config::parse("config", "gateway: {image: 'webshell:1'}\nroute: {kind: None, mode: Path, host: a.example}")
            .unwrap()
    }

    fn shell_of(value: Value) -> Arc<Shell> {
        match shell(&object(value), &config()).unwrap().fact {
            Fact::Shell(shell) => shell,
            other => panic!("{other:?}"),
        }
    }

    fn child_of(kind: Kind, mut value: Value) -> Child {
        value["metadata"] = json!({
            "name": "webshell-gateway", "namespace": "team-a", "uid": "u", "resourceVersion": "7", "generation": 2,
        });
        match child(kind, &object(value)).unwrap().fact {
            Fact::Child(child) => child,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_webshell_that_cannot_be_read_is_kept_with_the_reason() {
        for spec in [json!(null), json!("text"), json!({"target": {"host": 5}}), json!({"target": {"port": 99999}})] {
            let shell = shell_of(json!({
                "metadata": {"name": "a", "namespace": "b", "uid": "u", "generation": 3, "resourceVersion": "1"},
                "spec": spec, "status": {"conditions": "none", "gateways": [5]},
            }));
            assert!(matches!(&shell.verdict, Verdict::Invalid(text) if text.starts_with("spec cannot be read: ")));
            assert_eq!((shell.generation, &shell.target), (3, &None));
        }
    }

    #[test]
    fn of_a_webshell_the_status_is_kept() {
        let shell = shell_of(json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "generation": 1, "resourceVersion": "1"},
            "spec": {
                "target": {"host": "fd00::1"}, "credentials": {"secretRef": {"name": "s"}}, "hostKey": {"policy": "Insecure"},
            },
            "status": {
                "gateways": [{"pod": "p1", "activeSessions": 2}],
                "conditions": [
                    {"type": "Other", "status": "True"},
                    {"type": "CredentialsResolved", "status": "False", "reason": "NotFound", "message": "no Secret s",
                     "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1},
                ],
            },
        }));
        assert_eq!(shell.verdict, Verdict::Accepted);
        assert_eq!(shell.target.as_ref().map(Target::to_string).as_deref(), Some("[fd00::1]:22"));
        assert_eq!(shell.gateways, [("p1".into(), 2)]);
        let [seen] = shell.conditions.as_slice() else { panic!("{shell:?}") };
        assert_eq!((seen.type_, &*seen.status, &*seen.message), (CREDENTIALS_RESOLVED, "False", "no Secret s"));
    }

    #[test]
    fn only_objects_of_our_name_are_ours() {
        let other = json!({"metadata": {"name": "other", "namespace": "a", "uid": "u"}});
        assert!(child(Kind::Service, &object(other)).is_none());
    }

    #[test]
    fn a_pods_trouble_is_told_by_its_own_words() {
        let waiting = |reason: &str, message: &str| {
            json!({"containerStatuses": [{
                "name": "gateway", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": {"terminated": {"exitCode": 101}},
            }]})
        };
        for (status, expected) in [
            (json!({}), None),
            (waiting("ContainerCreating", ""), None),
            (waiting("ImagePullBackOff", "not found"), Some(("ImagePullFailed", "ImagePullBackOff: not found"))),
            (waiting("ErrImagePull", ""), Some(("ImagePullFailed", "ErrImagePull"))),
            (waiting("InvalidImageName", ""), Some(("ImagePullFailed", "InvalidImageName"))),
            (
                waiting("CrashLoopBackOff", "back-off"),
                Some(("Crashing", "CrashLoopBackOff: it ended with exit code 101")),
            ),
            (waiting("CreateContainerConfigError", "no key"), Some(("Crashing", "CreateContainerConfigError: no key"))),
            (
                json!({"conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
                }]}),
                Some(("Unschedulable", "no node takes the pod: 0/3 nodes")),
            ),
        ] {
            let pod: v1::Pod = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
            let trouble = pod_trouble(&pod);
            assert_eq!(trouble.as_ref().map(|t| (t.reason, t.message.as_str())), expected);
        }
    }

    #[test]
    fn a_deployment_says_whether_it_serves() {
        let report = |status| child_of(Kind::Deployment, json!({"status": status})).report;
        let state = |available, complete| Report::Deployment { available, complete, stalled: false, trouble: None };
        assert_eq!(report(json!({})), state(false, false));
        let done = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(report(done), state(true, true));
        let unseen = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(report(unseen), state(true, false));
        let rolling = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(report(rolling), state(true, false));
        let late =
            json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        assert!(matches!(report(late), Report::Deployment { stalled: true, .. }));
    }

    #[test]
    fn refused_pods_are_told_from_each_other() {
        for (message, reason) in [
            ("pods \"x\" is forbidden: exceeded quota: q, requested: pods=1", "QuotaExceeded"),
            ("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"", "AdmissionDenied"),
            ("admission webhook \"w\" denied the request: no", "AdmissionDenied"),
            ("ConfigMap \"w\" is invalid: data: Forbidden: field is immutable when `immutable` is set", "Immutable"),
            ("RoleBinding \"w\" is invalid: roleRef: Invalid value: {}: cannot change roleRef", "Immutable"),
        ] {
            let status =
                json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}});
            let Report::Deployment { trouble: Some(trouble), .. } = child_of(Kind::Deployment, status).report else {
                panic!("no trouble")
            };
            assert_eq!((trouble.reason, trouble.message.as_str()), (reason, message));
        }
    }

    #[test]
    fn a_route_is_ready_once_its_controller_says_so() {
        let ingress = |status| child_of(Kind::Ingress, json!({"status": status})).report;
        assert_eq!(ingress(json!({"loadBalancer": {}})), Report::Route(Routed::Unknown));
        assert_eq!(
            ingress(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})),
            Report::Route(Routed::Accepted)
        );

        let parent = |accepted: &str, resolved: &str| {
            json!({"parentRef": {"name": "web"}, "conditions": [
                {"type": "Accepted", "status": accepted, "reason": "R", "message": "m"},
                {"type": "ResolvedRefs", "status": resolved, "reason": "RefNotPermitted", "message": "no grant"},
            ]})
        };
        let route = |parents: Value| {
            let spec = json!({"parentRefs": [{"name": "web"}]});
            child_of(Kind::HttpRoute, json!({"spec": spec, "status": {"parents": parents}})).report
        };
        assert_eq!(route(json!([])), Report::Route(Routed::Unknown));
        assert_eq!(route(json!([parent("True", "True")])), Report::Route(Routed::Accepted));
        assert_eq!(route(json!([parent("True", "Unknown")])), Report::Route(Routed::Unknown));
        let refused = "Gateway web: ResolvedRefs is False, RefNotPermitted: no grant".to_owned();
        assert_eq!(route(json!([parent("True", "False")])), Report::Route(Routed::Refused(refused)));
    }

    #[test]
    fn of_a_route_only_what_is_said_of_its_parents_as_they_are_counts() {
        let conditions = |accepted: &str, generation: i64, message: &str| {
            let condition = |type_: &str, status: &str| {
                json!({
                    "type": type_, "status": status, "reason": "NotAllowedByListeners", "message": message,
                    "observedGeneration": generation,
                })
            };
            json!([condition("Accepted", accepted), condition("ResolvedRefs", "True")])
        };
        let said = |parent: Value, conditions: Value| json!({"parentRef": parent, "conditions": conditions});
        let route = |parents: Value| {
            let spec = json!({"parentRefs": [{"name": "web", "namespace": "infra", "sectionName": "https"}]});
            match child_of(Kind::HttpRoute, json!({"spec": spec, "status": {"parents": parents}})).report {
                Report::Route(routed) => routed,
                other => panic!("{other:?}"),
            }
        };
        // As a controller fills it in. The route's generation is 2.
        let now = json!({
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web", "namespace": "infra", "sectionName": "https",
        });
        let before = json!({"name": "old", "namespace": "infra", "sectionName": "https"});
        let elsewhere = json!({"name": "web", "sectionName": "https"});
        let accepted = said(now.clone(), conditions("True", 2, ""));
        for (parents, expected) in [
            (json!([accepted]), Routed::Accepted),
            (json!([said(before.clone(), conditions("False", 1, "")), accepted]), Routed::Accepted),
            (json!([said(before, conditions("True", 2, ""))]), Routed::Unknown),
            (json!([said(elsewhere, conditions("True", 2, ""))]), Routed::Unknown),
            (json!([said(now.clone(), conditions("True", 1, ""))]), Routed::Unknown),
            (json!([said(now.clone(), conditions("False", 1, "no"))]), Routed::Unknown),
            (
                json!([said(now.clone(), conditions("False", 2, "no"))]),
                Routed::Refused("Gateway web: Accepted is False, NotAllowedByListeners: no".to_owned()),
            ),
            (
                json!([said(now, conditions("False", 2, ""))]),
                Routed::Refused(
                    "Gateway web: Accepted is False, NotAllowedByListeners: its listeners allow no routes of this namespace (allowedRoutes)"
                        .to_owned(),
                ),
            ),
        ] {
            assert_eq!(route(parents.clone()), expected, "{parents}");
        }
        assert_eq!(told("Accepted is False, Odd", why_refused("Odd")), "Accepted is False, Odd");
    }

    #[test]
    fn a_pod_whose_node_is_lost_is_told_from_one_that_is_not_ready() {
        let lost = |ready: &str, reason: &str, containers: &str| {
            let conditions = json!([
                {"type": "Ready", "status": ready, "reason": reason}, {"type": "ContainersReady", "status": containers},
            ]);
            let pod = json!({"metadata": {}, "spec": {"nodeName": "n1", "containers": []}, "status": {"conditions": conditions}});
            lost_with(&serde_json::from_value(pod).unwrap()).map(ToOwned::to_owned)
        };
        assert_eq!(lost("False", "", "True").as_deref(), Some("n1"));
        assert_eq!(lost("True", "", "True"), None);
        assert_eq!(lost("False", "ContainersNotReady", "False"), None);
        assert_eq!(lost("False", "ReadinessGatesNotReady", "True"), None);
    }

    #[test]
    fn a_label_that_is_not_as_it_should_be_is_named() {
        let of = |labels: Value, fields: Value| {
            let meta = json!({"labels": labels, "managedFields": [
                {"manager": "webshell-controller", "fieldsV1": {"f:metadata": {"f:labels": {"f:app.kubernetes.io/part-of": {}}}}},
                {"manager": "labeller", "fieldsV1": fields},
            ]});
            relabelled(&serde_json::from_value(meta).unwrap()).map(String::from)
        };
        let ours = |part_of: &str| {
            json!({
                "app.kubernetes.io/name": "webshell-gateway", "app.kubernetes.io/part-of": part_of,
                "app.kubernetes.io/managed-by": "webshell", "theirs": "x",
            })
        };
        assert_eq!(of(ours("webshell"), json!({})), None);
        let taken = of(json!({"app.kubernetes.io/managed-by": "webshell"}), json!({}));
        assert_eq!(taken.as_deref(), Some("label app.kubernetes.io/name was taken away"));
        let changed = of(ours("theirs"), json!({"f:metadata": {"f:labels": {"f:app.kubernetes.io/part-of": {}}}}));
        assert_eq!(changed.as_deref(), Some(r#"label app.kubernetes.io/part-of was changed to "theirs" by labeller"#));
        let changed = of(ours("theirs"), json!({}));
        assert_eq!(changed.as_deref(), Some(r#"label app.kubernetes.io/part-of was changed to "theirs""#));
    }
}
