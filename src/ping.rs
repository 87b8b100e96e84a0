//! The client of a ping: asks a portal or gateway for a sign of life by the way that browsers take. `webshell ping` and the
//! controller do.

use std::{io, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Uri;
use rustls::{CertificateError, ClientConfig, crypto::ring, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join, split},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Error as SocketError, Limits, Message, upgrade};

use crate::{hex, protocol::ping};

/// How long a ping may take. Who waits for a terminal does not wait longer either.
const LIMIT: Duration = Duration::from_secs(5);

/// How many bytes are read of whoever is there, an HTTP answer with long headers included.
const MAX_READ: u64 = 64 * 1024;

/// The longest answer, in bytes: a nonce, a namespace and a UID fit with room to spare.
const MAX_ANSWER: usize = 256;

/// The HTTP status by which a ping is refused that comes at a bad time (RFC 6585, section 4).
const TOO_MANY_REQUESTS: u16 = 429;

/// Where to ping.
#[derive(Clone, Debug)]
pub struct Way {
    url: Uri,
    connect_to: String,
    /// The name that a certificate must be for, where there is one.
    tls: Option<ServerName<'static>>,
}

/// Why a ping has no answer. The words for one cause are always the same, so that they may stand in a status.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PingError {
    /// The name cannot be resolved.
    #[error("no address is found for {0}")]
    NoAddress(String),
    /// Nothing listens.
    #[error("{0} refuses connections")]
    Refused(String),
    /// There is no way, or it broke.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::ErrorKind),
    /// TLS would be spoken with somebody whose certificate says nothing; what is wrong with it.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(&'static str),
    /// TLS cannot be spoken.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Others ping there, or somebody on the way lets no more through for now: nothing is known by it.
    #[error("too many pings are under way there")]
    Busy,
    /// A web server answers, and knows no WebSocket there.
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    /// Something answers that is no WebSocket.
    #[error("it speaks no WebSocket")]
    NotWebSocket,
    /// The connection ended too soon.
    #[error("it closes the connection without an answer")]
    Closed,
    /// A WebSocket answers that does not know what a ping is.
    #[error("something else than WebShell answers")]
    Stranger,
    /// Nothing came.
    #[error("nothing comes within {} s", LIMIT.as_secs())]
    Silence,
}

/// TLS that trusts the system's certificate authorities, or those in `SSL_CERT_FILE`, as they are now.
///
/// # Errors
/// When there are none.
pub fn tls() -> Result<TlsConnector, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

// === impl PingError ===

impl PingError {
    /// Which kind of error it is, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoAddress(_) => "dns",
            Self::Refused(_) => "refused",
            Self::Unreachable(..) => "unreachable",
            Self::Untrusted(_) => "certificate",
            Self::Tls(_) => "tls",
            Self::Busy => "busy",
            Self::Status(_) => "status",
            Self::NotWebSocket => "not-websocket",
            Self::Closed => "closed",
            Self::Stranger => "stranger",
            Self::Silence => "timeout",
        }
    }
}

// === impl Way ===

impl Way {
    /// The way to an address such as `wss://shell.example.com/team-a/-/ping`, or `None` if it is none; by `connect_to` instead of
    /// its own host where that is given.
    pub fn to(url: &Uri, connect_to: Option<&str>) -> Option<Self> {
        let host = url.host()?;
        let (tls, port) = match url.scheme_str()? {
            "ws" => (None, 80),
            "wss" => (Some(ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?), 443),
            _ => return None,
        };
        let own = || format!("{host}:{}", url.port_u16().unwrap_or(port));
        Some(Self { url: url.clone(), connect_to: connect_to.map_or_else(own, str::to_owned), tls })
    }

    /// Pings once; who answered, as `<namespace>/<instance>`.
    ///
    /// # Errors
    /// When nobody did.
    pub async fn ping(&self, tls: &TlsConnector) -> Result<String, PingError> {
        timeout(LIMIT, self.ask(tls)).await.unwrap_or(Err(PingError::Silence))
    }

