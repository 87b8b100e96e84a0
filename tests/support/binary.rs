//! The program itself, as a process that serves manifests, and what an operator sees of it.
#![allow(dead_code, unreachable_pub, clippy::print_stderr)] // each test uses a part of it

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    browser::Endpoint,
    sshd::{Sshd, run, wait_until},
};

/// A running gateway. Dropped, it is killed.
pub struct Binary {
    child: Child,
    pub address: SocketAddr,
    admin: SocketAddr,
    directory: TempDir,
}

/// The manifests of one shell in the namespace `tests` and of its Secret.
#[derive(Clone)]
pub struct Manifest {
    pub name: &'static str,
    pub target: Value,
    pub secret: Value,
    pub host_key: Value,
    pub session: Value,
    pub terminal: Value,
}

// === impl Manifest ===

impl Manifest {
    /// A shell on `sshd`, by the client's key.
    pub fn of(name: &'static str, sshd: &Sshd) -> Self {
        Manifest {
            name,
            target: json!({"host": "127.0.0.1", "port": sshd.port(), "user": Sshd::user()}),
            secret: json!({"ssh-privatekey": sshd.client_key()}),
            host_key: json!({"knownHosts": sshd.known_hosts()}),
            session: json!({}),
            terminal: json!({}),
        }
    }

    /// The same, which runs `command` instead of a shell.
    pub fn running(name: &'static str, sshd: &Sshd, command: &str) -> Self {
        Manifest { terminal: json!({"command": command}), ..Self::of(name, sshd) }
    }

    /// Whatever listens at a port of this machine, with a password for it.
    pub fn at(name: &'static str, port: u16) -> Self {
        Manifest {
            name,
            target: json!({"host": "127.0.0.1", "port": port, "user": "ops", "connectTimeout": "5s"}),
            secret: json!({"password": "the password"}),
            host_key: json!({"policy": "Insecure"}),
            session: json!({}),
            terminal: json!({}),
        }
    }

    /// The documents; JSON is YAML too.
    fn documents(&self) -> String {
        let metadata = json!({"name": self.name, "namespace": "tests"});
        let shell = json!({
            "apiVersion": "webshell.dev/v1alpha1", "kind": "WebShell", "metadata": metadata,
            "spec": {
                "target": self.target,
                "credentials": {"secretRef": {"name": self.name}},
                "hostKey": self.host_key,
                "session": self.session,
                "terminal": self.terminal,
            },
        });
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": self.secret});
        format!("{shell}\n---\n{secret}\n")
    }
}

// === impl Binary ===

impl Binary {
    /// Serves `manifests` to everybody on this machine.
    pub fn serve(manifests: &[Manifest]) -> Self {
        Self::serve_with(manifests, &[])
    }

    /// The same, with more arguments.
    pub fn serve_with(manifests: &[Manifest], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("shells.yaml");
        write(&file, manifests);
        // Nothing says which port was taken for operators, so one is chosen for it.
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_webshell"))
            .args(["local", "--auth", "none", "--listen", "127.0.0.1:0", "--admin-listen", &admin.to_string()])
            .arg("--file")
            .arg(&file)
            .args(arguments)
            .env("HOME", directory.path())
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("WebShell is ready: http://").and_then(|url| url.split('/').next());
        let log = || fs::read_to_string(directory.path().join("log")).unwrap();
        let address = address.unwrap_or_else(|| panic!("{line:?} {}", log())).parse().unwrap();
        Binary { child, address, admin, directory }
    }

    /// The WebSocket of one of its shells.
    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::shell(self.address, "tests", name)
    }

    /// Replaces its manifests.
    pub fn edit(&self, manifests: &[Manifest]) {
        write(&self.directory.path().join("shells.yaml"), manifests);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// The most memory it has had resident at any time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Asks it to end, as an init system does.
    pub fn terminate(&self) {
        run("kill", &["-TERM", &self.child.id().to_string()]);
    }

    /// How it ended, which it must.
    pub fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the gateway has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The status that an operator's request is answered with, and the body.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("the gateway's last words:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Replaces a file as a whole, as editors do.
fn write(file: &std::path::Path, manifests: &[Manifest]) {
    let documents: Vec<_> = manifests.iter().map(Manifest::documents).collect();
    let new = file.with_extension("new");
    fs::write(&new, documents.join("---\n")).unwrap();
    fs::rename(new, file).unwrap();
}
