//! Names whose addresses change between two questions: the address that the target policy has judged is the one that is dialled.
//!
//! The system's own resolver is asked, so the test runs itself again in namespaces where a DNS server of its own answers it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod client;
    pub mod sshd;
}

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use parking_lot::Mutex;
use support::client::{PATIENCE, known, refused, secret};
use tokio::net::{TcpListener, UdpSocket};
use webshell::{
    config::Policy,
    policy::{Reserved, TargetPolicy},
    ssh::{Admission, Credentials, Failure, Program, RekeyLimits, Request, Target, WindowSize},
};

/// Set where the resolver is ours.
const INSIDE: &str = "WEBSHELL_TEST_RESOLVER";

/// Makes a network with the addresses that are listened on, and has names asked for here.
const SETUP: &str = r#"
    mount --bind "$1" /etc/resolv.conf
    ip link set lo up
    for address in 192.0.2.1/32 169.254.169.254/32 2001:db8::1/128; do ip address add "$address" dev lo; done
    shift
    exec "$@"
"#;

/// Where a session may go.
const ALLOWED: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// Where none may go.
const FORBIDDEN: [&str; 3] = ["127.0.0.1", "169.254.169.254", "::1"];

const PORT: u16 = 2222;

/// What a name stands for: at each question the next addresses, and at last always the same.
#[derive(Default)]
struct Zone {
    answers: Vec<Vec<IpAddr>>,
    questions: usize,
}

/// Answers questions for any name.
async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut question = [0; 512];
    loop {
        let (_, client) = socket.recv_from(&mut question).await.unwrap();
        // The name's labels, each with its length before it, and the type after them.
        let mut end = 12;
        while question[end] != 0 {
            end += 1 + usize::from(question[end]);
        }
        let wants_v6 = question[end + 2] == 28;
        let addresses = {
            let mut zone = zone.lock();
            // Of the two questions of a look-up, one counts.
            zone.questions += usize::from(!wants_v6);
            let now = zone.questions.clamp(1, zone.answers.len()) - 1;
            zone.answers[now].clone()
        };
        let of_type: Vec<_> = addresses.into_iter().filter(|address| address.is_ipv6() == wants_v6).collect();
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, of_type.len() as u8, 0, 0, 0, 0]);
        answer.extend(&question[12..end + 5]);
        for address in of_type {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            answer.extend([0xc0, 12, 0, question[end + 2], 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
            answer.extend(bytes);
        }
        socket.send_to(&answer, client).await.unwrap();
    }
}

/// Counts connections to an address, and closes each.
fn listen(address: &str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let listener = std::net::TcpListener::bind(SocketAddr::new(address.parse().unwrap(), PORT)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let connection = listener.accept().await.unwrap();
            counted.fetch_add(1, SeqCst);
            drop(connection);
        }
    });
    count
}

/// Why no shell opens at a name, as the policy of every cluster has it.
async fn try_to_open(port: u16) -> Failure {
    let policy = TargetPolicy { reserved: Reserved::in_cluster([]), policy: Policy::default() };
    refused(Request {
        dial: None,
        target: Target { host: "flipping.example".to_owned(), port, user: "ops".to_owned() },
        credentials: Credentials { password: Some(secret("secret")), ..Credentials::default() },
        host_keys: known(
            "flipping.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIhTZ2vYbz9tCTNGdCxUlGAxDSi7VzVNJ2GHXOFs8LKO",
        ),
        program: Program::default(),
        size: WindowSize { cols: 80, rows: 24, width: 0, height: 0 },
        connect_timeout: PATIENCE,
        admission: Admission::new(move |address| policy.admit(address)),
        min_rsa_bits: 0,
        rekey: RekeyLimits::default(),
    })
    .await
}

#[tokio::test]
#[ignore = "needs root: has a network and a resolver of its own"]
async fn the_address_that_was_judged_is_the_one_that_is_dialled() {
    if env::var_os(INSIDE).is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n").unwrap();
        let again = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-ec", SETUP, "sh"])
            .arg(file.path())
            .arg(env::current_exe().unwrap())
            .args(["--include-ignored", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success(), "{}\n{said}", String::from_utf8_lossy(&again.stdout));
        return;
    }

    let zone = Arc::new(Mutex::new(Zone::default()));
    let resolver = tokio::spawn(serve(UdpSocket::bind("127.0.0.1:53").await.unwrap(), Arc::clone(&zone)));
    let (allowed, forbidden) = (ALLOWED.map(listen), FORBIDDEN.map(listen));
    let dialled = || allowed.iter().map(|count| count.swap(0, SeqCst)).sum::<usize>();
    let [public, loopback, metadata] =
        ["192.0.2.1", "127.0.0.1", "169.254.169.254"].map(|address| address.parse::<IpAddr>().unwrap());
    let [public_v6, loopback_v6, mapped] =
        ["2001:db8::1", "::1", "::ffff:127.0.0.1"].map(|address| address.parse::<IpAddr>().unwrap());
    for (evil, why) in [
        (loopback, "a loopback address is no target"),
        (metadata, "a cloud's metadata service is no target"),
        (loopback_v6, "a loopback address is no target"),
        (mapped, "a loopback address is no target"),
    ] {
        // The first answer is harmless, all that follow are not: one question is asked, and its answer holds.
        *zone.lock() = Zone { answers: vec![vec![public], vec![evil]], questions: 0 };
        let failure = try_to_open(PORT).await;
        assert!(!matches!(failure, Failure::TargetForbidden { .. } | Failure::Dns { .. }), "{evil}: {failure:?}");
        assert_eq!((zone.lock().questions, dialled()), (1, 1), "{evil}");
        // And the other way round, each time anew.
        let failure = try_to_open(PORT).await;
        assert!(failure.to_string().contains(why), "{evil}: {failure}");
        assert_eq!(dialled(), 0, "{evil}");
        zone.lock().answers = vec![vec![public]];
        try_to_open(PORT).await;
        assert_eq!(dialled(), 1, "{evil}");
    }

    // Of many at once only those that are allowed are dialled, in whichever order and also where none of them answers.
    for answer in [vec![loopback, public, metadata], vec![public, loopback_v6, mapped], vec![public_v6, loopback]] {
        *zone.lock() = Zone { answers: vec![answer.clone()], questions: 0 };
        try_to_open(PORT).await;
        assert_eq!(dialled(), 1, "{answer:?}");
        let failure = try_to_open(PORT + 1).await;
        assert!(matches!(failure, Failure::Refused { .. }), "{answer:?}: {failure:?}");
        for evil in ["127.0.0.1", "169.254.169.254", "[::1]"] {
            assert!(!failure.to_string().contains(evil), "{failure}");
        }
    }
    resolver.abort();
    assert_eq!(forbidden.map(|count| count.load(SeqCst)), [0; 3], "connections to what is forbidden");
}
