//! What is known of each namespace: compact facts instead of the objects themselves, so that ten thousand WebShells fit in
//! a few megabytes.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{digest::Digest, kind::Kind, owner::Owner, validate::Verdict};

/// What is known of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// The Namespace itself; `None` when there is none.
    pub itself: Option<Itself>,
    /// Our objects in it.
    pub children: BTreeMap<Kind, Child>,
    /// The gateway's pods, by name.
    pub pods: BTreeMap<Box<str>, Pod>,
    /// Its WebShells, by name.
    pub shells: BTreeMap<Box<str>, Arc<Shell>>,
}

/// A Namespace object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Itself {
    /// It is being deleted.
    pub terminating: bool,
    /// The installation serves it.
    pub selected: bool,
}

/// An object of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Tells it from another of the same name.
    pub uid: Box<str>,
    /// It is being deleted.
    pub terminating: bool,
    /// What of it is ours.
    pub ours: Digest,
    /// Its pod template, as far as it is ours; of a Deployment.
    pub template: Option<Digest>,
    /// What was applied last and what had become of it in the object right after. An API server may store a value in
    /// another form, and an admission webhook may change it: neither is drift.
    pub stored_as: Option<(Digest, Digest)>,
    /// What has become of a label of ours that is not as it should be.
    pub relabelled: Option<Box<str>>,
    /// What its own status says.
    pub report: Report,
}

/// What the status of an object of ours says.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It has none, or none of interest.
    Nothing,
    /// Of the root.
    Root {
        /// It was made immutable, so that settings and keys do not reach the gateway.
        immutable: bool,
    },
    /// Of a Deployment.
    Deployment {
        /// A pod serves.
        available: bool,
        /// All pods are of the newest template, and serve.
        complete: bool,
        /// Its pods take longer than they may.
        stalled: bool,
        /// Why pods cannot be made.
        trouble: Option<Trouble>,
    },
    /// Of an Ingress or HTTPRoute.
    Route(Routed),
}

impl Report {
    /// Why a route leads nowhere, where it is known not to.
    pub fn refusal(&self) -> Option<&String> {
        match self {
            Self::Route(Routed::Refused(why)) => Some(why),
            _ => None,
        }
    }

    /// Whether it is of a Deployment with a pod that serves.
    pub fn is_available(&self) -> bool {
        matches!(self, Self::Deployment { available: true, .. })
    }
}

/// What an ingress controller says of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// Nothing.
    Unknown,
    /// That it leads to the gateway.
    Accepted,
    /// That it does not, and why.
    Refused(String),
}

/// Why something does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of `api::conditions::reasons`.
    pub reason: &'static str,
    /// What happened, in the words of whoever noticed.
    pub message: String,
}

/// A pod of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// What its gateway answers a ping with.
    pub uid: Box<str>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
    /// The node that does not answer any more, and the pod with it.
    pub lost_with: Option<Box<str>>,
}

/// A WebShell.
#[derive(Clone, Debug, PartialEq)]
pub struct Shell {
    /// Tells it from another of the same name.
    pub uid: Box<str>,
    /// Counts changes of its spec.
    pub generation: i64,
    /// What is to be said of its spec.
    pub verdict: Verdict,
    /// Where it leads, as far as its spec can be read.
    pub target: Option<Target>,
    /// What of its status is ours.
    pub ours: Digest,
    /// The conditions in its status.
    pub conditions: Vec<Seen>,
    /// The sessions of each gateway pod, by its name.
    pub gateways: Vec<(Box<str>, i32)>,
}

/// Where a WebShell leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a host.
    Host {
        /// Its name or address.
        host: Box<str>,
        /// Its port.
        port: u16,
    },
    /// To a Service of the same namespace.
    Service {
        /// Its name.
        name: Box<str>,
        /// The name of its port.
        port: Box<str>,
    },
}

/// A condition as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its type, one of `api::conditions`.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    /// Its reason.
    pub reason: Box<str>,
    /// Its message, where it does not hold.
    pub message: Box<str>,
    /// When its status last changed.
    pub since: Box<str>,
    /// The generation of the spec that it speaks of.
    pub generation: Option<i64>,
}

/// Where news come from. Each is a watch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Namespaces.
    Namespaces,
    /// WebShells.
    Shells,
    /// Pods of gateways.
    Pods,
    /// The portals' public keys.
    Keys,
    /// A ClusterRole that owns our objects.
    Owner(Owner),
    /// Our objects of a kind.
    Children(Kind),
}

impl Source {
    /// What it tells of.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespaces",
            Self::Shells => "WebShells",
            Self::Pods => "Pods",
            Self::Keys => "portals' keys",
            Self::Owner(owner) => owner.name(),
            Self::Children(kind) => kind.name(),
        }
    }
}

/// An object that was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The namespace that it says something of.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its resource version, which grows with each write.
    pub version: u64,
    /// What it says.
    pub fact: Fact,
}

/// What an object says.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A Namespace.
    Namespace(Itself),
    /// A WebShell.
    Shell(Arc<Shell>),
    /// A pod of a gateway.
    Pod(Pod),
    /// The portals' public keys, as a JSON Web Key Set.
    Keys(String),
    /// The UID of a ClusterRole that owns our objects; `None` where it is being deleted.
    Owner(Option<Box<str>>),
    /// An object of ours.
    Child(Child),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Service { name, port } => write!(f, "service/{name}:{port}"),
        }
    }
}
