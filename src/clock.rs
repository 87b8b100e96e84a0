//! The time that tickets and certificates go by.

use std::time::SystemTime;

/// The wall clock's time, in seconds since 1970; 0 before that.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
