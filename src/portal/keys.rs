//! The keys that tickets are signed with: made here, changed every day, and never stored. Their public halves are published
//! in a ConfigMap, from which the controller takes them to every gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
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

use crate::{
    clock::unix_time,
    ticket::{CONFIG_MAP, ENDS, LIFETIME, NOTICE, Order, SignError, SigningKey},
};

/// How long a key signs, in seconds.
const SIGNS: u64 = 24 * 3600;

/// How long before it signs a key is published, in seconds: by then every gateway has it.
const AHEAD: u64 = 10 * 60;

/// How long a key stays published after it has signed its last ticket, in seconds: twice of what gateways ask for, because the next
/// key may be made and told of late.
const BEHIND: u64 = 2 * NOTICE;

/// How long a key stays published that an earlier process of the pod has left, in seconds. It signs nothing any more; gateways must
/// hear of its new end in time ([`NOTICE`]).
const LEFT_BEHIND: u64 = 3 * NOTICE;

/// How often the ConfigMap is looked at, and how soon again where it cannot be.
const PERIOD: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// Marks which pod published a key, so that its next process knows what the last one left.
const POD: &str = "pod.webshell.dev/";

/// A portal's own keys, the oldest first, and those that an earlier process of its pod has left.
#[derive(Debug)]
pub struct Keyring {
    own: Mutex<Vec<OwnKey>>,
    left: Mutex<Option<Vec<LeftKey>>>,
}

