//! `make bench-operator`: the controller beside a bare client, and a gateway, against a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

#[path = "../../tests/support/api_server.rs"]
mod api_server;
#[path = "../../tests/support/browser.rs"]
mod browser;
mod controller;
mod counts;
mod gateway;
#[path = "../goals.rs"]
mod goals;
mod http;
mod installation;
#[path = "../machine.rs"]
mod machine;
mod plain;
#[path = "../process.rs"]
mod process;
mod report;
#[path = "../../tests/support/sshd.rs"]
mod sshd;
#[path = "../statistics.rs"]
mod statistics;
mod writes;

use std::{
    env,
    str::FromStr,
    time::{Duration, Instant},
};

use kube::Client;
use tokio::time::sleep;

use crate::{
    controller::Controller,
    counts::{Counts, server_cpu},
    gateway::Gateway,
    installation::Installation,
    process::{Memory, cpu_seconds, memory, wakes},
    report::{Idle, Phase, Rest, Restart, Results},
    writes::Writes,
};

/// How often a second WebShell is applied and connected to.
const SAMPLES: usize = 60;

/// In how many namespaces it is tried how many requests at once are best.
const TRIED: usize = 200;

/// An API server is quiet when it has used less than this share of a core for a while.
const QUIET: f64 = 0.2;

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let namespaces = setting("BENCH_NAMESPACES", 1000);
    let rounds = setting("BENCH_ROUNDS", 3);
    let rest = Duration::from_secs(setting("BENCH_REST_SECONDS", 600));
    let mut results = Results { namespaces, ..Results::default() };
    let installation = Installation::start(namespaces).await;
    let (admin, client) = (installation.server.client(), installation.controllers_client().await);

    println!("first run, rest and restart");
    let mut controller = Controller::start(&installation);
    let first = controller.settled(namespaces as u64).await;
    let writes = Writes::read(&admin).await;
    assert_eq!(first.writes, writes.count(), "what is in place is not what was written");
    results.rest = at_rest(&admin, &controller, rest).await;
    controller.stop();
    results.restart = restart(&installation, &admin, namespaces as u64).await;

    println!("how many requests of the bare client at once are best");
    results.at_once = best_at_once(&installation, &admin, &client, &writes).await;

    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        // Each comes first in turn; in the last round the controller does.
        for bare in [false, true].map(|bare| bare ^ ((rounds - round) % 2 == 1)) {
            installation.reset(&admin, namespaces).await;
            quiet().await;
            let phase = if bare {
                write_bare(&client, &writes, results.at_once).await
            } else {
                write_as_controller(&installation, namespaces as u64).await
            };
            assert_eq!(phase.writes, writes.count());
            println!("  {:<12} {phase}", if bare { "bare client" } else { "controller" });
            if bare { results.bare.push(phase) } else { results.controller.push(phase) }
        }
    }

    println!("a gateway");
    let mut controller = Controller::start(&installation);
    let after_bare = controller.settled(namespaces as u64).await;
    assert_eq!(after_bare.writes, 0, "the bare client does not write what the controller writes");
    let gateway = Gateway::start(&installation).await;
    results.idle = idle(&gateway, Duration::from_secs(setting("BENCH_IDLE_SECONDS", 120))).await;
    results.opened = second_shells(&gateway).await;
    results.used_gateway = memory(gateway.pid());
    drop(gateway);
    controller.stop();

    let report = report::render(&results);
    println!("\n{report}");
    if env::var("BENCH_DRAFT").is_err() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks-operator.md"), report).unwrap();
    }
}

/// A number that the environment may set.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The release build, not the one that belongs to this driver.
fn binary() -> String {
    env::var("WEBSHELL").expect("run it by `make bench-operator`, which builds it")
}

/// Waits until the API server has digested what was before.
async fn quiet() {
    loop {
        let before = server_cpu();
        sleep(Duration::from_secs(2)).await;
        if server_cpu() - before < 2.0 * QUIET {
            return;
        }
    }
}

