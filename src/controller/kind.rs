//! The kinds of objects that a namespace's gateway is made of.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    rbac::v1::RoleBinding,
};
use kube::core::ApiResource;

use crate::config::RouteKind;

/// A kind of object, of which a namespace has at most one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The root, which owns the rest.
    ConfigMap,
    /// Who the gateway is.
    ServiceAccount,
    /// What it may do.
    RoleBinding,
    /// What it may reach.
    NetworkPolicy,
    /// Where it is found.
    Service,
    /// How browsers are led to it.
    Ingress,
    /// The same by the Gateway API.
    HttpRoute,
    /// The gateway itself.
    Deployment,
}

impl Kind {
    /// All, in the order in which they are applied: the gateway comes last, when it may do its work and can be reached.
    pub const ALL: [Self; 8] = [
        Self::ConfigMap,
        Self::ServiceAccount,
        Self::RoleBinding,
        Self::NetworkPolicy,
        Self::Service,
        Self::Ingress,
        Self::HttpRoute,
        Self::Deployment,
    ];

    /// The kind of routes that an installation makes, if it makes any.
    pub fn of_routes(kind: RouteKind) -> Option<Self> {
        match kind {
            RouteKind::Ingress => Some(Self::Ingress),
            RouteKind::HttpRoute => Some(Self::HttpRoute),
            RouteKind::None => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::RoleBinding => "RoleBinding",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::HttpRoute => "HTTPRoute",
            Self::Deployment => "Deployment",
        }
    }

    /// How an API server calls it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::HttpRoute => ApiResource {
                group: "gateway.networking.k8s.io".to_owned(),
                version: "v1".to_owned(),
                api_version: "gateway.networking.k8s.io/v1".to_owned(),
                kind: "HTTPRoute".to_owned(),
                plural: "httproutes".to_owned(),
            },
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }
}
