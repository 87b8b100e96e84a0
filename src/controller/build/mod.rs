//! From what is known of a namespace to the objects that its gateway is made of. Pure.
//!
//! The objects are JSON, as they are applied: exactly the fields that are ours. Within lists that an API server keeps as a whole
//! (rules, subjects, references) the defaults stand too, because they count as ours there.

mod deployment;
mod network_policy;
mod route;

use serde_json::{Map, Value, json};

use super::{
    kind::Kind,
    owner::Owners,
    state::{Shell, Target},
    validate::Verdict,
};
use crate::config::{Config, RouteKind};

/// The name of every object, and of the ClusterRole with the gateway's rights.
pub const NAME: &str = "webshell-gateway";

/// The labels of every object.
pub const LABELS: [(&str, &str); 3] = [
    ("app.kubernetes.io/name", NAME),
    ("app.kubernetes.io/part-of", "webshell"),
    ("app.kubernetes.io/managed-by", "webshell"),
];

/// Selects the gateway's pods, as its Deployment does. Everything else is found by its name, whatever becomes of its labels.
pub fn pod_selector() -> String {
    let [(name, value), ..] = LABELS;
    format!("{name}={value}")
}

/// Where the pod template is in a Deployment. Another one replaces the pods.
pub const TEMPLATE: &str = "/spec/template";

/// The name of the port for browsers, in pods and Services.
const HTTP: &str = "http";

/// The name of the port for probes and metrics.
const ADMIN: &str = "admin";

/// The port of the Service.
const SERVICE_PORT: u16 = 80;

/// What the objects of a namespace are made from.
pub struct Input<'a> {
    /// The installation's settings.
    pub config: &'a Config,
    /// The namespace.
    pub namespace: &'a str,
    /// The namespace of controller and portal.
    pub system_namespace: &'a str,
    /// Its WebShells.
    pub shells: Vec<&'a Shell>,
    /// The portals' public keys, as a JSON Web Key Set.
    pub keys: &'a str,
    /// What owns the root: one ClusterRole at least.
    pub owners: &'a Owners,
}

/// The root, which owns the other objects. It tells the gateway its settings.
///
/// # Errors
/// When the settings cannot be written as YAML. None are expected.
pub fn root(input: &Input<'_>) -> Result<Value, serde_saphyr::ser::Error> {
    let settings = serde_saphyr::to_string(&input.config.gateway_settings(input.namespace, input.system_namespace))?;
    let owners = input.owners.iter();
    let owners = owners.map(|(role, uid)| owner("rbac.authorization.k8s.io/v1", "ClusterRole", role.name(), uid));
    let data = json!({"gateway.yaml": settings, "keys.json": input.keys});
    Ok(object(Kind::ConfigMap, input.namespace, owners.collect(), [("data", data)]))
}

/// The other objects, in the order in which they are applied; `None` where the namespace should have none of a kind.
pub fn objects(input: &Input<'_>, root_uid: &str) -> Vec<(Kind, Option<Value>)> {
    let Input { config, namespace, .. } = input;
    let owners = || json!([owner("v1", "ConfigMap", NAME, root_uid)]);
    let make = |kind: Kind, spec: Value| Some(object(kind, namespace, owners(), [("spec", spec)]));
    let annotations = Some(&config.route.annotations).filter(|annotations| !annotations.is_empty());
    let make_route = |kind: Kind, spec: Value| {
        let mut route = object(kind, namespace, owners(), [("spec", spec)]);
        let metadata = route.get_mut("metadata").map(Value::take).unwrap_or_default();
        Some(with(route, "metadata", Some(with(metadata, "annotations", annotations.map(|given| json!(given))))))
    };
    let rest = Kind::ALL.into_iter().filter(|kind| *kind != Kind::ConfigMap);
    rest.map(|kind| {
        let object = match kind {
            Kind::ConfigMap => None,
            // Pods that ask for the token have it; nothing else that runs under this account does.
            Kind::ServiceAccount => {
                Some(object(kind, namespace, owners(), [("automountServiceAccountToken", json!(false))]))
            }
            Kind::RoleBinding => Some(object(kind, namespace, owners(), role_binding(namespace))),
            Kind::NetworkPolicy => network_policy::spec(config, input.system_namespace, &targets(&input.shells))
                .and_then(|spec| make(kind, spec)),
            Kind::Service => make(kind, service()),
            Kind::Ingress if config.route.kind == RouteKind::Ingress => {
                make_route(kind, route::ingress(&config.route, namespace))
            }
            Kind::HttpRoute if config.route.kind == RouteKind::HttpRoute => {
                make_route(kind, route::http_route(&config.route, namespace))
            }
            Kind::Ingress | Kind::HttpRoute => None,
            Kind::Deployment => make(kind, deployment::spec(&config.gateway)),
        };
        (kind, object)
    })
    .collect()
}

/// Which pods, Services and the like are a gateway's.
fn selector() -> Value {
    json!({"app.kubernetes.io/name": NAME})
}

fn labels() -> Value {
    json!(LABELS.into_iter().collect::<std::collections::BTreeMap<_, _>>())
}

