//! One SSH server, and everything that leads to it.

use std::{
    fmt, fs,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as Probe},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_websockets::{ClientBuilder, WebSocketStream};

use crate::{
    browser::Endpoint,
    sshd::{Sshd, wait_until},
    terminal::{PROMPT, Terminal},
};

/// A way from a user to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// `ssh -tt`.
    Native,
    /// The gateway.
    Gateway,
    /// The PyPI package of that name.
    Webssh,
    /// The Django WebShell's design in miniature.
    DjangoLike,
}

/// The SSH server and the files of those who connect to it.
pub struct Site {
    pub sshd: Sshd,
    directory: TempDir,
}

/// A way, open for use: its server, where it has one.
pub struct Route<'a> {
    pub way: Way,
    site: &'a Site,
    server: Option<Server>,
}

/// A server's process. Dropped, it is killed.
struct Server {
    child: Child,
    address: SocketAddr,
}

// === impl Way ===

impl Way {
    pub const ALL: [Self; 4] = [Self::Native, Self::Gateway, Self::Webssh, Self::DjangoLike];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "ssh -tt",
            Self::Gateway => "gateway",
            Self::Webssh => "webssh",
            Self::DjangoLike => "Django-like",
        })
    }
}

// === impl Site ===

impl Site {
    /// Starts the SSH server. Whoever comes gets the same light shell.
    pub fn start() -> Self {
        let sshd = Sshd::builder()
            .config_line("MaxStartups 4000")
            .config_line("MaxSessions 4000")
            .config_line(format!("ForceCommand exec env PS1='{PROMPT}' sh -i"))
            .start();
        let directory = tempfile::tempdir().unwrap();
        let site = Self { sshd, directory };
        fs::write(site.file("known_hosts"), site.sshd.known_hosts()).unwrap();
        fs::write(site.file("shell.yaml"), site.manifest()).unwrap();
        site
    }

    /// A path for a file that goes with the site.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The client's private key, written by the SSH server's helper.
    fn key(&self) -> PathBuf {
        self.sshd.directory().join("client")
    }

