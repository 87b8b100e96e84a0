//! The ClusterRoles of the release that own what the controller makes. The garbage collector takes what has none of its owners any
//! more: so both must go, as they do when the release is uninstalled, and losing one loses nothing.

use std::collections::BTreeMap;

/// A ClusterRole that owns the root of each namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The one with the rights of gateways.
    Gateway,
    /// The one with the controller's own.
    Controller,
}

/// The UIDs of those that exist.
pub type Owners = BTreeMap<Owner, Box<str>>;

impl Owner {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Controller];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "webshell-gateway",
            Self::Controller => "webshell-controller",
        }
    }
}