    async fn ask(&self, tls: &TlsConnector) -> Result<String, PingError> {
        let to = || self.connect_to.clone();
        let addresses: Vec<_> =
            lookup_host(resolvable(&self.connect_to)).await.map_err(|_| PingError::NoAddress(to()))?.collect();
        let stream = TcpStream::connect(&*addresses).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => PingError::Refused(to()),
            kind => PingError::Unreachable(to(), kind),
        })?;
        match &self.tls {
            None => self.ask_on(stream).await,
            Some(name) => self.ask_on(tls.connect(name.clone(), stream).await.map_err(|error| of_io(&error))?).await,
        }
    }

    async fn ask_on(&self, stream: impl AsyncRead + AsyncWrite) -> Result<String, PingError> {
        let (read, write) = split(stream);
        let builder = ClientBuilder::from_uri(self.url.clone());
        let builder = builder.limits(Limits::default().max_payload_len(Some(MAX_ANSWER)));
        let (mut socket, _) = builder.connect_on(join(read.take(MAX_READ), write)).await.map_err(|error| of(&error))?;
        let nonce = nonce();
        socket.send(Message::text(ping::question(&nonce))).await.map_err(|error| of(&error))?;
        let answer = socket.next().await.ok_or(PingError::Closed)?.map_err(|error| of(&error))?;
        let who = answer.as_text().and_then(|text| ping::who_answered(text, &nonce));
        who.map(str::to_owned).ok_or(PingError::Stranger)
    }
}

/// Browsers find every name below `localhost` on this machine by themselves (RFC 6761, section 6.3), resolvers often only itself.
fn resolvable(address: &str) -> &str {
    match address.rsplit_once(".localhost:") {
        Some((below, _)) => address.get(below.len() + 1..).unwrap_or(address),
        None => address,
    }
}

/// What no answer that was given before can have.
fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without random numbers an answer that is kept somewhere on the way would go unnoticed, and nothing worse.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(&bytes)
}

fn of(error: &SocketError) -> PingError {
    match error {
        SocketError::Upgrade(upgrade::Error::DidNotSwitchProtocols(TOO_MANY_REQUESTS)) => PingError::Busy,
        SocketError::Upgrade(upgrade::Error::DidNotSwitchProtocols(status)) => PingError::Status(*status),
        SocketError::Upgrade(_) => PingError::NotWebSocket,
        SocketError::Io(error) => of_io(error),
        SocketError::AlreadyClosed => PingError::Closed,
        _ => PingError::Stranger,
    }
}

/// TLS puts its errors into those of the stream.
fn of_io(error: &io::Error) -> PingError {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(error)) => PingError::Untrusted(of_certificate(error)),
        Some(error) => PingError::Tls(error.clone()),
        None => PingError::Closed,
    }
}

/// In words without the times that rustls adds to some.
fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => "its issuer is unknown",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "it is for another name",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::Revoked => "it is revoked",
        _ => "it cannot be used",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect_to(url: &str, instead: Option<&str>) -> Option<(String, bool)> {
        let url = url.parse().unwrap();
        Way::to(&url, instead).map(|way| (way.connect_to, way.tls.is_some()))
    }

    #[test]
    fn the_address_says_where_to_connect_unless_told_otherwise() {
        assert_eq!(connect_to("wss://shell.test/-/ping", None), Some(("shell.test:443".into(), true)));
        assert_eq!(connect_to("ws://shell.test:8080/-/ping", None), Some(("shell.test:8080".into(), false)));
        assert_eq!(connect_to("wss://shell.test/-/ping", Some("10.0.0.1:443")), Some(("10.0.0.1:443".into(), true)));
        for (address, resolved) in [
            ("gateways.shell.localhost:8080", "localhost:8080"),
            ("localhost:8080", "localhost:8080"),
            ("shell.localhost.test:443", "shell.localhost.test:443"),
        ] {
            assert_eq!(resolvable(address), resolved);
        }
        for none in ["https://shell.test/-/ping", "/-/ping"] {
            assert_eq!(connect_to(none, None), None, "{none}");
        }
    }
}