    /// Starts what a way needs.
    pub fn route(&self, way: Way) -> Route<'_> {
        let server = match way {
            Way::Native => None,
            Way::Gateway => Some(self.gateway()),
            Way::Webssh => Some(self.webssh()),
            Way::DjangoLike => Some(self.django_like()),
        };
        Route { way, site: self, server }
    }

    fn gateway(&self) -> Server {
        let output = self.file("gateway.out");
        // The release build, not the one that belongs to this driver.
        let mut command = Command::new(std::env::var("WEBSHELL").expect("run it by `make bench`, which builds it"));
        command.args(["local", "--auth", "none", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--max-sessions", "4000", "--file"]).arg(self.file("shell.yaml"));
        let child = start(command.stdout(File::create(&output).unwrap()).stderr(self.log("gateway")));
        let mut address = None;
        wait_until("the gateway prints its URL", || {
            let printed = fs::read_to_string(&output).unwrap();
            address = printed.split_once("http://").and_then(|(_, url)| url.split('/').next()?.parse().ok());
            address.is_some()
        });
        Server { child, address: address.unwrap() }
    }

    fn webssh(&self) -> Server {
        let mut command = Command::new(program("wssh"));
        // Asking a shell for its encoding would cost each session another shell.
        command.args(["--address=127.0.0.1", "--xsrf=False", "--policy=autoadd", "--encoding=utf-8"]);
        command.args(["--timeout=60", "--maxconn=4000", "--logging=warning"]);
        command.arg(format!("--hostfile={}", self.file("known_hosts").display()));
        self.serve("webssh", command, |command, port| command.arg(format!("--port={port}")))
    }

    fn django_like(&self) -> Server {
        let mut command = Command::new(program("uvicorn"));
        command.args(["--app-dir", concat!(env!("CARGO_MANIFEST_DIR"), "/bench/peers"), "--log-level=warning"]);
        command.args(["--lifespan=off", "--ws=websockets", "django_like:application"]);
        command.env("TARGET_PORT", self.sshd.port().to_string());
        command.env("TARGET_USER", Sshd::user());
        command.env("TARGET_KEY", self.key());
        command.env("TARGET_KNOWN_HOSTS", self.file("known_hosts"));
        self.serve("django_like", command, |command, port| command.arg(format!("--port={port}")))
    }

    /// Starts a server on a free port and waits until it listens.
    fn serve(&self, name: &str, mut command: Command, listen: impl Fn(&mut Command, u16) -> &mut Command) -> Server {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        command.current_dir(self.directory.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = start(listen(&mut command, port).stdout(Stdio::null()).stderr(self.log(name)));
        wait_until(&format!("{name} listens"), || {
            assert!(child.try_wait().unwrap().is_none(), "{name}: {}", fs::read_to_string(self.file(name)).unwrap());
            Probe::connect(address).is_ok()
        });
        Server { child, address }
    }

    fn log(&self, name: &str) -> File {
        File::create(self.file(name)).unwrap()
    }

    fn manifest(&self) -> String {
        let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        format!(
            "apiVersion: webshell.dev/v1alpha1\nkind: WebShell\nmetadata: {{name: shell, namespace: bench}}\nspec:\n  \
             target: {{host: 127.0.0.1, port: {port}, user: {user}, connectTimeout: 60s}}\n  \
             credentials: {{secretRef: {{name: key}}}}\n  hostKey:\n    knownHosts: |\n  {known_hosts}  \
             session: {{maxSessions: 0, detachTimeout: 1s}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: bench}}\n\
             type: kubernetes.io/ssh-auth\nstringData:\n  ssh-privatekey: |\n{key}",
            port = self.sshd.port(),
            user = Sshd::user(),
            known_hosts = indented(&self.sshd.known_hosts()),
            key = indented(self.sshd.client_key()),
        )
    }
}

/// A program of the peers' packages.
fn program(name: &str) -> PathBuf {
    let packages = std::env::var("BENCH_VENV").expect("run it by `make bench`, which installs the peers");
    Path::new(&packages).join("bin").join(name)
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

// === impl Route ===

impl Route<'_> {
    /// Opens a terminal and waits for its shell.
    pub async fn open(&self) -> Terminal {
        let mut terminal = self.connect().await;
        terminal.prompted().await;
        terminal
    }

    async fn connect(&self) -> Terminal {
        match self.way {
            Way::Native => self.native(),
            Way::Gateway => {
                let endpoint = Endpoint::shell(self.address(), "bench", "shell");
                Terminal::Gateway { client: Box::new(endpoint.open().await), acknowledged: 0 }
            }
            Way::Webssh => {
                let worker = self.webssh_worker().await;
                Terminal::Webssh(self.socket(&format!("/ws?id={worker}")).await)
            }
            Way::DjangoLike => Terminal::DjangoLike(self.socket("/").await),
        }
    }

    /// The process that does the work for `terminal`, the SSH server apart.
    pub fn pid(&self, terminal: &Terminal) -> u32 {
        match terminal {
            Terminal::Native { ssh, .. } => ssh.id().unwrap(),
            _ => self.server_pid().unwrap(),
        }
    }

    /// The process that serves all terminals, where there is one.
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.child.id())
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address
    }

    fn native(&self) -> Terminal {
        let site = self.site;
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let ssh = pty_process::Command::new("ssh")
            .args(["-tt", "-F", "none", "-e", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", site.file("known_hosts").display()))
            .arg("-i")
            .arg(site.key())
            .args(["-p", &site.sshd.port().to_string(), &format!("{}@127.0.0.1", Sshd::user())])
            .kill_on_drop(true)
            .spawn(pts)
            .unwrap();
        Terminal::Native { pty, ssh, buffer: vec![0; 64 * 1024] }
    }

    async fn socket(&self, path: &str) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let uri = format!("ws://{}{path}", self.address());
        let origin = format!("http://{}", self.address()).parse().unwrap();
        let builder = ClientBuilder::new().uri(&uri).unwrap().add_header("origin".parse().unwrap(), origin).unwrap();
        builder.connect_on(stream).await.unwrap().0
    }

    /// Logs webssh in, as its form does; returns the name of the session that its WebSocket then takes up.
    async fn webssh_worker(&self) -> String {
        let Site { sshd, .. } = self.site;
        let form = [
            ("hostname", "127.0.0.1"),
            ("port", &sshd.port().to_string()),
            ("username", &Sshd::user()),
            ("term", "xterm-256color"),
            ("privatekey", sshd.client_key()),
        ];
        let body = form.map(|(name, value)| format!("{name}={}", percent_encoded(value))).join("&");
        let request = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address(),
            body.len()
        );
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (_, answer) = response.split_once("\r\n\r\n").unwrap();
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        answer["id"].as_str().unwrap_or_else(|| panic!("webssh: {answer}")).to_owned()
    }
}

fn percent_encoded(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

// === impl Server ===

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
