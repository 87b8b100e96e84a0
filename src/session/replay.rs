//! The replay buffer: output that the client has not acknowledged yet, by position. Pure.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};

/// How much may be unacknowledged while a client is attached, in bytes: what a slow client still has to read after a
/// Ctrl-C, and enough for a quick one never to wait.
pub const WINDOW: usize = 256 * 1024;
/// The most in one message, in bytes: large enough that its cost is the copying, small enough that a browser parses it
/// between two frames of its display.
pub const MESSAGE: usize = 32 * 1024;
/// While so much is on its way, in bytes, only whole messages follow, and the last of the window: each costs a browser several wake-ups. A client that
/// acknowledges every 64 KiB, as the protocol asks, still has half of one to parse then, and its next ack sends the rest.
const BUSY: usize = 96 * 1024;
/// How much is held while nobody is attached, in bytes: a build goes on behind a closed lid. All sessions together have a
/// [budget](super::budget) for it.
pub const DETACHED_WINDOW: usize = 4 * 1024 * 1024;
/// More than this beyond a window cannot be in flight from an honest server (a re-key holds the transport open, and what
/// the SSH window allows still arrives), so it ends the session.
pub const OVERSHOOT: usize = 8 * 1024 * 1024;
/// A buffer this small is not worth giving back.
const KEEP: usize = 1024;
/// By how much a large buffer grows at once, in bytes: doubling would take twice the memory that is held.
const STEP: usize = WINDOW;
/// What a buffer may take up without a share of the budget, in bytes: a window, and another that was in flight when it was full.
pub const FREE: usize = 2 * WINDOW;

/// Unacknowledged output. Positions count from the session's first byte.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: VecDeque<u8>,
    /// The position of the first byte held: everything before it is acknowledged.
    start: u64,
    /// The position of the next byte to be sent to the client.
    sent: u64,
    paused: bool,
    /// Whether no more output will come.
    complete: bool,
}

impl Replay {
    /// Adds output.
    pub fn push(&mut self, output: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < output.len() {
            self.bytes.reserve_exact(output.len() + self.bytes.capacity().min(STEP));
        }
        self.bytes.extend(output);
    }

    /// No more output will come.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Moves what may be sent next behind `message`, [`Replay::sendable`] bytes, and says up to which position it goes.
    pub fn send(&mut self, message: &mut BytesMut) -> u64 {
        let length = self.sendable();
        let from = self.unacknowledged_sent();
        let (front, back) = self.bytes.as_slices();
        let in_front = front.get(from..).unwrap_or_default();
        let in_back = back.get(from.saturating_sub(front.len())..).unwrap_or_default();
        let first = in_front.len().min(length);
        message.put_slice(in_front.get(..first).unwrap_or_default());
        message.put_slice(in_back.get(..length - first).unwrap_or_default());
        self.sent += length as u64;
        self.sent
    }

    /// How much the next message has, in bytes: none when there is nothing, the client has to acknowledge first, or has
    /// enough to do until there is more.
    pub fn sendable(&self) -> usize {
        let sent = self.unacknowledged_sent();
        let length = self.bytes.len().min(WINDOW).saturating_sub(sent).min(MESSAGE);
        let whole = length == MESSAGE || self.bytes.len() >= WINDOW || self.complete;
        if sent < BUSY || whole { length } else { 0 }
    }

