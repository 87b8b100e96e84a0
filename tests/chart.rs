//! What the Helm chart renders for controller and portal, against what they read. scripts/test-chart tests the rest of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use tracing::Level;
use webshell::{
    config::{self, Config, Log, NetworkPolicy, RouteKind, RouteMode},
    telemetry::logs::Format,
};

/// The settings in each snapshot of what is rendered, by the snapshot's name.
fn settings() -> Vec<(String, Config)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/webshell/tests");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut settings: Vec<_> = paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".yaml")?.to_owned();
            let rendered = fs::read_to_string(&path).unwrap();
            let (_, settings) = rendered.split_once("  config.yaml: |\n")?;
            let lines = settings.lines().map_while(|line| line.strip_prefix("    "));
            let text = lines.collect::<Vec<_>>().join("\n");
            Some((name.clone(), config::parse(&name, &text).unwrap()))
        })
        .collect();
    settings.sort_by(|(one, _), (other, _)| one.cmp(other));
    settings
}

#[test]
fn every_variant_can_be_read() {
    let settings = settings();
    let routes: Vec<_> =
        settings.iter().map(|(name, config)| (name.as_str(), config.route.kind, config.route.mode)).collect();
    assert_eq!(
        routes,
        [
            ("certificates", RouteKind::Ingress, RouteMode::Host),
            ("host-httproute", RouteKind::HttpRoute, RouteMode::Host),
            ("host-ingress", RouteKind::Ingress, RouteMode::Host),
            ("none", RouteKind::None, RouteMode::Host),
            ("path-httproute", RouteKind::HttpRoute, RouteMode::Path),
            ("path-ingress", RouteKind::Ingress, RouteMode::Path),
        ]
    );
}

#[test]
fn the_defaults_are_those_of_the_program() {
    let least = "{gateway: {image: 'webshell:0.1.0'}, route: {kind: Ingress, mode: Host, host: shell.test}}";
    let mut expected: Config = config::parse("least", least).unwrap();
    let settings = settings();
    let (_, rendered) = settings.iter().find(|(name, _)| name == "host-ingress").unwrap();
    // The chart's alone: without a cap, and without limits, there are none.
    expected.gateway.resources = rendered.gateway.resources.clone();
    expected.policy.max_sessions_per_user = Some(32);
    assert_eq!(*rendered, expected);
}

#[test]
fn every_value_arrives() {
    let settings = settings();
    let (_, config) = settings.iter().find(|(name, _)| name == "host-httproute").unwrap();
    assert_eq!(config.gateway.image, "registry.test/gateway:1");
    assert_eq!(config.gateway.image_pull_policy, "Always");
    assert_eq!(config.gateway.image_pull_secrets[0].name, "pull");
    assert_eq!(config.gateway.node_selector["kubernetes.io/os"], "linux");
    assert_eq!(config.gateway.tolerations[0].key.as_deref(), Some("dedicated"));
    assert_eq!(config.gateway.drain_timeout.to_string(), "30m");
    assert_eq!(config.gateway.api_outage_grace.to_string(), "1m");
    assert_eq!(config.gateway.max_sessions, 64);
    assert_eq!(config.gateway.log, Log { format: Format::Text, level: Level::DEBUG });
    assert_eq!(config.gateway.trusted_proxies[0].to_string(), "10.0.0.0/8");
    assert_eq!(config.gateway.run_as_user, None);
    assert!(config.scrapers[0].namespace_selector.is_some() && config.scrapers[0].pod_selector.is_some());
    assert_eq!(config.route.annotations["example.com/team"], "platform");
    assert!(!config.route.probe);
    assert_eq!(config.route.parent_refs[0].section_name.as_deref(), Some("https"));
    assert_eq!(config.namespace_selector.match_labels.as_ref().unwrap()["webshell"], "on");
    assert_eq!(config.namespace_selector.match_expressions.as_ref().unwrap().len(), 4);
    assert_eq!(config.network_policy, NetworkPolicy::Strict);
    assert_eq!(config.login_lifetime.to_string(), "1h");
    let policy = &config.policy;
    assert_eq!((policy.allowed_cidrs.len(), policy.denied_cidrs.len(), &policy.allowed_ports[..]), (2, 1, &[22][..]));
    assert!(policy.forbid_insecure && policy.forbid_trust_on_first_use && policy.forbid_short_rsa_keys);
    let caps = [policy.max_sessions_per_user, policy.max_sessions_per_web_shell, policy.max_sessions_per_namespace];
    assert_eq!(caps, [Some(4), Some(8), Some(16)]);
}
