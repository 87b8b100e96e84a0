//! What browsers are served: each route checked and answered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN,
        RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
    },
    http::request::Parts,
    upgrade::OnUpgrade,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokio_websockets::{Limits, ServerBuilder};
use tracing::{error, warn};

use super::{
    forwarded, headers, list,
    login::Auth,
    origin::{self, Origins},
    page, ping,
    routes::{self, Route, Scope},
    server::{Handler, Peer},
    stream::UpgradedStream,
    terminal::{self, Connection, Mode, Terminals},
    upgrade,
};
use crate::{
    catalog::ShellKey,
    protocol::{raw, v1},
    telemetry::{
        audit::{self, Subject},
        metrics::HttpMetrics,
    },
};

/// The most bytes of a request's body: a ticket and its JSON.
const MAX_BODY: usize = 8 * 1024;

/// How long a client may take to send a body, and how long hyper may take to hand over an upgraded connection.
const DEADLINE: Duration = Duration::from_secs(10);

/// Assets have a hash of their content in their names.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

type Answer = Response<Full<Bytes>>;

/// The public side of a gateway.
#[derive(Debug)]
pub struct Site {
    /// Who may come in.
    pub auth: Auth,
    /// The name of whoever came in.
    pub user: String,
    /// Which pages may speak to it.
    pub origins: Origins,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether browsers should insist on HTTPS from now on.
    pub hsts: bool,
    /// Tells this gateway from others to a ping.
    pub instance: String,
    /// The terminals, and the shells they may be opened on.
    pub terminals: Terminals,
    /// Counts requests.
    pub metrics: HttpMetrics,
    /// Tracks upgraded connections.
    pub tasks: TaskTracker,
    /// Cancelled once no new terminals are to be opened.
    pub draining: CancellationToken,
}

