//! What the numbers were taken with.

use std::{env, fs, path::Path, process::Command};

/// The machine and the versions of everything that takes part, as a Markdown list.
pub fn describe() -> String {
    let packages = Path::new(&env::var("BENCH_VENV").unwrap()).join("bin/pip");
    let packages = output(packages.to_str().unwrap(), &["freeze", "--disable-pip-version-check"]);
    let package = |name: &str| {
        let line = packages.lines().find(|line| line.starts_with(&format!("{name}==")));
        line.unwrap_or_else(|| panic!("{name} is not installed")).replace("==", " ")
    };
    let peers = ["webssh", "paramiko", "tornado", "uvicorn"].map(package).join(", ");
    let cpu = field("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().unwrap();
    let memory: f64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap();
    let kernel = output("uname", &["-sr"]);
    let browser = output("chromium", &["--version"]);
    format!(
        "- {cores} cores ({cpu}), {:.0} GiB, {kernel}; load when the run ended: {}\n- webshell {}\n- {}\n- {peers}, {}\n- {}, Node.js {}\n",
        memory / 1024.0 / 1024.0,
        fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap(),
        env!("CARGO_PKG_VERSION"),
        output("ssh", &["-V"]),
        output("python3", &["--version"]),
        browser.split(" built").next().unwrap(),
        output("node", &["--version"]),
    )
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// What a program says; `ssh` says its version as an error.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).trim().to_owned()
}
