//! Turns: of each user only a few requests are decided at once, and the others wait behind them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of all users.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    users: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Turns {
    /// Up to `at_once` for each user.
    pub fn new(at_once: usize) -> Self {
        Self { at_once, users: Mutex::default() }
    }

    /// Waits for a turn of this user; it ends when the permit is dropped. There is always one, for the semaphore is never closed.
    pub async fn next(&self, user: &str) -> Option<OwnedSemaphorePermit> {
        self.places(user).acquire_owned().await.ok()
    }

    fn places(&self, user: &str) -> Arc<Semaphore> {
        let mut users = self.users.lock();
        if let Some(places) = users.get(user).and_then(Weak::upgrade) {
            return places;
        }
        users.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.at_once));
        users.insert(user.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_user_waits_for_oneself_only() {
        let turns = Turns::new(2);
        let (first, _second) = (turns.next("ada").await, turns.next("ada").await);
        assert!(turns.next("ada").now_or_never().is_none());
        let ben = turns.next("ben").now_or_never();
        assert!(ben.is_some());
        drop(first);
        assert!(turns.next("ada").now_or_never().is_some());
    }

    #[tokio::test]
    async fn users_without_a_turn_are_forgotten() {
        let turns = Turns::new(1);
        for number in 0..100 {
            turns.next(&number.to_string()).await;
        }
        assert_eq!(turns.users.lock().len(), 1);
    }
}
