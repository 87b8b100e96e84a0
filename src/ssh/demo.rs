//! The demo target: an SSH server inside the process that gives its only client a shell on this machine.
//!
//! It listens on loopback, makes fresh keys at every start, and accepts that one client key and nothing else. It lives
//! here rather than with the rest of local mode because russh's types stay inside `ssh`.

mod connection;
mod input;
mod program;

use std::{
    env, io,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use russh::{
    MethodKind, MethodSet,
    keys::{
        Algorithm, PrivateKey, PublicKey,
        key::safe_rng,
        ssh_key::{self, LineEnding},
    },
    server::{self, run_stream},
};
use secrecy::SecretString;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{debug, warn};

use self::connection::{Connection, ConnectionError};
use super::known_hosts::lookup_name;

/// How many connections may be open at once: one for each terminal, and who would have more of the demo?
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to log in. Every user of the machine can connect, so none may hold a connection for ever.
const LOGIN_TIME: Duration = Duration::from_secs(30);

/// How many keys a client may fail to prove, as OpenSSH's `MaxAuthTries`.
const MAX_AUTH_ATTEMPTS: usize = 6;

/// A running demo target. Dropping it stops it.
#[derive(Debug)]
pub struct Demo {
    address: SocketAddr,
    user: String,
    known_hosts_line: String,
    private_key: SecretString,
    accepting: JoinHandle<()>,
    stop: DropGuard,
}

/// Why the demo target did not start.
#[derive(Debug, Error)]
pub enum DemoError {
    /// Loopback cannot be listened on.
    #[error("the demo target cannot listen on 127.0.0.1: {0}")]
    Listen(#[from] io::Error),
    /// No key could be made; what the library said.
    #[error("the demo target's keys cannot be made: {0}")]
    Keys(String),
}

/// Who may log in, and with which key.
#[derive(Debug)]
struct Access {
    user: String,
    key: PublicKey,
}

// === impl Demo ===

impl Demo {
    /// Makes keys and begins to listen on a free port of 127.0.0.1. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no port to listen on, or no randomness to make keys of.
    pub async fn start(cancel: &CancellationToken) -> Result<Self, DemoError> {
        let host_key = new_key()?;
        let client_key = new_key()?;
        let private_key = SecretString::from(client_key.to_openssh(LineEnding::LF)?.as_str());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let name = lookup_name(&address.ip().to_string(), address.port());
        let known_hosts_line = format!("{name} {}", host_key.public_key().to_openssh()?.trim());

        let user = ["USER", "LOGNAME"].into_iter().filter_map(|name| env::var(name).ok()).find(|user| !user.is_empty());
        let user = user.unwrap_or_else(|| "demo".to_owned());
        let access = Access { user: user.clone(), key: client_key.public_key().clone() };
        let stop = cancel.child_token();
        let accepting = tokio::spawn(accept(listener, config(host_key), Arc::new(access), stop.clone()));
        Ok(Self { address, user, known_hosts_line, private_key, accepting, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The user to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The line that makes its host key known.
    pub fn known_hosts_line(&self) -> &str {
        &self.known_hosts_line
    }

    /// The only key that may log in, in OpenSSH's form.
    pub fn private_key(&self) -> &SecretString {
        &self.private_key
    }

    /// Ends all connections and their programs, and waits until they have.
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.accepting.await {
            warn!(%error, "the demo target ended by a fault");
        }
    }
}

fn new_key() -> Result<PrivateKey, DemoError> {
    Ok(PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?)
}

impl From<ssh_key::Error> for DemoError {
    fn from(error: ssh_key::Error) -> Self {
        Self::Keys(error.to_string())
    }
}

fn config(host_key: PrivateKey) -> Arc<server::Config> {
    Arc::new(server::Config {
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        max_auth_attempts: MAX_AUTH_ATTEMPTS,
        // Clients ask for "none" first, to learn which methods there are.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: input::WINDOW,
        // Messages of output that wait for the network, each a packet: enough to keep it busy, little to follow a Ctrl-C.
        event_buffer_size: 4,
        inactivity_timeout: None,
        ..server::Config::default()
    })
}

/// Serves connections until stopped, then waits for them to end.
async fn accept(listener: TcpListener, config: Arc<server::Config>, access: Arc<Access>, stop: CancellationToken) {
    let (tasks, slots) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match (accepted, slots.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(slot)) => {
                let connection = Connection::new(access.clone(), tasks.clone(), &stop);
                let (config, stop) = (config.clone(), stop.clone());
                tasks.spawn(async move {
                    if let Err(error) = serve(stream, config, connection, stop).await {
                        debug!(%error, "a connection to the demo target ended");
                    }
                    drop(slot);
                });
            }
            (Ok(_), Err(_)) => debug!("too many connections to the demo target"),
            // Files or memory are short: others have to end before it can work.
            (Err(error), _) => {
                warn!(%error, "the demo target cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Serves one connection until it ends, is not logged in in time, or is stopped.
async fn serve(
    stream: TcpStream,
    config: Arc<server::Config>,
    connection: Connection,
    stop: CancellationToken,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    // A second handle, because russh keeps the first and has no other way to be ended at once.
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    let logged_in = connection.logged_in();
    let mut session = timeout(LOGIN_TIME, run_stream(config, TcpStream::from_std(stream)?, connection)).await??;
    tokio::select! {
        result = &mut session => return result,
        Err(_) = timeout(LOGIN_TIME, logged_in.cancelled()) => {}
        () = stop.cancelled() => {}
    }
    // The peer may have gone at the same moment, which is as good.
    let _ = socket.shutdown(Shutdown::Both);
    session.await
}
