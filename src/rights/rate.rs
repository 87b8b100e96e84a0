//! How often each user may cause something: a token bucket for each name.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// From how many users on those are forgotten whose bucket is full again.
const MANY: usize = 1024;

/// The token buckets of all users.
#[derive(Debug)]
pub struct RateLimits {
    /// How many tokens may be taken at once: what a full bucket holds.
    burst: u32,
    /// After how long there is one more.
    refill_interval: Duration,
    /// When the bucket is full again, of those from whom something was taken.
    full_at: Mutex<HashMap<String, Instant>>,
}

impl RateLimits {
    /// Buckets of `burst` tokens, of which one comes back after each `refill_interval`.
    pub fn new(burst: u32, refill_interval: Duration) -> Self {
        Self { burst, refill_interval, full_at: Mutex::default() }
    }

    /// Takes up to `wanted` of a user's tokens; how many that are.
    pub fn take(&self, user: &str, wanted: usize) -> usize {
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        if full_at.len() >= MANY {
            full_at.retain(|_, at| *at > now);
        }
        let at = full_at.get(user).copied().unwrap_or(now).max(now);
        let missing = (at - now).as_nanos().div_ceil(self.refill_interval.as_nanos().max(1));
        let left = u128::from(self.burst).saturating_sub(missing);
        let taken = u32::try_from(wanted).unwrap_or(u32::MAX).min(u32::try_from(left).unwrap_or(u32::MAX));
        if taken > 0 {
            full_at.insert(user.to_owned(), at + self.refill_interval * taken);
        }
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_at_once_and_comes_back_by_and_by() {
        let limits = RateLimits::new(3, Duration::from_secs(1));
        assert_eq!((limits.take("ada", 2), limits.take("ada", 2), limits.take("ada", 2)), (2, 1, 0));
        assert_eq!(limits.take("ben", 9), 3, "another's is another's");
        advance(Duration::from_millis(999)).await;
        assert_eq!(limits.take("ada", 1), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(limits.take("ada", 2), 1);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(limits.take("ada", usize::MAX), 3, "never more than a full one");
    }

    #[tokio::test(start_paused = true)]
    async fn users_with_a_full_bucket_are_forgotten() {
        let limits = RateLimits::new(1, Duration::from_secs(1));
        for number in 0..MANY {
            limits.take(&number.to_string(), 1);
        }
        advance(Duration::from_secs(1)).await;
        limits.take("ada", 1);
        assert_eq!(limits.full_at.lock().len(), 1);
    }
}
