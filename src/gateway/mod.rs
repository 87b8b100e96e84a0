//! The gateway: HTTP routes, log-in, WebSockets, and the embedded page.
//!
//! [`Gateway`] runs it: [`listen`] and [`server`] accept connections, of which [`connections`] keeps the number within bounds (and
//! [`limiter`] that of other things), [`site`] answers browsers ([`path`], [`routes`], [`origin`],
//! [`login`], [`guard`], [`upgrade`] and [`forwarded`] decide; [`http`], [`refusal`] and [`page`] have what answers are made of),
//! [`terminal`] and [`ping`] speak on WebSockets, and [`admin`] answers operators.

pub mod admin;
pub mod connections;
pub mod drain;
pub mod form;
pub mod forwarded;
pub mod guard;
pub mod headers;
pub mod http;
pub mod limiter;
pub mod list;
pub mod listen;
pub mod login;
pub mod origin;
pub mod page;
pub mod path;
pub mod ping;
pub mod refusal;
pub mod routes;
pub mod server;
pub mod site;
pub mod stream;
pub mod terminal;
pub mod tls;
pub mod upgrade;

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use self::{
    admin::Admin,
    connections::Connections,
    drain::Shutdown,
    guard::Guard,
    headers::Reach,
    login::{Auth, endings},
    origin::Origins,
    ping::Pings,
    server::{Deadlines, Server},
    site::Site,
    terminal::Terminals,
};
use crate::{
    catalog::Catalog,
    session::{Caps, Registry},
    telemetry::{
        audit::Denials,
        metrics::{self, HttpMetrics},
        throttle::{self, Throttle},
    },
};

/// Connections that may be open besides one for each terminal: pages, assets, pings, terminals that have not begun, and those whose
/// old connection has not ended yet. Any of them gives way to another.
const SPARE_CONNECTIONS: usize = 512;

/// How long the last connections may take to end once all sessions have.
const LAST_CONNECTIONS: Duration = Duration::from_secs(5);

/// A gateway, ready to run.
pub struct Gateway {
    /// Where browsers connect.
    pub listener: TcpListener,
    /// For HTTPS there.
    pub tls: Option<TlsAcceptor>,
    /// Where operators connect.
    pub admin: TcpListener,
    /// Who may come in, and as whom.
    pub auth: Auth,
    /// Which pages may speak to it.
    pub origins: Origins,
    /// Who may open which shell.
    pub guard: Arc<dyn Guard>,
    /// What may change while it runs; known by the time that it is ready.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Tells this gateway from others to a ping.
    pub instance: String,
    /// Its sessions.
    pub registry: Registry,
    /// The shells.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Cancelled once there is something to serve. Until then only operators are answered.
    pub ready: CancellationToken,
    /// Tells it to stop.
    pub shutdown: Shutdown,
}

/// What may change while a gateway runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The most sessions at once.
    pub caps: Caps,
}

