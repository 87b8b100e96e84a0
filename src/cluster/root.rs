//! The gateway's own ConfigMap, which its namespace's controller keeps.

use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{self, ConfigError, GatewaySettings},
    watch::events,
};

/// The name of the ConfigMap.
pub const NAME: &str = "webshell-gateway";

const SETTINGS: &str = "gateway.yaml";
const KEYS: &str = "keys.json";

/// What the ConfigMap says.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// What is under `gateway.yaml`.
    pub settings: GatewaySettings,
    /// What is under `keys.json`: the public keys of portals, as a JWKS.
    pub keys: String,
}

/// Why a ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
enum RootError {
    #[error("ConfigMap {NAME} has no key {0}; the controller writes it")]
    Missing(&'static str),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Publishes what the ConfigMap says, until it is stopped. What was said last counts while it cannot be read or used.
pub async fn follow(
    client: Client,
    namespace: String,
    root: watch::Sender<Option<Arc<Root>>>,
    stop: CancellationToken,
) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = std::pin::pin!(events(api, config, "ConfigMap webshell-gateway"));
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => match parse(&object) {
                Ok(now) => {
                    let now = Some(Arc::new(now));
                    let changed = root.send_if_modified(|before| {
                        let changed = *before != now;
                        *before = now;
                        changed
                    });
                    if changed {
                        info!(namespace, "settings read");
                    }
                }
                Err(error) => warn!(namespace, %error, "settings cannot be used; what they said before stays in force"),
            },
            Ok(Event::Delete(_)) => warn!(namespace, "ConfigMap {NAME} was deleted; what it said stays in force"),
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}

fn parse(object: &ConfigMap) -> Result<Root, RootError> {
    let get = |key| object.data.as_ref().and_then(|data| data.get(key)).ok_or(RootError::Missing(key));
    let settings = config::parse(&format!("ConfigMap {NAME}, {SETTINGS}"), get(SETTINGS)?)?;
    Ok(Root { settings, keys: get(KEYS)?.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_keys_are_read_and_what_lacks_is_named() {
        let settings = "{origin: 'https://a.example.com', portal: 'https://example.com', policy: {forbidInsecure: true}, \
             loginLifetime: 8h, apiOutageGrace: 10m, maxSessions: 8, trustedProxies: [10.0.0.0/8]}";
        let object = |data: &[(&str, &str)]| ConfigMap {
            data: Some(data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..ConfigMap::default()
        };
        let root = parse(&object(&[(SETTINGS, settings), (KEYS, "{}")])).unwrap();
        assert!(root.settings.policy.forbid_insecure);
        assert_eq!(root.keys, "{}");
        let error = parse(&object(&[(SETTINGS, settings)])).unwrap_err().to_string();
        assert!(error.contains("keys.json"), "{error}");
        let error = parse(&object(&[(SETTINGS, "origin: 1"), (KEYS, "{}")])).unwrap_err().to_string();
        assert!(error.starts_with("ConfigMap webshell-gateway, gateway.yaml: "), "{error}");
    }
}
