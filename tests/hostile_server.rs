//! Servers that break the protocol of SSH: the program lives on within its bounds, and others notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod binary;
    pub mod browser;
    pub mod bystander;
    pub mod packets;
    pub mod sshd;
}

use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde_json::json;
use support::{
    binary::{Binary, Manifest},
    browser::Event,
    bystander::Bystander,
    packets::{Connection, Payload, VERSION, number},
    sshd::Sshd,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use webshell::protocol::Reason;

const MIB: u64 = 1024 * 1024;

/// What the gateway's process may have resident at any time. An unoptimised one needs about 25 MiB to run; a session may
/// hold a few windows of 256 KiB and the packets of russh, and 16 MiB of output that a server forces upon it.
const MEMORY: u64 = 64 * MIB;

/// A gateway with the bystander's shell and those of hostile servers.
struct Scene {
    binary: Binary,
    bystander: Bystander,
    expected: Vec<(&'static str, Reason)>,
    /// The hostile servers; gone when dropped.
    _servers: JoinSet<()>,
    _sshd: Sshd,
}

/// Hostile servers that are to be served.
#[derive(Default)]
struct Cast {
    manifests: Vec<Manifest>,
    expected: Vec<(&'static str, Reason)>,
    servers: JoinSet<()>,
}

// === impl Cast ===

impl Cast {
    /// Adds a server that treats each connection with `behave`, and what that must end with.
    async fn add<F, B>(&mut self, name: &'static str, reason: Reason, behave: F)
    where
        F: Fn(TcpStream) -> B + Send + 'static,
        B: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut manifest = Manifest::at(name, listener.local_addr().unwrap().port());
        manifest.terminal = json!({"command": "true"});
        self.manifests.push(manifest);
        self.expected.push((name, reason));
        self.servers.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let behaviour = behave(stream);
                // The client hangs up in the middle of most, which is their end.
                connections.spawn(async move { _ = behaviour.await });
            }
        });
    }

    async fn serve(mut self) -> Scene {
        let sshd = Sshd::start();
        self.manifests.push(Bystander::manifest(&sshd));
        let binary = Binary::serve(&self.manifests);
        let bystander = Bystander::begin(&binary).await;
        Scene { binary, bystander, expected: self.expected, _servers: self.servers, _sshd: sshd }
    }
}

// === impl Scene ===

impl Scene {
    /// Opens each shell, one after the other: it must end for the expected reason, with words and a hint.
    async fn play(mut self) {
        let mut surprises = Vec::new();
        for (name, reason) in std::mem::take(&mut self.expected) {
            let mut client = self.binary.endpoint(name).open().await;
            let ended = client.ended().await;
            if ended.reason != reason {
                surprises.push(format!("{name}: {ended:?}"));
                continue;
            }
            assert!(ended.hint.is_some_and(|hint| !hint.is_empty()), "{name}");
            assert!(ended.message.chars().all(|c| !c.is_control()), "{name}: {:?}", ended.message);
            let closed = client.next().await;
            assert!(matches!(closed, Event::Closed(Some((code, _))) if code == reason.code()), "{name}: {closed:?}");
            self.bystander.works().await;
            self.assert_bounded(name);
        }
        assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    }

    fn assert_bounded(&self, name: &str) {
        let peak = self.binary.peak_memory();
        assert!(peak < MEMORY, "{name}: {} MiB", peak / MIB);
        assert!(!self.binary.log().contains("panicked"), "{name}");
    }
}

/// Introduces itself and then sends bytes for ever.
async fn after_version(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(format!("{VERSION}\r\n").as_bytes()).await?;
    stream.write_all(bytes).await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(drop)
}

