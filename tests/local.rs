//! `webshell local` as a user starts it: what it prints, what it refuses, how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod site;
}

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use support::site::{HANDSHAKE, LoggedIn, PATIENCE, exchange, request_text};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};
use tokio_websockets::{ClientBuilder, Message};

/// A running `webshell local`, on free ports.
struct Local {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = without_rights(env!("CARGO_BIN_EXE_webshell"));
    command.arg("local").args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(arguments);
    // The log-in shell of the demo target has no start-up files there.
    command.env("HOME", "/nonexistent").env("SHELL", "/bin/sh");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A command that may not look into other processes, even where root runs it.
fn without_rights(program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", program]);
    command
}

/// Where shells are served, and the page's path there, by the line that says so.
fn address(line: &str) -> (&str, &str) {
    line.strip_prefix("WebShell is ready: http://").unwrap().split_once('/').unwrap()
}

/// What the list says there.
async fn shells(authority: &str) -> serde_json::Value {
    let stream = TcpStream::connect(authority).await.unwrap();
    let list = exchange(stream, &request_text("GET /-/shells", &[("Host", authority)], "")).await;
    serde_json::from_str(&list.body).unwrap()
}

/// How long to wait before another look.
const LOOK: Duration = Duration::from_millis(10);

/// The smallest piece of memory that there is or is not, in bytes.
const PAGE: usize = 4096;

/// How often these bytes stand in a process's memory, where that can be written.
fn occurrences(pid: u32, bytes: &[u8]) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut count = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let mut area = vec![0; usize::try_from(end - start).unwrap()];
        // Page by page: what is reserved only, or was given back meanwhile, cannot be read.
        for (page, offset) in area.chunks_mut(PAGE).zip((start..).step_by(PAGE)) {
            let _ = memory.read_exact_at(page, offset);
        }
        count += area.windows(bytes.len()).filter(|window| *window == bytes).count();
    }
    count
}

/// Replaces a manifest in one step.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

impl Local {
    fn start(arguments: &[&str]) -> Self {
        let mut process = command(arguments).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.next_line()).await.expect("no line in time").unwrap().expect("a line")
    }

    /// Asks it to end, waits until it has, and tells whether it did so in good order and what it had logged.
    async fn stop(mut self) -> (bool, String) {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        let status = timeout(PATIENCE, self.process.wait()).await.expect("no end in time").unwrap();
        (status.success(), log)
    }
}

