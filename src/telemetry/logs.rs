//! Log lines on standard error, as text or JSON. What users and servers send cannot forge lines or move a cursor.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::{Level, Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    Layer, Registry,
    filter::{Filtered, LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
};

use super::audit;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log of this process, which can be changed while it is written.
pub struct Logs {
    lines: reload::Handle<Lines, Registry>,
    layer: Box<dyn Fn(Format) -> FormatLayer + Send + Sync>,
}

/// Writes lines of one format.
type FormatLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Writes those that are wanted.
type Lines = Filtered<FormatLayer, Targets, Registry>;

/// Logs to standard error from now on: ours from `level` on, audit lines always, libraries' warnings only (at lower
/// levels some of them tell what passes through them).
///
/// # Errors
/// When a subscriber is set already.
pub fn start(format: Format, level: Level) -> Result<Logs, SetGlobalDefaultError> {
    let (subscriber, logs) = subscriber(format, level, io::stderr);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(logs)
}

// === impl Logs ===

impl Logs {
    /// Logs in another format, or from another level on.
    pub fn change(&self, format: Format, level: Level) {
        // It fails where nobody logs any more.
        let _ = self.lines.modify(|lines| {
            *lines.inner_mut() = (self.layer)(format);
            *lines.filter_mut() = filter(level);
        });
    }
}

fn subscriber<W>(format: Format, level: Level, writer: W) -> (impl Subscriber + Send + Sync, Logs)
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let layer = move |format| layer(format, writer.clone());
    let (lines, handle) = reload::Layer::new(layer(format).with_filter(filter(level)));
    let logs = Logs { lines: handle, layer: Box::new(layer) };
    (tracing_subscriber::registry().with(lines), logs)
}

fn filter(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // It tells of each call that failed, which is told to whoever called, and there with more words.
        .with_target("kube_client::client::builder", LevelFilter::OFF)
        .with_target(audit::TARGET, LevelFilter::INFO)
}

fn layer<W>(format: Format, writer: W) -> FormatLayer
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Colours would be escaped like any other control sequence.
    let lines = fmt::layer().with_ansi(false).with_writer(Escaping(writer));
    match format {
        Format::Text => lines.boxed(),
        // Spans that are open at a change have no text for the other format. Ours has none to show.
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

/// Makes writers that escape the control characters within each line. The subscriber writes a line at a time.
struct Escaping<W>(W);

/// Writes one line.
struct EscapingLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = EscapingLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingLine(self.0.make_writer())
    }
}

impl<W: Write> Write for EscapingLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let body = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = escape(body);
        escaped.push('\n');
        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Escapes control characters, line separators and direction overrides as JSON does, so that JSON stays JSON.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        let hidden =
            c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hidden {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `f` runs.
    pub(in crate::telemetry) fn captured(format: Format, level: Level, f: impl FnOnce()) -> String {
        captured_with(format, level, |_| f())
    }

    /// The same, where `f` may change the log.
    fn captured_with(format: Format, level: Level, f: impl FnOnce(&Logs)) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, logs) = subscriber(format, level, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || f(&logs));
        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn levels_apply_to_ours_and_libraries_stay_quiet() {
        let text = captured(Format::Text, Level::DEBUG, || {
            tracing::debug!("ours");
            tracing::trace!("too fine");
            tracing::info!(target: "russh::client", "theirs");
            tracing::warn!(target: "russh::client", "a warning");
            tracing::error!(target: "kube_client::client::builder", "failed with status 404");
            tracing::info!(target: "audit", "who did what");
        });
        assert!(!text.contains("failed with status"), "{text}");
        assert!(text.contains("ours") && text.contains("a warning") && text.contains("who did what"), "{text}");
        assert!(!text.contains("too fine") && !text.contains("theirs"), "{text}");
    }

    #[test]
    fn format_and_level_change_while_it_is_written() {
        let text = captured_with(Format::Text, Level::INFO, |logs| {
            let line = |number: u32| tracing::debug!(number, "fine");
            line(1);
            logs.change(Format::Json, Level::DEBUG);
            line(2);
            logs.change(Format::Text, Level::DEBUG);
            line(3);
            logs.change(Format::Text, Level::ERROR);
            line(4);
            tracing::info!(target: "audit", "who did what");
        });
        let [json, plain, audit] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&json["level"], &json["number"]), (&"DEBUG".into(), &2.into()));
        assert!(plain.contains("fine number=3") && audit.contains("who did what"), "{text}");
    }

    proptest! {
        #[test]
        fn a_value_cannot_leave_its_line(value in any::<String>(), json in any::<bool>()) {
            let format = if json { Format::Json } else { Format::Text };
            let text = captured(format, Level::INFO, || {
                tracing::info!(target: "audit", display = %value, debug = ?value, string = value, "{value}");
            });
            let line = text.strip_suffix('\n').unwrap();
            prop_assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            if json {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                prop_assert_eq!(line["string"].as_str(), Some(value.as_str()));
            }
        }
    }
}
