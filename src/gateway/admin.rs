//! The second listener, for those who run it: health, readiness, metrics.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio_util::sync::CancellationToken;

use super::server::{Handler, Peer};

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

impl Handler for Admin {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
        }
        match request.uri().path() {
            "/healthz" => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" if self.draining.is_cancelled() => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".to_owned())
            }
            "/readyz" if !self.ready.is_cancelled() => {
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n".to_owned())
            }
            "/readyz" => answer(StatusCode::OK, TEXT, "ready\n".to_owned()),
            "/metrics" => match self.metrics() {
                Ok(metrics) => answer(StatusCode::OK, OPEN_METRICS, metrics),
                Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            },
            _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n".to_owned()),
        }
    }
}

impl Admin {
    fn metrics(&self) -> Result<String, fmt::Error> {
        let mut metrics = String::new();
        text::encode(&mut metrics, &self.registry)?;
        Ok(metrics)
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
