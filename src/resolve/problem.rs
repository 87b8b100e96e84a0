//! What is wrong with a field of an object, in words that name it and say what to do.

use std::fmt;

use serde_json::Value;

use crate::protocol::Reason;

/// The longest part of a value that an error shows, in characters.
const MAX_SHOWN: usize = 60;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// An object that is named does not exist.
    Missing,
    /// A Service that is named leads nowhere now.
    NotReady,
    /// A field, or what it names, cannot be used.
    Unusable,
    /// The Secret may not be sent to the host.
    HostNotAllowed,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing it is.
    pub cause: Cause,
    /// The field, such as `spec.terminal.env[0].name`.
    pub path: String,
    /// What is wrong and what to do; follows the path.
    pub text: String,
}

// === impl Cause ===

impl Cause {
    /// What connections are closed with for it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Missing | Self::NotReady | Self::Unusable => Reason::Invalid,
            Self::HostNotAllowed => Reason::HostNotAllowed,
        }
    }
}

// === impl Problem ===

impl Problem {
    /// A problem with a field as a whole.
    pub(crate) fn new(path: impl Into<String>, text: impl fmt::Display) -> Self {
        Self { cause: Cause::Unusable, path: path.into(), text: format!(": {text}") }
    }

    /// A problem with a field's value, which the message shows.
    pub(crate) fn of_value(path: impl Into<String>, value: &Value, text: impl fmt::Display) -> Self {
        Self { cause: Cause::Unusable, path: path.into(), text: format!(" is {}: {text}", show(value)) }
    }

    /// A required field that is not there.
    pub(crate) fn missing(path: impl Into<String>, text: impl fmt::Display) -> Self {
        Self { cause: Cause::Unusable, path: path.into(), text: format!(" is missing: {text}") }
    }

    /// A field that does not exist, and what it may have been meant to be.
    pub(crate) fn unknown<'a>(parent: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        let nearest = known.clone().min_by_key(|known| distance(name, known));
        let advice = match nearest.filter(|known| distance(name, known) <= 2.max(name.len() / 3)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("the fields here are {}", known.collect::<Vec<_>>().join(", ")),
        };
        let text = format!(" is no field; {advice}");
        Self { cause: Cause::Unusable, path: join(parent, &shorten(name)), text }
    }

    /// The same of another kind.
    pub(crate) fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }
}

/// What tells most of several problems: what is to be mended first.
pub fn cause(problems: &[Problem]) -> Cause {
    problems.iter().map(|problem| problem.cause).min().unwrap_or(Cause::Unusable)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, self.text)
    }
}

fn distance(one: &str, other: &str) -> usize {
    strsim::osa_distance(&one.to_lowercase(), &other.to_lowercase())
}

/// A value as an error shows it: scalars in one line, without control characters, and not at any length.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", shorten(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// Not at any length.
pub(super) fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(MAX_SHOWN).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// The path of a field within another.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_values_in_one_short_line() {
        assert_eq!(show(&json!("a\u{1b}[2J\n\u{202e}")), r#""a\u{1b}[2J\n\u{202e}""#);
        assert_eq!(show(&json!("x".repeat(5000))).chars().count(), MAX_SHOWN + 3);
    }
}
