//! A controller in a thread of its own, and words for what tests do in a namespace and wait for.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{
    fmt::Debug,
    thread::{self, JoinHandle},
    time::Duration,
};

use k8s_openapi::api::{core::v1::Pod, rbac::v1::ClusterRole};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use prometheus_client::encoding::text::encode;
use serde_json::{Value, json};
use tokio::{
    runtime,
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use webshell::{
    api::WebShell,
    cli,
    client::from_config,
    config::{self, Config},
    controller::{Controller, build::NAME, kind::Kind, metrics::ControllerMetrics, owner::Owner},
};

use super::api_server::ApiServer;
pub use super::waiting::{PATIENCE, eventually};

/// The settings of most tests, where there is no gateway that could answer at a public URL.
pub const SETTINGS: &str = "
gateway: {image: 'webshell:1', drainTimeout: 1m}
route: {kind: Ingress, mode: Path, host: shell.example.com, probe: false}
";

/// A running controller. Dropped, it stops as by a signal.
pub struct Running {
    pub metrics: ControllerMetrics,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A namespace of a test.
#[derive(Clone)]
pub struct Tenant {
    pub client: Client,
    pub namespace: String,
}

// === impl Running ===

impl Running {
    /// Starts one; `system` is the namespace of controller and portals.
    pub async fn start(server: &ApiServer, settings: &str, system: &str) -> Self {
        Self::start_for(server, settings, system, u64::MAX).await
    }

    /// Starts one that is killed once it has made so many writes, before the next.
    pub async fn start_for(server: &ApiServer, settings: &str, system: &str, most_writes: u64) -> Self {
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let way = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Self::start_by(server, way, settings, system, most_writes).await
    }

    /// The same, which reaches the API server another way.
    pub async fn start_by(
        server: &ApiServer,
        way: kube::Config,
        settings: &str,
        system: &str,
        most_writes: u64,
    ) -> Self {
        make_roles(&server.client()).await;
        let config: Config = config::parse("settings", settings).unwrap();
        let arguments = cli::Installation {
            config: "unused".into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            namespace: system.to_owned(),
            pod_name: "webshell-controller-0".to_owned(),
        };
        let (metrics, stop) = (ControllerMetrics::default(), CancellationToken::new());
        let (of_thread, until) = (metrics.clone(), stop.clone());
        // Tests have a runtime each, which ends with them; a controller may serve several.
        let thread = thread::spawn(move || {
            runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let client = from_config(way).unwrap();
                let controller = Controller::new(&arguments, config, client, of_thread.clone()).await.unwrap();
                let counted = of_thread.clone();
                tokio::select! {
                    biased;
                    ended = controller.run(&until) => ended.unwrap(),
                    // A write is counted when it is begun, and sent by a task of its own, which has no turn before this.
                    () = over(&counted, most_writes) => {}
                }
            });
        });
        Self { metrics, stop, thread: Some(thread) }
    }

    /// Stops it and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    /// Waits until it ends by itself.
    pub async fn killed(mut self) {
        eventually("its end", async || self.thread.as_ref().is_some_and(JoinHandle::is_finished).then_some(())).await;
        self.end();
    }

    /// Its metrics as text.
    pub fn text(&self) -> String {
        text(&self.metrics)
    }

    /// How many reconciles have come to their end.
    pub fn reconciles(&self) -> u64 {
        sum(&self.metrics, "webshell_reconciles_total")
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Tenant ===

impl Tenant {
    /// An API of a kind in the namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// The WebShells.
    pub fn shells(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<WebShell>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Applies a WebShell on a target, such as `{"host": "10.0.4.12"}`.
    pub async fn apply_shell(&self, name: &str, target: Value) {
        let spec = json!({
            "target": target, "credentials": {"secretRef": {"name": "s"}}, "hostKey": {"policy": "Insecure"},
        });
        self.apply_shell_of(name, spec).await;
    }

    /// Applies a WebShell.
    pub async fn apply_shell_of(&self, name: &str, spec: Value) {
        let shell = json!({
            "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        self.shells().patch(name, &PatchParams::apply("test"), &Patch::Apply(shell)).await.unwrap();
    }

    pub async fn delete_shell(&self, name: &str) {
        self.shells().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Merges a change into our object of a kind, as anybody could.
    pub async fn change(&self, kind: Kind, change: Value) {
        self.api(kind).patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Merges a change into its status.
    pub async fn change_status(&self, kind: Kind, status: Value) {
        let change = Patch::Merge(json!({"status": status}));
        self.api(kind).patch_status(NAME, &PatchParams::default(), &change).await.unwrap();
    }

    /// Applies a part of a WebShell's status as another writer.
    pub async fn apply_status(&self, name: &str, manager: &str, status: Value) {
        let shell = json!({
            "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell",
            "metadata": {"name": name, "namespace": self.namespace}, "status": status,
        });
        self.shells().patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(shell)).await.unwrap();
    }

    /// Makes a pod as the gateway's Deployment would.
    pub async fn make_pod(&self, name: &str) -> Api<Pod> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "webshell", "app.kubernetes.io/managed-by": "webshell",
            }},
            "spec": {"containers": [{"name": "gateway", "image": "webshell:1"}]},
        });
        let api = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&Default::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        api
    }

    /// Says of the gateway's Deployment that its pod serves.
    pub async fn let_gateway_run(&self) {
        let running = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
        self.change_status(Kind::Deployment, running).await;
    }

    /// Says of a WebShell's Secrets what a gateway would.
    pub async fn let_credentials_resolve(&self, name: &str) {
        let resolved = json!({"conditions": [{
            "type": "CredentialsResolved", "status": "True", "reason": "Resolved", "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        self.apply_status(name, "webshell-gateway", resolved).await;
    }

    /// Our object of a kind, once it is there.
    pub async fn object(&self, kind: Kind) -> DynamicObject {
        let api = self.api(kind);
        eventually(kind.name(), async || api.get_opt(NAME).await.unwrap()).await
    }

    /// All of our objects, once they are there.
    pub async fn objects(&self, kinds: &[Kind]) -> Vec<DynamicObject> {
        let mut objects = Vec::new();
        for kind in kinds {
            objects.push(self.object(*kind).await);
        }
        objects
    }

    /// Waits until there is none of a kind.
    pub async fn none_of(&self, kind: Kind) {
        let api = self.api(kind);
        let what = format!("no {} any more", kind.name());
        eventually(&what, async || api.get_opt(NAME).await.unwrap().is_none().then_some(())).await;
    }

    /// A condition of a WebShell as `status/reason`, with its message, once it is what `wanted` says.
    pub async fn condition(&self, name: &str, type_: &str, wanted: &str) -> String {
        let shells = self.shells();
        let what = format!("{name}: {type_} {wanted}");
        eventually(&what, async || {
            let shell = shells.get(name).await.unwrap();
            let conditions = shell.data.pointer("/status/conditions")?.as_array()?.clone();
            let condition = conditions.into_iter().find(|condition| condition["type"] == type_)?;
            let found = format!("{}/{}", condition["status"].as_str()?, condition["reason"].as_str()?);
            (found == wanted).then(|| condition["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// A field of a WebShell's status, once it is `wanted`.
    pub async fn status(&self, name: &str, field: &str, wanted: Value) {
        let shells = self.shells();
        let what = format!("{name}: {field} {wanted}");
        eventually(&what, async || {
            let shell = shells.get(name).await.unwrap();
            (shell.data.get("status")?.get(field) == Some(&wanted)).then_some(())
        })
        .await;
    }

    /// The resource versions of all that the controller writes in the namespace.
    pub async fn versions(&self) -> Vec<String> {
        let mut versions = Vec::new();
        let line = |kind: &str, object: &DynamicObject| {
            format!("{kind}/{} {}", object.name_any(), object.resource_version().unwrap_or_default())
        };
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::HttpRoute) {
            let list = self.api(kind).list(&ListParams::default()).await.unwrap();
            versions.extend(list.iter().map(|object| line(kind.name(), object)));
        }
        let list = self.shells().list(&ListParams::default()).await.unwrap();
        versions.extend(list.iter().map(|object| line("WebShell", object)));
        versions
    }
}

/// Waits until more writes were begun than may be made.
async fn over(metrics: &ControllerMetrics, most_writes: u64) {
    if most_writes == u64::MAX {
        std::future::pending::<()>().await;
    }
    while sum(metrics, "webshell_api_writes_total") <= most_writes {
        yield_now().await;
    }
}

fn text(metrics: &ControllerMetrics) -> String {
    let mut text = String::new();
    encode(&mut text, &metrics.registry()).unwrap();
    text
}

/// The sum of a metric over its labels.
pub fn sum(metrics: &ControllerMetrics, name: &str) -> u64 {
    let text = text(metrics);
    let counts = text.lines().filter(|line| line.starts_with(name));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Waits until `look` has said the same for a while.
pub async fn settled<T: PartialEq + Debug>(mut look: impl AsyncFnMut() -> T) -> T {
    const CALM: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + PATIENCE;
    let (mut last, mut since) = (look().await, Instant::now());
    while since.elapsed() < CALM {
        sleep(Duration::from_millis(100)).await;
        let now = look().await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(Instant::now() < deadline, "no calm: {last:?}");
    }
    last
}

/// The ClusterRoles that come with an installation.
pub async fn make_roles(client: &Client) {
    for owner in Owner::ALL {
        make_role(client, owner).await;
    }
}

/// One of them.
pub async fn make_role(client: &Client, owner: Owner) {
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": owner.name()}, "rules": []})).unwrap();
    let api = Api::<ClusterRole>::all(client.clone());
    api.patch(owner.name(), &PatchParams::apply("test"), &Patch::Apply(role)).await.unwrap();
}