/// With how many requests at once the bare client is quickest.
async fn best_at_once(installation: &Installation, admin: &Client, client: &Client, writes: &Writes) -> usize {
    let writes = writes.first(TRIED);
    let mut seconds = Vec::new();
    for at_once in [8, 16, 32, 64] {
        installation.reset(admin, TRIED).await;
        quiet().await;
        let phase = write_bare(client, &writes, at_once).await;
        println!("  {at_once:<12} {phase}");
        seconds.push((phase.seconds, at_once));
    }
    seconds.into_iter().min_by(|one, other| one.0.total_cmp(&other.0)).unwrap().1
}

async fn write_bare(client: &Client, writes: &Writes, at_once: usize) -> Phase {
    let (server, own, began) = (server_cpu(), cpu_seconds(std::process::id()), Instant::now());
    writes.repeat(client, at_once).await;
    Phase {
        writes: writes.count(),
        seconds: began.elapsed().as_secs_f64(),
        server_cpu: server_cpu() - server,
        client_cpu: cpu_seconds(std::process::id()) - own,
        memory: Memory::default(),
        load: machine::load(),
    }
}

/// Everything that the controller does from its start to its last write is in the time.
async fn write_as_controller(installation: &Installation, namespaces: u64) -> Phase {
    let server = server_cpu();
    let mut controller = Controller::start(installation);
    let settled = controller.settled(namespaces).await;
    let phase = Phase {
        writes: settled.writes,
        seconds: settled.last,
        server_cpu: server_cpu() - server,
        client_cpu: cpu_seconds(controller.pid()),
        memory: memory(controller.pid()),
        load: machine::load(),
    };
    controller.stop();
    phase
}

/// What is written while nothing happens.
async fn at_rest(client: &Client, controller: &Controller, rest: Duration) -> Rest {
    let (before, own) = (Counts::read(client).await, controller.writes().await);
    let (settled, cpu) = (memory(controller.pid()), cpu_seconds(controller.pid()));
    sleep(rest).await;
    let after = Counts::read(client).await;
    Rest {
        time: rest,
        writes: after.since(&before),
        own: controller.writes().await - own,
        renewals: after.renewals_since(&before),
        cpu: cpu_seconds(controller.pid()) - cpu,
        settled,
        memory: memory(controller.pid()),
    }
}

async fn restart(installation: &Installation, client: &Client, namespaces: u64) -> Restart {
    let before = Counts::read(client).await;
    let mut controller = Controller::start(installation);
    let settled = controller.settled(namespaces).await;
    let restart = Restart {
        seconds: settled.idle,
        own: settled.writes,
        writes: Counts::read(client).await.since(&before),
        memory: memory(controller.pid()),
    };
    controller.stop();
    restart
}

/// What a gateway costs that nobody uses, before and after somebody did.
async fn idle(gateway: &Gateway, time: Duration) -> Idle {
    sleep(Duration::from_secs(10)).await;
    let fresh = memory(gateway.pid());
    let (browser, _) = gateway.apply_and_open("first").await;
    gateway.end(browser, "first").await;
    sleep(Duration::from_secs(10)).await;
    let (cpu, wakes) = (cpu_seconds(gateway.pid()), wakes(gateway.pid()));
    sleep(time).await;
    Idle {
        time,
        fresh,
        memory: memory(gateway.pid()),
        cpu: cpu_seconds(gateway.pid()) - cpu,
        wakes: crate::process::wakes(gateway.pid()) - wakes,
    }
}

/// How long it takes from the apply of a WebShell to its prompt, while the session of another goes on.
async fn second_shells(gateway: &Gateway) -> Vec<f64> {
    let (first, _) = gateway.apply_and_open("first").await;
    let mut times = Vec::new();
    for sample in 0..SAMPLES {
        let name = format!("second-{sample}");
        let (browser, seconds) = gateway.apply_and_open(&name).await;
        times.push(seconds);
        gateway.end(browser, &name).await;
        // In no step with anybody's timer.
        sleep(Duration::from_millis(100 + sample as u64 * 37 % 100)).await;
    }
    gateway.end(first, "first").await;
    times
}
