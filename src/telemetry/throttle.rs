//! Log lines that strangers can cause at will: the first of each minute are written, and the rest are counted.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How many lines of one cause and client are written within a minute.
const LINES: u32 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// How many causes and clients are told apart at once, which bounds memory, and with [`LINES`] what is written at all.
const MAX_KEYS: usize = 128;

/// Counts lines by cause and client.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Key, Count>>);

/// Why, and for whom: a client's address, or any beyond those that are told apart.
type Key = (&'static str, Option<IpAddr>);

#[derive(Debug)]
struct Count {
    /// When the first line of the minute was.
    since: Instant,
    written: u32,
    left_out: u64,
}

/// Lines that were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Their cause.
    pub cause: &'static str,
    /// Their client; `None` for several that are not told apart.
    pub client: Option<IpAddr>,
    /// How many they were.
    pub lines: u64,
}

impl Throttle {
    /// Whether a line is to be written; one that is not is counted. A client is best given as its
    /// [network](crate::network); `None` stands for all.
    pub fn lets(&self, cause: &'static str, client: Option<IpAddr>) -> bool {
        let now = Instant::now();
        let mut counts = self.0.lock();
        let mut key = (cause, client);
        if counts.len() >= MAX_KEYS && !counts.contains_key(&key) {
            counts.retain(|_, count| !count.is_over(now) || count.left_out > 0);
            if counts.len() >= MAX_KEYS {
                key.1 = None;
            }
        }
        let count = counts.entry(key).or_insert(Count { since: now, written: 0, left_out: 0 });
        if count.is_over(now) {
            (count.since, count.written) = (now, 0);
        }
        if count.written < LINES {
            count.written += 1;
            return true;
        }
        count.left_out += 1;
        false
    }

    /// What was left out since this was asked last.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let now = Instant::now();
        let mut counts = self.0.lock();
        let left_out = counts
            .iter_mut()
            .map(|(&(cause, client), count)| LeftOut { cause, client, lines: std::mem::take(&mut count.left_out) })
            .filter(|left_out| left_out.lines > 0)
            .collect();
        counts.retain(|_, count| !count.is_over(now));
        left_out
    }
}

impl Throttle {
    /// Writes a line for each cause and client of which lines were left out since this was last done.
    pub fn tell_left_out(&self, what: &'static str) {
        for LeftOut { cause, client, lines: suppressed } in self.left_out() {
            let client = client.map(tracing::field::display);
            warn!(client, cause, suppressed, "{what}");
        }
    }
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        now - self.since >= MINUTE
    }
}

/// Has it told what was left out, every minute and at the end.
pub async fn every_minute(tell: impl Fn(), stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(MINUTE)).await.is_some() {
        tell();
    }
    tell();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn client(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_of_a_minute_are_written_and_the_rest_counted() {
        let throttle = Throttle::default();
        let written = |cause, number| (0..100).filter(|_| throttle.lets(cause, client(number))).count();
        assert_eq!([written("origin", 1), written("origin", 2), written("host", 1)], [10; 3]);
        let mut left_out = throttle.left_out();
        left_out.sort_by_key(|left_out| (left_out.cause, left_out.client));
        let expected = [("host", 1), ("origin", 1), ("origin", 2)];
        assert_eq!(left_out, expected.map(|(cause, number)| LeftOut { cause, client: client(number), lines: 90 }));
        assert!(throttle.left_out().is_empty() && !throttle.lets("origin", client(1)));
        tokio::time::advance(MINUTE).await;
        assert_eq!(written("origin", 1), 10);
        assert_eq!(throttle.left_out().iter().map(|left_out| left_out.lines).sum::<u64>(), 91);
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_are_counted_as_one() {
        let throttle = Throttle::default();
        let written = (0..100_000).filter(|number| throttle.lets("origin", client(*number))).count();
        assert_eq!(written, MAX_KEYS + LINES as usize);
        let counted: u64 = throttle.left_out().iter().map(|left_out| left_out.lines).sum();
        assert_eq!(written as u64 + counted, 100_000);
        tokio::time::advance(MINUTE).await;
        assert!(throttle.left_out().is_empty() && throttle.0.lock().is_empty(), "nothing is kept for nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_after_a_flood_is_told_apart_again() {
        let throttle = Arc::new(Throttle::default());
        let (counted, stop) = (Arc::clone(&throttle), CancellationToken::new());
        let told = tokio::spawn(every_minute(move || counted.tell_left_out("lines were left out"), stop.clone()));
        for number in 0..2 * MAX_KEYS as u32 {
            (0..=LINES).for_each(|_| _ = throttle.lets("full", client(number)));
        }
        assert!(!throttle.lets("full", client(100_000)), "it is one of many by now");
        sleep(2 * MINUTE).await;
        assert!((0..LINES).all(|_| throttle.lets("full", client(100_000))));
        stop.cancel();
        told.await.unwrap();
    }
}
