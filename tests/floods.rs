//! Floods of connections and of log lines: who comes and speaks is served all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod browser;
    pub mod site;
}

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use futures_util::{SinkExt as _, StreamExt as _};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use rustix::process::{Pid, Signal, kill_process};
use support::{
    browser::Endpoint,
    site::{
        HANDSHAKE, Options, PATIENCE, Reply, Site, allow_many_sockets, demo_shell, exchange, request_text, shell_at,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokio_websockets::{ClientBuilder, Message};
use webshell::{
    gateway::{admin::Admin, ping},
    ssh::Demo,
};

/// Connects from an address of its own on this machine.
async fn connect_from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

fn local(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1 + u8::try_from(number / 250).unwrap(), 1 + u8::try_from(number % 250).unwrap())
}

/// Connections that say `said` and no more.
async fn flood(count: usize, to: SocketAddr, from: impl Fn(usize) -> Ipv4Addr, said: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = connect_from(from(number), to).await;
        // Those that gave way to later ones meanwhile take no more.
        let _ = stream.write_all(said.as_bytes()).await;
        streams.push(stream);
    }
    streams
}

/// Whether the other side closes without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
    rest.is_empty()
}

async fn site() -> (Demo, Site) {
    allow_many_sockets();
    let demo = Demo::start(&CancellationToken::new()).await.unwrap();
    let options = Options { open: true, trusted_proxies: vec!["127.0.0.1/32"], ..Options::default() };
    let site = Site::start(demo_shell(&demo), options).await;
    (demo, site)
}

/// An admin listener with so many metrics that no socket takes them at once.
async fn admin() -> (SocketAddr, CancellationToken, TaskTracker) {
    allow_many_sockets();
    let mut registry = Registry::default();
    for number in 0..50_000 {
        registry.register(
            format!("metric_{number}"),
            "One of many, so that there is much to read",
            Counter::<u64>::default(),
        );
    }
    let (tasks, stop, ready) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Admin { registry, ready, draining: CancellationToken::new() }.serve(listener, &tasks, stop.clone());
    (address, stop, tasks)
}

