//! Manifest texts, cut into their documents.
//!
//! Errors say where and what, but never quote the text: it may hold secrets.

use serde_json::Value;
use serde_saphyr::{Error, Location, Options};

/// The largest text that is read: what API servers take is smaller still.
pub(super) const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Why a text is no YAML that we take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}{}: {problem}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub(super) struct YamlError {
    /// Counted from 1, empty documents left out.
    pub(super) document: usize,
    /// Counted from 1.
    pub(super) line: Option<u64>,
    /// What is wrong there.
    pub(super) problem: String,
}

/// Cuts a text into its documents. Empty ones are left out, as kubectl does. JSON is YAML.
///
/// # Errors
/// At the first place that is no YAML, that gives a key twice, or where aliases make far more of the text than it is.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut documents = Vec::new();
    let mut reader = text.as_bytes();
    for document in serde_saphyr::read_with_options(&mut reader, options()) {
        match document {
            Ok(document) => documents.push(document),
            Err(error) => {
                let line = error.location().filter(|place| *place != Location::UNKNOWN).map(|place| place.line());
                return Err(YamlError { document: documents.len() + 1, line, problem: problem(&error) });
            }
        }
    }
    Ok(documents)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_TEXT),
            // Aliases count as often as they are used, so that a small text cannot become a large one.
            max_total_scalar_bytes: 2 * MAX_TEXT,
            max_nodes: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    }
}

/// What is wrong, in words that quote nothing.
fn problem(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { .. } => "the same key is given twice; remove one".to_owned(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            "larger or more deeply nested than a manifest may be, aliases written out".to_owned()
        }
        Error::UnknownAnchor { .. } => "an alias without its anchor".to_owned(),
        Error::AliasError { error, .. } => problem(error),
        // The parser's own messages are fixed sentences, with a character of the text at most.
        Error::ExternalMessage { msg, .. } => format!("not valid YAML: {msg}"),
        _ => "not valid YAML".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn error(text: &str) -> String {
        documents(text).unwrap_err().to_string()
    }

    #[test]
    fn cuts_documents_and_leaves_out_empty_ones() {
        assert_eq!(documents("").unwrap(), [] as [Value; 0]);
        assert_eq!(
            documents("# nothing\n---\n---\na: 1\n---\nb: yes\n...\n").unwrap(),
            [json!({"a": 1}), json!({"b": true})]
        );
        assert_eq!(documents("{\n\t\"a\": [1,\n\t\t\"x\"]\n}\n").unwrap(), [json!({"a": [1, "x"]})]);
        assert_eq!(
            documents("a: &x {k: v}\nb: {<<: *x, l: w}").unwrap(),
            [json!({"a": {"k": "v"}, "b": {"k": "v", "l": "w"}})]
        );
    }

    #[test]
    fn says_where_it_stops() {
        assert_eq!(error("a: 1\n---\nb: 2\nb: 3\n"), "document 2, line 4: the same key is given twice; remove one");
        assert!(error("a: 1\nb: [1,\n").starts_with("document 1, line "), "{}", error("a: [1,"));
        assert!(error("a: *nowhere").contains("line 1: an alias without its anchor"), "{}", error("a: *nowhere"));
    }

    #[test]
    fn refuses_what_unfolds() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(error(&bomb).contains("larger or more deeply nested"), "{}", error(&bomb));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(50));
        assert!(error(&long).contains("larger or more deeply nested"), "{}", error(&long));
        assert!(documents(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        // The secret stands for any word of a manifest, wherever a slip of the pen may put it.
        #[test]
        fn never_quotes_the_text(before in "[-:\\[\\]{}&*!|>%@`'\"\n\ta \\\\]{0,20}", after in "[-:\\[\\]{}&*!|>%@`'\"\n\ta \\\\]{0,20}") {
            if let Err(error) = documents(&format!("k:\n  v: 1\n{before}canary{after}\nz: 1\n")) {
                prop_assert!(!error.to_string().contains("canary"), "{}", error);
            }
        }
    }
}
