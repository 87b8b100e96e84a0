//! The same known hosts and the same host keys, shown to us and to the real `ssh`: whatever it refuses must be refused.

use std::{fs, net::Ipv4Addr, process::Stdio, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use russh::keys::{HashAlg, PrivateKey, decode_secret_key};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Mutex, mpsc},
    time::{Instant, timeout},
};

use super::*;
use crate::ssh::{
    Admission, Failure, Gate, KnownHostsError, RekeyLimits, Target,
    keygen::{Keygen, TINY},
    shell::{ConnectOptions, exchange_keys},
};

mod cases;
mod certificate;
#[path = "../../../../tests/support/packets.rs"]
mod packets;

use cases::cases;
use certificate::{Fields, names, options, public, split};
use packets::{Connection, HostKey as Identity, Payload};

/// What the generated files begin with; printed with a file that fails, which says all by itself.
const SEED: u64 = 0x5eed_0f5e_edf0;

/// How many files are tried at once.
const CONCURRENT: usize = 4;

/// Longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A known_hosts text, and what a server presents to who asks for this host.
struct Case {
    name: String,
    known_hosts: String,
    server: Server,
    presented: Vec<Identity>,
}

/// What a server is called.
#[derive(Clone, Copy, Debug)]
struct Server {
    host: &'static str,
    port: u16,
}

/// What became of a case with us.
#[derive(Debug)]
enum Ours {
    Accepted,
    Unreadable { _error: KnownHostsError },
    Refused(Failure),
}

/// The keys that take part.
struct Cast {
    keygen: Keygen,
    /// Where the server with a port of its own listens, for one client at a time.
    listener: Mutex<TcpListener>,
    /// A server at the usual port, and one at that of the listener.
    servers: [Server; 2],
    /// The server's.
    server: PrivateKey,
    ecdsa: PrivateKey,
    rsa: PrivateKey,
    /// One that the server does not have.
    other: PrivateKey,
    authority: PrivateKey,
    ecdsa_authority: PrivateKey,
    rsa_authority: PrivateKey,
    /// An RSA key that is too short for anything.
    tiny: PrivateKey,
}

// === impl Cast ===

impl Cast {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let keygen = Keygen::new();
        let key = |name: &str, options: &[&str]| decode_secret_key(&keygen.private(name, options, ""), None).unwrap();
        Self {
            listener: listener.into(),
            servers: [Server { host: "db-1", port: 22 }, Server { host: "localhost", port }],
            server: key("server", &["-t", "ed25519"]),
            ecdsa: key("ecdsa", &["-t", "ecdsa"]),
            rsa: key("rsa", &["-t", "rsa", "-b", "2048"]),
            other: key("other", &["-t", "ed25519"]),
            authority: key("authority", &["-t", "ed25519"]),
            ecdsa_authority: key("ecdsa_authority", &["-t", "ecdsa", "-b", "384"]),
            rsa_authority: key("rsa_authority", &["-t", "rsa", "-b", "2048"]),
            tiny: decode_secret_key(TINY, None).unwrap(),
            keygen,
        }
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            subject: &self.server,
            authority: &self.authority,
            hash: Some(HashAlg::Sha512),
            nonce: vec![7; 32],
            serial: 1,
            kind: 2,
            id: b"test".to_vec(),
            principals: names(&["db-1", "localhost"]),
            after: 0,
            before: u64::MAX,
            critical: Vec::new(),
            extensions: Vec::new(),
            reserved: Vec::new(),
            signature_key: None,
            signature: |signature| signature,
            rest: Vec::new(),
        }
    }
}

// === impl Server ===

impl Server {
    /// A text in which `{h}` stands for the host's name, `{H}` for that in capitals, `{p}` for a port other than 22, and `{q}`
    /// for a pattern of that.
    fn text(self, text: &str) -> String {
        let port = if self.port == 22 { "2222".to_owned() } else { self.port.to_string() };
        let pattern = port.chars().take(port.len() - 1).chain(['?']).collect::<String>();
        let text = text.replace("{h}", self.host).replace("{H}", &self.host.to_uppercase());
        text.replace("{p}", &port).replace("{q}", &pattern)
    }
}

/// Type and Base64 of a key or certificate, as a line has them.
fn words(blob: &[u8]) -> (String, String) {
    (String::from_utf8(split(blob).0).unwrap(), BASE64_STANDARD.encode(blob))
}

fn line(start: &str, key: &PrivateKey) -> String {
    let (name, base64) = words(&public(key));
    format!("{start} {name} {base64}\n")
}

