//! When a watch that failed is begun again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// New WebShells wait for it, so it is soon.
const FIRST: Duration = Duration::from_millis(200);

/// While it goes on failing it is less often, but an API server that is back is noticed within this.
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles each time; the last quarter is random, so that not all gateways come at once.
#[derive(Debug)]
pub(super) struct Retry {
    next: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        let random = getrandom::u32().unwrap_or_default() % 1024;
        Some(pause * 3 / 4 + pause * random / 4096)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
        let mut retry = Retry::default();
        let pauses: Vec<_> = retry.by_ref().take(20).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST * 3 / 4);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST) && pauses[19] >= LONGEST * 3 / 4);
        retry.reset();
        assert!(retry.next().unwrap() <= FIRST);
    }
}
