//! Validation by the schema of the CRD, as an API server does it with `kubectl apply`: nulls are dropped, defaults are filled in,
//! unknown fields are errors, then come the schema and its CEL rules.

use std::collections::BTreeMap;

use jsonschema::{
    PatternOptions, Validator,
    error::{TypeKind, ValidationErrorKind},
    paths::{Location, LocationSegment},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::{Map, Value};

use super::rules::Rule;
use crate::resolve::problem::{Problem, join};

/// The most problems of one object that are told: nobody reads more, and a manifest can have very many.
const MAX_PROBLEMS: usize = 50;

/// A schema, ready to check objects.
pub(super) struct Schema {
    root: Node,
    validator: Validator,
}

/// A schema that cannot be used: a fault of the program, not of a manifest.
#[derive(Debug, thiserror::Error)]
#[error("the CRD's schema cannot be used: {0}")]
pub struct SchemaError(String);

/// A place in the schema. The properties and items of `props` have moved into their own members.
struct Node {
    props: JSONSchemaProps,
    properties: BTreeMap<String, Node>,
    items: Option<Box<Node>>,
    rules: Vec<Rule>,
}

// === impl Schema ===

impl Schema {
    /// Compiles a structural schema.
    ///
    /// # Errors
    /// When it holds a pattern or rule that cannot be compiled.
    pub(super) fn new(props: JSONSchemaProps) -> Result<Self, SchemaError> {
        let value = serde_json::to_value(&props).map_err(|error| SchemaError(error.to_string()))?;
        let validator = jsonschema::options()
            // The engine without backtracking, which API servers have too.
            .with_pattern_options(PatternOptions::regex())
            .build(&value)
            .map_err(|error| SchemaError(error.to_string()))?;
        Ok(Self { root: Node::new(props)?, validator })
    }

    /// Checks an object and fills in its defaults. Returns everything that is wrong, sorted by field.
    pub(super) fn check(&self, object: &mut Value) -> Vec<Problem> {
        self.root.fill(object);
        let mut problems = Vec::new();
        self.root.check_fields("", object, &mut problems);
        for error in self.validator.iter_errors(object) {
            let path = path(error.instance_path());
            let node = self.root.at(error.instance_path());
            problems.push(describe(path, error.instance(), error.kind(), node));
        }
        // Rules that read what is already known to be wrong would only say so again, or fail.
        let known = problems.clone();
        self.root.check_rules("", object, &known, &mut problems);
        problems.sort_by(|one, other| one.path.cmp(&other.path));
        // The second problem of a field mostly follows from the first.
        problems.dedup_by(|second, first| second.path == first.path);
        problems.truncate(MAX_PROBLEMS);
        problems
    }
}

// === impl Node ===

impl Node {
    fn new(mut props: JSONSchemaProps) -> Result<Self, SchemaError> {
        let properties = props.properties.take().into_iter().flatten();
        let properties = properties.map(|(name, props)| Ok((name, Self::new(props)?))).collect::<Result<_, _>>()?;
        let items = match props.items.take() {
            Some(JSONSchemaPropsOrArray::Schema(items)) => Some(Box::new(Self::new(*items)?)),
            _ => None,
        };
        let rules = props.x_kubernetes_validations.take().into_iter().flatten();
        let rules = rules
            .map(|rule| Rule::compile(&rule).map_err(|error| SchemaError(format!("{}: {error}", rule.rule))))
            .collect::<Result<_, _>>()?;
        Ok(Self { props, properties, items, rules })
    }

    /// The node of a field.
    fn at(&self, location: &Location) -> Option<&Self> {
        location.segments().try_fold(self, |node, segment| match segment {
            LocationSegment::Property(name) => node.properties.get(name.as_ref()),
            LocationSegment::Index(_) => node.items.as_deref(),
        })
    }

    /// Drops nulls and fills in defaults, from the outside in. Whole numbers may be written as 22.0.
    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, field| !field.is_null());
                for (name, node) in &self.properties {
                    if let Some(default) = &node.props.default {
                        fields.entry(name.clone()).or_insert_with(|| default.0.clone());
                    }
                    if let Some(field) = fields.get_mut(name) {
                        node.fill(field);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(node) = &self.items {
                    items.iter_mut().for_each(|item| node.fill(item));
                }
            }
            Value::Number(number) if number.is_f64() && self.props.type_.as_deref() == Some("integer") => {
                if let Some(whole) = number.as_f64().and_then(|number| number.to_string().parse::<i64>().ok()) {
                    *value = whole.into();
                }
            }
            _ => {}
        }
    }

    /// What JSON Schema does not say: unknown fields, and keys given twice in lists that are maps.
    fn check_fields(&self, path: &str, value: &Value, problems: &mut Vec<Problem>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match self.properties.get(name) {
                        Some(node) => node.check_fields(&join(path, name), field, problems),
                        None if self.properties.is_empty() => {}
                        None => {
                            let known = self.properties.keys().map(String::as_str);
                            problems.push(Problem::unknown(path, name, known));
                        }
                    }
                }
            }
            Value::Array(items) => {
                let mut keys = BTreeMap::new();
                for (index, item) in items.iter().enumerate() {
                    let path_of = |index| format!("{path}[{index}]");
                    if let Some(node) = &self.items {
                        node.check_fields(&path_of(index), item, problems);
                    }
                    let Some(key) = self.key(item) else { continue };
                    if let Some(earlier) = keys.insert(key, index) {
                        let text = format!("the same as {}; remove one of them", path_of(earlier));
                        problems.push(Problem::new(path_of(index), text));
                    }
                }
            }
            _ => {}
        }
    }

    /// The key of an item, in a list that is a map.
    fn key(&self, item: &Value) -> Option<String> {
        let names = self.props.x_kubernetes_list_map_keys.as_ref()?;
        names.iter().map(|name| item.get(name).map(Value::to_string)).collect()
    }

    fn check_rules(&self, path: &str, value: &Value, known: &[Problem], problems: &mut Vec<Problem>) {
        match value {
            Value::Object(fields) => self.check_rules_of_fields(path, fields, known, problems),
            Value::Array(items) => {
                for (node, (index, item)) in self.items.iter().cycle().zip(items.iter().enumerate()) {
                    node.check_rules(&format!("{path}[{index}]"), item, known, problems);
                }
            }
            _ => {}
        }
        if known.iter().any(|problem| within(&problem.path, path)) {
            return;
        }
        for rule in &self.rules {
            let text = match rule.holds(value) {
                Ok(true) => continue,
                Ok(false) => rule.message.clone(),
                Err(error) => format!("{} ({error})", rule.message),
            };
            problems.push(match value {
                Value::Object(_) | Value::Array(_) => Problem::new(path, text),
                scalar => Problem::of_value(path, scalar, text),
            });
        }
    }

    fn check_rules_of_fields(
        &self,
        path: &str,
        fields: &Map<String, Value>,
        known: &[Problem],
        problems: &mut Vec<Problem>,
    ) {
        for (name, node) in &self.properties {
            if let Some(field) = fields.get(name) {
                node.check_rules(&join(path, name), field, known, problems);
            }
        }
    }
}

