//! What was measured, round by round.

use std::{collections::BTreeMap, fmt};

use crate::{site::Way, statistics::median};

/// Who takes the output while a flood is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consumer {
    /// Takes 1 MB/s.
    Slow,
    /// Takes 10 MB/s.
    Quick,
    /// Takes all it can.
    Unlimited,
    /// Has stopped.
    Stopped,
}

/// What is measured of every way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    EchoP50,
    EchoP95,
    EchoP99,
    FirstPrompt,
    Bulk,
    CpuPerMegabyte,
    Interrupt(Consumer),
    PromptBack(Consumer),
    MemoryBase,
    MemoryPrompt,
    MemoryUsed,
}

/// What values are counted in: seconds, bytes, or megabytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    MegabytesPerSecond,
    Kilobytes,
    Megabytes,
}

/// A sample of each round.
#[derive(Default)]
pub struct Results(BTreeMap<(Measure, Way), Vec<f64>>);

// === impl Consumer ===

impl Consumer {
    pub const ALL: [Self; 4] = [Self::Slow, Self::Quick, Self::Unlimited, Self::Stopped];

    /// How fast it is; `None` as fast as it can, or not at all.
    pub fn bytes_per_second(self) -> Option<f64> {
        match self {
            Self::Slow => Some(1e6),
            Self::Quick => Some(1e7),
            Self::Unlimited | Self::Stopped => None,
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "1 MB/s",
            Self::Quick => "10 MB/s",
            Self::Unlimited => "full speed",
            Self::Stopped => "stopped",
        })
    }
}

// === impl Measure ===

impl Measure {
    /// In the order of the table.
    pub fn all() -> Vec<Self> {
        let mut all =
            vec![Self::EchoP50, Self::EchoP95, Self::EchoP99, Self::FirstPrompt, Self::Bulk, Self::CpuPerMegabyte];
        all.extend(Consumer::ALL.map(Self::Interrupt));
        all.extend(Consumer::ALL.into_iter().filter(|&consumer| consumer != Consumer::Stopped).map(Self::PromptBack));
        all.extend([Self::MemoryBase, Self::MemoryPrompt, Self::MemoryUsed]);
        all
    }

    pub fn unit(self) -> Unit {
        match self {
            Self::Bulk => Unit::MegabytesPerSecond,
            Self::MemoryBase => Unit::Megabytes,
            Self::MemoryPrompt | Self::MemoryUsed => Unit::Kilobytes,
            _ => Unit::Milliseconds,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoP50 => f.write_str("key to echo, p50"),
            Self::EchoP95 => f.write_str("key to echo, p95"),
            Self::EchoP99 => f.write_str("key to echo, p99"),
            Self::FirstPrompt => f.write_str("time to first prompt"),
            Self::Bulk => f.write_str("bulk output"),
            Self::CpuPerMegabyte => f.write_str("processor time per MB"),
            Self::Interrupt(consumer) => write!(f, "Ctrl-C to program, consumer {consumer}"),
            Self::PromptBack(consumer) => write!(f, "Ctrl-C to prompt, consumer {consumer}"),
            Self::MemoryBase => f.write_str("memory without sessions"),
            Self::MemoryPrompt => f.write_str("memory per session, after the prompt"),
            Self::MemoryUsed => f.write_str("memory per session, after 1 MiB of output"),
        }
    }
}

// === impl Unit ===

impl Unit {
    /// A value as it is read.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value.is_infinite() => "none in 15 s".to_owned(),
            Self::Milliseconds if value >= 1.0 => format!("{value:.1} s"),
            Self::Milliseconds if value >= 0.02 => format!("{:.0} ms", value * 1e3),
            Self::Milliseconds => format!("{:.2} ms", value * 1e3),
            Self::MegabytesPerSecond => format!("{value:.1} MB/s"),
            Self::Kilobytes => format!("{:.0} KB", value / 1e3),
            Self::Megabytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

// === impl Results ===

impl Results {
    /// Adds a round's sample.
    pub fn add(&mut self, measure: Measure, way: Way, value: f64) {
        println!("  {way:<12} {measure:<42} {}", measure.unit().format(value), measure = measure.to_string());
        self.0.entry((measure, way)).or_default().push(value);
    }

    /// The median over the rounds.
    pub fn median(&self, measure: Measure, way: Way) -> Option<f64> {
        Some(median(self.0.get(&(measure, way))?))
    }

    /// The median over the rounds of the ratio to another way in the same round, where noise hits both.
    pub fn ratio(&self, measure: Measure, way: Way, to: Way) -> Option<f64> {
        let pairs = self.0.get(&(measure, way))?.iter().zip(self.0.get(&(measure, to))?);
        let ratios: Vec<_> = pairs.map(|(value, other)| value / other).collect();
        Some(median(&ratios))
    }
}
