//! `webshell ping`: pings portal or gateways, to prove the way that browsers take.

use std::time::Duration;

use hyper::Uri;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::{
    cli,
    ping::{self, PingError, Way},
};

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
        last: PingError,
    },
}

/// Pings every address until it has answered.
///
/// # Errors
/// When one does not answer in time, or is none.
pub async fn run(arguments: cli::Ping) -> Result<(), ProbeError> {
    let began = Instant::now();
    let limit = arguments.timeout.get();
    let tls = ping::tls()?;
    for url in arguments.url {
        let way = Way::to(&url, arguments.connect_to.as_deref()).ok_or_else(|| ProbeError::Address(url.clone()))?;
        let mut told = None;
        loop {
            let last = match way.ping(&tls).await {
                Ok(answered) => {
                    info!(%url, answered, "the way is proved");
                    break;
                }
                Err(error) => error,
            };
            if began.elapsed() + PAUSE >= limit {
                return Err(ProbeError::Silence { url, waited: limit, last });
            }
            // Whoever waits in front of it, or gives up sooner, is to know why.
            if told.as_ref() != Some(&last) {
                info!(%url, error = %last, "no answer yet");
                told = Some(last);
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}
