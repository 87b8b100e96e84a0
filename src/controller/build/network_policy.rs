//! What the gateway's pods may reach, and who them, as far as the cluster's network enforces it. The gateway itself checks every address
//! that it dials; this is the second line.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::{Value, json};

use super::{ADMIN, HTTP, selector};
use crate::{
    config::{self, Config, NetworkPolicy},
    controller::state::Target,
};

/// Where API servers listen: as a Service, and behind it, where policies look.
const API_SERVER_PORTS: [u16; 2] = [443, 6443];

/// Where the portal's pods listen.
const PORTAL_PORT: u16 = 8080;

/// Where a Service that leads out of the namespace mostly leads. Where it leads elsewhere the gateway says so, which reads it.
const SSH: u16 = 22;

/// The spec of the NetworkPolicy, unless there is to be none.
pub(super) fn spec(config: &Config, system_namespace: &str, targets: &[&Target]) -> Option<Value> {
    let leads_by_service = targets.iter().any(|target| matches!(target, Target::Service { .. }));
    let mut egress = vec![
        json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}),
        json!({"ports": tcp(API_SERVER_PORTS)}),
        portal(system_namespace),
    ];
    match config.network_policy {
        NetworkPolicy::Off => return None,
        NetworkPolicy::Ports => {
            let mut ports: BTreeSet<_> = hosts(targets).map(|(_, port)| port).collect();
            if leads_by_service {
                ports.insert(SSH);
            }
            if !ports.is_empty() {
                egress.push(json!({"ports": tcp(ports)}));
            }
        }
        NetworkPolicy::Strict => egress.extend(addresses(targets)),
    }
    // Where a Service leads to is decided behind it: mostly to pods of the namespace, on ports of their own.
    if leads_by_service {
        egress.push(json!({"to": [{"podSelector": {}}]}));
    }
    Some(json!({
        "podSelector": {"matchLabels": selector()},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress(config),
        "egress": egress,
    }))
}

/// Browsers come by whatever ingress controller there is. Metrics are for those who are named; health is asked by the pod's own
/// node, which no policy keeps out.
fn ingress(config: &Config) -> Vec<Value> {
    let mut rules = vec![json!({"ports": [{"port": HTTP, "protocol": "TCP"}]})];
    if !config.scrapers.is_empty() {
        rules.push(json!({"ports": [{"port": ADMIN, "protocol": "TCP"}], "from": config.scrapers}));
    }
    rules
}

/// The portal's pods, which are asked who logged out there.
fn portal(namespace: &str) -> Value {
    json!({
        "ports": tcp([PORTAL_PORT]),
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": config::PORTAL}},
        }],
    })
}

/// A rule for each port, with the addresses that are reached on it.
fn addresses(targets: &[&Target]) -> Vec<Value> {
    let mut by_port: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    for (host, port) in hosts(targets) {
        if let Ok(address) = host.parse::<IpAddr>() {
            by_port.entry(port).or_default().insert(address.to_canonical());
        }
    }
    let block = |address: IpAddr| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        json!({"ipBlock": {"cidr": format!("{address}/{length}")}})
    };
    let rule = |(port, addresses): (u16, BTreeSet<IpAddr>)| json!({"ports": tcp([port]), "to": addresses.into_iter().map(block).collect::<Vec<_>>()});
    by_port.into_iter().map(rule).collect()
}

fn hosts<'a>(targets: &[&'a Target]) -> impl Iterator<Item = (&'a str, u16)> {
    targets.iter().filter_map(|target| match target {
        Target::Host { host, port } => Some((&**host, *port)),
        Target::Service { .. } => None,
    })
}

fn tcp(ports: impl IntoIterator<Item = u16>) -> Vec<Value> {
    ports.into_iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn egress(mode: &str, targets: &[Target]) -> Vec<Value> {
        let text = format!("gateway: {{image: i}}\nroute: {{kind: None, mode: Path, host: h}}\nnetworkPolicy: {mode}");
        let config = config::parse("config", &text).unwrap();
        let spec = spec(&config, "webshell", &targets.iter().collect::<Vec<_>>()).unwrap();
        // DNS, the API server and the portal are always there.
        spec["egress"].as_array().unwrap().iter().skip(3).cloned().collect()
    }

    fn host(host: &str, port: u16) -> Target {
        Target::Host { host: host.into(), port }
    }

    fn service() -> Target {
        Target::Service { name: "db".into(), port: "ssh".into() }
    }

    #[test]
    fn the_admin_port_is_for_scrapers_alone() {
        let ingress = |more: &str| {
            let text = format!("{{gateway: {{image: i}}, route: {{kind: None, mode: Path, host: h}}, {more}}}");
            spec(&config::parse("config", &text).unwrap(), "webshell", &[]).unwrap()["ingress"].clone()
        };
        let http = json!({"ports": [{"port": "http", "protocol": "TCP"}]});
        assert_eq!(ingress("scrapers: []"), json!([http]));
        let scrapers = json!([{"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]);
        assert_eq!(
            ingress(&format!("scrapers: {scrapers}")),
            json!([http, {"ports": [{"port": "admin", "protocol": "TCP"}], "from": scrapers}])
        );
    }

    #[test]
    fn ports_are_those_of_the_targets() {
        let targets = [host("b", 2222), host("a", 22), host("c", 22)];
        assert_eq!(
            egress("ports", &targets),
            [json!({"ports": [{"port": 22, "protocol": "TCP"}, {"port": 2222, "protocol": "TCP"}]})]
        );
        assert!(egress("ports", &[]).is_empty());
    }

    #[test]
    fn the_portal_can_always_be_asked() {
        for mode in ["ports", "strict"] {
            let text =
                format!("gateway: {{image: i}}\nroute: {{kind: None, mode: Path, host: h}}\nnetworkPolicy: {mode}");
            let spec = spec(&config::parse("config", &text).unwrap(), "webshell", &[]).unwrap();
            assert!(spec["egress"].as_array().unwrap().contains(&json!({
                "ports": [{"port": 8080, "protocol": "TCP"}],
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "webshell"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "webshell-portal"}},
                }],
            })));
        }
    }

    #[test]
    fn strict_is_by_address() {
        let targets = [host("10.0.0.2", 22), host("fd00::1", 22), host("10.0.0.1", 22), host("a.example", 22)];
        assert_eq!(
            egress("strict", &targets),
            [json!({
                "ports": [{"port": 22, "protocol": "TCP"}],
                "to": [
                    {"ipBlock": {"cidr": "10.0.0.1/32"}},
                    {"ipBlock": {"cidr": "10.0.0.2/32"}},
                    {"ipBlock": {"cidr": "fd00::1/128"}},
                ],
            })]
        );
    }

    #[test]
    fn a_service_leads_to_pods_of_the_namespace_and_by_ports_out_of_it() {
        let pods = || json!({"to": [{"podSelector": {}}]});
        assert_eq!(egress("strict", &[service(), service()]), [pods()]);
        let ssh = json!({"ports": [{"port": 22, "protocol": "TCP"}]});
        assert_eq!(egress("ports", &[service(), service()]), [ssh, pods()]);
        let ports = json!({"ports": [{"port": 22, "protocol": "TCP"}, {"port": 2222, "protocol": "TCP"}]});
        assert_eq!(egress("ports", &[service(), host("a", 2222)]), [ports, pods()]);
    }
}
