//! Whether a connection's other end is still there, judged by what is heard of it, never by acknowledgements.

use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_websockets::{Error, Message};

use super::Stream;

/// Between our pings: well below the common 60 s idle limit of proxies.
const PING: Duration = Duration::from_secs(20);
/// A connection that is silent for this long, three pings, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How many pings a client may send before it is known to have read an answer of ours: each is queued an answer, and for a
/// client that does not read the queue would grow.
pub(super) const MAX_PINGS: u32 = 1000;

/// When something was last heard, or could be written.
#[derive(Debug)]
pub(super) struct Liveness {
    last: Mutex<Instant>,
    /// How many pings have come since the client was last known to read.
    pings: Mutex<u32>,
    /// What our last ping carried: only who has read it can send it back.
    sent: Mutex<[u8; 8]>,
    /// Whether the client sent a message beyond the cap.
    too_large: Mutex<bool>,
}

impl Liveness {
    pub(super) fn new() -> Self {
        Liveness {
            last: Mutex::new(Instant::now()),
            pings: Mutex::new(0),
            sent: Mutex::default(),
            too_large: Mutex::default(),
        }
    }

    /// Whether the connection is at its end because a message was beyond the cap.
    pub(super) fn is_too_large(&self) -> bool {
        *self.too_large.lock()
    }

    /// Notes a sign of life.
    pub(super) fn seen(&self) {
        *self.last.lock() = Instant::now();
    }

    /// When to ping.
    pub(super) fn pings() -> Interval {
        let mut interval = tokio::time::interval_at(Instant::now() + PING, PING);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    /// The ping to send now.
    pub(super) fn ping(&self) -> Message {
        // Without random numbers it is a ping all the same.
        let payload = getrandom::u64().unwrap_or_default().to_be_bytes();
        *self.sent.lock() = payload;
        Message::ping(payload.to_vec())
    }

    /// The next message with content; `None` when the connection is closed, broken or silent for too long.
    pub(super) async fn next<S>(&self, stream: &mut Stream<S>) -> Option<Message>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Time spent elsewhere, waiting for the shell to take input, is not the client's silence.
        self.seen();
        let silence = tokio::time::sleep(SILENCE);
        tokio::pin!(silence);
        loop {
            tokio::select! {
                biased;
                message = stream.next() => {
                    let message = message?.inspect_err(|error| {
                        *self.too_large.lock() = matches!(error, Error::PayloadTooLong { .. });
                    });
                    let message = message.ok()?;
                    self.seen();
                    if message.is_ping() {
                        let mut pings = self.pings.lock();
                        *pings += 1;
                        if *pings > MAX_PINGS {
                            return None;
                        }
                    } else if message.is_pong() {
                        if **message.as_payload() == *self.sent.lock() {
                            *self.pings.lock() = 0;
                        }
                    } else if message.is_close() {
                        return None;
                    } else {
                        return Some(message);
                    }
                }
                () = &mut silence => {
                    let last = *self.last.lock();
                    if last.elapsed() >= SILENCE {
                        return None;
                    }
                    silence.as_mut().reset(last + SILENCE);
                }
            }
        }
    }
}
