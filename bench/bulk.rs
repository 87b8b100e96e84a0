//! How fast output gets through a pty to a client that reads all it can, and what processor time that takes.

use std::{fs, path::PathBuf, time::Instant};

use crate::{
    process::cpu_seconds,
    pty,
    results::{Measure, Results},
    site::{Route, Site},
};

const MEGABYTE: usize = 1_000_000;

/// So much that a round takes seconds.
const SIZE: usize = 96 * MEGABYTE;

/// Writes the file that is shown.
pub fn prepare(site: &Site) {
    fs::write(file(site), text()).unwrap();
}

/// Shows it.
pub async fn measure(route: &Route<'_>, site: &Site, results: &mut Results) {
    let mut terminal = route.open().await;
    let command = format!("cat {}", file(site).display());
    let pid = route.pid(&terminal);
    let cpu = cpu_seconds(pid);
    let began = Instant::now();
    let megabytes = terminal.run(&command).await as f64 / MEGABYTE as f64;
    let seconds = began.elapsed().as_secs_f64();
    results.add(Measure::Bulk, route.way, megabytes / seconds);
    results.add(Measure::CpuPerMegabyte, route.way, (cpu_seconds(pid) - cpu) / megabytes);
}

/// MB/s of it without any way in between.
pub fn pty_alone(site: &Site, rounds: usize) -> f64 {
    pty::megabytes_per_second(&file(site), rounds)
}

fn file(site: &Site) -> PathBuf {
    site.file("text")
}

/// Lines of 80 characters, as of a log.
fn text() -> String {
    let line =
        |number: usize| format!("{number:09} the quick brown fox jumps over the lazy dog, and then it does it again\n");
    let mut text: String = (0..SIZE / 80).map(line).collect();
    text.truncate(SIZE);
    text
}
