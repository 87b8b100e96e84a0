//! The tables, and docs/benchmarks.md.

use std::{env, fmt::Write as _, path::Path};

use crate::{
    goals::{self, Goal},
    interrupt::GIVE_UP,
    machine::{self, output},
    memory::sessions,
    page::Shown,
    results::{Consumer, Measure, Results},
    site::Way,
};

const METHOD: &str = include_str!("method.md");

/// Everything, as a Markdown page.
pub fn render(results: &Results, pty: Option<f64>, page: &[Shown], rounds: usize) -> String {
    let mut text = METHOD.replace("{rounds}", &rounds.to_string());
    write!(text, "\n## Machine and versions\n\n{}{}\n", machine::describe(), peers()).unwrap();
    write!(text, "## Side by side\n\n{}\n", table(results)).unwrap();
    if let Some(pty) = pty {
        write!(text, "A pty alone, read without SSH, gave {pty:.1} MB/s of the bulk output.\n\n").unwrap();
    }
    if !page.is_empty() {
        write!(text, "## Shown in Chromium\n\n{}\n", shown(page)).unwrap();
    }
    write!(text, "## Figures to reach\n\n{}", goals::table(&goals(results, page))).unwrap();
    text
}

fn table(results: &Results) -> String {
    let mut text = String::from("| |");
    for way in Way::ALL {
        write!(text, " {way} |").unwrap();
    }
    text.push_str(" gateway ÷ ssh |\n|---|---:|---:|---:|---:|---:|\n");
    for measure in Measure::all() {
        write!(text, "| {measure} |").unwrap();
        for way in Way::ALL {
            // A client has no memory apart from its session.
            let shown = (measure, way) != (Measure::MemoryBase, Way::Native);
            let value = results.median(measure, way).filter(|_| shown);
            write!(text, " {} |", value.map_or("–".to_owned(), |value| measure.unit().format(value))).unwrap();
        }
        let ratio = results.ratio(measure, Way::Gateway, Way::Native).filter(|ratio| ratio.is_normal());
        writeln!(text, " {} |", ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))).unwrap();
    }
    let counts = Way::ALL.map(|way| format!("{way} {}", sessions(way))).join(", ");
    write!(text, "\nSessions that the memory was measured with: {counts}. Waiting was given up after {GIVE_UP:?}.\n")
        .unwrap();
    text
}

fn shown(page: &[Shown]) -> String {
    let mut text = String::from(
        "| | gateway | from memory | ratio | pty alone | key until handled: p50, p95, worst | until the next frame: p50, p95, worst |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for Shown { kind, gateway, memory, ratio, pty, key, frame, .. } in page {
        writeln!(
            text,
            "| {kind} | {gateway:.1} MB/s | {memory:.1} MB/s | {ratio:.2} | {pty:.1} MB/s | {:.0}, {:.0}, {:.0} ms | {:.0}, {:.0}, {:.0} ms |",
            key.p50, key.p95, key.max, frame.p50, frame.p95, frame.max
        )
        .unwrap();
    }
    text
}

/// The figures, each held against what was measured.
fn goals(results: &Results, page: &[Shown]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut ratio = |what: &str, measure, to: Way, limit: f64, at_most: bool| {
        let Some(ratio) = results.ratio(measure, Way::Gateway, to) else { return };
        let wanted = format!("{} {limit} × {to}", if at_most { "at most" } else { "at least" });
        let reached = if at_most { ratio <= limit } else { ratio >= limit };
        goals.push(Goal { what: what.to_owned(), wanted, got: format!("{ratio:.2} ×"), reached });
    };
    ratio("key to echo, p50", Measure::EchoP50, Way::Native, 1.25, true);
    ratio("key to echo, p99", Measure::EchoP99, Way::Native, 1.5, true);
    ratio("bulk output", Measure::Bulk, Way::Native, 1.0, false);
    ratio("bulk output", Measure::Bulk, Way::Webssh, 1.5, false);
    goals.extend(page.iter().flat_map(|Shown { kind, ratio, key, .. }| {
        [
            Goal {
                what: format!("shown in Chromium: {kind}"),
                wanted: "at least 0.8 × from memory".to_owned(),
                got: format!("{ratio:.2} ×"),
                reached: *ratio >= 0.8,
            },
            Goal {
                what: format!("keys handled meanwhile: {kind}"),
                wanted: "within 100 ms".to_owned(),
                got: format!("p95 {:.0} ms", key.p95),
                reached: key.p95 <= 100.0,
            },
        ]
    }));
    let mut limit = |measure: Measure, limit: f64| {
        let Some(value) = results.median(measure, Way::Gateway) else { return };
        let unit = measure.unit();
        goals.push(Goal {
            what: measure.to_string(),
            wanted: format!("at most {}", unit.format(limit)),
            got: unit.format(value),
            reached: value <= limit,
        });
    };
    for consumer in Consumer::ALL {
        limit(Measure::Interrupt(consumer), 0.020);
    }
    limit(Measure::PromptBack(Consumer::Slow), 512.0 * 1024.0 / 1e6 + 0.1);
    limit(Measure::PromptBack(Consumer::Quick), 0.1);
    limit(Measure::PromptBack(Consumer::Unlimited), 0.1);
    limit(Measure::MemoryBase, 20e6);
    limit(Measure::MemoryPrompt, 100e3);
    limit(Measure::MemoryUsed, 140e3);
    goals
}

/// The versions of everything else that takes part, as items of a Markdown list.
fn peers() -> String {
    let packages = Path::new(&env::var("BENCH_VENV").unwrap()).join("bin/pip");
    let packages = output(packages.to_str().unwrap(), &["freeze", "--disable-pip-version-check"]);
    let package = |name: &str| {
        let line = packages.lines().find(|line| line.starts_with(&format!("{name}==")));
        line.unwrap_or_else(|| panic!("{name} is not installed")).replace("==", " ")
    };
    let peers = ["webssh", "paramiko", "tornado", "uvicorn"].map(package).join(", ");
    let browser = output("chromium", &["--version"]);
    format!(
        "- {}\n- {peers}, {}\n- {}, Node.js {}\n",
        output("ssh", &["-V"]),
        output("python3", &["--version"]),
        browser.split(" built").next().unwrap(),
        output("node", &["--version"]),
    )
}
