//! Clients that do harm: the program lives on within its bounds, and others notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod binary;
    pub mod browser;
    pub mod bystander;
    pub mod sshd;
}

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use support::{
    binary::{Binary, Manifest},
    browser::{Client, Event, PATIENCE},
    bystander::Bystander,
    sshd::Sshd,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_websockets::Message;
use webshell::{
    protocol::{
        Reason, raw,
        v1::{self, ClientMessage, Ended, Hello, Size},
    },
    session::replay::WINDOW,
};

const MIB: u64 = 1024 * 1024;

/// What the gateway's process may have resident at any time. An unoptimised one needs about 25 MiB to run; the few
/// dozen sessions and few hundred connections of these tests may hold 0.5 MiB and 32 KiB each at most.
const MEMORY: u64 = 64 * MIB;

fn assert_bounded(binary: &Binary) {
    let peak = binary.peak_memory();
    assert!(peak < MEMORY, "{} MiB", peak / MIB);
}

/// A gateway with the bystander's shell, and a flood at `flood`.
fn serve(arguments: &[&str]) -> (Sshd, Binary) {
    // By itself it drops some of many who log in at once.
    let sshd = Sshd::builder().config_line("MaxStartups 1000").start();
    let flood = Manifest { session: json!({"maxSessions": 0}), ..Manifest::running("flood", &sshd, "yes") };
    let shells = [Bystander::manifest(&sshd), flood];
    let binary = Binary::serve_with(&shells, arguments);
    (sshd, binary)
}

/// A frame with a mask that changes nothing, and its length in two bytes as from 126 bytes on.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first, 0x80 | 126], &length[..], &[0; 4], payload].concat()
}

