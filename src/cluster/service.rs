//! Where a Service leads. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort, ServiceSpec},
    discovery::v1::{Endpoint, EndpointSlice},
};

use crate::{api::ServiceRef, resolve::Absence, ssh::Dial};

/// The most addresses of a headless Service that are dialled.
const MAX_ADDRESSES: usize = 16;

/// How a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addressing {
    /// There, by its own addresses or name.
    Dial(Dial),
    /// It is headless: by its endpoints themselves.
    Headless,
}

/// The number of the port that is wanted, and how it is reached.
///
/// # Errors
/// Where there is no such port, or SSH cannot go by it.
pub(super) fn addressing(service: &Service, wanted: &ServiceRef) -> Result<(u16, Addressing), Absence> {
    let none = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&none);
    let port = port(spec, wanted)?;
    if let Some(name) = external_name(spec) {
        let dial = match name.parse::<IpAddr>() {
            Ok(address) => Dial::Addresses([SocketAddr::new(address, port)].into()),
            // With a dot at its end no search list has a part in it.
            Err(_) => Dial::Name(format!("{}.", name.trim_end_matches('.')), port),
        };
        return Ok((port, Addressing::Dial(dial)));
    }
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default().iter().chain(&spec.cluster_ip);
    let addresses: BTreeSet<&str> = addresses.map(String::as_str).filter(|address| !address.is_empty()).collect();
    if addresses.contains("None") {
        return Ok((port, Addressing::Headless));
    }
    let dialled: Vec<_> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    if dialled.is_empty() {
        return Err(Absence::NotReady(format!("Service {} has no address yet; wait until it has", wanted.name)));
    }
    Ok((
        port,
        Addressing::Dial(Dial::Addresses(dialled.into_iter().map(|address| SocketAddr::new(address, port)).collect())),
    ))
}

/// The ready endpoints of a headless Service, by the port that each has under the wanted name.
///
/// # Errors
/// Where none is ready.
pub(super) fn endpoints(slices: &[EndpointSlice], wanted: &ServiceRef) -> Result<Dial, Absence> {
    let mut ready = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten().filter(|port| port.name.as_deref() == Some(wanted.port.as_str()));
        let ports = ports.filter(|port| is_tcp(port.protocol.as_ref())).filter_map(|port| number(port.port?));
        for port in ports {
            let endpoints = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
            // What is no address is a name, of a kind of slices that nothing makes.
            let addresses =
                endpoints.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse().ok());
            ready.extend(addresses.map(|address: IpAddr| SocketAddr::new(address, port)));
        }
    }
    if ready.is_empty() {
        return Err(Absence::NotReady(format!(
            "Service {} has no ready endpoint for its port {}; see whether its pods run and are ready",
            wanted.name, wanted.port
        )));
    }
    Ok(Dial::Addresses(ready.into_iter().take(MAX_ADDRESSES).collect()))
}

/// What to say of a Service that leads elsewhere than to pods of its namespace, where a NetworkPolicy may be in the way.
pub(super) fn remark(service: &Service, name: &str) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let leads_out = external_name(spec).is_some() || spec.selector.as_ref().is_none_or(|selector| selector.is_empty());
    leads_out.then(|| {
        format!(
            "Service {name} leads out of the namespace's pods: where networkPolicy is strict, or it leads to a port other than 22, a \
             NetworkPolicy of your own must let pods with the label app.kubernetes.io/name=webshell-gateway through."
        )
    })
}

fn external_name(spec: &ServiceSpec) -> Option<&str> {
    spec.external_name.as_deref().filter(|_| spec.type_.as_deref() == Some("ExternalName"))
}

fn port(spec: &ServiceSpec, wanted: &ServiceRef) -> Result<u16, Absence> {
    let ServiceRef { name, port } = wanted;
    let ports = || spec.ports.iter().flatten();
    let Some(found) = ports().find(|found| found.name.as_ref() == Some(port)) else {
        let names: Vec<_> = ports().filter_map(|port| port.name.as_deref()).collect();
        let has =
            if names.is_empty() { "no named ports".to_owned() } else { format!("the ports {}", names.join(", ")) };
        return Err(Absence::Unusable(format!(
            "Service {name} has no port named {port:?}, but {has}; name one of its ports"
        )));
    };
    let ServicePort { protocol, port: found, .. } = found;
    if !is_tcp(protocol.as_ref()) {
        let protocol = protocol.as_deref().unwrap_or_default();
        return Err(Absence::Unusable(format!(
            "port {port} of Service {name} is {protocol}, and SSH needs TCP; name a port with protocol TCP"
        )));
    }
    number(*found)
        .ok_or_else(|| Absence::Unusable(format!("port {port} of Service {name} is {found}, which is no port")))
}

