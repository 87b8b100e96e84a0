//! `webshell portal`: who somebody is, which shells are theirs, and tickets to the gateways that have them.
//!
//! It is the only part that sees what people log in with. [`token`] finds out whose a token is, and `attempts` who may try next;
//! [`access`] finds out what they may, [`shells`] what there is, [`keys`] sign the tickets, [`ended`] remembers log-outs for the
//! gateways that ask, and [`site`] answers browsers and gateways.

pub mod access;
mod attempts;
pub mod ended;
pub mod keys;
pub mod list;
pub mod page;
pub mod routes;
pub mod shells;
pub mod site;
pub mod token;

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use self::{access::Access, ended::EndedLogins, keys::Keyring, shells::Shells, site::Site, token::Tokens};
use crate::{
    cli,
    client::{ClientError, client},
    clock::unix_time,
    config::{Config, ConfigError},
    gateway::{
        admin::Admin,
        connections::Connections,
        drain::{Shutdown, Signals, SignalsError},
        headers::Reach,
        limiter::Limiter,
        listen::{ListenError, listen},
        login::{Cookie, Sessions},
        origin::{self, Origins},
        ping::Pings,
        server::{Deadlines, Server},
    },
    telemetry::{
        metrics::{self, HttpMetrics},
        throttle::{self, Throttle},
    },
    ticket::SignError,
};

/// How long the API server may be silent before a call ends by an error. Watches are longer: they have a client of their own.
const API_TIMEOUT: Duration = Duration::from_secs(15);

/// The most connections at once: pages, and lists that are looked at. Any of them gives way to another.
const MAX_CONNECTIONS: usize = 2048;

/// How many may be logged in at once, and how many times one user.
const MAX_SESSIONS: usize = 4096;
const MAX_SESSIONS_OF_ONE: usize = 32;

/// The most questions of gateways at once, and of one address, of which a node may have one only for all its pods. Each takes
/// milliseconds.
const MAX_QUESTIONS: usize = 128;
const MAX_QUESTIONS_OF_ONE: usize = 32;

/// How long requests under way may take to end once it is told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Why `webshell portal` did not start.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host makes no origin.
    #[error("--config: route.host: {0}")]
    Origin(#[from] origin::ParseError),
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no signing key.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The system does not tell of signals.
    #[error(transparent)]
    Signals(#[from] SignalsError),
}

/// A portal, ready to run.
pub struct Portal {
    /// The installation's settings.
    pub config: Config,
    /// Reaches the API server for single calls.
    pub client: Client,
    /// Reaches it for watches, which last.
    pub watcher: Client,
    /// The namespace of controller and portals.
    pub namespace: String,
    /// The name of this pod.
    pub pod: String,
    /// Where browsers connect.
    pub listener: TcpListener,
    /// Where operators connect.
    pub admin: TcpListener,
    /// Tells it to stop.
    pub stop: CancellationToken,
}

/// Serves until a signal asks for the end.
///
/// # Errors
/// When it cannot start; the message says what to change.
pub async fn run(cli::Portal { installation, listen: address }: cli::Portal) -> Result<(), PortalError> {
    let signals = Signals::new()?;
    let shutdown = Shutdown::new(LAST_REQUESTS);
    let portal = Portal {
        config: Config::read(&installation.config)?,
        client: client(Some(API_TIMEOUT)).await?,
        watcher: client(None).await?,
        namespace: installation.namespace,
        pod: installation.pod_name,
        listener: listen("--listen", address).await?,
        admin: listen("--admin-listen", installation.admin_listen).await?,
        stop: shutdown.drain.clone(),
    };
    tokio::select! {
        served = portal.run() => served,
        () = async { signals.forward(shutdown.clone()).await } => Ok(()),
    }
}

impl Portal {
    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// When it cannot start; the message says what to change.
    pub async fn run(self) -> Result<(), PortalError> {
        let origin: origin::Origin = self.config.route.portal_origin().parse()?;
        let keyring = Arc::new(Keyring::new(unix_time())?);
        let (shells, http) = (Shells::default(), HttpMetrics::default());
        let (published, seen, ready) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();

        let site = Arc::new(Site {
            cookie: Cookie::of(origin.is_secure(), ""),
            reach: Reach::of(&origin),
            origins: Origins::exactly(origin),
            lifetime: self.config.login_lifetime.get(),
            trusted_proxies: self.config.gateway.trusted_proxies.clone(),
            route: self.config.route,
            instance: self.pod.clone(),
            sessions: Sessions::new(MAX_SESSIONS, MAX_SESSIONS_OF_ONE),
            ended: EndedLogins::default(),
            questions: Limiter::new(MAX_QUESTIONS, MAX_QUESTIONS_OF_ONE),
            tokens: Tokens::new(self.client.clone()),
            access: Access::new(self.client.clone()),
            shells: shells.clone(),
            keyring: Arc::clone(&keyring),
            pings: Pings::default(),
            metrics: http.clone(),
            refused_log_ins: Throttle::default(),
            tasks: tasks.clone(),
        });
        let server = Server {
            listener: self.listener,
            tls: None,
            connections: Connections::new(MAX_CONNECTIONS, http.clone()),
            deadlines: Deadlines::PUBLIC,
            tasks: tasks.clone(),
            stop: self.stop.clone(),
        };
        let admin = Admin { registry: metrics::of_http(&http), ready: ready.clone(), draining: self.stop.clone() };
        admin.serve(self.admin, &tasks, self.stop.clone());
        tasks.spawn(server.run(Arc::clone(&site)));
        let tell = move || site.refused_log_ins.tell_left_out("log-ins were refused");
        tasks.spawn(throttle::every_minute(tell, self.stop.clone()));

        let publish = keys::publish(&keyring, self.client, &self.namespace, &self.pod, &published, &self.stop);
        let follow = shells.follow(self.watcher, &seen, &self.stop);
        let become_ready = async {
            published.cancelled().await;
            seen.cancelled().await;
            info!("the portal is ready");
            ready.cancel();
        };
        tokio::join!(publish, follow, self.stop.run_until_cancelled(become_ready));
        tasks.close();
        if timeout(LAST_REQUESTS, tasks.wait()).await.is_err() {
            info!(connections = tasks.len(), "connections were left behind");
        }
        Ok(())
    }
}