/// Whether `ssh` accepts, and what it says if not.
async fn theirs(cast: &Cast, number: usize, case: &Case) -> (bool, String) {
    let file = cast.keygen.path(&format!("case-{number}"));
    fs::write(&file, &case.known_hosts).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-T", "-l", "ops", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none"]);
    ssh.args(["-o", &format!("UserKnownHostsFile={}", file.display()), "-o", "UpdateHostKeys=no"]);
    ssh.args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"]);
    let run = |mut ssh: Command, port: u16, host: &str| {
        ssh.args(["-p", &port.to_string(), host, "true"]).stdin(Stdio::null()).stdout(Stdio::null());
        ssh.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap().wait_with_output()
    };
    let Server { host, port } = case.server;
    let (accepted, output) = if port == 22 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        // By an alias it is looked up as if it were at the usual port.
        ssh.args(["-o", &format!("HostKeyAlias={host}")]);
        let port = listener.local_addr().unwrap().port();
        tokio::join!(serve(&listener, &case.presented), run(ssh, port, "127.0.0.1"))
    } else {
        let listener = cast.listener.lock().await;
        tokio::join!(serve(&listener, &case.presented), run(ssh, port, host))
    };
    fs::remove_file(file).unwrap();
    (accepted, String::from_utf8_lossy(&output.unwrap().stderr).into_owned())
}

/// What we make of the same.
async fn ours(case: &Case) -> Ours {
    let known_hosts = match KnownHosts::parse(&case.known_hosts) {
        Ok(known_hosts) => known_hosts,
        Err(error) => return Ours::Unreadable { _error: error },
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let options = ConnectOptions {
        target: Target { host: case.server.host.to_owned(), port: case.server.port, user: "ops".to_owned() },
        dial: None,
        host_keys: HostKeys { known_hosts, ..HostKeys::default() },
        min_rsa_bits: 0,
        admission: Admission::default(),
        limit: PATIENCE,
        rekey: RekeyLimits::default(),
    };
    let (events, _heard) = mpsc::channel(16);
    let connect = async {
        let deadline = Instant::now() + PATIENCE;
        // Dropped, the connection is closed, so that the server has done with it.
        exchange_keys(stream, options, deadline, Gate::new(), Box::new(|_| ()), &events).await.map(drop)
    };
    match tokio::join!(serve(&listener, &case.presented), connect).1 {
        Ok(()) => Ours::Accepted,
        Err(failure) => Ours::Refused(failure),
    }
}

/// Serves one client as far as the host key goes; whether the client goes on from there.
async fn serve(listener: &TcpListener, presented: &[Identity]) -> bool {
    let served = async {
        let (stream, _) = listener.accept().await?;
        let mut connection = Connection::greet(stream).await?;
        connection.exchange_keys_as(presented).await?;
        // A request for the service that logs in.
        connection.receive_until(5).await
    };
    timeout(PATIENCE, served).await.expect("a client neither goes on nor goes away").is_ok()
}

/// Why we may refuse what OpenSSH accepts, as docs/security.md has it.
fn is_documented(ours: &Ours) -> bool {
    match ours {
        Ours::Accepted => false,
        // A line that OpenSSH passes over, or reads in a way of its own.
        Ours::Unreadable { .. } => true,
        Ours::Refused(Failure::HostKey(rejection)) => match &rejection.problem {
            // For the host's name at another port.
            HostKeyProblem::Revoked(_) => true,
            // Without any name, or with a zero byte at the end of one.
            HostKeyProblem::CertificateInvalid(why) => why.starts_with("it is for []") || why.contains("zero byte"),
            _ => false,
        },
        // A certificate whose text is not UTF-8, or whose options are not in order.
        Ours::Refused(Failure::Protocol { .. }) => true,
        // Nothing but certificates, of which no authority is known.
        Ours::Refused(Failure::NoCommonAlgorithm { theirs, .. }) => theirs.iter().all(|name| name.contains("-cert-")),
        Ours::Refused(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_openssh_refuses_is_refused_and_what_it_accepts_is_accepted_but_where_the_docs_say_so() {
    let cast = Cast::new().await;
    let cases = cases(&cast);
    assert!(cases.len() >= 400, "{} files", cases.len());
    let judged = stream::iter(cases.iter().enumerate())
        .map(async |(number, case)| (case, theirs(&cast, number, case).await, ours(case).await))
        .buffer_unordered(CONCURRENT);
    let judged: Vec<_> = judged.collect().await;
    let mut wrong = Vec::new();
    for (case, (accepted, said), ours) in &judged {
        let right = match (accepted, ours) {
            (true, Ours::Accepted) => true,
            (false, ours) => !matches!(ours, Ours::Accepted),
            (true, ours) => is_documented(ours),
        };
        if !right {
            let Case { name, known_hosts, server, presented } = case;
            let presented: Vec<_> = presented.iter().map(|identity| words(&identity.blob)).collect();
            wrong.push(format!(
                "{name}\n{server:?}, presented {presented:?}\n{known_hosts:?}\nOpenSSH: {accepted} {said}ours: {ours:?}\n"
            ));
        }
    }
    assert!(wrong.is_empty(), "seed {SEED:#x}: {} of {}:\n{}", wrong.len(), judged.len(), wrong.join("\n"));
    // Both verdicts are frequent, or nothing was tried.
    let accepted = judged.iter().filter(|(_, (accepted, _), _)| *accepted).count();
    assert!(accepted * 5 > judged.len() && accepted * 5 < judged.len() * 4, "{accepted} of {}", judged.len());
}
