//! What a WebShell names, got from the API server.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1;
use kube::{Api, Client};

use crate::{
    api::{ServiceRef, WebShellSpec},
    calls::{CallError, Calls, Purpose},
    resolve::{Absence, References, secret::Secret},
};

/// Gets Secrets and Services of a namespace.
#[derive(Debug)]
pub struct Fetch {
    namespace: String,
    secrets: Api<v1::Secret>,
    services: Api<v1::Service>,
}

/// What was got.
#[derive(Debug)]
pub struct Fetched {
    secrets: BTreeMap<String, Result<Secret, Absence>>,
    service: Option<Result<(String, u16), Absence>>,
}

// === impl Fetch ===

impl Fetch {
    /// Gets them from `namespace`.
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secrets: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Gets what `spec` names. What does not exist is part of the answer.
    ///
    /// # Errors
    /// When anything cannot be got for another reason.
    pub async fn get(&self, spec: &WebShellSpec, calls: &Calls, purpose: Purpose) -> Result<Fetched, CallError> {
        let secrets = secret_names(spec).into_iter().map(|name| self.secret(name, calls, purpose));
        let service = join_all(spec.target.service_ref.iter().map(|service| self.service(service, calls, purpose)));
        let (secrets, service) = tokio::join!(try_join_all(secrets), service);
        Ok(Fetched { secrets: secrets?.into_iter().collect(), service: service.into_iter().next().transpose()? })
    }

    async fn secret(
        &self,
        name: &str,
        calls: &Calls,
        purpose: Purpose,
    ) -> Result<(String, Result<Secret, Absence>), CallError> {
        let secret = match calls.make(purpose, self.secrets.get(name)).await {
            Ok(secret) => Ok(Secret::from(secret)),
            Err(error) if error.is_not_found() => Err(self.missing("Secret")),
            Err(error) => return Err(error),
        };
        Ok((name.to_owned(), secret))
    }

    async fn service(
        &self,
        wanted: &ServiceRef,
        calls: &Calls,
        purpose: Purpose,
    ) -> Result<Result<(String, u16), Absence>, CallError> {
        match calls.make(purpose, self.services.get(&wanted.name)).await {
            Ok(service) => Ok(address(&service, wanted, &self.namespace)),
            Err(error) if error.is_not_found() => Ok(Err(self.missing("Service"))),
            Err(error) => Err(error),
        }
    }

    fn missing(&self, kind: &str) -> Absence {
        Absence::Missing(format!("there is no such {kind} in namespace {}; create it", self.namespace))
    }
}

/// The Secrets that a WebShell names, each once.
fn secret_names(spec: &WebShellSpec) -> BTreeSet<&str> {
    let host_key = spec.host_key.secret_ref.as_ref().map(|reference| reference.name.as_str());
    [spec.credentials.secret_ref.name.as_str()].into_iter().chain(host_key).collect()
}

/// The DNS name of a Service and the number of its port.
fn address(service: &v1::Service, wanted: &ServiceRef, namespace: &str) -> Result<(String, u16), Absence> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut named = ports.clone().filter(|port| port.name.as_deref() == Some(wanted.port.as_str()));
    let number = named.next().and_then(|port| u16::try_from(port.port).ok());
    number.map(|number| (format!("{}.{namespace}.svc", wanted.name), number)).ok_or_else(|| {
        let names: Vec<_> = ports.filter_map(|port| port.name.as_deref()).collect();
        let has =
            if names.is_empty() { "no named ports".to_owned() } else { format!("the ports {}", names.join(", ")) };
        Absence::Unusable(format!(
            "Service {} has no port named {:?}, but {has}; name one of its ports",
            wanted.name, wanted.port
        ))
    })
}

impl References for Fetched {
    fn secret(&self, name: &str) -> Result<&Secret, Absence> {
        match self.secrets.get(name) {
            Some(secret) => secret.as_ref().map_err(Clone::clone),
            None => Err(Absence::Unusable(format!("Secret {name} was not read"))),
        }
    }

    fn service(&self, service: &ServiceRef) -> Result<(String, u16), Absence> {
        match &self.service {
            Some(address) => address.clone(),
            None => Err(Absence::Unusable(format!("Service {} was not read", service.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_reached_by_its_name_and_named_port() {
        let service: v1::Service = serde_json::from_value(json!({
            "spec": {"ports": [{"name": "web", "port": 80}, {"name": "ssh", "port": 2222, "targetPort": 22}]},
        }))
        .unwrap();
        let wanted = |port: &str| ServiceRef { name: "db-1".into(), port: port.into() };
        assert_eq!(address(&service, &wanted("ssh"), "team-a"), Ok(("db-1.team-a.svc".to_owned(), 2222)));
        let text = "Service db-1 has no port named \"shh\", but the ports web, ssh; name one of its ports";
        assert_eq!(address(&service, &wanted("shh"), "team-a"), Err(Absence::Unusable(text.to_owned())));
        let none = address(&v1::Service::default(), &wanted("ssh"), "team-a");
        assert!(matches!(none, Err(Absence::Unusable(text)) if text.contains("no named ports")));
    }
}
