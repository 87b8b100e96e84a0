//! Clients that know nothing of us, on the program itself: the Django WebShell's page, xterm.js' AttachAddon, and wscat.
//! Their frames are made here as theirs are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod binary;
    pub mod browser;
    pub mod sshd;
}

use std::fs;

use futures_util::{SinkExt, StreamExt};
use support::{
    binary::{Binary, Manifest},
    browser::{Endpoint, PATIENCE},
    sshd::{Sshd, wait_until},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_websockets::{Message, WebSocketStream};

/// A page's terminal: what it was written, in order.
struct Page {
    socket: WebSocketStream<TcpStream>,
    terminal: String,
    /// Whether anything came that was not text, which the Django page writes as `[object Blob]`.
    saw_binary: bool,
    closed: Option<u16>,
}

impl Page {
    /// Connects without a subprotocol, as all of them do.
    async fn open(binary: &Binary, query: &str) -> Self {
        let Endpoint { path, .. } = binary.endpoint("shell");
        let endpoint = Endpoint { path: format!("{path}{query}"), ..binary.endpoint("shell") };
        let socket = endpoint.connect(None).await.unwrap();
        Self { socket, terminal: String::new(), saw_binary: false, closed: None }
    }

    /// `socket.send(text)`, as both pages do with what `terminal.onData` gives them.
    async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text.to_owned())).await.unwrap();
    }

    /// Takes one event of the socket.
    async fn step(&mut self) {
        let message = timeout(PATIENCE, self.socket.next()).await.expect("an event").unwrap().unwrap();
        if let Some(text) = message.as_text() {
            self.terminal.push_str(text);
        } else if let Some((code, _)) = message.as_close() {
            self.closed = Some(code.into());
        } else if message.is_binary() {
            self.saw_binary = true;
            self.terminal.push_str(&String::from_utf8_lossy(message.as_payload()));
        }
    }

    async fn shows(&mut self, text: &str) {
        while !self.terminal.contains(text) {
            assert_eq!(self.closed, None, "{}", self.terminal);
            self.step().await;
        }
    }

    async fn closes(&mut self) -> u16 {
        while self.closed.is_none() {
            self.step().await;
        }
        self.closed.unwrap()
    }
}

fn serve() -> (Sshd, Binary) {
    let sshd = Sshd::start();
    let binary = Binary::serve(&[Manifest::of("shell", &sshd)]);
    (sshd, binary)
}

/// Waits until as many sessions are attached.
async fn sessions(binary: &Binary, number: u32) {
    let wanted = format!("webshell_sessions{{state=\"attached\"}} {number}\n");
    let counted = async { while !binary.admin("/metrics").await.1.contains(&wanted) {} };
    timeout(PATIENCE, counted).await.expect("as many sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_django_page_works_as_it_is() {
    let (_sshd, binary) = serve();
    let mut page = Page::open(&binary, "").await;
    // As soon as the socket is open, and at each change of the window.
    page.send("<RESIZE>111,37").await;
    for key in ["s", "t", "t", "y", " ", "s", "i", "z", "e", "\r"] {
        page.send(key).await;
    }
    page.shows("37 111").await;
    page.send("<RESIZE>99,22").await;
    page.send("echo size: $(stty size) é漢😀\r").await;
    page.shows("size: 22 99 é漢😀").await;
    page.send("printf '\\303'; sleep 0.2; printf '\\251t\\303\\251\\n'\r").await;
    page.shows("été\r\n").await;
    assert!(!page.terminal.contains("<RESIZE>"), "{}", page.terminal);
    page.send("exit\r").await;
    // It writes what was said and reloads on close.
    assert_eq!(page.closes().await, 1000);
    assert!(page.terminal.ends_with("ssh closed"), "{}", page.terminal);
    assert!(!page.saw_binary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_goes_away_ends_its_session() {
    let (sshd, binary) = serve();
    let file = sshd.directory().join("pid");
    let mut page = Page::open(&binary, "").await;
    page.send(&format!("sh -c 'echo $$ > {}; echo wai\"\"ting; exec sleep 1000'\r", file.display())).await;
    page.shows("waiting\r\n").await;
    let program = format!("/proc/{}", fs::read_to_string(file).unwrap().trim());
    assert!(fs::exists(&program).unwrap());
    sessions(&binary, 1).await;
    page.socket.close().await.unwrap();
    sessions(&binary, 0).await;
    wait_until("the program was hung up", || !fs::exists(&program).unwrap());

    // A connection that is cut says nothing, and is the same.
    let mut page = Page::open(&binary, "").await;
    page.send("echo wai''ting\r").await;
    page.shows("waiting\r\n").await;
    sessions(&binary, 1).await;
    drop(page);
    sessions(&binary, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_addon_gets_its_size_and_its_bytes() {
    let (_sshd, binary) = serve();
    let mut page = Page::open(&binary, "?cols=123&rows=41").await;
    page.send("stty size\r").await;
    page.shows("41 123").await;
    // It sends what a mouse reports as bytes (`onBinary`), and a paste as one frame however long.
    page.send("stty -echo raw; echo rea''dy for bytes; head -c 3 | od -An -tx1; stty sane\r").await;
    page.shows("ready for bytes").await;
    page.socket.send(Message::binary(&b"\xff\x80a"[..])).await.unwrap();
    page.shows("ff 80 61").await;
    page.send("stty -echo raw; echo rea''dy for text; head -c 900000 | sha256sum; stty sane\r").await;
    page.shows("ready for text").await;
    let paste = "0123456789é漢".repeat(60_000);
    let paste = paste.get(..900_000).unwrap();
    page.send(paste).await;
    let hash = <sha2::Sha256 as sha2::Digest>::digest(paste.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    page.shows(&hash).await;
    // What is not text comes as bytes, and only that.
    assert!(!page.saw_binary);
    page.send("printf '\\377\\n'\r").await;
    while !page.saw_binary {
        page.step().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_in_words() {
    let sshd = Sshd::start();
    let mut manifest = Manifest::of("shell", &sshd);
    manifest.target["user"] = "nobody-of-that-name".into();
    let binary = Binary::serve(&[manifest]);
    let mut page = Page::open(&binary, "").await;
    assert_eq!(page.closes().await, 4120);
    assert!(page.terminal.contains("did not accept") && page.terminal.ends_with("ssh closed"), "{}", page.terminal);
}
