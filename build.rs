//! Builds the page in `web/` with npm, for `src/gateway/page.rs` to embed, and says how the program is linked.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The oldest Node.js that Vite runs on, as major and minor version.
const OLDEST_NODE: (u32, u32) = (20, 19);

/// The oldest glibc whose dynamic linker reads packed relocations, as major and minor version.
const OLDEST_PACKED: (u32, u32) = (2, 36);

/// What the page is built from, below `web/`.
const SOURCES: [&str; 6] =
    ["src", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed=web/{source}");
    }
    // Each gateway reads its relocations as it starts, and has more than a megabyte less in memory where they are packed.
    if env::var("HOST") == env::var("TARGET") && glibc().is_some_and(|version| version >= OLDEST_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let web = directory("CARGO_MANIFEST_DIR")?.join("web");
    let page = directory("OUT_DIR")?.join("page");
    check_node()?;
    install(&web)?;
    let mut build = npm(&web);
    build.args(["run", "build", "--", "--emptyOutDir", "--outDir"]).arg(&page);
    run(&mut build)
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: build with cargo"))
}

fn check_node() -> Result<(), String> {
    let advice = format!(
        "the page (web/) is built with Node.js {}.{} or newer and its npm: install them \
         (https://nodejs.org, or your distribution's packages nodejs and npm) and build again",
        OLDEST_NODE.0, OLDEST_NODE.1
    );
    let output =
        Command::new("node").arg("--version").output().map_err(|error| format!("no node: {error}; {advice}"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match numbers(version.trim_start_matches('v')) {
        Some(found) if found >= OLDEST_NODE => Ok(()),
        _ => Err(format!("node is {version}; {advice}")),
    }
}

/// The version of this system's glibc, where that is what programs are linked with.
fn glibc() -> Option<(u32, u32)> {
    if env::var("CARGO_CFG_TARGET_ENV").ok()? != "gnu" || env::var("CARGO_CFG_TARGET_OS").ok()? != "linux" {
        return None;
    }
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    numbers(String::from_utf8_lossy(&output.stdout).trim().strip_prefix("glibc ")?)
}

/// The major and minor number of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Installs what `package-lock.json` names, unless that is what is installed.
fn install(web: &Path) -> Result<(), String> {
    let lock_path = web.join("package-lock.json");
    let stamp = web.join("node_modules/.installed-lock");
    let failed = |error: io::Error| format!("{}: {error}", lock_path.display());
    // Builds with another profile or target directory share node_modules.
    let guard = fs::File::open(&lock_path).map_err(failed)?;
    guard.lock().map_err(failed)?;
    let lock = fs::read(&lock_path).map_err(failed)?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    run(npm(web).args(["ci", "--no-audit", "--no-fund"]))?;
    fs::write(&stamp, lock).map_err(failed)
}

fn npm(web: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(web);
    npm
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}; it comes with Node.js"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} failed ({}):\n{out}\n{err}", output.status))
}
