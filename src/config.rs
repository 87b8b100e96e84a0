//! What an installation is set up with: the file that the chart writes for controller and portal ([`Config`]), and what
//! each gateway is told of it by its namespace's ConfigMap ([`GatewaySettings`]).

use std::{collections::BTreeMap, fs, io, path::Path};

use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::{LocalObjectReference, ResourceRequirements, Toleration},
        networking::v1::NetworkPolicyPeer,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::Level;

use crate::{api::Duration, telemetry::logs::Format};

/// The name of the portal's Service, and what its pods are labelled by.
pub const PORTAL: &str = "webshell-portal";

/// The settings of an installation.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What gateways are made of.
    pub gateway: Gateway,
    /// How browsers reach them.
    pub route: Route,
    /// The namespaces whose WebShells are served; all without it.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// How much of the network gateways may reach, as far as the cluster's network enforces it.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Who may reach the port of health and metrics, besides the pods' own node.
    #[serde(default)]
    pub scrapers: Vec<NetworkPolicyPeer>,
    /// What WebShells may ask for.
    #[serde(default)]
    pub policy: Policy,
    /// How long somebody stays logged in at the portal and at gateways.
    #[serde(default = "default_login_lifetime")]
    pub login_lifetime: Duration,
}

/// What gateways are made of. All but `image` has the chart's default.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// The image. It is pinned apart from the controller's, because a new one ends sessions.
    pub image: String,
    /// When the image is pulled.
    #[serde(default = "default_pull_policy")]
    pub image_pull_policy: String,
    /// Secrets, in the WebShells' namespaces, to pull it with.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Of the container.
    #[serde(default)]
    pub resources: ResourceRequirements,
    /// Which nodes may run it.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Which taints it tolerates.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// How long sessions may live on once a pod is told to stop.
    #[serde(default = "default_drain_timeout")]
    pub drain_timeout: Duration,
    /// How long sessions and resumes go on while the API server cannot be asked.
    #[serde(default = "default_api_outage_grace")]
    pub api_outage_grace: Duration,
    /// The most sessions of one pod.
    #[serde(default = "default_max_sessions")]
    pub max_sessions: u32,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// The user id that pods run as, which is their group id too; without it the image's, or what the cluster assigns.
    #[serde(default = "default_run_as_user")]
    pub run_as_user: Option<u32>,
    /// What they log.
    #[serde(default)]
    pub log: Log,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: Format,
    /// The least level of our own lines.
    #[serde(with = "level")]
    pub level: Level,
}

/// How browsers reach gateways and portal.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Which kind of object leads to a gateway.
    pub kind: RouteKind,
    /// Whether gateways have a host each, or share one.
    pub mode: RouteMode,
    /// The portal's host. Gateways have subdomains of it, so that log-in stays within one site.
    pub host: String,
    /// `https`, or `http` for trying it out.
    #[serde(default)]
    pub scheme: Scheme,
    /// The port in URLs, where it is not the scheme's own.
    #[serde(default)]
    pub port: Option<u16>,
    /// Annotations for ingress controllers.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The class of Ingresses.
    #[serde(default)]
    pub ingress_class_name: Option<String>,
    /// The Secret with the certificate, in the WebShells' namespaces; without it, the ingress controller's default.
    #[serde(default)]
    pub tls_secret_name: Option<String>,
    /// Whether the controller pings gateways by the way that browsers take, to prove it.
    #[serde(default = "default_probe")]
    pub probe: bool,
    /// The Gateways (of the Gateway API) that HTTPRoutes attach to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway of the Gateway API.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// One of its listeners; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Which kind of object leads to a gateway.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum RouteKind {
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `gateway.networking.k8s.io/v1`.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// Somebody else makes them.
    None,
}

/// Whether gateways have a host each, or share one. The portal has its own either way: whatever leads to a gateway shall never be
/// sent the portal's cookies.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum RouteMode {
    /// `<namespace>.<host>`: each namespace is an origin of its own.
    Host,
    /// `gateways.<host>/<namespace>/`: for namespaces that trust each other.
    Path,
}

