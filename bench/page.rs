//! The browser leg: what Chromium shows through the gateway, beside what the same page shows from memory.

use std::{path::PathBuf, process::Command};

use serde::Deserialize;

use crate::{
    pty,
    site::{Site, Way},
};

/// What one kind of output came to, in medians over the rounds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The kind of output.
    pub kind: String,
    /// Where it was read from.
    pub file: PathBuf,
    /// MB/s through the gateway.
    pub gateway: f64,
    /// MB/s from memory.
    pub memory: f64,
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// How long a key pressed meanwhile waited until the page had sent it, in milliseconds.
    pub key: Latency,
    /// How long it took until the next frame was drawn, in milliseconds.
    pub frame: Latency,
    /// MB/s of a pty alone.
    #[serde(skip)]
    pub pty: f64,
}

/// Latencies of all rounds.
#[derive(Debug, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub max: f64,
}

/// Drives a browser.
pub fn measure(site: &Site, rounds: usize) -> Vec<Shown> {
    let route = site.route(Way::Gateway);
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/browser/shown.mjs"))
        .arg(format!("http://{}/bench/shell/", route.address()))
        .arg(site.file(""))
        .arg(rounds.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the browser leg failed");
    let mut shown: Vec<Shown> = serde_json::from_slice(&output.stdout).unwrap();
    for shown in &mut shown {
        shown.pty = pty::megabytes_per_second(&shown.file, rounds);
    }
    shown
}
