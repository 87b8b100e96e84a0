//! Real SSH servers on loopback for tests: OpenSSH and Dropbear, each with its own keys and configuration.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{
    fs::{self, File, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running server. Dropped, it is killed with everything that runs in it.
pub struct Sshd {
    child: Child,
    port: u16,
    host_key: String,
    client_key: String,
    directory: TempDir,
    pam: Option<PamService>,
}

/// What to start an OpenSSH server with.
#[derive(Default)]
pub struct SshdBuilder {
    lines: Vec<String>,
    pam: Option<String>,
    certificate_authority: Option<String>,
}

/// A user account of this machine, removed when dropped. Needs to be root.
pub struct TestUser {
    pub name: String,
    pub password: String,
    home: TempDir,
}

/// A PAM service, removed when dropped. Needs to be root.
struct PamService(PathBuf);

// === impl Sshd ===

impl Sshd {
    /// An OpenSSH server that lets in the user who runs the tests with [`Sshd::client_key`], and nobody else.
    pub fn builder() -> SshdBuilder {
        SshdBuilder::default()
    }

    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A Dropbear server for a user of its own, who has [`Sshd::client_key`] and a password.
    pub fn dropbear(user: &TestUser, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let host_key = run("dropbearkey", &["-t", "ed25519", "-f", &path("host_key")]);
        let host_key = host_key.lines().find(|line| line.starts_with("ssh-ed25519 ")).unwrap();
        let host_key = host_key.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let (client_key, public) = keygen(directory.path(), "client", &["-t", "ed25519"]);
        user.authorize(&public);
        let (child, port) = serve(directory.path(), "Not backgrounding", |port, log| {
            let mut command = Command::new("dropbear");
            command.args(["-F", "-E", "-r", &path("host_key"), "-p", &format!("127.0.0.1:{port}")]).args(options);
            command.stderr(log);
            command
        });
        Self { child, port, host_key, client_key, directory, pam: None }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user whom an OpenSSH server lets in with the client's key.
    pub fn user() -> String {
        run("id", &["-un"]).trim().to_owned()
    }

    /// The known_hosts line of this server at 127.0.0.1.
    pub fn known_hosts(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key)
    }

    /// The private key of which the server knows the public half, in OpenSSH's form.
    pub fn client_key(&self) -> &str {
        &self.client_key
    }

    /// The server's process. Those that serve connections are its children.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A directory for the test's own files, removed with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Lets the owner of one more public key in.
    pub fn authorize(&self, public_key: &str) {
        let path = self.directory.path().join("authorized_keys");
        let keys = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{keys}\n{public_key}\n")).unwrap();
    }

    /// Kills the processes that serve connections, and what runs in them. The server goes on.
    pub fn kill_connections(&self) {
        signal("KILL", &descendants(self.child.id()));
    }

    /// Stops (`STOP`) or continues (`CONT`) the processes that serve connections.
    pub fn signal_connections(&self, name: &str) {
        signal(name, &descendants(self.child.id()));
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let pids = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        signal("KILL", &pids);
    }
}

// === impl SshdBuilder ===

impl SshdBuilder {
    /// Adds a line of sshd_config(5), before the others, so that it counts.
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Lets PAM decide over passwords and questions, by the lines of a service (pam.conf(5)).
    pub fn pam(mut self, service: &str) -> Self {
        self.pam = Some(service.to_owned());
        self
    }

    /// Trusts user certificates that this public key has signed.
    pub fn user_authority(mut self, public_key: &str) -> Self {
        self.certificate_authority = Some(public_key.to_owned());
        self
    }

    pub fn start(self) -> Sshd {
        // Where the server drops its rights; distributions make it when they start theirs.
        fs::create_dir_all("/run/sshd").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (_, host_key) = keygen(directory.path(), "host_key", &["-t", "ed25519"]);
        let (client_key, public) = keygen(directory.path(), "client", &["-t", "ed25519"]);
        fs::write(path("authorized_keys"), public).unwrap();
        let mut config = self.lines;
        if let Some(authority) = self.certificate_authority {
            fs::write(path("authority"), authority).unwrap();
            config.push(format!("TrustedUserCAKeys {}", path("authority")));
        }
        let home = path("home");
        fs::create_dir(&home).unwrap();
        let host_key_file = path("host_key");
        let authorized_keys = path("authorized_keys");
        config.extend(
            [
                "ListenAddress 127.0.0.1",
                "PermitRootLogin yes",
                "StrictModes no",
                "PidFile none",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "UseDNS no",
                "PrintMotd no",
                // The start-up files of whoever runs the tests may print, wait for others, or run any program.
                &format!("SetEnv HOME={home}"),
                &format!("UsePAM {}", if self.pam.is_some() { "yes" } else { "no" }),
                &format!("HostKey {host_key_file}"),
                &format!("AuthorizedKeysFile {authorized_keys}"),
            ]
            .map(str::to_owned),
        );
        fs::write(path("sshd_config"), config.join("\n") + "\n").unwrap();
        // The name that the server is started by is the name of its PAM service.
        let name = unique_name();
        let binary = path(&name);
        symlink("/usr/sbin/sshd", &binary).unwrap();
        let pam = self.pam.map(|lines| PamService::write(&name, &lines));
        let (child, port) = serve(directory.path(), "Server listening", |port, log| {
            let mut command = Command::new(&binary);
            command.args(["-D", "-e", "-f", &path("sshd_config"), "-o", &format!("Port {port}")]).stderr(log);
            command
        });
        Sshd { child, port, host_key, client_key, directory, pam }
    }
}

// === impl TestUser ===

impl TestUser {
    pub fn create() -> Self {
        let name = unique_name();
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        run("useradd", &["--no-user-group", "--no-create-home", "--home-dir", &path, "--shell", "/bin/sh", &name]);
        let user = Self { name, password: "correct horse".to_owned(), home };
        user.feed("chpasswd", &format!("{}:{}\n", user.name, user.password));
        run("chown", &[&user.name, &path]);
        user
    }

    /// Lets the owner of a public key in.
    pub fn authorize(&self, public_key: &str) {
        let directory = self.home.path().join(".ssh");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("authorized_keys"), format!("{public_key}\n")).unwrap();
        run("chown", &["-R", &self.name, directory.to_str().unwrap()]);
        run("chmod", &["-R", "go-rwx", directory.to_str().unwrap()]);
    }

    fn feed(&self, program: &str, input: &str) {
        use std::io::Write;
        let mut child = Command::new(program).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for TestUser {
    fn drop(&mut self) {
        // What is still running as that user would keep the account from being removed.
        let _ = Command::new("userdel").args(["--force", &self.name]).stderr(Stdio::null()).status();
    }
}

// === impl PamService ===

impl PamService {
    fn write(name: &str, lines: &str) -> Self {
        let path = Path::new("/etc/pam.d").join(name);
        fs::write(&path, lines).unwrap();
        Self(path)
    }
}

impl Drop for PamService {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a key pair; returns the private key's file and the public key's type and base64.
pub fn keygen(directory: &Path, name: &str, options: &[&str]) -> (String, String) {
    let path = directory.join(name);
    run("ssh-keygen", &[&["-q", "-N", "", "-C", "", "-f", path.to_str().unwrap()], options].concat());
    let public = fs::read_to_string(directory.join(format!("{name}.pub"))).unwrap();
    (fs::read_to_string(path).unwrap(), public.trim().to_owned())
}

/// Runs a program and returns what it prints.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Starts a server on a free port, its log beside its other files, and waits until it says that it listens.
fn serve(directory: &Path, listening: &str, command: impl Fn(u16, File) -> Command) -> (Child, u16) {
    for _ in 0..10 {
        // Somebody else may take the port meanwhile; then the server ends at once.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let log = directory.join("log");
        let mut child =
            command(port, File::create(&log).unwrap()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut running = true;
        wait_until("the server listens or has ended", || {
            running = child.try_wait().unwrap().is_none();
            !running || fs::read_to_string(&log).unwrap().contains(listening)
        });
        if running {
            return (child, port);
        }
    }
    panic!("the server does not start: {}", fs::read_to_string(directory.join("log")).unwrap());
}

/// A name that nothing else on this machine has.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("wsh{}x{}", process::id(), COUNT.fetch_add(1, Relaxed))
}

/// The processes that a process has started, and those that they have.
fn descendants(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Sends a signal to processes, of which some may be gone.
fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
    }
}
