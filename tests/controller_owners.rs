//! The ClusterRoles that own what the controller makes, against a real API server and garbage collector: what becomes of gateways when
//! they go, one or both, and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod api_server;
    pub mod controller;
    pub mod garbage_collector;
    pub mod waiting;
}

use k8s_openapi::api::{core::v1::ConfigMap as ConfigMapObject, rbac::v1::ClusterRole};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, PostParams},
};
use serde_json::json;
use support::{
    api_server::ApiServer,
    controller::{Running, SETTINGS, Tenant, eventually, make_role, make_roles, settled, sum},
    garbage_collector::GarbageCollector,
};
use webshell::controller::{
    build::NAME,
    kind::Kind::{self, ConfigMap, Deployment, Ingress, NetworkPolicy, RoleBinding, Service, ServiceAccount},
    owner::Owner,
};

/// What a namespace with WebShells has, under [`SETTINGS`].
const KINDS: [Kind; 7] = [ConfigMap, ServiceAccount, RoleBinding, NetworkPolicy, Service, Ingress, Deployment];

/// How many namespaces there are.
const TENANTS: usize = 5;

/// An installation with a gateway that serves in each namespace.
struct Stage {
    server: ApiServer,
    roles: Api<ClusterRole>,
    running: Running,
    tenants: Vec<Tenant>,
    _collector: GarbageCollector,
}

impl Stage {
    async fn set() -> Self {
        let server = ApiServer::start().await;
        let collector = GarbageCollector::start(&server);
        let running = Running::start(&server, SETTINGS, "webshell-system").await;
        let mut tenants = Vec::new();
        for _ in 0..TENANTS {
            let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
            tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
            tenants.push(tenant);
        }
        for tenant in &tenants {
            tenant.objects(&KINDS).await;
            tenant.let_gateway_run().await;
            tenant.let_credentials_resolve("db-1").await;
            tenant.condition("db-1", "Ready", "True/Ready").await;
        }
        is_collecting(&tenants[0]).await;
        let roles = Api::all(server.client());
        let stage = Self { server, roles, running, tenants, _collector: collector };
        stage.calm().await;
        stage
    }

    async fn delete(&self, owner: Owner) {
        self.roles.delete(owner.name(), &DeleteParams::default()).await.unwrap();
    }

    /// The objects of all namespaces.
    async fn objects(&self) -> Vec<DynamicObject> {
        let mut objects = Vec::new();
        for tenant in &self.tenants {
            objects.extend(tenant.objects(&KINDS).await);
        }
        objects
    }

    async fn uids(&self) -> Vec<Option<String>> {
        self.objects().await.iter().map(|object| object.uid()).collect()
    }

    /// Waits until nothing is written any more; returns how many writes there were in all.
    async fn calm(&self) -> u64 {
        settled(async || sum(&self.running.metrics, "webshell_api_writes_total")).await
    }

    /// Waits until every root is owned by these alone.
    async fn owned_by(&self, owners: &[Owner]) {
        let mut wanted = Vec::new();
        for owner in owners {
            wanted.push(self.roles.get(owner.name()).await.unwrap().uid().unwrap());
        }
        for tenant in &self.tenants {
            let api = tenant.api(ConfigMap);
            eventually("the root\'s owners", async || {
                let root = api.get(NAME).await.unwrap();
                let mut found: Vec<_> = root.owner_references().iter().map(|owner| owner.uid.clone()).collect();
                let mut wanted = wanted.clone();
                found.sort_unstable();
                wanted.sort_unstable();
                (found == wanted).then_some(())
            })
            .await;
        }
    }
}

/// Waits until garbage is collected: what an owner that never was owns.
async fn is_collecting(tenant: &Tenant) {
    let api: Api<ConfigMapObject> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    let garbage = json!({"metadata": {"name": "garbage", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "e7b46c39-9dd1-4a35-8d4f-d2a1e4c6d7b8"},
    ]}});
    api.create(&PostParams::default(), &serde_json::from_value(garbage).unwrap()).await.unwrap();
    eventually("a collection", async || api.get_opt("garbage").await.unwrap().is_none().then_some(())).await;
}