/// Whether a field is another or inside of it.
fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The field of a JSON pointer.
fn path(location: &Location) -> String {
    location.segments().fold(String::new(), |path, segment| match segment {
        LocationSegment::Property(name) => join(&path, &name),
        LocationSegment::Index(index) => format!("{path}[{index}]"),
    })
}

/// A broken bound in words for people.
fn describe(path: String, value: &Value, kind: &ValidationErrorKind, node: Option<&Node>) -> Problem {
    let default = JSONSchemaProps::default();
    let props = node.map_or(&default, |node| &node.props);
    let text = match kind {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let description = node.and_then(|node| node.properties.get(name)?.props.description.as_deref());
            let first_sentence = description.and_then(|text| text.split_inclusive(". ").next());
            return Problem::missing(join(&path, name), first_sentence.unwrap_or("add it").trim_end());
        }
        ValidationErrorKind::Type { kind } => expected_type(kind, value),
        ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
            format!("must be {}", range(props.minimum, props.maximum))
        }
        ValidationErrorKind::MinLength { .. } if value == "" => "must not be empty".to_owned(),
        ValidationErrorKind::MinLength { .. } => {
            format!("must have at least {} characters", props.min_length.unwrap_or_default())
        }
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {limit} entries"),
        ValidationErrorKind::Pattern { pattern } => {
            let example = props.example.as_ref().or(props.default.as_ref());
            let example = example.map(|example| format!(", as {} does", example.0)).unwrap_or_default();
            format!("must match {pattern}{example}")
        }
        ValidationErrorKind::Enum { .. } => {
            let values = props.enum_.iter().flatten().map(|value| value.0.as_str().unwrap_or_default());
            format!("must be one of {}", values.collect::<Vec<_>>().join(", "))
        }
        other => format!("breaks the schema's {}", other.keyword()),
    };
    Problem::of_value(path, value, text)
}

