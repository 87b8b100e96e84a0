//! What the kernel says of a process.
#![allow(dead_code)] // each benchmark uses a part of it

use std::fs;

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What is resident, and the most that ever was.
    pub resident: u64,
    pub peak: u64,
    /// The resident pages of files, which are those of the program: who runs it too shares them.
    pub files: u64,
}

/// The processor time that a process's threads have used, in seconds. `/proc/PID/stat` counts in hundredths, which is too
/// coarse for a few megabytes.
pub fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.filter_map(|thread| {
        // A thread may end between being listed and being read.
        let schedule = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedule.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// The resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    kilobytes(pid, "VmRSS:")
}

/// The memory of a process.
pub fn memory(pid: u32) -> Memory {
    Memory { resident: resident_bytes(pid), peak: kilobytes(pid, "VmHWM:"), files: kilobytes(pid, "RssFile:") }
}

/// How often the threads of a process have gone to sleep, and so been woken.
pub fn wakes(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let wakes = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        field(&status, "voluntary_ctxt_switches:")
    });
    wakes.sum()
}

/// A field of `/proc/PID/status` that counts kilobytes, in bytes.
fn kilobytes(pid: u32, name: &str) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), name).unwrap() * 1024
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
