//! The controller behind a proxy that makes faults: whatever fails it comes to the same end, and deletes nothing that is in use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod api_server;
    pub mod controller;
    pub mod faults;
    pub mod waiting;
}

use std::time::Duration;

use futures_util::future::join_all;
use hyper::http::Request;
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    controller::{Running, SETTINGS, Tenant, eventually, settled},
    faults::{Fault, Faults},
};
use tokio::sync::{Mutex, MutexGuard};
use webshell::controller::{
    build::NAME,
    kind::Kind::{self, ConfigMap, Deployment, Ingress, NetworkPolicy, RoleBinding, Service, ServiceAccount},
};

/// What a namespace with WebShells has, under [`SETTINGS`].
const KINDS: [Kind; 7] = [ConfigMap, ServiceAccount, RoleBinding, NetworkPolicy, Service, Ingress, Deployment];

/// A server and a proxy before it. One test after the other has them, because a controller serves all namespaces.
struct Stage {
    server: &'static ApiServer,
    faults: Faults,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    async fn set() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let server = ApiServer::shared().await;
        Self { server, faults: Faults::before(server).await, _turn: turn }
    }

    async fn controller(&self, settings: &str) -> Running {
        Running::start_by(self.server, self.faults.config(), settings, "webshell-system", u64::MAX).await
    }

    async fn tenant(&self) -> Tenant {
        Tenant { client: self.server.client(), namespace: self.server.namespace().await }
    }

    /// A list as it is now.
    async fn list(&self, path: &str) -> Fault {
        let request = Request::get(path).body(Vec::new()).unwrap();
        Fault::Answer(self.server.client().request_text(request).await.unwrap().into())
    }

    /// Waits until nothing is written any more.
    async fn calm(&self) {
        settled(async || self.faults.calls("write *")).await;
    }
}

/// Applies WebShells, two that can be served and one that cannot, and waits until all is there.
async fn fill(tenant: &Tenant) {
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13", "port": 2222})).await;
    let unusable = json!({
        "target": {"host": "10.0.4.14"}, "credentials": {"secretRef": {"name": "s"}}, "hostKey": {"knownHosts": "nonsense"},
    });
    tenant.apply_shell_of("db-3", unusable).await;
    tenant.condition("db-1", "Accepted", "True/Valid").await;
    tenant.condition("db-2", "Accepted", "True/Valid").await;
    tenant.condition("db-3", "Accepted", "False/Invalid").await;
    tenant.objects(&KINDS).await;
    // The NetworkPolicy may have been made for the first one alone.
    let policy = tenant.api(NetworkPolicy);
    eventually("the second one's port", async || {
        policy.get(NAME).await.unwrap().data["spec"]["egress"].to_string().contains("2222").then_some(())
    })
    .await;
}

/// All that there is in a namespace, without what differs between any two.
async fn content(tenant: &Tenant) -> String {
    let mut all = Vec::new();
    for object in tenant.objects(&KINDS).await {
        let mut data = object.data.clone();
        data["status"] = Value::Null;
        for addresses in ["clusterIP", "clusterIPs"] {
            data.get_mut("spec").and_then(|spec| spec.as_object_mut()?.remove(addresses));
        }
        let owners: Vec<_> = object.owner_references().iter().map(|owner| &owner.kind).collect();
        all.push(json!({"labels": object.labels(), "owners": owners, "data": data}));
    }
    for shell in tenant.shells().list(&ListParams::default()).await.unwrap() {
        let mut status = shell.data["status"].clone();
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition["lastTransitionTime"] = Value::Null;
        }
        all.push(status);
    }
    Value::from(all).to_string().replace(&tenant.namespace, "NAMESPACE")
}