fn range(minimum: Option<f64>, maximum: Option<f64>) -> String {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => format!("between {minimum} and {maximum}"),
        (Some(minimum), None) => format!("{minimum} or more"),
        (None, maximum) => format!("{} or less", maximum.unwrap_or(f64::INFINITY)),
    }
}

fn expected_type(kind: &TypeKind, value: &Value) -> String {
    let name = match kind {
        TypeKind::Single(kind) => kind.as_str(),
        TypeKind::Multiple(_) => "of another type",
    };
    match (name, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => format!("must be a string; put it in quotes: \"{value}\""),
        ("string", _) => "must be a string".to_owned(),
        ("integer", Value::String(_)) => "must be a whole number, without quotes".to_owned(),
        ("integer", _) => "must be a whole number".to_owned(),
        ("boolean", _) => "must be true or false".to_owned(),
        ("array", _) => "must be a list".to_owned(),
        ("object", _) => "must be a mapping".to_owned(),
        (name, _) => format!("must be {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{self, WebShellSpec};

    fn schema() -> Schema {
        let versions = api::crd().spec.versions;
        Schema::new(versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap()).unwrap()
    }

    fn minimal() -> Value {
        json!({
            "target": {"host": "h"},
            "credentials": {"secretRef": {"name": "s"}},
            "hostKey": {"secretRef": {"name": "k"}},
        })
    }

    #[test]
    fn schema_and_types_have_the_same_defaults() {
        let mut filled = json!({"spec": minimal()});
        assert_eq!(schema().check(&mut filled), []);
        let by_types: WebShellSpec = serde_json::from_value(minimal()).unwrap();
        assert_eq!(filled, json!({"spec": by_types}));
    }

    #[test]
    fn nulls_count_as_absent() {
        let mut object = json!({"spec": minimal()});
        object["spec"]["target"]["port"] = Value::Null;
        object["spec"]["session"] = json!({"idleTimeout": null});
        assert_eq!(schema().check(&mut object), []);
        assert_eq!(object["spec"]["target"]["port"], 22);
        assert_eq!(object["spec"]["session"]["idleTimeout"], "30m");
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        for (written, read) in
            [("22.0", json!(22)), ("2.2e1", json!(22)), ("22.5", json!(22.5)), ("1e300", json!(1e300))]
        {
            let mut object = json!({"spec": minimal()});
            object["spec"]["target"]["port"] = serde_json::from_str(written).unwrap();
            let problems = schema().check(&mut object);
            assert_eq!((&object["spec"]["target"]["port"], problems.is_empty()), (&read, read == 22), "{written}");
        }
    }

    #[test]
    fn tells_only_so_much() {
        let mut object = json!({"spec": minimal()});
        let fields = (0..5000).map(|number| (format!("field{number}"), json!(1))).collect::<Map<_, _>>();
        object["spec"]["target"] = fields.into();
        assert_eq!(schema().check(&mut object).len(), MAX_PROBLEMS);
    }
}
