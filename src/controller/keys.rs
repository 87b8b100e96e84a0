//! The portals' public keys. Each portal publishes its own in one ConfigMap of the system namespace; every gateway is told
//! them all, so that keys overlap while portals come and go. Pure.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;
use serde::Serialize;
use tracing::warn;

use super::state::{Fact, Observed};
use crate::{
    ticket::{self, Jwk},
    watch,
};

/// The ConfigMap, with a key `<kid>.json` for each portal.
pub const NAME: &str = ticket::CONFIG_MAP;

/// The most keys that are passed on; each portal has one.
const MAX_KEYS: usize = 64;

#[derive(Debug, Serialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// The keys that a ConfigMap has, and when each ends.
pub fn observed(object: &ConfigMap) -> Option<Observed> {
    let ObjectMeta { namespace, name, annotations, .. } = &object.metadata;
    let ends = |kid: &str| annotations.as_ref()?.get(&format!("{}{kid}", ticket::ENDS))?.parse().ok();
    let mut keys = Vec::new();
    for (entry, text) in object.data.iter().flatten().take(MAX_KEYS) {
        match serde_json::from_str::<Jwk>(text) {
            Ok(key) if key.kty == "OKP" && key.crv == "Ed25519" => keys.push(Jwk { exp: ends(&key.kid), ..key }),
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
            metadata:
              name: webshell-portal-keys
              namespace: webshell
              resourceVersion: "3"
              annotations: {ends.webshell.dev/a: "1800000000", ends.webshell.dev/b: tomorrow}
            data:
              a.json: '{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AQ","d":"private parts are not passed on"}'
              b.json: '{"kty":"OKP","crv":"Ed25519","kid":"a","x":"Ag"}'
              c.json: '{"kty":"RSA","crv":"","kid":"c","x":""}'
              d.json: nonsense
            "#,
        )
        .unwrap();
        let Fact::Keys(keys) = observed(&config_map).unwrap().fact else { panic!("no keys") };
        let expected = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"Ag","exp":1800000000},{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AQ"}]}"#;
        assert_eq!(keys, expected);
    }
}
