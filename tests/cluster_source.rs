//! A gateway's shells from a real API server, on a real SSH server: what becomes of sessions as WebShells, Secrets and rights
//! change, and while the API server is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support {
    pub mod api_server;
    pub mod browser;
    pub mod sshd;
    pub mod waiting;
}

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Secret, Service},
    events::v1::Event as KubernetesEvent,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    browser::{Client as Browser, Endpoint, Event, PATIENCE},
    sshd::{self, Sshd},
    waiting::eventually,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use webshell::{
    api::WebShell,
    cluster::Cluster,
    gateway::{drain::Shutdown, login::Auth, origin::Origins},
    policy::Reserved,
    protocol::{
        Reason,
        v1::{ClientMessage, Hello, Size},
    },
    user::User,
};

const POD: &str = "webshell-gateway-1";

/// A namespace with a gateway, whose user is ada. The way to the API server can be cut.
struct Place {
    namespace: String,
    admin: Client,
    address: SocketAddr,
    shutdown: Shutdown,
    running: Option<JoinHandle<()>>,
    reserved: watch::Sender<Reserved>,
    api_server: watch::Sender<bool>,
    relay: JoinHandle<()>,
}

/// What differs between gateways.
struct Options {
    grace: &'static str,
    policy: Value,
    reserved: Reserved,
}

impl Default for Options {
    fn default() -> Self {
        // The SSH servers of tests are on loopback.
        let reserved = Reserved::in_cluster([]).except([127, 0, 0, 1].into());
        Self { grace: "10m", policy: json!({}), reserved }
    }
}

impl Place {
    async fn start(options: Options) -> Self {
        let server = ApiServer::shared().await;
        let (namespace, admin) = (server.namespace().await, server.client());
        let (api_server, relay, client) = relayed(server, &namespace).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new(Duration::ZERO);
        let (reserved, known) = watch::channel(options.reserved);
        let mut place = Self { namespace, admin, address, shutdown, running: None, reserved, api_server, relay };
        place.settings(options.grace, options.policy).await;
        place.gateways_rights().await;
        place.allow("ada", &["create"], None).await;
        let cluster = Cluster {
            client,
            namespace: place.namespace.clone(),
            pod: POD.to_owned(),
            instance: "uid-1".to_owned(),
            reserved: known,
            listener,
            admin: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            auth: Auth::None(Arc::new(User { name: "ada".to_owned(), groups: vec!["ops".to_owned()] })),
            origins: Origins::new(address, false, Vec::new()),
            root: watch::Sender::new(None),
            shutdown: place.shutdown.clone(),
        };
        place.running = Some(tokio::spawn(cluster.run()));
        place
    }

    async fn settings(&self, grace: &str, policy: Value) {
        write_settings(&self.admin, &self.namespace, &json!({"apiOutageGrace": grace, "policy": policy})).await;
    }

    /// The rights that the chart gives to gateways.
    async fn gateways_rights(&self) {
        let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        let rules = json!([
            rule("webshell.dev", &["webshells"], &["get", "list", "watch"]),
            rule("webshell.dev", &["webshells/status"], &["patch"]),
            rule("", &["secrets", "services"], &["get"]),
            rule("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
            rule("events.k8s.io", &["events"], &["create", "patch"]),
            {
                "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"],
                "resourceNames": ["webshell-gateway"],
            },
        ]);
        self.bind("gateway", &format!("system:serviceaccount:{}:webshell-gateway", self.namespace), rules).await;
    }

    /// Lets a user connect, to one WebShell or to all.
    async fn allow(&self, user: &str, verbs: &[&str], name: Option<&str>) {
        let mut rule = json!({"apiGroups": ["webshell.dev"], "resources": ["webshells/connect"], "verbs": verbs});
        if let Some(name) = name {
            rule["resourceNames"] = json!([name]);
        }
        self.bind("users", user, json!([rule])).await;
    }

    async fn bind(&self, name: &str, user: &str, rules: Value) {
        self.apply::<Role>("rbac.authorization.k8s.io/v1", "Role", name, json!({"rules": rules})).await;
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        self.apply::<RoleBinding>("rbac.authorization.k8s.io/v1", "RoleBinding", name, binding).await;
    }

