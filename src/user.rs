//! Who somebody is, as a log-in found out.

/// A user, by the names that Kubernetes authorizes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The groups the user is in.
    pub groups: Vec<String>,
}
