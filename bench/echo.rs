//! How long after a key its echo is there.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    results::{Measure, Results},
    site::Route,
    statistics::percentile,
    terminal::Terminal,
};

/// Keys in a round: enough for a 99th percentile.
const KEYS: u32 = 500;

/// Types into programs that return every byte at once, a key here, a key there: what disturbs one way disturbs all.
pub async fn measure(routes: &[Route<'_>], results: &mut Results) {
    let mut terminals = join_all(routes.iter().map(echoing)).await;
    let mut latencies = vec![Vec::new(); routes.len()];
    for key in 0..KEYS {
        for (terminal, latencies) in terminals.iter_mut().zip(&mut latencies) {
            // Pauses of 2 to 6 ms, in no step with anybody's timer.
            tokio::time::sleep(Duration::from_micros(2000 + u64::from(key * 7919 % 4000))).await;
            latencies.push(echo(terminal).await);
        }
    }
    for (route, latencies) in routes.iter().zip(&latencies) {
        for (measure, share) in [(Measure::EchoP50, 0.5), (Measure::EchoP95, 0.95), (Measure::EchoP99, 0.99)] {
            results.add(measure, route.way, percentile(latencies, share));
        }
    }
}

async fn echoing(route: &Route<'_>) -> Terminal {
    let mut terminal = route.open().await;
    terminal.run("stty raw -echo; printf \"$PS1\"; exec cat").await;
    terminal
}

/// Types a key; returns the seconds until its echo.
async fn echo(terminal: &mut Terminal) -> f64 {
    let typed = Instant::now();
    terminal.send("x").await;
    let echo = terminal.receive().await;
    let seconds = typed.elapsed().as_secs_f64();
    assert_eq!(&echo[..], b"x");
    seconds
}
