//! The keys that tickets are signed with: made here, changed every day, and never stored. Their public halves are published
//! in a ConfigMap, from which the controller takes them to every gateway.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::ObjectMeta,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ticket::{Order, SignError, SigningKey};

/// The ConfigMap, with a key `<kid>.json` for each that is known.
pub const CONFIG_MAP: &str = "webshell-portal-keys";

/// How long a key signs, in seconds.
const SIGNS: u64 = 24 * 3600;

/// How long before it signs a key is published, in seconds: by then every gateway has it.
const AHEAD: u64 = 10 * 60;

/// How long a key stays published after it has signed its last ticket, in seconds.
const BEHIND: u64 = 5 * 60;

/// How often the ConfigMap is looked at, and how soon again where it cannot be.
const PERIOD: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// Marks when a key is no more, in seconds since 1970, so that others remove what a portal left behind.
const ENDS: &str = "ends.webshell.dev/";

/// A portal's own keys.
#[derive(Debug)]
pub struct Keyring(Mutex<Vec<OwnKey>>);

#[derive(Debug)]
struct OwnKey {
    key: SigningKey,
    /// From when it signs, in seconds since 1970.
    begins: u64,
}

// === impl OwnKey ===

impl OwnKey {
    fn new(now: u64, ahead: u64) -> Result<Self, SignError> {
        Ok(Self { key: SigningKey::generate()?, begins: now.saturating_add(ahead) })
    }

    /// When it is published no more.
    fn ends(&self) -> u64 {
        self.begins.saturating_add(SIGNS + BEHIND)
    }
}

// === impl Keyring ===

impl Keyring {
    /// With a key that signs at once.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(now: u64) -> Result<Self, SignError> {
        Ok(Self(Mutex::new(vec![OwnKey::new(now, 0)?])))
    }

    /// Makes the next key in time, and forgets those whose time is over.
    ///
    /// # Errors
    /// When the system has no random numbers; the keys that there are stay.
    fn turn(&self, now: u64) -> Result<(), SignError> {
        let mut keys = self.0.lock();
        let newest = keys.iter().map(|own| own.begins).max().unwrap_or(0);
        if now >= newest.saturating_add(SIGNS - AHEAD) {
            keys.push(OwnKey::new(now, AHEAD)?);
        }
        let last = keys.len().saturating_sub(1);
        let mut index = 0;
        keys.retain(|own| {
            let is_newest = index == last;
            index += 1;
            is_newest || now < own.ends()
        });
        Ok(())
    }

    /// Makes a ticket, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SigningKey::sign`].
    pub fn sign(&self, order: Order<'_>, now: u64) -> Result<String, SignError> {
        let keys = self.0.lock();
        // The newest whose time has come; the clock may have been set back.
        let current = keys.iter().rev().find(|own| own.begins <= now).or(keys.first());
        current.ok_or(SignError::Random)?.key.sign(order, now)
    }

    /// What this portal has to say in the ConfigMap.
    fn published(&self, namespace: &str) -> ConfigMap {
        let keys = self.0.lock();
        let mut data = BTreeMap::new();
        let mut annotations = BTreeMap::new();
        for own in keys.iter() {
            let kid = own.key.kid();
            // A structure of four texts is always JSON.
            data.insert(entry(kid), serde_json::to_string(&own.key.jwk()).unwrap_or_default());
            annotations.insert(format!("{ENDS}{kid}"), own.ends().to_string());
        }
        let metadata = ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
    }
}

fn entry(kid: &str) -> String {
    format!("{kid}.json")
}

/// Whether a ConfigMap says all that a portal has to say.
fn says(found: &ConfigMap, ours: &ConfigMap) -> bool {
    let data = found.data.clone().unwrap_or_default();
    ours.data.iter().flatten().all(|(key, value)| data.get(key) == Some(value))
}

/// A patch that removes keys whose time is over; `None` where there are none.
fn sweep(found: &ConfigMap, now: u64) -> Option<Value> {
    let over = |ends: &str| ends.parse().is_ok_and(|ends: u64| ends.saturating_add(BEHIND) < now);
    let annotations = found.metadata.annotations.iter().flatten();
    let stale: Vec<_> = annotations.filter_map(|(name, ends)| name.strip_prefix(ENDS).filter(|_| over(ends))).collect();
    if stale.is_empty() {
        return None;
    }
    let data: Map<String, Value> = stale.iter().map(|kid| (entry(kid), Value::Null)).collect();
    let annotations: Map<String, Value> = stale.iter().map(|kid| (format!("{ENDS}{kid}"), Value::Null)).collect();
    Some(json!({"metadata": {"annotations": annotations}, "data": data}))
}

