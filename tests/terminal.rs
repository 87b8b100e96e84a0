//! Terminals from a WebSocket client to a real SSH server and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support {
    pub mod browser;
    pub mod gateway;
    pub mod sshd;
}

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use sha2::{Digest, Sha256};
use support::{
    browser::{Client, Event, PATIENCE},
    gateway::{Gateway, NO_LIMITS, access, catalog},
    sshd::{Sshd, wait_until},
};
use tokio::time::timeout;
use tokio_websockets::Message;
use webshell::{
    api::SessionLimits,
    catalog::{Access, Catalog},
    protocol::{
        Reason,
        v1::{ClientMessage, Hello, Resume, Size},
    },
    ssh::Admission,
};

async fn start(command: &str) -> (Sshd, Gateway) {
    let sshd = Sshd::start();
    let gateway = Gateway::start(access(&sshd, command)).await;
    (sshd, gateway)
}

/// A shell without a prompt or echo, ready for commands.
async fn quiet_shell(gateway: &Gateway) -> Client {
    let mut client = gateway.endpoint.open().await;
    client.connected().await;
    client.input("PS1=; stty -echo; echo re''ady\r").await;
    client.read_until("ready\r\n").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_answers_resizes_and_tells_its_status() {
    let (_sshd, gateway) = start("").await;
    let mut client = quiet_shell(&gateway).await;
    client.send(ClientMessage::Resize(Size { cols: 111, rows: 33, width: 999, height: 666 })).await.unwrap();
    client.input("stty size\r").await;
    client.read_until("33 111").await;
    client.input("exit 7\r").await;
    let ended = client.ended().await;
    assert_eq!((ended.reason, ended.status), (Reason::Exit, Some(7)));
    assert!(matches!(client.next().await, Event::Closed(Some((1000, _)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_resumed_at_the_byte() {
    let (_sshd, gateway) = start("").await;
    let mut client = quiet_shell(&gateway).await;
    client.input("echo before; sleep 0.3; echo af''ter\r").await;
    client.read_until("before").await;
    let (token, received) = (client.welcome.token.clone(), client.received);
    drop(client);
    let mut client = gateway.endpoint.resume(&token, received).await.unwrap_or_else(|event| panic!("{event:?}"));
    assert!(client.welcome.resumed);
    assert_eq!(client.welcome.output, received);
    client.read_until("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_passes_a_client_that_reads_nothing() {
    let sshd = Sshd::start();
    let mark = sshd.directory().join("interrupted");
    let script = format!("trap 'touch {}' INT; yes & while :; do wait; done", mark.to_str().unwrap());
    let gateway = Gateway::start(access(&sshd, &script)).await;
    let mut client = gateway.endpoint.open().await;
    // The flood stands still once a window is unacknowledged; from there on nothing is read at all.
    while client.received < webshell::session::replay::WINDOW as u64 {
        client.next().await;
    }
    client.input("\x03").await;
    wait_until("the program was interrupted", || mark.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_output_is_bounded_and_nothing_is_lost() {
    let total = 3_000_000;
    let (_sshd, gateway) = start(&format!("stty raw; yes 0123456789 | head -c {total}")).await;
    let mut client = gateway.endpoint.open().await;
    client.connected().await;
    while client.received < webshell::session::replay::WINDOW as u64 {
        client.next().await;
    }
    assert_eq!(client.received, webshell::session::replay::WINDOW as u64);
    let pause = timeout(Duration::from_millis(300), client.next()).await;
    assert!(pause.is_err(), "beyond the window came {pause:?}");
    client.acknowledge().await;
    assert_eq!(client.ended().await.status, Some(0));
    assert_eq!(client.received, total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paste_into_a_program_that_does_not_read_waits_and_is_not_lost() {
    let (_sshd, gateway) = start("stty raw -echo; echo ready; sleep 1; head -c 1000000 | sha256sum").await;
    let mut client = gateway.endpoint.open().await;
    client.connected().await;
    client.read_until("ready").await;
    let paste: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let mut sent = 0;
    while sent < paste.len() {
        let window = usize::try_from(client.acknowledged + client.welcome.input_window).unwrap().min(paste.len());
        if sent < window {
            let chunk = &paste[sent..window.min(sent + 32_768)];
            client.input(chunk).await;
            sent += chunk.len();
        } else {
            client.next().await;
        }
    }
    client.read_until(&hex(&Sha256::digest(&paste))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misuse_is_answered_with_1002_and_a_reason() {
    let (_sshd, gateway) = start("").await;
    let hello = ClientMessage::Hello(Hello { size: Size::DEFAULT, resume: None });
    let after_hello: [(Message, &str); 6] = [
        (Message::binary(hello.encode()), "second hello"),
        (Message::binary(&b"\x7f"[..]), "unknown tag 0x7f"),
        (Message::binary(&b"\x04\0"[..]), "malformed resize"),
        (Message::binary(ClientMessage::Ack(u64::MAX).encode()), "ack of 18446744073709551615"),
        (Message::text("ls\r"), "text frame"),
        (Message::binary(&b"\x05{\"id\":1}"[..]), "answer to no open prompt"),
    ];
    for (message, reason) in after_hello {
        let mut client = gateway.endpoint.open().await;
        client.socket.send(message).await.unwrap();
        assert_closed(&mut client, 1002, reason).await;
    }
    let mut socket = gateway.endpoint.connect(Some("webshell.v1")).await.unwrap();
    socket.send(Message::binary(ClientMessage::Ack(0).encode())).await.unwrap();
    let close = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    let (code, reason) = close.as_close().unwrap();
    assert_eq!((u16::from(code), reason), (1002, "the first message must be hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_beyond_the_cap_is_answered_with_1009() {
    let (_sshd, gateway) = start("").await;
    let mut client = gateway.endpoint.open().await;
    client.socket.send(Message::binary(vec![2; 64 * 1024 + 1])).await.unwrap();
    assert_closed(&mut client, 1009, "").await;
}

async fn assert_closed(client: &mut Client, code: u16, reason: &str) {
    loop {
        match client.next().await {
            Event::Closed(Some((closed, said))) => {
                assert_eq!(closed, code, "{said}");
                assert!(said.starts_with(reason), "{said:?} for {reason:?}");
                return;
            }
            Event::Closed(None) => panic!("closed without a word instead of {reason:?}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_session_is_refused_with_4301() {
    let (_sshd, gateway) = start("").await;
    let resume = Some(Resume { token: "0".repeat(32), received: 0 });
    let refused = gateway.endpoint.hello(Hello { size: Size::DEFAULT, resume }).await.err().unwrap();
    let Event::Ended(ended) = refused else { panic!("{refused:?}") };
    assert_eq!((ended.reason, ended.code), (Reason::UnknownSession, 4301));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_and_why() {
    let sshd = Sshd::start();
    let mut wrong_user = access(&sshd, "");
    wrong_user.target.user = "nobody-of-that-name".to_owned();
    let mut wrong_key = access(&sshd, "");
    let another = Sshd::start();
    wrong_key.host_keys.known_hosts = webshell::ssh::KnownHosts::parse(
        &another.known_hosts().replace(&another.port().to_string(), &sshd.port().to_string()),
    )
    .unwrap();
    for (access, reason) in [(wrong_user, Reason::AuthenticationFailed), (wrong_key, Reason::HostKeyChanged)] {
        let gateway = Gateway::start(access).await;
        let mut client = gateway.endpoint.open().await;
        let ended = client.ended().await;
        assert_eq!(ended.reason, reason);
        assert!(!ended.message.is_empty() && ended.hint.is_some(), "{ended:?}");
        if reason == Reason::HostKeyChanged {
            let report = ended.host_key.unwrap();
            assert!(report.line.contains(sshd.known_hosts().trim()), "{}", report.line);
            assert_eq!(report.expected.len(), 1);
        }
        assert!(matches!(client.next().await, Event::Closed(Some((code, _))) if code == reason.code()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_under_a_session_ends_it_with_the_reason() {
    type Change = fn(&mut Access);
    let changes: [(Change, Reason); 5] = [
        (|access| access.target.user = "other".to_owned(), Reason::TargetChanged),
        (|access| access.credentials.password = Some("new".to_owned().into()), Reason::CredentialsChanged),
        (|access| access.host_keys = webshell::ssh::HostKeys::default(), Reason::HostKeysChanged),
        (|access| access.admission = Admission::new(|_| Err("no target".to_owned())), Reason::TargetForbidden),
        (
            |access| access.admission = Admission::default().only_in(["10.0.0.0/8".parse().unwrap()].into()),
            Reason::HostNotAllowed,
        ),
    ];
    for (change, reason) in changes {
        let (sshd, gateway) = start("").await;
        let mut client = quiet_shell(&gateway).await;
        let mut changed = access(&sshd, "");
        changed.limits = SessionLimits { maximum: Some(Duration::from_secs(9999)), ..NO_LIMITS };
        gateway.registry.follow(&catalog(changed.clone()));
        client.input("echo still''here\r").await;
        client.read_until("stillhere").await;
        change(&mut changed);
        gateway.registry.follow(&catalog(changed));
        assert_eq!(client.ended().await.reason, reason);
    }
    let (_sshd, gateway) = start("").await;
    let mut client = quiet_shell(&gateway).await;
    gateway.registry.follow(&Catalog::default());
    assert_eq!(client.ended().await.reason, Reason::Deleted);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_mode_is_bytes_and_ends_with_its_socket() {
    let sshd = Sshd::start();
    let gateway = Gateway::start_raw(access(&sshd, ""), true).await;
    let mut socket = gateway.endpoint.connect(None).await.unwrap();
    socket.send(Message::text("<RESIZE>101,31")).await.unwrap();
    socket.send(Message::text("stty size; printf '\\303\\251\\377'; exit\r")).await.unwrap();
    let (mut output, mut texts) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.unwrap() {
        if message.is_close() {
            break;
        }
        if let Some(text) = message.as_text() {
            texts.push(text.to_owned());
        }
        if message.is_text() || message.is_binary() {
            output.extend_from_slice(message.as_payload());
        }
    }
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains("31 101"), "{text}");
    assert!(output.windows(3).any(|bytes| bytes == b"\xc3\xa9\xff"), "{text}");
    assert_eq!(texts.last().map(String::as_str), Some("ssh closed"));

    let mut socket = gateway.endpoint.connect(None).await.unwrap();
    socket.send(Message::text("echo up\r")).await.unwrap();
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    drop(socket);
    wait_until("the session is over", || gateway.registry.count() == 0);
}

/// Over real sockets: connections break at random places while a script writes and reads; what arrives equals an
/// undisturbed run's.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_disconnects_lose_nothing() {
    const DISCONNECTS: usize = 1000;
    const INPUT: usize = 600_000;
    // The shell sends numbered lines for ever, until it has read all the input, whose hash it tells.
    let script = format!(
        "stty raw -echo; echo ready; (i=0; while :; do i=$((i+1)); echo line $i of the endless listing; done) & \
         sum=$(head -c {INPUT} | sha256sum); kill $!; wait 2>/dev/null; echo; echo the sum is $sum"
    );
    let (_sshd, gateway) = start(&script).await;
    let input: Vec<u8> = (0..INPUT).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let mut random = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut client = gateway.endpoint.open().await;
    let (mut transcript, mut typed) = (Vec::new(), 0usize);
    while !transcript.starts_with(b"ready\n") {
        if let Event::Output(bytes) = client.next().await {
            transcript.extend_from_slice(&bytes);
        }
    }
    for round in 0..DISCONNECTS {
        let token = client.welcome.token.clone();
        let goal = INPUT * (round + 1) / DISCONNECTS;
        let mut reads = random.random_range(0..4);
        while typed < goal || reads > 0 {
            if typed < goal {
                let window = usize::try_from(client.acknowledged + client.welcome.input_window).unwrap();
                let end = goal.min(window).min(typed + 32_000);
                if typed < end {
                    client.input(&input[typed..end]).await;
                    typed = end;
                    continue;
                }
            }
            match client.next().await {
                Event::Output(bytes) => {
                    transcript.extend_from_slice(&bytes);
                    if random.random_bool(0.5) {
                        client.acknowledge().await;
                    }
                }
                Event::Ended(ended) => {
                    let tail = &transcript[transcript.len().saturating_sub(500)..];
                    panic!("{round}: {ended:?} after {:?}", String::from_utf8_lossy(tail))
                }
                Event::Closed(close) => panic!("{round}: {close:?}"),
                _ => {}
            }
            reads = usize::saturating_sub(reads, 1);
        }
        // The rest of what the server sent, and maybe of what we sent, is lost with the connection.
        drop(client);
        client =
            gateway.endpoint.resume(&token, transcript.len() as u64).await.unwrap_or_else(|e| panic!("{round}: {e:?}"));
        assert_eq!(client.welcome.output, transcript.len() as u64);
        typed = usize::try_from(client.welcome.input).unwrap();
    }
    while typed < INPUT {
        client.input(&input[typed..INPUT.min(typed + 30_000)]).await;
        typed = INPUT.min(typed + 30_000);
    }
    let ended = loop {
        match client.next().await {
            Event::Output(bytes) => {
                transcript.extend_from_slice(&bytes);
                client.acknowledge().await;
            }
            Event::Ended(ended) => break ended,
            Event::Closed(close) => panic!("{close:?}"),
            _ => {}
        }
    };
    assert_eq!(ended.status, Some(0));
    let text = String::from_utf8(transcript).unwrap();
    let (lines, sum) = text.rsplit_once("\nthe sum is ").unwrap();
    assert!(sum.starts_with(&hex(&Sha256::digest(&input))), "the shell got other input: {sum}");
    let lines = lines.strip_prefix("ready\n").unwrap();
    let whole =
        lines.lines().enumerate().take_while(|(i, line)| *line == format!("line {} of the endless listing", i + 1));
    assert!(whole.count() + 2 >= lines.lines().count(), "output was lost or doubled");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
