//! The gateway's HTTP side over real sockets: what is answered to whom, and within which bounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod site;
}

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use proptest::{
    prelude::{prop_assert, prop_assert_eq},
    test_runner::{Config, TestRunner},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use support::site::{
    HANDSHAKE, LoggedIn, Options, PATIENCE, Reply, Site, demo_shell, exchange, read_reply, request_text, shell_at,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use webshell::{catalog::Catalog, gateway::tls, ssh::Demo};

const TERMINAL: &str = "/demo/terminal/ws";

/// A target that notices whoever dials it.
async fn target() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn start(options: Options) -> Site {
    let unused: SocketAddr = "127.0.0.1:9".parse().unwrap();
    Site::start(shell_at(unused), options).await
}

fn socket<S: AsyncRead + AsyncWrite + Unpin>(reply: Reply<S>) -> WebSocketStream<S> {
    assert_eq!(reply.status, 101, "{}", reply.body);
    ClientBuilder::new().take_over(reply.stream)
}

async fn next_message<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Option<Message> {
    let next = timeout(PATIENCE, socket.next()).await.expect("no message in time");
    next.and_then(Result::ok)
}

/// Waits for the text that satisfies `found`, in all that has come until then.
async fn wait_for<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, found: &str) {
    let mut seen = String::new();
    while !seen.contains(found) {
        let message = next_message(socket).await.unwrap_or_else(|| panic!("the end came before {found:?}: {seen:?}"));
        seen.push_str(message.as_text().unwrap_or_default());
    }
}

/// Whether the other side closes, by an end or a reset, without another answer.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest.is_empty()
}

