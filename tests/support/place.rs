//! A namespace of a test's own with a gateway, and words for what tests do there and wait for.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{ConfigMap, Secret},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use webshell::{
    api::WebShell,
    client::from_config,
    cluster::{Cluster, believe, nobody},
    gateway::{
        drain::Shutdown,
        login::{Auth, PortalLogins},
        origin::Origins,
    },
    policy::Reserved,
    protocol::{
        Reason,
        v1::{ClientMessage, Hello, Size},
    },
    ticket::{Jwk, SigningKey},
    user::User,
};

use super::{
    api_server::ApiServer,
    browser::{Client as Browser, Endpoint, Event, PATIENCE},
    faults::Faults,
    sshd::Sshd,
    waiting::eventually,
};

pub const POD: &str = "webshell-gateway-1";

/// A namespace with a gateway, whose user is ada. A proxy before the API server makes faults.
pub struct Place {
    pub namespace: String,
    pub admin: Client,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub running: Option<JoinHandle<()>>,
    pub reserved: watch::Sender<Reserved>,
    /// What is before the API server.
    pub faults: Faults,
}

/// What differs between gateways.
pub struct Options {
    pub grace: &'static str,
    pub policy: Value,
    pub reserved: Reserved,
    /// Whether somebody must come from the portal to be ada.
    pub portal: bool,
}

impl Default for Options {
    fn default() -> Self {
        // The SSH servers of tests are on loopback.
        let reserved = Reserved::in_cluster([]).except([127, 0, 0, 1].into());
        Self { grace: "10m", policy: json!({}), reserved, portal: false }
    }
}

/// Who everybody is.
pub fn ada() -> User {
    User {
        name: "ada".to_owned(),
        uid: Some("0c1e".to_owned()),
        groups: vec!["ops".to_owned()],
        extra: [("scopes.example.com".to_owned(), vec!["shells".to_owned()])].into(),
    }
}

impl Place {
    pub async fn start(options: Options) -> Self {
        let server = ApiServer::shared().await;
        let (namespace, admin) = (server.namespace().await, server.client());
        let faults = Faults::before(server).await;
        let mut config = faults.config();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:webshell-gateway"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new(Duration::ZERO);
        let (reserved, known) = watch::channel(options.reserved);
        let mut place = Self { namespace, admin, address, shutdown, running: None, reserved, faults };
        place.settings(options.grace, options.policy).await;
        place.gateways_rights().await;
        place.allow("ada", &["create"], None).await;
        let (root, mut auth) = (watch::Sender::new(None), Auth::None(Arc::new(ada())));
        let mut origins = Origins::new(address, false, Vec::new());
        if options.portal {
            let trust = watch::Sender::new(Arc::new(nobody().unwrap()));
            auth = Auth::Portal(Arc::new(PortalLogins::new(place.namespace.clone(), trust.subscribe()).unwrap()));
            origins = Origins::told(trust.subscribe());
            tokio::spawn(believe(root.subscribe(), trust));
        }
        let cluster = Cluster {
            client: from_config(config).unwrap(),
            namespace: place.namespace.clone(),
            pod: POD.to_owned(),
            instance: "uid-1".to_owned(),
            reserved: known,
            listener,
            admin: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            auth,
            origins,
            root,
            shutdown: place.shutdown.clone(),
        };
        place.running = Some(tokio::spawn(cluster.run()));
        place
    }

    pub async fn settings(&self, grace: &str, policy: Value) {
        write_settings(&self.admin, &self.namespace, &json!({"apiOutageGrace": grace, "policy": policy})).await;
    }

    /// Tells the gateway the portals' keys, and when each ends.
    pub async fn keys(&self, keys: &[(&SigningKey, u64)]) {
        let keys: Vec<_> = keys.iter().map(|(key, exp)| Jwk { exp: Some(*exp), ..key.jwk() }).collect();
        let patch = json!({"data": {"keys.json": json!({"keys": keys}).to_string()}});
        self.api::<ConfigMap>().patch("webshell-gateway", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// The rights that the chart gives to gateways.
    pub async fn gateways_rights(&self) {
        let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        let rules = json!([
            rule("webshell.dev", &["webshells"], &["get", "list", "watch"]),
            rule("webshell.dev", &["webshells/status"], &["patch"]),
            rule("", &["secrets", "services"], &["get"]),
            rule("discovery.k8s.io", &["endpointslices"], &["list"]),
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
    pub async fn allow(&self, user: &str, verbs: &[&str], name: Option<&str>) {
        let mut rule = json!({"apiGroups": ["webshell.dev"], "resources": ["webshells/connect"], "verbs": verbs});
        if let Some(name) = name {
            rule["resourceNames"] = json!([name]);
        }
        self.bind("users", user, json!([rule])).await;
    }

    pub async fn bind(&self, name: &str, user: &str, rules: Value) {
        self.apply::<Role>("rbac.authorization.k8s.io/v1", "Role", name, json!({"rules": rules})).await;
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        self.apply::<RoleBinding>("rbac.authorization.k8s.io/v1", "RoleBinding", name, binding).await;
    }

    pub async fn apply<K>(&self, version: &str, kind: &str, name: &str, rest: Value) -> K
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

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    pub async fn secret(&self, name: &str, data: Value) {
        self.apply::<Secret>("v1", "Secret", name, json!({"stringData": data})).await;
    }

    /// Says which hosts a Secret may be sent to.
    pub async fn allow_hosts(&self, secret: &str, hosts: &str) {
        let patch = json!({"metadata": {"annotations": {"webshell.dev/allowed-hosts": hosts}}});
        self.api::<Secret>().patch(secret, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn shell(&self, name: &str, spec: Value) {
        self.apply::<WebShell>("webshell.dev/v1alpha1", "WebShell", name, json!({"spec": spec})).await;
    }

    /// A WebShell on `sshd` and its Secret.
    pub async fn shell_on(&self, sshd: &Sshd, name: &str) {
        self.secret(name, json!({"ssh-privatekey": sshd.client_key()})).await;
        self.shell(name, spec(sshd, name)).await;
    }

    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::shell(self.address, &self.namespace, name)
    }

    /// Connects as soon as that works.
    pub async fn open(&self, name: &str) -> Browser {
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
    pub async fn refused(&self, name: &str) -> Reason {
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

    pub async fn websocket_status(&self, name: &str) -> u16 {
        get(self.address, &format!("/{}/{name}/ws", self.namespace), true).await.0
    }

    /// Waits until a status says something.
    pub async fn status<T>(&self, name: &str, says: impl Fn(&Value) -> Option<T>) -> T {
        let api = self.api::<WebShell>();
        eventually(&format!("a status of {name}"), async || {
            let object = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
            says(&object["status"])
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// The status that a request is answered with, and the body.
pub async fn get(address: SocketAddr, path: &str, upgrade: bool) -> (u16, String) {
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
pub async fn write_settings(client: &Client, namespace: &str, given: &Value) {
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

pub fn spec(sshd: &Sshd, secret: &str) -> Value {
    json!({
        "target": {"host": "127.0.0.1", "port": sshd.port(), "user": Sshd::user()},
        "credentials": {"secretRef": {"name": secret}},
        "hostKey": {"knownHosts": sshd.known_hosts()},
        "terminal": {"command": "echo here; exec cat"},
    })
}

pub fn condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "CredentialsResolved")
}
