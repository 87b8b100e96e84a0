//! How browsers are led to the gateway: one path for the whole namespace, because any edit of a route makes common ingress
//! controllers drop every open WebSocket.

use serde_json::{Value, json};

use super::{NAME, SERVICE_PORT, with};
use crate::config::{ParentRef, Route, RouteMode, Scheme};

/// The spec of the Ingress.
pub(super) fn ingress(route: &Route, namespace: &str) -> Value {
    let host = route.host(namespace);
    let backend = json!({"service": {"name": NAME, "port": {"number": SERVICE_PORT}}});
    let path = json!({"path": path(route, namespace), "pathType": "Prefix", "backend": backend});
    let tls = (route.scheme == Scheme::Https).then(|| {
        // Without a Secret it is the ingress controller's own certificate: keys are never copied into tenants' namespaces.
        json!([with(json!({"hosts": [host]}), "secretName", route.tls_secret_name.as_deref())])
    });
    let spec = json!({"rules": [{"host": host, "http": {"paths": [path]}}]});
    with(with(spec, "ingressClassName", route.ingress_class_name.as_deref()), "tls", tls)
}

/// The spec of the HTTPRoute.
pub(super) fn http_route(route: &Route, namespace: &str) -> Value {
    let backend = json!({"group": "", "kind": "Service", "name": NAME, "port": SERVICE_PORT, "weight": 1});
    json!({
        "parentRefs": route.parent_refs.iter().map(parent).collect::<Vec<_>>(),
        "hostnames": [route.host(namespace)],
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": path(route, namespace)}}],
            "backendRefs": [backend],
        }],
    })
}

fn parent(reference: &ParentRef) -> Value {
    let parent = json!({
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": reference.name,
        "namespace": reference.namespace,
    });
    with(parent, "sectionName", reference.section_name.as_deref())
}

fn path(route: &Route, namespace: &str) -> String {
    match route.mode {
        RouteMode::Host => "/".to_owned(),
        RouteMode::Path => format!("/{namespace}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn route(more: &str) -> Route {
        config::parse("route", &format!("{{kind: Ingress, host: shell.example.com, {more}}}")).unwrap()
    }

    fn path_of(ingress: &Value) -> &Value {
        &ingress["rules"][0]["http"]["paths"][0]["path"]
    }

    #[test]
    fn a_namespace_has_a_host_or_a_path() {
        let by_host = ingress(&route("mode: Host"), "team-a");
        assert_eq!(by_host["rules"][0]["host"], "team-a.shell.example.com");
        assert_eq!(path_of(&by_host), "/");
        let by_path = ingress(&route("mode: Path"), "team-a");
        assert_eq!(by_path["rules"][0]["host"], "gateways.shell.example.com");
        assert_eq!(path_of(&by_path), "/team-a/");
        assert_eq!(http_route(&route("mode: Path"), "team-a")["rules"][0]["matches"][0]["path"]["value"], "/team-a/");
    }

    #[test]
    fn a_certificate_is_named_only_where_one_is_given() {
        let tls = |more: &str| ingress(&route(more), "team-a").get("tls").cloned();
        assert_eq!(tls("mode: Path"), Some(json!([{"hosts": ["gateways.shell.example.com"]}])));
        assert_eq!(
            tls("mode: Path, tlsSecretName: cert"),
            Some(json!([{"hosts": ["gateways.shell.example.com"], "secretName": "cert"}]))
        );
        assert_eq!(tls("mode: Path, scheme: http"), None);
    }

    #[test]
    fn a_class_is_named_only_where_one_is_given() {
        assert_eq!(ingress(&route("mode: Path"), "a").get("ingressClassName"), None);
        assert_eq!(ingress(&route("mode: Path, ingressClassName: traefik"), "a")["ingressClassName"], "traefik");
    }
}