#[tokio::test]
async fn addresses_answer_as_the_specification_says() {
    let site = start(Options::default()).await;
    let login = site.logged_in().await;
    let signed_in = &login.headers();
    for (path, anonymous, known) in [
        ("/", 200, 200),
        ("/demo/", 200, 200),
        ("/demo/terminal/", 200, 200),
        ("/demo", 308, 308),
        ("/demo/terminal?x=1", 308, 308),
        ("/-/session", 401, 200),
        ("/demo/-/session", 401, 200),
        ("/-/shells", 401, 200),
        ("/demo/-/shells", 401, 200),
        ("/-/assets/nothing.js", 404, 404),
        (TERMINAL, 426, 426),
        ("/demo/-/ping", 426, 426),
        ("/Demo/", 404, 404),
        ("/demo/terminal/../terminal/", 400, 400),
        ("/demo/%74erminal/", 400, 400),
        ("/metrics", 308, 308),
        ("/metrics/", 200, 200),
    ] {
        assert_eq!(site.get(path, &[]).await.status, anonymous, "{path}");
        assert_eq!(site.get(path, signed_in).await.status, known, "{path} logged in");
    }
    let reply = site.get("/demo/terminal?x=1", &[]).await;
    assert_eq!(reply.header("location"), Some("/demo/terminal/?x=1"));
    for (request, allow) in [
        ("POST /demo/", "GET, HEAD"),
        ("DELETE /demo/terminal/ws", "GET, HEAD"),
        ("PUT /-/session", "GET, HEAD, POST, DELETE"),
    ] {
        let reply = site.send(request, &[], "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{request}");
    }
    let head = site.send("HEAD /demo/", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_proxies_read_differently_is_refused_whatever_it_leads_to() {
    let site = start(Options { open: true, ..Options::default() }).await;
    let parts = proptest::collection::vec(
        "/|demo|terminal|ws|-|session|shells|ping|assets|\\.{1,2}|//|%2[eEfF]|%5[cC]|%25(2[eEfF]|5[cC])|\\\\",
        1..10,
    );
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let answered = |parts: Vec<String>| {
        let path = format!("/{}", parts.concat());
        let odd = path.contains(['%', '\\']) || path.contains("//") || path.split('/').any(|p| p == "." || p == "..");
        let reply = Handle::current().block_on(site.get(&path, &[]));
        prop_assert_eq!(reply.status == 400, odd, "{}", path);
        let location = reply.header("location").unwrap_or("/");
        prop_assert!(location.starts_with('/') && !location.starts_with("//"), "{}: {}", path, location);
        Ok(())
    };
    tokio::task::block_in_place(|| runner.run(&parts, answered)).unwrap();
}

#[tokio::test]
async fn the_list_and_the_session_are_json() {
    let site = start(Options::default()).await;
    let login = site.logged_in().await;
    let json = async |path| -> serde_json::Value {
        serde_json::from_str(&site.get(path, &login.headers()).await.body).unwrap()
    };
    assert_eq!(json("/-/session").await, serde_json::json!({"user": "somebody", "namespaces": ["demo"]}));
    let shells = json("/demo/-/shells").await;
    assert_eq!(
        shells["shells"],
        serde_json::json!([{
            "namespace": "demo", "name": "terminal", "url": "/demo/terminal/", "target": "ops@127.0.0.1:9", "ready": true,
        }])
    );
    assert_eq!(json("/other/-/shells").await, serde_json::json!({"shells": [], "complete": true}));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let site = start(Options::default()).await;
    for path in ["/", "/demo", "/demo/terminal/", "/-/shells", "/nothing/at/all/", TERMINAL] {
        let reply = site.get(path, &[]).await;
        let csp = reply.header("content-security-policy").unwrap();
        for directive in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(csp.contains(directive), "{path}: {csp}");
        }
        assert!(!csp.contains("unsafe-eval") && !csp.contains('*'), "{path}: {csp}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert_eq!(reply.header("strict-transport-security"), None, "{path}");
    }
}

#[tokio::test]
async fn a_ticket_logs_one_browser_in() {
    let site = start(Options::default()).await;
    let ticket = site.ticket();
    let reply = site.log_in(&ticket).await;
    let login = LoggedIn::of(&reply);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("webshell-{}=", site.address.port())), "{cookie}");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("access-control-allow-origin"), None);

    assert_eq!(site.log_in(&ticket).await.status, 401, "used before");
    assert_eq!(site.log_in("0123").await.status, 401);
    assert_ne!(site.ticket(), ticket);
    assert_eq!(site.log_in(&site.ticket()).await.status, 200, "the next one");

    assert_eq!(site.get("/-/session", &login.headers()).await.status, 200);
    let own = site.origin();
    assert_eq!(site.send("DELETE /-/session", &login.headers(), "").await.status, 403, "without Origin");
    let [cookie, key] = login.headers();
    let from_own = ("Origin", own.as_str());
    assert_eq!(site.send("DELETE /-/session", &[cookie, from_own], "").await.status, 204, "without the key");
    assert_eq!(site.get("/-/session", &login.headers()).await.status, 200, "which ended nothing");
    let reply = site.send("DELETE /-/session", &[cookie, key, from_own], "").await;
    assert_eq!(reply.status, 204);
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(site.get("/-/session", &login.headers()).await.status, 401);
}

