//! `webshell controller` as a process: who leads, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod api_server;
    pub mod controller;
    pub mod faults;
    pub mod waiting;
}

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{
    api_server::ApiServer,
    controller::{SETTINGS, Tenant, eventually, make_roles, settled},
    faults::{Fault, Faults},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use webshell::controller::kind::Kind;

/// The namespace of controllers.
const SYSTEM: &str = "webshell-system";

/// A controller process. Dropped, it is killed.
struct Process {
    child: Child,
    admin: SocketAddr,
    _directory: TempDir,
}

impl Process {
    /// One that reaches the API server as `kubeconfig` says.
    fn start(kubeconfig: &Path, pod: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("config.yaml");
        fs::write(&settings, SETTINGS).unwrap();
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_webshell"))
            .args(["controller", "--admin-listen", &admin.to_string(), "--namespace", SYSTEM, "--pod-name", pod])
            .arg("--config")
            .arg(&settings)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, admin, _directory: directory }
    }

    /// What the admin listener answers.
    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn is_ready(&self) -> Option<()> {
        self.get("/readyz").await?.starts_with("HTTP/1.1 200").then_some(())
    }

    async fn leads(&self) -> Option<()> {
        self.get("/metrics").await?.contains("\nwebshell_leader 1\n").then_some(())
    }

    fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn prepare(client: &Client) -> Api<Lease> {
    make_roles(client).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(SYSTEM, &PatchParams::apply("test"), &Patch::Apply(namespace)).await.unwrap();
    Api::namespaced(client.clone(), SYSTEM)
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn one_leads_and_the_next_takes_over() {
    let server = ApiServer::start().await;
    prepare(&server.client()).await;
    let mut first = Process::start(&server.kubeconfig(), "webshell-controller-a");
    eventually("a leader", async || first.leads().await).await;
    let second = Process::start(&server.kubeconfig(), "webshell-controller-b");
    eventually("readiness of who waits", async || second.is_ready().await).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(second.admin).await.unwrap());
    }
    assert!(second.get("/healthz").await.unwrap().starts_with("HTTP/1.1 200"), "whatever else is open");
    drop(idle);
    assert!(second.leads().await.is_none());

    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.object(Kind::Deployment).await;

    first.terminate();
    assert!(first.end().await.success());
    eventually("another leader", async || second.leads().await).await;
    tenant.apply_shell("db-2", json!({"host": "10.0.4.13"})).await;
    tenant.condition("db-2", "Accepted", "True/Valid").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn one_that_loses_the_lease_ends() {
    let server = ApiServer::start().await;
    let leases = prepare(&server.client()).await;
    let mut process = Process::start(&server.kubeconfig(), "webshell-controller-a");
    eventually("a leader", async || process.leads().await).await;
    let stolen =
        Patch::Merge(json!({"spec": {"holderIdentity": "somebody-else", "renewTime": "2100-01-01T00:00:00.000000Z"}}));
    leases.patch("webshell-controller", &PatchParams::default(), &stolen).await.unwrap();
    assert!(!process.end().await.success());
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn one_that_cannot_renew_the_lease_ends_and_comes_back() {
    let server = ApiServer::start().await;
    prepare(&server.client()).await;
    let faults = Faults::before(&server).await;
    let mut first = Process::start(&faults.kubeconfig(), "webshell-controller-a");
    eventually("a leader", async || first.leads().await).await;
    let second = Process::start(&server.kubeconfig(), "webshell-controller-b");
    eventually("readiness of who waits", async || second.is_ready().await).await;

    let once = faults.times(2, "patch leases", Fault::Status(500));
    once.made(2).await;
    let refused = faults.on("patch leases", Fault::Status(429));
    let forgotten = faults.on("get leases", Fault::Forget);
    assert!(!first.end().await.success());
    eventually("another leader", async || second.leads().await).await;

    drop((refused, forgotten));
    let again = Process::start(&faults.kubeconfig(), "webshell-controller-a");
    eventually("readiness of who waits", async || again.is_ready().await).await;
    second.terminate();
    eventually("the first again", async || again.leads().await).await;
    let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
    tenant.apply_shell("db-1", json!({"host": "10.0.4.12"})).await;
    tenant.object(Kind::Deployment).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn one_that_was_stopped_longer_than_the_lease_lasts_writes_nothing_more() {
    let server = ApiServer::start().await;
    prepare(&server.client()).await;
    let faults = Faults::before(&server).await;
    let mut first = Process::start(&faults.kubeconfig(), "webshell-controller-a");
    eventually("a leader", async || first.leads().await).await;
    let mut tenants = Vec::new();
    for n in 0..8 {
        let tenant = Tenant { client: server.client(), namespace: server.namespace().await };
        tenant.apply_shell("db-1", json!({"host": format!("10.0.4.{n}")})).await;
        tenant.object(Kind::Deployment).await;
        tenants.push(tenant);
    }
    settled(async || faults.calls("write *")).await;

    first.signal(Signal::STOP);
    let second = Process::start(&server.kubeconfig(), "webshell-controller-b");
    eventually("another leader", async || second.leads().await).await;
    // Nobody puts it right, so that there is much to do for the first.
    second.signal(Signal::STOP);
    for tenant in &tenants {
        tenant.apply_shell("db-2", json!({"host": "10.0.5.1", "port": 2222})).await;
        tenant.change(Kind::Service, json!({"spec": {"selector": {"app": "other"}}})).await;
    }
    // Nor does anybody tell the first that the Lease is not its own any more.
    let _silence = faults.on("* leases", Fault::Hang);
    let before = faults.calls("write *");
    first.signal(Signal::CONT);
    assert!(!first.end().await.success());
    assert_eq!(faults.calls("write *"), before);
}
