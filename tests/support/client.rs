//! Shells for tests: what is asked for, what they put out, how they end.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use webshell::ssh::{
    Admission, Credentials, End, Event, Failure, Gate, HostKeys, KnownHosts, Program, Question, RekeyLimits, Request,
    Shell, Target, WindowSize, open,
};

use super::sshd::Sshd;

/// Longer than anything takes on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a shell has put out. It closes its gate once it has more than its limit.
#[derive(Clone)]
pub struct Screen(Arc<Inner>);

struct Inner {
    bytes: Mutex<Vec<u8>>,
    changed: Notify,
    limit: AtomicUsize,
    gate: Gate,
}

/// What happened on the way to a shell.
#[derive(Default, Debug)]
pub struct Story {
    pub banner: String,
    pub host_key_notices: Vec<String>,
    pub questions: Vec<Question>,
}

/// A request for `command` on a server, by the client's key.
pub fn request(sshd: &Sshd, command: &str) -> Request {
    Request {
        dial: None,
        target: Target { host: "127.0.0.1".to_owned(), port: sshd.port(), user: Sshd::user() },
        credentials: Credentials { private_key: Some(secret(sshd.client_key())), ..Credentials::default() },
        host_keys: known(&sshd.known_hosts()),
        program: Program { command: Some(command.to_owned()), ..Program::default() },
        size: WindowSize { cols: 80, rows: 24, width: 640, height: 384 },
        connect_timeout: Duration::from_secs(20),
        admission: Admission::default(),
        min_rsa_bits: 0,
        rekey: RekeyLimits::default(),
    }
}

pub fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// Trusts what a known_hosts text says, and nothing else.
pub fn known(known_hosts: &str) -> HostKeys {
    HostKeys { known_hosts: KnownHosts::parse(known_hosts).unwrap(), ..HostKeys::default() }
}

/// Opens a shell; nobody answers questions.
pub async fn connect(request: Request, screen: &Screen) -> Result<Shell, Failure> {
    tell(request, screen, &[]).await.0
}

/// Opens a shell that must not open.
pub async fn refused(request: Request) -> Failure {
    match connect(request, &Screen::new()).await {
        Ok(_) => panic!("a shell was opened"),
        Err(failure) => failure,
    }
}

/// Opens a shell, answers questions in order, and tells what happened. Without an answer left, questions are cancelled.
pub async fn tell(request: Request, screen: &Screen, answers: &[&[&str]]) -> (Result<Shell, Failure>, Story) {
    let (events, mut receiver) = mpsc::channel(8);
    let output = screen.clone();
    let open = open(request, screen.0.gate.clone(), move |data| output.put(data), events);
    let mut answers = answers.iter();
    let listen = async {
        let mut story = Story::default();
        while let Some(event) = receiver.recv().await {
            match event {
                Event::Step(_) | Event::Connected(_) => {}
                Event::Banner(text) => story.banner.push_str(&text),
                Event::HostKeyNotice(text) => story.host_key_notices.push(text),
                Event::Question(mut question) => {
                    let unanswered = tokio::sync::oneshot::channel().0;
                    let reply = std::mem::replace(&mut question.reply, unanswered);
                    if let Some(answers) = answers.next() {
                        let _ = reply.send(answers.iter().map(|answer| secret(answer)).collect());
                    }
                    story.questions.push(question);
                }
            }
        }
        story
    };
    timeout(PATIENCE, async { tokio::join!(open, listen) }).await.unwrap()
}

pub async fn ended(shell: &Shell) -> End {
    timeout(PATIENCE, shell.ended()).await.unwrap()
}

/// An end with an exit status.
pub fn exit(status: u32) -> End {
    End::Exit { status: Some(status), signal: None, message: String::new() }
}

// === impl Screen ===

impl Screen {
    /// A screen that takes everything.
    pub fn new() -> Self {
        Self::with_limit(usize::MAX)
    }

    /// A screen that closes its gate once it has more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        let inner = Inner {
            bytes: Mutex::default(),
            changed: Notify::new(),
            limit: AtomicUsize::new(limit),
            gate: Gate::new(),
        };
        Self(Arc::new(inner))
    }

    fn put(&self, data: &[u8]) {
        let mut bytes = self.0.bytes.lock();
        bytes.extend_from_slice(data);
        if bytes.len() > self.0.limit.load(Relaxed) {
            self.0.gate.close();
        }
        drop(bytes);
        self.0.changed.notify_one();
    }

    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub fn len(&self) -> usize {
        self.0.bytes.lock().len()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.bytes.lock().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.bytes.lock()).into_owned()
    }

    /// Takes what was put out, and lets more come.
    pub fn take(&self) -> Vec<u8> {
        let bytes = std::mem::take(&mut *self.0.bytes.lock());
        self.0.gate.open();
        bytes
    }

    /// Takes everything from now on.
    pub fn never_stop(&self) {
        self.0.limit.store(usize::MAX, Relaxed);
        self.take();
    }

    /// Waits until a text has been put out.
    pub async fn shows(&self, text: &str) {
        let tail =
            |shown: String| shown.chars().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect::<String>();
        self.wait_for(|screen| screen.text().contains(text))
            .await
            .unwrap_or_else(|()| panic!("{text:?} is not in {:?}", tail(self.text())));
    }

    /// Waits until as many bytes have been put out.
    pub async fn has(&self, len: usize) {
        self.wait_for(|screen| screen.len() >= len).await.unwrap_or_else(|()| panic!("{} of {len} bytes", self.len()));
    }

    async fn wait_for(&self, condition: impl Fn(&Self) -> bool) -> Result<(), ()> {
        let shown = async {
            while !condition(self) {
                self.0.changed.notified().await;
            }
        };
        timeout(PATIENCE, shown).await.map_err(|_| ())
    }
}
