//! The portals' public keys. Each portal publishes its own in one ConfigMap of the system namespace; every gateway is told
//! them all, so that keys overlap while portals come and go. Pure.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::state::{Fact, Observed};
use crate::watch;

/// The ConfigMap, with a key `<kid>.json` for each portal.
pub const NAME: &str = "webshell-portal-keys";

/// The most keys that are passed on; each portal has one.
const MAX_KEYS: usize = 64;

/// A public key as a JSON Web Key (RFC 8037), without what else may stand there.
#[derive(Debug, Deserialize, Serialize)]
struct Key {
    kty: String,
    crv: String,
    kid: String,
    x: String,
}

#[derive(Debug, Serialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// The keys that a ConfigMap has.
pub fn observed(object: &ConfigMap) -> Option<Observed> {
    let ObjectMeta { namespace, name, .. } = &object.metadata;
    let mut keys = Vec::new();
    for (entry, text) in object.data.iter().flatten().take(MAX_KEYS) {
        match serde_json::from_str::<Key>(text) {
            Ok(key) if key.kty == "OKP" && key.crv == "Ed25519" => keys.push(key),
            Ok(_) => warn!(entry, "a portal's key is of another type than Ed25519, and is left out"),
            Err(error) => warn!(entry, %error, "a portal's key cannot be read, and is left out"),
        }
    }
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    Some(Observed {
        namespace: namespace.as_deref()?.into(),
        name: name.as_deref()?.into(),
        version: watch::version(&object.metadata),
        fact: Fact::Keys(serde_json::to_string(&KeySet { keys }).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_what_is_none_is_left_out() {
        let config_map: ConfigMap = serde_saphyr::from_str(
            r#"
            metadata: {name: webshell-portal-keys, namespace: webshell, resourceVersion: "3"}
            data:
              a.json: '{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AQ","d":"private parts are not passed on"}'
              b.json: '{"kty":"OKP","crv":"Ed25519","kid":"a","x":"Ag"}'
              c.json: '{"kty":"RSA","crv":"","kid":"c","x":""}'
              d.json: nonsense
            "#,
        )
        .unwrap();
        let Fact::Keys(keys) = observed(&config_map).unwrap().fact else { panic!("no keys") };
        let expected = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"Ag"},{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AQ"}]}"#;
        assert_eq!(keys, expected);
    }
}
