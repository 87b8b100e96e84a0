//! Gateways and portals behind a proxy that makes faults: what cannot be asked of the API server ends no session, whoever waits
//! is told, and all goes on afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support {
    pub mod api_server;
    pub mod browser;
    pub mod faults;
    pub mod place;
    pub mod site;
    pub mod sshd;
    pub mod waiting;
}

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use hyper::http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use support::{
    api_server::ApiServer,
    browser::Client as Browser,
    faults::{Fault, Faults},
    place::{Options, Place, condition, get, spec},
    site::{Reply, exchange, request_text},
    sshd::Sshd,
    waiting::eventually,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use webshell::{api::WebShell, client::from_config, config, portal::Portal, protocol::Reason};

/// All ways in which a call gets no answer that decides anything.
const UNDECIDED: [Fault; 8] = [
    Fault::Status(409),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Cut,
    Fault::Forget,
    Fault::Half,
    Fault::Hang,
];

/// Shows that a session goes on.
async fn goes_on(browser: &mut Browser, word: &str) {
    browser.input(format!("{word}\n")).await;
    browser.read_until(word).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn whatever_becomes_of_a_watch_sessions_go_on_and_new_webshells_come() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    let mut browser = place.open("db-1").await;
    let faults = [Fault::Status(410), Fault::Status(429), Fault::Status(500), Fault::Gone, Fault::Half, Fault::Silence];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("new-{number}");
        let watches = place.faults.on("watch *", fault.clone());
        let lists = place.faults.times(1, "list *", Fault::Half);
        if !matches!(fault, Fault::Silence) {
            // That of WebShells, and that of the settings.
            let lists = place.faults.calls("list *");
            place.faults.cut("watch *");
            watches.made(2).await;
            if matches!(fault, Fault::Status(410) | Fault::Gone) {
                place.faults.called(lists + 2, "list *").await;
            }
        }
        let made = watches.count();
        place.shell_on(&sshd, &name).await;
        watches.made(made + 1).await;
        goes_on(&mut browser, &format!("during-{number}")).await;
        drop((watches, lists));
        let mut new = place.open(&name).await;
        goes_on(&mut new, "new").await;
        goes_on(&mut browser, &format!("after-{number}")).await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_list_from_the_past_ends_no_session() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.secret("moved", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut elsewhere = spec(&sshd, "moved");
    elsewhere["target"]["host"] = "192.0.2.1".into();
    place.shell("moved", elsewhere).await;
    // What there was before the others were made, and where one of them was.
    let path = format!("/apis/webshell.dev/v1alpha1/namespaces/{}/webshells", place.namespace);
    let list = place.admin.request_text(Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
    place.shell("moved", spec(&sshd, "moved")).await;
    for name in ["db-1", "gone"] {
        place.shell_on(&sshd, name).await;
    }
    let mut moved = place.open("moved").await;
    let mut browser = place.open("db-1").await;
    let mut gone = place.open("gone").await;

    let lists = place.faults.on("list webshells", Fault::Answer(list.into()));
    let silence = place.faults.on("watch webshells", Fault::Silence);
    let gets = place.faults.times(3, "get webshells", Fault::Status(500));
    let lost = place.faults.times(1, "watch webshells", Fault::Gone);
    place.faults.cut("watch webshells");
    lost.made(1).await;
    lists.made(1).await;
    gets.made(3).await;
    for browser in [&mut moved, &mut browser, &mut gone] {
        goes_on(browser, "without an answer").await;
    }
    // What is gone indeed ends, which the API server is asked for.
    place.api::<WebShell>().delete("gone", &DeleteParams::default()).await.unwrap();
    let again = place.faults.times(1, "watch webshells", Fault::Gone);
    place.faults.cut("watch webshells");
    again.made(1).await;
    assert_eq!(gone.ended().await.reason, Reason::Deleted);
    for browser in [&mut moved, &mut browser] {
        goes_on(browser, "with an answer").await;
    }
    drop((lists, silence));
    place.shell_on(&sshd, "later").await;
    drop(place.open("later").await);
    for browser in [&mut moved, &mut browser] {
        goes_on(browser, "afterwards").await;
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_cannot_be_asked_ends_no_session_and_what_is_answered_does() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    let mut browsers = Vec::new();
    for number in 0..UNDECIDED.len() {
        let name = format!("db-{number}");
        place.shell_on(&sshd, &name).await;
        browsers.push(place.open(&name).await);
    }
    // What is in use is looked at again and again, and so is whether its users may.
    let mut faults = Vec::new();
    for fault in UNDECIDED {
        for call in ["get secrets", "create localsubjectaccessreviews"] {
            faults.push(place.faults.times(1, call, fault.clone()));
        }
    }
    for fault in &faults {
        fault.made(1).await;
    }
    drop(faults);
    for browser in &mut browsers {
        goes_on(browser, "still").await;
    }
    place.api::<Secret>().delete("db-0", &DeleteParams::default()).await.unwrap();
    assert_eq!(browsers[0].ended().await.reason, Reason::Invalid);
    goes_on(&mut browsers[1], "yet").await;
    place.allow("ada", &["create"], Some("db-1")).await;
    assert_eq!(browsers[2].ended().await.reason, Reason::PermissionLost);
    goes_on(&mut browsers[1], "yet again").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn who_connects_is_told_what_the_api_server_does_not_answer() {
    let sshd = Sshd::start();
    let rows = [
        ("create localsubjectaccessreviews", Fault::Hang),
        ("get secrets", Fault::Hang),
        ("create localsubjectaccessreviews", Fault::Status(429)),
        ("get secrets", Fault::Status(500)),
    ];
    join_all(rows.map(async |(call, fault)| {
        let place = Place::start(Options::default()).await;
        place.shell_on(&sshd, "db-1").await;
        place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;
        let faults = place.faults.on(call, fault);
        let (status, body) = get(place.address, &format!("/{}/db-1/ws", place.namespace), true).await;
        assert_eq!(status, 503, "{call}: {body}");
        assert!(body.contains("cannot be found out now"), "{call}: {body}");
        faults.made(1).await;
        drop(faults);
        goes_on(&mut place.open("db-1").await, "now").await;

        let _slow = place.faults.on("* *", Fault::Slow(Duration::from_secs(1)));
        place.shell_on(&sshd, "db-2").await;
        goes_on(&mut place.open("db-2").await, "late").await;
    }))
    .await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn status_says_the_same_whatever_write_fails() {
    let sshd = Sshd::start();
    let rows = [Fault::Status(409), Fault::Status(429), Fault::Status(500), Fault::Cut, Fault::Forget, Fault::Half];
    join_all(rows.map(async |fault| {
        let place = Place::start(Options::default()).await;
        let failing = place.faults.on("patch webshells/status", fault.clone());
        place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
        let mut tofu = spec(&sshd, "db-1");
        tofu["hostKey"] = json!({"policy": "TrustOnFirstUse"});
        place.shell("db-1", tofu).await;
        failing.made(1).await;
        // A host key that cannot be kept is not trusted.
        place.refused("db-1").await;
        drop(failing);
        let mut browser = place.open("db-1").await;
        goes_on(&mut browser, "trusted").await;
        let learned = place.status("db-1", |status| status["hostKey"].as_str().map(str::to_owned)).await;
        assert_eq!(learned, sshd.known_hosts(), "{fault:?}");
        place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;
    }))
    .await;
}

/// A running portal. Dropped, it is stopped.
struct Portals {
    address: SocketAddr,
    admin: SocketAddr,
    _stop: DropGuard,
}

impl Portals {
    async fn start(faults: &Faults, namespace: &str, pod: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
        let port = address.port();
        let settings = format!(
            "gateway: {{image: x}}\nroute: {{kind: None, mode: Path, host: 127.0.0.1, scheme: http, port: {port}}}\n"
        );
        let mut limited = faults.config();
        limited.read_timeout = Some(Duration::from_secs(2));
        let stop = CancellationToken::new();
        let portal = Portal {
            config: config::parse("settings", &settings).unwrap(),
            client: from_config(limited).unwrap(),
            watcher: from_config(faults.config()).unwrap(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            listener,
            admin,
            stop: stop.clone(),
        };
        tokio::spawn(portal.run());
        Self { address, admin: admin_address, _stop: stop.drop_guard() }
    }

    async fn ready(&self) {
        eventually("readiness", async || (get(self.admin, "/readyz", false).await.0 == 200).then_some(())).await;
    }

    async fn log_in(&self, token: &str) -> Reply<TcpStream> {
        let (host, origin) = (self.address.to_string(), format!("http://{}", self.address));
        let body = json!({"token": token}).to_string();
        let request = request_text("POST /-/login", &[("Host", &host), ("Origin", &origin)], &body);
        exchange(TcpStream::connect(self.address).await.unwrap(), &request).await
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn who_logs_in_is_told_what_the_api_server_does_not_answer() {
    let server = ApiServer::shared().await;
    let (faults, namespace) = (Faults::before(server).await, server.namespace().await);
    let portal = Portals::start(&faults, &namespace, "webshell-portal-0").await;
    portal.ready().await;
    server.kubectl(&["create", "serviceaccount", "ada", "--namespace", &namespace]).unwrap();
    let token = ["create", "token", "ada", "--audience", "webshell.dev", "--namespace", &namespace];
    let token = server.kubectl(&token).unwrap();
    for fault in UNDECIDED {
        let failing = faults.on("create tokenreviews", fault.clone());
        let reply = portal.log_in(token.trim()).await;
        assert_eq!(reply.status, 503, "{fault:?}: {}", reply.body);
        assert!(reply.body.contains("the API server cannot be asked whose the token is"), "{}", reply.body);
        assert_eq!((reply.header("retry-after"), reply.header("set-cookie")), (Some("5"), None));
        assert!(failing.count() > 0);
    }
    let _slow = faults.on("create tokenreviews", Fault::Slow(Duration::from_secs(1)));
    let reply = portal.log_in(token.trim()).await;
    assert_eq!(reply.status, 204, "{}", reply.body);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn each_portal_publishes_one_key_whatever_fails() {
    let server = ApiServer::shared().await;
    let faults = Faults::before(server).await;
    let rows = [
        ("patch", Fault::Status(409)),
        ("patch", Fault::Status(500)),
        ("patch", Fault::Forget),
        ("patch", Fault::Half),
        ("get", Fault::Status(429)),
    ];
    join_all(rows.map(async |(verb, fault)| {
        let namespace = server.namespace().await;
        let failing = faults.times(2, &format!("{verb} configmaps {namespace}"), fault.clone());
        let portals = [
            Portals::start(&faults, &namespace, "webshell-portal-0").await,
            Portals::start(&faults, &namespace, "webshell-portal-1").await,
        ];
        failing.made(2).await;
        for portal in &portals {
            portal.ready().await;
        }
        let published: Api<ConfigMap> = Api::namespaced(server.client(), &namespace);
        let published = published.get("webshell-portal-keys").await.unwrap();
        assert_eq!(published.data.unwrap().len(), 2, "{verb} {fault:?}");
    }))
    .await;
}
