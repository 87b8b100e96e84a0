//! Whether the spec of a WebShell can be served. Pure.

use std::net::SocketAddr;

use super::state::Target;
use crate::{
    api::{HostKeyPolicy, WebShellSpec},
    config::{Config, NetworkPolicy},
    policy::{Reserved, TargetPolicy},
    ssh::KnownHosts,
};

/// What is to be said of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be served.
    Accepted,
    /// A field cannot be used: which one, why, and what to do.
    Invalid(String),
    /// The installation does not allow it: what, and what to do.
    Forbidden(String),
}

/// Judges a spec. An API server has checked it by the CRD's schema, perhaps by an older one; what a Secret holds, and where a
/// name leads, is the gateway's to judge.
pub fn validate(spec: &WebShellSpec, config: &Config) -> Verdict {
    match problem(spec) {
        Some(problem) => Verdict::Invalid(problem),
        None => forbidden(spec, config).map_or(Verdict::Accepted, Verdict::Forbidden),
    }
}

/// Where a spec leads, unless it says so in no way or in two.
pub fn target(spec: &WebShellSpec) -> Option<Target> {
    match (&spec.target.host, &spec.target.service_ref) {
        (Some(host), None) => Some(Target::Host { host: host.as_str().into(), port: spec.target.port }),
        (None, Some(service)) => {
            Some(Target::Service { name: service.name.as_str().into(), port: service.port.as_str().into() })
        }
        _ => None,
    }
}

fn problem(spec: &WebShellSpec) -> Option<String> {
    if target(spec).is_none() {
        return Some("spec.target needs exactly one of host and serviceRef: give one of them".to_owned());
    }
    if spec.target.port == 0 {
        return Some("spec.target.port is 0: give a port from 1 to 65535".to_owned());
    }
    let host_key = &spec.host_key;
    if host_key.known_hosts.is_some() && host_key.secret_ref.is_some() {
        return Some("spec.hostKey has both knownHosts and secretRef: remove one of them".to_owned());
    }
    let Some(text) = &host_key.known_hosts else {
        let unknown = host_key.policy == HostKeyPolicy::Strict && host_key.secret_ref.is_none();
        return unknown.then(|| {
            "spec.hostKey: policy Strict needs knownHosts or secretRef; put the machine's host key there, as ssh-keyscan prints it".to_owned()
        });
    };
    match KnownHosts::parse(text) {
        Err(error) => Some(format!("spec.hostKey.knownHosts: {error}")),
        Ok(known) if known.is_empty() && host_key.policy == HostKeyPolicy::Strict => Some(
            "spec.hostKey.knownHosts has no host key; put the machine's there, as ssh-keyscan prints it".to_owned(),
        ),
        Ok(_) => None,
    }
}

