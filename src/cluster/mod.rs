//! `webshell gateway`: the gateway of a namespace, whose shells are the WebShells there.
//!
//! [`shells`] follows them, and what they name ([`references`], looked at as [`schedule`] says, with `found` as the result);
//! [`root`] follows the gateway's settings; [`guard`] and [`review`] ask who may open what and who still may; [`status`] and [`host_keys`]
//! write into status, and [`notices`] become Events; `api_server` keeps targets away from the API server. All of it goes
//! through [`crate::calls`]. What is not answered changes nothing: sessions live on for a grace.

mod api_server;
mod found;
pub mod guard;
pub mod host_keys;
pub mod notices;
pub mod references;
pub mod review;
pub mod root;
pub mod schedule;
mod service;
pub mod shells;
pub mod status;

use std::{io, sync::Arc, time::Duration};

use kube::{Api, Client};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

use self::{
    guard::ClusterGuard,
    notices::{Notices, Publisher},
    root::Root,
    shells::Shells,
    status::Writer,
};
use crate::{
    calls::Calls,
    catalog::ShellKey,
    cli,
    client::{self, ClientError},
    config::{GatewaySettings, Log, Policy, RouteMode},
    events::Events,
    gateway::{
        Gateway, Settings,
        drain::{Shutdown, Signals, SignalsError},
        listen::{ListenError, listen},
        login::{Auth, PortalLogins, Trust, portal::TrustError},
        origin::Origins,
    },
    policy::{Reserved, TargetPolicy},
    protocol::v1::Ended,
    rights::review::Reviewer,
    session::{Caps, Registry},
    telemetry::{logs::Logs, metrics::SessionMetrics},
};

