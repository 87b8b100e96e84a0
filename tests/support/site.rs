//! A gateway in this process, and an HTTP client small enough to send what no browser would.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use webshell::{
    catalog::{Access, Catalog, Entry, ShellKey},
    gateway::{
        Gateway, Settings,
        drain::Shutdown,
        guard::Everyone,
        login::{Auth, Cookie, PrintedTickets, Secret},
        origin::Origins,
    },
    local::demo,
    session::{Caps, Registry},
    ssh::{Admission, Credentials, Demo, HostKeys, Program, Target},
    telemetry::metrics::SessionMetrics,
    user::User,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What differs between the gateways of tests.
#[derive(Default)]
pub struct Options {
    pub open: bool,
    pub tls: Option<TlsAcceptor>,
    pub allowed: Vec<&'static str>,
    pub trusted_proxies: Vec<&'static str>,
}

/// A running gateway.
pub struct Site {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub shutdown: Shutdown,
    pub running: JoinHandle<()>,
    tickets: Option<watch::Receiver<Secret>>,
}

/// What a client keeps of a log-in with a printed ticket.
pub struct LoggedIn {
    pub cookie: String,
    pub key: String,
}

/// An answer, and what it came on.
pub struct Reply<S> {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub stream: S,
}

impl Site {
    /// A gateway of its own, with the one user `somebody`.
    pub async fn start(catalog: Catalog, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = options.tls.is_some();
        let cookie = if tls { Cookie::host() } else { Cookie::loopback(address.port()) };
        let user = User { name: "somebody".to_owned(), ..User::default() };
        let printed = PrintedTickets::new(cookie, user.clone()).unwrap();
        let tickets = (!options.open).then(|| printed.ticket());
        let auth = if options.open { Auth::None(Arc::new(user)) } else { Auth::Printed(Box::new(printed)) };
        let allowed = options.allowed.iter().map(|origin| origin.parse().unwrap()).collect();
        let site = Self::serve(listener, catalog, auth, Origins::new(address, tls, allowed), options).await;
        Self { tickets, ..site }
    }

    /// A gateway whose users come as `auth` says, to pages of `origins`.
    pub async fn start_as(catalog: Catalog, auth: Auth, origins: Origins) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, catalog, auth, origins, Options::default()).await
    }

    async fn serve(listener: TcpListener, catalog: Catalog, auth: Auth, origins: Origins, options: Options) -> Self {
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
        let shutdown = Shutdown::new(PATIENCE);
        let settings = Settings {
            trusted_proxies: options.trusted_proxies.iter().map(|net| net.parse().unwrap()).collect(),
            caps: Caps { total: 8, user: None, shell: None, namespace: None },
        };
        let ready = CancellationToken::new();
        ready.cancel();
        let gateway = Gateway {
            listener,
            tls: options.tls,
            admin,
            auth,
            origins,
            guard: Arc::new(Everyone),
            settings: watch::channel(Arc::new(settings)).1,
            instance: "instance-1".to_owned(),
            registry: Registry::new(8, SessionMetrics::default()),
            catalog: watch::channel(Arc::new(catalog)).1,
            ready,
            shutdown: shutdown.clone(),
        };
        let running = tokio::spawn(gateway.run());
        Self { address, admin: admin_address, shutdown, running, tickets: None }
    }

    /// The ticket that works now.
    pub fn ticket(&self) -> String {
        self.tickets.as_ref().unwrap().borrow().expose().to_owned()
    }

    /// The origin of its own pages.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request of these lines, headers that every client sends added; the lines must not name them.
    pub async fn send(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Reply<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let host = self.address.to_string();
        let mut all = vec![("Host", host.as_str())];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        all.extend_from_slice(headers);
        exchange(stream, &request_text(request, &all, body)).await
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply<TcpStream> {
        self.send(&format!("GET {path}"), headers, "").await
    }

    /// Tries to log in with `ticket`.
    pub async fn log_in(&self, ticket: &str) -> Reply<TcpStream> {
        let body = format!("{{\"ticket\": \"{ticket}\"}}");
        self.send("POST /-/session", &[("Origin", &self.origin())], &body).await
    }

    /// Logs in with the ticket that works now.
    pub async fn logged_in(&self) -> LoggedIn {
        LoggedIn::of(&self.log_in(&self.ticket()).await)
    }

    /// Asks for a WebSocket as a browser on the gateway's own page does; `headers` take the place of those it would send.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Reply<TcpStream> {
        let origin = self.origin();
        let mut all = HANDSHAKE.to_vec();
        all.push(("Origin", &origin));
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        // An empty value stands for a header that is left out.
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        self.send(&format!("GET {path}"), &all, "").await
    }

    pub async fn admin(&self, path: &str) -> Reply<TcpStream> {
        let stream = TcpStream::connect(self.admin).await.unwrap();
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
    }
}

impl LoggedIn {
    /// From the answer to a ticket.
    pub fn of<S>(reply: &Reply<S>) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.body);
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let key = reply.body.strip_prefix("{\"key\":\"").and_then(|body| body.strip_suffix("\"}"));
        Self { cookie, key: key.unwrap_or_else(|| panic!("{}", reply.body)).to_owned() }
    }

    /// As they are sent with each request.
    pub fn headers(&self) -> [(&str, &str); 2] {
        [("Cookie", &self.cookie), ("WebShell-Key", &self.key)]
    }
}

/// What makes a request a handshake.
pub const HANDSHAKE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

impl<S> Reply<S> {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Lets this process have as many sockets as the system allows it.
pub fn allow_many_sockets() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A request as it goes over the wire.
pub fn request_text(request: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{request} HTTP/1.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// Sends a request and reads its answer.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Reply<S> {
    let answered = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        read_reply(stream, request.starts_with("HEAD")).await
    };
    timeout(PATIENCE, answered).await.expect("no answer in time")
}

/// Reads one answer, and nothing beyond.
pub async fn read_reply<S: AsyncRead + Unpin>(mut stream: S, is_head: bool) -> Reply<S> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer's head"));
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut reply = Reply { status, headers, body: String::new(), stream };
    let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { length }];
    reply.stream.read_exact(&mut body).await.unwrap();
    reply.body = String::from_utf8(body).unwrap();
    reply
}

/// One shell, `demo/terminal`, at `address`; nobody can log in there.
pub fn shell_at(address: SocketAddr) -> Catalog {
    let key = ShellKey { namespace: "demo".into(), name: "terminal".into() };
    let access = Access {
        dial: None,
        target: Target { host: address.ip().to_string(), port: address.port(), user: "ops".into() },
        credentials: Credentials::default(),
        host_keys: HostKeys::default(),
        program: Program::default(),
        connect_timeout: PATIENCE,
        limits: webshell::api::Session::default().limits(),
        clipboard_write: false,
        admission: Admission::default(),
        min_rsa_bits: 0,
    };
    let entry = Entry { key: key.clone(), target: format!("ops@{address}"), access: Ok(Arc::new(access)) };
    Catalog { shells: [(key, entry)].into() }
}

/// One shell, `demo/terminal`, on the demo target: one that reads no start-up files of whoever runs the tests.
pub fn demo_shell(demo: &Demo) -> Catalog {
    let mut shell = demo::shell(demo).unwrap();
    let access = Arc::get_mut(shell.access.as_mut().unwrap()).unwrap();
    access.program.command = Some("exec sh".to_owned());
    Catalog { shells: [(shell.key.clone(), shell)].into() }
}
