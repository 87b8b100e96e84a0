//! `webshell ping`: asks portal or gateways for a sign of life by the way that browsers take, to prove it.

use std::{io, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Uri;
use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message};
use tracing::info;

use crate::cli;

/// How long a single try may take.
const TRY: Duration = Duration::from_secs(10);

/// The pause before the next try: an ingress controller needs some seconds for a new route.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a way is not proved.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not the address of a ping.
    #[error("{0}: must be an address such as wss://shell.example.com/team-a/-/ping")]
    Address(Uri),
    /// TLS cannot be spoken.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer in time; what the last try came to.
    #[error("{url}: no answer within {} s: {last}", .waited.as_secs())]
    Silence {
        /// The address.
        url: Uri,
        /// How long it was tried for.
        waited: Duration,
        /// What the last try came to.
        last: String,
    },
}

/// Pings every address until it has answered.
///
/// # Errors
/// When one does not answer in time, or is none.
pub async fn run(arguments: cli::Ping) -> Result<(), ProbeError> {
    let began = Instant::now();
    let limit = arguments.timeout.get();
    let provider = Arc::new(ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(tls));
    for url in arguments.url {
        let way = Way::to(&url, arguments.connect_to.as_deref()).ok_or_else(|| ProbeError::Address(url.clone()))?;
        loop {
            let last = match timeout(TRY, way.ping(&tls)).await {
                Ok(Ok(answer)) => {
                    info!(%url, answer, "the way is proved");
                    break;
                }
                Ok(Err(error)) => error,
                Err(_) => format!("nothing within {} s", TRY.as_secs()),
            };
            if began.elapsed() + PAUSE >= limit {
                return Err(ProbeError::Silence { url, waited: limit, last });
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Where to connect for an address.
struct Way<'a> {
    url: &'a Uri,
    connect_to: String,
    /// The name that a certificate must be for, where there is one.
    tls: Option<ServerName<'static>>,
}

impl<'a> Way<'a> {
    fn to(url: &'a Uri, connect_to: Option<&str>) -> Option<Self> {
        let host = url.host()?;
        let (tls, port) = match url.scheme_str()? {
            "ws" => (None, 80),
            "wss" => (Some(ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?), 443),
            _ => return None,
        };
        let own = || format!("{host}:{}", url.port_u16().unwrap_or(port));
        Some(Self { url, connect_to: connect_to.map_or_else(own, str::to_owned), tls })
    }

    /// Pings once: the answer, or what went wrong.
    async fn ping(&self, tls: &TlsConnector) -> Result<String, String> {
        let stream = TcpStream::connect(&self.connect_to).await.map_err(|error| self.connecting(&error))?;
        match &self.tls {
            None => self.ping_on(stream).await,
            Some(name) => {
                let stream = tls.connect(name.clone(), stream).await.map_err(|error| self.connecting(&error))?;
                self.ping_on(stream).await
            }
        }
    }

    fn connecting(&self, error: &io::Error) -> String {
        format!("connecting to {}: {error}", self.connect_to)
    }

    async fn ping_on(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, String> {
        let builder = ClientBuilder::from_uri(self.url.clone());
        let (mut socket, _) = builder.connect_on(stream).await.map_err(|error| error.to_string())?;
        socket.send(Message::text("ping")).await.map_err(|error| error.to_string())?;
        match socket.next().await {
            Some(Ok(message)) if message.as_text().is_some_and(|text| text.starts_with("pong!")) => {
                Ok(message.as_text().unwrap_or_default().to_owned())
            }
            Some(Ok(_)) => Err("it answered something else than pong!".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it closed without an answer".to_owned()),
        }
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
        for none in ["https://shell.test/-/ping", "/-/ping"] {
            assert_eq!(connect_to(none, None), None, "{none}");
        }
    }
}
