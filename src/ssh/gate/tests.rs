//! The gate by itself, on a pipe in memory.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    task::Wake,
};

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{advance, timeout},
};

use super::*;

fn gated() -> (GatedStream<DuplexStream>, Gate, DuplexStream) {
    let (near, far) = duplex(1024);
    let gate = Gate::new();
    (GatedStream::new(near, gate.clone()), gate, far)
}

/// Closes a gate as an output closure does.
fn close(gate: &Gate) {
    gate.close();
    gate.output_passed();
}

#[tokio::test]
async fn closed_from_elsewhere_it_stops_after_the_next_output() {
    let (mut stream, gate, mut far) = gated();
    far.write_all(b"123").await.unwrap();
    gate.output_passed();
    gate.close();
    assert_eq!(stream.read_u8().await.unwrap(), b'1');
    assert_eq!(stream.read_u8().await.unwrap(), b'2');
    gate.output_passed();
    assert!(timeout(Duration::ZERO, stream.read_u8()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn closed_it_holds_back_what_comes_and_passes_what_goes() {
    let (mut stream, gate, mut far) = gated();
    let mut buffer = [0; 8];
    close(&gate);
    far.write_all(b"output").await.unwrap();
    assert!(timeout(Duration::from_secs(3600), stream.read(&mut buffer)).await.is_err());
    stream.write_all(b"\x03").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 3);
    gate.open();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_hold_overrules_it_as_long_as_it_lives() {
    let (mut stream, gate, mut far) = gated();
    far.write_all(b"12").await.unwrap();
    let hold = gate.hold_open();
    close(&gate);
    assert_eq!(stream.read_u8().await.unwrap(), b'1');
    drop(hold);
    assert!(timeout(Duration::from_secs(1), stream.read_u8()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_error_only_while_open() {
    let (mut stream, gate, mut far) = gated();
    let start = Instant::now();
    gate.limit_silence(Duration::from_secs(45));
    close(&gate);
    assert!(timeout(Duration::from_secs(3600), stream.read_u8()).await.is_err());
    gate.open();
    assert!(timeout(Duration::from_secs(40), stream.read_u8()).await.is_err());
    far.write_all(b"!").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    // Time that passed while nobody read does not count.
    advance(Duration::from_secs(3600)).await;
    let reading = Instant::now();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(reading.elapsed().as_secs(), 45);
    assert!(start.elapsed() > Duration::from_secs(7200));
}

#[tokio::test]
async fn severing_ends_what_waits() {
    let (stream, gate, _far) = gated();
    let (mut reader, mut writer) = tokio::io::split(stream);
    close(&gate);
    let writing = async {
        // More than the pipe holds.
        let error = writer.write_all(&[0; 4096]).await.unwrap_err();
        // russh shuts the stream down whatever has happened.
        writer.shutdown().await.unwrap();
        error
    };
    let severing = async {
        tokio::task::yield_now().await;
        gate.sever();
    };
    let (read, written, ()) = tokio::join!(reader.read_u8(), writing, severing);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(written.kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn it_knows_when_a_backlog_is_read() {
    let (mut stream, gate, mut far) = gated();
    close(&gate);
    far.write_all(b"12").await.unwrap();
    gate.open();
    assert_eq!(stream.read_u8().await.unwrap(), b'1');
    assert!(!gate.is_drained());
    assert_eq!(stream.read_u8().await.unwrap(), b'2');
    assert!(timeout(Duration::ZERO, stream.read_u8()).await.is_err());
    assert!(gate.is_drained());
    close(&gate);
    assert!(!gate.is_drained());
}

#[tokio::test]
async fn it_listens_to_the_first_words() {
    for (said, greeting) in [
        ("", Greeting::Nothing),
        ("\r\n\r\n", Greeting::Nothing),
        ("SSH-2.0-OpenSSH_9.2\r\n", Greeting::Ssh),
        ("Welcome\r\nto SSH-2.0-\r\nSSH-1.99-x\n", Greeting::Ssh),
        ("SSH-1.5-old\r\n", Greeting::Other(b"SSH-1.5-old".to_vec())),
        ("HTTP/1.1 400 Bad Request\r\nServer: x\r\n", Greeting::Other(b"HTTP/1.1 400 Bad Request".to_vec())),
    ] {
        let (mut stream, gate, mut far) = gated();
        gate.listen_for_greeting();
        far.write_all(said.as_bytes()).await.unwrap();
        drop(far);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, said.as_bytes());
        assert_eq!(gate.take_greeting(), greeting, "{said:?}");
    }
}

/// What may happen to a gate and the stream behind it.
#[derive(Clone, Debug)]
enum Move {
    Arrive,
    Close,
    Open,
    Hold,
    Release,
    Read,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

proptest! {
    #[test]
    fn no_wake_up_is_lost(moves in prop::collection::vec(prop::sample::select(vec![
        Move::Arrive, Move::Close, Move::Open, Move::Hold, Move::Release, Move::Read, Move::Read,
    ]), 0..200)) {
        let (mut stream, gate, mut far) = gated();
        let woken = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let (mut available, mut closed, mut holds, mut waiting) = (0, false, Vec::new(), false);
        for step in moves {
            match step {
                Move::Arrive if available < 1000 => {
                    let wrote = Pin::new(&mut far).poll_write(&mut Context::from_waker(Waker::noop()), b"x");
                    prop_assert!(matches!(wrote, Poll::Ready(Ok(1))));
                    available += 1;
                }
                Move::Arrive => {}
                Move::Close => {
                    close(&gate);
                    closed = true;
                }
                Move::Open => { gate.open(); closed = false; }
                Move::Hold => holds.push(gate.hold_open()),
                Move::Release => drop(holds.pop()),
                Move::Read => {
                    woken.0.store(false, SeqCst);
                    let mut byte = [0];
                    let mut buffer = ReadBuf::new(&mut byte);
                    let readable = available > 0 && (!closed || !holds.is_empty());
                    let read = Pin::new(&mut stream).poll_read(&mut cx, &mut buffer);
                    prop_assert_eq!(read.is_ready(), readable);
                    available -= usize::from(readable);
                    waiting = !readable;
                }
            }
            let readable = available > 0 && (!closed || !holds.is_empty());
            prop_assert!(!(waiting && readable) || woken.0.load(SeqCst), "asleep though readable");
        }
    }
}
