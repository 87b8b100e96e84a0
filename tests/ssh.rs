//! Shells on real OpenSSH and Dropbear servers: opening, using, ending, and everything that can go wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod sshd;
}

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use secrecy::SecretString;
use support::sshd::Sshd;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use webshell::ssh::{
    Credentials, End, Failure, Gate, HostKeys, KnownHosts, Program, RekeyLimits, Request, Shell, Target, WindowSize,
    open,
};

/// Longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shell has put out.
#[derive(Clone, Default)]
struct Screen(Arc<(Mutex<Vec<u8>>, Notify)>);

/// A request for `command` on a server, with the client's key.
fn request(sshd: &Sshd, command: &str) -> Request {
    Request {
        target: Target { host: "127.0.0.1".to_owned(), port: sshd.port(), user: Sshd::user() },
        credentials: Credentials { private_key: Some(secret(sshd.client_key())), ..Credentials::default() },
        host_keys: HostKeys { known_hosts: KnownHosts::parse(&sshd.known_hosts()).unwrap(), ..HostKeys::default() },
        program: Program { command: Some(command.to_owned()), ..Program::default() },
        size: WindowSize { cols: 80, rows: 24, width: 640, height: 384 },
        connect_timeout: Duration::from_secs(20),
        rekey: RekeyLimits::default(),
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// Opens a shell; nobody answers questions.
async fn connect(request: Request, screen: &Screen) -> Result<Shell, Failure> {
    let (events, mut receiver) = mpsc::channel(8);
    let output = screen.clone();
    let open = open(request, Gate::new(), move |data| output.put(data), events);
    let drain = async { while receiver.recv().await.is_some() {} };
    timeout(PATIENCE, async { tokio::join!(open, drain).0 }).await.unwrap()
}

impl Screen {
    fn put(&self, data: &[u8]) {
        self.0.0.lock().extend_from_slice(data);
        self.0.1.notify_one();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock()).into_owned()
    }

    /// Waits until a text has been put out.
    async fn shows(&self, text: &str) {
        let shown = async {
            while !self.text().contains(text) {
                self.0.1.notified().await;
            }
        };
        timeout(PATIENCE, shown).await.unwrap_or_else(|_| panic!("{text:?} not in {:?}", self.text()));
    }
}

async fn ended(shell: &Shell) -> End {
    timeout(PATIENCE, shell.ended()).await.unwrap()
}

fn exit(status: u32) -> End {
    End::Exit { status: Some(status), signal: None, message: String::new() }
}

#[tokio::test]
async fn a_command_runs_on_a_terminal() {
    let sshd = Sshd::start();
    let screen = Screen::default();
    let shell = connect(request(&sshd, "tty >/dev/null && read a && echo got $a; exit 7"), &screen).await.unwrap();
    shell.write(Bytes::from_static(b"hello\n")).await.unwrap();
    screen.shows("got hello").await;
    assert_eq!(ended(&shell).await, exit(7));
    assert!(shell.write(Bytes::from_static(b"late")).await.is_err());
    shell.close().await;
}
