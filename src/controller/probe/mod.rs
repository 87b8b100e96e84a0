//! Whether a namespace's gateway answers at its public URL: a WebSocket ping by the way that browsers take, from the
//! controller's pod. `book` says when to ping, and what follows from an answer; [`run`] pings.

mod book;

use std::{convert::Infallible, future::pending};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsConnector;
use tracing::debug;

use self::book::{Book, Turn};
pub use self::book::{GRACE, Outcome, Subject};
use super::reconcile::Context;
use crate::ping::{self, PingError};

/// The most pings at once, of all namespaces. Each is a connection that costs a handshake; where none is answered, three
/// namespaces a second still get their turn.
const AT_ONCE: usize = 16;

/// The ways to all gateways.
#[derive(Default)]
pub struct Probes {
    book: Mutex<Book>,
    /// A ping was planned.
    planned: Notify,
    /// Whose certificates are trusted, once that was read.
    trust: Mutex<Option<TlsConnector>>,
}

/// Why a way is not proved.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error(transparent)]
    Ping(#[from] PingError),
    /// An answer, of somebody else.
    #[error("a gateway answers that is none of this namespace's")]
    Other,
    /// The settings make no address.
    #[error("this is no address")]
    Address,
}

// === impl Failure ===

impl Failure {
    /// Which kind of failure it is, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ping(error) => error.kind(),
            Self::Other => "other-gateway",
            Self::Address => "address",
        }
    }

    /// Whether a route looks like this that is about to be served.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Other | Self::Ping(PingError::Status(_) | PingError::NotWebSocket | PingError::Closed))
    }

    /// Whether it says nothing of the way.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Ping(PingError::Busy))
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Address => "correct route.host",
            Self::Other => "look for another route to the same host and path, or another cluster of that name",
            Self::Ping(PingError::Busy) => "wait",
            Self::Ping(PingError::NoAddress(_)) => {
                "add it to the DNS; where only browsers are to resolve it, nothing is wrong"
            }
            Self::Ping(PingError::Refused(_) | PingError::Unreachable(..) | PingError::Silence) => {
                "try a browser: where only pods cannot reach the public address, nothing is wrong"
            }
            Self::Ping(PingError::Untrusted(_) | PingError::Tls(_)) => {
                "check the certificate; if a private authority issued it, name that by route.caConfigMap"
            }
            Self::Ping(PingError::Status(_) | PingError::NotWebSocket | PingError::Closed | PingError::Stranger) => {
                "check what the ingress controller, and any proxy before it, makes of the route"
            }
        }
    }
}

// === impl Probes ===

impl Probes {
    /// Takes note of what leads to a namespace's gateway, and tells whether it does.
    pub fn look(&self, namespace: &str, subject: Subject) -> Outcome {
        let (outcome, is_new) = self.book.lock().look(namespace, subject, Instant::now());
        if is_new {
            self.planned.notify_one();
        }
        outcome
    }

    /// The namespace needs no way any more.
    pub fn forget(&self, namespace: &str) {
        self.book.lock().forget(namespace);
    }

    fn next(&self) -> Result<Turn, Option<Instant>> {
        self.book.lock().next(Instant::now())
    }

    fn take(&self, turn: &Turn, url: &str, result: &Result<(), Failure>) -> bool {
        self.book.lock().take(turn, url, result, Instant::now(), getrandom::u32().unwrap_or_default())
    }

    fn trust(&self) -> Result<TlsConnector, PingError> {
        let mut trust = self.trust.lock();
        match &*trust {
            Some(tls) => Ok(tls.clone()),
            None => Ok(trust.insert(ping::tls()?).clone()),
        }
    }
}

/// Pings what is due, for ever, and tells of which namespaces there is something new to say.
pub async fn run(context: &Context, news: mpsc::Sender<Box<str>>) -> Infallible {
    let probes = &context.probes;
    let mut pings = FuturesUnordered::new();
    loop {
        let mut next = None;
        while pings.len() < AT_ONCE {
            match probes.next() {
                Ok(turn) => pings.push(ping(context, turn)),
                Err(at) => {
                    next = at;
                    break;
                }
            }
        }
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some((turn, url, result)) = pings.next() => {
                context.metrics.probed(result.as_ref().err().map_or("proved", Failure::kind));
                if probes.take(&turn, &url, &result) {
                    // Who listens is there as long as this is.
                    let _ = news.send(turn.namespace).await;
                }
            }
            () = due => {}
            () = probes.planned.notified() => {}
        }
    }
}

async fn ping(context: &Context, turn: Turn) -> (Turn, String, Result<(), Failure>) {
    let url = context.config.route.ping_url(&turn.namespace);
    let result = prove(context, &turn.namespace, &url).await;
    debug!(namespace = &*turn.namespace, url, ?result, "pinged");
    (turn, url, result)
}

async fn prove(context: &Context, namespace: &str, url: &str) -> Result<(), Failure> {
    let way = url.parse().ok().and_then(|url| ping::Way::to(&url, None)).ok_or(Failure::Address)?;
    let answered = way.ping(&context.probes.trust()?).await.inspect_err(|error| {
        // The authority may have been replaced since it was read.
        if matches!(error, PingError::Untrusted(_)) {
            *context.probes.trust.lock() = None;
        }
    })?;
    let is_ours = |uid| context.cache.has_pod(namespace, uid);
    match answered.split_once('/') {
        Some((of, uid)) if of == namespace && is_ours(uid) => Ok(()),
        _ => Err(Failure::Other),
    }
}
