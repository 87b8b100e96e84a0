//! What a session costs in resident memory.

use futures_util::{StreamExt, stream};

use crate::{
    process::resident_bytes,
    results::{Measure, Results},
    site::{Route, Site, Way},
    terminal::Terminal,
};

/// How many sessions are worked on at once.
const AT_ONCE: usize = 8;

/// One mebibyte, in lines.
const OUTPUT: &str =
    "yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678 | head -c 1048576";

/// How many sessions are opened. The peers' costs are extrapolated: a thousand would take them minutes and gigabytes.
pub fn sessions(way: Way) -> usize {
    match way {
        Way::Gateway => 1000,
        Way::Native | Way::Webssh | Way::DjangoLike => 50,
    }
}

/// Opens sessions and keeps them.
pub async fn measure(site: &Site, way: Way, results: &mut Results) {
    let route = site.route(way);
    let count = sessions(way);
    let base = route.server_pid().map_or(0, resident_bytes);
    // One before the others: while nobody is logged in, webssh loses track of those who come at once.
    let mut terminals = vec![route.open().await];
    let others = stream::iter(1..count).map(|_| route.open()).buffer_unordered(AT_ONCE);
    terminals.extend(others.collect::<Vec<_>>().await);
    let prompted = resident(&route, &terminals);
    let shown = stream::iter(terminals).map(|mut terminal| async {
        terminal.run(OUTPUT).await;
        terminal.settle().await;
        terminal
    });
    let terminals: Vec<_> = shown.buffer_unordered(AT_ONCE).collect().await;
    let used = resident(&route, &terminals);
    let each = |resident: u64| resident.saturating_sub(base) as f64 / count as f64;
    results.add(Measure::MemoryBase, way, base as f64);
    results.add(Measure::MemoryPrompt, way, each(prompted));
    results.add(Measure::MemoryUsed, way, each(used));
}

fn resident(route: &Route<'_>, terminals: &[Terminal]) -> u64 {
    match route.server_pid() {
        Some(pid) => resident_bytes(pid),
        None => terminals.iter().map(|terminal| resident_bytes(route.pid(terminal))).sum(),
    }
}
