//! A gateway's side of the log-in at the portal, over real sockets: what a ticket must be to let somebody in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod portal;
    pub mod site;
}

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt as _, StreamExt as _};
use support::{
    portal::{GATEWAY, PORTAL, cookie_of, form, trust},
    site::{PATIENCE, Reply, Site, demo_shell, shell_at},
};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Message};
use webshell::{
    gateway::{
        login::{Auth, PortalLogins},
        origin::Origins,
    },
    ssh::Demo,
    ticket::{Order, SigningKey},
    user::User,
};

const TERMINAL: &str = "/demo/terminal/ws";
const SESSION: &str = "POST /demo/-/session";

/// A gateway of namespace `demo`, and the portal's key.
struct Stage {
    site: Site,
    key: SigningKey,
}

/// What a browser holds on its way.
struct Visit {
    cookie: String,
    nonce: String,
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(shell_at("127.0.0.1:9".parse().unwrap())).await
    }

    async fn set_with(catalog: webshell::catalog::Catalog) -> Self {
        let key = SigningKey::generate().unwrap();
        // The sender may go: what it sent stays.
        let told = watch::channel(trust(GATEWAY, &[&key])).1;
        let auth = Auth::Portal(Arc::new(PortalLogins::new("demo".to_owned(), told.clone()).unwrap()));
        let site = Site::start_as(catalog, auth, Origins::told(told)).await;
        Self { site, key }
    }

    /// Sends a browser on its way to the portal.
    async fn depart(&self) -> Visit {
        let reply = self.site.get("/demo/-/login?shell=terminal", &[]).await;
        assert_eq!(reply.status, 303);
        let nonce = reply.header("location").unwrap().split_once("&nonce=").unwrap().1.to_owned();
        Visit { cookie: cookie_of(&reply), nonce }
    }

    fn sign(&self, namespace: &str, nonce: &str) -> String {
        let user = User { name: "ada".into(), groups: vec!["dba".into()], ..User::default() };
        let order = Order { issuer: PORTAL, namespace, user: &user, nonce, until: now() + 3600, sid: "s" };
        self.key.sign(order, now()).unwrap()
    }

    async fn post(&self, visit: &Visit, origin: &str, ticket: &str) -> Reply<TcpStream> {
        let headers = [("Cookie", visit.cookie.as_str()), ("Origin", origin)];
        self.site.send(SESSION, &headers, &form(ticket, "terminal")).await
    }

    /// Logs in; the session's cookie.
    async fn log_in(&self) -> String {
        let visit = self.depart().await;
        let reply = self.post(&visit, PORTAL, &self.sign("demo", &visit.nonce)).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some("/demo/terminal/")), "{}", reply.body);
        cookie_of(&reply)
    }
}

