//! What requests are read with and answers are made of, for the gateway and the portal alike.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_PROTOCOL, UPGRADE,
    },
    http::request::Parts,
    upgrade::OnUpgrade,
};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    headers::{self, Reach},
    page,
    server::Peer,
    stream::UpgradedStream,
};
use crate::telemetry::metrics::HttpMetrics;

/// How long a client may take to send a body, and how long hyper may take to hand over an upgraded connection.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The header by which proxies tell whom they speak for.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Assets have a hash of their content in their names.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// An answer to a request.
pub type Answer = Response<Full<Bytes>>;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than is allowed, in bytes.
    #[error("the body is larger than {0} bytes")]
    Size(usize),
    /// It did not come.
    #[error("the body did not come within {} s", DEADLINE.as_secs())]
    Deadline,
    /// The connection broke.
    #[error("the body did not come whole")]
    Broken,
}

impl BodyError {
    /// How it is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Size(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Deadline => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

// === requests ===

/// A request's head, its body, and its connection where that may be taken over.
pub fn split(request: Request<Incoming>) -> (Parts, Incoming, Option<OnUpgrade>) {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove();
    (parts, body, upgrade)
}

/// The whole body, within bounds of size (`most` bytes) and time.
///
/// # Errors
/// Says which bound was exceeded.
pub async fn read(body: Incoming, most: usize) -> Result<Bytes, BodyError> {
    let collected = timeout(DEADLINE, Limited::new(body, most).collect()).await;
    match collected.map_err(|_| BodyError::Deadline)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::Size(most)),
        Err(_) => Err(BodyError::Broken),
    }
}

/// The value of a header that may be there once only.
pub fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The fields of a header that are text.
pub fn texts(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

// === answers ===

/// Gives an answer the headers that every one of a site has, and counts it.
pub fn finish(mut answer: Answer, reach: Reach, metrics: &HttpMetrics) -> Answer {
    headers::add(answer.headers_mut(), reach);
    metrics.answered(answer.status().as_u16());
    answer
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// A line of plain text.
pub fn text(status: StatusCode, line: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A page.
pub fn html(status: StatusCode, page: impl Into<Bytes>) -> Answer {
    body(status, "text/html; charset=utf-8", page)
}

/// A value as JSON; `None` where it has none.
pub fn json(status: StatusCode, value: &impl Serialize) -> Option<Answer> {
    Some(body(status, "application/json", serde_json::to_vec(value).ok()?))
}

/// A file of the page; `None` where there is none of this name.
pub fn asset(path: &str) -> Option<Answer> {
    let (content_type, bytes) = page::asset(path)?;
    let mut answer = body(StatusCode::OK, content_type, bytes);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    Some(answer)
}

/// Sends a browser elsewhere; `None` where that is no address.
pub fn redirect(status: StatusCode, location: String) -> Option<Answer> {
    let mut answer = empty(status);
    answer.headers_mut().insert(LOCATION, location.try_into().ok()?);
    Some(answer)
}

fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

// === WebSockets ===

/// Agrees to a WebSocket; `accept` proves that its key was read.
pub fn switching(accept: HeaderValue, subprotocol: Option<&'static str>) -> Answer {
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    answer
}

/// Hands the connection to `serve` once the answer is sent, in a task that `tasks` tracks, until it must give way. Its place
/// among the connections goes with it.
pub fn switch<F, S>(tasks: &TaskTracker, upgrade: OnUpgrade, peer: Peer, serve: F)
where
    F: FnOnce(UpgradedStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    tasks.spawn(async move {
        // A client that left in between is nobody's concern.
        if let Ok(Ok(upgraded)) = timeout(DEADLINE, upgrade).await
            && let Some(stream) = UpgradedStream::new(upgraded)
        {
            tokio::select! {
                () = serve(stream) => {}
                () = peer.place.evicted() => {}
            }
        }
        drop(peer);
    });
}
