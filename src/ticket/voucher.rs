//! Which key vouched for a log-in, and whether it ended as portals let keys end. Pure.
//!
//! What is published by others than portals must vouch for nobody longer than it stands there. Portals say of each key when it ends, [`NOTICE`]
//! ahead of that at least. A key that is gone at its time was changed for another, and what it vouched for stays; one that is gone sooner
//! was withdrawn, and takes with it what it vouched for.

use super::{Keys, NOTICE};

/// By how much the clocks of portal and gateway may differ, in seconds, for a key's end to be seen as one.
const SKEW: u64 = 30;

/// A key that vouched for a log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    kid: String,
    public: Vec<u8>,
    /// When it ends, as was said in time. A key of which that was never said ends by withdrawal only.
    ends: Option<u64>,
}

impl Voucher {
    /// The key of this name, where it is known.
    pub fn new(keys: &Keys, kid: &str) -> Option<Self> {
        let key = keys.0.get(kid)?;
        Some(Self { kid: kid.to_owned(), public: key.public.clone(), ends: key.ends })
    }

    /// Whether it still vouches, at `now` in seconds since 1970, when these are the keys. To be asked at each change of theirs.
    pub fn holds(&mut self, keys: &Keys, now: u64) -> bool {
        let Some(key) = keys.0.get(&self.kid).filter(|key| key.public == self.public) else {
            return self.ends.is_some_and(|ends| ends <= now.saturating_add(SKEW));
        };
        if key.ends.is_some_and(|ends| ends >= now.saturating_add(NOTICE)) {
            self.ends = key.ends;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ticket::{Jwk, SigningKey};

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    fn keys(keys: &[(&SigningKey, Option<u64>)]) -> Keys {
        let keys: Vec<_> = keys.iter().map(|(key, exp)| Jwk { exp: *exp, ..key.jwk() }).collect();
        Keys::parse(&json!({"keys": keys}).to_string()).unwrap()
    }

    fn voucher(key: &SigningKey, exp: Option<u64>) -> Voucher {
        Voucher::new(&keys(&[(key, exp)]), key.kid()).unwrap()
    }

    #[test]
    fn a_key_vouches_beyond_its_end_but_not_beyond_its_withdrawal() {
        let (key, next) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let after = keys(&[(&next, Some(NOW + 2 * DAY))]);
        for (gone_at, holds) in [(NOW, false), (NOW + DAY - 31, false), (NOW + DAY - 30, true), (NOW + 9 * DAY, true)] {
            assert_eq!(voucher(&key, Some(NOW + DAY)).holds(&after, gone_at), holds, "{gone_at}");
        }
        let both = keys(&[(&key, Some(NOW + DAY)), (&next, None)]);
        assert!(voucher(&key, Some(NOW + DAY)).holds(&both, NOW));
        assert_eq!(Voucher::new(&after, key.kid()), None);
    }

    #[test]
    fn an_end_counts_only_if_it_was_said_in_time() {
        let key = SigningKey::generate().unwrap();
        // Sooner than before, or later, or for the first time.
        for before in [Some(NOW + DAY), Some(NOW + NOTICE), None] {
            let mut told = voucher(&key, before);
            assert!(told.holds(&keys(&[(&key, Some(NOW + 2 * NOTICE))]), NOW));
            assert!(!told.clone().holds(&keys(&[]), NOW + NOTICE), "{before:?}");
            assert!(told.holds(&keys(&[]), NOW + 2 * NOTICE), "{before:?}");
            let mut hurried = voucher(&key, before);
            assert!(hurried.holds(&keys(&[(&key, Some(NOW + NOTICE - 1))]), NOW));
            assert_eq!(hurried, voucher(&key, before));
        }
        assert!(!voucher(&key, None).holds(&keys(&[]), u64::MAX));
    }

    #[test]
    fn another_key_of_the_same_name_vouches_for_nothing() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let forged = Jwk { kid: key.kid().to_owned(), exp: Some(NOW + DAY), ..other.jwk() };
        let replaced = Keys::parse(&json!({"keys": [forged]}).to_string()).unwrap();
        assert!(!voucher(&key, Some(NOW + DAY)).holds(&replaced, NOW));
    }
}