#[tokio::test]
async fn a_cookie_that_another_port_was_sent_opens_nothing() {
    let site = start(Options::default()).await;
    let (login, other) = (site.logged_in().await, site.logged_in().await);
    let [cookie, key] = login.headers();
    let [others_cookie, others_key] = other.headers();
    let id = login.cookie.split_once('=').unwrap().1;
    for headers in
        [&[cookie][..], &[key], &[cookie, others_key], &[others_cookie, key], &[cookie, ("WebShell-Key", id)]]
    {
        for path in ["/-/session", "/-/shells", "/demo/-/shells"] {
            let reply = site.get(path, headers).await;
            assert_eq!(reply.status, 401, "{path} {headers:?}");
            assert!(reply.body.contains("open the address that the gateway printed"), "{}", reply.body);
        }
        assert_eq!(site.open(TERMINAL, headers).await.status, 401, "{headers:?}");
    }
    let offered = |subprotocols: &[&str]| subprotocols.join(", ");
    let (own, wrong) = (format!("webshell.key.{}", login.key), format!("webshell.key.{}", other.key));
    for (subprotocols, status, selected) in [
        (offered(&["webshell.v1"]), 401, None),
        (offered(&["webshell.v1", &wrong]), 401, None),
        (offered(&["webshell.v1", &own]), 101, Some("webshell.v1")),
        (offered(&["webshell.raw", &own]), 101, Some("webshell.raw")),
        (offered(&[&own]), 400, None),
    ] {
        let reply = site.open(TERMINAL, &[cookie, ("Sec-WebSocket-Protocol", &subprotocols)]).await;
        assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (status, selected), "{subprotocols}");
    }
    assert_eq!(site.open(TERMINAL, &[cookie, key]).await.status, 101, "raw, from a client that sets headers");
    let two = format!("{}; {}", other.cookie, login.cookie);
    assert_eq!(site.open(TERMINAL, &[("Cookie", &two), key]).await.status, 101, "beside one that another port has set");
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_logs_in_by_itself() {
    let site = start(Options { allowed: vec!["http://127.0.0.1:8000"], ..Options::default() }).await;
    let body = format!("{{\"ticket\": \"{}\"}}", site.ticket());
    let theirs = ("Origin", "http://127.0.0.1:8000");
    for (body, status) in [("{\"ticket\": \"0\"}", 401), (&body, 200)] {
        let reply = site.send("POST /-/session", &[theirs, ("Content-Type", "text/plain")], body).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("access-control-allow-origin"), Some("http://127.0.0.1:8000"));
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(reply.header("vary"), Some("Origin"));
        if status == 200 {
            let LoggedIn { cookie, key } = LoggedIn::of(&reply);
            let offers = format!("webshell.raw, webshell.key.{key}");
            let headers = [theirs, ("Cookie", cookie.as_str()), ("Sec-WebSocket-Protocol", &offers)];
            assert_eq!(site.open(TERMINAL, &headers).await.status, 101);
        }
    }
    let reply = site.send("POST /-/session", &[("Origin", "http://127.0.0.1:8001")], &body).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None));
}

#[tokio::test]
async fn log_ins_are_bounded_and_from_our_own_pages() {
    let site = start(Options::default()).await;
    let body = format!("{{\"ticket\": \"{}\"}}", site.ticket());
    for origin in ["http://evil.example", "null", "http://localhost", "https://127.0.0.1"] {
        assert_eq!(site.send("POST /-/session", &[("Origin", origin)], &body).await.status, 403, "{origin}");
    }
    assert_eq!(site.send("POST /-/session", &[], &body).await.status, 403, "no Origin");
    let own = site.origin();
    let own = &[("Origin", own.as_str())];
    assert_eq!(site.send("POST /-/session", own, "ticket").await.status, 400);
    assert_eq!(site.send("POST /-/session", own, "").await.status, 400);
    assert_eq!(site.send("POST /-/session", own, &"x".repeat(8 * 1024 + 1)).await.status, 413);
    assert_eq!(site.send("POST /-/session", own, &body).await.status, 200, "nothing of that used the ticket up");
}

#[tokio::test]
async fn without_log_in_everybody_on_this_machine_comes_in() {
    let site = start(Options { open: true, ..Options::default() }).await;
    assert_eq!(site.get("/-/session", &[]).await.status, 200);
    assert_eq!(site.open(TERMINAL, &[]).await.status, 101);
    assert_eq!(site.open(TERMINAL, &[("Origin", "http://evil.example")]).await.status, 403);
    // A page of another name that was made to point here reads nothing.
    assert_eq!(site.get("/-/shells", &[("Host", "evil.example")]).await.status, 403);
}

