//! CEL rules of the CRD (`x-kubernetes-validations`), evaluated as an API server does.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, FunctionContext, ParseErrors, Program, objects};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use serde_json::Value;

use crate::api::Duration;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A rule and what to say when it is broken.
pub(super) struct Rule {
    program: Program,
    pub(super) message: String,
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// When it is no CEL expression.
    pub(super) fn compile(rule: &ValidationRule) -> Result<Self, ParseErrors> {
        let program = ENV.compile(&rule.rule)?;
        Ok(Self { program, message: rule.message.clone().unwrap_or_else(|| format!("must satisfy {}", rule.rule)) })
    }

    /// Whether it holds with `value` as `self`.
    ///
    /// # Errors
    /// When it cannot be evaluated, for instance because a field that it reads is absent.
    pub(super) fn holds(&self, value: &Value) -> Result<bool, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        // Durations are only compared, for which milliseconds do.
        context
            .add_function("duration", milliseconds)
            .map_err(|error| ExecutionError::function_error("duration", error.to_string()))?;
        context.add_variable_from_value("self", to_cel(value));
        Ok(self.program.execute(&context)? == objects::Value::Bool(true))
    }
}

fn milliseconds(context: &FunctionContext, text: Arc<String>) -> Result<i64, ExecutionError> {
    let duration: Duration = text.parse().map_err(|error| context.error(error))?;
    i64::try_from(duration.get().as_millis()).map_err(|error| context.error(error))
}

/// As API servers do it: every whole number is an `int`.
fn to_cel(value: &Value) -> objects::Value {
    match value {
        Value::Null => objects::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), to_cel(field))).collect::<HashMap<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(rule: &str, value: Value) -> Result<bool, ExecutionError> {
        let rule = ValidationRule { rule: rule.to_owned(), ..ValidationRule::default() };
        Rule::compile(&rule).unwrap().holds(&value)
    }

    #[test]
    fn evaluates_with_self() {
        assert_eq!(holds("has(self.a) && !has(self.b)", json!({"a": 1})), Ok(true));
        assert_eq!(
            holds("self.a + 1 == 3 && self.l[0] == 'x' && self.f < 1.0", json!({"a": 2, "l": ["x"], "f": 0.5})),
            Ok(true)
        );
        assert_eq!(holds("self == 'b'", json!("a")), Ok(false));
        assert!(holds("self.b == 1", json!({"a": 1})).is_err());
    }

    #[test]
    fn compares_durations() {
        assert_eq!(holds("duration(self) == duration('90s')", json!("1m30s")), Ok(true));
        assert_eq!(holds("duration(self) > duration('1h')", json!("59m")), Ok(false));
        assert!(holds("duration(self) > duration('1h')", json!("soon")).is_err());
    }
}
