//! Who somebody is, as a log-in found out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A user, by all that Kubernetes authorizes by; serialized, it is the part of a ticket's claims that says who. An authorizer may
/// allow less for what is in `extra` (a scope, the pod that a token is bound to), so none of it is ever left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    #[serde(rename = "sub")]
    pub name: String,
    /// What tells this user from an earlier one of the same name; not every cluster says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The groups the user is in.
    pub groups: Vec<String>,
    /// What else the authenticator found out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}