/// A key that nobody has any more to sign with. What it vouched for stays, so it must not just disappear.
#[derive(Debug)]
struct LeftKey {
    kid: String,
    jwk: String,
    ends: u64,
}

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

    /// Whether a ticket that it signs now finds it published for long enough when it arrives.
    fn signs(&self, now: u64) -> bool {
        now.saturating_add(NOTICE + 2 * LIFETIME) < self.ends()
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
        Ok(Self { own: Mutex::new(vec![OwnKey::new(now, 0)?]), left: Mutex::default() })
    }

    /// Makes the next key in time, and forgets those whose time is over.
    ///
    /// # Errors
    /// When the system has no random numbers; the keys that there are stay.
    fn turn(&self, now: u64) -> Result<(), SignError> {
        if let Some(left) = &mut *self.left.lock() {
            left.retain(|key| now < key.ends);
        }
        let mut keys = self.own.lock();
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
        self.with_current(now, |key| key.sign(order, now))
    }

    /// Answers a gateway's question, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// See [`SigningKey::tell_ended`].
    pub fn tell_ended(
        &self,
        issuer: &str,
        question: &[u8],
        ended: BTreeSet<String>,
        now: u64,
    ) -> Result<String, SignError> {
        self.with_current(now, |key| key.tell_ended(issuer, question, ended))
    }

    fn with_current<T>(
        &self,
        now: u64,
        sign: impl FnOnce(&SigningKey) -> Result<T, SignError>,
    ) -> Result<T, SignError> {
        let keys = self.own.lock();
        // The newest whose time has come. There may be none: the clock may have been set back, or have stood still.
        let mut usable = keys.iter().filter(|own| own.signs(now));
        let current = usable.clone().rfind(|own| own.begins <= now).or(usable.next()).or(keys.last());
        sign(&current.ok_or(SignError::Random)?.key)
    }

    /// Takes over, once, what an earlier process of this pod has left in the ConfigMap. Pods that are gone for good leave theirs until
    /// its end.
    fn take_over(&self, found: &ConfigMap, pod: &str, now: u64) {
        let annotations = found.metadata.annotations.clone().unwrap_or_default();
        let left = annotations.iter().filter(|(_, by)| *by == pod).filter_map(|(name, _)| {
            let kid = name.strip_prefix(POD)?;
            let jwk = found.data.as_ref()?.get(&entry(kid))?.clone();
            let ends: u64 = annotations.get(&format!("{ENDS}{kid}"))?.parse().ok()?;
            Some(LeftKey { kid: kid.to_owned(), jwk, ends: ends.min(now.saturating_add(LEFT_BEHIND)) })
        });
        self.left.lock().get_or_insert_with(|| left.collect());
    }

    /// What this portal has to say in the ConfigMap.
    fn published(&self, namespace: &str, pod: &str) -> ConfigMap {
        let mut data = BTreeMap::new();
        let mut annotations = BTreeMap::new();
        let mut publish = |kid: &str, jwk: String, ends: u64| {
            data.insert(entry(kid), jwk);
            annotations.insert(format!("{ENDS}{kid}"), ends.to_string());
            annotations.insert(format!("{POD}{kid}"), pod.to_owned());
        };
        for own in self.own.lock().iter() {
            // A structure of texts is always JSON.
            publish(own.key.kid(), serde_json::to_string(&own.key.jwk()).unwrap_or_default(), own.ends());
        }
        for key in self.left.lock().iter().flatten() {
            publish(&key.kid, key.jwk.clone(), key.ends);
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
    let has = |found: &Option<BTreeMap<String, String>>, ours: &Option<BTreeMap<String, String>>| {
        ours.iter().flatten().all(|(key, value)| found.as_ref().and_then(|found| found.get(key)) == Some(value))
    };
    has(&found.data, &ours.data) && has(&found.metadata.annotations, &ours.metadata.annotations)
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
    let of_key = |kid: &&str| [ENDS, POD].map(|prefix| (format!("{prefix}{kid}"), Value::Null));
    let annotations: Map<String, Value> = stale.iter().flat_map(of_key).collect();
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
            let now = unix_time();
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
    let mut found = config_maps.get_opt(CONFIG_MAP).await?;
    keyring.take_over(found.as_ref().unwrap_or(&ConfigMap::default()), pod, now);
    let ours = keyring.published(namespace, pod);
    if !found.as_ref().is_some_and(|found| says(found, &ours)) {
        // With the same manager, what has ended of this pod's goes.
        let parameters = PatchParams::apply(&format!("webshell-portal/{pod}")).force();
        found = Some(config_maps.patch(CONFIG_MAP, &parameters, &Patch::Apply(&ours)).await?);
    }
    if let Some(patch) = found.and_then(|found| sweep(&found, now)) {
        config_maps.patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ticket::{Expected, Keys, verify},
        user::User,
    };

    const NOW: u64 = 1_800_000_000;

    /// As gateways have them.
    fn known(config_map: &ConfigMap) -> Keys {
        let annotations = config_map.metadata.annotations.as_ref().unwrap();
        let keys: Vec<Value> = config_map
            .data
            .iter()
            .flatten()
            .map(|(_, text)| {
                let mut key: Value = serde_json::from_str(text).unwrap();
                let ends = &annotations[&format!("{ENDS}{}", key["kid"].as_str().unwrap())];
                key["exp"] = ends.parse::<u64>().unwrap().into();
                key
            })
            .collect();
        Keys::parse(&json!({"keys": keys}).to_string()).unwrap()
    }

    fn sign(keyring: &Keyring, now: u64) -> String {
        let user = User { name: "ada".into(), ..User::default() };
        let order =
            Order { issuer: "https://p", namespace: "team-a", user: &user, nonce: "n", until: now + 60, sid: "s" };
        keyring.sign(order, now).unwrap()
    }

    #[test]
    fn every_ticket_is_signed_by_a_key_that_gateways_have_had_for_a_while() {
        let keyring = Keyring::new(NOW).unwrap();
        let mut published = vec![(NOW, known(&keyring.published("webshell", "pod")))];
        let mut most = 0;
        for minute in 0..4 * 24 * 60 {
            let now = NOW + minute * 60;
            keyring.turn(now).unwrap();
            most = most.max(keyring.own.lock().len());
            published.push((now, known(&keyring.published("webshell", "pod"))));
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
        assert!(verify(&ticket, &known(&keyring.published("webshell", "pod")), expected, later).is_ok());
    }

    #[test]
    fn however_long_it_slept_its_tickets_are_taken() {
        for minutes in SIGNS / 60 - 20..SIGNS / 60 + 40 {
            let (keyring, later) = (Keyring::new(NOW).unwrap(), NOW + minutes * 60);
            keyring.turn(later).unwrap();
            let ticket = sign(&keyring, later);
            let expected = Expected { issuer: "https://p", namespace: "team-a", nonce: "n" };
            let keys = known(&keyring.published("webshell", "pod"));
            assert!(verify(&ticket, &keys, expected, later + 29).is_ok(), "minute {minutes}");
        }
    }

    #[test]
    fn the_next_process_of_a_pod_leaves_the_last_ones_keys_for_a_while() {
        let (first, other) = (Keyring::new(NOW - 60).unwrap(), Keyring::new(NOW).unwrap());
        let mut found = first.published("webshell", "pod-0");
        let others = other.published("webshell", "pod-1");
        found.data.as_mut().unwrap().extend(others.data.unwrap());
        found.metadata.annotations.as_mut().unwrap().extend(others.metadata.annotations.unwrap());
        let next = Keyring::new(NOW).unwrap();
        next.take_over(&found, "pod-0", NOW);
        next.take_over(&ConfigMap::default(), "pod-0", NOW + 60);
        let kids = |keyring: &Keyring| -> Vec<String> {
            keyring.own.lock().iter().map(|own| own.key.kid().to_owned()).collect()
        };
        let published = |now: u64| {
            next.turn(now).unwrap();
            let said = next.published("webshell", "pod-0");
            let annotations = said.metadata.annotations.unwrap();
            let ends = |kid: &str| annotations.get(&format!("{ENDS}{kid}")).map(|ends| ends.parse::<u64>().unwrap());
            assert_eq!(ends(&kids(&other)[0]), None, "the other pod's is its own");
            assert!(ends(&kids(&next)[0]).is_some());
            (ends(&kids(&first)[0]), said.data.unwrap().len())
        };
        assert_eq!(published(NOW), (Some(NOW + LEFT_BEHIND), 2));
        assert_eq!(published(NOW + LEFT_BEHIND - 1), (Some(NOW + LEFT_BEHIND), 2));
        assert_eq!(published(NOW + LEFT_BEHIND), (None, 1));
    }

    #[test]
    fn keys_that_nobody_has_any_more_are_swept() {
        let (dead, live) = (Keyring::new(NOW - 3 * SIGNS).unwrap(), Keyring::new(NOW).unwrap());
        let (mut found, ours) = (dead.published("webshell", "pod-0"), live.published("webshell", "pod-1"));
        assert!(!says(&found, &ours));
        found.data.as_mut().unwrap().extend(ours.data.clone().unwrap());
        found.metadata.annotations.as_mut().unwrap().extend(ours.metadata.annotations.clone().unwrap());
        assert!(says(&found, &ours));
        let mut silent = found.clone();
        silent.metadata.annotations = None;
        assert!(!says(&silent, &ours), "when they end is said, too");
        let patch = sweep(&found, NOW).unwrap();
        let kid = dead.own.lock()[0].key.kid().to_owned();
        assert_eq!(
            patch,
            json!({
                "metadata": {"annotations": {
                    format!("ends.webshell.dev/{kid}"): null, format!("pod.webshell.dev/{kid}"): null,
                }},
                "data": {format!("{kid}.json"): null},
            })
        );
        assert_eq!(sweep(&ours, NOW), None);
    }
}