/// Why a request is not answered as it wishes.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address does not take this method")]
    Method(&'static str),
    #[error(transparent)]
    Origin(#[from] origin::Refusal),
    #[error(transparent)]
    Handshake(#[from] upgrade::Refusal),
    #[error("log in first: open the address that the gateway printed")]
    NotLoggedIn,
    #[error("the ticket is wrong or was used before; the gateway has printed the next one")]
    Ticket,
    #[error("there is no WebShell {0} here")]
    UnknownShell(ShellKey),
    #[error("the gateway is stopping; try again in a moment")]
    Draining,
    #[error("the body is larger than {MAX_BODY} bytes")]
    BodySize,
    #[error("the body did not come within {} s", DEADLINE.as_secs())]
    BodyDeadline,
    #[error("the body must be JSON such as {{\"ticket\": \"…\"}}")]
    Body,
    #[error("the gateway is at fault; its log says more")]
    Internal,
}

#[derive(Deserialize)]
struct LogIn {
    ticket: String,
}

// === impl Site ===

impl Handler for Site {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let (mut parts, body) = request.into_parts();
        let upgrade = parts.extensions.remove();
        let answer = self.answer(&parts, body, upgrade, peer).await;
        let mut answer = answer.unwrap_or_else(|refusal| refusal.into_answer());
        headers::add(answer.headers_mut(), self.hsts);
        self.metrics.answered(answer.status().as_u16());
        answer
    }
}

impl Site {
    async fn answer(
        &self,
        parts: &Parts,
        body: Incoming,
        upgrade: Option<OnUpgrade>,
        peer: Peer,
    ) -> Result<Answer, Refusal> {
        let path = parts.uri.path();
        let route = routes::parse(path).ok_or(Refusal::NotFound)?;
        match route {
            // Proves a route as it is, whatever names a proxy has for it.
            Route::Ping(_) => {}
            _ => self.origins.check_host(single(&parts.headers, HOST))?,
        }
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        match route {
            Route::Session if parts.method == Method::POST => self.log_in(parts, body, &peer).await,
            Route::Session if parts.method == Method::DELETE => self.log_out(parts),
            Route::Session if !is_read => Err(Refusal::Method("GET, HEAD, POST, DELETE")),
            _ if !is_read => Err(Refusal::Method("GET, HEAD")),
            Route::AddSlash => Ok(add_slash(path, parts.uri.query())),
            Route::List(scope) => Ok(show_page(scope)),
            Route::Shell(shell) => Ok(show_page(Scope::Namespace(&shell.namespace))),
            Route::Asset(path) => asset(path),
            Route::Session => self.who_am_i(parts),
            Route::Shells(scope) => self.list(parts, scope),
            Route::Ping(scope) => self.ping(parts, upgrade, peer, scope),
            Route::Terminal(shell) => self.terminal(parts, upgrade, peer, shell),
        }
    }

    fn is_logged_in(&self, parts: &Parts) -> Result<(), Refusal> {
        self.auth.admits(texts(&parts.headers, COOKIE)).then_some(()).ok_or(Refusal::NotLoggedIn)
    }

    fn check_origin(&self, parts: &Parts) -> Result<(), origin::Refusal> {
        self.origins.check(single(&parts.headers, ORIGIN), single(&parts.headers, HOST))
    }

    /// The client's address, for people to read.
    fn client(&self, parts: &Parts, peer: &Peer) -> IpAddr {
        forwarded::client(peer.address, texts(&parts.headers, X_FORWARDED_FOR), &self.trusted_proxies)
    }

    async fn log_in(&self, parts: &Parts, body: Incoming, peer: &Peer) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        let body = read(body).await?;
        let LogIn { ticket } = serde_json::from_slice(&body).map_err(|_| Refusal::Body)?;
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let Auth::Ticket(logins) = &self.auth else { return Ok(answer) };
        let cookie = logins.redeem(&ticket).map_err(|error| {
            error!(%error, "no random numbers for a session");
            Refusal::Internal
        })?;
        self.metrics.login(cookie.is_some());
        let cookie = cookie.ok_or_else(|| {
            warn!(client = %self.client(parts, peer), "a log-in was refused: the ticket is wrong or was used before");
            Refusal::Ticket
        })?;
        answer.headers_mut().insert(SET_COOKIE, header(cookie)?);
        Ok(answer)
    }

    fn log_out(&self, parts: &Parts) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        if let Auth::Ticket(logins) = &self.auth {
            let forget = logins.log_out(texts(&parts.headers, COOKIE));
            answer.headers_mut().insert(SET_COOKIE, header(forget)?);
        }
        Ok(answer)
    }

    fn who_am_i(&self, parts: &Parts) -> Result<Answer, Refusal> {
        self.is_logged_in(parts)?;
        let catalog = self.terminals.catalog.borrow().clone();
        json_answer(&json!({"user": self.user, "namespaces": list::namespaces(&catalog)}))
    }

    fn list(&self, parts: &Parts, scope: Scope<'_>) -> Result<Answer, Refusal> {
        self.is_logged_in(parts)?;
        let catalog = self.terminals.catalog.borrow().clone();
        json_answer(&list::list(&catalog, scope))
    }

    fn ping(&self, parts: &Parts, upgrade: Option<OnUpgrade>, peer: Peer, scope: Scope<'_>) -> Result<Answer, Refusal> {
        let accept = upgrade::accept(parts)?;
        let namespace = match scope {
            Scope::All => "-",
            Scope::Namespace(namespace) => namespace,
        };
        let identity = format!("{namespace}/{}", self.instance);
        let serve = move |stream| async move { ping::serve(stream, &identity).await };
        self.switch(upgrade, peer, serve)?;
        switching(accept, None)
    }

    fn terminal(
        &self,
        parts: &Parts,
        upgrade: Option<OnUpgrade>,
        peer: Peer,
        shell: ShellKey,
    ) -> Result<Answer, Refusal> {
        let client = self.client(parts, &peer);
        let (accept, mode) = self.admit(parts, &shell).inspect_err(|refusal| {
            let cause = refusal.cause();
            self.metrics.refused(cause);
            if !matches!(refusal, Refusal::Handshake(_)) {
                let user = if self.is_logged_in(parts).is_ok() { self.user.as_str() } else { "" };
                audit::denied(Subject { shell: &shell, user, client }, cause);
            }
        })?;
        let (max_frame, subprotocol) = match mode {
            Mode::V1 => (v1::MAX_CLIENT_FRAME, Some(v1::SUBPROTOCOL)),
            Mode::Raw { .. } => (raw::MAX_CLIENT_FRAME, None),
        };
        let connection = Connection { shell, user: self.user.clone(), client };
        let terminals = self.terminals.clone();
        let serve = move |stream| async move {
            let limits = Limits::default().max_payload_len(Some(max_frame));
            let socket = ServerBuilder::new().limits(limits).serve(stream);
            terminal::serve(socket, mode, connection, &terminals).await;
        };
        self.switch(upgrade, peer, serve)?;
        switching(accept, subprotocol)
    }

    /// All that stands between a request and a terminal.
    fn admit(&self, parts: &Parts, shell: &ShellKey) -> Result<(String, Mode), Refusal> {
        let accept = upgrade::accept(parts)?;
        self.check_origin(parts)?;
        if self.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        self.is_logged_in(parts)?;
        if !self.terminals.catalog.borrow().shells.contains_key(shell) {
            return Err(Refusal::UnknownShell(shell.clone()));
        }
        Ok((accept, upgrade::mode(parts)?))
    }

    /// Hands the connection to `serve` once the answer is sent. Its place among the connections goes with it.
    fn switch<F, S>(&self, upgrade: Option<OnUpgrade>, peer: Peer, serve: F) -> Result<(), Refusal>
    where
        F: FnOnce(UpgradedStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send,
    {
        let upgrade = upgrade.ok_or(Refusal::Handshake(upgrade::Refusal::NotWebSocket))?;
        self.tasks.spawn(async move {
            // A client that left in between is nobody's concern.
            if let Ok(Ok(upgraded)) = timeout(DEADLINE, upgrade).await
                && let Some(stream) = UpgradedStream::new(upgraded)
            {
                serve(stream).await;
            }
            drop(peer);
        });
        Ok(())
    }
}