/// A packet without encryption, which says that its content is `length` long.
fn packet(length: u32, content: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), content].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_exchange_is_given_up() {
    let mut cast = Cast::default();
    cast.add("silence", Reason::NotSsh, |stream| async move {
        let _open = stream;
        pending().await
    })
    .await;
    cast.add("hangs-up", Reason::NotSsh, |_| async { Ok(()) }).await;
    cast.add("endless-lines", Reason::NotSsh, |mut stream| async move {
        loop {
            stream.write_all(&b"just a moment\r\n".repeat(1000)).await?;
        }
    })
    .await;
    cast.add("endless-line", Reason::NotSsh, |mut stream| async move {
        loop {
            stream.write_all(&[b'x'; 65_536]).await?;
        }
    })
    .await;
    cast.add("endless-version", Reason::Protocol, |mut stream| async move {
        stream.write_all(b"SSH-2.0-").await?;
        loop {
            stream.write_all(&[b'x'; 65_536]).await?;
        }
    })
    .await;
    cast.add("trickle", Reason::NotSsh, |mut stream| async move {
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    cast.add("says-no-more", Reason::Timeout, |stream| async { after_version(stream, b"").await }).await;
    cast.add("leaves", Reason::Disconnected, |mut stream| async move {
        stream.write_all(format!("{VERSION}\r\n").as_bytes()).await?;
        stream.read_exact(&mut [0; 64]).await.map(drop)
    })
    .await;
    // The first length is nothing to russh, and its end the server's.
    cast.add("no-length", Reason::Disconnected, |stream| async { after_version(stream, &packet(0, &[0; 64])).await })
        .await;
    // Nobody is let in before there are keys.
    let success = packet(12, &[10, number::USERAUTH_SUCCESS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    cast.add("success-at-once", Reason::Timeout, move |stream| {
        let success = success.clone();
        async move { after_version(stream, &success).await }
    })
    .await;
    let malformed: [(&str, Vec<u8>); 6] = [
        ("garbage", b"\xde\xad\xbe\xef".repeat(10_000)),
        ("oversize", packet(u32::MAX, &[0; 100_000])),
        ("large", packet(64 * 1024 * 1024, &[0; 100_000])),
        ("padding-only", packet(12, &[255; 12])),
        ("cut-short", packet(12, &[4, number::KEXINIT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("lists-beyond-the-end", {
            let mut content = [[10, number::KEXINIT].as_slice(), &[0; 16], &[0xff; 4]].concat();
            content.resize(44, 0);
            packet(44, &content)
        }),
    ];
    for (name, bytes) in malformed {
        cast.add(name, Reason::Protocol, move |stream| {
            let bytes = bytes.clone();
            async move { after_version(stream, &bytes).await }
        })
        .await;
    }
    cast.serve().await.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_log_in_is_given_up() {
    let mut cast = Cast::default();
    cast.add("endless-banner", Reason::Protocol, |stream| async {
        let mut connection = Connection::greet(stream).await?;
        connection.exchange_keys().await?;
        connection.offer_log_in().await?;
        loop {
            connection.send(Payload::new(number::USERAUTH_BANNER).string([b'x'; 1000]).string("")).await?;
        }
    })
    .await;
    cast.add("channel-before-log-in", Reason::Protocol, |stream| async {
        let mut connection = Connection::greet(stream).await?;
        connection.exchange_keys().await?;
        connection.offer_log_in().await?;
        connection.send(Payload::new(number::CHANNEL_DATA).u32(0).string("too early")).await?;
        connection.drain().await;
        Ok(())
    })
    .await;
    // Rounds of questions that ask nothing, without end.
    cast.add("endless-questions", Reason::Protocol, |stream| async {
        let mut connection = Connection::greet(stream).await?;
        connection.exchange_keys().await?;
        connection.offer_log_in().await?;
        let only = Payload::new(number::USERAUTH_FAILURE).string("keyboard-interactive").byte(0);
        let nothing = Payload::new(number::USERAUTH_INFO_REQUEST).string("").string("").string("").u32(0);
        loop {
            let message = connection.receive().await?;
            let begins = message.windows(20).any(|text| text == b"keyboard-interactive");
            let answers = message.first() == Some(&number::USERAUTH_INFO_RESPONSE);
            connection.send(if begins || answers { nothing.clone() } else { only.clone() }).await?;
        }
    })
    .await;
    // Each method is accepted, and never enough.
    cast.add("never-enough", Reason::AuthenticationFailed, |stream| async {
        let mut connection = Connection::greet(stream).await?;
        connection.exchange_keys().await?;
        connection.offer_log_in().await?;
        let more = Payload::new(number::USERAUTH_FAILURE).string("publickey,password").byte(1);
        loop {
            connection.receive().await?;
            connection.send(more.clone()).await?;
        }
    })
    .await;
    cast.serve().await.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_ends_a_shell() {
    let mut cast = Cast::default();
    type Messages = fn(&Connection) -> Payload;
    let broken: [(&str, Messages); 6] = [
        ("cut-data", |_| Payload::new(number::CHANNEL_DATA).u32(0).u32(1000).raw("much less")),
        ("no-channel", |_| Payload::new(number::CHANNEL_DATA)),
        ("cut-request", |connection| Payload::new(number::CHANNEL_REQUEST).u32(connection.channel).u32(u32::MAX)),
        ("cut-open", |_| Payload::new(number::CHANNEL_OPEN).string("x11")),
        ("no-such-opening", |_| Payload::new(number::CHANNEL_OPEN_CONFIRMATION).u32(4711).u32(1).u32(1).u32(1)),
        ("cut-kexinit", |_| Payload::new(number::KEXINIT).raw([0; 10])),
    ];
    for (name, message) in broken {
        cast.add(name, Reason::Protocol, move |stream| async move {
            let mut connection = Connection::shell(stream).await?;
            connection.send(message(&connection)).await?;
            connection.drain().await;
            Ok(())
        })
        .await;
    }
    for (name, length) in [("oversize", u32::MAX), ("no-length", 0)] {
        cast.add(name, Reason::Protocol, move |stream| async move {
            let mut connection = Connection::shell(stream).await?;
            connection.send_packet(length, &[0; 1000]).await?;
            connection.drain().await;
            Ok(())
        })
        .await;
    }
    cast.add("forged", Reason::Protocol, |stream| async {
        let mut connection = Connection::shell(stream).await?;
        connection.send_raw(&[0x55; 4096]).await?;
        connection.drain().await;
        Ok(())
    })
    .await;
    cast.serve().await.play().await;
}

/// What a server has no reason to send, and what is of no channel.
fn unasked() -> Vec<Payload> {
    let open = |kind: &str| Payload::new(number::CHANNEL_OPEN).string(kind).u32(77).u32(1 << 20).u32(32_768);
    let stranger = |number| Payload::new(number).u32(4711);
    vec![
        Payload::default(),
        Payload::new(200).raw("no such message"),
        open("x11").string("127.0.0.1").u32(6010),
        open("forwarded-tcpip").string("127.0.0.1").u32(80).string("127.0.0.1").u32(4711),
        open("forwarded-streamlocal@openssh.com").string("/run/x").string(""),
        open("direct-tcpip").string("169.254.169.254").u32(80).string("127.0.0.1").u32(4711),
        open("auth-agent@openssh.com"),
        open("session"),
        open("no-such-type@example.com"),
        stranger(number::CHANNEL_DATA).string("forged"),
        stranger(number::CHANNEL_EXTENDED_DATA).u32(1).string("forged"),
        stranger(number::CHANNEL_WINDOW_ADJUST).u32(u32::MAX),
        stranger(number::CHANNEL_REQUEST).string("exit-status").byte(0).u32(0),
        stranger(number::CHANNEL_SUCCESS),
        stranger(number::CHANNEL_EOF),
        stranger(number::CHANNEL_CLOSE),
        Payload::new(number::GLOBAL_REQUEST).string("hostkeys-00@openssh.com").byte(0).string("no key"),
        Payload::new(number::GLOBAL_REQUEST).string("tcpip-forward").byte(1).string("").u32(80),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_is_passed_over_and_the_shell_goes_on() {
    let mut cast = Cast::default();
    cast.add("unasked", Reason::Exit, |stream| async {
        let mut connection = Connection::shell(stream).await?;
        for (number, message) in unasked().into_iter().enumerate() {
            connection.send(message).await?;
            connection.data(format!("past {number}\r\n").as_bytes()).await?;
        }
        connection.send(Payload::new(number::CHANNEL_CLOSE).u32(connection.channel)).await?;
        connection.drain().await;
        Ok(())
    })
    .await;
    let mut scene = cast.serve().await;
    let mut client = scene.binary.endpoint("unasked").open().await;
    let seen = client.read_until(&format!("past {}\r\n", unasked().len() - 1)).await;
    let passed: String = (0..unasked().len()).map(|number| format!("past {number}\r\n")).collect();
    assert_eq!(seen, format!("welcome\r\n{passed}"));
    assert_eq!(client.ended().await.reason, Reason::Exit);
    scene.bystander.works().await;
    scene.assert_bounded("unasked");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_held_back() {
    /// Far beyond the bound of memory, where each message that is kept costs some dozens of bytes.
    const MESSAGES: u64 = 1_000_000;
    let reply_wanted = Payload::new(number::GLOBAL_REQUEST).string("keepalive@openssh.com").byte(1);
    let open = Payload::new(number::CHANNEL_OPEN).string("x11").u32(77).u32(1).u32(1).string("").u32(0);
    // The channel is 0 to the client too: it is its first.
    let output = Payload::new(number::CHANNEL_DATA).u32(0).string([b'x'; 30_000]);
    let floods = [("requests", reply_wanted), ("channels", open), ("output", output)];
    let sent = Arc::new(AtomicU64::new(0));
    let mut cast = Cast::default();
    for (name, message) in floods.clone() {
        let sent = Arc::clone(&sent);
        // It reads none of the answers.
        cast.add(name, Reason::Exit, move |stream| {
            let (message, sent) = (message.clone(), Arc::clone(&sent));
            async move {
                let mut connection = Connection::shell(stream).await?;
                for _ in 0..MESSAGES {
                    connection.send(message.clone()).await?;
                    sent.fetch_add(1, Relaxed);
                }
                connection.drain().await;
                Ok(())
            }
        })
        .await;
    }
    let mut scene = cast.serve().await;
    for (name, _) in floods {
        sent.store(0, Relaxed);
        let mut client = scene.binary.endpoint(name).open().await;
        client.connected().await;
        // Until it is through, or nothing moves any more.
        let mut before = u64::MAX;
        while ![before, MESSAGES].contains(&sent.load(Relaxed)) {
            before = sent.load(Relaxed);
            for _ in 0..20 {
                scene.bystander.works().await;
            }
        }
        scene.assert_bounded(name);
    }
}
