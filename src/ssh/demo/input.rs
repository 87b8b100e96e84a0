//! What a client has sent and its program has not yet taken: a bounded queue of bytes.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The SSH window granted to a client, in bytes: what may be on its way.
pub(super) const WINDOW: u32 = 256 << 10;

/// From this many bytes on the client gets no further window, until the program has taken some.
pub(super) const HIGH_MARK: usize = 256 << 10;

/// The most a chunk has, so that the queue's length tells what really waits.
const CHUNK: usize = 32 << 10;

/// A queue of bytes with one taker.
#[derive(Debug, Default)]
pub(super) struct InputQueue {
    state: Mutex<State>,
    added: Notify,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    ended: bool,
}

impl InputQueue {
    /// Adds bytes; returns how many wait now.
    pub(super) fn push(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        state.bytes.extend_from_slice(bytes);
        self.added.notify_one();
        state.bytes.len()
    }

    /// Says that nothing will be added any more.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.added.notify_one();
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.state.lock().bytes.len()
    }

    /// Takes the next bytes, when there are any; `None` at the end.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state.lock();
                let length = state.bytes.len().min(CHUNK);
                if length > 0 {
                    self.taken.notify_one();
                    return Some(state.bytes.split_to(length).freeze());
                }
                if state.ended {
                    return None;
                }
            }
            self.added.notified().await;
        }
    }

    /// Waits until bytes have been taken.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }
}
