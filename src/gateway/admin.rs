//! The second listener, which every role has, for those who run it: health, readiness, metrics.
//!
//! Nobody logs in there. So health is answered whatever else is open: a connection that waits gives way, and whoever connects speaks
//! at once. Metrics have a bound of their own.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connections::Connections,
    limiter::{Limiter, Permit},
    server::{Deadlines, Handler, Peer, Server},
};
use crate::telemetry::metrics::HttpMetrics;

/// The most connections. A few scrapers and probes need a few; more, so that of many that come at once each gets to speak before it
/// must give way.
const MAX_CONNECTIONS: usize = 256;

/// Probes and scrapers are near, and speak at once.
const DEADLINES: Deadlines =
    Deadlines { headers: Duration::from_secs(3), lifetime: Duration::from_secs(10), grace: Duration::from_secs(2) };

/// How many may be given metrics at once, and how many of them at one address, until they have read them.
const MAX_SCRAPES: usize = 8;
const MAX_SCRAPES_OF_ONE: usize = 2;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin listener answers from.
#[derive(Debug)]
pub struct Admin {
    /// All metrics.
    pub registry: Registry,
    /// Cancelled once it can do its work.
    pub ready: CancellationToken,
    /// Cancelled once it takes on nothing more.
    pub draining: CancellationToken,
}

/// What answers requests.
struct Answerer {
    admin: Admin,
    scrapes: Limiter,
}

/// Metrics on their way to a scraper.
struct Scrape {
    text: String,
    _permit: Permit,
}

impl AsRef<[u8]> for Scrape {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

// === impl Admin ===

impl Admin {
    /// Answers on `listener` until `stop`, in tasks that `tasks` tracks.
    pub fn serve(self, listener: TcpListener, tasks: &TaskTracker, stop: CancellationToken) {
        let server = Server {
            listener,
            tls: None,
            connections: Connections::new(MAX_CONNECTIONS, HttpMetrics::default()),
            deadlines: DEADLINES,
            tasks: tasks.clone(),
            stop,
        };
        let scrapes = Limiter::new(MAX_SCRAPES, MAX_SCRAPES_OF_ONE);
        tasks.spawn(server.run(Arc::new(Answerer { admin: self, scrapes })));
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        let mut metrics = String::new();
        text::encode(&mut metrics, &self.registry)?;
        Ok(metrics)
    }
}

// === impl Answerer ===

impl Handler for Answerer {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        }
        match request.uri().path() {
            "/healthz" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" if self.admin.draining.is_cancelled() => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
            }
            "/readyz" if !self.admin.ready.is_cancelled() => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n")
            }
            "/readyz" => answer(StatusCode::OK, TEXT, "ready\n"),
            "/metrics" => self.metrics(&peer),
            _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n"),
        }
    }
}

impl Answerer {
    fn metrics(&self, peer: &Peer) -> Response<Full<Bytes>> {
        let Some(permit) = self.scrapes.acquire(peer.address) else {
            let mut busy = answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "others are reading metrics; try again\n");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return busy;
        };
        match self.admin.metrics() {
            Ok(text) => answer(StatusCode::OK, OPEN_METRICS, Bytes::from_owner(Scrape { text, _permit: permit })),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
