//! Every way not to get a shell, each with its own kind and words that help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod client;
    pub mod sshd;
}

use std::{fs, time::Duration};

use support::{
    client::{Screen, ended, exit, known, refused, request, tell},
    sshd::{Sshd, keygen, run},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use webshell::ssh::{Failure, HostKeyPolicy, HostKeyProblem, HostKeyRejection, Phase, Request};

/// A request that goes to another port than the server's.
fn elsewhere(sshd: &Sshd, port: u16) -> Request {
    let mut request = request(sshd, "true");
    request.target.port = port;
    request
}

/// A service that says something to the first who connects, waits for a word and hangs up, or says nothing at all.
async fn service(says: Option<&'static str>) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut word = [0; 64];
        assert!(stream.read(&mut word).await.unwrap() > 0);
        match says {
            Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
    });
    (port, task)
}

#[tokio::test]
async fn a_name_without_an_address() {
    let sshd = Sshd::start();
    let mut request = request(&sshd, "true");
    request.target.host = "no-such-host.invalid".to_owned();
    let failure = refused(request).await;
    assert!(matches!(&failure, Failure::Dns { host, .. } if host == "no-such-host.invalid"), "{failure:?}");
    assert!(failure.to_string().contains("no-such-host.invalid"));
}

#[tokio::test]
async fn a_port_where_nothing_listens() {
    let sshd = Sshd::start();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let failure = refused(elsewhere(&sshd, port)).await;
    assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
    assert!(failure.to_string().contains(&port.to_string()) && failure.hint().contains("port"));
}

#[tokio::test]
async fn an_address_that_cannot_be_reached() {
    let sshd = Sshd::start();
    let mut request = request(&sshd, "true");
    // Link-local without an interface: refused by the kernel, nothing is sent.
    request.target.host = "fe80::1".to_owned();
    let failure = refused(request).await;
    assert!(matches!(failure, Failure::Unreachable { .. }), "{failure:?}");
}