/// How browsers speak to the ingress.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    #[default]
    Https,
}

/// How much of the network gateways may reach.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPolicy {
    /// No NetworkPolicy is made.
    Off,
    /// Anything on the ports of targets, besides DNS and the API server.
    #[default]
    Ports,
    /// Only the targets' addresses; WebShells must then name their targets by address.
    Strict,
}

/// What WebShells may ask for. A gateway checks it at every connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Policy {
    /// Networks where targets may be; anywhere when empty.
    pub allowed_cidrs: Vec<IpNet>,
    /// Networks where targets must not be, besides those that never may (link-local, loopback, metadata, API server).
    pub denied_cidrs: Vec<IpNet>,
    /// Ports that targets may have; any when empty.
    pub allowed_ports: Vec<u16>,
    /// Forbids host key policy `Insecure`.
    pub forbid_insecure: bool,
    /// Forbids host key policy `TrustOnFirstUse`.
    pub forbid_trust_on_first_use: bool,
    /// Forbids hosts' RSA keys under 2,048 bits; under 1,024 they are refused in any case.
    pub forbid_short_rsa_keys: bool,
    /// The most sessions of one user in one namespace; any number without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions_per_user: Option<u32>,
    /// The most sessions of one WebShell, whatever it says; any number without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions_per_web_shell: Option<u32>,
    /// The most sessions in one namespace; any number without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions_per_namespace: Option<u32>,
}

/// What a gateway is told, under the key `gateway.yaml` of its ConfigMap.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySettings {
    /// The origin of its own pages.
    pub origin: String,
    /// The origin of the portal.
    pub portal: String,
    /// Where the portal is within the cluster, as `host:port`; controllers of earlier releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_service: Option<String>,
    /// Whether its origin is its own, or shared by all gateways; controllers of earlier releases do not say.
    #[serde(default = "default_mode")]
    pub mode: RouteMode,
    /// What WebShells may ask for.
    pub policy: Policy,
    /// How long somebody stays logged in.
    pub login_lifetime: Duration,
    /// How long sessions and resumes go on while the API server cannot be asked.
    pub api_outage_grace: Duration,
    /// The most sessions of the pod.
    pub max_sessions: u32,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What it logs.
    #[serde(default)]
    pub log: Log,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("--config {path}: {error}; give the path of the installation's settings")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The text is not what it must be.
    #[error("{place}: {error}")]
    Malformed {
        /// Where the text is from.
        place: String,
        /// Which field, and what is wrong with it.
        error: String,
    },
}

fn default_login_lifetime() -> Duration {
    Duration::from_secs(8 * 3600)
}

fn default_mode() -> RouteMode {
    RouteMode::Path
}

fn default_probe() -> bool {
    true
}

fn default_pull_policy() -> String {
    "IfNotPresent".to_owned()
}

fn default_run_as_user() -> Option<u32> {
    Some(65532)
}

fn default_drain_timeout() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_api_outage_grace() -> Duration {
    Duration::from_secs(10 * 60)
}

fn default_max_sessions() -> u32 {
    256
}

// === impl Log ===

impl Default for Log {
    fn default() -> Self {
        Self { format: Format::Json, level: Level::INFO }
    }
}

/// Levels by their names.
mod level {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tracing::Level;

    pub(super) fn serialize<S: Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&level.as_str().to_lowercase())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        let name = String::deserialize(deserializer)?;
        let names = "error, warn, info, debug or trace";
        name.parse().map_err(|_| D::Error::custom(format_args!("{name:?} is no level: must be {names}")))
    }
}

// === impl Config ===

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a field in it cannot be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: place.clone(), error })?;
        parse(&format!("--config {place}"), &text)
    }

    /// What the gateway of a namespace is told; the portal is in `system_namespace`.
    pub fn gateway_settings(&self, namespace: &str, system_namespace: &str) -> GatewaySettings {
        GatewaySettings {
            origin: self.route.origin(namespace),
            portal: self.route.portal_origin(),
            portal_service: Some(format!("{PORTAL}.{system_namespace}.svc:80")),
            mode: self.route.mode,
            policy: self.policy.clone(),
            login_lifetime: self.login_lifetime,
            api_outage_grace: self.gateway.api_outage_grace,
            max_sessions: self.gateway.max_sessions,
            trusted_proxies: self.gateway.trusted_proxies.clone(),
            log: self.gateway.log,
        }
    }
}

