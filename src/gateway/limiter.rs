//! How many of a kind may be under way at once: in all, and of one client.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use crate::network;

/// Bounds what clients may have under way. Clones share it.
#[derive(Clone, Debug)]
pub struct Limiter {
    most: usize,
    most_of_one: usize,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Lets one be under way, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Limiter,
    client: IpAddr,
}

impl Limiter {
    /// Lets `most` be under way, and `most_of_one` of a client.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, held: Arc::default() }
    }

    /// Lets another one of `client` be under way; `None` where that would be too many.
    pub fn acquire(&self, client: IpAddr) -> Option<Permit> {
        let client = network::client_key(client);
        let mut held = self.held.lock();
        let of_client = held.get(&client).copied().unwrap_or_default();
        if of_client >= self.most_of_one || held.values().sum::<usize>() >= self.most {
            return None;
        }
        held.insert(client, of_client + 1);
        drop(held);
        Some(Permit { limiter: self.clone(), client })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.limiter.held.lock();
        if let Some(count) = held.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_and_all_together_have_their_bounds() {
        let limiter = Limiter::new(3, 2);
        let client = |number| IpAddr::from([10, 0, 0, number]);
        let first = [limiter.acquire(client(1)).unwrap(), limiter.acquire(client(1)).unwrap()];
        assert!(limiter.acquire(client(1)).is_none(), "one client's");
        let other = limiter.acquire(client(2)).unwrap();
        assert!(limiter.acquire(client(3)).is_none(), "all");
        drop(first);
        assert!(limiter.acquire(client(1)).is_some());
        drop(other);
        assert!(limiter.held.lock().is_empty(), "nobody is remembered for nothing");
    }

    #[test]
    fn a_client_has_a_network_of_ipv6_to_choose_from_and_counts_as_one() {
        let limiter = Limiter::new(8, 1);
        let _held = limiter.acquire("2001:db8::1".parse().unwrap()).unwrap();
        assert!(limiter.acquire("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(limiter.acquire("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
