//! How a gateway is told to stop: gently first, at once by a second signal.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Asks a gateway to stop. Clones ask the same gateway.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Cancelled when no new terminals are to be opened and the living may come to their end.
    pub drain: CancellationToken,
    /// Cancelled when the living terminals are to be ended.
    pub now: CancellationToken,
    /// How long terminals may live on while draining.
    pub limit: Duration,
}

/// The signals by which a process is asked to end.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// The system does not tell of signals.
#[derive(Debug, thiserror::Error)]
#[error("signals cannot be received: {0}")]
pub struct SignalsError(#[from] io::Error);

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new(limit: Duration) -> Self {
        Self { drain: CancellationToken::new(), now: CancellationToken::new(), limit }
    }
}

impl Signals {
    /// From now on SIGINT and SIGTERM no longer end the process by themselves. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub fn new() -> Result<Self, SignalsError> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Turns the first signal into a gentle stop and the second into one at once.
    pub async fn forward(mut self, shutdown: Shutdown) {
        self.next().await;
        shutdown.drain.cancel();
        self.next().await;
        shutdown.now.cancel();
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
