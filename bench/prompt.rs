//! How long it takes from asking for a terminal to its first prompt.

use std::time::Instant;

use crate::{
    results::{Measure, Results},
    site::Route,
    statistics::median,
};

/// Terminals in a round.
const TERMINALS: usize = 5;

/// Opens terminals, one after the other.
pub async fn measure(route: &Route<'_>, results: &mut Results) {
    let mut times = Vec::new();
    for _ in 0..TERMINALS {
        let asked = Instant::now();
        drop(route.open().await);
        times.push(asked.elapsed().as_secs_f64());
    }
    results.add(Measure::FirstPrompt, route.way, median(&times));
}