#[tokio::test]
#[ignore = "needs an API server and a garbage collector: make test builds them"]
async fn a_role_that_is_deleted_ends_no_gateway_and_is_owner_again_when_it_is_back() {
    let stage = Stage::set().await;
    let (uids, before) = (stage.uids().await, stage.calm().await);
    stage.delete(Owner::Gateway).await;
    for tenant in &stage.tenants {
        let why = tenant.condition("db-1", "GatewayReady", "False/RoleMissing").await;
        assert!(why.starts_with("ClusterRole webshell-gateway is missing"), "{why}");
        tenant.condition("db-1", "Ready", "False/NotReady").await;
        let told = async || {
            let events = stage.server.kubectl(&["get", "events", "-n", &tenant.namespace, "-o", "json"]).unwrap();
            events.contains("RoleMissing").then_some(())
        };
        eventually("an event", told).await;
    }
    stage.owned_by(&[Owner::Controller]).await;
    let lost = stage.calm().await;
    // Of each namespace the root and the status, and the root once more where the garbage collector was quicker.
    let most = 3 * TENANTS as u64;
    assert!(lost - before <= most, "{} writes", lost - before);
    assert_eq!(stage.uids().await, uids);

    make_role(&stage.server.client(), Owner::Gateway).await;
    for tenant in &stage.tenants {
        tenant.condition("db-1", "Ready", "True/Ready").await;
    }
    stage.owned_by(&Owner::ALL).await;
    let mended = stage.calm().await;
    assert!(mended - lost <= most, "{} writes", mended - lost);
    assert_eq!(stage.uids().await, uids);
}

#[tokio::test]
#[ignore = "needs an API server and a garbage collector: make test builds them"]
async fn an_immutable_root_is_told_and_replaced_by_the_command_that_the_message_has() {
    let stage = Stage::set().await;
    let tenant = &stage.tenants[0];
    let uids = stage.uids().await;
    tenant.change(ConfigMap, json!({"immutable": true})).await;
    let why = tenant.condition("db-1", "GatewayReady", "False/Immutable").await;
    // Who has the last word is not kept from what can still be changed.
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13", "port": 2222})).await;
    let policy = tenant.api(NetworkPolicy);
    eventually("the new port", async || {
        policy.get(NAME).await.unwrap().data["spec"]["egress"].to_string().contains("2222").then_some(())
    })
    .await;

    let (_, command) = why.split_once("kubectl ").unwrap();
    stage.server.kubectl(&command.split(' ').collect::<Vec<_>>()).unwrap();
    tenant.condition("db-1", "Ready", "True/Ready").await;
    stage.owned_by(&Owner::ALL).await;
    stage.calm().await;
    let after = stage.uids().await;
    assert_ne!(after[0], uids[0]);
    assert_eq!(after[1..], uids[1..], "the gateway and all else is the same");
}

#[tokio::test]
#[ignore = "needs an API server and a garbage collector: make test builds them"]
async fn without_either_role_all_goes_and_nothing_is_made_until_they_are_back() {
    let stage = Stage::set().await;
    let before = stage.calm().await;
    for owner in Owner::ALL {
        stage.delete(owner).await;
    }
    for tenant in &stage.tenants {
        let why = async || tenant.condition("db-1", "GatewayReady", "False/RoleMissing").await;
        let both = "ClusterRoles webshell-gateway and webshell-controller are missing";
        eventually(both, async || why().await.starts_with(both).then_some(())).await;
        for kind in KINDS {
            tenant.none_of(kind).await;
        }
    }
    let lost = stage.calm().await;
    // Each object once more at most, where its removal was seen before that of the roles, and the status with each role.
    let most = (KINDS.len() + 3) * TENANTS;
    assert!(lost - before <= most as u64, "{} writes", lost - before);
    for tenant in &stage.tenants {
        tenant.none_of(ConfigMap).await;
    }

    make_roles(&stage.server.client()).await;
    stage.objects().await;
    stage.owned_by(&Owner::ALL).await;
}
