//! Cookies that hold a secret: what they are called, and how their values are kept. Pure but for the random numbers.

use std::{fmt, time::Duration};

use ring::hmac;
use sha2::{Digest as _, Sha256};

use crate::hex;

/// 128 random bits in hexadecimal digits, that let their holder in.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret's SHA-256. Secrets are compared and found by it: how long that takes tells nothing about them.
pub type Digest = [u8; 32];

/// A cookie's name, and whether browsers send it over TLS only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    secure: bool,
}

// === impl Secret ===

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(hex::encode(&bits)))
    }

    /// The one that whoever has this key derives from a text.
    pub fn derive(key: &hmac::Key, text: &str) -> Self {
        let tag = hmac::sign(key, text.as_bytes());
        let mut bits = [0; 16];
        bits.iter_mut().zip(tag.as_ref()).for_each(|(bits, tag)| *bits = *tag);
        Self(hex::encode(&bits))
    }

    /// Reads the digits of one.
    pub fn parse(text: &str) -> Option<Self> {
        hex::is_128_bits(text).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// By what a secret is compared and found.
pub fn digest(secret: &str) -> Digest {
    Sha256::digest(secret).into()
}

// === impl Cookie ===

impl Cookie {
    /// Of a listener on a loopback address over plain HTTP, where cookies are shared by all ports.
    pub fn loopback(port: u16) -> Self {
        Self { name: format!("webshell-{port}"), secure: false }
    }

    /// Of a host of its own, over TLS.
    pub fn host() -> Self {
        Self::of(true, "")
    }

    /// A cookie of an installation, whose name ends with `suffix`; `secure` is for HTTPS. A dot in `suffix` is in no namespace's
    /// name.
    ///
    /// The prefix `__Host-` makes browsers refuse a cookie that another host of the same domain has set (RFC 6265bis, section
    /// 4.1.3). It asks for the path `/`; a narrower one would protect nothing, since proxies disagree on what a path is.
    pub fn of(secure: bool, suffix: &str) -> Self {
        let prefix = if secure { "__Host-" } else { "" };
        Self { name: format!("{prefix}webshell{suffix}"), secure }
    }

    /// The `Set-Cookie` that gives it this value.
    pub fn set(&self, value: &str, age: Duration) -> String {
        let Self { name, secure } = self;
        let secure = if *secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.as_secs())
    }

    /// The `Set-Cookie` that makes a browser forget it.
    pub fn forget(&self) -> String {
        self.set("", Duration::ZERO)
    }

    /// How a `Cookie` header names this value of it.
    pub fn pair(&self, value: &str) -> String {
        format!("{}={value}", self.name)
    }

    /// Its values in the `Cookie` headers.
    pub fn values<'a>(&self, headers: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
        let name = self.name.clone();
        headers
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter_map(move |(key, value)| (key == name).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn cookies_are_as_strict_as_their_host_allows() {
        for (cookie, expected) in [
            (Cookie::loopback(8022), "webshell-8022=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"),
            (Cookie::host(), "__Host-webshell=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"),
            (
                Cookie::of(true, ".team-a"),
                "__Host-webshell.team-a=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure",
            ),
            (Cookie::of(false, ".team-a"), "webshell.team-a=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"),
        ] {
            assert_eq!(cookie.set("ab", DAY), expected);
        }
        assert!(Cookie::host().forget().contains("=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn values_are_found_by_their_exact_name() {
        let cookie = Cookie::of(true, ".team-a");
        let header = "a=b; __Host-webshell.team-a=1; __Host-webshell.team=2;c; __Host-webshell.team-a.nonce=3";
        assert_eq!(cookie.values(once(header)).collect::<Vec<_>>(), ["1"]);
        assert_eq!(cookie.values(["x", "__Host-webshell.team-a=4"].into_iter()).collect::<Vec<_>>(), ["4"]);
        assert_eq!(Cookie::host().values(once(header)).count(), 0);
    }

    #[test]
    fn secrets_read_as_they_are_written_and_are_not_printed() {
        let secret = Secret::random().unwrap();
        assert_eq!(Secret::parse(secret.expose()), Some(secret.clone()));
        for none in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32), &"A".repeat(32)] {
            assert_eq!(Secret::parse(none), None, "{none}");
        }
        assert!(!format!("{secret:?}").contains(secret.expose()));
    }
}