/// Reads settings in YAML from a place that errors name.
///
/// # Errors
/// When a field cannot be used.
pub fn parse<T: DeserializeOwned>(place: &str, text: &str) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ConfigError::Malformed { place: place.to_owned(), error: error.to_string() })
}

// === impl Route ===

impl Route {
    /// The host of a namespace's gateway.
    pub fn host(&self, namespace: &str) -> String {
        match self.mode {
            RouteMode::Host => format!("{namespace}.{}", self.host),
            RouteMode::Path => format!("gateways.{}", self.host),
        }
    }

    /// The origin of a namespace's gateway (RFC 6454).
    pub fn origin(&self, namespace: &str) -> String {
        self.origin_of(&self.host(namespace))
    }

    /// The origin of the portal.
    pub fn portal_origin(&self) -> String {
        self.origin_of(&self.host)
    }

    /// Where a WebShell's terminal is.
    pub fn url(&self, namespace: &str, name: &str) -> String {
        format!("{}/{namespace}/{name}/", self.origin(namespace))
    }

    /// Where a namespace's gateway answers a ping.
    pub fn ping_url(&self, namespace: &str) -> String {
        // http becomes ws, and https wss.
        format!("{}/{namespace}/-/ping", self.origin(namespace).replacen("http", "ws", 1))
    }

    fn origin_of(&self, host: &str) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "gateway: {image: 'webshell:1'}\nroute: {kind: Ingress, mode: Host, host: shell.example.com}\n";

    #[test]
    fn little_is_needed_and_the_rest_has_defaults() {
        let config: Config = parse("config", LEAST).unwrap();
        assert_eq!(config.gateway.image_pull_policy, "IfNotPresent");
        assert_eq!(config.network_policy, NetworkPolicy::Ports);
        assert_eq!(config.route.url("team-a", "db-1"), "https://team-a.shell.example.com/team-a/db-1/");
        assert_eq!(config.route.portal_origin(), "https://shell.example.com");
        assert_eq!(config.route.ping_url("team-a"), "wss://team-a.shell.example.com/team-a/-/ping");
    }

    #[test]
    fn namespaces_may_share_a_host_and_the_portal_has_its_own() {
        let text = "{kind: HTTPRoute, mode: Path, host: shell.localhost, scheme: http, port: 8080, parentRefs: [{name: a, namespace: b}]}";
        let route: Route = parse("route", text).unwrap();
        assert_eq!(route.url("team-a", "db-1"), "http://gateways.shell.localhost:8080/team-a/db-1/");
        assert_eq!(route.origin("team-a"), route.origin("team-b"));
        assert_eq!(route.portal_origin(), "http://shell.localhost:8080");
        assert_eq!(route.ping_url("team-a"), "ws://gateways.shell.localhost:8080/team-a/-/ping");
    }

    #[test]
    fn what_a_gateway_is_told_reads_back() {
        let text = LEAST.replace("}\nroute", ", log: {format: text, level: debug}}\nroute");
        let config: Config = parse("config", &text).unwrap();
        let settings = config.gateway_settings("team-a", "webshell");
        assert_eq!(settings.log, Log { format: Format::Text, level: Level::DEBUG });
        let text = serde_saphyr::to_string(&settings).unwrap();
        assert_eq!(parse::<GatewaySettings>("gateway.yaml", &text).unwrap(), settings);
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let text = LEAST.replace("mode", "mod");
        let error = parse::<Config>("config.yaml", &text).unwrap_err().to_string();
        assert!(error.starts_with("config.yaml: ") && error.contains("mod"), "{error}");
        let error = parse::<Log>("log", "{level: loud}").unwrap_err().to_string();
        assert!(error.contains("\"loud\" is no level: must be error, warn"), "{error}");
    }
}