#[tokio::test]
async fn a_stranger_is_sent_to_the_portal() {
    let stage = Stage::set().await;
    for (path, to) in
        [("/demo/terminal/", "/demo/-/login?shell=terminal"), ("/demo/", "/demo/-/login"), ("/", "/demo/-/login")]
    {
        let reply = stage.site.get(path, &[]).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some(to)), "{path}");
    }
    for path in ["/demo/-/session", "/demo/-/shells"] {
        let reply = stage.site.get(path, &[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (401, "{\"login\":\"/demo/-/login\"}"), "{path}");
    }
    assert_eq!(stage.site.open(TERMINAL, &[("Origin", GATEWAY)]).await.status, 401);
    let reply = stage.site.get("/demo/-/login?shell=terminal", &[]).await;
    let to = reply.header("location").unwrap();
    assert!(to.starts_with(&format!("{PORTAL}/-/authorize?namespace=demo&shell=terminal&nonce=")), "{to}");
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-webshell.demo.nonce=") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"));
    for odd in ["//evil.example", "https://evil.example", "%2e%2e", "a&shell=b", ""] {
        let reply = stage.site.get(&format!("/demo/-/login?shell={odd}"), &[]).await;
        let to = reply.header("location").unwrap();
        assert!(to.starts_with(&format!("{PORTAL}/-/authorize?namespace=demo&nonce=")), "{odd}: {to}");
    }
    for path in ["/-/login", "/other/-/login"] {
        assert_eq!(stage.site.get(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_ticket_logs_its_user_in() {
    let stage = Stage::set().await;
    let cookie = stage.log_in().await;
    let session = stage.site.get("/demo/-/session", &[("Cookie", &cookie)]).await;
    let session: serde_json::Value = serde_json::from_str(&session.body).unwrap();
    assert_eq!(session, serde_json::json!({"user": "ada", "namespaces": ["demo"], "portal": PORTAL}));
    assert_eq!(stage.site.get("/demo/terminal/", &[("Cookie", &cookie)]).await.status, 200);
    let opened = stage.site.open(TERMINAL, &[("Cookie", &cookie), ("Origin", GATEWAY)]).await;
    assert_eq!(opened.status, 101);
    for origin in [PORTAL, "https://other.shell.example.com", "null", ""] {
        let opened = stage.site.open(TERMINAL, &[("Cookie", &cookie), ("Origin", origin)]).await;
        assert_eq!(opened.status, 403, "{origin}");
    }
}

#[tokio::test]
async fn a_ticket_comes_from_the_portals_own_page() {
    let stage = Stage::set().await;
    let visit = stage.depart().await;
    let ticket = stage.sign("demo", &visit.nonce);
    for origin in [
        "",
        "null",
        GATEWAY,
        "https://evil.example",
        "https://other.shell.example.com",
        "https://example.com",
        "http://shell.example.com",
        "https://shell.example.com:8443",
        "https://shell.example.com/",
        "https://shell.example.com.evil.example",
    ] {
        assert_eq!(stage.post(&visit, origin, &ticket).await.status, 403, "{origin}");
    }
    assert_eq!(stage.site.send(SESSION, &[("Cookie", &visit.cookie)], &form(&ticket, "terminal")).await.status, 403);
    let twice = [("Cookie", visit.cookie.as_str()), ("Origin", PORTAL), ("origin", "https://evil.example")];
    assert_eq!(stage.site.send(SESSION, &twice, &form(&ticket, "terminal")).await.status, 403, "two Origins");
    assert_eq!(stage.post(&visit, PORTAL, &ticket).await.status, 303, "nothing of that used the ticket up");
}

#[tokio::test]
async fn a_ticket_works_once_for_one_browser_at_one_gateway() {
    let stage = Stage::set().await;
    let (visit, other) = (stage.depart().await, stage.depart().await);
    let ticket = stage.sign("demo", &visit.nonce);
    let altered = format!("{}AAAA", ticket.split_at(ticket.len() - 4).0);
    let foreign = SigningKey::generate().unwrap();
    let stranger = Stage { key: foreign, site: Stage::set().await.site };
    for (what, visit, ticket) in [
        ("another browser", &other, ticket.as_str()),
        ("no browser", &Visit { cookie: "a=b".into(), nonce: String::new() }, &ticket),
        ("another namespace's", &visit, &stage.sign("team-b", &visit.nonce)),
        ("altered", &visit, &altered),
        ("empty", &visit, ""),
    ] {
        let reply = stage.post(visit, PORTAL, ticket).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{what}");
        assert!(reply.body.contains("href=\"/demo/-/login?shell=terminal\""), "{what}: {}", reply.body);
    }
    assert_eq!(stage.post(&visit, PORTAL, &ticket).await.status, 303);
    let again = stage.post(&visit, PORTAL, &ticket).await;
    assert_eq!(again.status, 401);
    assert!(again.body.contains("used before"), "{}", again.body);
    // The same ticket at another gateway of that namespace, whose browser it is not.
    let elsewhere = stranger.depart().await;
    assert_eq!(stranger.post(&elsewhere, PORTAL, &ticket).await.status, 401);
    let large = stage.post(&visit, PORTAL, &"x".repeat(64 * 1024)).await;
    assert_eq!(large.status, 413);
    let metrics = stage.site.admin("/metrics").await.body;
    assert!(metrics.contains("webshell_logins_total{outcome=\"accepted\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_login_that_comes_back_to_another_pod_begins_again_there() {
    let (old, new) = (Stage::set().await, Stage::set().await);
    let visit = old.depart().await;
    let reply = new.post(&visit, PORTAL, &old.sign("demo", &visit.nonce)).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/demo/-/login?shell=terminal")), "{}", reply.body);
    assert_eq!(reply.header("set-cookie"), None);
    // It may go to and fro for a while, and then says so.
    let mut visit = visit;
    for pod in [&new, &old, &new] {
        let sent = pod.site.get("/demo/-/login?shell=terminal", &[("Cookie", &visit.cookie)]).await;
        let nonce = sent.header("location").unwrap().split_once("&nonce=").unwrap().1.to_owned();
        assert_ne!(nonce, visit.nonce);
        visit = Visit { cookie: cookie_of(&sent), nonce };
    }
    let reply = old.post(&visit, PORTAL, &old.sign("demo", &visit.nonce)).await;
    assert_eq!(reply.status, 401);
    assert!(reply.body.contains("at another pod") && reply.body.contains("href=\"/demo/-/login?shell=terminal\""));
    // Where it was sent last, it arrives.
    let reply = new.post(&visit, PORTAL, &new.sign("demo", &visit.nonce)).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/demo/terminal/")), "{}", reply.body);
}

#[tokio::test]
async fn log_out_ends_the_terminals_of_that_log_in() {
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let stage = Stage::set_with(demo_shell(&demo)).await;
    let (here, elsewhere) = (stage.log_in().await, stage.log_in().await);
    let mut terminals = Vec::new();
    for cookie in [&here, &elsewhere] {
        let reply = stage.site.open(TERMINAL, &[("Cookie", cookie), ("Origin", GATEWAY)]).await;
        assert_eq!(reply.status, 101);
        let mut socket = ClientBuilder::new().take_over(reply.stream);
        socket.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
        terminals.push(socket);
    }
    let mut read_to = async |index: usize, wanted: &str| {
        let socket: &mut tokio_websockets::WebSocketStream<TcpStream> = &mut terminals[index];
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let message = timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap();
            if let Some((code, reason)) = message.as_close() {
                return (u16::from(code), reason.to_owned());
            }
            seen.push_str(message.as_text().unwrap_or_default());
        }
        (0, seen)
    };
    read_to(0, "sum 42").await;
    read_to(1, "sum 42").await;
    let log_out = "DELETE /demo/-/session";
    assert_eq!(stage.site.send(log_out, &[("Cookie", &here), ("Origin", PORTAL)], "").await.status, 403);
    let reply = stage.site.send(log_out, &[("Cookie", &here), ("Origin", GATEWAY)], "").await;
    assert_eq!(reply.status, 204);
    assert!(reply.header("set-cookie").unwrap().starts_with("__Host-webshell.demo=; Path=/; Max-Age=0;"));
    assert_eq!(read_to(0, "never shown").await, (4210, "logged-out".to_owned()));
    assert_eq!(stage.site.get("/demo/-/session", &[("Cookie", &here)]).await.status, 401);
    // Another log-in of the same user goes on.
    assert_eq!(stage.site.get("/demo/-/session", &[("Cookie", &elsewhere)]).await.status, 200);
    timeout(Duration::from_secs(20), async {
        terminals[1].send(Message::text("echo product $((6 * 7))\n")).await.unwrap();
        let mut seen = String::new();
        while !seen.contains("product 42") {
            let message = terminals[1].next().await.unwrap().unwrap();
            seen.push_str(message.as_text().unwrap_or_default());
        }
    })
    .await
    .expect("the other terminal goes on");
}
