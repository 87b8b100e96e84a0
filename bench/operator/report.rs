//! The tables, and docs/benchmarks-operator.md.

use std::{fmt, fmt::Write as _, time::Duration};

use crate::{
    goals::{self, Goal},
    installation::SHELLS,
    machine::{self, output},
    process::Memory,
    statistics::{median, percentile},
};

const METHOD: &str = include_str!("method.md");

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    pub namespaces: usize,
    pub rest: Rest,
    pub restart: Restart,
    /// How many requests of the bare client are under way.
    pub at_once: usize,
    /// Of each round.
    pub bare: Vec<Phase>,
    pub controller: Vec<Phase>,
    pub idle: Idle,
    /// The seconds from the apply of a second WebShell to its prompt.
    pub opened: Vec<f64>,
    /// Of the gateway after those.
    pub used_gateway: Memory,
}

/// All writes, made once.
#[derive(Clone, Debug)]
pub struct Phase {
    pub writes: u64,
    pub seconds: f64,
    /// Processor time in seconds: of kube-apiserver and etcd, and of who wrote.
    pub server_cpu: f64,
    pub client_cpu: f64,
    /// Of the controller, at the end.
    pub memory: Memory,
    /// Of the machine, over the last minute.
    pub load: String,
}

/// A controller with nothing to do.
#[derive(Default)]
pub struct Rest {
    pub time: Duration,
    /// The writes that the API server has counted, apart from renewals of Leases, and those that the controller has.
    pub writes: Vec<(String, u64)>,
    pub own: u64,
    /// How often the controller has renewed its Lease.
    pub renewals: u64,
    /// The processor time that it has used, in seconds.
    pub cpu: f64,
    /// Before and after.
    pub settled: Memory,
    pub memory: Memory,
}

/// A controller that finds everything in place.
#[derive(Default)]
pub struct Restart {
    pub seconds: f64,
    pub writes: Vec<(String, u64)>,
    pub own: u64,
    pub memory: Memory,
}

/// A gateway that nobody uses.
#[derive(Default)]
pub struct Idle {
    pub time: Duration,
    /// Before anybody has used it, and after somebody has.
    pub fresh: Memory,
    pub memory: Memory,
    pub cpu: f64,
    pub wakes: u64,
}

impl Phase {
    pub fn rate(&self) -> f64 {
        self.writes as f64 / self.seconds
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |seconds: f64| seconds * 1e3 / self.writes as f64;
        write!(
            f,
            "{} writes in {:.1} s: {:.0}/s; processor time of each: {:.2} ms server, {:.3} ms client",
            self.writes,
            self.seconds,
            self.rate(),
            each(self.server_cpu),
            each(self.client_cpu)
        )
    }
}

/// Everything, as a Markdown page.
pub fn render(results: &Results) -> String {
    let mut text = METHOD.replace("{rounds}", &results.bare.len().to_string());
    text = text.replace("{at_once}", &results.at_once.to_string());
    text = text.replace("{each}", &SHELLS.to_string());
    text = text.replace("{namespaces}", &results.namespaces.to_string());
    text = text.replace("{shells}", &(results.namespaces * SHELLS).to_string());
    write!(text, "\n## Machine and versions\n\n{}{}\n", machine::describe(), versions()).unwrap();
    write!(text, "## Writes\n\n{}\n", rounds(results)).unwrap();
    write!(text, "## The controller\n\n{}\n", controller(results)).unwrap();
    write!(text, "## A gateway\n\n{}\n", gateway(results)).unwrap();
    write!(text, "## Figures to reach\n\n{}", goals::table(&goals(results))).unwrap();
    text
}

fn versions() -> String {
    let kubernetes = std::env::var("WEBSHELL_KUBERNETES").unwrap();
    let etcd = output("etcd", &["--version"]);
    format!(
        "- {} (kube-apiserver), {}\n- {}\n",
        output(&format!("{kubernetes}/kube-apiserver"), &["--version"]),
        etcd.lines().next().unwrap(),
        output("ssh", &["-V"]),
    )
}

fn rounds(results: &Results) -> String {
    let mut text = String::from(
        "| round | bare client | controller | ratio | processor time of a write: server, bare client | server, controller | load |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (round, (bare, controller)) in results.bare.iter().zip(&results.controller).enumerate() {
        let cpu = |phase: &Phase| {
            let each = |seconds: f64| seconds * 1e3 / phase.writes as f64;
            format!("{:.2} ms, {:.2} ms", each(phase.server_cpu), each(phase.client_cpu))
        };
        writeln!(
            text,
            "| {} | {:.0}/s | {:.0}/s | {:.2} | {} | {} | {}, {} |",
            round + 1,
            bare.rate(),
            controller.rate(),
            controller.rate() / bare.rate(),
            cpu(bare),
            cpu(controller),
            bare.load,
            controller.load
        )
        .unwrap();
    }
    write!(text, "\nEach made {} writes.\n", results.bare.first().map_or(0, |phase| phase.writes)).unwrap();
    text
}

