//! The gateway's Deployment. A change of its pod template ends sessions, so nothing in it comes from a WebShell, and nothing
//! changes with a release: settings travel by the root ConfigMap.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use serde_json::{Value, json};

use super::{ADMIN, HTTP, NAME, labels, selector, with};
use crate::config::Gateway;

/// Where browsers connect, and where probes and metrics are served.
const HTTP_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

/// How much longer than its sessions a pod may live, in seconds: until proxies know, to tell users, and to end the last
/// connections.
const SPARE_SECONDS: u64 = 30;

/// How long a pod that is to stop goes on as before, in seconds: proxies learn of it no sooner than the pod does, and some take
/// their time.
const FAREWELL_SECONDS: u64 = 5;

/// What an idle gateway needs.
const REQUESTS: [(&str, &str); 2] = [("cpu", "5m"), ("memory", "24Mi")];

/// The spec of the Deployment.
pub(super) fn spec(gateway: &Gateway) -> Value {
    json!({
        "replicas": 1,
        "revisionHistoryLimit": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector()},
        "template": {"metadata": {"labels": labels()}, "spec": pod(gateway)},
    })
}

fn pod(gateway: &Gateway) -> Value {
    let pod = json!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": gateway.drain_timeout.get().as_secs() + SPARE_SECONDS,
        "securityContext": security(gateway.run_as_user),
        "containers": [container(gateway)],
    });
    // What is empty is not stored, and would look like drift.
    let given = |value: Value| Some(value).filter(|value| *value != json!([]) && *value != json!({}));
    let pod = with(pod, "imagePullSecrets", given(json!(gateway.image_pull_secrets)));
    let pod = with(pod, "nodeSelector", given(json!(gateway.node_selector)));
    with(pod, "tolerations", given(json!(gateway.tolerations)))
}

/// Of the pod. Its kubelet runs no image whose user is root, or has no number.
fn security(user: Option<u32>) -> Value {
    let context = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    with(with(context, "runAsUser", user), "runAsGroup", user)
}

fn container(gateway: &Gateway) -> Value {
    json!({
        "name": "gateway",
        "image": gateway.image,
        "imagePullPolicy": gateway.image_pull_policy,
        "args": [
            "gateway",
            "--listen", format!("0.0.0.0:{HTTP_PORT}"),
            "--admin-listen", format!("0.0.0.0:{ADMIN_PORT}"),
            "--drain-timeout", gateway.drain_timeout.to_string(),
        ],
        "env": [
            downward("WEBSHELL_NAMESPACE", "metadata.namespace"),
            downward("WEBSHELL_POD_NAME", "metadata.name"),
            downward("WEBSHELL_POD_UID", "metadata.uid"),
        ],
        "ports": [
            {"name": HTTP, "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": ADMIN, "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": probe("/healthz", 10),
        "readinessProbe": probe("/readyz", 5),
        "lifecycle": {"preStop": {"sleep": {"seconds": FAREWELL_SECONDS}}},
        "resources": resources(&gateway.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

/// A probe that is patient: a pod on a busy node, or one that does sums for a handshake, may be late, and to end it would end every
/// session.
fn probe(path: &str, period_seconds: u32) -> Value {
    json!({"httpGet": {"path": path, "port": ADMIN}, "periodSeconds": period_seconds, "timeoutSeconds": 5})
}

fn downward(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": field}}})
}

fn resources(given: &ResourceRequirements) -> Value {
    let mut resources = given.clone();
    resources.requests.get_or_insert_with(|| {
        let default = |(name, quantity): (&str, &str)| (name.to_owned(), Quantity(quantity.to_owned()));
        REQUESTS.into_iter().map(default).collect::<BTreeMap<_, _>>()
    });
    json!(resources)
}
