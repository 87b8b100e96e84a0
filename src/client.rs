//! A client of the API server: by the pod's own account in a cluster, by `KUBECONFIG` elsewhere.

use std::time::Duration;

use kube::{Client, Config, config::InferConfigError};

use crate::watch;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing says where the API server is.
    #[error("there is no way to the API server: {0}; run it in a cluster, or set KUBECONFIG")]
    Config(#[from] Box<InferConfigError>),
    /// What says so cannot be used.
    #[error("the way to the API server cannot be used: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client. With `limit`, calls end by an error when nothing comes for so long; without, when it is longer than any watch is
/// silent.
///
/// # Errors
/// When nothing usable says where the API server is.
pub async fn client(limit: Option<Duration>) -> Result<Client, ClientError> {
    from_config(config(limit).await?)
}

/// Where the API server is, and who we are there.
///
/// # Errors
/// When nothing says so.
pub async fn config(limit: Option<Duration>) -> Result<Config, ClientError> {
    let mut config = Config::infer().await.map_err(Box::new)?;
    if limit.is_some() {
        config.connect_timeout = limit;
        config.write_timeout = limit;
    }
    config.read_timeout = limit.or(Some(watch::SILENCE));
    // What a connection was idle for before is no silence.
    config.reset_reader_on_write = true;
    Ok(config)
}

/// A client by [`config`]. It tries nothing again by itself: it would for minutes, or for as long as an answer asks for, and
/// whoever waits would not know. Everybody who calls has pauses and limits of their own.
///
/// # Errors
/// When the certificates or the token that it names cannot be used.
pub fn from_config(config: Config) -> Result<Client, ClientError> {
    build(config, Client::try_from)
}

/// The same, built by `make`.
///
/// # Errors
/// When `make` fails.
pub fn build(
    mut config: Config,
    make: impl FnOnce(Config) -> Result<Client, kube::Error>,
) -> Result<Client, ClientError> {
    config.default_retry = false;
    // Another part of the program may have chosen it already; it is the only one there is.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(make(config).map_err(Box::new)?)
}
