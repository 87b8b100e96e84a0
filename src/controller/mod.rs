//! The controller: makes each namespace with WebShells have its gateway, and their status say how things stand.
//!
//! It reconciles namespaces. [`watch`] tells what there is; [`observe`] cuts it down to the facts of [`state`], which
//! [`cache`] keeps. A [`reconcile`] takes a namespace's facts and goes through the steps [`validate`] and [`build`] (pure),
//! [`apply`], then [`status`] (pure) and [events](crate::events). [`digest`] tells whether a write would change anything.
//! Only the holder of the [`lease`] does so, and what it writes passes the [`fence`].

pub mod api;
pub mod apply;
pub mod backoff;
pub mod build;
pub mod cache;
pub mod digest;
pub mod fence;
pub mod keys;
pub mod kind;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod owner;
pub mod probe;
pub mod reconcile;
pub mod rollout;
pub mod state;
pub mod status;
pub mod validate;
pub mod watch;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Client,
    core::Selector,
    runtime::controller::{self, Error as AppliedError},
};
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use self::{
    api::Server as ApiServer,
    cache::Cache,
    fence::Fence,
    kind::Kind,
    lease::Leadership,
    metrics::ControllerMetrics,
    probe::Probes,
    reconcile::{Context, Failures},
    rollout::Rollouts,
    watch::Watches,
};
use crate::{
    cli,
    client::{self, ClientError},
    config::{Config, ConfigError, RouteKind},
    events::Events,
    gateway::{
        admin::Admin,
        drain::{Shutdown, Signals, SignalsError},
        listen::{ListenError, listen},
    },
};

/// How many namespaces are reconciled at once.
const CONCURRENCY: u16 = 16;

/// How long reconciles under way may take to end once a signal asks for the end, and connections after them.
const LAST_RECONCILES: Duration = Duration::from_secs(10);
const LAST_CONNECTIONS: Duration = Duration::from_secs(5);

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The namespaces to serve cannot be told from others.
    #[error("--config: namespaceSelector: {0}")]
    Selector(String),
    /// There is no API server to speak to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system does not tell of signals.
    #[error(transparent)]
    Signals(#[from] SignalsError),
    /// The API server cannot be asked what it serves.
    #[error("the API server does not say which resources it serves: {0}")]
    Discovery(Box<kube::Error>),
    /// Routes are to be of a kind that the cluster lacks.
    #[error(
        "--config: route.kind is HTTPRoute, but the cluster has no gateway.networking.k8s.io/v1; install the Gateway API, or use Ingress"
    )]
    NoGatewayApi,
    /// Another controller took over.
    #[error("the Lease was lost: another controller may reconcile now")]
    LeaseLost,
    /// The watches ended by themselves.
    #[error("the watches ended")]
    Ended,
}

/// Reconciles, once it is the leader, until a signal asks for the end.
///
/// # Errors
/// When it cannot start, or must not go on.
pub async fn run(arguments: cli::Installation) -> Result<(), ControllerError> {
    let signals = Signals::new()?;
    let config = Config::read(&arguments.config)?;
    let lease_client = client::client(Some(lease::CALL_LIMIT)).await?;
    let listener = listen("--admin-listen", arguments.admin_listen).await?;

    let metrics = ControllerMetrics::default();
    let shutdown = Shutdown::new(Duration::ZERO);
    let (tasks, stop, ready) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let admin = Admin { registry: metrics.registry(), ready: ready.clone(), draining: shutdown.drain.clone() };
    admin.serve(listener, &tasks, stop.clone());
    tasks.spawn(stop.clone().run_until_cancelled_owned(signals.forward(shutdown.clone())));

    let lead = lead(arguments, config, lease_client, metrics, ready, &shutdown);
    let result = lead.await;
    stop.cancel();
    tasks.close();
    if timeout(LAST_CONNECTIONS, tasks.wait()).await.is_err() {
        info!(connections = tasks.len(), "connections were left behind");
    }
    result
}

