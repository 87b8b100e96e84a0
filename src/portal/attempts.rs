//! Whose token is asked about next, and whose not at all: who tries tokens out keeps nobody else from logging in.
//!
//! Addresses may stand for many people, as a proxy's does, so none is ever shut out. At one where log-ins fail they go one at a time, and
//! others go before them. A token that was found to be invalid is known again for a while.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{gateway::login::cookie::Digest, network};

/// How many tokens are asked about at once; those of one address among them, and those of all addresses where log-ins failed.
const MAX: usize = 8;
const MAX_OF_ONE: u32 = 4;
const MAX_SUSPECT: usize = 4;

/// How long one waits for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a failure is remembered, of a token and of an address.
const MEMORY: Duration = Duration::from_secs(60);

/// How many tokens and addresses are remembered for it.
const MAX_REMEMBERED: usize = 4096;

/// Lets log-ins be attempted, each in its turn.
#[derive(Debug)]
pub(super) struct LoginAttempts {
    all: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
    known: Mutex<Known>,
}

/// One token may be asked about, until this is dropped.
#[derive(Debug)]
pub(super) struct Attempt {
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

#[derive(Debug, Default)]
struct Known {
    /// When tokens were found to be invalid.
    invalid: HashMap<Digest, Instant>,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    /// Where log-ins failed, each takes all of them.
    turns: Arc<Semaphore>,
    failed: Option<Instant>,
}

impl LoginAttempts {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX)),
            suspect: Arc::new(Semaphore::new(MAX_SUSPECT)),
            known: Mutex::default(),
        }
    }

    /// Whether this token was found to be invalid a short while ago.
    pub(super) fn is_invalid(&self, token: &Digest) -> bool {
        self.known.lock().invalid.get(token).is_some_and(|since| since.elapsed() < MEMORY)
    }

    /// Notes that a log-in of `client` failed, for good if by this `token`.
    pub(super) fn failed(&self, client: IpAddr, token: Option<Digest>) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if let Some(token) = token {
            make_room(&mut known.invalid, |since| (now - *since >= MEMORY, *since));
            known.invalid.insert(token, now);
        }
        known.address(network::client_key(client), now).failed = Some(now);
    }

    /// Waits for a turn of `client`; `None` where it does not come in time.
    pub(super) async fn take(&self, client: IpAddr) -> Option<Attempt> {
        timeout(PATIENCE, self.wait(network::client_key(client))).await.ok().flatten()
    }

    async fn wait(&self, client: IpAddr) -> Option<Attempt> {
        loop {
            let (turns, suspect) = self.of(client);
            let needed = if suspect { MAX_OF_ONE } else { 1 };
            let of_address = turns.acquire_many_owned(needed).await.ok()?;
            // A log-in may have failed there meanwhile.
            if !suspect && self.of(client).1 {
                continue;
            }
            let of_suspect = if suspect { Some(Arc::clone(&self.suspect).acquire_owned().await.ok()?) } else { None };
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            return Some(Attempt { _permits: [Some(of_address), of_suspect, Some(of_all)] });
        }
    }

    /// The turns of an address, and whether log-ins failed there a short while ago.
    fn of(&self, client: IpAddr) -> (Arc<Semaphore>, bool) {
        let now = Instant::now();
        let mut known = self.known.lock();
        let address = known.address(client, now);
        (Arc::clone(&address.turns), address.is_suspect(now))
    }
}

impl Known {
    fn address(&mut self, client: IpAddr, now: Instant) -> &mut Address {
        if !self.addresses.contains_key(&client) {
            make_room(&mut self.addresses, |address| {
                (!address.is_suspect(now) && Arc::strong_count(&address.turns) == 1, address.failed.unwrap_or(now))
            });
        }
        let new = || Address { turns: Arc::new(Semaphore::new(MAX_OF_ONE as usize)), failed: None };
        self.addresses.entry(client).or_insert_with(new)
    }
}

impl Address {
    fn is_suspect(&self, now: Instant) -> bool {
        self.failed.is_some_and(|failed| now - failed < MEMORY)
    }
}

/// Keeps a map within its bound: what `judge` says is over goes first, then what it says is the oldest.
fn make_room<K: Copy + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, judge: impl Fn(&V) -> (bool, Instant)) {
    if map.len() < MAX_REMEMBERED {
        return;
    }
    map.retain(|_, value| !judge(value).0);
    if map.len() >= MAX_REMEMBERED
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| judge(value).1).map(|(key, _)| *key)
    {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::gateway::login::cookie::digest;

    fn client(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    /// How many of a client get their turn at once.
    fn at_once(attempts: &LoginAttempts, client: IpAddr) -> Vec<Attempt> {
        std::iter::from_fn(|| attempts.take(client).now_or_never().flatten()).take(2 * MAX).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn where_log_ins_fail_they_go_one_at_a_time_and_others_before_them() {
        let attempts = LoginAttempts::new();
        assert_eq!(at_once(&attempts, client(1)).len(), MAX_OF_ONE as usize);
        attempts.failed(client(1), None);
        assert_eq!(at_once(&attempts, client(1)).len(), 1);
        let suspects: Vec<_> = (0..100)
            .flat_map(|number| {
                attempts.failed(client(number), None);
                at_once(&attempts, client(number))
            })
            .collect();
        assert_eq!(suspects.len(), MAX_SUSPECT);
        let others = at_once(&attempts, client(1000));
        assert_eq!(others.len(), MAX - MAX_SUSPECT);
        drop((suspects, others));
        tokio::time::advance(MEMORY).await;
        assert_eq!(at_once(&attempts, client(1)).len(), MAX_OF_ONE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_one_at_a_time_as_soon_as_one_fails() {
        let attempts = LoginAttempts::new();
        let first = at_once(&attempts, client(1));
        let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(attempts.take(client(1)))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        attempts.failed(client(1), None);
        drop(first);
        // Twice, because who notices the failure waits anew.
        let mut taken = Vec::new();
        for _ in 0..2 {
            waiting.retain_mut(|turn| {
                turn.now_or_never().is_none_or(|turn| {
                    taken.push(turn.unwrap());
                    false
                })
            });
        }
        assert_eq!(taken.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let attempts = LoginAttempts::new();
        let _busy = at_once(&attempts, client(1));
        assert!(attempts.take(client(1)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_invalid_token_is_known_for_a_while() {
        let attempts = LoginAttempts::new();
        attempts.failed(client(1), Some(digest("wrong")));
        assert!(attempts.is_invalid(&digest("wrong")) && !attempts.is_invalid(&digest("right")));
        tokio::time::advance(MEMORY).await;
        assert!(!attempts.is_invalid(&digest("wrong")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_bound() {
        let attempts = LoginAttempts::new();
        for number in 0..2 * MAX_REMEMBERED as u32 {
            attempts.failed(client(number), Some(digest(&number.to_string())));
        }
        let known = attempts.known.lock();
        assert_eq!([known.invalid.len(), known.addresses.len()], [MAX_REMEMBERED; 2]);
    }
}
