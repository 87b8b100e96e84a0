//! One terminal: what its browser, its shell and its clock share.
//!
//! A [`Session`] outlives the connection that began it. The browser's side of it is an [`Attachment`], the shell's side the
//! methods in `far_side`, driven by [`shell::drive`]; [`Registry`] knows all sessions and ends them. The pure parts
//! ([`replay`], [`input`], [`tokens`], [`deadlines`]) know neither locks nor time.

mod attachment;
pub mod budget;
pub mod deadlines;
mod far_side;
pub mod input;
mod logins;
mod registry;
pub mod replay;
pub mod shell;
pub mod tokens;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub use attachment::{Attachment, Begin, Delivery, Feed};
pub use registry::{Caps, NewSession, OpenError, Registry, ResumeError};

use crate::{
    api::SessionLimits,
    catalog::ShellKey,
    protocol::{
        Reason,
        v1::{Ended, Notice, NoticeKind, Prompt, Size, State as Progress, Step},
    },
    ssh,
    telemetry::{
        audit,
        metrics::{CountedSession, SessionMetrics, SessionState},
    },
    user::User,
};
use budget::Share;
use deadlines::Marks;
use input::Input;
use replay::Replay;

/// One terminal. It is shared by its attachment, its shell's driver and the registry; all that changes is under one lock,
/// never held across an await.
#[derive(Debug)]
pub struct Session {
    /// Names it in logs.
    pub id: String,
    /// The shell it opened.
    pub shell: ShellKey,
    /// Whose it is.
    pub user: Arc<User>,
    /// The address of the client that began it.
    pub client: IpAddr,
    began: Instant,
    metrics: SessionMetrics,
    /// Holds the SSH transport back while too much output is unacknowledged.
    gate: ssh::Gate,
    state: Mutex<State>,
    /// There is input for the shell.
    input_ready: Notify,
    /// The window changed.
    resized: Notify,
    /// There may be room for input.
    input_room: Notify,
    /// Something that the clock goes by changed.
    rescheduled: Notify,
    /// The session is to end.
    ending: CancellationToken,
    /// The client has seen the end.
    dismissed: CancellationToken,
}

/// What changes.
#[derive(Debug)]
struct State {
    replay: Replay,
    input: Input,
    size: Size,
    limits: SessionLimits,
    /// Where it is connected to.
    address: Option<SocketAddr>,
    progress: Progress,
    /// Counts the changes of `progress`.
    progress_version: u64,
    notices: Vec<Posted>,
    notices_posted: u64,
    prompt: Option<OpenPrompt>,
    prompts_asked: u64,
    /// Why it is to end, once that is known.
    verdict: Option<Ended>,
    /// Why it ended, once its shell is gone.
    ended: Option<Ended>,
    attached: Option<Attached>,
    attachments: u64,
    last_input: Instant,
    /// Since when nobody is attached.
    detached: Option<Instant>,
    /// When the oldest input without output after it came.
    unanswered: Option<Instant>,
    paused: bool,
    /// Of the memory for what is held beyond the window.
    share: Share,
    counted: CountedSession,
}

/// The connection that is attached.
#[derive(Debug)]
struct Attached {
    number: u64,
    wake: Arc<Notify>,
}

/// A notice, with its place in the order of all.
#[derive(Debug)]
struct Posted {
    number: u64,
    notice: Notice,
}

/// A prompt that waits for its answer.
#[derive(Debug)]
struct OpenPrompt {
    prompt: Prompt,
    reply: tokio::sync::oneshot::Sender<Vec<secrecy::SecretString>>,
}

// === impl Session ===

impl Session {
    fn new(id: String, new: NewSession, metrics: SessionMetrics, share: Share) -> Self {
        let now = Instant::now();
        let counted = metrics.count(SessionState::Connecting);
        Session {
            id,
            shell: new.shell,
            user: new.user,
            client: new.client,
            began: now,
            metrics,
            gate: ssh::Gate::default(),
            state: Mutex::new(State {
                replay: Replay::default(),
                input: Input::default(),
                size: new.size,
                limits: new.limits,
                address: None,
                progress: Progress::Connecting { step: Step::Resolve },
                progress_version: 1,
                notices: Vec::new(),
                notices_posted: 0,
                prompt: None,
                prompts_asked: 0,
                verdict: None,
                ended: None,
                attached: None,
                attachments: 0,
                last_input: now,
                detached: Some(now),
                unanswered: None,
                paused: false,
                share,
                counted,
            }),
            input_ready: Notify::new(),
            resized: Notify::new(),
            input_room: Notify::new(),
            rescheduled: Notify::new(),
            ending: CancellationToken::new(),
            dismissed: CancellationToken::new(),
        }
    }

    /// Asks for the end. The first reason counts.
    pub fn end(&self, ended: Ended) {
        self.state.lock().verdict.get_or_insert(ended);
        self.ending.cancel();
    }

    /// Tells the client something; a later notice of a kind replaces the earlier.
    pub fn notify(&self, notice: Notice) {
        self.state.lock().post(notice);
    }

