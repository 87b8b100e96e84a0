//! The CRD on a real API server: what it takes, completes and prints, and what it refuses, with which words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support {
    pub mod api_server;
}

use kube::{
    Api, Error,
    api::{DynamicObject, ListParams, PostParams},
    core::{ApiResource, Status},
};
use serde_json::{Value, json};
use support::api_server::ApiServer;
use webshell::api::WebShell;

/// The least that a WebShell must have.
fn spec() -> Value {
    json!({
        "target": {"host": "10.0.4.12"},
        "credentials": {"secretRef": {"name": "db-1-ssh"}},
        "hostKey": {"knownHosts": "10.0.4.12 ssh-ed25519 AAAA"},
    })
}

/// Creates one; returns it as the server has it, or the server's complaint.
async fn create(server: &ApiServer, namespace: &str, name: &str, spec: Value) -> Result<Value, Status> {
    let kind = ApiResource::erase::<WebShell>(&());
    let shells: Api<DynamicObject> = Api::namespaced_with(server.client(), namespace, &kind);
    let shell = DynamicObject::new(name, &kind).data(json!({"spec": spec}));
    match shells.create(&PostParams::default(), &shell).await {
        Ok(shell) => Ok(shell.data["spec"].clone()),
        Err(Error::Api(complaint)) => Err(*complaint),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_examples_are_taken_and_printed() {
    let server = ApiServer::shared().await;
    server.kubectl(&["create", "namespace", "examples"]).unwrap();
    server.kubectl(&["apply", "--filename", concat!(env!("CARGO_MANIFEST_DIR"), "/examples")]).unwrap();
    let table = server.kubectl(&["get", "wsh", "--namespace", "examples"]).unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAME", "TARGET", "READY", "URL", "SESSIONS", "AGE"]);
    let names: Vec<_> = lines.map(|line| line[0]).collect();
    assert_eq!(names, ["key", "password", "pinned-1", "pinned-2"]);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn defaults_are_filled_in() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace().await;
    let spec = create(server, &namespace, "least", spec()).await.unwrap();
    assert_eq!(spec["target"], json!({"host": "10.0.4.12", "port": 22, "connectTimeout": "10s"}));
    assert_eq!(spec["hostKey"]["policy"], "Strict");
    assert_eq!(
        spec["session"],
        json!({"idleTimeout": "30m", "maxDuration": "8h", "detachTimeout": "5m", "maxSessions": 16})
    );
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn contradictions_are_refused_with_a_word_on_what_to_do() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace().await;
    let service = json!({"name": "db-1", "port": "ssh"});
    for (pointer, value, complaint) in [
        ("/target", json!({"host": "10.0.4.12", "serviceRef": service}), "needs exactly one of host and serviceRef"),
        ("/target", json!({}), "needs exactly one of host and serviceRef"),
        ("/target", json!({"host": "10.0.4.12", "port": 0}), "should be greater than or equal to 1"),
        ("/target", json!({"host": "10.0.4.12", "connectTimeout": "6m"}), "must be between 1s and 5m"),
        ("/hostKey", json!({"policy": "Strict"}), "policy Strict needs knownHosts or secretRef"),
        ("/hostKey", json!({}), "policy Strict needs knownHosts or secretRef"),
        (
            "/hostKey",
            json!({"knownHosts": "10.0.4.12 ssh-ed25519 AAAA", "secretRef": {"name": "keys"}}),
            "has both knownHosts and secretRef",
        ),
        ("/credentials", json!({"secretRef": {"name": "../other/secret"}}), "should match"),
    ] {
        let mut spec = spec();
        *spec.pointer_mut(pointer).unwrap() = value.clone();
        let refused = create(server, &namespace, "bad", spec).await.expect_err(&format!("{pointer} {value}"));
        assert_eq!(refused.code, 422, "{pointer} {value}");
        assert!(refused.message.contains(complaint), "{pointer} {value}: {}", refused.message);
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_server_decides_by_rbac_who_may() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace().await;
    let list = async |user: &str, groups: &[&str]| {
        let shells: Api<WebShell> = Api::namespaced(server.client_as(user, groups), &namespace);
        shells.list(&ListParams::default()).await.map(|list| list.items.len())
    };
    assert_eq!(list("ann", &["system:masters"]).await.unwrap(), 0);
    let Err(Error::Api(refused)) = list("ann", &["system:authenticated"]).await else { panic!("ann may list") };
    assert_eq!(refused.code, 403);
    let binding = format!("--namespace={namespace}");
    server
        .kubectl(&["create", "role", "lister", "--verb=list", "--resource=webshells.webshell.dev", &binding])
        .unwrap();
    server.kubectl(&["create", "rolebinding", "lister", "--role=lister", "--group=team", &binding]).unwrap();
    assert_eq!(list("ann", &["team"]).await.unwrap(), 0);
}