    async fn apply<K>(&self, version: &str, kind: &str, name: &str, rest: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let mut object = rest;
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"] = json!({"name": name, "namespace": self.namespace});
        let params = PatchParams::apply("tests").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.unwrap()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    async fn secret(&self, name: &str, data: Value) {
        self.apply::<Secret>("v1", "Secret", name, json!({"stringData": data})).await;
    }

    /// Says which hosts a Secret may be sent to.
    async fn allow_hosts(&self, secret: &str, hosts: &str) {
        let patch = json!({"metadata": {"annotations": {"webshell.dev/allowed-hosts": hosts}}});
        self.api::<Secret>().patch(secret, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn shell(&self, name: &str, spec: Value) {
        self.apply::<WebShell>("webshell.dev/v1alpha1", "WebShell", name, json!({"spec": spec})).await;
    }

    /// A WebShell on `sshd` and its Secret.
    async fn shell_on(&self, sshd: &Sshd, name: &str) {
        self.secret(name, json!({"ssh-privatekey": sshd.client_key()})).await;
        self.shell(name, spec(sshd, name)).await;
    }

    fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::shell(self.address, &self.namespace, name)
    }

    /// Connects as soon as that works.
    async fn open(&self, name: &str) -> Browser {
        let endpoint = self.endpoint(name);
        eventually("a session", async || {
            endpoint.connect(Some("webshell.v1")).await.ok()?;
            let mut browser = endpoint.hello(Hello { size: Size::DEFAULT, resume: None }).await.ok()?;
            loop {
                match browser.next().await {
                    Event::Output(bytes) if !bytes.is_empty() => return Some(browser),
                    Event::Ended(_) | Event::Closed(_) => return None,
                    _ => {}
                }
            }
        })
        .await
    }

    /// Why a session of a shell cannot be opened, as soon as it cannot.
    async fn refused(&self, name: &str) -> Reason {
        let endpoint = self.endpoint(name);
        eventually("a refusal", async || {
            endpoint.connect(Some("webshell.v1")).await.ok()?;
            let mut browser = match endpoint.hello(Hello { size: Size::DEFAULT, resume: None }).await {
                Ok(browser) => browser,
                Err(Event::Ended(ended)) => return Some(ended.reason),
                Err(_) => return None,
            };
            loop {
                match browser.next().await {
                    Event::Ended(ended) => return Some(ended.reason),
                    Event::Output(_) => {
                        browser.send(ClientMessage::End).await.unwrap();
                        return None;
                    }
                    Event::Closed(_) => return None,
                    _ => {}
                }
            }
        })
        .await
    }

    async fn websocket_status(&self, name: &str) -> u16 {
        get(self.address, &format!("/{}/{name}/ws", self.namespace), true).await.0
    }

    /// Waits until a status says something.
    async fn status<T>(&self, name: &str, says: impl Fn(&Value) -> Option<T>) -> T {
        let api = self.api::<WebShell>();
        eventually(&format!("a status of {name}"), async || {
            let object = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
            says(&object["status"])
        })
        .await
    }

    fn cut(&self, cut: bool) {
        self.api_server.send_replace(!cut);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.relay.abort();
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// The status that a request is answered with, and the body.
async fn get(address: SocketAddr, path: &str, upgrade: bool) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let upgrade = if upgrade {
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    } else {
        "Connection: close\r\n"
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n{upgrade}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64 * 1024];
    let mut length = 0;
    while let Ok(Ok(read @ 1..)) = timeout(PATIENCE, stream.read(&mut answer[length..])).await {
        length += read;
        if upgrade.contains("websocket") {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Writes what the controller writes, of which a part is given.
async fn write_settings(client: &Client, namespace: &str, given: &Value) {
    let mut settings = json!({
        "origin": "https://gateway.example", "portal": "https://portal.example", "policy": {},
        "loginLifetime": "8h", "apiOutageGrace": "10m", "maxSessions": 64, "trustedProxies": [],
    });
    settings.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "webshell-gateway"},
        "data": {"gateway.yaml": settings.to_string(), "keys.json": r#"{"keys": []}"#},
    });
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.patch("webshell-gateway", &PatchParams::apply("tests").force(), &Patch::Apply(object)).await.unwrap();
}

/// A client of the gateway's account, by a way to the server that is open while the channel says so.
async fn relayed(server: &ApiServer, namespace: &str) -> (watch::Sender<bool>, JoinHandle<()>, Client) {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let target = config.cluster_url.authority().unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    config.tls_server_name = config.cluster_url.host().map(str::to_owned);
    config.cluster_url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:webshell-gateway"));
    let (open, mut is_open) = watch::channel(true);
    let relay = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((mut near, _)) = listener.accept() => {
                    if *is_open.borrow() {
                        let target = target.clone();
                        connections.spawn(async move {
                            let mut far = TcpStream::connect(target).await?;
                            copy_bidirectional(&mut near, &mut far).await
                        });
                    }
                }
                Ok(()) = is_open.changed() => {
                    if !*is_open.borrow_and_update() {
                        connections.abort_all();
                    }
                }
            }
        }
    });
    (open, relay, Client::try_from(config).unwrap())
}

