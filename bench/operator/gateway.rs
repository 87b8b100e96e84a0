//! A gateway of one of the namespaces as a process, in front of a real SSH server, and a user who has logged in.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use webshell::{
    api::WebShell,
    controller::build::NAME,
    protocol::v1::{ClientMessage, Hello, Size},
    ticket::Order,
    user::User,
};

use crate::{
    browser::{Client as Browser, Endpoint, Event},
    controller::log,
    http::{ask, free_address},
    installation::{HOST, Installation, SECRET, web_shell},
    sshd::Sshd,
};

/// The address of the SSH server, which `bench/operator/run` gives to this machine: targets on loopback are refused.
const ADDRESS: &str = "192.0.2.2";

/// How often it is tried whether a new WebShell can be connected to.
const RETRY: Duration = Duration::from_millis(5);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user, and the name of the gateway's pod.
const USER: &str = "ada";
const POD: &str = "webshell-gateway-1";

/// A gateway, and who uses it. Dropped, it is killed.
pub struct Gateway {
    process: Child,
    address: SocketAddr,
    namespace: String,
    client: Client,
    cookie: String,
    sshd: Sshd,
}

impl Gateway {
    /// Starts the gateway of the first namespace, and logs a user in.
    pub async fn start(installation: &Installation) -> Self {
        let namespace = installation.namespaces().next().unwrap();
        let client = installation.server.client();
        let sshd = Sshd::builder()
            .config_line(format!("ListenAddress {ADDRESS}"))
            .config_line("ForceCommand exec env PS1='ready> ' sh -i")
            .start();
        prepare(&client, &namespace, &sshd).await;
        let (address, admin) = (free_address(), free_address());
        let process = Command::new(crate::binary())
            .args(["gateway", "--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(["--namespace", &namespace, "--pod-name", POD, "--pod-uid", "uid-1"])
            .env("KUBECONFIG", installation.write_account(&namespace, NAME))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&installation.file("gateway.log")))
            .spawn()
            .unwrap();
        let mut gateway = Self { process, address, namespace, client, cookie: String::new(), sshd };
        let ready = async {
            while ask(admin, "GET /readyz", &[], "").await.is_none_or(|answer| answer.status != 200) {
                sleep(RETRY).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("the gateway becomes ready");
        gateway.log_in(installation).await;
        gateway
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    async fn log_in(&mut self, installation: &Installation) {
        let cookie =
            |answer: &crate::http::Answer| answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let namespace = &self.namespace;
        let sent = ask(self.address, &format!("GET /{namespace}/-/login"), &[], "").await.unwrap();
        let (_, nonce) = sent.header("location").unwrap().split_once("&nonce=").unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let (user, issuer) = (User { name: USER.to_owned(), ..User::default() }, format!("https://{HOST}"));
        let order = Order { issuer: &issuer, namespace, user: &user, nonce, until: now + 8 * 3600, sid: "0" };
        let form = format!("ticket={}", installation.key.sign(order, now).unwrap());
        let headers = [
            ("Cookie", cookie(&sent)),
            ("Origin", issuer.clone()),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = ask(self.address, &format!("POST /{namespace}/-/session"), &headers, &form).await.unwrap();
        assert_eq!(answer.status, 303, "{}", answer.body);
        self.cookie = cookie(&answer);
    }

    /// Applies a WebShell and connects as soon as that works. Returns the terminal at its prompt, and the seconds that it
    /// took.
    pub async fn apply_and_open(&self, name: &str) -> (Browser, f64) {
        let mut endpoint = Endpoint::shell(self.address, &self.namespace, name);
        endpoint.origin = Some(format!("https://{}.{HOST}", self.namespace));
        endpoint.cookie = Some(self.cookie.clone());
        let line = self.sshd.known_hosts();
        let key = line.trim_end().split_once(' ').unwrap().1;
        let shell = web_shell(name, ADDRESS, self.sshd.port(), key);
        let began = Instant::now();
        apply(&self.api::<WebShell>(), name, shell).await;
        let opened = async {
            loop {
                if let Some(browser) = open(&endpoint).await {
                    return browser;
                }
                sleep(RETRY).await;
            }
        };
        let browser = timeout(PATIENCE, opened).await.expect("a terminal");
        (browser, began.elapsed().as_secs_f64())
    }

    /// Ends a session, and takes its WebShell away.
    pub async fn end(&self, mut browser: Browser, name: &str) {
        browser.send(ClientMessage::End).await.unwrap();
        browser.ended().await;
        self.api::<WebShell>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn api<K: kube::Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<K>(&()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The prompt of a shell, if it can be opened.
async fn open(endpoint: &Endpoint) -> Option<Browser> {
    let socket = endpoint.connect(Some("webshell.v1")).await.ok()?;
    let mut browser = Browser::begin(socket, Hello { size: Size::DEFAULT, resume: None }).await.ok()?;
    loop {
        match browser.next().await {
            Event::Output(bytes) if bytes.ends_with(b"> ") => return Some(browser),
            Event::Ended(_) | Event::Closed(_) => return None,
            _ => {}
        }
    }
}

/// What a gateway needs besides what the controller makes.
async fn prepare(client: &Client, namespace: &str, sshd: &Sshd) {
    use k8s_openapi::api::{
        core::v1::{Pod, Secret},
        rbac::v1::RoleBinding,
    };
    let api = |resource| Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"ssh-privatekey": sshd.client_key()}});
    apply(&api(ApiResource::erase::<Secret>(&())), SECRET, secret).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "webshell-user"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    });
    apply(&api(ApiResource::erase::<RoleBinding>(&())), "users", binding).await;
    // Without a pod by the gateway's name the controller takes for gone what it writes.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"app.kubernetes.io/name": NAME}},
        "spec": {"containers": [{"name": "gateway", "image": "webshell"}]},
    });
    apply(&api(ApiResource::erase::<Pod>(&())), POD, pod).await;
}

async fn apply(api: &Api<DynamicObject>, name: &str, mut object: Value) {
    object["metadata"]["name"] = name.into();
    api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await.unwrap();
}
