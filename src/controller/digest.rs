//! What of an object is ours, and a digest of it to compare with what would be applied. Pure.
//!
//! An API server keeps with each object which fields a field manager has applied (`metadata.managedFields`). Cut down to
//! those fields, an object equals what was applied, unless somebody changed it: defaults and the fields of others fall away. So
//! a digest tells whether a write would change anything, and the object itself need not be kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a value.
pub type Digest = [u8; 32];

/// The digest of a value; the order of its fields does not count.
pub fn digest(value: &Value) -> Digest {
    let mut hasher = Sha256::new();
    feed(&mut hasher, value);
    hasher.finalize().into()
}

/// What is compared of an object that is to be applied: everything but what names it.
pub fn body(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !matches!(name.as_str(), "name" | "namespace"));
    }
    body
}

/// The fields of `object` that `manager` has applied, in its `subresource` where one is given; empty when it has applied
/// none.
pub fn owned(object: &DynamicObject, manager: &str, subresource: Option<&str>) -> Value {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let entry = entries.iter().find(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref() == subresource
    });
    let Some(Value::Object(fields)) = entry.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| &fields.0) else {
        return json!({});
    };
    let mut ours = Map::new();
    for (key, fields) in fields {
        let (Some(name), Value::Object(fields)) = (key.strip_prefix("f:"), fields) else { continue };
        let value = if name == "metadata" {
            Some(project(fields, &metadata(&object.metadata)))
        } else {
            object.data.get(name).map(|value| project(fields, value))
        };
        if let Some(value) = value {
            ours.insert(name.to_owned(), value);
        }
    }
    Value::Object(ours)
}

/// The metadata that anybody applies.
fn metadata(meta: &ObjectMeta) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    put("labels", meta.labels.as_ref().map(|labels| json!(labels)));
    put("annotations", meta.annotations.as_ref().map(|annotations| json!(annotations)));
    put("ownerReferences", meta.owner_references.as_ref().map(|owners| json!(owners)));
    Value::Object(fields)
}

/// The part of `value` that a set of fields names, in the form that managed fields have: `f:` a field, `k:` an item of a
/// list by its keys, `v:` an item by its value, `.` the thing itself, and nothing at all for the whole of it.
fn project(fields: &Map<String, Value>, value: &Value) -> Value {
    if fields.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(object) => {
            let ours = fields.iter().filter_map(|(key, fields)| {
                let name = key.strip_prefix("f:")?;
                Some((name.to_owned(), project(fields.as_object()?, object.get(name)?)))
            });
            Value::Object(ours.collect())
        }
        Value::Array(items) => {
            let ours = items.iter().filter_map(|item| {
                fields.iter().find_map(|(key, fields)| {
                    is_item(key, item).then(|| fields.as_object().map(|fields| project(fields, item)))?
                })
            });
            Value::Array(ours.collect())
        }
        scalar => scalar.clone(),
    }
}

fn is_item(key: &str, item: &Value) -> bool {
    if let Some(keys) = key.strip_prefix("k:") {
        let Ok(Value::Object(keys)) = serde_json::from_str(keys) else { return false };
        return keys.iter().all(|(name, value)| item.get(name) == Some(value));
    }
    let value = key.strip_prefix("v:").and_then(|value| serde_json::from_str::<Value>(value).ok());
    value.as_ref() == Some(item)
}

/// Feeds a value so that different values never feed the same bytes.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            hasher.update(b"{");
            hasher.update(fields.len().to_be_bytes());
            for (name, value) in fields {
                feed_text(hasher, name);
                feed(hasher, value);
            }
        }
        Value::Array(items) => {
            hasher.update(b"[");
            hasher.update(items.len().to_be_bytes());
            for item in items {
                feed(hasher, item);
            }
        }
        Value::String(text) => feed_text(hasher, text),
        Value::Number(number) => {
            hasher.update(b"#");
            feed_text(hasher, &number.to_string());
        }
        Value::Bool(true) => hasher.update(b"t"),
        Value::Bool(false) => hasher.update(b"f"),
        Value::Null => hasher.update(b"n"),
    }
}

fn feed_text(hasher: &mut Sha256, text: &str) {
    hasher.update(b"\"");
    hasher.update(text.len().to_be_bytes());
    hasher.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "webshell-gateway", "namespace": "team-a", "uid": "u", "resourceVersion": "7",
                "labels": {"a": "ours", "b": "theirs"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "root", "uid": "r"}],
                "managedFields": [
                    {"manager": "kubectl", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:b": {}}}}},
                    {"manager": "webshell-controller", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {"k:{\"uid\":\"r\"}": {}}},
                        "f:spec": {
                            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}},
                            "f:selector": {},
                        },
                    }},
                ],
            },
            "spec": {
                "clusterIP": "10.0.0.1",
                "ports": [
                    {"port": 9, "protocol": "TCP", "targetPort": 9},
                    {"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 31000},
                ],
                "selector": {"app": "x"},
            },
        })
    }

    fn applied() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "webshell-gateway", "namespace": "team-a", "labels": {"a": "ours"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "root", "uid": "r"}],
            },
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}]},
        })
    }

    #[test]
    fn an_object_cut_to_its_managed_fields_is_what_was_applied() {
        let ours = owned(&object(service()), "webshell-controller", None);
        assert_eq!(ours, body(&applied()));
        assert_eq!(digest(&ours), digest(&body(&applied())));
    }

    #[test]
    fn drift_of_a_field_of_ours_shows() {
        for (pointer, value) in [
            ("/metadata/labels/a", json!("drifted")),
            ("/spec/ports/1/targetPort", json!(22)),
            ("/spec/selector/app", json!("y")),
            ("/metadata/ownerReferences/0/name", json!("other")),
            // Somebody else forced a value of their own, so that the field is no longer among ours.
            ("/metadata/managedFields/1/fieldsV1/f:spec", json!({})),
        ] {
            let mut drifted = service();
            *drifted.pointer_mut(pointer).unwrap() = value;
            let ours = owned(&object(drifted), "webshell-controller", None);
            assert_ne!(digest(&ours), digest(&body(&applied())), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_ours_does_not_count() {
        for (pointer, value) in [
            ("/metadata/labels/b", json!("x")),
            ("/spec/clusterIP", json!("10.0.0.2")),
            ("/spec/ports/0/port", json!(10)),
            ("/spec/ports/1/nodePort", json!(31001)),
        ] {
            let mut other = service();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_eq!(owned(&object(other), "webshell-controller", None), body(&applied()), "{pointer}");
        }
    }

    #[test]
    fn nothing_applied_is_nothing_owned() {
        assert_eq!(owned(&object(service()), "somebody", None), json!({}));
        assert_eq!(owned(&object(service()), "webshell-controller", Some("status")), json!({}));
    }

    #[test]
    fn values_that_read_alike_differ() {
        let values =
            [json!("1"), json!(1), json!(["1"]), json!({"1": ""}), json!([]), json!({}), json!(null), json!(["1", ""])];
        for (i, one) in values.iter().enumerate() {
            for (j, other) in values.iter().enumerate() {
                assert_eq!(digest(one) == digest(other), i == j, "{one} {other}");
            }
        }
    }
}