/// Waits for the Lease, and reconciles while it is held.
async fn lead(
    arguments: cli::Installation,
    config: Config,
    lease_client: Client,
    metrics: ControllerMetrics,
    ready: CancellationToken,
    shutdown: &Shutdown,
) -> Result<(), ControllerError> {
    let fence = Fence::default();
    let client = client::build(client::config(None).await?, |config| fence.client(config))?;
    let controller = Controller::new(&arguments, config, client, metrics).await?;
    // One that waits for its turn is ready for it.
    ready.cancel();
    info!("waiting for the Lease");
    let leadership = Leadership::acquire(lease_client, &arguments.namespace, &arguments.pod_name, fence);
    let Some(mut leadership) = shutdown.drain.run_until_cancelled(leadership).await else { return Ok(()) };
    info!("this replica reconciles");
    let result = tokio::select! {
        // The Lease is lost before anything else is looked at.
        biased;
        () = leadership.lost() => return Err(ControllerError::LeaseLost),
        result = controller.run(&shutdown.drain) => result,
    };
    leadership.release().await;
    result
}

/// A controller, ready to reconcile.
pub struct Controller {
    context: Arc<Context>,
    watches: Watches,
}

impl Controller {
    /// Asks the API server for what is needed to begin.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn new(
        arguments: &cli::Installation,
        config: Config,
        client: Client,
        metrics: ControllerMetrics,
    ) -> Result<Self, ControllerError> {
        let selector = Selector::try_from(config.namespace_selector.clone())
            .map_err(|error| ControllerError::Selector(error.to_string()))?;
        let has_gateway_api = has_gateway_api(&client).await?;
        if config.route.kind == RouteKind::HttpRoute && !has_gateway_api {
            return Err(ControllerError::NoGatewayApi);
        }
        let known = |kind: &Kind| *kind != Kind::HttpRoute || has_gateway_api;
        let watches = Watches {
            client: client.clone(),
            config: config.clone(),
            selector: selector.clone(),
            system_namespace: arguments.namespace.clone(),
            kinds: Kind::ALL.into_iter().filter(known).collect(),
        };
        let context = Context {
            cache: Arc::new(Cache::new(watches.sources(), metrics.clone())),
            server: ApiServer::new(client.clone(), metrics.clone()),
            events: Events::new(client, "controller", "Reconcile", &arguments.pod_name),
            config,
            selector,
            system_namespace: arguments.namespace.clone(),
            metrics,
            rollouts: Rollouts::default(),
            failures: Failures::default(),
            probes: Probes::default(),
            counted: Mutex::default(),
        };
        Ok(Self { context: Arc::new(context), watches })
    }

    /// Reconciles until `stop`; what is under way then is finished.
    ///
    /// # Errors
    /// When the watches end by themselves.
    pub async fn run(self, stop: &CancellationToken) -> Result<(), ControllerError> {
        let Self { context, watches } = self;
        context.metrics.leads();
        let (store, mut requests) = watches.start(&context.cache);
        let (news, proved) = mpsc::channel(1);
        requests.push(watch::requests(proved));
        let requests = requests.take_until(stop.clone().cancelled_owned());
        let reconciles = kube::runtime::applier(
            |object, context| Box::pin(reconcile::reconcile(object, context)),
            reconcile::after_error,
            context.clone(),
            store,
            requests,
            controller::Config::default().concurrency(CONCURRENCY),
        );
        let mut reconciles = pin!(reconciles.for_each(async |result| {
            match result {
                Ok((object, _)) => debug!(namespace = object.name, "reconciled"),
                // These are told of where they happen.
                Err(AppliedError::ReconcilerFailed(..) | AppliedError::QueueError(_)) => {}
                Err(AppliedError::ObjectNotFound(object)) => context.forget(&object.name),
                Err(error) => warn!(%error, "a reconcile could not be begun"),
            }
        }));
        tokio::select! {
            () = reconciles.as_mut() => return if stop.is_cancelled() { Ok(()) } else { Err(ControllerError::Ended) },
            never = probe::run(&context, news) => match never {},
            () = stop.cancelled() => {}
        }
        if timeout(LAST_RECONCILES, reconciles).await.is_err() {
            info!("reconciles were left behind");
        }
        Ok(())
    }
}

/// Whether the cluster has HTTPRoutes.
async fn has_gateway_api(client: &Client) -> Result<bool, ControllerError> {
    let route = Kind::HttpRoute.resource();
    match client.list_api_group_resources(&route.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == route.plural)),
        // In plain text, so that it has no reason.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(ControllerError::Discovery(Box::new(error))),
    }
}
