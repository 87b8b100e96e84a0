//! A Kubernetes API server of the tests' own: etcd and kube-apiserver on loopback, with our CRD and nothing else. No controller
//! runs there: nothing is garbage collected, Deployments get no pods, namespaces no ServiceAccounts, and deleted ones stay.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use hyper::http::Request;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

/// What a server takes to be ready, at most. Ordinarily it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The certificate that the server makes for itself, and its authority's.
const CERTIFICATE: &str = "apiserver.crt";

/// What the server keeps a record of: everything done with our resources, and what it was asked about rights.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: webshell.dev}]}
- {level: Request, resources: [{group: authorization.k8s.io}]}
- {level: None}
";

/// Runs both processes, whose command lines it gets as two words, until its input ends: with the test's process at the latest,
/// however that ends.
const SUPERVISOR: &str = r#"
    trap '' INT
    $1 >etcd.log 2>&1 & etcd=$!
    $2 >kube-apiserver.log 2>&1 & api_server=$!
    read -r _
    kill -KILL $etcd $api_server
    wait
    rm -rf "$PWD"
"#;

/// A running server. Dropped, it is killed, and all that was in it is gone.
pub struct ApiServer {
    supervisor: Child,
    directory: PathBuf,
    config: Config,
}

impl ApiServer {
    /// The server that all tests of this process share, each in its [`namespace`](Self::namespace).
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server for one test alone, which needs it all: starting it takes seconds.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("webshell-api-server-").tempdir().unwrap().keep();
        let (address, first_port) = own_address();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let keys = KeyPair::generate().unwrap();
        fs::write(path("service-accounts.key"), keys.serialize_pem()).unwrap();
        fs::write(path("service-accounts.pub"), keys.public_key_pem()).unwrap();
        let token = random();
        fs::write(path("tokens"), format!("{token},admin,admin,system:masters\n")).unwrap();

        let etcd = format!("http://{address}:{}", first_port + 1);
        let etcd = [
            "etcd --unsafe-no-fsync --log-level=warn".to_owned(),
            format!("--data-dir=etcd --listen-client-urls={etcd} --advertise-client-urls={etcd}"),
            format!("--listen-peer-urls=http://{address}:{}", first_port + 2),
        ];
        let api_server = [
            format!("{} --etcd-servers=http://{address}:{}", command("kube-apiserver").display(), first_port + 1),
            format!("--bind-address={address} --advertise-address={address} --secure-port={first_port} --cert-dir=."),
            "--endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC --token-auth-file=tokens --service-account-issuer=https://tests".to_owned(),
            "--service-account-key-file=service-accounts.pub --service-account-signing-key-file=service-accounts.key"
                .to_owned(),
            "--audit-policy-file=audit.yaml --audit-log-path=audit.log".to_owned(),
            // It refuses pods where no controller has made the namespace's ServiceAccount.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            flags.join(" "),
        ];
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
             contexts: [{{name: tests, context: {{cluster: tests, user: admin}}}}]\n\
             clusters: [{{name: tests, cluster: {{server: 'https://{address}:{first_port}', certificate-authority: {}}}}}]\n\
             users: [{{name: admin, user: {{token: {token}}}}}]\n",
            path(CERTIFICATE),
        );
        fs::write(path("kubeconfig"), kubeconfig).unwrap();
        fs::write(path("audit.yaml"), AUDIT_POLICY).unwrap();
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh", &etcd.join(" "), &api_server.join(" ")])
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut config = Config::new(format!("https://{address}:{first_port}").parse().unwrap());
        config.auth_info.token = Some(token.clone().into());
        let mut server = Self { supervisor, directory, config };
        let ready = timeout(PATIENCE, server.become_ready()).await;
        assert!(ready.is_ok(), "the API server does not become ready:\n{}", server.log());
        server
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        client(self.config.clone())
    }

    /// A client that is this user and belongs to these groups; `system:authenticated` is one of them only if named.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
        client(config)
    }

    /// A new namespace, which no other test has.
    pub async fn namespace(&self) -> String {
        let name = format!("test-{}", random());
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client()).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    /// Runs kubectl as one who may do everything; returns what it prints, or what it complains of.
    ///
    /// # Errors
    /// What it wrote to its standard error, if it failed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(command("kubectl"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .env("KUBECACHEDIR", self.directory.join("kubectl"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// The configuration file of a client that may do everything, for other processes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// How many writes to the status of WebShells the server has taken in a namespace, whether or not they changed it.
    pub fn status_writes(&self, namespace: &str) -> usize {
        let writes = self.records().into_iter().filter(|record| {
            let object = &record["objectRef"];
            object["namespace"] == namespace && object["subresource"] == "status" && record["verb"] == "patch"
        });
        writes.count()
    }

    /// The specs of the access reviews that were asked for about a namespace, or about all where it is empty.
    pub fn access_reviews(&self, namespace: &str) -> Vec<Value> {
        let specs = self.records().into_iter().map(|mut record| record["requestObject"]["spec"].take());
        specs.filter(|spec| spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default() == namespace).collect()
    }

    /// Its records of what was done.
    fn records(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.directory.join("audit.log")).unwrap();
        // The last line may be under way.
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("etcd.log") + &read("kube-apiserver.log")
    }

    /// Waits until the server answers, and gives it the CRD.
    async fn become_ready(&mut self) {
        let certificate = self.directory.join(CERTIFICATE);
        wait_until(async || {
            fs::read_to_string(&certificate).is_ok_and(|pem| pem.ends_with("-----END CERTIFICATE-----\n"))
        })
        .await;
        let roots = CertificateDer::pem_file_iter(&certificate).unwrap().map(|der| der.unwrap().to_vec());
        self.config.root_cert = Some(roots.collect());
        let client = self.client();
        wait_until(async || {
            let request = Request::get("/readyz").body(Vec::new()).unwrap();
            client.request_text(request).await.is_ok()
        })
        .await;
        let definitions: Api<CustomResourceDefinition> = Api::all(client);
        let crd = webshell::api::crd();
        definitions.create(&PostParams::default(), &crd).await.unwrap();
        await_condition(definitions, crd.metadata.name.as_deref().unwrap(), is_crd_established()).await.unwrap();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// Waits until something holds, which it must in the time that a whole start has.
async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        sleep(Duration::from_millis(50)).await;
    }
}

fn client(config: Config) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
    Client::try_from(config).unwrap()
}

/// The path of one of the commands that `e2e/cluster/build` builds.
pub fn command(name: &str) -> PathBuf {
    let directory = env::var("WEBSHELL_KUBERNETES");
    let directory = directory
        .expect("WEBSHELL_KUBERNETES must name the directory that `e2e/cluster/build --api-server-only` prints");
    Path::new(&directory).join(name)
}

/// A loopback address that no other process uses, and the first of three ports of it that no other server of this process uses:
/// nothing that is free now can be taken before the server binds it.
fn own_address() -> (Ipv4Addr, u16) {
    static SERVERS: AtomicU16 = AtomicU16::new(0);
    let [_, b, c, d] = process::id().to_be_bytes(); // below 2²²
    (Ipv4Addr::new(127, b + 64, c, d), 6443 + 3 * SERVERS.fetch_add(1, Relaxed))
}

/// What nobody guesses and nobody else has.
fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
