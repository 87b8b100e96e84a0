//! The nonces that browsers are sent to the portal with, as their cookies hold them: a random number, how often the log-in has begun
//! again, and this process' own mark.
//!
//! A gateway remembers which tickets were used; another pod of the same namespace does not know. So a pod takes only tickets that answer
//! a nonce of its own, and each works once. While one pod takes the place of another, a browser may come back to the wrong one: its log-in
//! begins again.

use getrandom::Error;
use ring::hmac::{HMAC_SHA256, Key};

use super::cookie::Secret;

/// How often a log-in begins again by itself.
const MAX_AGAIN: u8 = 3;

/// Makes and reads nonces.
#[derive(Debug)]
pub struct Nonces(Key);

/// What a cookie's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    /// Made by this process.
    Own,
    /// Made by another, or by nobody.
    Other {
        /// Which number of try the next would be; `None` where there were enough.
        next: Option<u8>,
    },
}

impl Nonces {
    /// Of this process.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(Key::new(HMAC_SHA256, &key)))
    }

    /// A new one, for a log-in that has begun again so many times.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn make(&self, again: u8) -> Result<String, Error> {
        let body = format!("{}{again}", Secret::random()?.expose());
        Ok(format!("{body}{}", self.mark(&body).expose()))
    }

    /// Whose a value is; `None` where it is malformed.
    pub fn read(&self, value: &str) -> Option<Nonce> {
        let (body, mark) = value.split_at_checked(33)?;
        let (random, again) = body.split_at_checked(32)?;
        let again: u8 = again.parse().ok()?;
        Secret::parse(random).and(Secret::parse(mark))?;
        // Found out in whatever time: who has the cookie may know that it is not ours.
        let other = Nonce::Other { next: Some(again + 1).filter(|next| *next <= MAX_AGAIN) };
        Some(if self.mark(body).expose() == mark { Nonce::Own } else { other })
    }

    fn mark(&self, body: &str) -> Secret {
        Secret::derive(&self.0, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_and_how_often_others_have_tried() {
        let (one, other) = (Nonces::new().unwrap(), Nonces::new().unwrap());
        for (again, next) in [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, None), (9, None)] {
            let value = one.make(again).unwrap();
            assert_eq!(one.read(&value), Some(Nonce::Own));
            assert_eq!(other.read(&value), Some(Nonce::Other { next }));
        }
        assert_ne!(one.make(0), one.make(0));
    }

    #[test]
    fn what_is_altered_or_malformed_is_nobodys() {
        let nonces = Nonces::new().unwrap();
        let value = nonces.make(3).unwrap();
        let (random, rest) = value.split_at(32);
        let mark = rest.split_at(1).1;
        let fewer = format!("{random}0{mark}");
        assert_eq!(nonces.read(&fewer), Some(Nonce::Other { next: Some(1) }));
        for none in ["", "0", random, mark, &format!("{value}0"), &"é".repeat(40), &value.to_uppercase()] {
            assert_eq!(nonces.read(none), None, "{none}");
        }
    }
}
