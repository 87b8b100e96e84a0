//! The WebShells of all namespaces, as far as the list shows them.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
    runtime::watcher::{self, Event},
};
use parking_lot::RwLock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{WebShell, conditions},
    catalog::ShellKey,
    watch,
};

/// The longest text that is kept of a WebShell, in characters; the list needs no more.
const MAX_TEXT: usize = 512;

/// What the list shows of a WebShell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `host:port` or `service/name:port`; empty where it is not known.
    pub target: String,
    /// Why it cannot be opened now; `None` where it can.
    pub trouble: Option<String>,
}

/// All WebShells. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shells(Arc<RwLock<BTreeMap<ShellKey, Summary>>>);

impl Shells {
    /// Follows the cluster's WebShells until it is stopped. `ready` is cancelled once all are known. A watch that broke
    /// leaves what was known until the new one has all.
    pub async fn follow(&self, client: Client, ready: &CancellationToken, stop: &CancellationToken) {
        // Not by its type: one malformed object must not hide the others.
        let kind = ApiResource::erase::<WebShell>(&());
        let api: Api<DynamicObject> = Api::all_with(client, &kind);
        let mut events = pin!(watch::events(api, watcher::Config::default(), "WebShells"));
        let mut next = BTreeMap::new();
        while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
            match event {
                Ok(Event::Init) => next.clear(),
                Ok(Event::InitApply(object)) => next.extend(summary(&object)),
                Ok(Event::InitDone) => {
                    *self.0.write() = std::mem::take(&mut next);
                    ready.cancel();
                }
                Ok(Event::Apply(object)) => self.0.write().extend(summary(&object)),
                Ok(Event::Delete(object)) => {
                    if let Some((key, _)) = summary(&object) {
                        self.0.write().remove(&key);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Every WebShell's key.
    pub fn keys(&self) -> Vec<ShellKey> {
        self.0.read().keys().cloned().collect()
    }

    /// Those of `keys` that are still there, with what is shown of them.
    pub fn summaries(&self, keys: impl IntoIterator<Item = ShellKey>) -> Vec<(ShellKey, Summary)> {
        let shells = self.0.read();
        keys.into_iter().filter_map(|key| shells.get(&key).cloned().map(|summary| (key, summary))).collect()
    }

    /// Whether there is such a WebShell.
    pub fn contains(&self, key: &ShellKey) -> bool {
        self.0.read().contains_key(key)
    }
}

fn summary(object: &DynamicObject) -> Option<(ShellKey, Summary)> {
    let key = ShellKey { namespace: object.metadata.namespace.clone()?, name: object.metadata.name.clone()? };
    let status = object.data.get("status");
    let target = text(status.and_then(|status| status.get("target")));
    let conditions = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
    let ready =
        conditions.and_then(|all| all.iter().find(|one| one.get("type").is_some_and(|t| t == conditions::READY)));
    let trouble = match ready {
        Some(condition) if condition.get("status").is_some_and(|status| status == "True") => None,
        Some(condition) => Some(text(condition.get("message"))),
        None => Some("It was not looked at yet".to_owned()),
    };
    Some((key, Summary { target, trouble }))
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(data: Value) -> Summary {
        let mut object = DynamicObject::new("db-1", &ApiResource::erase::<WebShell>(&())).within("team-a");
        object.data = data;
        let (key, summary) = summary(&object).unwrap();
        assert_eq!(key.to_string(), "team-a/db-1");
        summary
    }

    #[test]
    fn readiness_is_what_the_condition_says() {
        let ready = json!({"type": "Ready", "status": "True", "message": ""});
        let other = json!({"type": "Accepted", "status": "False", "message": "no"});
        let shown = of(json!({"status": {"target": "10.0.0.7:22", "conditions": [other, ready]}}));
        assert_eq!(shown, Summary { target: "10.0.0.7:22".into(), trouble: None });
        let waiting = json!({"type": "Ready", "status": "Unknown", "message": "Secret db-1-ssh is missing"});
        let shown = of(json!({"status": {"conditions": [waiting]}}));
        assert_eq!(shown.trouble.as_deref(), Some("Secret db-1-ssh is missing"));
    }

    #[test]
    fn whatever_an_object_holds_it_is_listed_within_bounds() {
        for data in [json!({}), json!({"status": 3}), json!({"status": {"conditions": {}, "target": []}}), Value::Null]
        {
            assert_eq!(of(data).trouble.as_deref(), Some("It was not looked at yet"));
        }
        let long = json!({"status": {"target": "x".repeat(10_000), "conditions": [{"type": "Ready", "message": 7}]}});
        assert_eq!(of(long), Summary { target: "x".repeat(MAX_TEXT), trouble: Some(String::new()) });
    }
}
