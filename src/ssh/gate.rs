//! A transport whose reading can be stopped while writing goes on.
//!
//! russh has no way to stop one channel's output without stopping its whole loop, keystrokes included. So its reading is
//! held back a level below, at the socket: the peer then fills its window and the kernel's buffers, and waits.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How much of what a server says first is kept: russh reads at most 20 lines of 255 bytes before it gives up.
const GREETING_LIMIT: usize = 20 * 255;

/// Stops and resumes the reading of a connection; clones act on the same one.
///
/// Closed from within the output closure it takes effect at once, from elsewhere after the next packet of output: a stop
/// between the packets of a key exchange would stop input as well. While we renew the keys ourselves the gate is held
/// open, so that up to a window (256 KiB) may still arrive after it was closed.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Reading is to stop after the next packet of output.
    closed: bool,
    /// Reading has stopped.
    stopped: bool,
    /// How many [`Hold`]s there are; any of them overrules `stopped`.
    holds: usize,
    /// Reading and writing fail from now on.
    severed: bool,
    /// Whether everything that had arrived was read, at least once since reading last stopped.
    drained: bool,
    /// For how long an open connection may bring nothing; `None` for ever.
    max_silence: Option<Duration>,
    /// What the server said first, while that is of interest.
    greeting: Option<Vec<u8>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Keeps a [`Gate`] open while it lives.
#[derive(Debug)]
pub(super) struct Hold(Gate);

/// What a server said before anything else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Nothing at all.
    Nothing,
    /// An identification of SSH 2 (RFC 4253, 4.2).
    Ssh,
    /// Something else; its first line.
    Other(Vec<u8>),
}

/// A stream that is read only while its [`Gate`] is open.
#[derive(Debug)]
pub(super) struct GatedStream<S> {
    inner: S,
    gate: Gate,
    /// When waiting for the next byte began.
    waiting_since: Option<Instant>,
    /// Fires at the end of a silence, or earlier; set anew only then, so that reading costs no timer.
    alarm: Option<Pin<Box<Sleep>>>,
}

// === impl Gate ===

impl Gate {
    /// Makes an open gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the reading.
    pub fn close(&self) {
        self.0.lock().closed = true;
    }

    /// Resumes the reading.
    pub fn open(&self) {
        self.wake_reader(|state| {
            state.closed = false;
            state.stopped = false;
        });
    }

    /// Stops the reading now if the gate is closed: a packet of output has been handed on, so no key exchange is under way
    /// that the server began.
    pub(super) fn output_passed(&self) {
        let mut state = self.0.lock();
        if state.closed {
            state.stopped = true;
            state.drained = false;
        }
    }

    /// Resumes the reading until the hold is dropped, whether it has stopped or not.
    pub(super) fn hold_open(&self) -> Hold {
        self.wake_reader(|state| state.holds += 1);
        Hold(self.clone())
    }

    /// Makes reading and writing fail at once, also what is waiting.
    pub(super) fn sever(&self) {
        let writer = {
            let mut state = self.0.lock();
            state.severed = true;
            state.writer.take()
        };
        self.wake_reader(|_| ());
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Whether no backlog from the time the gate was closed is left.
    pub(super) fn is_drained(&self) -> bool {
        self.0.lock().drained
    }

    /// From now on, a read fails with [`io::ErrorKind::TimedOut`] when nothing has come for so long while open.
    pub(super) fn limit_silence(&self, limit: Duration) {
        self.wake_reader(|state| state.max_silence = Some(limit));
    }

    /// Begins to keep what the server says first.
    pub(super) fn listen_for_greeting(&self) {
        self.0.lock().greeting = Some(Vec::new());
    }

    /// What the server said first; nothing more is kept.
    pub(super) fn take_greeting(&self) -> Greeting {
        Greeting::of(&self.0.lock().greeting.take().unwrap_or_default())
    }

    /// Changes the state and lets the reader look at it.
    fn wake_reader(&self, change: impl FnOnce(&mut State)) {
        let reader = {
            let mut state = self.0.lock();
            change(&mut state);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

// === impl Hold ===

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.lock().holds -= 1;
    }
}

// === impl Greeting ===

impl Greeting {
    fn of(bytes: &[u8]) -> Self {
        let lines = || bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        if lines().any(|line| line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-")) {
            return Self::Ssh;
        }
        lines().find(|line| !line.is_empty()).map_or(Self::Nothing, |line| Self::Other(line.to_vec()))
    }
}

// === impl GatedStream ===

impl<S> GatedStream<S> {
    /// Puts a stream behind a gate.
    pub(super) fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate, waiting_since: None, alarm: None }
    }

    /// Waits for the end of a silence that lasts for longer than `limit`.
    fn poll_silence(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let end = *self.waiting_since.get_or_insert_with(Instant::now) + limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() >= end {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let max_silence = {
            let mut state = this.gate.0.lock();
            if state.severed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            // Kept also for when the stream below has nothing: severing has to wake it.
            store(&mut state.reader, cx);
            if state.stopped && state.holds == 0 {
                this.waiting_since = None;
                return Poll::Pending;
            }
            state.max_silence
        };
        let filled = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.waiting_since = None;
                if let Some(greeting) = &mut this.gate.0.lock().greeting {
                    let room = GREETING_LIMIT.saturating_sub(greeting.len());
                    greeting.extend(buf.filled().iter().skip(filled).take(room));
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                this.gate.0.lock().drained = true;
                let Some(limit) = max_silence else { return Poll::Pending };
                ready!(this.poll_silence(cx, limit));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        {
            let mut state = this.gate.0.lock();
            if state.severed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            store(&mut state.writer, cx);
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    /// Never fails: russh keeps the reason of an end to itself when the shutdown after it fails, as it does on a
    /// connection that was reset.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx).map(|_| Ok(()))
    }
}

/// Keeps the task's waker, cloning it only when it is another one.
fn store(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests;