fn controller(results: &Results) -> String {
    let Results { rest, restart, .. } = results;
    let minutes = rest.time.as_secs_f64() / 60.0;
    let mut text = String::from("| | |\n|---|---:|\n");
    let mut row = |what: &str, value: String| writeln!(text, "| {what} | {value} |").unwrap();
    row("memory once everything is in place", memory(rest.settled));
    row(&format!("memory {minutes:.0} minutes later"), memory(rest.memory));
    row("memory after a restart", memory(restart.memory));
    row(&format!("writes in {minutes:.0} minutes of rest"), counted(rest.own, &rest.writes));
    row("renewals of its Lease meanwhile", rest.renewals.to_string());
    row("processor time meanwhile", format!("{:.2} s", rest.cpu));
    row("writes after a restart", counted(restart.own, &restart.writes));
    row("settled after a restart within", format!("{:.1} s", restart.seconds));
    text
}

fn gateway(results: &Results) -> String {
    let Results { idle, opened, used_gateway, .. } = results;
    let seconds = idle.time.as_secs_f64();
    let mut text = String::from("| | |\n|---|---:|\n");
    let mut row = |what: &str, value: String| writeln!(text, "| {what} | {value} |").unwrap();
    row("memory, fresh", memory(idle.fresh));
    row("memory, after a session", memory(idle.memory));
    row(&format!("memory, after {} sessions more", opened.len() + 1), memory(*used_gateway));
    let share = idle.cpu / seconds * 100.0;
    row(
        &format!("processor time in {seconds:.0} s of idling"),
        format!("{:.0} ms ({share:.3} % of a core)", idle.cpu * 1e3),
    );
    row("wake-ups a second meanwhile", format!("{:.1}", idle.wakes as f64 / seconds));
    let times = [0.5, 0.95, 1.0].map(|share| format!("{:.0}", percentile(opened, share) * 1e3)).join(", ");
    row(&format!("apply to prompt, {} times: p50, p95, worst", opened.len()), format!("{times} ms"));
    text
}

/// What the controller and the API server have counted.
fn counted(own: u64, server: &[(String, u64)]) -> String {
    let server: Vec<_> = server.iter().map(|(what, count)| format!("{count} {what}")).collect();
    format!("{own}; by the API server's count {}", if server.is_empty() { "0".to_owned() } else { server.join(", ") })
}

fn memory(Memory { resident, peak, files }: Memory) -> String {
    format!("{}, at most {}; files {}", megabytes(resident), megabytes(peak), megabytes(files))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The figures, each held against what was measured.
fn goals(results: &Results) -> Vec<Goal> {
    let Results { rest, restart, idle, opened, .. } = results;
    let mut goals = Vec::new();
    let mut goal = |what: &str, wanted: &str, got: String, reached: bool| {
        goals.push(Goal { what: what.to_owned(), wanted: wanted.to_owned(), got, reached });
    };
    let ratios = results.controller.iter().zip(&results.bare).map(|(controller, bare)| controller.rate() / bare.rate());
    let ratio = median(&ratios.collect::<Vec<_>>());
    let what =
        format!("{} WebShells in {} namespaces: rate of writes", results.namespaces * SHELLS, results.namespaces);
    goal(&what, "at least 0.7 × the bare client's (aim: 0.9)", format!("{ratio:.2} ×"), ratio >= 0.7);
    let minutes = rest.time.as_secs() / 60;
    let none = |own: u64, server: &[(String, u64)]| own == 0 && server.is_empty();
    goal(
        &format!("writes in {minutes} minutes of rest"),
        "none in 10 minutes",
        counted(rest.own, &rest.writes),
        none(rest.own, &rest.writes) && minutes >= 10,
    );
    let peaks = results.controller.iter().map(|phase| phase.memory.peak).chain([rest.memory.peak, restart.memory.peak]);
    let peak = peaks.max().unwrap();
    goal("memory of the controller, at most", "at most 80 MB (aim: 60)", megabytes(peak), peak <= 80_000_000);
    goal("writes after a restart", "none", counted(restart.own, &restart.writes), none(restart.own, &restart.writes));
    let p95 = percentile(opened, 0.95);
    goal(
        "apply of a second WebShell to its prompt",
        "p95 within 1 s (aim: 200 ms)",
        format!("{:.0} ms", p95 * 1e3),
        p95 <= 1.0,
    );
    let resident = idle.fresh.resident.max(idle.memory.resident);
    goal("memory of an idle gateway", "at most 20 MB", megabytes(resident), resident <= 20_000_000);
    let share = idle.cpu / idle.time.as_secs_f64();
    goal("processor of an idle gateway", "0.0 % of a core", format!("{:.3} %", share * 100.0), share < 0.000_5);
    goals
}
