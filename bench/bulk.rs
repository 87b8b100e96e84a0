//! How fast output gets through a pty to a client that reads all it can, and what processor time that takes.

use std::{fs, time::Instant};

use crate::{
    process::cpu_seconds,
    pty,
    results::{Measure, Results},
    site::{Route, Site, Way},
};

const MEGABYTE: usize = 1_000_000;

/// Writes the files that are shown.
pub fn prepare(site: &Site) {
    for way in Way::ALL {
        fs::write(site.file(&name(way)), text(size(way))).unwrap();
    }
}

/// Shows a file.
pub async fn measure(route: &Route<'_>, site: &Site, results: &mut Results) {
    let mut terminal = route.open().await;
    let command = format!("cat {}", site.file(&name(route.way)).display());
    let pid = route.pid(&terminal);
    let cpu = cpu_seconds(pid);
    let began = Instant::now();
    let megabytes = terminal.run(&command).await as f64 / MEGABYTE as f64;
    let seconds = began.elapsed().as_secs_f64();
    results.add(Measure::Bulk, route.way, megabytes / seconds);
    results.add(Measure::CpuPerMegabyte, route.way, (cpu_seconds(pid) - cpu) / megabytes);
}

/// MB/s of such a file without any way in between.
pub fn pty_alone(site: &Site, rounds: usize) -> f64 {
    pty::megabytes_per_second(&site.file(&name(Way::Native)), rounds)
}

fn name(way: Way) -> String {
    format!("text-{}", size(way))
}

/// So much that a round takes seconds.
fn size(way: Way) -> usize {
    match way {
        Way::Native | Way::Gateway => 96 * MEGABYTE,
        Way::Webssh | Way::DjangoLike => 24 * MEGABYTE,
    }
}

/// Lines of 80 characters, as of a log.
fn text(size: usize) -> String {
    let line =
        |number: usize| format!("{number:09} the quick brown fox jumps over the lazy dog, and then it does it again\n");
    let mut text: String = (0..size / 80).map(line).collect();
    text.truncate(size);
    text
}
