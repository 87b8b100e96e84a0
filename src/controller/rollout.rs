//! A change of the pod template replaces gateways and so ends sessions. It goes out to a few namespaces at a time: one that
//! does not work stops there.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How many namespaces may be under way at once.
const MAX_AT_ONCE: usize = 5;

/// After this long a rollout no longer keeps others waiting: what does not work in a few namespaces alone (a quota, say) must
/// not stop all others for ever. Drains of the usual length are over by then.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The namespaces whose gateways are being replaced.
#[derive(Debug, Default)]
pub struct Rollouts(Mutex<HashMap<Box<str>, Instant>>);

impl Rollouts {
    /// Whether a namespace may begin at `now`, or has begun already.
    pub fn begin(&self, namespace: &str, now: Instant) -> bool {
        let mut under_way = self.0.lock();
        under_way.retain(|_, since| now.duration_since(*since) < PATIENCE);
        if under_way.contains_key(namespace) {
            return true;
        }
        if under_way.len() >= MAX_AT_ONCE {
            return false;
        }
        under_way.insert(namespace.into(), now);
        true
    }

    /// The namespace's gateway is replaced, or no longer wanted.
    pub fn end(&self, namespace: &str) {
        self.0.lock().remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_namespaces_are_under_way() {
        let rollouts = Rollouts::default();
        let now = Instant::now();
        let names: Vec<_> = (0..=MAX_AT_ONCE).map(|n| format!("team-{n}")).collect();
        let begun: Vec<_> = names.iter().filter(|name| rollouts.begin(name, now)).collect();
        assert_eq!(begun.len(), MAX_AT_ONCE);
        assert!(rollouts.begin(&names[0], now), "it has begun already");
        let last = &names[MAX_AT_ONCE];
        assert!(!rollouts.begin(last, now));
        rollouts.end(&names[0]);
        assert!(rollouts.begin(last, now));
    }

    #[test]
    fn one_that_never_ends_is_given_up_on() {
        let rollouts = Rollouts::default();
        let now = Instant::now();
        for n in 0..MAX_AT_ONCE {
            rollouts.begin(&format!("team-{n}"), now);
        }
        assert!(!rollouts.begin("late", now + PATIENCE - Duration::from_secs(1)));
        assert!(rollouts.begin("late", now + PATIENCE));
    }
}
