//! How long after a key its echo is there.

use std::time::{Duration, Instant};

use crate::{
    results::{Measure, Results},
    site::Route,
    statistics::percentile,
};

/// Keys in a round: enough for a 99th percentile.
const KEYS: u32 = 500;

/// Types into a program that returns every byte at once.
pub async fn measure(route: &Route<'_>, results: &mut Results) {
    let mut terminal = route.open().await;
    terminal.run("stty raw -echo; printf \"$PS1\"; exec cat").await;
    let mut latencies = Vec::new();
    for key in 0..KEYS {
        // Pauses of 2 to 10 ms, in no step with anybody's timer.
        tokio::time::sleep(Duration::from_micros(2000 + u64::from(key * 7919 % 8000))).await;
        let typed = Instant::now();
        terminal.send("x").await;
        let echo = terminal.receive().await;
        latencies.push(typed.elapsed().as_secs_f64());
        assert_eq!(&echo[..], b"x");
    }
    for (measure, share) in [(Measure::EchoP50, 0.5), (Measure::EchoP95, 0.95), (Measure::EchoP99, 0.99)] {
        results.add(measure, route.way, percentile(&latencies, share));
    }
}
