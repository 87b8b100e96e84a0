//! The controller against a real API server: what it makes of WebShells, what it puts back, and what it leaves alone.
//!
//! No other controllers run there: what Kubernetes would do besides (pods, garbage collection) is done by the tests, or not at
//! all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod api_server;
    pub mod controller;
    pub mod waiting;
}

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::Selector,
    runtime::{
        wait::{await_condition, conditions::is_crd_established},
        watcher::Event,
    },
};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    controller::{PATIENCE, Running, SETTINGS, Tenant, eventually, settled},
};
use tokio::{sync::OnceCell, time::timeout};
use webshell::{
    config,
    controller::{
        api::Server,
        apply,
        build::NAME,
        cache::Cache,
        kind::Kind::{
            self, ConfigMap, Deployment, HttpRoute, Ingress, NetworkPolicy, RoleBinding, Service, ServiceAccount,
        },
        metrics::ControllerMetrics,
        observe,
        reconcile::{Context, Error},
        state::{Fact, Itself, Observed, Source},
    },
    events::Events,
};

/// What a namespace with WebShells has, under [`SETTINGS`].
const KINDS: [Kind; 7] = [ConfigMap, ServiceAccount, RoleBinding, NetworkPolicy, Service, Ingress, Deployment];

/// Settings with routes of the Gateway API, and the name of their definition.
const ROUTED: &str = "
gateway: {image: 'webshell:1'}
route: {kind: HTTPRoute, mode: Path, host: shell.example.com, probe: false, parentRefs: [{name: web, namespace: infra}]}
";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// A namespace that the controller serves which most tests share.
async fn tenant() -> Tenant {
    static SHARED: OnceCell<Running> = OnceCell::const_new();
    let server = ApiServer::shared().await;
    SHARED.get_or_init(|| Running::start(server, SETTINGS, "webshell-system")).await;
    Tenant { client: server.client(), namespace: server.namespace().await }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_webshell_has_a_gateway_made_for_it() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    let objects = tenant.objects(&KINDS).await;

    let root = &objects[0];
    let owners: Vec<_> = root.owner_references().iter().map(|owner| (&*owner.kind, &*owner.name)).collect();
    assert_eq!(owners, [("ClusterRole", "webshell-gateway"), ("ClusterRole", "webshell-controller")]);
    let settings = root.data["data"]["gateway.yaml"].as_str().unwrap();
    assert!(settings.contains("origin: https://gateways.shell.example.com\n"), "{settings}");
    for object in &objects[1..] {
        let [owner] = object.owner_references() else { panic!("{object:?}") };
        assert_eq!(Some(&owner.uid), root.metadata.uid.as_ref());
    }

    tenant.condition("db-1", "Accepted", "True/Valid").await;
    tenant.condition("db-1", "GatewayReady", "False/Progressing").await;
    tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
    let why = tenant.condition("db-1", "Ready", "False/NotReady").await;
    assert!(why.starts_with("GatewayReady is False (Progressing)"), "{why}");
    tenant.status("db-1", "target", json!("10.0.4.12:22")).await;
    tenant.status("db-1", "observedGeneration", json!(1)).await;
    let url = format!("https://gateways.shell.example.com/{}/db-1/", tenant.namespace);
    tenant.status("db-1", "url", json!(url)).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_webshell_is_ready_once_all_that_it_needs_is() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.objects(&KINDS).await;
    tenant.let_gateway_run().await;
    tenant.condition("db-1", "GatewayReady", "True/Available").await;
    let why = tenant.condition("db-1", "Ready", "False/NotReady").await;
    assert!(why.starts_with("CredentialsResolved is Unknown"), "{why}");

    tenant.change_status(Ingress, json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})).await;
    tenant.condition("db-1", "RouteReady", "True/Routed").await;

    tenant.let_credentials_resolve("db-1").await;
    tenant.condition("db-1", "Ready", "True/Ready").await;
    tenant.condition("db-1", "CredentialsResolved", "True/Resolved").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_second_webshell_changes_neither_route_nor_deployment() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.condition("db-1", "Accepted", "True/Valid").await;
    let versions = async || {
        let objects = tenant.objects(&[Ingress, Deployment, Service, ConfigMap]).await;
        objects.iter().map(|object| object.resource_version().unwrap()).collect::<Vec<_>>()
    };
    let before = versions().await;
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13", "port": 2222})).await;
    tenant.condition("db-2", "Accepted", "True/Valid").await;
    let policy = tenant.object(NetworkPolicy).await;
    assert!(policy.data["spec"]["egress"].to_string().contains("2222"), "{policy:?}");
    assert_eq!(versions().await, before);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn drift_is_put_back() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.objects(&KINDS).await;
    for (kind, pointer, change) in [
        (Deployment, "/spec/replicas", json!({"spec": {"replicas": 3}})),
        (ConfigMap, "/data/gateway.yaml", json!({"data": {"gateway.yaml": "portal: https://evil.example"}})),
        (Service, "/spec/selector", json!({"spec": {"selector": {"app": "evil"}}})),
        (Ingress, "/spec/rules/0/host", json!({"spec": {"rules": [{"host": "evil.example"}]}})),
        (NetworkPolicy, "/spec/egress", json!({"spec": {"egress": [{}]}})),
        (RoleBinding, "/subjects", json!({"subjects": []})),
        (ServiceAccount, "/automountServiceAccountToken", json!({"automountServiceAccountToken": true})),
    ] {
        let before = tenant.object(kind).await.data.pointer(pointer).cloned();
        tenant.change(kind, change).await;
        let api = tenant.api(kind);
        eventually(kind.name(), async || {
            let now = api.get(NAME).await.unwrap().data.pointer(pointer).cloned();
            (now == before).then_some(())
        })
        .await;
    }
    let removed: Value = json!({"metadata": {"labels": {"app.kubernetes.io/name": null}, "ownerReferences": null}});
    tenant.change(Service, removed).await;
    let api = tenant.api(Service);
    eventually("labels and owner", async || {
        let service = api.get(NAME).await.unwrap();
        (service.labels().len() == 3 && service.owner_references().len() == 1).then_some(())
    })
    .await;
    for kind in [Service, Deployment, RoleBinding] {
        let uid = tenant.object(kind).await.uid();
        tenant.api(kind).delete(NAME, &DeleteParams::default()).await.unwrap();
        let api = tenant.api(kind);
        eventually(kind.name(), async || {
            let object = api.get_opt(NAME).await.unwrap()?;
            (object.uid() != uid).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_others_add_is_left_to_them() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.condition("db-1", "Accepted", "True/Valid").await;
    let before = settled(async || tenant.versions().await).await;
    tenant.change(Service, json!({"metadata": {"annotations": {"example.com/theirs": "x"}}})).await;
    let after = settled(async || tenant.versions().await).await;
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(tenant.object(Service).await.annotations()["example.com/theirs"], "x");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_last_webshell_takes_the_root_with_it_and_another_brings_it_back() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13", "port": 2222})).await;
    let root = tenant.objects(&KINDS).await[0].uid();
    tenant.condition("db-2", "Accepted", "True/Valid").await;
    tenant.delete_shell("db-1").await;
    let policy = tenant.api(NetworkPolicy);
    eventually("the other's port alone", async || {
        let ports = policy.get(NAME).await.unwrap().data["spec"]["egress"].to_string();
        (ports.contains("2222") && !ports.contains(r#""port":22,"#)).then_some(())
    })
    .await;
    assert_eq!(tenant.object(ConfigMap).await.uid(), root);

    tenant.delete_shell("db-2").await;
    tenant.none_of(Deployment).await;
    tenant.none_of(ConfigMap).await;
    // The garbage collector, which does not run here, would remove the rest with their owner.
    assert!(tenant.api(Service).get_opt(NAME).await.unwrap().is_some());

    tenant.apply_shell("db-3", json!({"host": "10.0.4.14"})).await;
    let again = tenant.object(ConfigMap).await.uid();
    assert_ne!(again, root);
    for kind in [Service, Ingress, Deployment] {
        let api = tenant.api(kind);
        eventually(kind.name(), async || {
            let object = api.get_opt(NAME).await.unwrap()?;
            let owners = object.owner_references();
            (owners.len() == 1 && Some(&owners[0].uid) == again.as_ref()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_root_waits_for_the_gateways_pods() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.objects(&KINDS).await;
    let pods = tenant.make_pod("webshell-gateway-1").await;
    let entry = json!({"gateways": [{"pod": "webshell-gateway-1", "activeSessions": 2}]});
    tenant.apply_status("db-1", "webshell-gateway/webshell-gateway-1", entry).await;
    tenant.status("db-1", "activeSessions", json!(2)).await;

    tenant.delete_shell("db-1").await;
    tenant.none_of(Deployment).await;
    settled(async || tenant.versions().await).await;
    assert!(tenant.api(ConfigMap).get_opt(NAME).await.unwrap().is_some(), "it drains under its own rights");
    pods.delete("webshell-gateway-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    tenant.none_of(ConfigMap).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_a_gone_pod_told_is_cleared_and_sessions_of_the_others_are_summed() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.objects(&KINDS).await;
    let pods = tenant.make_pod("webshell-gateway-1").await;
    tenant.make_pod("webshell-gateway-2").await;
    for (pod, sessions) in [("webshell-gateway-1", 2), ("webshell-gateway-2", 3)] {
        let entry = json!({"gateways": [{"pod": pod, "activeSessions": sessions}]});
        tenant.apply_status("db-1", &format!("webshell-gateway/{pod}"), entry).await;
    }
    tenant.status("db-1", "activeSessions", json!(5)).await;
    pods.delete("webshell-gateway-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    tenant.status("db-1", "activeSessions", json!(3)).await;
    tenant.status("db-1", "gateways", json!([{"pod": "webshell-gateway-2", "activeSessions": 3}])).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn portal_keys_reach_every_gateway() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.object(ConfigMap).await;
    let system = Tenant { namespace: "webshell-system".to_owned(), ..tenant.clone() };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "webshell-system"}});
    let namespaces: Api<Namespace> = Api::all(tenant.client.clone());
    namespaces.patch("webshell-system", &PatchParams::apply("test"), &Patch::Apply(namespace)).await.unwrap();
    let key = r#"{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"AQ"}"#;
    let published = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "webshell-portal-keys"}, "data": {"k1.json": key},
    });
    let api = system.api(ConfigMap);
    api.patch("webshell-portal-keys", &PatchParams::apply("test"), &Patch::Apply(published)).await.unwrap();
    let root = tenant.api(ConfigMap);
    eventually("the key", async || {
        let keys = root.get(NAME).await.unwrap().data["data"]["keys.json"].as_str().unwrap().to_owned();
        (keys == format!(r#"{{"keys":[{key}]}}"#)).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_the_policy_of_the_cluster_refuses_is_told_and_recovers() {
    let tenant = tenant().await;
    let policy = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": tenant.namespace}, "spec": spec,
        })
    };
    let rules =
        json!([{"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"], "operations": ["CREATE"]}]);
    let refuse = json!({
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "no Deployments on Sundays", "reason": "Forbidden"}],
    });
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": tenant.namespace}});
    let binding = json!({
        "policyName": tenant.namespace, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here},
    });
    let server = ApiServer::shared().await;
    for object in [policy("ValidatingAdmissionPolicy", refuse), policy("ValidatingAdmissionPolicyBinding", binding)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        server.kubectl(&["apply", "-f", file.path().to_str().unwrap()]).unwrap();
    }
    // A policy takes effect a moment after it is made.
    let probe = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    });
    let deployments = tenant.api(Deployment);
    eventually("a refusal", async || {
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply("test") };
        deployments.patch("probe", &parameters, &Patch::Apply(&probe)).await.is_err().then_some(())
    })
    .await;

    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    let why = tenant.condition("db-1", "GatewayReady", "False/AdmissionDenied").await;
    assert!(why.starts_with("Deployment was refused: ") && why.contains("no Deployments on Sundays"), "{why}");
    let events = eventually("an event", async || {
        let events = server.kubectl(&["get", "events", "-n", &tenant.namespace, "-o", "json"]).unwrap();
        events.contains("AdmissionDenied").then_some(events)
    });
    assert!(events.await.contains("no Deployments on Sundays"));
    let listed =
        |format: &[&str]| server.kubectl(&[&["get", "wsh", "-n", &tenant.namespace], format].concat()).unwrap();
    let wide =
        async || Some(listed(&["-o", "wide"])).filter(|text| text.contains("GatewayReady is False (AdmissionDenied)"));
    let wide = eventually("the reason", wide).await;
    assert!(wide.lines().next().unwrap().ends_with("REASON"), "{wide}");
    assert!(!listed(&[]).contains("AdmissionDenied"));

    server.kubectl(&["delete", "validatingadmissionpolicybinding", &tenant.namespace]).unwrap();
    tenant.condition("db-1", "GatewayReady", "False/Progressing").await;
    tenant.object(Deployment).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_namespace_that_goes_is_left_alone() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.condition("db-1", "Accepted", "True/Valid").await;
    let before = settled(async || tenant.versions().await).await;
    // Nobody ends the deletion here, so the namespace stays as it is while it goes.
    Api::<Namespace>::all(tenant.client.clone()).delete(&tenant.namespace, &DeleteParams::default()).await.unwrap();
    tenant.change(Service, json!({"spec": {"selector": {"app": "other"}}})).await;
    let after = settled(async || tenant.versions().await).await;
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 1, "only what was just changed by hand");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn at_rest_and_after_a_restart_nothing_is_written() {
    let server = ApiServer::start().await;
    let running = Running::start(&server, SETTINGS, "webshell-system").await;
    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    for n in 0..20 {
        tenant.apply_shell(&format!("db-{n}"), json!({"host": format!("10.0.4.{n}"), "port": 22 + n})).await;
    }
    for n in 0..20 {
        tenant.condition(&format!("db-{n}"), "Accepted", "True/Valid").await;
    }
    let before = settled(async || tenant.versions().await).await;
    running.stop();

    let running = Running::start(&server, SETTINGS, "webshell-system").await;
    // The namespaces of the server's own, and this one.
    let namespaces = Api::<Namespace>::all(tenant.client.clone()).list(&ListParams::default()).await.unwrap();
    let all = namespaces.items.len() as u64;
    eventually("a look at every namespace", async || (running.reconciles() >= all).then_some(())).await;
    settled(async || running.reconciles()).await;
    let text = running.text();
    assert!(!text.contains("webshell_api_writes_total{"), "{text}");
    assert_eq!(tenant.versions().await, before);
    assert!(text.contains("webshell_webshells{condition=\"Accepted\",status=\"True\"} 20\n"), "{text}");

    // Nobody ends the deletion of a namespace here but the test.
    let namespaces: Api<Namespace> = Api::all(tenant.client.clone());
    namespaces.delete(&tenant.namespace, &DeleteParams::default()).await.unwrap();
    let mut gone = namespaces.get(&tenant.namespace).await.unwrap();
    gone.spec = None;
    namespaces.replace_subresource("finalize", &tenant.namespace, &Default::default(), &gone).await.unwrap();
    eventually("nothing left to count", async || {
        let text = running.text();
        let none = text.contains("webshell_webshells{condition=\"Accepted\",status=\"True\"} 0\n");
        (none && text.contains("webshell_reconcile_queue 0\n")).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_controller_killed_after_any_write_is_taken_up_where_it_was() {
    let server = ApiServer::start().await;
    // Seven objects, and the status of two WebShells.
    for writes in 0..9 {
        let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
        for (name, host) in [("db-1", "10.0.4.12"), ("db-2", "10.0.4.13")] {
            tenant.apply_shell(name, json!({"host": host})).await;
        }
        Running::start_for(&server, SETTINGS, "webshell-system", writes).await.killed().await;
        let running = Running::start(&server, SETTINGS, "webshell-system").await;
        tenant.condition("db-1", "Accepted", "True/Valid").await;
        tenant.condition("db-2", "Accepted", "True/Valid").await;
        let objects = tenant.objects(&KINDS).await;
        for object in &objects[1..] {
            let owners: Vec<_> = object.owner_references().iter().map(|owner| Some(owner.uid.clone())).collect();
            assert_eq!(owners, [objects[0].uid()], "after {writes} writes");
        }
        running.stop();
    }
    // The Deployment, then the root.
    for writes in 0..2 {
        let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
        tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
        let running = Running::start(&server, SETTINGS, "webshell-system").await;
        tenant.condition("db-1", "Accepted", "True/Valid").await;
        running.stop();
        tenant.delete_shell("db-1").await;
        Running::start_for(&server, SETTINGS, "webshell-system", writes).await.killed().await;
        let running = Running::start(&server, SETTINGS, "webshell-system").await;
        tenant.none_of(Deployment).await;
        tenant.none_of(ConfigMap).await;
        running.stop();
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_malformed_webshell_hurts_no_other() {
    let server = ApiServer::start().await;
    let client = server.client();
    // As if objects had been stored under a laxer definition.
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let lax = json!({"spec": {"versions": [{
        "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }]}});
    definitions.patch("webshells.webshell.dev", &PatchParams::default(), &Patch::Merge(lax)).await.unwrap();
    let _running = Running::start(&server, SETTINGS, "webshell-system").await;
    let tenant = Tenant { client, namespace: server.namespace().await };
    let malformed = [
        ("no-spec", json!(null)),
        ("text", json!("text")),
        ("numbers", json!({"target": {"host": 5}, "credentials": [], "hostKey": 0})),
        (
            "two-targets",
            json!({
                "target": {"host": "a", "serviceRef": {"name": "b"}}, "credentials": {"secretRef": {"name": "s"}},
                "hostKey": {"policy": "Insecure"},
            }),
        ),
    ];
    for (name, spec) in malformed.clone() {
        let name_it = async || {
            let shell = json!({
                "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell", "metadata": {"name": name}, "spec": spec,
            });
            let shell: DynamicObject = serde_json::from_value(shell).unwrap();
            tenant.shells().create(&Default::default(), &shell).await.ok()
        };
        // A changed definition takes effect a moment later.
        eventually("a malformed WebShell", name_it).await;
    }
    tenant.apply_shell("good", json!({"host": "10.0.4.12"})).await;
    tenant.condition("good", "Accepted", "True/Valid").await;
    tenant.objects(&KINDS).await;
    for (name, _) in malformed {
        let why = tenant.condition(name, "Accepted", "False/Invalid").await;
        assert!(why.starts_with("spec"), "{why}");
        tenant.condition(name, "Ready", "False/NotReady").await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn only_selected_namespaces_are_served() {
    let server = ApiServer::start().await;
    let settings = format!("{SETTINGS}\nnamespaceSelector: {{matchLabels: {{webshell: 'yes'}}}}");
    let _running = Running::start(&server, &settings, "webshell-system").await;
    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    let why = tenant.condition("db-1", "Accepted", "False/ForbiddenByPolicy").await;
    assert!(why.contains(&tenant.namespace), "{why}");
    assert!(tenant.api(ConfigMap).get_opt(NAME).await.unwrap().is_none());

    let namespaces: Api<Namespace> = Api::all(tenant.client.clone());
    let label = async |value: Value| {
        let change = Patch::Merge(json!({"metadata": {"labels": {"webshell": value}}}));
        namespaces.patch(&tenant.namespace, &PatchParams::default(), &change).await.unwrap();
    };
    label(json!("yes")).await;
    tenant.condition("db-1", "Accepted", "True/Valid").await;
    tenant.objects(&KINDS).await;

    label(json!(null)).await;
    tenant.condition("db-1", "Accepted", "False/ForbiddenByPolicy").await;
    tenant.none_of(Deployment).await;
    tenant.none_of(ConfigMap).await;
}

/// Lets an API server know HTTPRoutes.
async fn define_routes(client: &Client) -> Api<CustomResourceDefinition> {
    // As much of the Gateway API as a route of ours has.
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {
            "name": ROUTES,
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2997"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&Default::default(), &definition).await.unwrap();
    await_condition(definitions.clone(), ROUTES, is_crd_established()).await.unwrap();
    definitions
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_kind_of_routes_may_change() {
    let server = ApiServer::start().await;
    let client = server.client();
    define_routes(&client).await;
    let running = Running::start(&server, ROUTED, "webshell-system").await;
    let tenant = Tenant { client, namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.object(HttpRoute).await;
    let said = |resolved: &str| {
        let condition =
            |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "R", "message": "m"});
        let conditions = [condition("Accepted", "True"), condition("ResolvedRefs", resolved)];
        json!({"parents": [{"parentRef": {"name": "web", "namespace": "infra"}, "conditions": conditions}]})
    };
    tenant.change_status(HttpRoute, said("False")).await;
    let why = tenant.condition("db-1", "RouteReady", "False/NotAccepted").await;
    assert_eq!(why, "Gateway web: ResolvedRefs is False, R: m");
    tenant.change_status(HttpRoute, said("True")).await;
    tenant.condition("db-1", "RouteReady", "True/Routed").await;
    running.stop();

    let _running = Running::start(&server, SETTINGS, "webshell-system").await;
    tenant.none_of(HttpRoute).await;
    tenant.object(Ingress).await;
    tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_definition_that_is_gone_is_told_and_noticed_when_it_is_back() {
    let server = ApiServer::start().await;
    let client = server.client();
    let definitions = define_routes(&client).await;
    let _running = Running::start(&server, ROUTED, "webshell-system").await;
    let tenant = Tenant { client: client.clone(), namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    let uid = tenant.object(HttpRoute).await.uid();

    definitions.delete(ROUTES, &DeleteParams::default()).await.unwrap();
    // Before that, while the definition is being removed, the API server has other words.
    eventually("the words", async || {
        let why = tenant.condition("db-1", "RouteReady", "False/NotAccepted").await;
        (why == "HTTPRoute was refused: the API server knows no such kind; install its definition").then_some(())
    })
    .await;
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13"})).await;
    tenant.condition("db-2", "Accepted", "True/Valid").await;

    define_routes(&client).await;
    tenant.condition("db-1", "RouteReady", "Unknown/NotReported").await;
    assert_ne!(tenant.object(HttpRoute).await.uid(), uid);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn who_changes_labels_of_our_objects_at_each_write_is_told_of_and_blinds_nobody() {
    let server = ApiServer::start_with(&[
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
    ])
    .await;
    let policy = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": kind, "metadata": {"name": "labels"}, "spec": spec,
        })
    };
    let rules =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE", "UPDATE"]}]);
    let label = r#"'app.kubernetes.io/name' in object.metadata.?labels.orValue({})"#;
    let remove =
        r#"[JSONPatch{op: "remove", path: "/metadata/labels/" + jsonpatch.escapeKey("app.kubernetes.io/name")}]"#;
    let mutate = json!({
        "matchConstraints": {"resourceRules": rules},
        "matchConditions": [{"name": "ours", "expression": "object.metadata.?name.orValue('') in ['webshell-gateway', 'probe']"}],
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": format!("{label} ? {remove} : []")}}],
    });
    for object in [
        policy("MutatingAdmissionPolicy", mutate),
        policy("MutatingAdmissionPolicyBinding", json!({"policyName": "labels"})),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        server.kubectl(&["apply", "-f", file.path().to_str().unwrap()]).unwrap();
    }
    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    // A policy takes effect a moment after it is made.
    let probe = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "probe", "labels": {"app.kubernetes.io/name": "webshell-gateway"}},
    });
    let config_maps = tenant.api(ConfigMap);
    eventually("a change", async || {
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply("test") };
        let made = config_maps.patch("probe", &parameters, &Patch::Apply(&probe)).await.unwrap();
        made.labels().is_empty().then_some(())
    })
    .await;

    let _running = Running::start(&server, SETTINGS, "webshell-system").await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    let root = tenant.objects(&KINDS).await[0].uid();
    tenant.let_gateway_run().await;
    let told = async || {
        let why = tenant.condition("db-1", "GatewayReady", "True/Available").await;
        why.contains("ConfigMap webshell-gateway: label app.kubernetes.io/name was taken away").then_some(())
    };
    eventually("what was taken away", told).await;

    config_maps.delete(NAME, &DeleteParams::default()).await.unwrap();
    let again = async || config_maps.get_opt(NAME).await.unwrap().filter(|again| again.uid() != root);
    let again = eventually("the root again", again).await.uid();
    for kind in [Service, Deployment] {
        let api = tenant.api(kind);
        eventually(kind.name(), async || {
            let object = api.get(NAME).await.unwrap();
            (Some(&object.owner_references()[0].uid) == again.as_ref()).then_some(())
        })
        .await;
    }
    // Nobody fights.
    settled(async || tenant.versions().await).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn an_empty_cache_removes_nothing() {
    let tenant = tenant().await;
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.objects(&KINDS).await;
    let root = observe::child(ConfigMap, &tenant.object(ConfigMap).await).unwrap();
    let metrics = ControllerMetrics::default();
    let context = Context {
        config: config::parse("settings", SETTINGS).unwrap(),
        selector: Selector::default(),
        system_namespace: "webshell".to_owned(),
        cache: Arc::new(Cache::new([], metrics.clone())),
        server: Server::new(tenant.client.clone(), metrics.clone()),
        events: Events::new(tenant.client.clone(), "controller", "Reconcile", "test"),
        metrics,
        rollouts: Default::default(),
        failures: Default::default(),
        probes: Default::default(),
        counted: Default::default(),
    };
    // The root is known, the WebShell is not: its watch is behind.
    let name: Box<str> = tenant.namespace.as_str().into();
    let fact = Fact::Namespace(Itself { terminating: false, selected: true });
    let namespace = Observed { namespace: name.clone(), name: name.clone(), version: 1, fact };
    context.cache.take(Source::Namespaces, Event::Apply(namespace));
    context.cache.take(Source::Children(ConfigMap), Event::Apply(root));
    let state = context.cache.get(&name);
    let removed = timeout(PATIENCE, apply::remove(&context, &name, &state)).await.unwrap();
    assert!(matches!(removed, Err(Error::Stale)), "{removed:?}");
    assert!(tenant.api(ConfigMap).get_opt(NAME).await.unwrap().is_some());
}
