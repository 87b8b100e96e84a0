//! Log lines on standard error, as text or JSON. What users and servers send cannot forge lines or move a cursor.

use std::io::{self, Write};

use clap::ValueEnum;
use tracing::{Level, Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
};

use super::audit;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs to standard error from now on: ours from `level` on, audit lines always, libraries' warnings only (at lower
/// levels some of them tell what passes through them).
///
/// # Errors
/// When a subscriber is set already.
pub fn start(format: Format, level: Level) -> Result<(), SetGlobalDefaultError> {
    tracing::subscriber::set_global_default(subscriber(format, level, io::stderr))
}

fn subscriber<W>(format: Format, level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_target(audit::TARGET, LevelFilter::INFO);
    // Colours would be escaped like any other control sequence.
    let lines = fmt::layer().with_ansi(false).with_writer(Escaping(writer));
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter))
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
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(format, level, move || writer.clone()), f);
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
            tracing::info!(target: "audit", "who did what");
        });
        assert!(text.contains("ours") && text.contains("a warning") && text.contains("who did what"), "{text}");
        assert!(!text.contains("too fine") && !text.contains("theirs"), "{text}");
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
