//! `make bench`: the gateway beside `ssh`, webssh and the Django WebShell's design, on loopback, against one SSH server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "../tests/support/browser.rs"]
mod browser;
mod bulk;
mod echo;
mod goals;
mod interrupt;
mod machine;
mod memory;
mod page;
mod process;
mod prompt;
mod pty;
mod remote;
mod report;
mod results;
mod site;
#[path = "../tests/support/sshd.rs"]
mod sshd;
mod statistics;
mod terminal;

use std::{env, path::Path};

use results::Results;
use site::{Site, Way};

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [command, note] = &arguments[..]
        && command == "flood"
    {
        return remote::flood(Path::new(note));
    }
    // One thread: a thread more between a socket and whoever waits for it would be measured too.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let rounds = env::var("BENCH_ROUNDS").map_or(5, |rounds| rounds.parse().expect("BENCH_ROUNDS is a number"));
    let only = env::var("BENCH_ONLY").ok();
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|one| one == part));
    let site = Site::start();
    let mut results = Results::default();

    bulk::prepare(&site);
    {
        let routes = Way::ALL.map(|way| site.route(way));
        for round in 1..=rounds {
            println!("round {round} of {rounds}");
            if wanted("echo") {
                echo::measure(&routes, &mut results).await;
            }
            for route in &routes {
                if wanted("prompt") {
                    prompt::measure(route, &mut results).await;
                }
            }
            for route in &routes {
                if wanted("bulk") {
                    bulk::measure(route, &site, &mut results).await;
                }
            }
            for route in &routes {
                if wanted("interrupt") {
                    interrupt::measure(route, &site, &mut results).await;
                }
            }
        }
    }
    if wanted("memory") {
        println!("memory");
        for way in Way::ALL {
            memory::measure(&site, way, &mut results).await;
        }
    }
    let page = if wanted("page") { page::measure(&site, rounds) } else { Vec::new() };
    let pty = if wanted("bulk") { Some(bulk::pty_alone(&site, rounds)) } else { None };
    let report = report::render(&results, pty, &page, rounds);
    println!("\n{report}");
    if only.is_none() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md"), report).unwrap();
    }
}
