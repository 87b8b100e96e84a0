//! The server's side of one connection: who may log in, and what one may ask for.

use std::{
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    sync::Arc,
    time::Duration,
};

use russh::{
    Channel, ChannelId, ChannelWriteHalf, Pty,
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use thiserror::Error;
use tokio::time::{error::Elapsed, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::warn;

use super::{
    Access,
    input::{HIGH_MARK, InputQueue, WINDOW},
    program::{self, Request, Terminal},
};
use crate::ssh::{WindowSize, known_hosts::matches_wildcard};

/// The environment a client may set, as the servers of most distributions allow.
const ENVIRONMENT: [&str; 4] = ["LANG", "LC_*", "TERM", "COLORTERM"];

/// The most variables a client may set.
const MAX_VARIABLES: usize = 64;

/// The smallest window that russh renews by itself: at each message that uses it up.
const TRICKLE: u32 = 2;

/// How long each message of a trickle is dwelt on.
const TRICKLE_TIME: Duration = Duration::from_millis(10);

/// The most input that waits, in bytes: two windows, and hours of trickle.
const MAX_INPUT: usize = 4 << 20;

/// Why a connection ended, other than by the client's will.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    /// The protocol was broken, or the network.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The client did not introduce itself in time.
    #[error("no SSH client spoke in time")]
    Silent(#[from] Elapsed),
    /// The program has taken no input for hours.
    #[error("too much input waits for the program")]
    InputWaits,
}

/// A connection with at most one channel.
#[derive(Debug)]
pub(super) struct Connection {
    access: Arc<Access>,
    tasks: TaskTracker,
    logged_in: CancellationToken,
    /// The channel's writing half, until a program has it.
    output: Option<ChannelWriteHalf<Msg>>,
    has_channel: bool,
    request: Request,
    input: Arc<InputQueue>,
    /// Whether the client's window was renewed for a trickle only.
    trickling: bool,
    /// The terminal's master side, to resize it.
    terminal: Option<OwnedFd>,
    /// Hangs up on the program, at the latest when this connection is dropped.
    hang_up: CancellationToken,
    _hang_up_at_end: DropGuard,
}

// === impl Connection ===

impl Connection {
    /// A connection whose program runs among `tasks` until `stop`.
    pub(super) fn new(access: Arc<Access>, tasks: TaskTracker, stop: &CancellationToken) -> Self {
        let hang_up = stop.child_token();
        Self {
            access,
            tasks,
            logged_in: CancellationToken::new(),
            output: None,
            has_channel: false,
            request: Request::default(),
            input: Arc::default(),
            trickling: false,
            terminal: None,
            _hang_up_at_end: hang_up.clone().drop_guard(),
            hang_up,
        }
    }

    /// Is cancelled when the client has logged in.
    pub(super) fn logged_in(&self) -> CancellationToken {
        self.logged_in.clone()
    }

    fn authorize(&self, user: &str, key: &russh::keys::PublicKey) -> Auth {
        // Neither is a secret, so the comparison's time reveals nothing.
        if user == self.access.user && key.key_data() == self.access.key.key_data() {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    /// Starts the user's shell, or a command in it.
    fn start(
        &mut self,
        channel: ChannelId,
        command: Option<&OsStr>,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        let Some(output) = self.output.take() else { return Ok(session.channel_failure(channel)?) };
        match program::start(&self.request, command) {
            Ok((program, terminal)) => {
                session.channel_success(channel)?;
                self.terminal = terminal;
                let run = program.run(output, session.handle(), self.input.clone(), self.hang_up.clone());
                self.tasks.spawn(run);
                Ok(())
            }
            Err(error) => {
                warn!(%error, "the demo target cannot start a shell");
                Ok(session.channel_failure(channel)?)
            }
        }
    }
}

/// A size as the protocol has it, with 32 bits for what a terminal keeps in 16.
fn window_size(cols: u32, rows: u32, width: u32, height: u32) -> WindowSize {
    let [cols, rows, width, height] = [cols, rows, width, height].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    WindowSize { cols, rows, width, height }
}

impl Handler for Connection {
    type Error = ConnectionError;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.authorize(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.authorize(user, key.public_key))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        self.logged_in.cancel();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropped, the reply is a refusal. The reading half is dropped as well: what comes in comes to `data`.
        if !self.has_channel {
            self.has_channel = true;
            self.output = Some(channel.split().1);
            reply.accept().await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        cols: u32,
        rows: u32,
        width: u32,
        height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.request.terminal = Some(Terminal { term: term.to_owned(), size: window_size(cols, rows, width, height) });
        Ok(session.channel_success(channel)?)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let allowed = ENVIRONMENT.iter().any(|pattern| matches_wildcard(pattern, name));
        // What a process cannot be given is refused here rather than when it starts.
        let possible = !name.contains(['=', '\0']) && !value.contains('\0');
        if !allowed || !possible || self.request.environment.len() >= MAX_VARIABLES {
            return Ok(session.channel_failure(channel)?);
        }
        self.request.environment.push((name.to_owned(), value.to_owned()));
        Ok(session.channel_success(channel)?)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, None, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Some(OsStr::from_bytes(command)), session)
    }

    async fn window_change_request(
        &mut self,
        _channel: ChannelId,
        cols: u32,
        rows: u32,
        width: u32,
        height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(terminal) = &self.terminal {
            program::resize(terminal, window_size(cols, rows, width, height))?;
        }
        Ok(())
    }

    /// Says how far the client's window is to be renewed the next time.
    ///
    /// russh renews it by itself, at a message that leaves less than half. A client is held back by a window so small
    /// that each message uses it up; nothing else could make russh renew it later. Meanwhile the client has no room to
    /// send data, so its window changes, its end and its window for the output get through at once.
    fn adjust_window(&mut self, _channel: ChannelId, current: u32) -> u32 {
        let full = self.input.len() >= HIGH_MARK;
        self.trickling = full && current == TRICKLE;
        if full { TRICKLE } else { WINDOW }
    }

    async fn data(&mut self, _channel: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Self::Error> {
        if self.input.push(data) > MAX_INPUT {
            return Err(ConnectionError::InputWaits);
        }
        if std::mem::take(&mut self.trickling) {
            // Sent as fast as they come these messages would keep both sides busy. Passing the time is no failure.
            let _ = timeout(TRICKLE_TIME, self.input.taken()).await;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.input.end();
        Ok(())
    }

    async fn channel_close(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.terminal = None;
        self.hang_up.cancel();
        Ok(())
    }
}