    /// Applies changed limits.
    pub fn set_limits(&self, limits: SessionLimits) {
        self.state.lock().limits = limits;
        self.rescheduled.notify_one();
    }

    /// Lets go of an ended session, whose end the client has seen.
    pub fn dismiss(&self) {
        self.dismissed.cancel();
    }

    /// The address that its shell is at, once it is connected.
    fn address(&self) -> Option<SocketAddr> {
        self.state.lock().address
    }

    fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.ended.is_some() || state.verdict.is_some()
    }

    /// Whether it ended, or must, because its log-in did.
    fn is_logged_out(&self) -> bool {
        let state = self.state.lock();
        state.ended.iter().chain(&state.verdict).any(|ended| ended.reason == Reason::LoggedOut)
    }

    fn subject(&self) -> audit::Subject<'_> {
        audit::Subject { shell: &self.shell, user: &self.user.name, client: self.client }
    }

    /// Notes that the shell is gone: what it left is still to be delivered. A verdict of ours stands above what the far
    /// side said. Returns what counts.
    fn finish(&self, ended: Ended) -> Ended {
        let mut state = self.state.lock();
        let ended = state.verdict.take().unwrap_or(ended);
        state.prompt = None;
        let summary = audit::Summary {
            duration: self.began.elapsed(),
            input: state.input.consumed(),
            output: state.replay.end(),
        };
        audit::ended(self.subject(), &self.id, ended.reason.name(), summary);
        self.metrics.closed(ended.reason.name());
        state.replay.complete();
        state.ended = Some(ended.clone());
        state.wake();
        ended
    }

    /// Warns and ends the session by its limits; never returns.
    async fn keep_time(&self) {
        loop {
            let now = Instant::now();
            let verdict = {
                let mut state = self.state.lock();
                let marks = Marks { began: self.began, last_input: state.last_input, detached: state.detached };
                let verdict = deadlines::judge(&state.limits, &marks, now);
                state.warn(NoticeKind::Idle, verdict.idle_warning, now);
                state.warn(NoticeKind::Maximum, verdict.maximum_warning, now);
                verdict
            };
            if let Some(reason) = verdict.ended {
                self.end(Ended::new(reason, sentence(reason)));
                return std::future::pending().await;
            }
            let pause = async {
                match verdict.next {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = pause => {}
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// Waits until the client has seen the end, or did not come back for it in time.
    async fn linger(&self) {
        /// Where no limit is set, an unseen end is kept this long.
        const UNSEEN: std::time::Duration = std::time::Duration::from_secs(300);
        loop {
            let until = {
                let state = self.state.lock();
                state.detached.map(|since| since + state.limits.detach.unwrap_or(UNSEEN))
            };
            let late = async {
                match until {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.dismissed.cancelled() => return,
                () = late => return,
                () = self.rescheduled.notified() => {}
            }
        }
    }
}

/// What to tell the user of an end by a limit.
fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Idle => "The session ended because nothing was typed for the allowed idle time.",
        Reason::Maximum => "The session reached its longest allowed duration.",
        Reason::Detached => "The session ended because nobody came back to it in time.",
        _ => "The session ended.",
    }
}

// === impl State ===

impl State {
    fn wake(&self) {
        if let Some(attached) = &self.attached {
            attached.wake.notify_one();
        }
    }

    fn post(&mut self, notice: Notice) {
        self.notices.retain(|posted| posted.notice.kind != notice.kind);
        self.notices_posted += 1;
        self.notices.push(Posted { number: self.notices_posted, notice });
        self.wake();
    }

    /// Posts a warning of an end, once, and takes it back when the end is no longer near.
    fn warn(&mut self, kind: NoticeKind, end: Option<Instant>, now: Instant) {
        let warned = self.notices.iter().any(|posted| posted.notice.kind == kind && posted.notice.seconds != Some(0));
        let (seconds, message) = match (end, warned) {
            (Some(end), false) => {
                let seconds = (end - now).as_secs_f64().ceil() as u64;
                let message = match kind {
                    NoticeKind::Idle => format!("This session ends in {seconds} s unless you type something."),
                    _ => format!("This session reaches its longest allowed duration in {seconds} s and will end."),
                };
                (seconds, message)
            }
            (None, true) => (0, String::new()),
            _ => return,
        };
        self.post(Notice { kind, seconds: Some(seconds), message });
    }

    /// Opens or closes the gate as the replay buffer demands. While nobody is attached more is held, as far as the memory for that goes.
    fn regulate(&mut self, gate: &ssh::Gate, metrics: &SessionMetrics) {
        let fits = self.share.hold(self.replay.beyond_free());
        let window = if self.attached.is_none() && fits { replay::DETACHED_WINDOW } else { replay::WINDOW };
        let paused = self.replay.paused(window);
        if paused != self.paused {
            self.paused = paused;
            if paused {
                gate.close();
                metrics.stalled();
            } else {
                gate.open();
            }
        }
    }
}