/// Why `webshell gateway` did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no API server to ask.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its address is not known, so that nothing can be kept from it.
    #[error("the host of the API server's URL {1} cannot be resolved: {0}")]
    ApiServerAddress(io::Error, hyper::http::Uri),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system does not tell of signals.
    #[error(transparent)]
    Signals(#[from] SignalsError),
    /// Nobody can be believed, a fault of the program.
    #[error("log-in cannot be set up: {0}")]
    Trust(#[from] TrustError),
    /// There is nothing to make secrets of.
    #[error("the system has no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// A gateway in a cluster, ready to run.
pub struct Cluster {
    /// Asks the API server.
    pub client: Client,
    /// The namespace whose WebShells it serves.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// The pod's UID, which tells it from others to a ping.
    pub instance: String,
    /// Where targets never are.
    pub reserved: watch::Receiver<Reserved>,
    /// Where browsers connect.
    pub listener: TcpListener,
    /// Where operators connect.
    pub admin: TcpListener,
    /// Who may come in, and as whom; from what the namespace's ConfigMap says, once that is known.
    pub auth: Auth,
    /// Which pages may speak to it.
    pub origins: Origins,
    /// What the namespace's ConfigMap says, and who is to publish it.
    pub root: watch::Sender<Option<Arc<Root>>>,
    /// Tells it to stop.
    pub shutdown: Shutdown,
}

/// Serves until a signal asks for the end.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: cli::Gateway, logs: Logs) -> Result<(), ClusterError> {
    let signals = Signals::new()?;
    let listener = listen("--listen", arguments.listen).await?;
    let admin = listen("--admin-listen", arguments.admin_listen).await?;
    let config = client::config(None).await?;
    let host: Arc<str> = api_server::host(&config.cluster_url).into();
    let resolve = move || {
        let host = Arc::clone(&host);
        async move { api_server::addresses(&host).await }
    };
    let addresses =
        resolve().await.map_err(|error| ClusterError::ApiServerAddress(error, config.cluster_url.clone()))?;
    let (reserve, reserved) = watch::channel(Reserved::in_cluster(addresses));
    let client = client::from_config(config)?;

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let shutdown = Shutdown::new(arguments.drain_timeout.get());
    tasks.spawn(stop.clone().run_until_cancelled_owned(signals.forward(shutdown.clone())));
    let root = watch::Sender::new(None);
    let trust = watch::Sender::new(Arc::new(nobody()?));
    let cluster = Cluster {
        client,
        auth: Auth::Portal(Arc::new(PortalLogins::new(arguments.namespace.clone(), trust.subscribe())?)),
        origins: Origins::told(trust.subscribe()),
        namespace: arguments.namespace,
        pod: arguments.pod_name,
        instance: arguments.pod_uid,
        reserved,
        listener,
        admin,
        root: root.clone(),
        shutdown,
    };
    tasks.spawn(stop.clone().run_until_cancelled_owned(believe(root.subscribe(), trust)));
    tasks.spawn(stop.clone().run_until_cancelled_owned(log(root.subscribe(), logs)));
    tasks.spawn(stop.clone().run_until_cancelled_owned(api_server::follow(resolve, reserve)));
    cluster.run().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

impl Cluster {
    /// Serves until it is told to stop, and drains.
    pub async fn run(self) {
        let Self { client, namespace, pod, root, reserved, .. } = self;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (told, listed, ready) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (notices, waiting) = Notices::new();
        let observer = notices.clone();
        let tell = move |shell: &ShellKey, ended: &Ended| observer.ended(&shell.name, ended);
        let registry = Registry::observed(0, SessionMetrics::default(), tell);
        let calls = Arc::new(Calls::default());

        let live = Live::new(reserved);
        let (settings, policy, grace) = (live.settings.subscribe(), live.policy.subscribe(), live.grace.subscribe());
        let shells = Arc::new(Shells::new(&client, &namespace, &pod, Arc::clone(&calls), notices, policy));
        let reviewer = Arc::new(Reviewer::of_namespace(client.clone(), &namespace, Arc::clone(&calls)));
        let api = Api::namespaced(client.clone(), &namespace);
        let events = Events::new(client.clone(), "gateway", "Connect", &pod);
        let publisher = Publisher { api: api.clone(), calls: Arc::clone(&calls), events };
        let writer = Writer { api, calls, shells: Arc::clone(&shells), pod };
        let guard = ClusterGuard::new(&namespace, Arc::clone(&reviewer), Arc::clone(&shells));
        let catalog = shells.catalog();

        tasks.spawn(live.follow(root.subscribe(), told.clone(), stop.clone()));
        tasks.spawn(root::follow(client, namespace.clone(), root, stop.clone()));
        tasks.spawn(shells.run(registry.clone(), listed.clone(), stop.clone()));
        tasks.spawn(review::watch_over(reviewer, namespace.clone(), registry.clone(), grace, stop.clone()));
        tasks.spawn(publisher.run(waiting, namespace.clone(), stop.clone()));
        tasks.spawn(writer.run(registry.clone(), stop.clone()));
        let (known, serving) = (ready.clone(), stop.clone());
        tasks.spawn(async move {
            let both = async {
                told.cancelled().await;
                listed.cancelled().await;
            };
            if serving.run_until_cancelled(both).await.is_some() {
                info!(namespace, "serving");
                known.cancel();
            }
        });

        let gateway = Gateway {
            listener: self.listener,
            tls: None,
            admin: self.admin,
            auth: self.auth,
            origins: self.origins,
            guard: Arc::new(guard),
            settings,
            instance: self.instance,
            registry,
            catalog,
            ready,
            shutdown: self.shutdown,
        };
        gateway.run().await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// What settings become for those who go by them.
struct Live {
    reserved: watch::Receiver<Reserved>,
    settings: watch::Sender<Arc<Settings>>,
    policy: watch::Sender<Arc<TargetPolicy>>,
    grace: watch::Sender<Duration>,
}

impl Live {
    /// Until settings are known there are no sessions.
    fn new(reserved: watch::Receiver<Reserved>) -> Self {
        let caps = Caps { total: 0, user: None, shell: None, namespace: None };
        let policy = TargetPolicy { reserved: reserved.borrow().clone(), ..TargetPolicy::default() };
        Self {
            reserved,
            settings: watch::Sender::new(Arc::new(Settings { trusted_proxies: Vec::new(), caps })),
            policy: watch::Sender::new(Arc::new(policy)),
            grace: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Passes settings on; `told` is cancelled once there are any.
    async fn follow(
        mut self,
        mut root: watch::Receiver<Option<Arc<Root>>>,
        told: CancellationToken,
        stop: CancellationToken,
    ) {
        loop {
            let newest = root.borrow_and_update().clone();
            if let Some(root) = newest {
                self.pass_on(&root);
                told.cancel();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = root.changed() => if changed.is_err() { return },
                Ok(()) = self.reserved.changed() => {}
            }
        }
    }

    fn pass_on(&mut self, root: &Root) {
        let settings = &root.settings;
        let policy = &settings.policy;
        let caps = Caps {
            total: settings.max_sessions as usize,
            user: policy.max_sessions_per_user,
            shell: policy.max_sessions_per_web_shell,
            namespace: policy.max_sessions_per_namespace,
        };
        let trusted_proxies = settings.trusted_proxies.clone();
        self.settings.send_replace(Arc::new(Settings { trusted_proxies, caps }));
        self.grace.send_replace(settings.api_outage_grace.get());
        let policy =
            Arc::new(TargetPolicy { reserved: self.reserved.borrow_and_update().clone(), policy: policy.clone() });
        self.policy.send_if_modified(|before| {
            let changed = *before != policy;
            *before = policy;
            changed
        });
    }
}

/// Whom a gateway believes that has no settings yet.
///
/// # Errors
/// None are expected.
pub fn nobody() -> Result<Trust, TrustError> {
    let settings = GatewaySettings {
        origin: "https://gateway.invalid".to_owned(),
        portal: "https://portal.invalid".to_owned(),
        portal_service: None,
        mode: RouteMode::Path,
        policy: Policy::default(),
        login_lifetime: crate::api::Duration::from_secs(0),
        api_outage_grace: crate::api::Duration::from_secs(0),
        max_sessions: 0,
        trusted_proxies: Vec::new(),
        log: Log::default(),
    };
    Trust::new(&settings, r#"{"keys": []}"#)
}

/// Passes on whom the settings say to believe, for as long as there are any.
pub async fn believe(mut root: watch::Receiver<Option<Arc<Root>>>, trust: watch::Sender<Arc<Trust>>) {
    loop {
        let newest = root.borrow_and_update().clone();
        if let Some(root) = newest {
            match Trust::new(&root.settings, &root.keys) {
                Ok(now) => _ = trust.send_replace(Arc::new(now)),
                Err(error) => error!(%error, "settings cannot be used; who was believed before still is"),
            }
        }
        if root.changed().await.is_err() {
            return;
        }
    }
}

/// Logs as the settings say; until there are any, as the command line does.
async fn log(mut root: watch::Receiver<Option<Arc<Root>>>, logs: Logs) {
    let mut now = None;
    loop {
        let newest = root.borrow_and_update().as_ref().map(|root| root.settings.log);
        if let Some(log) = newest.filter(|log| now != Some(*log)) {
            logs.change(log.format, log.level);
            now = newest;
        }
        if root.changed().await.is_err() {
            return;
        }
    }
}
