//! The shells that one may open, as JSON. Pure.

use super::shells::Summary;
use crate::{
    catalog::ShellKey,
    config::Route,
    gateway::list::{List, Row},
};

/// The list of `shells`, which are where `route` leads; whether it is `complete` is known already.
pub fn list<'a>(shells: &'a [(ShellKey, Summary)], complete: bool, route: &Route) -> List<'a> {
    let row = |(key, summary): &'a (ShellKey, Summary)| {
        Row::new(key, route.url(&key.namespace, &key.name), &summary.target, summary.trouble.as_deref())
    };
    List { shells: shells.iter().map(row).collect(), complete }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shell_is_listed_with_its_own_host() {
        let route = crate::config::parse("route", "{kind: Ingress, mode: Host, host: shell.example.com}").unwrap();
        let key = ShellKey { namespace: "team-a".into(), name: "db-1".into() };
        let summary = Summary { target: "10.0.0.7:22".into(), trouble: Some("Secret x is missing".into()) };
        let ready = Summary { trouble: None, ..summary.clone() };
        let shells = [(key.clone(), summary), (key, ready)];
        let url = "https://team-a.shell.example.com/team-a/db-1/";
        assert_eq!(
            serde_json::to_value(list(&shells, true, &route)).unwrap(),
            json!({"shells": [
                {"namespace": "team-a", "name": "db-1", "url": url, "target": "10.0.0.7:22", "ready": false, "message": "Secret x is missing"},
                {"namespace": "team-a", "name": "db-1", "url": url, "target": "10.0.0.7:22", "ready": true},
            ], "complete": true})
        );
    }
}