    /// Lets go of what lies before `position`, which lies within what was sent.
    pub fn acknowledge(&mut self, position: u64) {
        let length = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let length = length.min(self.unacknowledged_sent());
        self.bytes.drain(..length);
        self.start += length as u64;
        if self.bytes.capacity() > KEEP && self.bytes.capacity() / 4 > self.bytes.len() {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    /// Begins sending again from `position`, or from the oldest byte held where that is later. `None` where the position
    /// lies beyond what there is.
    pub fn rewind(&mut self, position: u64) -> Option<u64> {
        if position > self.end() {
            return None;
        }
        self.sent = position.max(self.start);
        self.acknowledge(self.sent);
        Some(self.sent)
    }

    /// Whether the transport is to be held back, given how much may be held; changes with hysteresis.
    pub fn paused(&mut self, window: usize) -> bool {
        let held = self.bytes.len();
        self.paused = if self.paused { held > window / 2 } else { held >= window };
        self.paused
    }

    /// How much memory is taken up beyond what every session may, in bytes.
    pub fn beyond_free(&self) -> usize {
        self.bytes.capacity().saturating_sub(FREE)
    }

    /// Whether a server sent more than flow control can explain.
    pub fn is_overrun(&self) -> bool {
        self.bytes.len() > DETACHED_WINDOW + OVERSHOOT
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Whether every byte was sent.
    pub fn is_sent(&self) -> bool {
        self.sent == self.end()
    }

    /// The position behind the last byte sent.
    pub fn position(&self) -> u64 {
        self.sent
    }

    /// How many of the bytes held were sent already.
    fn unacknowledged_sent(&self) -> usize {
        usize::try_from(self.sent - self.start).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(replay: &mut Replay) -> Vec<u8> {
        let mut message = BytesMut::new();
        replay.send(&mut message);
        message.to_vec()
    }

    /// Everything that may be sent now.
    fn take_all(replay: &mut Replay) -> Vec<u8> {
        let mut taken = Vec::new();
        while replay.sendable() > 0 {
            taken.extend(take(replay));
        }
        taken
    }

    #[test]
    fn a_client_that_acknowledges_nothing_gets_one_window() {
        let mut replay = Replay::default();
        replay.push(&vec![7; 2 * WINDOW]);
        assert_eq!(take_all(&mut replay).len(), WINDOW);
        replay.acknowledge(MESSAGE as u64);
        assert_eq!(take_all(&mut replay).len(), MESSAGE);
    }

    #[test]
    fn a_client_that_is_busy_gets_whole_messages_until_the_last() {
        let mut replay = Replay::default();
        replay.push(&vec![0; BUSY - 1]);
        take_all(&mut replay);
        replay.push(&[0]);
        assert_eq!(take(&mut replay).len(), 1, "it is not busy yet");
        replay.push(&vec![0; MESSAGE - 1]);
        assert_eq!(replay.sendable(), 0);
        replay.acknowledge(1);
        assert_eq!(take(&mut replay).len(), MESSAGE - 1, "it is not busy any more");
        replay.push(&vec![0; MESSAGE + 1]);
        assert_eq!(take_all(&mut replay).len(), MESSAGE);
        replay.complete();
        assert_eq!(take_all(&mut replay).len(), 1);
        assert!(replay.is_sent());
    }

    #[test]
    fn the_transport_pauses_at_the_high_mark_and_goes_on_at_the_low_one() {
        let mut replay = Replay::default();
        replay.push(&vec![0; WINDOW - 1]);
        assert!(!replay.paused(WINDOW));
        replay.push(&[0]);
        assert!(replay.paused(WINDOW));
        take_all(&mut replay);
        replay.acknowledge(WINDOW as u64 / 2 - 1);
        assert!(replay.paused(WINDOW), "above the low mark");
        replay.acknowledge(WINDOW as u64 / 2);
        assert!(!replay.paused(WINDOW));
    }

    #[test]
    fn more_is_held_while_nobody_is_attached() {
        let mut replay = Replay::default();
        replay.push(&vec![0; DETACHED_WINDOW - 1]);
        assert!(!replay.paused(DETACHED_WINDOW));
        replay.push(&[0]);
        assert!(replay.paused(DETACHED_WINDOW));
    }

    #[test]
    fn memory_grows_with_what_is_held() {
        let mut replay = Replay::default();
        while replay.bytes.len() < DETACHED_WINDOW {
            replay.push(&[0; 32_000]);
            let (held, capacity) = (replay.bytes.len(), replay.bytes.capacity());
            assert!(capacity <= (2 * held).min(held + STEP), "{capacity} bytes for {held}");
        }
        assert!(replay.beyond_free() >= DETACHED_WINDOW - FREE);
    }

    #[test]
    fn memory_is_given_back() {
        let mut replay = Replay::default();
        for _ in 0..16 {
            replay.push(&vec![0; WINDOW / 4]);
            take_all(&mut replay);
            replay.acknowledge(replay.position());
        }
        assert!(replay.bytes.capacity() <= KEEP, "{} bytes kept", replay.bytes.capacity());
    }

    #[test]
    fn a_position_from_the_future_is_refused() {
        let mut replay = Replay::default();
        replay.push(b"abc");
        assert_eq!(replay.rewind(4), None);
        assert_eq!(replay.rewind(3), Some(3));
    }

    proptest! {
        /// However output, sending, acknowledgements and resumes interleave, a client that keeps what it received sees the
        /// stream exactly once.
        #[test]
        fn every_byte_arrives_once_and_in_order(steps in proptest::collection::vec((0u8..4, 0usize..50_000), 1..100)) {
            let mut replay = Replay::default();
            let (mut pushed, mut received, mut acked) = (Vec::new(), Vec::new(), 0usize);
            for (step, amount) in steps {
                match step {
                    0 => {
                        let output: Vec<u8> = (0..amount).map(|i| (pushed.len() + i).wrapping_mul(31) as u8).collect();
                        replay.push(&output);
                        pushed.extend(output);
                    }
                    1 => received.extend(take(&mut replay)),
                    2 => {
                        acked = (acked + amount).min(received.len());
                        replay.acknowledge(acked as u64);
                    }
                    // The connection breaks: what was on its way is lost, back to somewhere after the last ack.
                    _ => {
                        let kept = acked + amount.min(received.len() - acked);
                        received.truncate(kept);
                        prop_assert_eq!(replay.rewind(kept as u64), Some(kept as u64));
                        acked = kept;
                    }
                }
                prop_assert_eq!(&received[..], &pushed[..received.len()]);
            }
            while acked < pushed.len() {
                received.extend(take_all(&mut replay));
                prop_assert!(received.len() > acked, "a client that acknowledges everything gets more");
                acked = received.len();
                replay.acknowledge(acked as u64);
            }
            prop_assert_eq!(received, pushed);
        }
    }
}
