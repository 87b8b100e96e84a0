//! Which connections are open, and which one gives way when there are too many. Knows nothing of what is spoken on them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    network,
    telemetry::metrics::{CountedConnection, Dropped, HttpMetrics},
};

/// The connections of a listener, bounded in number. Clones share them.
///
/// Beyond the bound the newcomer is let in, and another is closed: of those whose holder has most of them the one that was quiet for
/// the longest. So a flood drives out itself, and whoever comes and speaks is served. Only what is [kept](Place::keep) never
/// gives way.
#[derive(Clone, Debug)]
pub struct Connections {
    most: Arc<AtomicUsize>,
    metrics: HttpMetrics,
    open: Arc<Mutex<Open>>,
}

/// One of a bounded number of connections. Dropped, it leaves room for another.
#[derive(Debug)]
pub struct Place {
    number: u64,
    address: IpAddr,
    evicted: CancellationToken,
    open: Arc<Mutex<Open>>,
    _counted: CountedConnection,
}

/// Exempts a connection from eviction while it lives.
#[derive(Debug)]
pub struct Exemption<'a>(&'a Place);

/// Whom a connection counts as one of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Whoever is at an address: nobody has logged in there, or not for what is asked now.
    Address(IpAddr),
    /// A user who is logged in.
    User(String),
}

#[derive(Debug, Default)]
struct Open {
    by_number: HashMap<u64, Entry>,
    /// Counts what happens, for the order of it.
    ticks: u64,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    /// When it was last heard of.
    tick: u64,
    kept: bool,
    evicted: CancellationToken,
}

// === impl Connections ===

impl Connections {
    /// At most so many, counted there.
    pub fn new(most: usize, metrics: HttpMetrics) -> Self {
        Self { most: Arc::new(AtomicUsize::new(most)), metrics, open: Arc::default() }
    }

    /// Changes the bound for those to come.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// A place for a connection from `address`, and whether another connection gave way for it; `None` where all are kept.
    pub fn admit(&self, address: IpAddr) -> Option<(Place, bool)> {
        let mut open = self.open.lock();
        let is_full = open.by_number.len() >= self.most.load(Ordering::Relaxed);
        if is_full {
            let Some(number) = open.next_to_go() else {
                self.metrics.dropped(Dropped::Refused);
                return None;
            };
            if let Some(entry) = open.by_number.remove(&number) {
                entry.evicted.cancel();
            }
            self.metrics.dropped(Dropped::Evicted);
        }
        let evicted = CancellationToken::new();
        let number = open.tick();
        let entry = Entry {
            holder: Holder::Address(network::client_key(address)),
            tick: number,
            kept: false,
            evicted: evicted.clone(),
        };
        open.by_number.insert(number, entry);
        drop(open);
        let counted = self.metrics.count_connection();
        Some((Place { number, address, evicted, open: Arc::clone(&self.open), _counted: counted }, is_full))
    }
}

// === impl Open ===

impl Open {
    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn next_to_go(&self) -> Option<u64> {
        let free = self.by_number.iter().filter(|(_, entry)| !entry.kept);
        let mut counts = HashMap::<&Holder, usize>::new();
        for (_, entry) in free.clone() {
            *counts.entry(&entry.holder).or_default() += 1;
        }
        let rank = |entry: &Entry| (counts.get(&entry.holder).copied(), std::cmp::Reverse(entry.tick));
        free.max_by_key(|(_, entry)| rank(entry)).map(|(number, _)| *number)
    }
}

// === impl Place ===

impl Place {
    /// Notes that a request has begun or is answered. From now on the connection counts as one of its address.
    pub fn renew(&self) {
        self.hold(Holder::Address(self.address));
    }

    /// Notes who is behind the request that is under way.
    pub fn hold(&self, holder: Holder) {
        let holder = match holder {
            Holder::Address(address) => Holder::Address(network::client_key(address)),
            user @ Holder::User(_) => user,
        };
        let mut open = self.open.lock();
        let tick = open.tick();
        if let Some(entry) = open.by_number.get_mut(&self.number) {
            entry.holder = holder;
            entry.tick = tick;
        }
    }

