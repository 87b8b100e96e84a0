//! Log-ins at a gateway whose ConfigMap, on a real API server, tells it for a moment of a key that is no portal's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, unreachable_pub)]

mod support {
    pub mod api_server;
    pub mod browser;
    pub mod faults;
    pub mod place;
    pub mod portal;
    pub mod site;
    pub mod sshd;
    pub mod waiting;
}

use std::time::SystemTime;

use support::{
    browser::{Client as Browser, Endpoint},
    place::{Options, Place, ada},
    portal::{cookie_of, form},
    site::{Reply, exchange, request_text},
    sshd::Sshd,
    waiting::eventually,
};
use tokio::net::TcpStream;
use webshell::{
    protocol::Reason,
    ticket::{Order, SigningKey},
};

const PORTAL: &str = "https://portal.example";
const GATEWAY: &str = "https://gateway.example";
const DAY: u64 = 24 * 3600;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

async fn send(place: &Place, request: &str, headers: &[(&str, &str)], body: &str) -> Reply<TcpStream> {
    let headers = [&[("Host", "gateway.example")], headers].concat();
    exchange(TcpStream::connect(place.address).await.unwrap(), &request_text(request, &headers, body)).await
}

/// Whether somebody is logged in with this cookie.
async fn is_known(place: &Place, cookie: &str) -> bool {
    let request = format!("GET /{}/-/session", place.namespace);
    send(place, &request, &[("Cookie", cookie)], "").await.status == 200
}

/// Comes as ada with a ticket that this key signs, as soon as the gateway knows it; the cookie of the log-in.
async fn log_in(place: &Place, key: &SigningKey, until: u64) -> String {
    let namespace = &place.namespace;
    eventually("a log-in", async || {
        let departure = send(place, &format!("GET /{namespace}/-/login"), &[], "").await;
        // Before it has its settings it leads elsewhere.
        let location = departure.header("location")?.strip_prefix(PORTAL)?;
        let nonce = location.split_once("&nonce=")?.1;
        let order = Order { issuer: PORTAL, namespace, user: &ada(), nonce, until, sid: "s" };
        let (cookie, body) = (cookie_of(&departure), form(&key.sign(order, now()).unwrap(), "db-1"));
        let headers = [("Cookie", cookie.as_str()), ("Origin", PORTAL)];
        let reply = send(place, &format!("POST /{namespace}/-/session"), &headers, &body).await;
        (reply.status == 303).then(|| cookie_of(&reply))
    })
    .await
}

async fn open(place: &Place, cookie: &str) -> Browser {
    let endpoint =
        Endpoint { origin: Some(GATEWAY.to_owned()), cookie: Some(cookie.to_owned()), ..place.endpoint("db-1") };
    eventually("a terminal", async || endpoint.connect(Some("webshell.v1")).await.is_ok().then_some(())).await;
    endpoint.open().await
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_a_foreign_key_vouched_for_ends_once_it_is_withdrawn() {
    let (sshd, place) = (Sshd::start(), Place::start(Options { portal: true, ..Options::default() }).await);
    place.shell_on(&sshd, "db-1").await;
    let [portals, foreign] = [(); 2].map(|()| SigningKey::generate().unwrap());
    let end = now() + DAY;
    place.keys(&[(&portals, end)]).await;
    let ada = log_in(&place, &portals, end).await;
    let mut terminal = open(&place, &ada).await;

    // Somebody who may write there logs in as ada, once for long and once for a moment only.
    place.keys(&[(&portals, end), (&foreign, end)]).await;
    let forged = log_in(&place, &foreign, end).await;
    let mut terminals = vec![open(&place, &forged).await];
    let brief = log_in(&place, &foreign, now() + 3).await;
    terminals.push(open(&place, &brief).await);
    eventually("the end of the short log-in", async || (!is_known(&place, &brief).await).then_some(())).await;
    assert!(is_known(&place, &forged).await);

    // The controller puts it right.
    place.keys(&[(&portals, end)]).await;
    for terminal in &mut terminals {
        let ended = terminal.ended().await;
        assert_eq!(ended.reason, Reason::LoggedOut);
        assert!(ended.message.contains("key that vouched for your log-in was withdrawn"), "{}", ended.message);
    }
    assert!(!is_known(&place, &forged).await);
    assert!(is_known(&place, &ada).await);
    terminal.send(webshell::protocol::v1::ClientMessage::End).await.unwrap();
    assert_eq!(terminal.ended().await.reason, Reason::Exit, "it went on until then");
}