impl Gateway {
    /// Serves until it is told to stop, then drains: new terminals are refused, users are told, and their sessions end at
    /// the limit at the latest.
    pub async fn run(self) {
        let (registry, http) = (self.registry, HttpMetrics::default());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let draining = self.shutdown.drain.clone();

        let metrics = metrics::registry(registry.metrics(), &http);
        let admin = Admin { registry: metrics, ready: self.ready.clone(), draining: draining.clone() };
        admin.serve(self.admin, &tasks, stop.clone());

        tokio::select! {
            () = self.ready.cancelled() => {}
            () = draining.cancelled() => {}
        }
        let connections = Connections::new(max_connections(&self.settings.borrow()), http.clone());
        let on_loopback = self.listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        if let Auth::Portal(logins) = &self.auth {
            tasks.spawn(endings::follow_keys(Arc::clone(logins), registry.clone(), stop.clone()));
            tasks.spawn(endings::follow_portal(Arc::clone(logins), registry.clone(), stop.clone()));
        }
        let site = Arc::new(Site {
            auth: self.auth,
            origins: self.origins,
            guard: self.guard,
            settings: self.settings.clone(),
            reach: if self.tls.is_some() && !on_loopback { Reach::Pinned } else { Reach::Local },
            instance: self.instance,
            terminals: Terminals { registry: registry.clone(), catalog: self.catalog.clone() },
            pings: Pings::default(),
            metrics: http,
            denials: Denials::default(),
            refused_log_ins: Throttle::default(),
            tasks: tasks.clone(),
            draining: draining.clone(),
        });
        let server = Server {
            listener: self.listener,
            tls: self.tls,
            connections: connections.clone(),
            deadlines: Deadlines::PUBLIC,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(server.run(Arc::clone(&site)));
        tasks.spawn(throttle::every_minute(move || site.tell_left_out(), stop.clone()));
        tasks.spawn(follow(self.catalog, registry.clone(), stop.clone()));
        tasks.spawn(apply(self.settings, registry.clone(), connections, stop.clone()));

        draining.cancelled().await;
        let limit = self.shutdown.limit.as_secs();
        info!(sessions = registry.count(), limit, "draining; another signal stops at once");
        tokio::select! {
            () = registry.drain(self.shutdown.limit) => {}
            () = self.shutdown.now.cancelled() => registry.drain(Duration::ZERO).await,
        }
        stop.cancel();
        tasks.close();
        if timeout(LAST_CONNECTIONS, tasks.wait()).await.is_err() {
            info!(connections = tasks.len(), "connections were left behind");
        }
    }
}

/// Holds live sessions against what becomes of their shells.
async fn follow(mut catalog: watch::Receiver<Arc<Catalog>>, registry: Registry, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(catalog.changed()).await {
        let newest = catalog.borrow_and_update().clone();
        registry.follow(&newest);
    }
}

fn max_connections(settings: &Settings) -> usize {
    settings.caps.total.saturating_add(SPARE_CONNECTIONS)
}

/// Keeps to the newest caps.
async fn apply(
    mut settings: watch::Receiver<Arc<Settings>>,
    registry: Registry,
    connections: Connections,
    stop: CancellationToken,
) {
    loop {
        let newest = settings.borrow_and_update().clone();
        registry.set_caps(newest.caps);
        connections.set_most(max_connections(&newest));
        let Some(Ok(())) = stop.run_until_cancelled(settings.changed()).await else { return };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        config,
        protocol::raw,
        session::{budget, input, replay},
        ticket,
    };

    const KIB: usize = 1024;

    /// Of SSH's library, its buffers and keys: a whole session takes less (docs/benchmarks.md).
    const SSH: usize = 128 * KIB;
    /// What is on its way to a browser, and the rest of a session.
    const REST_OF_SESSION: usize = 64 * KIB;
    /// The program, and the WebShells that it knows.
    const PROGRAM: usize = 40 * KIB * KIB;

    /// The table of docs/operations.md.
    #[test]
    fn the_charts_defaults_fit_its_limit_of_memory() {
        let values: Value = config::parse("values.yaml", include_str!("../../charts/webshell/values.yaml")).unwrap();
        let gateway = &values["gateway"];
        let sessions = gateway["maxSessions"].as_u64().unwrap() as usize;
        let limit = gateway["resources"]["limits"]["memory"].as_str().unwrap().strip_suffix("Mi").unwrap();
        let limit = limit.parse::<usize>().unwrap() * KIB * KIB;

        let input = 2 * input::WINDOW;
        let session = replay::FREE + input + SSH + raw::MAX_CLIENT_FRAME + REST_OF_SESSION;
        let log_ins = login::portal::MAX_SESSIONS * ticket::MAX_TICKET / 2;
        let connections = SPARE_CONNECTIONS * (server::MAX_HEADERS + server::MAX_BUFFER);
        let sum = sessions * session + budget::TOTAL + log_ins + connections + PROGRAM;
        assert!(sum <= limit, "{} MiB", sum / KIB / KIB);

        let of_one = values["policy"]["maxSessionsPerUser"].as_u64().unwrap() as usize;
        assert!(of_one * 4 <= sessions, "nobody takes most of a gateway");
    }
}
