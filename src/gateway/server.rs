//! Accepts connections and speaks HTTP/1.1 on them, within deadlines and bounds; knows nothing of what is served.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    connections::{Connections, Place},
    stream::Stream,
};
use crate::{
    network,
    telemetry::throttle::{self, Throttle},
};

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the TLS handshake, and again for the headers of each request, idle time before them included.
    pub headers: Duration,
    /// How long a connection may serve HTTP before it is asked to go: whoever reads a response or sends a body a byte at a
    /// time is cut off. Upgraded connections are no longer HTTP.
    pub lifetime: Duration,
    /// What it then may take to finish.
    pub grace: Duration,
}

/// The most bytes of a request's headers. Cookies of other services on the same host count too, so it is not small.
pub(super) const MAX_HEADERS: usize = 16 * 1024;

/// The most bytes that are read ahead of the service, or collected before they are written.
pub(super) const MAX_BUFFER: usize = 32 * 1024;

/// How long to wait after a failed accept: the usual cause is a lack of file descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to a connection beyond the bound, where none can give way, without waiting for its request.
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

/// Where and within which bounds to serve.
pub struct Server {
    /// Where connections come in.
    pub listener: TcpListener,
    /// For HTTPS.
    pub tls: Option<TlsAcceptor>,
    /// The connections, upgraded ones included.
    pub connections: Connections,
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// Where their tasks are tracked.
    pub tasks: TaskTracker,
    /// Ends it: no more is accepted, and requests under way are finished.
    pub stop: CancellationToken,
}

// === impl Deadlines ===

impl Deadlines {
    /// Of browsers, over the internet.
    pub const PUBLIC: Self =
        Self { headers: Duration::from_secs(10), lifetime: Duration::from_secs(120), grace: Duration::from_secs(10) };
}

// === impl Server ===

impl Server {
    /// Serves until it is stopped.
    pub async fn run<H: Handler>(self, handler: Arc<H>) {
        let lines = Arc::new(Throttle::default());
        let counted = Arc::clone(&lines);
        let tell = move || counted.tell_left_out("connections were refused or gave way");
        self.tasks.spawn(throttle::every_minute(tell, self.stop.clone()));
        while let Some(accepted) = self.stop.run_until_cancelled(self.listener.accept()).await {
            let (stream, address) = match accepted {
                Ok((stream, address)) => (stream, address.ip()),
                Err(error) => {
                    if lines.lets("accept", None) {
                        warn!(%error, "a connection could not be accepted");
                    }
                    self.stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                    continue;
                }
            };
            let Some((place, evicted)) = self.connections.admit(address) else {
                if lines.lets("full", Some(network::client_key(address))) {
                    warn!(client = %address, "a connection was refused: too many are open, and all are in use");
                }
                // Fresh sockets have room for it; where not, closing says enough.
                let _ = stream.try_write(FULL);
                continue;
            };
            let peer = Peer { address, place: Arc::new(place) };
            let (tls, handler, deadlines, stop) =
                (self.tls.clone(), handler.clone(), self.deadlines, self.stop.clone());
            self.tasks.spawn(async move {
                let place = Arc::clone(&peer.place);
                tokio::select! {
                    served = serve(stream, tls, peer, handler, deadlines, stop) => {
                        if let Err(error) = served {
                            debug!(%error, "a connection failed");
                        }
                    }
                    () = place.evicted() => debug!("a connection gave way to another"),
                }
            });
            if evicted {
                if lines.lets("evicted", Some(network::client_key(address))) {
                    warn!(client = %address, "too many connections are open: one gave way to a new one");
                }
                // Those that are new get to speak before they must give way themselves.
                yield_now().await;
            }
        }
    }
}

/// Why a connection ended early. Such are common, and nobody's fault here.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("no TLS handshake in time")]
    TlsDeadline,
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP took too long")]
    HttpDeadline,
}

/// Serves one connection until it ends or is upgraded.
async fn serve<H: Handler>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    handler: Arc<H>,
    deadlines: Deadlines,
    stop: CancellationToken,
) -> Result<(), ConnectionError> {
    // A keystroke's echo must not wait for more to be sent with it.
    let _ = stream.set_nodelay(true);
    let stream: Stream = match tls {
        None => Either::Left(stream),
        Some(acceptor) => {
            let handshake = timeout(deadlines.headers, acceptor.accept(stream)).await;
            let stream = handshake.map_err(|_| ConnectionError::TlsDeadline)?.map_err(ConnectionError::Tls)?;
            Either::Right(Box::new(stream))
        }
    };
    let service = service_fn(|request| {
        let (handler, peer) = (handler.clone(), peer.clone());
        async move {
            let place = Arc::clone(&peer.place);
            place.renew();
            let response = handler.handle(request, peer).await;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                place.renew();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.headers)
        .max_header_size(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => {}
        () = sleep(deadlines.lifetime) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(timeout(deadlines.grace, connection).await.map_err(|_| ConnectionError::HttpDeadline)??)
}
