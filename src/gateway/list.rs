//! The shells that one may open, as JSON: a gateway's list, and the form that the portal's has, too. Pure.

use serde::Serialize;

use super::routes::Scope;
use crate::{
    catalog::{Catalog, Entry, ShellKey},
    rights::lists::Visible,
};

/// The answer to `GET …/-/shells`.
#[derive(Debug, Serialize)]
pub struct List<'a> {
    /// One for each shell.
    pub shells: Vec<Row<'a>>,
    /// Whether they are all that the user may open; otherwise some were not asked about yet.
    pub complete: bool,
}

/// A shell in the list.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    namespace: &'a str,
    name: &'a str,
    url: String,
    target: &'a str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// `url` is where its page is, a path or a whole address; `trouble` what keeps it from being ready.
    pub fn new(key: &'a ShellKey, url: String, target: &'a str, trouble: Option<&'a str>) -> Self {
        Self { namespace: &key.namespace, name: &key.name, url, target, ready: trouble.is_none(), message: trouble }
    }
}

/// The shells of `catalog` within `scope` that are among the `visible`, by namespace and name.
pub fn list<'a>(catalog: &'a Catalog, scope: Scope<'_>, visible: &Visible) -> List<'a> {
    let within = |entry: &&Entry| match scope {
        Scope::All => true,
        Scope::Namespace(namespace) => entry.key.namespace == namespace,
    };
    let shells = catalog.shells.values().filter(within).filter(|entry| visible.shells.contains(&entry.key));
    let row = |entry: &'a Entry| {
        let trouble = entry.access.as_ref().err().map(|obstacle| obstacle.message.as_str());
        Row::new(&entry.key, format!("/{}/", entry.key), &entry.target, trouble)
    };
    List { shells: shells.map(row).collect(), complete: visible.complete }
}

/// The namespaces that have shells, by name.
pub fn namespaces(catalog: &Catalog) -> Vec<&str> {
    let mut namespaces: Vec<_> = catalog.shells.keys().map(|key| key.namespace.as_str()).collect();
    namespaces.dedup();
    namespaces
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::catalog::Obstacle;

    #[test]
    fn shells_are_listed_within_their_scope() {
        let mut shells = BTreeMap::new();
        for (namespace, name) in [("team-a", "db-1"), ("team-a", "db-2"), ("team-b", "web")] {
            let key = ShellKey { namespace: namespace.into(), name: name.into() };
            let access = Err(Obstacle::invalid("Secret team-a/x is missing; create it"));
            shells.insert(key.clone(), Entry { key, target: "ops@10.0.0.1:22".into(), access });
        }
        let catalog = Catalog { shells };
        let all = Visible { shells: catalog.shells.keys().cloned().collect(), complete: true };
        assert_eq!(
            serde_json::to_value(list(&catalog, Scope::Namespace("team-b"), &all)).unwrap(),
            json!({"shells": [{
                "namespace": "team-b", "name": "web", "url": "/team-b/web/", "target": "ops@10.0.0.1:22",
                "ready": false, "message": "Secret team-a/x is missing; create it",
            }], "complete": true})
        );
        assert_eq!(list(&catalog, Scope::All, &all).shells.len(), 3);
        assert_eq!(list(&catalog, Scope::Namespace("nobody"), &all).shells.len(), 0);
        let one = Visible { shells: catalog.shells.keys().take(1).cloned().collect(), complete: false };
        assert_eq!(list(&catalog, Scope::All, &one).shells[0].url, "/team-a/db-1/");
        assert_eq!(list(&catalog, Scope::All, &one).shells.len(), 1);
        assert!(!list(&catalog, Scope::All, &one).complete);
        assert_eq!(namespaces(&catalog), ["team-a", "team-b"]);
    }
}
