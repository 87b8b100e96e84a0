//! Keeps what the program has in memory, such as credentials, from being written elsewhere.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Switches core dumps off, for this process and those that it starts, and keeps other processes of its user from reading its
/// memory.
///
/// # Errors
/// When the system refuses it.
pub fn forbid_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit does not hold where the system pipes dumps to a program (core(5)).
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