async fn get(from: Ipv4Addr, to: SocketAddr, path: &str) -> Reply<TcpStream> {
    exchange(connect_from(from, to).await, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
}

#[tokio::test]
async fn health_is_answered_whatever_else_is_open() {
    let (address, stop, tasks) = admin().await;
    let healthy = async || get(Ipv4Addr::LOCALHOST, address, "/healthz").await.status;
    let one = |_| local(0);
    let half = "GET /healthz HTTP/1.1\r\nHost: ";
    let mut first = None;
    for (what, count, from, said) in [
        ("64 idle", 64, &one as &dyn Fn(usize) -> Ipv4Addr, ""),
        ("500 idle of one", 500, &one, ""),
        ("500 idle of the probe's own", 500, &|_| Ipv4Addr::LOCALHOST, ""),
        ("500 idle of many", 500, &local, ""),
        ("half requests of one", 500, &one, half),
        ("half requests of many", 500, &local, half),
        ("slow readers", 300, &local, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let flooding = flood(count, address, from, said).await;
        for _ in 0..3 {
            assert_eq!(healthy().await, 200, "{what}");
        }
        first.get_or_insert(flooding);
    }
    // Those of the first flood were within the bound: they ended because they said nothing.
    assert!(is_closed(&mut first.unwrap()[0]).await);
    stop.cancel();
    tasks.close();
    timeout(PATIENCE, tasks.wait()).await.expect("the end");
}

#[tokio::test]
async fn slow_scrapers_keep_neither_health_nor_others_from_theirs() {
    let (address, ..) = admin().await;
    let slow = flood(2, address, |_| local(0), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for stream in &slow {
        stream.readable().await.unwrap();
    }
    let third = get(local(0), address, "/metrics").await;
    assert_eq!((third.status, third.header("retry-after")), (503, Some("1")));
    assert_eq!(get(local(0), address, "/readyz").await.status, 503, "it is answered: starting");
    let other = get(local(1), address, "/metrics").await;
    assert!(other.status == 200 && other.body.ends_with("# EOF\n"));
    drop(slow);
    let again = async {
        while get(local(0), address, "/metrics").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place that is free again");
}

#[tokio::test]
async fn the_gateways_health_is_answered_too() {
    allow_many_sockets();
    let site = Site::start(shell_at("127.0.0.1:9".parse().unwrap()), Options::default()).await;
    let _flood = flood(500, site.admin, local, "").await;
    assert_eq!((site.admin("/healthz").await.status, site.admin("/readyz").await.status), (200, 200));
    assert_eq!(site.admin("/metrics").await.status, 200);
}

/// Asks for a ping as `client`, by a proxy that is trusted.
async fn ping(site: &Site, client: &str) -> Reply<TcpStream> {
    site.open("/demo/-/ping", &[("Origin", ""), ("X-Forwarded-For", client)]).await
}

#[tokio::test]
async fn pings_leave_terminals_their_places() {
    let (_demo, site) = site().await;
    let endpoint = Endpoint::shell(site.address, "demo", "terminal");
    let mut terminal = endpoint.open().await;
    terminal.connected().await;
    let (token, received) = (terminal.welcome.token.clone(), terminal.received);
    drop(terminal);

    let mut held = Vec::new();
    let mut refused = 0;
    for number in 0..768 {
        let reply = ping(&site, &format!("10.0.{}.{}", number / 250, number % 250)).await;
        // One whose time is up makes room for another.
        if reply.status != 101 {
            assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")), "{}", reply.body);
            assert!(held.len() >= ping::MAX_PINGS);
            refused += 1;
        }
        held.push(reply.stream);
    }
    assert_ne!(refused, 0);
    let mut resumed = endpoint.resume(&token, received).await.unwrap();
    assert!(resumed.welcome.resumed);
    resumed.input("echo sum $((40 + 2))\n").await;
    resumed.read_until("sum 42").await;
    endpoint.open().await.connected().await;
    let metrics = site.admin("/metrics").await.body;
    assert!(metrics.contains("webshell_websocket_refusals_total{cause=\"too-many-pings\"}"), "{metrics}");
    assert!(metrics.contains("webshell_http_connections_dropped_total{cause=\"evicted\"}"), "{metrics}");
}

#[tokio::test]
async fn one_client_pings_a_few_times_at_once_and_not_for_long() {
    let (_demo, site) = site().await;
    let mut held = Vec::new();
    for _ in 0..ping::MAX_PINGS_OF_ONE {
        held.push(ping(&site, "10.0.0.1").await);
    }
    assert_eq!(held.iter().map(|reply| reply.status).collect::<Vec<_>>(), [101; ping::MAX_PINGS_OF_ONE]);
    assert_eq!(ping(&site, "10.0.0.1").await.status, 429);
    let mut other = ClientBuilder::new().take_over(ping(&site, "10.0.0.2").await.stream);
    other.send(Message::text("ping")).await.unwrap();
    assert_eq!(other.next().await.unwrap().unwrap().as_text(), Some("pong!"));
    for reply in &mut held {
        let mut rest = Vec::new();
        let _ =
            timeout(PATIENCE, reply.stream.read_to_end(&mut rest)).await.expect("an end of a ping without a question");
    }
    assert_eq!(ping(&site, "10.0.0.1").await.status, 101);
}

#[tokio::test]
async fn whatever_strangers_hold_pages_and_terminals_open() {
    let (_demo, site) = site().await;
    let endpoint = Endpoint::shell(site.address, "demo", "terminal");
    let mut terminal = endpoint.open().await;
    terminal.connected().await;
    let (host, origin) = (site.address.to_string(), site.origin());
    let own = [("Host", host.as_str()), ("Origin", origin.as_str())];
    let websocket =
        |rest: &[(&str, &str)]| request_text("GET /demo/terminal/ws", &[HANDSHAKE.as_slice(), &own, rest].concat(), "");
    let slow_body = [own.as_slice(), &[("Content-Length", "1000")]].concat();
    let foreign = [HANDSHAKE.as_slice(), &[("Host", &host), ("Origin", "http://evil.example")]].concat();
    for (what, said) in [
        ("nothing", String::new()),
        ("half a request", "GET / HTTP/1.1\r\nHost".to_owned()),
        ("half a body", request_text("POST /-/session", &slow_body, "")),
        ("a foreign page", request_text("GET /demo/terminal/ws", &foreign, "")),
        ("WebSockets that say no hello", websocket(&[("Sec-WebSocket-Protocol", "webshell.v1")])),
    ] {
        let _flood = flood(800, site.address, |_| Ipv4Addr::LOCALHOST, &said).await;
        assert_eq!(site.get("/demo/terminal/", &[]).await.status, 200, "{what}");
        let mut new = endpoint.open().await;
        new.connected().await;
        new.send(webshell::protocol::v1::ClientMessage::End).await.unwrap();
        new.ended().await;
        terminal.input("echo sum $((40 + 2))\n").await;
        terminal.read_until("sum 42").await;
    }
}

#[tokio::test]
async fn what_strangers_do_is_logged_a_few_times_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_webshell"))
        .args(["local", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .env("HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let host = line.strip_prefix("WebShell is ready: http://").unwrap().split('/').next().unwrap();
    let (address, origin) = (host.parse::<SocketAddr>().unwrap(), format!("http://{host}"));
    let own = [("Host", host), ("Origin", origin.as_str())];
    let websocket = request_text("GET /demo/terminal/ws", &[HANDSHAKE.as_slice(), &own].concat(), "");
    let log_in = request_text("POST /-/session", &own, "{\"ticket\": \"wrong\"}");
    for request in [&websocket, &log_in] {
        for _ in 0..100 {
            assert_eq!(exchange(TcpStream::connect(address).await.unwrap(), request).await.status, 401);
        }
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let end = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(timeout(PATIENCE, end).await.expect("the end").unwrap().success());
    let log = fs::read_to_string(log).unwrap();
    for (what, counted) in
        [("not-logged-in", "\"reason\":\"not-logged-in\""), ("a log-in was refused", "\"cause\":\"ticket\"")]
    {
        let lines = log.lines().filter(|line| line.contains(what) && !line.contains("suppressed")).count();
        let rest: Vec<_> = log.lines().filter(|line| line.contains(counted) && line.contains("suppressed")).collect();
        assert_eq!(lines, 10, "{log}");
        assert!(rest.len() == 1 && rest[0].contains("\"suppressed\":90"), "{rest:?}");
    }
}