#[tokio::test]
async fn what_is_not_ssh() {
    let sshd = Sshd::start();
    for (says, quoted) in [
        ("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("SSH-1.5-ancient\r\n", "SSH-1.5-ancient"),
        ("\x15\x03\x01\x00\x02\x02\x28", "it answered"),
        ("", "without a word"),
    ] {
        let (port, service) = service(Some(says)).await;
        let failure = refused(elsewhere(&sshd, port)).await;
        assert!(matches!(failure, Failure::NotSsh { .. }), "{says:?}: {failure:?}");
        assert!(failure.to_string().contains(quoted), "{failure}");
        service.await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_says_nothing() {
    let sshd = Sshd::start();
    let (port, service) = service(None).await;
    let mut request = elsewhere(&sshd, port);
    request.connect_timeout = Duration::from_millis(300);
    let failure = refused(request).await;
    assert!(matches!(&failure, Failure::NotSsh { answer } if answer.contains("300ms")), "{failure:?}");
    service.abort();
}

#[tokio::test]
async fn a_server_that_stops_answering_within_the_key_exchange() {
    let sshd = Sshd::start();
    let (port, service) = service(Some("SSH-2.0-silent\r\n")).await;
    let failure = refused(elsewhere(&sshd, port)).await;
    assert!(matches!(failure, Failure::Disconnected { phase: Phase::Handshake, .. }), "{failure:?}");
    service.await.unwrap();
}

#[tokio::test]
async fn no_algorithm_in_common() {
    for (line, purpose, offer) in [
        ("Ciphers aes128-cbc", "cipher", "aes128-cbc"),
        ("KexAlgorithms diffie-hellman-group14-sha1", "key exchange", "diffie-hellman-group14-sha1"),
    ] {
        let sshd = Sshd::builder().config_line(line).start();
        let failure = refused(request(&sshd, "true")).await;
        let Failure::NoCommonAlgorithm { kind, theirs, .. } = &failure else { panic!("{failure:?}") };
        assert_eq!(*kind, purpose);
        assert!(theirs.iter().any(|name| name == offer), "{failure:?}");
    }
}

#[tokio::test]
async fn a_banner_without_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let banner = directory.path().join("banner");
    fs::write(&banner, "x".repeat(100_000)).unwrap();
    let sshd = Sshd::builder().config_line(format!("Banner {}", banner.display())).start();
    let failure = refused(request(&sshd, "true")).await;
    assert!(matches!(failure, Failure::Protocol { phase: Phase::Authenticate, .. }), "{failure:?}");
}

#[tokio::test]
async fn a_session_that_is_refused() {
    let sshd = Sshd::builder().config_line("MaxSessions 0").start();
    let failure = refused(request(&sshd, "true")).await;
    assert!(matches!(failure, Failure::ChannelRefused { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_terminal_that_is_refused() {
    let sshd = Sshd::builder().config_line("PermitTTY no").start();
    assert_eq!(refused(request(&sshd, "true")).await, Failure::PtyRefused);
}

/// The rejection of a host's key, of which nothing of the user's was sent before.
async fn rejection(sshd: &Sshd, request: Request) -> HostKeyRejection {
    let failure = refused(request).await;
    assert!(!sshd.log().contains("publickey"), "a credential was sent: {}", sshd.log());
    assert!(!failure.hint().is_empty());
    match failure {
        Failure::HostKey(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_host_key_that_is_not_known_comes_with_the_line_that_makes_it_known() {
    let sshd = Sshd::builder().config_line("LogLevel DEBUG1").start();
    let mut strict = request(&sshd, "true");
    strict.host_keys = known("");
    let rejection = rejection(&sshd, strict).await;
    assert_eq!(rejection.problem, HostKeyProblem::Unknown);
    assert_eq!(rejection.presented.line.trim(), sshd.known_hosts().trim());
    let mut pasted = request(&sshd, "true");
    pasted.host_keys = known(&rejection.presented.line);
    let (shell, _) = tell(pasted, &Screen::new(), &[]).await;
    assert_eq!(ended(&shell.unwrap()).await, exit(0));
}

#[tokio::test]
async fn a_host_key_that_has_changed_or_is_revoked() {
    let sshd = Sshd::builder().config_line("LogLevel DEBUG1").start();
    let directory = tempfile::tempdir().unwrap();
    let (_, other) = keygen(directory.path(), "other", &["-t", "ed25519"]);
    let mut changed = request(&sshd, "true");
    changed.host_keys = known(&format!("[127.0.0.1]:{} {other}\n", sshd.port()));
    let problem = rejection(&sshd, changed).await.problem;
    let fingerprint = run("ssh-keygen", &["-lf", directory.path().join("other.pub").to_str().unwrap()]);
    let HostKeyProblem::Changed(expected) = problem else { panic!("{problem:?}") };
    assert!(fingerprint.contains(&expected[0].fingerprint), "{expected:?}");

    let mut revoked = request(&sshd, "true");
    revoked.host_keys = known(&format!("@revoked {}", sshd.known_hosts()));
    assert!(matches!(rejection(&sshd, revoked).await.problem, HostKeyProblem::Revoked(_)));
}

#[tokio::test]
async fn host_certificates_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (_, authority) = keygen(directory.path(), "authority", &["-t", "ed25519"]);
    for (principal, accepted) in [("127.0.0.1", true), ("other.example", false)] {
        keygen(directory.path(), principal, &["-t", "ed25519"]);
        let public = path(&format!("{principal}.pub"));
        run("ssh-keygen", &["-q", "-s", &path("authority"), "-I", "test", "-h", "-n", principal, &public]);
        let sshd = Sshd::builder()
            .config_line("LogLevel DEBUG1")
            .config_line(format!("HostKey {}", path(principal)))
            .config_line(format!("HostCertificate {}", path(&format!("{principal}-cert.pub"))))
            .start();
        let mut request = request(&sshd, "true");
        request.host_keys = known(&format!("@cert-authority [127.0.0.1]:{} {authority}\n", sshd.port()));
        if accepted {
            let (shell, _) = tell(request, &Screen::new(), &[]).await;
            assert_eq!(ended(&shell.unwrap()).await, exit(0));
        } else {
            let problem = rejection(&sshd, request).await.problem;
            assert!(
                matches!(&problem, HostKeyProblem::CertificateInvalid(why) if why.contains(principal)),
                "{problem:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_does_not_want_to_check_is_told_so() {
    let sshd = Sshd::start();
    let mut insecure = request(&sshd, "true");
    insecure.host_keys = known("");
    insecure.host_keys.policy = HostKeyPolicy::Insecure;
    let (shell, story) = tell(insecure, &Screen::new(), &[]).await;
    assert_eq!(ended(&shell.unwrap()).await, exit(0));
    assert_eq!(story.host_key_notices.len(), 1);
}
