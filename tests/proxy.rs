//! Portal and gateways behind nginx, which decodes and normalises a path before it looks for a rule: what it leads to whom, and with
//! which cookies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod api_server;
    pub mod portal;
    pub mod site;
    pub mod waiting;
}

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, sync::Arc};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams, core::ObjectMeta};
use parking_lot::Mutex;
use serde_json::json;
use support::{
    api_server::ApiServer,
    portal::trust,
    site::{Reply, Site, exchange, request_text, shell_at},
    waiting::eventually,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use webshell::{
    config::{self, Config, Route},
    gateway::{
        login::{Auth, PortalLogins},
        origin::Origins,
    },
    portal::Portal,
};

/// What a path below `from` may look like that leads to `to` once it is decoded and normalised.
fn detours(from: &str, to: &str) -> [String; 6] {
    [
        format!("/{from}/..%2f{to}"),
        format!("/{from}/..%2F{to}"),
        format!("/{from}/%2e%2e/{to}"),
        format!("/{from}/%2E./{to}"),
        format!("/{from}/a//../../{to}"),
        format!("/{from}/../{to}"),
    ]
}

/// Cookies as a browser keeps them (RFC 6265, section 5.4): none of ours names a domain, so each is for the host that set it.
#[derive(Default)]
struct Jar(Vec<Kept>);

struct Kept {
    host: String,
    path: String,
    pair: String,
}

impl Jar {
    fn keep(&mut self, host: &str, reply: &Reply<TcpStream>) {
        let mut parts = reply.header("set-cookie").expect("a cookie").split("; ");
        let pair = parts.next().unwrap().to_owned();
        let mut path = "/".to_owned();
        for attribute in parts {
            assert!(!attribute.starts_with("Domain="), "{attribute}");
            if let Some(value) = attribute.strip_prefix("Path=") {
                value.clone_into(&mut path);
            }
        }
        self.0.push(Kept { host: host.to_owned(), path, pair });
    }

    /// The header with a request.
    fn cookies(&self, host: &str, path: &str) -> String {
        let fits = self.0.iter().filter(|kept| kept.host == host && path.starts_with(&kept.path));
        fits.map(|kept| kept.pair.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// nginx before portal and gateways, and a browser that speaks with them.
struct Stage {
    route: Route,
    jar: Jar,
    port: u16,
    /// What the gateway of `team-b` was sent, which is its tenant's own.
    heard: Arc<Mutex<Vec<String>>>,
    _nginx: Child,
    _directory: TempDir,
    _tasks: JoinSet<()>,
    _site: Site,
    _stop: DropGuard,
}

/// Answers whatever comes, and remembers it.
async fn listen_in(listener: TcpListener, heard: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            head.push(byte);
        }
        heard.lock().push(String::from_utf8(head).unwrap());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    }
}

/// A server for each host, with a location for each path.
fn nginx_config(port: u16, directory: &str, rules: &[(String, &str, SocketAddr)]) -> String {
    let mut servers: BTreeMap<&str, String> = BTreeMap::new();
    for (host, path, address) in rules {
        let location =
            format!("location {path} {{ proxy_pass http://{address}; proxy_set_header Host $http_host; }}\n");
        servers.entry(host).or_default().push_str(&location);
    }
    let servers: String = servers
        .iter()
        .map(|(host, locations)| {
            format!("server {{ listen 127.0.0.1:{port}; server_name {host}; merge_slashes on;\n{locations}}}\n")
        })
        .collect();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {directory}/{what};\n"))
        .collect();
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log stderr;\n\
         events {{}}\nhttp {{ access_log off;\n{places}{servers}}}\n"
    )
}

impl Stage {
    async fn set(mode: &str) -> Self {
        let server = ApiServer::shared().await;
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let settings = format!(
            "gateway: {{image: x}}\nroute: {{kind: None, mode: {mode}, host: shell.test, scheme: http, port: {port}}}\n"
        );
        let config: Config = config::parse("settings", &settings).unwrap();
        let route = config.route.clone();

        let (listener, admin) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (portal, admin_address) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = Portal {
            config,
            client: server.client(),
            watcher: server.client(),
            namespace: server.namespace().await,
            pod: "webshell-portal-0".to_owned(),
            listener,
            admin,
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { running.run().await.unwrap() });
        let told = watch::channel(trust(&route.origin("team-a"), &[])).1;
        let auth = Auth::Portal(PortalLogins::new("team-a".to_owned(), told.clone()).unwrap().into());
        let site = Site::start_as(shell_at("127.0.0.1:9".parse().unwrap()), auth, Origins::told(told)).await;
        let theirs = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rules = [
            (route.host("team-a"), "/team-a/", site.address),
            (route.host("team-b"), "/team-b/", theirs.local_addr().unwrap()),
            ("shell.test".to_owned(), "/", portal),
        ];
        let heard = Arc::default();
        tasks.spawn(listen_in(theirs, Arc::clone(&heard)));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, nginx_config(port, directory.path().to_str().unwrap(), &rules)).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&path).arg("-e").arg("stderr").stdin(Stdio::null()).kill_on_drop(true);
        let nginx = nginx.spawn().expect("nginx starts; scripts/install-test-tools installs it");
        eventually("nginx", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        eventually("a portal that is ready", async || {
            let stream = TcpStream::connect(admin_address).await.ok()?;
            (exchange(stream, "GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n").await.status == 200).then_some(())
        })
        .await;
        Self {
            route,
            jar: Jar::default(),
            port,
            heard,
            _nginx: nginx,
            _directory: directory,
            _tasks: tasks,
            _site: site,
            _stop: stop.drop_guard(),
        }
    }

    /// Sends a request to the proxy, with the cookies that the browser has for it.
    async fn send(&self, method: &str, host: &str, path: &str, body: &str) -> Reply<TcpStream> {
        let authority = format!("{host}:{}", self.port);
        let (origin, cookies) = (format!("http://{authority}"), self.jar.cookies(host, path));
        let headers = [("Host", authority.as_str()), ("Origin", &origin), ("Cookie", &cookies)];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        exchange(stream, &request_text(&format!("{method} {path}"), &headers, body)).await
    }

    /// Logs a new ServiceAccount in at the portal.
    async fn log_in(&mut self) {
        let server = ApiServer::shared().await;
        let accounts: Api<ServiceAccount> = Api::namespaced(server.client(), &server.namespace().await);
        let metadata = ObjectMeta { name: Some("ada".to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let spec = TokenRequestSpec { audiences: vec!["webshell.dev".to_owned()], ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request("ada", &PostParams::default(), &request).await.unwrap();
        let token = answer.status.unwrap().token;
        let reply = self.send("POST", "shell.test", "/-/login", &json!({"token": token}).to_string()).await;
        assert_eq!(reply.status, 204, "{}", reply.body);
        self.jar.keep("shell.test", &reply);
        assert_eq!(self.send("GET", "shell.test", "/-/shells", "").await.status, 200);
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn no_detour_takes_the_portals_cookie_to_a_gateway() {
    for mode in ["Path", "Host"] {
        let mut stage = Stage::set(mode).await;
        stage.log_in().await;
        let secret = stage.jar.0[0].pair.split_once('=').unwrap().1.to_owned();
        let gateways = stage.route.host("team-b");
        for host in ["shell.test", gateways.as_str()] {
            for from in ["-", "team-b"] {
                for path in detours(from, "team-b/-/session") {
                    stage.send("GET", host, &path, "").await;
                }
            }
        }
        let heard = stage.heard.lock();
        assert!(heard.iter().any(|head| head.contains("GET /-/..%2fteam-b/-/session ")), "{heard:?}");
        assert!(heard.iter().all(|head| !head.contains(&secret)), "mode {mode}: {heard:?}");
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_detour_to_portal_or_gateway_is_refused_where_it_ends() {
    let mut stage = Stage::set("Path").await;
    stage.log_in().await;
    let gateways = stage.route.host("team-a");
    for (host, to) in [("shell.test", "-/shells"), (gateways.as_str(), "team-a/-/session")] {
        for path in detours("team-b", to) {
            let reply = stage.send("GET", host, &path, "").await;
            assert_eq!(reply.status, 400, "{host}{path}");
            assert!(reply.body.contains("a percent sign, a backslash"), "{host}{path}: {}", reply.body);
        }
    }
}
