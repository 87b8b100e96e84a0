//! The browser's side of a session: one connection at a time.

use std::sync::Arc;

use bytes::BytesMut;
use secrecy::SecretString;
use tokio::{sync::Notify, time::Instant};

use super::{Attached, Session};
use crate::{
    protocol::{
        Reason,
        v1::{Answer, Ended, Notice, NoticeKind, Prompt, Size, State as Progress},
    },
    telemetry::metrics::{Direction, SessionState},
};

/// A connection's hold on its session. Dropped, it leaves the session detached.
#[derive(Debug)]
pub struct Attachment {
    session: Arc<Session>,
    number: u64,
    wake: Arc<Notify>,
}

/// Begins a message with room for so many bytes of output.
pub type Begin = fn(usize) -> BytesMut;

/// What a connection still has to be sent: a cursor over its session.
#[derive(Debug)]
pub struct Feed<'a> {
    attachment: &'a Attachment,
    begin: Begin,
    progress_version: u64,
    notice: u64,
    prompt: u64,
    acknowledged: u64,
}

/// The next thing to send.
#[derive(Debug)]
pub enum Delivery {
    /// What is happening.
    Progress(Progress),
    /// Something to know.
    Notice(Notice),
    /// Questions for the user.
    Prompt(Prompt),
    /// The input position the shell has reached.
    Ack(u64),
    /// A message with output behind what [`Begin`] put there.
    Output {
        /// The message.
        message: BytesMut,
        /// The position behind its last byte.
        position: u64,
    },
    /// The end; nothing comes after it.
    Ended(Ended),
    /// Another connection took the session over.
    TakenOver,
}

// === impl Attachment ===

impl Attachment {
    /// Attaches to `session`, sending from `received` on, and displaces whoever was attached. Says from which output
    /// position it goes on and up to which input has arrived; `None` where `received` lies beyond the output.
    pub(super) fn attach(session: &Arc<Session>, received: u64, size: Size) -> Option<(Self, u64, u64)> {
        let wake = Arc::new(Notify::new());
        let mut state = session.state.lock();
        let output = state.replay.rewind(received)?;
        let input = state.input.received();
        state.attachments += 1;
        let number = state.attachments;
        if let Some(before) = state.attached.replace(Attached { number, wake: Arc::clone(&wake) }) {
            before.wake.notify_one();
        }
        state.detached = None;
        if matches!(state.progress, Progress::Connected) {
            state.counted.set(SessionState::Attached);
        }
        state.regulate(&session.gate, &session.metrics);
        drop(state);
        session.rescheduled.notify_one();
        // An earlier connection may be waiting for room that it may no longer use.
        session.input_room.notify_waiters();
        let attachment = Attachment { session: Arc::clone(session), number, wake };
        attachment.resize(size);
        Some((attachment, output, input))
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// What is to be sent, beginning with what an earlier connection may have missed.
    pub fn feed(&self, begin: Begin) -> Feed<'_> {
        Feed { attachment: self, begin, progress_version: 0, notice: 0, prompt: 0, acknowledged: 0 }
    }

    /// Passes input on, waiting for room where there is none. Nothing is passed on once the session was taken over.
    pub async fn input(&self, mut input: &[u8]) {
        while !input.is_empty() {
            let room = self.session.input_room.notified();
            {
                let mut state = self.session.state.lock();
                if state.attached.as_ref().is_none_or(|attached| attached.number != self.number) {
                    return;
                }
                let now = Instant::now();
                state.last_input = now;
                state.unanswered.get_or_insert(now);
                state.warn(NoticeKind::Idle, None, now);
                let (fits, rest) = input.split_at(state.input.room().min(input.len()));
                state.input.push(fits);
                self.session.metrics.passed(Direction::Input, fits.len());
                input = rest;
            }
            self.session.input_ready.notify_one();
            if !input.is_empty() {
                room.await;
            }
        }
    }

    /// Lets go of output up to `position`.
    pub fn acknowledge(&self, position: u64) {
        let mut state = self.session.state.lock();
        if state.attached.as_ref().is_some_and(|attached| attached.number == self.number) {
            state.replay.acknowledge(position);
            state.regulate(&self.session.gate, &self.session.metrics);
            if state.replay.sendable() > 0 {
                state.wake();
            }
        }
    }

    /// Changes the window; the latest size wins.
    pub fn resize(&self, size: Size) {
        let mut state = self.session.state.lock();
        if state.size != size {
            state.size = size;
            self.session.resized.notify_one();
        }
    }

    /// Answers the open prompt, or cancels it.
    pub fn answer(&self, answer: Answer) {
        let open = {
            let mut state = self.session.state.lock();
            state.prompt.take_if(|open| open.prompt.id == answer.id)
        };
        if let Some((open, answers)) = open.zip(answer.answers) {
            // The authentication may have been given up in the meantime.
            let _ = open.reply.send(answers.into_iter().map(SecretString::from).collect());
        }
    }

    /// Ends the session because its user wants that.
    pub fn end(&self) {
        self.session.end(Ended::new(Reason::Exit, "You ended the session."));
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        if state.attached.take_if(|attached| attached.number == self.number).is_some() {
            state.detached = Some(Instant::now());
            if matches!(state.progress, Progress::Connected) {
                state.counted.set(SessionState::Detached);
            }
            state.regulate(&self.session.gate, &self.session.metrics);
            drop(state);
            self.session.rescheduled.notify_one();
        }
    }
}

// === impl Feed ===

impl Feed<'_> {
    /// The next thing to send, if there is any now.
    pub fn take(&mut self) -> Option<Delivery> {
        let mut state = self.attachment.session.state.lock();
        if state.attached.as_ref().is_none_or(|attached| attached.number != self.attachment.number) {
            return Some(Delivery::TakenOver);
        }
        if self.progress_version < state.progress_version {
            self.progress_version = state.progress_version;
            return Some(Delivery::Progress(state.progress));
        }
        if let Some(posted) = state.notices.iter().find(|posted| posted.number > self.notice) {
            self.notice = posted.number;
            return Some(Delivery::Notice(posted.notice.clone()));
        }
        if let Some(open) = state.prompt.as_ref().filter(|open| open.prompt.id > self.prompt) {
            self.prompt = open.prompt.id;
            return Some(Delivery::Prompt(open.prompt.clone()));
        }
        if self.acknowledged < state.input.consumed() {
            self.acknowledged = state.input.consumed();
            return Some(Delivery::Ack(self.acknowledged));
        }
        let sendable = state.replay.sendable();
        if sendable > 0 {
            let mut message = (self.begin)(sendable);
            let position = state.replay.send(&mut message);
            self.attachment.session.metrics.passed(Direction::Output, sendable);
            return Some(Delivery::Output { message, position });
        }
        state.ended.clone().filter(|_| state.replay.is_sent()).map(Delivery::Ended)
    }

    /// Waits until there may be something to send.
    pub async fn ready(&self) {
        self.attachment.wake.notified().await;
    }
}
