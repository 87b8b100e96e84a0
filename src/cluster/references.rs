//! What a WebShell names, got from the API server.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join_all, try_join_all};
use k8s_openapi::api::{core::v1, discovery::v1::EndpointSlice};
use kube::{Api, Client, api::ListParams};

use super::service::{self, Addressing};
use crate::{
    api::{ServiceRef, WebShellSpec},
    calls::{CallError, Calls, Purpose},
    resolve::{Absence, Destination, References, secret::Secret},
};

/// The label by which EndpointSlices say whose they are (KEP-752).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Gets Secrets and Services of a namespace.
#[derive(Debug)]
pub struct Fetch {
    namespace: String,
    secrets: Api<v1::Secret>,
    services: Api<v1::Service>,
    slices: Api<EndpointSlice>,
}

/// What was got.
#[derive(Debug)]
pub struct Fetched {
    secrets: BTreeMap<String, Result<Secret, Absence>>,
    service: Option<Result<ServiceDestination, Absence>>,
}

/// Where a Service leads, and what there is to say of it.
#[derive(Debug)]
struct ServiceDestination {
    destination: Destination,
    remark: Option<String>,
}

/// How calls are made.
type Caller<'a> = (&'a Calls, Purpose);

// === impl Fetch ===

impl Fetch {
    /// Gets them from `namespace`.
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secrets: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
            slices: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Gets what `spec` names. What does not exist is part of the answer.
    ///
    /// # Errors
    /// When anything cannot be got for another reason.
    pub async fn get(&self, spec: &WebShellSpec, calls: &Calls, purpose: Purpose) -> Result<Fetched, CallError> {
        let caller = (calls, purpose);
        let secrets = secret_names(spec).into_iter().map(|name| self.secret(name, caller));
        let service = join_all(spec.target.service_ref.iter().map(|service| self.service(service, caller)));
        let (secrets, service) = tokio::join!(try_join_all(secrets), service);
        Ok(Fetched { secrets: secrets?.into_iter().collect(), service: service.into_iter().next().transpose()? })
    }

    async fn secret(
        &self,
        name: &str,
        (calls, purpose): Caller<'_>,
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
        (calls, purpose): Caller<'_>,
    ) -> Result<Result<ServiceDestination, Absence>, CallError> {
        let service = match calls.make(purpose, self.services.get(&wanted.name)).await {
            Ok(service) => service,
            Err(error) if error.is_not_found() => return Ok(Err(self.missing("Service"))),
            Err(error) => return Err(error),
        };
        let (port, dial) = match service::addressing(&service, wanted) {
            Ok((port, Addressing::Dial(dial))) => (port, Ok(dial)),
            Ok((port, Addressing::Headless)) => {
                let of_service = format!("{}={}", SERVICE_NAME, wanted.name);
                let params = ListParams::default().labels(&of_service);
                let slices = calls.make(purpose, self.slices.list(&params)).await?;
                (port, service::endpoints(&slices.items, wanted))
            }
            Err(absence) => return Ok(Err(absence)),
        };
        // Its host keys are known by its name, wherever it leads.
        let host = format!("{}.{}.svc", wanted.name, self.namespace);
        Ok(dial.map(|dial| ServiceDestination {
            destination: Destination { host, port, dial: Some(dial) },
            remark: service::remark(&service, &wanted.name),
        }))
    }

    fn missing(&self, kind: &str) -> Absence {
        Absence::Missing(format!("there is no such {kind} in namespace {}; create it", self.namespace))
    }
}

// === impl Fetched ===

impl Fetched {
    /// What there is to say though all is well.
    pub fn remark(&self) -> Option<&str> {
        self.service.as_ref()?.as_ref().ok()?.remark.as_deref()
    }
}

/// The Secrets that a WebShell names, each once.
fn secret_names(spec: &WebShellSpec) -> BTreeSet<&str> {
    let host_key = spec.host_key.secret_ref.as_ref().map(|reference| reference.name.as_str());
    [spec.credentials.secret_ref.name.as_str()].into_iter().chain(host_key).collect()
}

impl References for Fetched {
    fn secret(&self, name: &str) -> Result<&Secret, Absence> {
        match self.secrets.get(name) {
            Some(secret) => secret.as_ref().map_err(Clone::clone),
            None => Err(Absence::Unusable(format!("Secret {name} was not read"))),
        }
    }

    fn service(&self, service: &ServiceRef) -> Result<Destination, Absence> {
        match &self.service {
            Some(led) => led.as_ref().map(|led| led.destination.clone()).map_err(Clone::clone),
            None => Err(Absence::Unusable(format!("Service {} was not read", service.name))),
        }
    }
}