/// Keeps a portal's keys turning and published, until it is stopped. `ready` is cancelled once the first is published.
pub async fn publish(
    keyring: &Keyring,
    client: Client,
    namespace: &str,
    pod: &str,
    ready: &CancellationToken,
    stop: &CancellationToken,
) {
    let config_maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let keep = async {
        loop {
            let now = now();
            if let Err(error) = keyring.turn(now) {
                warn!(%error, "the next signing key could not be made");
            }
            let pause = match keep_once(keyring, &config_maps, namespace, pod, now).await {
                Ok(()) => {
                    if !ready.is_cancelled() {
                        info!("the public signing keys are published");
                    }
                    ready.cancel();
                    PERIOD
                }
                Err(error) => {
                    warn!(%error, namespace, name = CONFIG_MAP, "the public signing keys could not be published");
                    RETRY
                }
            };
            sleep(pause).await;
        }
    };
    stop.run_until_cancelled(keep).await;
}

async fn keep_once(
    keyring: &Keyring,
    config_maps: &Api<ConfigMap>,
    namespace: &str,
    pod: &str,
    now: u64,
) -> Result<(), kube::Error> {
    let ours = keyring.published(namespace);
    let mut found = config_maps.get_opt(CONFIG_MAP).await?;
    if !found.as_ref().is_some_and(|found| says(found, &ours)) {
        // With the same manager, what an earlier process of this pod had published goes.
        let parameters = PatchParams::apply(&format!("webshell-portal/{pod}")).force();
        found = Some(config_maps.patch(CONFIG_MAP, &parameters, &Patch::Apply(&ours)).await?);
    }
    if let Some(patch) = found.and_then(|found| sweep(&found, now)) {
        config_maps.patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ticket::{Expected, Keys, verify},
        user::User,
    };

    const NOW: u64 = 1_800_000_000;

    fn known(config_map: &ConfigMap) -> Keys {
        let keys: Vec<Value> =
            config_map.data.iter().flatten().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
        Keys::parse(&json!({"keys": keys}).to_string()).unwrap()
    }

    fn sign(keyring: &Keyring, now: u64) -> String {
        let user = User { name: "ada".into(), groups: Vec::new() };
        let order = Order { issuer: "https://p", namespace: "team-a", user: &user, nonce: "n", until: now + 60 };
        keyring.sign(order, now).unwrap()
    }

    #[test]
    fn every_ticket_is_signed_by_a_key_that_gateways_have_had_for_a_while() {
        let keyring = Keyring::new(NOW).unwrap();
        let mut published = vec![(NOW, known(&keyring.published("webshell")))];
        let mut most = 0;
        for minute in 0..4 * 24 * 60 {
            let now = NOW + minute * 60;
            keyring.turn(now).unwrap();
            most = most.max(keyring.0.lock().len());
            published.push((now, known(&keyring.published("webshell"))));
            let ticket = sign(&keyring, now);
            // What gateways had learned nine minutes ago, and what they will have when the ticket arrives.
            let earlier = published.iter().rev().find(|(at, _)| *at + 9 * 60 <= now).unwrap_or(&published[0]);
            let expected = Expected { issuer: "https://p", namespace: "team-a", nonce: "n" };
            for keys in [&earlier.1, &published.last().unwrap().1] {
                assert!(verify(&ticket, keys, expected, now + 29).is_ok(), "minute {minute}");
            }
        }
        assert_eq!(most, 2);
    }

    #[test]
    fn a_portal_that_slept_goes_on() {
        let keyring = Keyring::new(NOW).unwrap();
        let later = NOW + 30 * SIGNS;
        keyring.turn(later).unwrap();
        let ticket = sign(&keyring, later);
        let expected = Expected { issuer: "https://p", namespace: "team-a", nonce: "n" };
        // Its only key is on its way, and gateways wait for it.
        assert!(verify(&ticket, &known(&keyring.published("webshell")), expected, later).is_ok());
    }

    #[test]
    fn keys_that_nobody_has_any_more_are_swept() {
        let (dead, live) = (Keyring::new(NOW - 3 * SIGNS).unwrap(), Keyring::new(NOW).unwrap());
        let (mut found, ours) = (dead.published("webshell"), live.published("webshell"));
        assert!(!says(&found, &ours));
        found.data.as_mut().unwrap().extend(ours.data.clone().unwrap());
        found.metadata.annotations.as_mut().unwrap().extend(ours.metadata.annotations.clone().unwrap());
        assert!(says(&found, &ours));
        let patch = sweep(&found, NOW).unwrap();
        let kid = dead.0.lock()[0].key.kid().to_owned();
        assert_eq!(
            patch,
            json!({
                "metadata": {"annotations": {format!("ends.webshell.dev/{kid}"): null}},
                "data": {format!("{kid}.json"): null},
            })
        );
        assert_eq!(sweep(&ours, NOW), None);
    }
}
