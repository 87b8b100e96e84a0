//! Why a browser's request is not answered as it wishes, and how it is answered instead.

use hyper::{
    StatusCode,
    header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use serde_json::json;

use super::{
    http::{self, Answer, BodyError},
    login::portal,
    origin, page, path, upgrade,
};
use crate::{catalog::ShellKey, rights::Undecided};

/// Why a request is not answered as it wishes.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An address with more than one reading.
    #[error(transparent)]
    Path(#[from] path::Ambiguous),
    /// No such address.
    #[error("there is nothing at this address")]
    NotFound,
    /// Another method than the address takes; those that it does.
    #[error("this address does not take this method")]
    Method(&'static str),
    /// From a page that may not, or for another host.
    #[error(transparent)]
    Origin(#[from] origin::Refusal),
    /// Not the WebSocket that the address is for.
    #[error(transparent)]
    Handshake(#[from] upgrade::Refusal),
    /// Nobody is logged in, and the address to log in at was printed.
    #[error("log in first: open the address that the gateway printed")]
    NotLoggedIn,
    /// The same, with the address where one logs in.
    #[error("log in first at {0}")]
    LogInAt(String),
    /// A log-in failed that a person is looking at, who may try again at the address.
    #[error("{0}")]
    LogIn(portal::Refusal, String),
    /// A ticket that another page than the portal's sent.
    #[error("a ticket comes from the portal's own page only")]
    NotThePortal,
    /// A printed ticket that is not the next one.
    #[error("the ticket is wrong or was used before; the gateway has printed the next one")]
    Ticket,
    /// No such WebShell.
    #[error("there is no WebShell {0} here")]
    UnknownShell(ShellKey),
    /// The user may not open it.
    #[error("you may not open WebShell {0}; it takes the right to create webshells/connect of that name")]
    Forbidden(ShellKey),
    /// Nobody can tell whether the user may.
    #[error(transparent)]
    Undecided(#[from] Undecided),
    /// No new terminals are to be opened.
    #[error("the gateway is stopping; try again in a moment")]
    Draining,
    /// The body did not come whole, or is too large.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not that of a log-in.
    #[error("the body must be JSON such as {{\"ticket\": \"…\"}}")]
    NoTicket,
    /// Something that must not happen.
    #[error("the gateway is at fault; its log says more")]
    Internal,
}

// === impl Refusal ===

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownShell(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin(_) | Self::NotThePortal | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Handshake(refusal) => refusal.status(),
            Self::LogIn(portal::Refusal::Busy | portal::Refusal::Sessions(_), _) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotLoggedIn | Self::LogInAt(_) | Self::LogIn(..) | Self::Ticket => StatusCode::UNAUTHORIZED,
            Self::Draining | Self::Undecided(Undecided::Unanswered) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Undecided(Undecided::TooOften) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(error) => error.status(),
            Self::Path(_) | Self::NoTicket => StatusCode::BAD_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For metrics and the audit trail, where a WebSocket is refused.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Origin(origin::Refusal::Host) => "host",
            Self::Origin(origin::Refusal::Origin) => "origin",
            Self::Handshake(refusal) => refusal.cause(),
            Self::NotLoggedIn | Self::LogInAt(_) => "not-logged-in",
            Self::UnknownShell(_) => "unknown-shell",
            Self::Forbidden(_) => "forbidden",
            Self::Undecided(Undecided::Unanswered) => "undecided",
            Self::Undecided(Undecided::TooOften) => "too-often",
            Self::Draining => "draining",
            _ => "other",
        }
    }

    /// The answer.
    pub fn into_answer(self) -> Answer {
        let status = self.status();
        let mut answer = match &self {
            Self::LogInAt(path) => http::json(status, &json!({"login": path})),
            Self::LogIn(_, again) => Some(http::html(
                status,
                page::message("You are not logged in", &format!("{self}."), again, "Try again"),
            )),
            _ => None,
        }
        .unwrap_or_else(|| http::text(status, &self.to_string()));
        let headers = answer.headers_mut();
        match self {
            Self::Method(allow) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Handshake(upgrade::Refusal::NotWebSocket | upgrade::Refusal::Version) => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Draining | Self::Undecided(_) | Self::Handshake(upgrade::Refusal::TooManyPings) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        answer
    }
}