fn spec(sshd: &Sshd, secret: &str) -> Value {
    json!({
        "target": {"host": "127.0.0.1", "port": sshd.port(), "user": Sshd::user()},
        "credentials": {"secretRef": {"name": secret}},
        "hostKey": {"knownHosts": sshd.known_hosts()},
        "terminal": {"command": "echo here; exec cat"},
    })
}

fn condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "CredentialsResolved")
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_new_webshell_is_usable_and_its_status_tells_of_it() {
    let (sshd, mut place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell("db-1", spec(&sshd, "db-1")).await;
    let message = place.status("db-1", |status| {
        let condition = condition(status).filter(|condition| condition["reason"] == "NotFound")?;
        assert_eq!((&condition["status"], &condition["observedGeneration"]), (&json!("False"), &json!(1)));
        Some(condition["message"].as_str().unwrap().to_owned())
    });
    let message = message.await;
    assert!(message.contains("there is no such Secret") && message.contains("create it"), "{message}");
    assert_eq!(place.refused("db-1").await, Reason::Invalid);

    place.secret("db-1", json!({"ssh-privatekey": "nonsense"})).await;
    let unusable = |status: &Value| {
        let condition = condition(status).filter(|condition| condition["reason"] == "Unusable")?;
        Some(condition["message"].as_str().unwrap().to_owned())
    };
    let message = place.status("db-1", unusable).await;
    assert!(message.contains("Secret db-1") && message.contains("ssh-privatekey"), "{message}");

    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut browser = place.open("db-1").await;
    browser.input("hello\n").await;
    browser.read_until("hello").await;
    place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;
    let entry = json!([{"pod": POD, "activeSessions": 1}]);
    place.status("db-1", |status| (status["gateways"] == entry).then_some(())).await;
    // Nothing is written while nothing changes, however often it is looked at: as it is for each who connects.
    let writes = async || ApiServer::shared().await.status_writes(&place.namespace);
    let before = writes().await;
    for _ in 0..5 {
        assert_eq!(place.websocket_status("db-1").await, 101);
    }
    place.shutdown.drain.cancel();
    timeout(PATIENCE, place.running.take().unwrap()).await.unwrap().unwrap();
    place.status("db-1", |status| status["gateways"].is_null().then_some(())).await;
    assert_eq!(writes().await, before + 1, "besides the last number of sessions");
    place.status("db-1", |status| condition(status).map(|_| ())).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_a_session_began_with_must_stay_so() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    for name in ["changed", "deleted", "moved", "gone", "same"] {
        place.shell_on(&sshd, name).await;
    }
    let mut same = place.open("same").await;
    let mut changed = place.open("changed").await;
    place.secret("changed", json!({"password": "another"})).await;
    assert_eq!(changed.ended().await.reason, Reason::CredentialsChanged);

    let mut deleted = place.open("deleted").await;
    place.api::<Secret>().delete("deleted", &DeleteParams::default()).await.unwrap();
    let ended = deleted.ended().await;
    assert_eq!(ended.reason, Reason::Invalid);
    assert!(ended.message.contains("there is no such Secret"), "{}", ended.message);

    let mut moved = place.open("moved").await;
    let mut elsewhere = spec(&sshd, "moved");
    elsewhere["target"]["host"] = "localhost".into();
    place.shell("moved", elsewhere).await;
    assert_eq!(moved.ended().await.reason, Reason::TargetChanged);

    let mut gone = place.open("gone").await;
    place.api::<WebShell>().delete("gone", &DeleteParams::default()).await.unwrap();
    assert_eq!(gone.ended().await.reason, Reason::Deleted);
    assert_eq!(place.websocket_status("gone").await, 404);

    // What does not matter ends nothing, and limits apply live.
    place.secret("same", json!({"ssh-privatekey": sshd.client_key(), "comment": "new"})).await;
    same.input("still\n").await;
    same.read_until("still").await;
    let mut limited = spec(&sshd, "same");
    limited["session"] = json!({"maxDuration": "1s"});
    place.shell("same", limited).await;
    assert_eq!(same.ended().await.reason, Reason::Maximum);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn credentials_are_sent_only_where_their_secret_allows_it() {
    let sshd = Sshd::builder().config_line("LogLevel VERBOSE").start();
    let place = Place::start(Options::default()).await;
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key(), "password": "secret"})).await;
    place.allow_hosts("db-1", "db-1.example.com, *.example.com, 10.0.0.0/8").await;
    place.shell("db-1", spec(&sshd, "db-1")).await;
    let condition_is = async |status: &str, reason: &str| {
        place
            .status("db-1", |of| {
                let condition = condition(of).filter(|it| it["status"] == status && it["reason"] == reason)?;
                Some(condition["message"].as_str().unwrap().to_owned())
            })
            .await
    };
    assert_eq!(place.refused("db-1").await, Reason::HostNotAllowed);
    let message = condition_is("False", "HostNotAllowed").await;
    assert!(message.contains("spec.target.host is \"127.0.0.1\"") && message.contains("Secret db-1"), "{message}");

    place.allow_hosts("db-1", "127.0.0.1:22").await;
    assert_eq!(place.refused("db-1").await, Reason::Invalid);
    let message = condition_is("False", "Unusable").await;
    assert!(message.contains("has the entry \"127.0.0.1:22\""), "{message}");

    // Where a name leads to is known only once it is resolved.
    let mut by_name = spec(&sshd, "db-1");
    by_name["target"]["host"] = "localhost".into();
    place.shell("db-1", by_name).await;
    place.allow_hosts("db-1", "10.0.0.0/8").await;
    assert_eq!(place.refused("db-1").await, Reason::HostNotAllowed);
    condition_is("True", "Resolved").await;
    assert!(!sshd.log().contains("Connection from"), "{}", sshd.log());

    place.shell("db-1", spec(&sshd, "db-1")).await;
    place.allow_hosts("db-1", "127.0.0.1").await;
    let mut browser = place.open("db-1").await;
    assert!(sshd.log().contains("Connection from"), "{}", sshd.log());
    place.allow_hosts("db-1", "127.0.0.0/8").await;
    // Whoever connects has it read afresh.
    place.open("db-1").await;
    browser.input("still\n").await;
    browser.read_until("still").await;
    place.allow_hosts("db-1", "10.0.0.0/8").await;
    let ended = browser.ended().await;
    assert_eq!(ended.reason, Reason::HostNotAllowed);
    assert!(ended.message.contains("127.0.0.1"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_right_that_is_taken_away_ends_sessions() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    place.shell_on(&sshd, "db-2").await;
    let mut browser = place.open("db-1").await;
    place.allow("ada", &["create"], Some("db-2")).await;
    assert_eq!(browser.ended().await.reason, Reason::PermissionLost);
    assert_eq!(place.websocket_status("db-1").await, 403);
    let (status, list) = get(place.address, "/-/shells", false).await;
    assert_eq!(status, 200);
    assert!(list.contains("db-2") && !list.contains("db-1"), "{list}");

    // Of a shell that does not exist no more is told.
    assert_eq!(place.websocket_status("db-3").await, 403);
    place.allow("ada", &["get"], None).await;
    assert_eq!(place.websocket_status("db-2").await, 403);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn without_an_api_server_sessions_live_on_and_none_begins() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    place.shell_on(&sshd, "db-2").await;
    let mut browser = place.open("db-1").await;
    drop(place.open("db-2").await.socket);
    place.cut(true);

    browser.input("alive\n").await;
    browser.read_until("alive").await;
    browser.acknowledge().await;
    let mut resumed = place.endpoint("db-1").resume(&browser.welcome.token, browser.received).await.unwrap();
    resumed.input("resumed\n").await;
    resumed.read_until("resumed").await;
    // One who has a session may want to resume it, but may not begin another.
    assert_eq!(place.refused("db-1").await, Reason::ApiUnavailable);
    place.shell_on(&sshd, "db-3").await;
    assert_eq!(place.websocket_status("db-3").await, 503);
    assert_eq!(get(place.address, "/-/shells", false).await.0, 503);

    place.cut(false);
    let mut later = place.open("db-3").await;
    later.input("later\n").await;
    later.read_until("later").await;
    resumed.input("through\n").await;
    resumed.read_until("through").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn an_outage_beyond_the_grace_ends_sessions() {
    let options = Options { grace: "1s", ..Options::default() };
    let (sshd, place) = (Sshd::start(), Place::start(options).await);
    place.shell_on(&sshd, "db-1").await;
    let mut browser = place.open("db-1").await;
    place.cut(true);
    let ended = browser.ended().await;
    assert_eq!(ended.reason, Reason::ApiUnavailable);
    assert!(ended.message.contains("API server"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_host_key_is_learned_once_and_no_other_is_accepted() {
    let (sshd, other, place) = (Sshd::start(), Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut tofu = spec(&sshd, "db-1");
    tofu["hostKey"] = json!({"policy": "TrustOnFirstUse"});
    place.shell("db-1", tofu).await;
    let (one, two) = tokio::join!(place.open("db-1"), place.open("db-1"));
    drop((one, two));
    let learned = place.status("db-1", |status| status["hostKey"].as_str().map(str::to_owned)).await;
    assert_eq!(learned, sshd.known_hosts());
    // What gateways write otherwise leaves it alone.
    place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;

    let imposed = other.known_hosts().replace(&other.port().to_string(), &sshd.port().to_string());
    let patch = json!({"status": {"hostKey": imposed}});
    place.api::<WebShell>().patch_status("db-1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(place.refused("db-1").await, Reason::HostKeyChanged);
    assert_eq!(place.status("db-1", |status| status["hostKey"].as_str().map(str::to_owned)).await, imposed);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn people_are_told_of_host_keys_and_refused_credentials_by_events() {
    let (sshd, other, place) = (Sshd::start(), Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut tofu = spec(&sshd, "db-1");
    tofu["hostKey"] = json!({"policy": "TrustOnFirstUse"});
    place.shell("db-1", tofu).await;
    place.open("db-1").await;
    let imposed = other.known_hosts().replace(&other.port().to_string(), &sshd.port().to_string());
    let patch = json!({"status": {"hostKey": imposed}});
    place.api::<WebShell>().patch_status("db-1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(place.refused("db-1").await, Reason::HostKeyChanged);
    }
    place.secret("db-2", json!({"ssh-privatekey": other.client_key(), "password": "canary"})).await;
    place.shell("db-2", spec(&sshd, "db-2")).await;
    assert_eq!(place.refused("db-2").await, Reason::AuthenticationFailed);

    // It is the last: what there was to tell of the others was told before it.
    let events = eventually("an event", async || {
        let events = place.api::<KubernetesEvent>().list(&ListParams::default()).await.unwrap().items;
        events.iter().any(|event| event.reason.as_deref() == Some("CredentialsRefused")).then_some(events)
    })
    .await;
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            let name = event.regarding.as_ref().unwrap().name.clone().unwrap();
            (name, event.type_.clone().unwrap(), event.reason.clone().unwrap(), event.series.is_some())
        })
        .collect();
    told.sort();
    let once = |name: &str, kind: &str, reason: &str| (name.to_owned(), kind.to_owned(), reason.to_owned(), false);
    assert_eq!(
        told,
        [
            once("db-1", "Normal", "HostKeyLearned"),
            once("db-1", "Warning", "HostKeyRefused"),
            once("db-2", "Warning", "CredentialsRefused"),
        ]
    );
    let fingerprint = sshd::run("ssh-keygen", &["-lf", sshd.directory().join("host_key.pub").to_str().unwrap()]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    let text = serde_json::to_string(&events).unwrap();
    // Of the key that was learned, and that it is another one that was refused.
    assert_eq!(text.matches(fingerprint).count(), 2, "{text}");
    assert!(!text.contains("canary") && !text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn settings_apply_live() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    let browser = place.open("db-1").await;
    let answers = async |policy: Value, reason: Reason| {
        place.settings("10m", policy).await;
        eventually("a refusal", async || (place.refused("db-1").await == reason).then_some(())).await;
    };
    answers(json!({"maxSessionsPerUser": 1}), Reason::TooManySessions).await;
    answers(json!({"deniedCidrs": ["127.0.0.0/8"]}), Reason::TargetForbidden).await;
    drop(browser);
    place.secret("db-2", json!({"password": "secret"})).await;
    let mut insecure = spec(&sshd, "db-2");
    insecure["hostKey"] = json!({"policy": "Insecure"});
    place.shell("db-2", insecure).await;
    place.settings("10m", json!({"forbidInsecure": true})).await;
    eventually("a refusal", async || (place.refused("db-2").await == Reason::Invalid).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_the_policy_newly_forbids_ends_sessions() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut insecure = spec(&sshd, "db-1");
    insecure["hostKey"] = json!({"policy": "Insecure"});
    place.shell("db-1", insecure).await;
    for (policy, reason, words) in [
        (json!({"deniedCidrs": ["127.0.0.0/8"]}), Reason::TargetForbidden, "deniedCidrs of the policy"),
        (json!({"allowedPorts": [22]}), Reason::TargetForbidden, "allowedPorts of the policy"),
        (json!({"forbidInsecure": true}), Reason::Invalid, "this installation forbids it"),
    ] {
        place.settings("10m", json!({})).await;
        let mut browser = place.open("db-1").await;
        // One session more is too many, but none too many ends.
        place.settings("10m", json!({"maxSessionsPerNamespace": 1})).await;
        eventually("a refusal", async || (place.refused("db-1").await == Reason::TooManySessions).then_some(())).await;
        browser.input("still\n").await;
        browser.read_until("still").await;
        place.settings("10m", policy).await;
        let ended = browser.ended().await;
        assert_eq!(ended.reason, reason);
        assert!(ended.message.contains(words), "{}", ended.message);
    }
    place.settings("10m", json!({})).await;
    let mut browser = place.open("db-1").await;
    place.reserved.send_replace(Reserved::in_cluster([[127, 0, 0, 1].into()]));
    let ended = browser.ended().await;
    assert!(ended.message.contains("the API server is no target"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_service_leads_to_its_named_port_and_loopback_is_no_target() {
    let options = Options { reserved: Reserved::in_cluster([]), ..Options::default() };
    let (sshd, place) = (Sshd::start(), Place::start(options).await);
    place.shell_on(&sshd, "here").await;
    assert_eq!(place.refused("here").await, Reason::TargetForbidden);

    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let ports = json!([{"name": "ssh", "port": 22}]);
    place.apply::<Service>("v1", "Service", "db-1", json!({"spec": {"ports": ports}})).await;
    let mut by_service = spec(&sshd, "db-1");
    by_service["target"] = json!({"serviceRef": {"name": "db-1"}, "user": "ops"});
    place.shell("db-1", by_service.clone()).await;
    // There is no cluster's DNS here.
    assert_eq!(place.refused("db-1").await, Reason::Dns);
    by_service["target"]["serviceRef"]["port"] = "shh".into();
    place.shell("db-1", by_service).await;
    let message = place.status("db-1", |status| {
        let condition = condition(status).filter(|condition| condition["status"] == "False")?;
        Some(condition["message"].as_str().unwrap().to_owned())
    });
    let message = message.await;
    assert!(message.contains("no port named \"shh\", but the ports ssh"), "{message}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_program_is_ready_once_it_has_settings_and_sends_strangers_to_the_portal() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace().await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, admin) = (free(), free());
    let mut program = Command::new(env!("CARGO_BIN_EXE_webshell"))
        .args(["gateway", "--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
        .env("KUBECONFIG", server.kubeconfig())
        .env("WEBSHELL_NAMESPACE", &namespace)
        .env("WEBSHELL_POD_NAME", POD)
        .env("WEBSHELL_POD_UID", "uid-1")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let ready = async |wanted: u16| {
        eventually("an answer", async || {
            TcpStream::connect(admin).await.ok()?;
            (get(admin, "/readyz", false).await.0 == wanted).then_some(())
        })
        .await;
    };
    ready(503).await;
    assert_eq!(get(admin, "/healthz", false).await.0, 200);
    write_settings(&server.client(), &namespace, &json!({})).await;
    ready(200).await;
    let (status, body) = get(address, &format!("/{namespace}/-/session"), false).await;
    assert_eq!(
        (status, serde_json::from_str(&body).ok()),
        (401, Some(json!({"login": format!("/{namespace}/-/login")})))
    );

    // Each change of settings is logged: in the form that they ask for, from soon after on.
    for (format, is_json) in [("json", true), ("text", false)] {
        for number in 1.. {
            let settings = json!({"maxSessions": number, "log": {"format": format}});
            write_settings(&server.client(), &namespace, &settings).await;
            let line = timeout(PATIENCE, log.next_line()).await.expect("a line in time").unwrap().unwrap();
            if serde_json::from_str::<Value>(&line).is_ok() == is_json {
                break;
            }
            assert!(number < 100, "still no {format}: {line}");
        }
    }

    let pid = program.id().unwrap().to_string();
    sshd::run("kill", &["-TERM", &pid]);
    assert!(timeout(PATIENCE, program.wait()).await.unwrap().unwrap().success());
}
