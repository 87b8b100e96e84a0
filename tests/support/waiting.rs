//! Waiting for what must come.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "this did not come: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
