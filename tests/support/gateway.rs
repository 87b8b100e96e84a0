//! Terminals on real WebSockets, in this process, in front of a real SSH server; HTTP and log-in are left out.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_websockets::{Limits, ServerBuilder};
use webshell::{
    api::SessionLimits,
    catalog::{Access, Catalog, Entry, ShellKey},
    gateway::{
        connections::Connections,
        terminal::{Connection, Mode, Terminals, serve},
    },
    protocol::{raw, v1},
    session::Registry,
    ssh::{Admission, Credentials, HostKeys, KnownHosts, Program, Target},
    telemetry::metrics::{HttpMetrics, SessionMetrics},
    user::User,
};

use super::{browser::Endpoint, sshd::Sshd};

/// Nothing ends a session by itself.
pub const NO_LIMITS: SessionLimits = SessionLimits { idle: None, maximum: None, detach: None, sessions: None };

/// A running gateway with one shell, `team-a/db-1`. Dropped, it is gone.
pub struct Gateway {
    pub endpoint: Endpoint,
    pub registry: Registry,
    pub catalog: watch::Sender<Arc<Catalog>>,
    connections: tokio::task::JoinHandle<()>,
}

/// Access to `sshd` with the client's key, to run `command`, or a shell where it is empty.
pub fn access(sshd: &Sshd, command: &str) -> Access {
    Access {
        dial: None,
        target: Target { host: "127.0.0.1".to_owned(), port: sshd.port(), user: Sshd::user() },
        credentials: Credentials {
            private_key: Some(SecretString::from(sshd.client_key().to_owned())),
            ..Credentials::default()
        },
        host_keys: HostKeys { known_hosts: KnownHosts::parse(&sshd.known_hosts()).unwrap(), ..HostKeys::default() },
        program: Program { command: (!command.is_empty()).then(|| command.to_owned()), ..Program::default() },
        connect_timeout: Duration::from_secs(20),
        limits: NO_LIMITS,
        clipboard_write: false,
        admission: Admission::default(),
        min_rsa_bits: 0,
    }
}

/// A catalog with the one shell.
pub fn catalog(access: Access) -> Arc<Catalog> {
    let key = ShellKey { namespace: "team-a".to_owned(), name: "db-1".to_owned() };
    let entry = Entry { key: key.clone(), target: String::new(), access: Ok(Arc::new(access)) };
    Arc::new(Catalog { shells: [(key, entry)].into() })
}

// === impl Gateway ===

impl Gateway {
    /// A gateway for `access`, whose connections come as `user`.
    pub async fn start(access: Access) -> Self {
        Self::start_raw(access, false).await
    }

    /// The same; `raw` connections speak no subprotocol.
    pub async fn start_raw(access: Access, raw_mode: bool) -> Self {
        let (catalog, catalogs) = watch::channel(catalog(access));
        let registry = Registry::new(1000, SessionMetrics::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = Endpoint::shell(listener.local_addr().unwrap(), "team-a", "db-1");
        let terminals = Terminals { registry: registry.clone(), catalog: catalogs };
        let connections = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            let places = Connections::new(1000, HttpMetrics::default());
            while let Ok((stream, peer)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (place, _) = places.admit(peer.ip()).unwrap();
                let terminals = terminals.clone();
                tasks.spawn(async move {
                    let limit = if raw_mode { raw::MAX_CLIENT_FRAME } else { v1::MAX_CLIENT_FRAME };
                    let limits = Limits::default().max_payload_len(Some(limit));
                    let Ok((_, socket)) = ServerBuilder::new().limits(limits).accept(stream).await else { return };
                    let connection = Connection {
                        shell: ShellKey { namespace: "team-a".to_owned(), name: "db-1".to_owned() },
                        user: Arc::new(User { name: "ada".to_owned(), ..User::default() }),
                        client: peer.ip(),
                        may_begin: true,
                        place: Arc::new(place),
                    };
                    let mode = if raw_mode { Mode::Raw { size: v1::Size::DEFAULT } } else { Mode::V1 };
                    serve(socket, mode, connection, &terminals).await;
                });
            }
        });
        Gateway { endpoint, registry, catalog, connections }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.connections.abort();
    }
}