#[tokio::test]
async fn only_our_own_pages_open_terminals_and_nothing_is_dialled_for_others() {
    let (target, address) = target().await;
    let options = Options { open: true, allowed: vec!["https://tools.example.com"], ..Options::default() };
    let site = Site::start(shell_at(address), options).await;
    let port = site.address.port();
    let refused = [
        ("Origin", String::new()),
        ("Origin", "null".to_owned()),
        ("Origin", "http://evil.example".to_owned()),
        ("Origin", format!("http://evil.example:{port}")),
        ("Origin", format!("http://sub.localhost:{port}")),
        ("Origin", format!("http://localhost:{port}")),
        ("Origin", format!("https://127.0.0.1:{port}")),
        ("Origin", format!("http://127.0.0.1:{}", port ^ 1)),
        ("Origin", "http://127.0.0.1".to_owned()),
        ("Origin", format!("http://127.0.0.1:{port}, http://evil.example")),
        ("Origin", "https://sub.tools.example.com".to_owned()),
        ("Origin", "https://tools.example.com.evil.example".to_owned()),
        ("Host", format!("evil.example:{port}")),
        ("Host", "127.0.0.1".to_owned()),
    ];
    for (name, value) in &refused {
        let reply = site.open(TERMINAL, &[(name, value)]).await;
        assert_eq!(reply.status, 403, "{name}: {value}");
    }
    let twice = [("Origin", site.origin()), ("origin", "http://evil.example".to_owned())];
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(site.open(TERMINAL, &twice).await.status, 403, "two Origins");

    // The first to arrive at the target are those that were let in.
    let own = [("Origin", format!("http://localhost:{port}")), ("Host", format!("localhost:{port}"))];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    for headers in [&own[..], &[("Origin", "https://tools.example.com")]] {
        let reply = site.open(TERMINAL, headers).await;
        assert_eq!(reply.status, 101);
        timeout(PATIENCE, target.accept()).await.expect("a dial").unwrap();
    }
    let metrics = site.admin("/metrics").await.body;
    let origins = refused.iter().filter(|(name, _)| *name == "Origin").count() + 1;
    assert!(metrics.contains(&format!("websocket_refusals_total{{cause=\"origin\"}} {origins}\n")), "{metrics}");
}

