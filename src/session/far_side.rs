//! The shell's side of a session: what a driver tells it and takes from it.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{OpenPrompt, Session};
use crate::{
    protocol::{
        Reason,
        v1::{Ended, Prompt, PromptLine, Size, State as Progress, Step},
    },
    ssh,
    telemetry::{audit, metrics::SessionState},
};

impl Session {
    /// Holds the shell's output back; its driver must heed it.
    pub fn gate(&self) -> &ssh::Gate {
        &self.gate
    }

    /// Takes output of the shell.
    pub fn output(&self, output: &[u8]) {
        let mut state = self.state.lock();
        state.replay.push(output);
        if let Some(since) = state.unanswered.take() {
            self.metrics.echoed_in(since.elapsed());
        }
        state.regulate(&self.gate, &self.metrics);
        let overrun = state.replay.is_overrun();
        if state.replay.sendable() > 0 {
            state.wake();
        }
        drop(state);
        if overrun {
            self.end(Ended::new(Reason::Protocol, "The server sent more than SSH's flow control allows."));
        }
    }

    /// The next input for the shell. Call [`Session::input_written`] once it was passed on.
    pub async fn next_input(&self) -> Bytes {
        loop {
            if let Some(chunk) = self.state.lock().input.take() {
                return chunk;
            }
            self.input_ready.notified().await;
        }
    }

    /// Notes that the input last taken is with the shell.
    pub fn input_written(&self) {
        let mut state = self.state.lock();
        state.input.consume();
        state.wake();
        drop(state);
        self.input_room.notify_waiters();
    }

    /// The terminal's size now.
    pub fn size(&self) -> Size {
        self.state.lock().size
    }

    /// Waits until the size may have changed.
    pub async fn resized(&self) {
        self.resized.notified().await;
    }

    /// Tells how far the way to the shell has been gone.
    pub fn step(&self, step: Step) {
        self.progress(Progress::Connecting { step });
    }

    /// Notes which address was connected to.
    pub fn reached(&self, address: SocketAddr) {
        self.state.lock().address = Some(address);
    }

    /// Tells that the shell runs.
    pub fn connected(&self) {
        audit::connected(self.subject(), &self.id, false);
        self.metrics.connected_in(self.began.elapsed());
        self.progress(Progress::Connected);
        let mut state = self.state.lock();
        let attached = state.attached.is_some();
        state.counted.set(if attached { SessionState::Attached } else { SessionState::Detached });
    }

    /// Asks the user in the name of `asker`; a later question replaces an earlier one.
    pub fn ask(
        &self,
        asker: String,
        name: String,
        instruction: String,
        prompts: Vec<PromptLine>,
        reply: oneshot::Sender<Vec<secrecy::SecretString>>,
    ) {
        let mut state = self.state.lock();
        state.prompts_asked += 1;
        let prompt = Prompt { id: state.prompts_asked, asker, name, instruction, prompts };
        state.prompt = Some(OpenPrompt { prompt, reply });
        state.wake();
    }

    /// Waits until somebody wants the session to end.
    pub async fn ending(&self) {
        self.ending.cancelled().await;
    }

    fn progress(&self, progress: Progress) {
        let mut state = self.state.lock();
        state.progress = progress;
        state.progress_version += 1;
        state.prompt = None;
        state.wake();
    }
}
