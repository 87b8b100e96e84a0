//! What the numbers were taken with.
#![allow(dead_code)] // each benchmark uses a part of it

use std::{fs, process::Command};

/// The machine and this program, as items of a Markdown list.
pub fn describe() -> String {
    let cpu = field("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().unwrap();
    let memory: f64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap();
    format!(
        "- {cores} cores ({cpu}), {:.0} GiB, {}; load when the run ended: {}\n- webshell {}\n",
        memory / 1024.0 / 1024.0,
        output("uname", &["-sr"]),
        load(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// How many processes ran or wanted to, over the last minute.
pub fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// What a program says; `ssh` says its version as an error.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).trim().to_owned()
}
