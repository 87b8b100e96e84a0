//! Documents read as objects: which each is, and what it says or what is wrong with it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::{Map, Value};

use super::{schema::Schema, secret};
use crate::{
    api::WebShellSpec,
    resolve::{problem::Problem, secret::Secret},
};

/// The API version of WebShells.
const WEBSHELL_API: &str = "webshell.dev/v1alpha1";

/// The fields of an object's metadata (metav1.ObjectMeta).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Where an object was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, named as it was given.
    pub(super) file: PathBuf,
    /// The document in it, counted from 1.
    pub(super) document: usize,
    /// The item, where the document is a `List`, counted from 1.
    pub(super) item: Option<usize>,
}

/// Names an object of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object, or what is wrong with it.
pub(super) struct Object<T> {
    pub(super) place: Place,
    pub(super) kind: &'static str,
    pub(super) name: Name,
    pub(super) content: Result<T, Vec<Problem>>,
}

/// What documents hold.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) web_shells: Vec<Object<WebShellSpec>>,
    pub(super) secrets: Vec<Object<Secret>>,
    /// What is wrong with documents that are neither or have no name, each a line.
    pub(super) problems: Vec<String>,
    /// What was left out, each a line.
    pub(super) ignored: Vec<String>,
}

// === impl Place, Name, Object ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.file.display(), self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", item {item}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<T> fmt::Display for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, kind, name, .. } = self;
        write!(f, "{place} ({kind} {name})")
    }
}

// === impl Objects ===

impl Objects {
    /// Reads a document.
    pub(super) fn read(&mut self, place: Place, document: Value, schema: &Schema) {
        let Value::Object(mut fields) = document else {
            return self.problem(&place, "is no object: begin with apiVersion and kind");
        };
        let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api, kind) = (text("apiVersion"), text("kind"));
        match (api.as_str(), kind.as_str()) {
            ("v1", "List") if place.item.is_none() => match fields.remove("items") {
                Some(Value::Array(items)) => {
                    for (item, number) in items.into_iter().zip(1..) {
                        self.read(Place { item: Some(number), ..place.clone() }, item, schema);
                    }
                }
                _ => self.problem(&place, "items is missing: a List has its objects there"),
            },
            (WEBSHELL_API, "WebShell") => {
                let object =
                    self.object(place, "WebShell", fields, |fields, _, problems| web_shell(fields, schema, problems));
                self.web_shells.extend(object);
            }
            ("v1", "Secret") => {
                let object = self.object(place, "Secret", fields, |fields, annotations, problems| {
                    Some(secret::read(fields, annotations, problems))
                });
                self.secrets.extend(object);
            }
            (_, "") => self.problem(&place, "kind is missing: write WebShell or Secret"),
            ("", _) => self
                .problem(&place, "apiVersion is missing: it is webshell.dev/v1alpha1 for a WebShell, v1 for a Secret"),
            (_, "Secret") => self.problem(&place, &format!("apiVersion is {api:?}: must be v1 for a Secret")),
            (_, "WebShell") => {
                self.problem(&place, &format!("apiVersion is {api:?}: must be {WEBSHELL_API} for a WebShell"));
            }
            (api, _) if api.starts_with("webshell.dev/") => {
                self.problem(&place, &format!("kind is {kind:?}: must be WebShell"));
            }
            _ => {
                self.ignored.push(format!("{place}: ignored, because its kind {kind:?} is neither WebShell nor Secret"))
            }
        }
    }

    fn problem(&mut self, place: &Place, text: &str) {
        self.problems.push(format!("{place}: {text}"));
    }

    /// Reads an object of a known kind, if it has a name to go by.
    fn object<T>(
        &mut self,
        place: Place,
        kind: &'static str,
        mut fields: Map<String, Value>,
        read: impl FnOnce(Map<String, Value>, &BTreeMap<String, String>, &mut Vec<Problem>) -> Option<T>,
    ) -> Option<Object<T>> {
        fields.remove("apiVersion");
        fields.remove("kind");
        let mut problems = Vec::new();
        let mut metadata = fields.remove("metadata");
        let annotations = annotations(metadata.as_mut(), &mut problems);
        let Some(name) = name(metadata, &mut problems) else {
            self.problems.extend(problems.iter().map(|problem| format!("{place} ({kind}): {problem}")));
            return None;
        };
        let content = match read(fields, &annotations, &mut problems) {
            Some(content) if problems.is_empty() => Ok(content),
            _ => Err(problems),
        };
        Some(Object { place, kind, name, content })
    }
}

/// The object's annotations.
fn annotations(metadata: Option<&mut Value>, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let given = metadata.and_then(|metadata| metadata.get_mut("annotations")).map(Value::take);
    match serde_json::from_value(given.unwrap_or_default()) {
        Ok(annotations) => Option::unwrap_or_default(annotations),
        Err(_) => {
            problems.push(Problem::new("metadata.annotations", "must be a mapping of strings; put values in quotes"));
            BTreeMap::new()
        }
    }
}

/// The object's name, unless it has none to go by.
fn name(metadata: Option<Value>, problems: &mut Vec<Problem>) -> Option<Name> {
    let fields = match metadata {
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            problems.push(Problem::of_value("metadata", &other, "must be a mapping with a name"));
            return None;
        }
        None => Map::new(),
    };
    for field in fields.keys().filter(|field| !METADATA.contains(&field.as_str())) {
        problems.push(Problem::unknown("metadata", field, METADATA.into_iter()));
    }
    let name = match fields.get("name") {
        None | Some(Value::Null) => {
            problems.push(Problem::missing("metadata.name", "give the object a name"));
            None
        }
        Some(Value::String(name)) if name.len() <= 253 && name.split('.').all(is_label) => Some(name.clone()),
        Some(other) => {
            let text = "must be lower case letters, digits, - and ., each part beginning and ending with a letter or digit, at most 253 characters";
            problems.push(Problem::of_value("metadata.name", other, text));
            None
        }
    };
    let namespace = match fields.get("namespace") {
        None | Some(Value::Null) => Some("default".to_owned()),
        Some(Value::String(namespace)) if namespace.len() <= 63 && is_label(namespace) => Some(namespace.clone()),
        Some(other) => {
            let text = "must be lower case letters, digits and -, beginning and ending with a letter or digit, at most 63 characters";
            problems.push(Problem::of_value("metadata.namespace", other, text));
            None
        }
    };
    Some(Name { namespace: namespace?, name: name? })
}

/// A part of a DNS-1123 name. Kubernetes does not limit the length of parts of a subdomain.
fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn web_shell(mut fields: Map<String, Value>, schema: &Schema, problems: &mut Vec<Problem>) -> Option<WebShellSpec> {
    // Written by the operator only; an API server drops it from a manifest too.
    fields.remove("status");
    let mut object = Value::Object(fields);
    problems.extend(schema.check(&mut object));
    if !problems.is_empty() {
        return None;
    }
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    // The schema is stricter than the types.
    serde_json::from_value(spec).map_err(|error| problems.push(Problem::new("spec", error))).ok()
}