async fn refused(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = timeout(PATIENCE, command(arguments).output()).await.unwrap().unwrap();
    assert_eq!((status.code(), stdout.as_slice()), (Some(1), &b""[..]), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn the_printed_url_leads_to_a_terminal_and_logs_tell_who_but_not_what() {
    let arguments = ["--log-format", "json", "--log-level", "trace", "--trusted-proxy", "127.0.0.0/8"];
    let mut local = Local::start(&arguments);
    let first = local.line().await;
    let url = first.strip_prefix("WebShell is ready: ").unwrap();
    let (page, ticket) = url.split_once("#ticket=").unwrap();
    let authority = page.strip_prefix("http://").and_then(|page| page.strip_suffix("/demo/terminal/")).unwrap();
    let origin = format!("http://{authority}");
    let send = async |request: &str, headers: &[(&str, &str)], body: &str| {
        let stream = TcpStream::connect(authority).await.unwrap();
        let headers = [&[("Host", authority), ("Origin", origin.as_str())], headers].concat();
        exchange(stream, &request_text(request, &headers, body)).await
    };
    assert_eq!(send("GET /demo/terminal/", &[], "").await.status, 200);
    let forwarded = ("X-Forwarded-For", "203.0.113.9, 192.0.2.7");
    let refused = send("GET /demo/terminal/ws", &[&HANDSHAKE[..], &[forwarded]].concat(), "").await;
    assert_eq!(refused.status, 401);

    let reply = send("POST /-/session", &[], &format!("{{\"ticket\": \"{ticket}\"}}")).await;
    let login = LoggedIn::of(&reply);
    let cookie = login.cookie.as_str();
    let second = local.line().await;
    let next = second.split_once("#ticket=").unwrap().1;
    assert!(second.contains(page) && next != ticket, "{second}");

    let headers = [&HANDSHAKE[..], &[forwarded, ("Cookie", cookie)]].concat();
    assert_eq!(send("GET /demo/terminal/ws", &headers, "").await.status, 401, "the cookie alone is not enough");
    let headers = [&HANDSHAKE[..], &[forwarded], &login.headers()].concat();
    let reply = send("GET /demo/terminal/ws", &headers, "").await;
    assert_eq!(reply.status, 101);
    let mut socket = ClientBuilder::new().take_over(reply.stream);
    socket.send(Message::text("echo canary-$((40 + 2)) $0 $HOME; exit 3\n")).await.unwrap();
    let mut seen = String::new();
    while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.expect("no message in time") {
        seen.push_str(message.as_text().unwrap_or_default());
    }
    assert!(seen.contains("canary-42 -sh /nonexistent"), "a log-in shell of the user's: {seen}");

    let (in_order, log) = local.stop().await;
    assert!(in_order, "{log}");
    for secret in [ticket, next, cookie, cookie.split_once('=').unwrap().1, &login.key, "canary"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let audit: Vec<_> = lines.filter(|line| line["target"] == "audit").collect();
    let events: Vec<_> = audit.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["denied", "denied", "connected", "ended"]);
    for line in &audit {
        assert_eq!((&line["namespace"], &line["name"]), (&"demo".into(), &"terminal".into()));
        assert_eq!(line["client"], "192.0.2.7");
    }
    for denied in &audit[..2] {
        assert_eq!((&denied["user"], &denied["reason"]), (&"".into(), &"not-logged-in".into()));
    }
    assert_eq!((&audit[3]["user"], &audit[3]["reason"]), (&"local".into(), &"exit".into()));
}

#[tokio::test]
async fn no_core_is_dumped_and_nobody_reads_the_memory() {
    let mut local = Local::start(&[]);
    local.line().await;
    let pid = local.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    let opens = async |pid: u32| {
        let mut open = without_rights("sh");
        open.args(["-c", &format!(": </proc/{pid}/mem")]).stderr(Stdio::null());
        open.status().await.unwrap().success()
    };
    // Another process of the same user is open to it, once it has given its rights away.
    let mut other = without_rights("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
    let readable = async {
        while !opens(other.id().unwrap()).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, readable).await.expect("nothing can be opened at all");
    assert!(!opens(pid).await, "its memory can be opened");
    other.kill().await.unwrap();
    let (in_order, log) = local.stop().await;
    assert!(in_order, "{log}");
}

#[tokio::test]
#[ignore = "needs root: reads another process's memory"]
async fn a_password_leaves_no_copy_once_its_manifest_is_gone() {
    // Made up of two, so that neither this program's text nor its arguments have it whole.
    let canary = ["canary-", &"5ecre7".repeat(4)].concat();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shells.yaml");
    let shell = fs::read_to_string("examples/password.yaml").unwrap();
    let secret = |value: &str| {
        let metadata = "metadata: {name: canary, namespace: examples}";
        format!("---\napiVersion: v1\nkind: Secret\n{metadata}\nstringData:\n  username: ops\n  password: {value}\n")
    };
    write(&file, &format!("{shell}\n{}", secret(&canary)));
    let mut local = Local::start(&["--file", file.to_str().unwrap(), "--auth", "none"]);
    let line = local.line().await;
    let (authority, _) = address(&line);
    // Files are read once more when they begin to be watched: what moves meanwhile may be missed by one look.
    let found = async {
        while occurrences(local.pid(), canary.as_bytes()) == 0 {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, found).await.expect("the password is not where it is looked for");

    let changed = shell.replace("username: ops", "username: somebody");
    write(&file, &format!("{changed}\n{}", secret("another")));
    let gone = async {
        while !shells(authority).await.to_string().contains("somebody@")
            || occurrences(local.pid(), canary.as_bytes()) > 0
        {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("copies of the password are left");
    let (in_order, log) = local.stop().await;
    assert!(in_order, "{log}");
}

#[tokio::test]
async fn several_shells_are_opened_from_their_list() {
    let mut local = Local::start(&["--file", "examples", "--auth", "none"]);
    let line = local.line().await;
    let (authority, path) = address(&line);
    assert_eq!(path, "", "the list");
    let list = shells(authority).await;
    assert!(list["shells"].as_array().unwrap().len() > 1, "{list}");
    let (in_order, log) = local.stop().await;
    assert!(in_order, "{log}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let repeated = ["--listen", taken.as_str()];
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("nothing.yaml");
    let nothing = nothing.to_str().unwrap();
    for (arguments, words) in [
        (&["--file", nothing][..], &["--file", nothing, "give the path"][..]),
        (&["--tls-cert", nothing, "--tls-key", nothing], &["--tls-cert", nothing, "give a file"]),
    ] {
        let error = refused(arguments).await;
        assert!(error.starts_with("webshell: ") && words.iter().all(|word| error.contains(word)), "{error}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_webshell"));
    let output = command.arg("local").args(repeated).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("--listen {taken}: the port is in use")), "{error}");
}
