//! The demo target, as the real `ssh` client sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support {
    pub mod waiting;
}

use std::{
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use support::waiting::{PATIENCE, eventually};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use webshell::ssh::Demo;

/// A running demo target with the files that `ssh` wants.
struct Fixture {
    demo: Demo,
    directory: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        // As `webshell local` does: a signal that whoever started us has ignored is no longer ignored by programs either.
        let _ = signal(SignalKind::interrupt()).unwrap();
        let demo = Demo::start(&CancellationToken::new()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("known_hosts"), demo.known_hosts_line()).unwrap();
        write_key(&directory.path().join("key"), demo.private_key());
        Self { demo, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `ssh` is to be called with, to check the host key and use one key.
    fn arguments(&self, key: &str, user: &str) -> Vec<String> {
        let options = [
            "LogLevel=ERROR".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", self.path("known_hosts").display()),
            format!("IdentityFile={}", self.path(key).display()),
            format!("User={user}"),
            format!("Port={}", self.demo.address().port()),
            "SendEnv=LC_* SECRET".to_owned(),
            "NumberOfPasswordPrompts=1".to_owned(),
            "EscapeChar=none".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
        ["-F".to_owned(), "none".to_owned()].into_iter().chain(options).collect()
    }

    /// `ssh` as the user who may log in; the host and the command are still to be added.
    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.arguments("key", self.demo.user())).kill_on_drop(true);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    /// A command without a terminal.
    fn command(&self, command: &str) -> Child {
        self.ssh().args(["127.0.0.1", command]).spawn().unwrap()
    }

    /// A command on a terminal of the far side, while this side has none and so passes bytes as they are.
    fn terminal(&self, command: &str) -> Child {
        self.ssh().args(["-tt", "127.0.0.1", command]).spawn().unwrap()
    }

    /// `ssh` on a terminal of this side, and that terminal.
    fn on_terminal(&self, command: &str, rows: u16, cols: u16) -> (pty_process::Pty, Child) {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(pty_process::Size::new(rows, cols)).unwrap();
        let ssh = pty_process::Command::new("ssh").args(self.arguments("key", self.demo.user()));
        let ssh = ssh.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env("SECRET", "canary").kill_on_drop(true);
        (pty, ssh.args(["-tt", "127.0.0.1", command]).spawn(pts).unwrap())
    }

    /// Waits for the number a program wrote to a file, usually its own.
    async fn process(&self, file: &str) -> String {
        let number = eventually("the number of a program", async || {
            std::fs::read_to_string(self.path(file)).ok().filter(|text| text.ends_with('\n'))
        });
        number.await.trim().to_owned()
    }
}

fn write_key(path: &Path, key: &SecretString) {
    std::fs::write(path, key.expose_secret()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Waits for what must happen, long enough for a slow and busy machine.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("took longer than a minute")
}

async fn end(ssh: Child) -> Output {
    soon(ssh.wait_with_output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of every value, the same ones each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Whether a process lives; one that has ended but is not yet waited for does not.
fn is_running(process: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|state| !state.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_command_runs_and_its_end_is_told() {
    let fixture = Fixture::start().await;
    let run = end(fixture.command("echo out; echo err >&2; exit 7")).await;
    assert_eq!((text(&run.stdout), text(&run.stderr), run.status.code()), ("out\n".into(), "err\n".into(), Some(7)));
    // ssh ends so when it is told of a signal rather than a status.
    assert_eq!(end(fixture.command("kill -TERM $$")).await.status.code(), Some(255));
    assert_eq!(end(fixture.terminal("kill -KILL $$")).await.status.code(), Some(255));
    soon(fixture.demo.shutdown()).await;
}

#[tokio::test]
async fn a_terminal_is_as_asked_for() {
    let fixture = Fixture::start().await;
    let (mut pty, _ssh) =
        fixture.on_terminal("stty size; echo \"<$TERM $LC_ALL $SECRET>\"; tty; stty -a; echo end", 33, 77);
    let mut shown = Vec::new();
    while !text(&shown).contains("end\r\n") {
        soon(pty.read_buf(&mut shown)).await.unwrap();
    }
    for part in ["33 77\r\n", "<xterm-256color C.UTF-8 >", "/dev/pts/", " iutf8"] {
        assert!(text(&shown).contains(part), "{part:?} is not in {:?}", text(&shown));
    }
}

#[tokio::test]
async fn only_its_own_key_and_user_are_accepted() {
    let fixture = Fixture::start().await;
    let other = Fixture::start().await;
    write_key(&fixture.path("other"), other.demo.private_key());
    let log_in = async |key: &str, user: &str, methods: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(fixture.arguments(key, user)).args(["-o", &format!("PreferredAuthentications={methods}")]);
        // Gives a password whenever one is asked for.
        ssh.env("SSH_ASKPASS", "/bin/echo").env("SSH_ASKPASS_REQUIRE", "force").stdin(Stdio::null());
        soon(ssh.args(["127.0.0.1", "true"]).kill_on_drop(true).output()).await.unwrap()
    };
    let user = fixture.demo.user();
    assert!(log_in("key", user, "publickey").await.status.success());
    for (key, user, methods) in [
        ("other", user, "publickey"),
        ("key", "someone-else", "publickey"),
        ("key", user, "password,keyboard-interactive"),
    ] {
        let output = log_in(key, user, methods).await;
        assert_eq!(output.status.code(), Some(255));
        assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn each_start_has_a_new_host_key_on_loopback() {
    let fixture = Fixture::start().await;
    let other = Fixture::start().await;
    let key = |fixture: &Fixture| fixture.demo.known_hosts_line().split_once(' ').unwrap().1.to_owned();
    assert_ne!(key(&fixture), key(&other));
    assert!(fixture.demo.address().ip().is_loopback());
}

#[tokio::test]
async fn fifty_megabytes_go_both_ways_at_once_unchanged_through_many_key_exchanges() {
    let fixture = Fixture::start().await;
    let sent = noise(50 << 20);
    let mut ssh = fixture.ssh().args(["-o", "RekeyLimit=4M", "127.0.0.1", "cat"]).spawn().unwrap();
    let (mut stdin, mut stdout) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
    let writing = async {
        stdin.write_all(&sent).await.unwrap();
        drop(stdin);
    };
    let mut received = Vec::new();
    soon(async { tokio::join!(writing, stdout.read_to_end(&mut received)).1.unwrap() }).await;
    assert_eq!((received.len(), digest(&received)), (sent.len(), digest(&sent)));
    assert!(end(ssh).await.status.success());
}

#[tokio::test]
async fn fifty_megabytes_go_through_a_terminal_unchanged() {
    let fixture = Fixture::start().await;
    let bytes = noise(50 << 20);
    std::fs::write(fixture.path("noise"), &bytes).unwrap();
    let down = end(fixture.terminal(&format!("stty raw; cat {}", fixture.path("noise").display()))).await;
    assert_eq!((down.stdout.len(), digest(&down.stdout)), (bytes.len(), digest(&bytes)));

    let mut up = fixture.terminal(&format!("stty raw -echo; echo ready; head -c {} | sha256sum", bytes.len()));
    let (mut stdin, mut stdout) = (up.stdin.take().unwrap(), BufReader::new(up.stdout.take().unwrap()));
    let mut line = String::new();
    soon(stdout.read_line(&mut line)).await.unwrap();
    assert_eq!(line.trim(), "ready");
    soon(stdin.write_all(&bytes)).await.unwrap();
    line.clear();
    soon(stdout.read_line(&mut line)).await.unwrap();
    assert_eq!(line.split(' ').next().unwrap(), digest(&bytes));
}

#[tokio::test]
async fn ctrl_c_stops_a_flood() {
    let fixture = Fixture::start().await;
    let mut ssh = fixture.terminal("yes");
    let (mut stdin, mut stdout) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
    let mut flood = vec![0; 1 << 20];
    soon(stdout.read_exact(&mut flood)).await.unwrap();
    stdin.write_all(b"\x03").await.unwrap();
    let mut rest = Vec::new();
    soon(stdout.read_to_end(&mut rest)).await.unwrap();
    assert!(text(&rest).contains("^C"));
    assert_eq!(end(ssh).await.status.code(), Some(255));
}

#[tokio::test]
async fn a_program_that_takes_no_input_holds_its_client_back_and_ends_with_it() {
    let fixture = Fixture::start().await;
    let mut ssh = fixture.command(&format!("echo $$ > {}; exec sleep 1000", fixture.path("pid").display()));
    let program = fixture.process("pid").await;
    let mut stdin = ssh.stdin.take().unwrap();
    let (chunk, mut written) = (vec![b'x'; 64 << 10], 0);
    // A client that is held back holds its own input back.
    while let Ok(result) = timeout(Duration::from_secs(2), stdin.write_all(&chunk)).await {
        result.unwrap();
        written += chunk.len();
        assert!(written < 64 << 20, "nothing holds the client back");
    }
    assert!(is_running(&program));
    ssh.kill().await.unwrap();
    eventually("the program's end", async || (!is_running(&program)).then_some(())).await;
}

#[tokio::test]
async fn a_window_change_gets_through_while_input_waits() {
    let fixture = Fixture::start().await;
    // Reads nothing, and tells each size its terminal gets.
    let program = format!(
        "stty raw -echo; trap 'stty size > {}' WINCH; echo $$ > {}; while :; do sleep 0.05; done",
        fixture.path("size").display(),
        fixture.path("pid").display()
    );
    let (mut pty, _ssh) = fixture.on_terminal(&program, 24, 80);
    fixture.process("pid").await;
    let chunk = vec![b'x'; 64 << 10];
    while let Ok(result) = timeout(Duration::from_secs(2), pty.write_all(&chunk)).await {
        result.unwrap();
    }
    pty.resize(pty_process::Size::new(50, 132)).unwrap();
    assert_eq!(fixture.process("size").await, "50 132");
}

#[tokio::test]
async fn stopping_ends_connections_and_programs() {
    let fixture = Fixture::start().await;
    let ssh = fixture.terminal(&format!("echo $$ > {}; exec sleep 1000", fixture.path("pid").display()));
    let program = fixture.process("pid").await;
    let (address, directory) = (fixture.demo.address(), fixture.directory);
    soon(fixture.demo.shutdown()).await;
    eventually("the program's end", async || (!is_running(&program)).then_some(())).await;
    assert_eq!(end(ssh).await.status.code(), Some(255));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    drop(directory);
}