/// How often something was told of WebShells.
async fn told(tenant: &Tenant) -> i32 {
    let events: Api<Event> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    let events = events.list(&ListParams::default()).await.unwrap();
    events.iter().map(|event| event.series.as_ref().map_or(1, |series| series.count)).sum()
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn whatever_write_fails_the_end_is_the_same() {
    let stage = Stage::set().await;
    let running = stage.controller(SETTINGS).await;
    let spared = stage.tenant().await;
    fill(&spared).await;
    stage.calm().await;
    let (wanted, most_told) = (content(&spared).await, told(&spared).await);
    assert_eq!(most_told, 1, "what is wrong with the third");

    let rows = [
        ("patch *", Fault::Status(409)),
        ("patch *", Fault::Status(429)),
        ("patch *", Fault::Status(500)),
        ("patch *", Fault::Status(503)),
        ("patch *", Fault::Forget),
        ("patch *", Fault::Half),
        ("patch webshells/status", Fault::Status(500)),
        ("patch webshells/status", Fault::Forget),
        ("create events", Fault::Status(500)),
        ("create events", Fault::Hang),
        ("* *", Fault::Slow(Duration::from_millis(300))),
    ];
    let writes = join_all(rows.map(async |(pattern, fault)| {
        let tenant = stage.tenant().await;
        let times = if pattern == "create events" { 1 } else { 2 };
        let faults = stage.faults.times(times, &format!("{pattern} {}", tenant.namespace), fault.clone());
        fill(&tenant).await;
        faults.made(times).await;
        eventually(&format!("{pattern} {fault:?}: {wanted}"), async || {
            (content(&tenant).await == wanted).then_some(())
        })
        .await;
        drop(faults);
        assert!(told(&tenant).await <= most_told, "{pattern} {fault:?}");
    }));

    let rows = [Fault::Status(409), Fault::Status(500), Fault::Status(429), Fault::Forget, Fault::Half];
    let deletes = join_all(rows.map(async |fault| {
        let tenant = stage.tenant().await;
        fill(&tenant).await;
        let faults = stage.faults.times(2, &format!("delete * {}", tenant.namespace), fault);
        for name in ["db-1", "db-2", "db-3"] {
            tenant.delete_shell(name).await;
        }
        tenant.none_of(ConfigMap).await;
        faults.made(2).await;
    }));
    tokio::join!(writes, deletes);

    stage.calm().await;
    assert_eq!(content(&spared).await, wanted);
    for kind in ["conflict", "throttled", "server", "network"] {
        let line = format!("webshell_reconcile_errors_total{{kind=\"{kind}\"}} ");
        assert!(running.text().contains(&line), "{kind}: {}", running.text());
    }
    // Nothing is left behind that would be written yet.
    let versions = spared.versions().await;
    running.stop();
    let running = stage.controller(SETTINGS).await;
    eventually("a look at every namespace", async || (running.reconciles() >= 20).then_some(())).await;
    settled(async || running.reconciles()).await;
    assert!(!running.text().contains("webshell_api_writes_total{"), "{}", running.text());
    assert_eq!(spared.versions().await, versions);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn whatever_watch_fails_it_is_made_up_for() {
    let stage = Stage::set().await;
    let running = stage.controller(SETTINGS).await;
    let spared = stage.tenant().await;
    fill(&spared).await;
    let wanted = content(&spared).await;
    for fault in [Fault::Status(410), Fault::Status(429), Fault::Status(500), Fault::Gone, Fault::Half, Fault::Silence]
    {
        let tenant = stage.tenant().await;
        fill(&tenant).await;
        let (faults, deletes) = (stage.faults.on("watch *", fault.clone()), stage.faults.calls("delete *"));
        if !matches!(fault, Fault::Silence) {
            stage.faults.cut("watch *");
            let lists = stage.faults.calls("list *");
            // One of each kind, at least.
            faults.made(11).await;
            if matches!(fault, Fault::Status(410) | Fault::Gone) {
                stage.faults.called(lists + 11, "list *").await;
            }
        }
        // Lists that are asked for in place of watches fail, too.
        let lists = stage.faults.times(2, "list *", Fault::Half);
        let (new, made) = (stage.tenant().await, faults.count());
        new.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
        tenant.api(Service).delete(NAME, &DeleteParams::default()).await.unwrap();
        tenant.change(Deployment, json!({"spec": {"replicas": 3}})).await;
        faults.made(made + 1).await;
        drop((faults, lists));

        new.objects(&KINDS).await;
        let what = format!("{fault:?}: what was changed meanwhile");
        eventually(&what, async || (content(&tenant).await == wanted).then_some(())).await;
        assert_eq!(stage.faults.calls("delete *"), deletes, "{fault:?}");
    }
    stage.calm().await;
    assert_eq!(content(&spared).await, wanted);
    running.stop();
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn lists_from_the_past_delete_nothing() {
    let stage = Stage::set().await;
    let settings = format!("{SETTINGS}\nnamespaceSelector: {{matchLabels: {{webshell: 'yes'}}}}");
    let (used, relabelled, draining) = tokio::join!(stage.tenant(), stage.tenant(), stage.tenant());
    let namespaces: Api<Namespace> = Api::all(used.client.clone());
    let label = async |tenant: &Tenant| {
        let label = Patch::Merge(json!({"metadata": {"labels": {"webshell": "yes"}}}));
        namespaces.patch(&tenant.namespace, &PatchParams::default(), &label).await.unwrap();
    };
    label(&used).await;
    label(&draining).await;
    // No WebShells yet, one namespace that is not served yet, and no pods.
    let without = [
        ("webshells", stage.list("/apis/webshell.dev/v1alpha1/webshells").await),
        ("namespaces", stage.list("/api/v1/namespaces").await),
        ("pods", stage.list("/api/v1/pods").await),
    ];
    label(&relabelled).await;
    let running = stage.controller(&settings).await;
    tokio::join!(fill(&used), fill(&relabelled), fill(&draining));
    stage.calm().await;
    running.stop();
    let pods = draining.make_pod("webshell-gateway-1").await;
    for name in ["db-1", "db-2", "db-3"] {
        draining.delete_shell(name).await;
    }
    let uids =
        async |tenant: &Tenant| -> Vec<_> { tenant.objects(&KINDS).await.iter().map(|object| object.uid()).collect() };
    let before = (uids(&used).await, uids(&relabelled).await);
    let wanted = content(&used).await;

    let asks = [
        format!("list webshells {}", used.namespace),
        "get namespaces".to_owned(),
        format!("list pods {}", draining.namespace),
    ];
    let asked = asks.each_ref().map(|call| stage.faults.calls(call));
    let past = without.map(|(resource, list)| {
        let silence = stage.faults.on(&format!("watch {resource} -"), Fault::Silence);
        (stage.faults.on(&format!("list {resource} -"), list), silence)
    });
    let running = stage.controller(&settings).await;
    // What there is no more by these lists the API server is asked for.
    for (call, asked) in asks.iter().zip(asked) {
        stage.faults.called(asked + 1, call).await;
    }
    draining.none_of(Deployment).await;
    let stale = "webshell_reconcile_errors_total{kind=\"stale\"} ";
    eventually("a doubt", async || running.text().contains(stale).then_some(())).await;
    assert!(draining.api(ConfigMap).get_opt(NAME).await.unwrap().is_some(), "it drains under its own rights");
    drop(past);

    for tenant in [&used, &relabelled] {
        tenant.change(Service, json!({"spec": {"selector": {"app": "other"}}})).await;
        eventually("served again", async || (content(tenant).await == wanted).then_some(())).await;
    }
    assert_eq!((uids(&used).await, uids(&relabelled).await), before);
    pods.delete("webshell-gateway-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    draining.none_of(ConfigMap).await;
    assert_eq!(stage.faults.calls(&format!("delete * {}", used.namespace)), 0);
    running.stop();
}
