//! Input on its way to the shell: bounded, by position. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

/// How much input may wait for the shell, in bytes: a v1 client is told it as its window, a raw client is simply not read
/// any further.
pub const WINDOW: usize = 256 * 1024;
/// The most that is handed to the shell at once, in bytes: one SSH packet.
const CHUNK: usize = 32 * 1024;

/// Input that has arrived and is not yet with the shell. Positions count from the session's first byte.
#[derive(Debug, Default)]
pub struct Input {
    bytes: VecDeque<u8>,
    /// How much the shell has taken: what the client is told.
    consumed: u64,
    /// How much is with the shell's writer right now.
    taken: usize,
}

impl Input {
    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        WINDOW.saturating_sub(self.bytes.len() + self.taken)
    }

    /// Adds input, for which there is room.
    pub fn push(&mut self, input: &[u8]) {
        self.bytes.extend(input);
    }

    /// Takes what the shell is to be given next; `None` when there is nothing.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.bytes.is_empty() {
            return None;
        }
        let chunk: Bytes = self.bytes.drain(..self.bytes.len().min(CHUNK)).collect();
        self.taken += chunk.len();
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        Some(chunk)
    }

    /// Notes that the shell has what was taken.
    pub fn consume(&mut self) {
        self.consumed += std::mem::take(&mut self.taken) as u64;
    }

    /// The position up to which the shell has the input.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The position up to which input has arrived.
    pub fn received(&self) -> u64 {
        self.consumed + (self.taken + self.bytes.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_shell_gets_what_was_typed(pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40_000), any::<bool>()), 0..20)) {
            let mut input = Input::default();
            let (mut typed, mut shell) = (Vec::new(), Vec::new());
            for (piece, reads) in pieces {
                let piece = &piece[..piece.len().min(input.room())];
                input.push(piece);
                typed.extend_from_slice(piece);
                prop_assert!(input.received() - input.consumed() <= WINDOW as u64);
                if reads && let Some(chunk) = input.take() {
                    prop_assert!(chunk.len() <= CHUNK);
                    shell.extend_from_slice(&chunk);
                    prop_assert_eq!(input.received(), typed.len() as u64);
                    input.consume();
                    prop_assert_eq!(input.consumed(), shell.len() as u64);
                }
            }
            while let Some(chunk) = input.take() {
                shell.extend_from_slice(&chunk);
                input.consume();
            }
            prop_assert_eq!(typed, shell);
        }
    }
}