#[tokio::test]
async fn a_handshake_is_answered_with_what_it_lacks() {
    let site = start(Options::default()).await;
    let login = site.logged_in().await;
    let [cookie, key] = login.headers();
    for (headers, status) in [
        (&[("Upgrade", "")][..], 426),
        (&[("Connection", "")], 426),
        (&[("Sec-WebSocket-Version", "8")], 426),
        (&[("Sec-WebSocket-Key", "")], 400),
        (&[("Sec-WebSocket-Key", "short")], 400),
        (&[("Sec-WebSocket-Protocol", "webshell.v2, tty")], 400),
    ] {
        let headers: Vec<_> = headers.iter().copied().chain([cookie, key]).collect();
        let reply = site.open(TERMINAL, &headers).await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.body);
        if status == 426 {
            assert_eq!(reply.header("upgrade"), Some("websocket"));
            assert_eq!(reply.header("sec-websocket-version"), Some("13"));
        }
    }
    let reply = site.open(TERMINAL, &[cookie, key, ("Sec-WebSocket-Protocol", "tty")]).await;
    assert!(reply.body.contains("webshell.v1"), "{}", reply.body);
    assert_eq!(site.open(TERMINAL, &[]).await.status, 401);
    assert_eq!(site.open("/demo/nothing/ws", &[]).await.status, 401, "no names are told to strangers");
    assert_eq!(site.open("/demo/nothing/ws", &[cookie, key]).await.status, 404);

    let reply = site.open(TERMINAL, &[cookie, key, ("Sec-WebSocket-Protocol", "tty, webshell.v1")]).await;
    assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, Some("webshell.v1")));
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let reply = site.open(TERMINAL, &[cookie, key, ("Sec-WebSocket-Extensions", "permessage-deflate")]).await;
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-protocol"), None);
    assert_eq!(reply.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn a_ping_proves_a_route_to_anybody() {
    let site = start(Options::default()).await;
    let strange = &[("Origin", ""), ("Host", "shell.example.com")];
    let mut socket = socket(site.open("/demo/-/ping", strange).await);
    for (ping, pong) in [("ping", "pong!"), ("ping a-nonce_1", "pong! a-nonce_1 demo/instance-1")] {
        socket.send(Message::text(ping)).await.unwrap();
        assert_eq!(next_message(&mut socket).await.unwrap().as_text(), Some(pong));
    }
    socket.send(Message::text("else")).await.unwrap();
    let close = next_message(&mut socket).await.unwrap();
    assert_eq!(close.as_close().map(|(code, _)| u16::from(code)), Some(1002));
}

#[tokio::test]
async fn what_is_sent_along_with_the_handshake_is_not_lost() {
    let site = start(Options::default()).await;
    let mut headers = HANDSHAKE.to_vec();
    headers.push(("Host", "x"));
    let mut bytes = request_text("GET /-/ping", &headers, "").into_bytes();
    // The masked text frame "ping" (RFC 6455, section 5.2), whose mask is zero.
    bytes.extend_from_slice(b"\x81\x84\0\0\0\0ping");
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut socket = socket(read_reply(stream, false).await);
    assert_eq!(next_message(&mut socket).await.unwrap().as_text(), Some("pong!"));
}

#[tokio::test]
async fn frames_are_bounded_by_mode() {
    // It never answers, so that the terminal stays on its way.
    let (_silent, address) = target().await;
    let site = Site::start(shell_at(address), Options { open: true, ..Options::default() }).await;
    for (subprotocol, length) in [("webshell.v1", 64 * 1024 + 1), ("", 1024 * 1024 + 1)] {
        let reply = site.open(TERMINAL, &[("Sec-WebSocket-Protocol", subprotocol)]).await;
        assert_eq!(reply.status, 101);
        let mut stream = reply.stream;
        // The head of a masked binary frame is enough: nobody waits for the rest.
        let mut head = vec![0x82, 0xff];
        head.extend_from_slice(&u64::to_be_bytes(length));
        head.extend_from_slice(&[0; 4]);
        stream.write_all(&head).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("a close");
        let code = 1009u16.to_be_bytes();
        assert!(rest.windows(2).any(|pair| pair == code), "{subprotocol}: {rest:?}");
    }
}

// Time is stopped in the following tests and moves on when everybody waits, so that no deadline is waited for.

#[tokio::test(start_paused = true)]
async fn slow_headers_are_cut_off() {
    let site = start(Options::default()).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ").await.unwrap();
    let begin = tokio::time::Instant::now();
    assert!(is_closed(&mut stream).await);
    assert!(begin.elapsed() >= Duration::from_secs(9) && begin.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends() {
    let site = start(Options::default()).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let host = site.address.to_string();
    let request = request_text("GET /", &[("Host", &host)], "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = read_reply(stream, false).await;
    assert_eq!(reply.status, 200);
    assert!(is_closed(&mut reply.stream).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let site = start(Options::default()).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let (host, origin) = (site.address.to_string(), site.origin());
    let request =
        request_text("POST /-/session", &[("Host", &host), ("Origin", &origin), ("Content-Length", "40")], "");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_reply(stream, false).await.status, 408);
}

#[tokio::test]
async fn headers_are_bounded() {
    let site = start(Options::default()).await;
    assert_eq!(site.get("/", &[("X-Large", &"x".repeat(20_000))]).await.status, 431);
    let many: Vec<_> = (0..200).map(|_| ("X-Many", "x")).collect();
    assert_eq!(site.get("/", &many).await.status, 431);
    assert_eq!(site.get(&format!("/{}", "x".repeat(20_000)), &[]).await.status / 100, 4);
    assert_eq!(site.get("/", &[]).await.status, 200, "others are served as before");
}

#[tokio::test]
async fn metrics_name_no_user_and_no_host() {
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let site = Site::start(demo_shell(&demo), Options::default()).await;
    let login = site.logged_in().await;
    let mut terminal = socket(site.open(TERMINAL, &login.headers()).await);
    terminal.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
    wait_for(&mut terminal, "sum 42").await;
    let metrics = site.admin("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let mut labels = BTreeSet::new();
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        if let Some((_, rest)) = line.split_once('{') {
            let (set, _) = rest.split_once('}').unwrap();
            labels.extend(set.split(',').map(|label| label.split('=').next().unwrap().to_owned()));
        }
    }
    let known = ["cause", "direction", "le", "outcome", "reason", "state", "status"];
    assert!(labels.iter().all(|label| known.contains(&label.as_str())), "{labels:?}");
    assert!(metrics.body.contains("webshell_sessions{state=\"attached\"} 1\n"), "{}", metrics.body);
    for secret in ["somebody", "127.0.0.1", "terminal\"", demo.user()] {
        assert!(!metrics.body.contains(&format!("\"{secret}")), "{secret}");
    }
    assert_eq!(site.admin("/healthz").await.status, 200);
    assert_eq!(site.admin("/nothing").await.status, 404);
    assert_eq!(site.get("/healthz/", &[]).await.header("content-type"), Some("text/html; charset=utf-8"));
}

#[tokio::test]
async fn draining_refuses_new_terminals_and_lets_the_old_come_to_their_end() {
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let site = Site::start(demo_shell(&demo), Options { open: true, ..Options::default() }).await;
    let mut terminal = socket(site.open(TERMINAL, &[]).await);
    terminal.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
    wait_for(&mut terminal, "sum 42").await;
    assert_eq!(site.admin("/readyz").await.status, 200);

    site.shutdown.drain.cancel();
    assert_eq!(site.admin("/readyz").await.status, 503);
    assert_eq!(site.admin("/healthz").await.status, 200);
    let reply = site.open(TERMINAL, &[]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));

    terminal.send(Message::text("echo product $((6 * 7))\n")).await.unwrap();
    wait_for(&mut terminal, "product 42").await;
    terminal.send(Message::text("exit\n")).await.unwrap();
    wait_for(&mut terminal, "ssh closed").await;
    while next_message(&mut terminal).await.is_some() {}
    timeout(PATIENCE, site.running).await.expect("the gateway's end").unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_terminals_at_once() {
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let site = Site::start(demo_shell(&demo), Options { open: true, ..Options::default() }).await;
    let mut terminal = socket(site.open(TERMINAL, &[]).await);
    terminal.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
    wait_for(&mut terminal, "sum 42").await;
    site.shutdown.drain.cancel();
    site.shutdown.now.cancel();
    wait_for(&mut terminal, "ssh closed").await;
    let close = next_message(&mut terminal).await.unwrap();
    assert_eq!(close.as_close().map(|(code, _)| u16::from(code)), Some(1001));
    drop(terminal);
    timeout(PATIENCE, site.running).await.expect("the gateway's end").unwrap();
}

#[tokio::test]
async fn without_a_terminal_it_stops_at_once() {
    let site = Site::start(Catalog::default(), Options::default()).await;
    let kept_alive = site.get("/", &[]).await;
    site.shutdown.drain.cancel();
    timeout(PATIENCE, site.running).await.expect("the gateway's end").unwrap();
    drop(kept_alive);
}

#[tokio::test]
async fn terminals_work_over_tls() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = TlsConnector::from(Arc::new(client));

    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let tls = Some(tls::acceptor(&certificate, &key).unwrap());
    let site = Site::start(demo_shell(&demo), Options { tls, ..Options::default() }).await;
    let host = format!("localhost:{}", site.address.port());
    let origin = format!("https://{host}");
    let send = async |request: &str, headers: &[(&str, &str)], body: &str| {
        let stream = TcpStream::connect(site.address).await.unwrap();
        let stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let mut all = vec![("Host", host.as_str()), ("Origin", origin.as_str())];
        all.extend_from_slice(headers);
        exchange(stream, &request_text(request, &all, body)).await
    };
    let reply = send("POST /-/session", &[], &format!("{{\"ticket\": \"{}\"}}", site.ticket())).await;
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    assert!(
        cookie.starts_with("__Host-webshell=")
            && cookie.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    assert_eq!(reply.header("strict-transport-security"), None, "localhost has other services, too");

    let login = LoggedIn::of(&reply);
    let headers = [&HANDSHAKE[..], &login.headers()].concat();
    let mut terminal = socket(send(&format!("GET {TERMINAL}"), &headers, "").await);
    terminal.send(Message::text("echo sum $((40 + 2))\n")).await.unwrap();
    wait_for(&mut terminal, "sum 42").await;

    // Plain HTTP on the same port is closed, not answered.
    let mut plain = TcpStream::connect(site.address).await.unwrap();
    plain.write_all(request_text("GET /", &[("Host", &host)], "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("a close");
    assert!(!answer.starts_with(b"HTTP"));
}