/// Tells early what the gateway would refuse anyway.
fn forbidden(spec: &WebShellSpec, config: &Config) -> Option<String> {
    let policy = TargetPolicy { reserved: Reserved::in_cluster([]), policy: config.policy.clone() };
    if let Err(problem) = policy.admit_host_keys(spec.host_key.policy) {
        return Some(problem);
    }
    let host = spec.target.host.as_ref()?;
    let port = spec.target.port;
    if let Ok(address) = host.parse() {
        let problem = policy.admit(SocketAddr::new(address, port)).err()?;
        return Some(format!("spec.target is {host} port {port}, which this installation forbids: {problem}"));
    }
    let ports = &config.policy.allowed_ports;
    if !ports.is_empty() && !ports.contains(&port) {
        return Some(format!("spec.target.port is {port}, but this installation allows {ports:?} only"));
    }
    (config.network_policy == NetworkPolicy::Strict).then(|| {
        format!("spec.target.host is {host:?}: this installation's network policy is strict, so give the machine's IP address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const KEY: &str = "10.0.4.12 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIhTZ2vYbz9tCTNGdCxUlGAxDSi7VzVNJ2GHXOFs8LKO";

    fn spec(target: &str, host_key: &str) -> WebShellSpec {
        let text = format!("{{target: {target}, credentials: {{secretRef: {{name: s}}}}, hostKey: {host_key}}}");
        serde_saphyr::from_str(&text).unwrap()
    }

    fn config(more: &str) -> Config {
        let least = "gateway: {image: 'webshell:1'}\nroute: {kind: None, mode: Path, host: shell.example.com}\n";
        config::parse("config", &format!("{least}{more}")).unwrap()
    }

    fn verdict(target: &str, host_key: &str, more: &str) -> Verdict {
        validate(&spec(target, host_key), &config(more))
    }

    const STRICT: &str = "{secretRef: {name: known-hosts}}";

    #[test]
    fn what_can_be_served_is_accepted() {
        let known = format!("{{knownHosts: '{KEY}'}}");
        for (target, host_key) in [
            ("{host: 10.0.4.12}", known.as_str()),
            ("{host: db-1.example.com, port: 2222}", STRICT),
            ("{serviceRef: {name: db-1}}", "{policy: TrustOnFirstUse}"),
            ("{host: 'fd00::1'}", "{policy: Insecure}"),
        ] {
            assert_eq!(verdict(target, host_key, ""), Verdict::Accepted, "{target} {host_key}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (target, host_key, field) in [
            ("{}", STRICT, "spec.target needs exactly one"),
            ("{host: a, serviceRef: {name: b}}", STRICT, "spec.target needs exactly one"),
            ("{host: a, port: 0}", STRICT, "spec.target.port"),
            ("{host: a}", "{}", "spec.hostKey: policy Strict needs"),
            ("{host: a}", "{knownHosts: '# nothing'}", "spec.hostKey.knownHosts has no host key"),
            ("{host: a}", "{knownHosts: 'nonsense'}", "spec.hostKey.knownHosts: "),
            ("{host: a}", "{knownHosts: x, secretRef: {name: s}}", "spec.hostKey has both"),
        ] {
            let Verdict::Invalid(problem) = verdict(target, host_key, "") else { panic!("{target} {host_key}") };
            assert!(problem.starts_with(field), "{problem}");
        }
    }

    #[test]
    fn what_the_policy_forbids_is_named() {
        for (target, host_key, more, field) in [
            (
                "{host: a}",
                "{policy: Insecure}",
                "policy: {forbidInsecure: true}",
                "spec.hostKey.policy is \"Insecure\"",
            ),
            (
                "{host: a}",
                "{policy: TrustOnFirstUse}",
                "policy: {forbidTrustOnFirstUse: true}",
                "spec.hostKey.policy is \"TrustOnFirstUse\"",
            ),
            ("{host: a, port: 23}", STRICT, "policy: {allowedPorts: [22]}", "spec.target.port is 23"),
            ("{host: 10.1.2.3}", STRICT, "policy: {deniedCidrs: [10.1.0.0/16]}", "spec.target is 10.1.2.3 port 22"),
            ("{host: '::ffff:10.1.2.3'}", STRICT, "policy: {deniedCidrs: [10.1.0.0/16]}", "spec.target is ::ffff:10.1"),
            ("{host: 192.0.2.1}", STRICT, "policy: {allowedCidrs: [10.0.0.0/8]}", "spec.target is 192.0.2.1"),
            ("{host: 169.254.169.254}", STRICT, "", "spec.target is 169.254.169.254"),
            ("{host: '::1'}", STRICT, "", "spec.target is ::1"),
            ("{host: db-1}", STRICT, "networkPolicy: strict", "spec.target.host is \"db-1\""),
        ] {
            let Verdict::Forbidden(problem) = verdict(target, host_key, more) else { panic!("{target} {more}") };
            assert!(problem.starts_with(field), "{problem}");
        }
    }

    #[test]
    fn what_the_policy_allows_is_accepted() {
        let more = "policy: {allowedCidrs: [10.0.0.0/8], deniedCidrs: [10.1.0.0/16], allowedPorts: [22], forbidInsecure: true}\nnetworkPolicy: strict";
        for target in ["{host: 10.0.4.12}", "{serviceRef: {name: db-1}}"] {
            assert_eq!(verdict(target, STRICT, more), Verdict::Accepted, "{target}");
        }
    }
}
