//! Accepts connections and speaks HTTP/1.1 on them, within deadlines and bounds; knows nothing of what is served.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::stream::Stream;
use crate::telemetry::metrics::{CountedConnection, HttpMetrics};

/// How long a client may take for the TLS handshake, and again for the headers of each request, idle time before them
/// included.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection may serve HTTP before it is asked to go, and then may take to finish: whoever reads a response
/// or sends a body a byte at a time is cut off. Upgraded connections are no longer HTTP.
const HTTP_LIFETIME: Duration = Duration::from_secs(120);
const HTTP_GRACE: Duration = Duration::from_secs(10);

/// The most bytes of a request's headers. Cookies of other services on the same host count too, so it is not small.
const MAX_HEADERS: usize = 16 * 1024;

/// The most bytes that are read ahead of the service, or collected before they are written.
const MAX_BUFFER: usize = 32 * 1024;

/// How long to wait after a failed accept: the usual cause is a lack of file descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to a connection beyond the bound, without waiting for its request.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The response to a request of `peer`.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address, be it the client's or a proxy's.
    pub address: IpAddr,
    /// Its place among the connections, to be held for as long as the connection is in use.
    pub place: Arc<Place>,
}

/// One of a bounded number of connections.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: CountedConnection,
}

/// Where and within which bounds to serve.
pub struct Server {
    /// Where connections come in.
    pub listener: TcpListener,
    /// For HTTPS.
    pub tls: Option<TlsAcceptor>,
    /// The most connections at once, upgraded ones included.
    pub max_connections: usize,
    /// Where connections are counted.
    pub metrics: HttpMetrics,
    /// Where their tasks are tracked.
    pub tasks: TaskTracker,
    /// Ends it: no more is accepted, and requests under way are finished.
    pub stop: CancellationToken,
}

impl Server {
    /// Serves until it is stopped.
    pub async fn run<H: Handler>(self, handler: Arc<H>) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        while let Some(accepted) = self.stop.run_until_cancelled(self.listener.accept()).await {
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    self.stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                    continue;
                }
            };
            let Ok(permit) = places.clone().try_acquire_owned() else {
                warn!(max = self.max_connections, "a connection was refused: too many are open");
                // Fresh sockets have room for it; where not, closing says enough.
                let _ = stream.try_write(FULL);
                continue;
            };
            let place = Place { _permit: permit, _counted: self.metrics.count_connection() };
            let peer = Peer { address: address.ip(), place: Arc::new(place) };
            let (tls, handler, stop) = (self.tls.clone(), handler.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                if let Err(error) = serve(stream, tls, peer, handler, stop).await {
                    debug!(%error, "a connection failed");
                }
            });
        }
    }
}

/// Why a connection ended early. Such are common, and nobody's fault here.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no TLS handshake within {} s", HEADER_DEADLINE.as_secs())]
    TlsDeadline,
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP took longer than {} s", (HTTP_LIFETIME + HTTP_GRACE).as_secs())]
    HttpDeadline,
}

/// Serves one connection until it ends or is upgraded.
async fn serve<H: Handler>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), ConnectionError> {
    // A keystroke's echo must not wait for more to be sent with it.
    let _ = stream.set_nodelay(true);
    let stream: Stream = match tls {
        None => Either::Left(stream),
        Some(acceptor) => {
            let handshake = timeout(HEADER_DEADLINE, acceptor.accept(stream)).await;
            let stream = handshake.map_err(|_| ConnectionError::TlsDeadline)?.map_err(ConnectionError::Tls)?;
            Either::Right(Box::new(stream))
        }
    };
    let service = service_fn(|request| {
        let response = handler.clone().handle(request, peer.clone());
        async { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_header_size(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => {}
        () = sleep(HTTP_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(timeout(HTTP_GRACE, connection).await.map_err(|_| ConnectionError::HttpDeadline)??)
}
