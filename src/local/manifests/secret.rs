//! Secrets from manifests. No error ever shows a value.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    api::secret_keys::{PASSWORD, PRIVATE_KEY, USERNAME},
    resolve::{problem::Problem, secret::Secret},
};

/// The most bytes a Secret may have, as in Kubernetes.
const MAX_SIZE: usize = 1024 * 1024;

/// The fields of a Secret.
const FIELDS: [&str; 7] = ["apiVersion", "data", "immutable", "kind", "metadata", "stringData", "type"];

/// Reads what remains of a Secret's manifest without kind and metadata, of which it has the annotations. What is wrong is
/// added to `problems`.
pub(super) fn read(
    fields: Map<String, Value>,
    annotations: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Secret {
    let mut values = BTreeMap::new();
    let mut kind = String::new();
    let mut string_data = None;
    for (name, field) in fields {
        match (name.as_str(), field) {
            (_, Value::Null) => {}
            ("data", Value::Object(data)) => {
                for (key, value) in data {
                    match decode(value) {
                        Some(bytes) => _ = values.insert(key, bytes),
                        None => problems.push(Problem::new(
                            format!("data.{key}"),
                            "must be Base64; write plain text under stringData instead",
                        )),
                    }
                }
            }
            ("stringData", Value::Object(data)) => string_data = Some(data),
            ("data" | "stringData", _) => problems.push(Problem::new(name, "must be a mapping")),
            ("type", Value::String(text)) => kind = text,
            ("type", _) => problems.push(Problem::new(name, "must be a string")),
            ("immutable", _) => {}
            _ => problems.push(Problem::unknown("", &name, FIELDS.into_iter())),
        }
    }
    // As in Kubernetes, plain values take the place of others.
    for (key, value) in string_data.into_iter().flatten() {
        match value {
            Value::String(text) => _ = values.insert(key, Zeroizing::new(text.into_bytes())),
            Value::Null => _ = values.insert(key, Zeroizing::default()),
            _ => {
                problems.push(Problem::new(format!("stringData.{key}"), "must be a string; put it in quotes"));
            }
        }
    }
    check(&values, &kind, problems);
    Secret::new(values, Some(annotations))
}

/// What an API server checks.
fn check(values: &BTreeMap<String, Zeroizing<Vec<u8>>>, kind: &str, problems: &mut Vec<Problem>) {
    let has = |key| values.contains_key(key);
    let misses = match kind {
        "kubernetes.io/ssh-auth" if !has(PRIVATE_KEY) => Some("ssh-privatekey, which its type requires"),
        "kubernetes.io/basic-auth" if !has(USERNAME) && !has(PASSWORD) => {
            Some("username or password, one of which its type requires")
        }
        _ => None,
    };
    if let Some(misses) = misses.filter(|_| problems.is_empty()) {
        problems.push(Problem::new("stringData", format!("has no {misses}")));
    }
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for key in values.keys().filter(|key| key.is_empty() || key.len() > 253 || !key.bytes().all(is_key)) {
        let text = "a key must be letters, digits, -, _ and ., at most 253 of them";
        problems.push(Problem::new(format!("data.{key:?}"), text));
    }
    if values.values().map(|value| value.len()).sum::<usize>() > MAX_SIZE {
        problems.push(Problem::new("data", "more than 1 MiB; remove what is not needed"));
    }
}

/// The bytes of a value in Base64, which may have line breaks.
fn decode(value: Value) -> Option<Zeroizing<Vec<u8>>> {
    match value {
        Value::String(text) => {
            let text = Zeroizing::new(text);
            let compact: Zeroizing<Vec<u8>> =
                Zeroizing::new(text.bytes().filter(|byte| !b"\r\n".contains(byte)).collect());
            BASE64_STANDARD.decode(&*compact).ok().map(Zeroizing::new)
        }
        Value::Null => Some(Zeroizing::default()),
        _ => None,
    }
}