fn object<const N: usize>(kind: Kind, namespace: &str, owners: Value, content: [(&str, Value); N]) -> Value {
    let resource = kind.resource();
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), resource.api_version.into());
    object.insert("kind".to_owned(), resource.kind.into());
    let metadata = json!({"name": NAME, "namespace": namespace, "labels": labels(), "ownerReferences": owners});
    object.insert("metadata".to_owned(), metadata);
    object.extend(content.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}

/// A reference to an owner. It blocks nothing: the garbage collector may take the owner first.
fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid})
}

/// How to have an object made anew that cannot be changed. What it owns stays, and so do sessions.
pub fn replacement(kind: Kind, namespace: &str) -> String {
    let name = kind.name().to_lowercase();
    format!("have it made anew: kubectl delete {name} {NAME} --namespace {namespace} --cascade=orphan")
}

/// The same object with another field, where there is something to say.
pub(super) fn with(mut object: Value, name: &str, value: Option<impl Into<Value>>) -> Value {
    if let (Some(fields), Some(value)) = (object.as_object_mut(), value) {
        fields.insert(name.to_owned(), value.into());
    }
    object
}

fn role_binding(namespace: &str) -> [(&'static str, Value); 2] {
    [
        ("roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME})),
        ("subjects", json!([{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}])),
    ]
}

fn service() -> Value {
    json!({
        "type": "ClusterIP",
        "selector": selector(),
        "ports": [{
            "name": HTTP,
            "port": SERVICE_PORT,
            "protocol": "TCP",
            "targetPort": HTTP,
            "appProtocol": "kubernetes.io/ws",
        }],
    })
}

/// Where the gateway must be able to connect to.
fn targets<'a>(shells: &[&'a Shell]) -> Vec<&'a Target> {
    let accepted = shells.iter().filter(|shell| shell.verdict == Verdict::Accepted);
    accepted.filter_map(|shell| shell.target.as_ref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::WebShellSpec,
        config,
        controller::{owner::Owner, validate},
    };

    fn shell(target: &str) -> Shell {
        let text =
            format!("{{target: {target}, credentials: {{secretRef: {{name: s}}}}, hostKey: {{policy: Insecure}}}}");
        let spec: WebShellSpec = serde_saphyr::from_str(&text).unwrap();
        Shell {
            uid: "u".into(),
            generation: 1,
            verdict: Verdict::Accepted,
            target: validate::target(&spec),
            ours: Default::default(),
            conditions: Vec::new(),
            gateways: Vec::new(),
        }
    }

    fn build(config: &str, targets: &[&str]) -> Vec<Value> {
        let config = config::parse("config", config).unwrap();
        let shells: Vec<_> = targets.iter().map(|target| shell(target)).collect();
        let input = Input {
            config: &config,
            namespace: "team-a",
            system_namespace: "webshell",
            shells: shells.iter().collect(),
            keys: r#"{"keys":[]}"#,
            owners: &[(Owner::Gateway, "role-uid".into()), (Owner::Controller, "other-uid".into())].into(),
        };
        let root = root(&input).unwrap();
        [root].into_iter().chain(objects(&input, "root-uid").into_iter().filter_map(|(_, object)| object)).collect()
    }

    const LEAST: &str = "{gateway: {image: 'webshell:1'}, route: {kind: Ingress, mode: Host, host: shell.example.com}}";

    const FULL: &str = "
gateway:
  image: registry.example.com/webshell:1
  imagePullPolicy: Always
  imagePullSecrets: [{name: pull}]
  resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 256Mi}}
  nodeSelector: {pool: edge}
  tolerations: [{key: edge, operator: Exists, effect: NoSchedule}]
  drainTimeout: 10m
  apiOutageGrace: 5m
  maxSessions: 64
  trustedProxies: [10.0.0.0/8]
  runAsUser: null
route:
  kind: HTTPRoute
  mode: Path
  host: shell.example.com
  annotations: {example.com/owner: platform}
  parentRefs: [{name: web, namespace: infra, sectionName: https}]
networkPolicy: strict
scrapers: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
policy: {deniedCidrs: [10.9.0.0/16], maxSessionsPerUser: 4}
loginLifetime: 1h
";

    #[test]
    fn the_least_settings_make_a_whole_gateway() {
        insta::assert_yaml_snapshot!(build(LEAST, &["{host: db-1.example.com}"]));
    }

    #[test]
    fn every_setting_has_its_place() {
        insta::assert_yaml_snapshot!(build(FULL, &["{host: 10.0.4.12}", "{serviceRef: {name: db-2}}"]));
    }

    #[test]
    fn another_webshell_changes_neither_route_nor_deployment() {
        for config in [LEAST, FULL] {
            let (one, two) = (build(config, &["{host: 10.0.4.12}"]), build(config, &["{host: 10.0.4.13, port: 2222}"]));
            for (one, two) in one.iter().zip(&two) {
                assert_eq!(one == two, one["kind"] != "NetworkPolicy", "{}", one["kind"]);
            }
        }
    }

    #[test]
    fn only_what_the_settings_ask_for_is_made() {
        let text =
            "{gateway: {image: 'webshell:1'}, route: {kind: None, mode: Path, host: a.example}, networkPolicy: off}";
        let kinds: Vec<_> = build(text, &["{host: a}"]).iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["ConfigMap", "ServiceAccount", "RoleBinding", "Service", "Deployment"]);
    }
}