/// TCP is what it is where nothing is said.
fn is_tcp(protocol: Option<&String>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// One of which nothing is said is ready (EndpointSlice API).
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wanted(port: &str) -> ServiceRef {
        ServiceRef { name: "db-1".into(), port: port.into() }
    }

    fn addressing_of(spec: Value, port: &str) -> Result<(u16, Addressing), Absence> {
        addressing(&serde_json::from_value(json!({"spec": spec})).unwrap(), &wanted(port))
    }

    fn addresses(addresses: &[&str]) -> Dial {
        Dial::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn a_service_is_reached_by_its_own_addresses_and_the_port_of_that_name() {
        let ports = json!([
            {"name": "web", "port": 80}, {"name": "ssh", "port": 2222, "targetPort": 22}, {"name": "dns", "port": 53, "protocol": "UDP"},
        ]);
        let spec = json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ports": ports});
        let there = Addressing::Dial(addresses(&["10.96.0.7:2222", "[fd00::7]:2222"]));
        assert_eq!(addressing_of(spec.clone(), "ssh"), Ok((2222, there)));
        let text = "Service db-1 has no port named \"shh\", but the ports web, ssh, dns; name one of its ports";
        assert_eq!(addressing_of(spec.clone(), "shh"), Err(Absence::Unusable(text.to_owned())));
        let text = "port dns of Service db-1 is UDP, and SSH needs TCP; name a port with protocol TCP";
        assert_eq!(addressing_of(spec, "dns"), Err(Absence::Unusable(text.to_owned())));
        let none = addressing(&Service::default(), &wanted("ssh"));
        assert!(matches!(none, Err(Absence::Unusable(text)) if text.contains("no named ports")));
        let unborn = addressing_of(json!({"clusterIP": "", "ports": ports}), "ssh");
        assert!(matches!(unborn, Err(Absence::NotReady(_))));
        let headless = json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": ports});
        assert_eq!(addressing_of(headless, "ssh"), Ok((2222, Addressing::Headless)));
    }

    #[test]
    fn an_external_name_is_taken_as_it_is() {
        let of = |name: &str| {
            let spec = json!({"type": "ExternalName", "externalName": name, "ports": [{"name": "ssh", "port": 22}]});
            addressing_of(spec, "ssh").map(|(_, addressing)| addressing)
        };
        for name in ["vm.example.com", "vm.example.com."] {
            assert_eq!(
                of(name),
                Ok(Addressing::Dial(Dial::Name("vm.example.com.".into(), 22))),
                "no search list has a part in it"
            );
        }
        assert_eq!(of("10.0.4.12"), Ok(Addressing::Dial(addresses(&["10.0.4.12:22"]))));
    }

    #[test]
    fn a_headless_service_leads_to_what_is_ready_behind_it_on_the_port_that_it_has() {
        let slice = |port: Value, endpoints: Value| -> EndpointSlice {
            serde_json::from_value(json!({"addressType": "IPv4", "ports": [port], "endpoints": endpoints})).unwrap()
        };
        let ready = |address: &str, ready: Value| json!({"addresses": [address], "conditions": {"ready": ready}});
        let slices = [
            slice(
                json!({"name": "ssh", "port": 22}),
                json!([
                    ready("10.0.0.2", json!(true)),
                    ready("10.0.0.1", json!(false)),
                    ready("10.0.0.3", Value::Null)
                ]),
            ),
            slice(json!({"name": "ssh", "port": 2022, "protocol": "TCP"}), json!([{"addresses": ["fd00::1"]}])),
            slice(json!({"name": "web", "port": 80}), json!([{"addresses": ["10.0.0.9"]}])),
            slice(json!({"name": "ssh", "port": 22, "protocol": "UDP"}), json!([{"addresses": ["10.0.0.8"]}])),
            slice(json!({"name": "ssh", "port": 22}), json!([{"addresses": ["vm.example.com"]}])),
        ];
        assert_eq!(
            endpoints(&slices, &wanted("ssh")),
            Ok(addresses(&["10.0.0.2:22", "10.0.0.3:22", "[fd00::1]:2022"]))
        );
        let text = "Service db-1 has no ready endpoint for its port ssh; see whether its pods run and are ready";
        let none = [slice(json!({"name": "ssh", "port": 22}), json!([ready("10.0.0.1", json!(false))]))];
        for slices in [&none[..], &[]] {
            assert_eq!(endpoints(slices, &wanted("ssh")), Err(Absence::NotReady(text.to_owned())));
        }
    }

    #[test]
    fn what_a_network_policy_may_be_in_the_way_of_is_told() {
        let told = |spec: Value| remark(&serde_json::from_value(json!({"spec": spec})).unwrap(), "db-1").is_some();
        assert!(!told(json!({"selector": {"app": "vm"}})));
        for spec in [json!({}), json!({"selector": {}}), json!({"type": "ExternalName", "externalName": "a.example"})] {
            assert!(told(spec.clone()), "{spec}");
        }
    }
}