    /// Keeps the connection while what is returned lives: it is one of a terminal, whose number has a bound of its own.
    pub fn keep(&self) -> Exemption<'_> {
        self.set_kept(true);
        Exemption(self)
    }

    /// Waits until the connection must give way.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    fn set_kept(&self, kept: bool) {
        if let Some(entry) = self.open.lock().by_number.get_mut(&self.number) {
            entry.kept = kept;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.lock().by_number.remove(&self.number);
    }
}

impl Drop for Exemption<'_> {
    fn drop(&mut self) {
        self.0.set_kept(false);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn connections(most: usize) -> (Connections, impl Fn(u8) -> Option<Place>) {
        let connections = Connections::new(most, HttpMetrics::default());
        let admit = connections.clone();
        (connections, move |number| admit.admit(address(number)).map(|(place, _)| place))
    }

    fn is_open(place: &Place) -> bool {
        !place.evicted.is_cancelled()
    }

    #[test]
    fn whoever_has_most_loses_what_was_quiet_for_the_longest() {
        let (_, admit) = connections(4);
        let [lone, a, b, c] = [1, 2, 2, 2].map(|number| admit(number).unwrap());
        a.renew();
        let newcomer = admit(3).unwrap();
        assert_eq!([&lone, &a, &b, &c, &newcomer].map(is_open), [true, true, false, true, true]);
        let other = admit(2).unwrap();
        assert_eq!([&lone, &a, &c, &newcomer, &other].map(is_open), [true, true, false, true, true]);
    }

    #[test]
    fn a_user_counts_apart_from_the_proxy_that_all_come_by() {
        let (_, admit) = connections(3);
        let [user, one, other] = [1, 1, 1].map(|number| admit(number).unwrap());
        user.hold(Holder::User("ada".to_owned()));
        drop(admit(1).unwrap());
        assert_eq!([&user, &one, &other].map(is_open), [true, false, true]);
        user.renew();
        other.renew();
        let (_last, _newcomer) = (admit(2).unwrap(), admit(2).unwrap());
        assert!(!is_open(&user), "it is answered, and counts as the proxy's");
    }

    #[test]
    fn what_is_kept_stays_and_where_all_is_nobody_comes_in() {
        let (connections, admit) = connections(2);
        let [one, other] = [1, 1].map(|number| admit(number).unwrap());
        let (kept, also) = (one.keep(), other.keep());
        assert!(admit(2).is_none());
        drop(also);
        let newcomer = admit(2).unwrap();
        assert_eq!([&one, &other, &newcomer].map(is_open), [true, false, true]);
        drop((kept, other, newcomer));
        connections.set_most(3);
        let _more = [admit(3).unwrap(), admit(4).unwrap()];
        assert!(is_open(&one), "there is room");
    }

    proptest! {
        /// However many come, the bound holds, what is kept stays, and nobody with fewer gives way to who has more.
        #[test]
        fn a_flood_drives_out_itself(steps in proptest::collection::vec((0u8..4, 0u8..4), 1..80)) {
            let (connections, admit) = connections(6);
            let mut places: Vec<(u8, Place)> = Vec::new();
            for (number, action) in steps {
                match action {
                    0 if !places.is_empty() => drop(places.remove(usize::from(number) % places.len())),
                    1 if !places.is_empty() => places[usize::from(number) % places.len()].1.renew(),
                    _ => {
                        let counts = |number| places.iter().filter(|(other, _)| *other == number).count();
                        let before = [0, 1, 2, 3].map(counts);
                        let place = admit(number).unwrap();
                        if let Some(gone) = places.iter().position(|(_, place)| !is_open(place)) {
                            let (loser, _) = places.remove(gone);
                            prop_assert_eq!(before.iter().sum::<usize>(), 6);
                            prop_assert_eq!(before[usize::from(loser)], *before.iter().max().unwrap());
                        }
                        places.push((number, place));
                    }
                }
                prop_assert!(places.iter().all(|(_, place)| is_open(place)));
                prop_assert_eq!(connections.open.lock().by_number.len(), places.len());
                prop_assert!(places.len() <= 6);
            }
        }
    }
}