// === impl Refusal ===

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownShell(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Handshake(refusal) => refusal.status(),
            Self::NotLoggedIn | Self::Ticket => StatusCode::UNAUTHORIZED,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::BodySize => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyDeadline => StatusCode::REQUEST_TIMEOUT,
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For metrics and the audit trail, where a WebSocket is refused.
    fn cause(&self) -> &'static str {
        match self {
            Self::Origin(origin::Refusal::Host) => "host",
            Self::Origin(origin::Refusal::Origin) => "origin",
            Self::Handshake(refusal) => refusal.cause(),
            Self::NotLoggedIn => "not-logged-in",
            Self::UnknownShell(_) => "unknown-shell",
            Self::Draining => "draining",
            _ => "other",
        }
    }

    fn into_answer(self) -> Answer {
        let mut answer = Response::new(Full::from(format!("{self}\n")));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Self::Method(allow) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Handshake(upgrade::Refusal::NotWebSocket | upgrade::Refusal::Version) => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Draining => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        answer
    }
}

// === answers ===

fn show_page(scope: Scope<'_>) -> Answer {
    let base = match scope {
        Scope::All => "/".to_owned(),
        Scope::Namespace(namespace) => format!("/{namespace}/"),
    };
    let mut answer = Response::new(Full::new(page::page(&base)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

fn asset(path: &str) -> Result<Answer, Refusal> {
    let (content_type, bytes) = page::asset(path).ok_or(Refusal::NotFound)?;
    let mut answer = Response::new(Full::new(bytes));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    Ok(answer)
}

fn add_slash(path: &str, query: Option<&str>) -> Answer {
    let location = match query {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    // What came as part of a request line is fit for a header.
    if let Ok(location) = location.try_into() {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn json_answer(value: &impl Serialize) -> Result<Answer, Refusal> {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::Internal)?;
    let mut answer = Response::new(Full::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

fn switching(accept: String, subprotocol: Option<&'static str>) -> Result<Answer, Refusal> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, header(accept)?);
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Ok(answer)
}

// === requests ===

/// The whole body, within bounds of size and time.
async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let collected = timeout(DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
    match collected.map_err(|_| Refusal::BodyDeadline)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodySize),
        Err(_) => Err(Refusal::Body),
    }
}

/// The value of a header that may be there once only.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The fields of a header that are text.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn header(value: String) -> Result<HeaderValue, Refusal> {
    value.try_into().map_err(|_| Refusal::Internal)
}