/// What a connection without subprotocol or with one brings to its end; nobody looks at what comes before.
async fn assert_closed_with(stream: &mut TcpStream, code: u16) {
    let mut rest = Vec::new();
    // A reset may follow the close.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end");
    let code = code.to_be_bytes();
    assert!(rest.windows(4).any(|frame| frame[0] == 0x88 && frame[2..] == code), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_fragments_beyond_the_cap_are_answered_with_1009() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    for (subprotocol, cap) in [(Some("webshell.v1"), v1::MAX_CLIENT_FRAME), (None, raw::MAX_CLIENT_FRAME)] {
        // A frame that says it is 2^62 bytes long.
        let mut stream = binary.endpoint("good").connect(subprotocol).await.unwrap().into_inner();
        let head = [&[0x82, 0xff][..], &(1u64 << 62).to_be_bytes(), &[0; 4]].concat();
        stream.write_all(&head).await.unwrap();
        assert_closed_with(&mut stream, 1009).await;

        assert_bounded(&binary);

        // Fragments of 1 KiB, each harmless, of which the last is one too many.
        let mut stream = binary.endpoint("good").connect(subprotocol).await.unwrap().into_inner();
        let (first, next) = (frame(0x02, &[b'x'; 1024]), frame(0x00, &[b'x'; 1024]));
        stream.write_all(&[first, next.repeat(cap / 1024)].concat()).await.unwrap();
        assert_closed_with(&mut stream, 1009).await;

        // Fragments that never end.
        let mut stream = binary.endpoint("good").connect(subprotocol).await.unwrap().into_inner();
        stream.write_all(&frame(0x02, &[b'x'; 1024])).await.unwrap();
        let flood = async { while stream.write_all(&next).await.is_ok() {} };
        timeout(PATIENCE, flood).await.expect("the connection is closed");
        assert_bounded(&binary);

        // Fragments of nothing.
        let mut stream = binary.endpoint("good").connect(subprotocol).await.unwrap().into_inner();
        let empty = [0x00, 0x80, 0, 0, 0, 0].repeat(100_000);
        stream.write_all(&[&[0x02, 0x80, 0, 0, 0, 0], &empty[..]].concat()).await.unwrap();
        bystander.works().await;
        assert_bounded(&binary);
    }
    bystander.works().await;
    assert_bounded(&binary);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_who_dawdle_are_cut_off() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    let (mut slow, mut silent, mut speechless) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..250 {
        let mut stream = TcpStream::connect(binary.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..100 {
        silent.push(TcpStream::connect(binary.address).await.unwrap());
    }
    // These finish the handshake and never say hello.
    for _ in 0..50 {
        speechless.push(binary.endpoint("good").connect(Some("webshell.v1")).await.unwrap());
    }
    for _ in 0..5 {
        bystander.works().await;
        for stream in &mut slow {
            let _ = stream.write_all(b"x").await;
        }
    }
    for stream in slow.iter_mut().chain(&mut silent) {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is closed");
        assert_eq!(rest, b"");
    }
    for socket in &mut speechless {
        let close = timeout(PATIENCE, socket.next()).await.expect("the connection is closed").unwrap().unwrap();
        assert_eq!(close.as_close().map(|(code, reason)| (u16::from(code), reason)), Some((1002, "no hello in time")));
    }
    bystander.works().await;
    assert_bounded(&binary);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_acknowledge_or_never_read_hold_up_only_themselves() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    let (mut without_ack, mut without_reading) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        without_ack.push(binary.endpoint("flood").open().await);
        without_reading.push(binary.endpoint("flood").connect(None).await.unwrap());
        let mut client = binary.endpoint("flood").connect(Some("webshell.v1")).await.unwrap();
        let hello = ClientMessage::Hello(Hello { size: Size::DEFAULT, resume: None });
        client.send(Message::binary(hello.encode())).await.unwrap();
        without_reading.push(client);
    }
    for client in &mut without_ack {
        while client.received < WINDOW as u64 {
            let event = client.next().await;
            assert!(!matches!(event, Event::Ended(_) | Event::Closed(_)), "{event:?}");
        }
        bystander.works().await;
    }
    assert_bounded(&binary);
    // Who begins to read gets on.
    let client = &mut without_ack[0];
    client.acknowledge().await;
    client.read_until("y\r\ny\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_flood_of_sizes_counts() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    let mut client = binary.endpoint("good").open().await;
    client.connected().await;
    for i in 0..100_000u32 {
        let size = Size { cols: 10 + (i % 300) as u16, rows: 10 + (i % 70) as u16, width: 0, height: 0 };
        client.socket.feed(Message::binary(ClientMessage::Resize(size).encode())).await.unwrap();
        if i % 20_000 == 0 {
            bystander.works().await;
        }
    }
    client.send(ClientMessage::Resize(Size { cols: 123, rows: 41, width: 0, height: 0 })).await.unwrap();
    // The server may be busy with earlier sizes still.
    loop {
        client.input("stty size\r").await;
        if client.read_until("\r\n").await.contains("41 123") || client.read_until("\r\n").await.contains("41 123") {
            break;
        }
    }
    bystander.works().await;
    assert_bounded(&binary);
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_without_end_end_the_connection() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    for subprotocol in [Some("webshell.v1"), None] {
        let mut stream = binary.endpoint("good").connect(subprotocol).await.unwrap().into_inner();
        // Each of 125 bytes, to be answered by as many, which nobody reads.
        let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(100);
        let flood = async { while stream.write_all(&ping).await.is_ok() {} };
        timeout(PATIENCE, flood).await.expect("the connection is closed");
        bystander.works().await;
        assert_bounded(&binary);
    }
}

/// The end that is told instead of a session.
async fn refused(binary: &Binary, name: &str) -> Ended {
    let hello = Hello { size: Size::DEFAULT, resume: None };
    match binary.endpoint(name).hello(hello).await {
        Ok(_) => panic!("a session has begun"),
        Err(Event::Ended(ended)) => ended,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_beyond_a_limit_are_refused_and_the_rest_go_on() {
    let sshd = Sshd::start();
    let two = Manifest { session: json!({"maxSessions": 2}), ..Manifest::of("two", &sshd) };
    let binary = Binary::serve_with(&[Bystander::manifest(&sshd), two], &["--max-sessions", "4"]);
    let mut bystander = Bystander::begin(&binary).await;
    let mut first = binary.endpoint("two").open().await;
    let _second = binary.endpoint("two").open().await;
    for _ in 0..100 {
        let ended = refused(&binary, "two").await;
        assert_eq!((ended.reason, ended.code), (Reason::TooManySessions, 4302));
    }
    let _other = binary.endpoint("good").open().await;
    for _ in 0..100 {
        let ended = refused(&binary, "good").await;
        assert_eq!((ended.reason, ended.code), (Reason::GatewayFull, 4303));
    }
    bystander.works().await;
    // One that ends makes room for another.
    first.connected().await;
    first.send(ClientMessage::End).await.unwrap();
    assert_eq!(first.ended().await.reason, Reason::Exit);
    let mut next: Client = binary.endpoint("two").open().await;
    next.connected().await;
    bystander.works().await;
    assert_bounded(&binary);
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_that_are_none_are_misuse() {
    let (_sshd, binary) = serve(&[]);
    let mut bystander = Bystander::begin(&binary).await;
    let nested = "[".repeat(60_000);
    let hellos: &[&[u8]] = &[
        b"",
        b"{",
        b"[]",
        b"null",
        b"{\"cols\": 80}",
        b"{\"cols\": 0, \"rows\": 24}",
        b"{\"cols\": 10001, \"rows\": 24}",
        b"{\"cols\": 1e99, \"rows\": 24}",
        b"{\"cols\": 80, \"rows\": 24, \"resume\": 5}",
        b"{\"cols\": 80, \"rows\": 24, \"resume\": {\"token\": \"\", \"received\": -1}}",
        b"{\"cols\": 80, \"rows\": 24, \"cols\": 80}",
        b"\xff\xfe",
        nested.as_bytes(),
    ];
    for hello in hellos {
        let mut socket = binary.endpoint("good").connect(Some("webshell.v1")).await.unwrap();
        socket.send(Message::binary([b"\x01", *hello].concat())).await.unwrap();
        let close = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let code = close.as_close().map(|(code, _)| u16::from(code));
        assert_eq!(code, Some(1002), "{:?}", String::from_utf8_lossy(hello));
    }
    // What a later version may add is passed over.
    let mut socket = binary.endpoint("good").connect(Some("webshell.v1")).await.unwrap();
    let hello = b"\x01{\"cols\": 80, \"rows\": 24, \"later\": {\"x\": [1, 2, {}]}}";
    socket.send(Message::binary(&hello[..])).await.unwrap();
    let welcome = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(welcome.as_payload().first(), Some(&0x81));
    bystander.works().await;
}
