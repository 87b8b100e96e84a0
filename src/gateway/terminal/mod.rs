//! Terminals on WebSockets: joins an upgraded connection to a session, in `webshell.v1` or raw.

mod liveness;
mod raw;
mod raw_prompt;
mod v1;

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_websockets::{CloseCode, Message, WebSocketStream};

use self::liveness::{Liveness, MAX_PINGS};
use super::connections::Place;
use crate::{
    catalog::{Access, Catalog, ShellKey},
    protocol::{
        Reason,
        v1::{Ended, Size, Welcome},
    },
    session::{Attachment, NewSession, OpenError, Registry, shell},
    telemetry::audit,
    user::User,
};

/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(5);
/// The longest close reason, in bytes (RFC 6455, 5.5: 125, less the code).
const MAX_REASON: usize = 123;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `webshell.v1`.
    V1,
    /// Bytes both ways.
    Raw {
        /// The size in the query string.
        size: Size,
    },
}

/// Who connects to what.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The shell.
    pub shell: ShellKey,
    /// The user.
    pub user: Arc<User>,
    /// The client's address.
    pub client: IpAddr,
    /// Whether it may begin a session, or only go on with one.
    pub may_begin: bool,
    /// Its place among the connections, which it keeps once it has a session.
    pub place: Arc<Place>,
}

/// What connections need of the gateway.
#[derive(Clone, Debug)]
pub struct Terminals {
    /// All sessions.
    pub registry: Registry,
    /// The shells as last seen.
    pub catalog: watch::Receiver<Arc<Catalog>>,
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Close {
    code: u16,
    reason: String,
}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
type Stream<S> = SplitStream<WebSocketStream<S>>;

/// Serves one connection until it is closed.
pub async fn serve<S>(socket: WebSocketStream<S>, mode: Mode, connection: Connection, terminals: &Terminals)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sink, stream) = socket.split();
    match mode {
        Mode::V1 => v1::serve(sink, stream, &connection, terminals).await,
        Mode::Raw { size } => raw::serve(sink, stream, size, &connection, terminals).await,
    }
}

/// Lets a connection that is closed or broken say its last: an answer to a close, or the close for a message too large.
async fn finish<S>(sink: &mut Sink<S>, stream: &mut Stream<S>, liveness: &Liveness)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let last = async {
        if liveness.is_too_large() {
            // For a single frame this was said already, but not for fragments.
            let _ = sink.send(Message::close(Some(CloseCode::MESSAGE_TOO_BIG), "")).await;
        }
        read_to_close(stream).await;
        let _ = sink.close().await;
    };
    let _ = tokio::time::timeout(CLOSING, last).await;
}

/// Reads past what the client sent before it knew of the end; whether its close was among it.
async fn read_to_close<S>(stream: &mut Stream<S>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut closed, mut pings) = (false, 0);
    // Pings are answered here too.
    while pings < MAX_PINGS
        && let Some(Ok(message)) = stream.next().await
    {
        closed |= message.is_close();
        pings += u32::from(message.is_ping());
    }
    closed
}

// === impl Connection ===

impl Connection {
    fn may_begin(&self) -> Result<(), Box<Ended>> {
        let message = "Whether you may open this shell cannot be found out now. Sessions that live can be resumed.";
        self.may_begin.then_some(()).ok_or_else(|| Box::new(Ended::new(Reason::ApiUnavailable, message)))
    }
}

// === impl Terminals ===

impl Terminals {
    /// Begins a session of the connection's shell.
    fn open(&self, connection: &Connection, size: Size) -> Result<(Attachment, Welcome), Box<Ended>> {
        let subject =
            audit::Subject { shell: &connection.shell, user: &connection.user.name, client: connection.client };
        let opened = connection.may_begin().and_then(|()| self.access(&connection.shell)).and_then(|access| {
            let new = NewSession {
                shell: connection.shell.clone(),
                user: connection.user.clone(),
                client: connection.client,
                size,
                limits: access.limits,
            };
            let driven = Arc::clone(&access);
            self.registry
                .open(new, Some(access), |session| shell::drive(session, driven))
                .map_err(|error: OpenError| Box::new(Ended::new(error.reason(), error.to_string())))
        });
        opened.inspect_err(|ended| audit::denied(subject, ended.reason.name()))
    }

    fn access(&self, shell: &ShellKey) -> Result<Arc<Access>, Box<Ended>> {
        let catalog = self.catalog.borrow();
        let entry = catalog.shells.get(shell).ok_or_else(|| {
            Box::new(Ended::new(Reason::Deleted, format!("There is no WebShell {shell} (any more).")))
        })?;
        entry.access.clone().map_err(|obstacle| Box::new(Ended::new(obstacle.reason, obstacle.message)))
    }
}

// === impl Close ===

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Close { code, reason: reason.into() }
    }

    /// The code and the name of `reason`.
    fn of(reason: Reason) -> Self {
        Close::new(reason.code(), reason.name())
    }

    /// Sends the close and waits, within a bound, for the client's; whether it came.
    async fn perform<S>(self, sink: &mut Sink<S>, stream: &mut Stream<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reason: String = self
            .reason
            .chars()
            .scan(0, |length, c| {
                *length += c.len_utf8();
                (*length <= MAX_REASON).then_some(c)
            })
            .collect();
        let code = CloseCode::try_from(self.code).unwrap_or(CloseCode::INTERNAL_SERVER_ERROR);
        let handshake = async {
            // A connection that is closed already has nothing more to be told.
            let _ = sink.send(Message::close(Some(code), &reason)).await;
            let answered = read_to_close(stream).await;
            let _ = sink.close().await;
            answered
        };
        tokio::time::timeout(CLOSING, handshake).await.unwrap_or(false)
    }
}
