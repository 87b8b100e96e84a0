//! Much goes through a terminal of the program itself, both ways, and arrives as it was sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod binary;
    pub mod browser;
    pub mod sshd;
}

use std::{fs, time::Duration};

use futures_util::{SinkExt, StreamExt};
use sha2::{Digest, Sha256};
use support::{
    binary::{Binary, Manifest},
    browser::{Client, Event, PATIENCE},
    sshd::Sshd,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_websockets::{Message, WebSocketStream};

const MIB: u64 = 1024 * 1024;

/// What the gateway's process may have resident at any time. An unoptimised one needs about 25 MiB to run; a session may
/// hold a window of output and one of input (256 KiB each) and what is on its way through SSH and WebSocket. What
/// was passed on is some 40 times this bound.
const MEMORY: u64 = 40 * MIB;

/// Serves one terminal without echo or translation, in which `script` runs once it has said `ready`.
fn serve(script: &str) -> (Sshd, Binary) {
    let sshd = Sshd::start();
    let script = format!("stty raw -echo; printf ready; {script}");
    let binary = Binary::serve(&[Manifest::running("raw", &sshd, &script)]);
    (sshd, binary)
}

async fn ready(binary: &Binary) -> Client {
    let mut client = binary.endpoint("raw").open().await;
    client.connected().await;
    client.read_until("ready").await;
    client
}

/// The next `length` bytes of output.
async fn read(client: &mut Client, length: usize) -> Vec<u8> {
    let mut output = Vec::new();
    while output.len() < length {
        match client.next().await {
            Event::Output(bytes) => output.extend_from_slice(&bytes),
            Event::Ended(ended) => panic!("{ended:?} after {} of {length} bytes", output.len()),
            Event::Closed(close) => panic!("{close:?} after {} of {length} bytes", output.len()),
            _ => {}
        }
        client.acknowledge().await;
    }
    output
}

/// Bytes without a pattern, the same ones each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn hex(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The far side repeats a file, whose odd length shows the loss of any part.
#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_comes_down_whatever_the_reader_does() {
    const LENGTH: u64 = 1024 * MIB;
    let sshd = Sshd::start();
    let block = noise(4_000_037);
    let file = sshd.directory().join("noise");
    fs::write(&file, &block).unwrap();
    let script = format!("stty raw -echo; while cat {} 2>/dev/null; do :; done | head -c {LENGTH}", file.display());
    let binary = Binary::serve(&[Manifest::running("raw", &sshd, &script)]);
    let expected = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        let mut left = usize::try_from(LENGTH).unwrap();
        while left > 0 {
            let part = &block[..left.min(block.len())];
            hash.update(part);
            left -= part.len();
        }
        hex(hash.finalize())
    });

    let mut client = binary.endpoint("raw").open().await;
    let mut hash = Sha256::new();
    let ended = loop {
        match client.next().await {
            Event::Output(bytes) => {
                hash.update(&bytes);
                // The reader dawdles for a part of it, so that everything behind it has to wait.
                if (300 * MIB..308 * MIB).contains(&client.received) {
                    sleep(Duration::from_millis(5)).await;
                }
                client.acknowledge().await;
            }
            Event::Ended(ended) => break ended,
            Event::Closed(close) => panic!("{close:?} at {}", client.received),
            _ => {}
        }
    };
    assert_eq!((client.received, ended.status), (LENGTH, Some(0)));
    assert_eq!(hex(hash.finalize()), expected.await.unwrap());
    let peak = binary.peak_memory();
    assert!(peak < MEMORY, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_mebibytes_go_up_whatever_the_program_does() {
    const LENGTH: usize = 64 * 1024 * 1024;
    // The program reads nothing at first, and then a part slowly.
    let script = format!(
        "(sleep 1; for i in 1 2 3 4 5 6 7 8; do head -c 65536; sleep 0.1; done; head -c {}) | sha256sum",
        LENGTH - 8 * 65536
    );
    let (_sshd, binary) = serve(&script);
    let mut client = ready(&binary).await;
    let block = noise(1_000_003);
    let (mut hash, mut sent) = (Sha256::new(), 0);
    while sent < LENGTH {
        let window = usize::try_from(client.acknowledged + client.welcome.input_window).unwrap().min(LENGTH);
        let from = sent % block.len();
        let chunk = &block[from..block.len().min(from + 32_000).min(from + window - sent)];
        if chunk.is_empty() {
            client.next().await;
        } else {
            hash.update(chunk);
            client.input(chunk).await;
            sent += chunk.len();
        }
    }
    client.read_until(&hex(hash.finalize())).await;
    let peak = binary.peak_memory();
    assert!(peak < MEMORY, "{} MiB", peak / MIB);
}

/// All bytes that there are, each before and behind every other.
fn every_pair() -> Vec<u8> {
    (0..=255).flat_map(|a| (0..=255).flat_map(move |b| [a, b])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_passes_beside_every_other() {
    let (_sshd, binary) = serve("cat");
    let mut client = ready(&binary).await;
    let pairs = every_pair();
    for chunk in pairs.chunks(30_001) {
        client.input(chunk).await;
        assert!(read(&mut client, chunk.len()).await == chunk);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_passes_in_raw_mode() {
    let (_sshd, binary) = serve("cat");
    let mut socket = binary.endpoint("raw").connect(None).await.unwrap();
    let mut output = Vec::new();
    while output != b"ready" {
        output.extend_from_slice(next_frame(&mut socket).await.unwrap().as_payload());
    }
    let pairs = every_pair();
    output.clear();
    for chunk in pairs.chunks(30_001) {
        socket.send(Message::binary(chunk.to_vec())).await.unwrap();
    }
    // The beginning of a character that never ends would be waited for.
    socket.send(Message::binary(&b"."[..])).await.unwrap();
    while output.len() <= pairs.len() {
        output.extend_from_slice(next_frame(&mut socket).await.unwrap().as_payload());
    }
    assert!(output[..pairs.len()] == pairs);
}

async fn next_frame(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.expect("a frame").transpose().unwrap()?;
        if message.is_text() || message.is_binary() {
            return Some(message);
        }
    }
}

/// Characters of one to four bytes.
const TEXT: &str = "aé€😀ß漢🏴z";

#[tokio::test(flavor = "multi_thread")]
async fn characters_cut_anywhere_arrive_whole() {
    let (_sshd, binary) = serve("cat");
    let mut client = ready(&binary).await;
    for at in 1..TEXT.len() {
        let (head, tail) = TEXT.as_bytes().split_at(at);
        client.input(head).await;
        let mut echo = read(&mut client, head.len()).await;
        client.input(tail).await;
        echo.extend(read(&mut client, tail.len()).await);
        assert_eq!(String::from_utf8(echo).unwrap(), TEXT, "cut at {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn characters_cut_anywhere_are_whole_text_frames_in_raw_mode() {
    let (_sshd, binary) = serve("cat");
    let mut socket = binary.endpoint("raw").connect(None).await.unwrap();
    let mut ready = String::new();
    while ready != "ready" {
        ready.push_str(next_frame(&mut socket).await.unwrap().as_text().unwrap());
    }
    for at in 1..TEXT.len() {
        let (head, tail) = TEXT.as_bytes().split_at(at);
        socket.send(Message::binary(head.to_vec())).await.unwrap();
        let mut echo = String::new();
        // The part of a character at its end is held back, so nobody can wait for it.
        let whole = std::str::from_utf8(head).unwrap_or_else(|error| TEXT.get(..error.valid_up_to()).unwrap());
        while echo != whole {
            echo.push_str(next_frame(&mut socket).await.unwrap().as_text().expect("a text frame"));
        }
        socket.send(Message::binary(tail.to_vec())).await.unwrap();
        while echo != TEXT {
            echo.push_str(next_frame(&mut socket).await.unwrap().as_text().expect("a text frame"));
        }
    }
}
