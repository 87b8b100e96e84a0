//! What each user may cause: so much at once, and so much again after pauses (a token bucket for each name).

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// From how many users on those are forgotten whose budget is whole again.
const MANY: usize = 1024;

/// The budgets of all users.
#[derive(Debug)]
pub struct Budgets {
    /// How much may be taken at once.
    whole: u32,
    /// After how long one more may be taken.
    pause: Duration,
    /// When the budget is whole again, of those of whose something was taken.
    whole_at: Mutex<HashMap<String, Instant>>,
}

impl Budgets {
    /// Budgets of `whole`, of which one comes back after each `pause`.
    pub fn new(whole: u32, pause: Duration) -> Self {
        Self { whole, pause, whole_at: Mutex::default() }
    }

    /// Takes up to `wanted` of a user's budget; how much that is.
    pub fn take(&self, user: &str, wanted: usize) -> usize {
        let now = Instant::now();
        let mut whole_at = self.whole_at.lock();
        if whole_at.len() >= MANY {
            whole_at.retain(|_, at| *at > now);
        }
        let at = whole_at.get(user).copied().unwrap_or(now).max(now);
        let missing = (at - now).as_nanos().div_ceil(self.pause.as_nanos().max(1));
        let left = u128::from(self.whole).saturating_sub(missing);
        let taken = u32::try_from(wanted).unwrap_or(u32::MAX).min(u32::try_from(left).unwrap_or(u32::MAX));
        if taken > 0 {
            whole_at.insert(user.to_owned(), at + self.pause * taken);
        }
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_taken_at_once_and_comes_back_by_and_by() {
        let budgets = Budgets::new(3, Duration::from_secs(1));
        assert_eq!((budgets.take("ada", 2), budgets.take("ada", 2), budgets.take("ada", 2)), (2, 1, 0));
        assert_eq!(budgets.take("ben", 9), 3, "another's is another's");
        advance(Duration::from_millis(999)).await;
        assert_eq!(budgets.take("ada", 1), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(budgets.take("ada", 2), 1);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(budgets.take("ada", usize::MAX), 3, "never more than a whole one");
    }

    #[tokio::test(start_paused = true)]
    async fn users_with_a_whole_budget_are_forgotten() {
        let budgets = Budgets::new(1, Duration::from_secs(1));
        for number in 0..MANY {
            budgets.take(&number.to_string(), 1);
        }
        advance(Duration::from_secs(1)).await;
        budgets.take("ada", 1);
        assert_eq!(budgets.whole_at.lock().len(), 1);
    }
}
