//! Which hosts the credentials of a Secret may be sent to, as an annotation of it says. Pure.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use thiserror::Error;

use super::problem::shorten;

/// The hosts of an annotation `webshell.dev/allowed-hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts {
    names: Vec<Name>,
    networks: Arc<[IpNet]>,
}

/// Whether credentials may be sent to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may: the host is listed.
    Listed,
    /// They may if its address, which only a resolver knows, is in one of these networks.
    Within(Arc<[IpNet]>),
    /// They may not.
    NotListed,
}

/// Why an annotation cannot be used; a sentence's end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It has no entry.
    #[error("lists no host; list some, or remove the annotation to allow any")]
    Empty,
    /// An entry is none of what it may be.
    #[error(
        "has the entry {0:?}; write names, domains, addresses and networks there, such as db-1.example.com, \
         *.example.com, 10.0.4.12 or 10.0.0.0/8"
    )]
    Entry(String),
}

/// A name or a domain, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Exactly(String),
    /// Every name that ends so; begins with a dot.
    Below(String),
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Reads what an annotation says.
    ///
    /// # Errors
    /// Where any of it cannot be understood: then nothing is allowed.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let (mut names, mut networks) = (Vec::new(), Vec::new());
        for entry in entries {
            match (network(entry), Name::parse(entry)) {
                (Some(network), _) => networks.push(network),
                (None, Some(name)) => names.push(name),
                (None, None) => return Err(Malformed::Entry(shorten(entry))),
            }
        }
        if names.is_empty() && networks.is_empty() {
            return Err(Malformed::Empty);
        }
        Ok(Self { names, networks: networks.into() })
    }

    /// Judges a host by its names, or by its address where that is how it is named.
    pub fn judge(&self, names: &[&str]) -> Verdict {
        let addresses = names.iter().filter_map(|name| name.parse::<IpAddr>().ok());
        let mut addresses = addresses.map(|address| address.to_canonical()).peekable();
        if addresses.peek().is_some() {
            let listed = addresses.all(|address| self.networks.iter().any(|network| network.contains(&address)));
            return if listed { Verdict::Listed } else { Verdict::NotListed };
        }
        if names.iter().any(|name| self.names.iter().any(|listed| listed.includes(name))) {
            Verdict::Listed
        } else if self.networks.is_empty() {
            Verdict::NotListed
        } else {
            Verdict::Within(Arc::clone(&self.networks))
        }
    }
}

/// A network, or an address as the network of it alone.
fn network(entry: &str) -> Option<IpNet> {
    let address = |entry: &str| entry.parse::<IpAddr>().map(|address| address.to_canonical().into());
    entry.parse().or_else(|_| address(entry)).ok()
}

// === impl Name ===

impl Name {
    fn parse(entry: &str) -> Option<Self> {
        let (name, below) = match entry.strip_prefix("*.") {
            Some(domain) => (plain(domain), true),
            None => (plain(entry), false),
        };
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // A name that ends with a number is a mistyped address, and no host has one.
        let ends_with_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if ends_with_number || !name.split('.').all(is_label) {
            return None;
        }
        Some(if below { Self::Below(format!(".{name}")) } else { Self::Exactly(name) })
    }

    fn includes(&self, host: &str) -> bool {
        let host = plain(host);
        match self {
            Self::Exactly(name) => host == *name,
            Self::Below(domain) => host.len() > domain.len() && host.ends_with(domain),
        }
    }
}

/// In lower case, and without the dot that may end a name.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(annotation: &str, host: &str) -> Verdict {
        AllowedHosts::parse(annotation).unwrap().judge(&[host])
    }

    fn within(networks: &[&str]) -> Verdict {
        Verdict::Within(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn hosts_are_listed_by_name_by_domain_by_address_and_by_network() {
        for (annotation, host) in [
            ("db-1.example.com", "db-1.example.com"),
            ("DB-1.example.com.", "db-1.Example.COM"),
            ("db-1", "db-1."),
            ("*.example.com", "db-1.example.com"),
            ("*.example.com", "a.b.example.com."),
            ("10.0.4.12", "10.0.4.12"),
            ("10.0.4.12", "::ffff:10.0.4.12"),
            ("10.0.0.0/8", "10.0.4.12"),
            ("fd00::/8", "fd00:0::1"),
            ("fd00::1", "fd00:0:0::1"),
            ("a.example,b.example\n 10.0.4.12 ,, c.example", "c.example"),
        ] {
            assert_eq!(judge(annotation, host), Verdict::Listed, "{annotation}: {host}");
        }
    }

    #[test]
    fn no_other_host_is() {
        for (annotation, host) in [
            ("db-1.example.com", "db-11.example.com"),
            ("db-1.example.com", "db-1.example.com.evil.example"),
            ("db-1.example.com", "x.db-1.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", ".example.com"),
            ("*.example.com", "evilexample.com"),
            ("10.0.4.12", "10.0.4.13"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8 *.example.com", "fd00::1"),
            ("::/0", "10.0.4.12"),
        ] {
            assert_eq!(judge(annotation, host), Verdict::NotListed, "{annotation}: {host}");
        }
    }

    #[test]
    fn a_name_that_is_not_listed_is_judged_by_its_addresses_if_any_are() {
        let annotation = "db-1.example.com 10.0.0.0/8 fd00::1";
        for host in ["db-2.example.com", "10.0.4.12.evil.example", "0x0a00040c", "167773196", "010.0.4.12"] {
            assert_eq!(judge(annotation, host), within(&["10.0.0.0/8", "fd00::1/128"]), "{host}");
        }
    }

    #[test]
    fn a_service_has_two_names() {
        let judge = |annotation| AllowedHosts::parse(annotation).unwrap().judge(&["db-1.team-a.svc", "db-1"]);
        for annotation in ["db-1", "db-1.team-a.svc", "*.team-a.svc"] {
            assert_eq!(judge(annotation), Verdict::Listed, "{annotation}");
        }
        assert_eq!(judge("db-1.team-b.svc"), Verdict::NotListed);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for annotation in ["", " ", ",\n,"] {
            assert_eq!(AllowedHosts::parse(annotation), Err(Malformed::Empty), "{annotation:?}");
        }
        for entry in [
            "*",
            "*.",
            "db-*",
            "db-1.*.com",
            "a..b",
            ".a",
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.*",
            "*.1",
            "[::1]",
            "db-1:22",
            "https://a.example",
            "!a",
            "a/b",
            "ä.example",
            "ssh@a",
            "a;b",
            "\u{202e}",
        ] {
            let parsed = AllowedHosts::parse(&format!("good.example {entry}"));
            assert_eq!(parsed, Err(Malformed::Entry(entry.to_owned())), "{entry:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_it_lists_only_what_is_in_it(annotation in any::<String>(), host in "[a-z]{1,8}\\.evil\\.invalid") {
            let Ok(hosts) = AllowedHosts::parse(&annotation) else { return Ok(()) };
            prop_assert!(hosts.judge(&[&host]) != Verdict::Listed || annotation.to_lowercase().contains("invalid"));
        }

        #[test]
        fn every_address_of_a_network_is_listed_and_no_other(bits: u32, other: u32, length in 0_u8..=32) {
            let address = IpAddr::from(bits.to_be_bytes());
            let network = IpNet::new(address, length).unwrap();
            let other = IpAddr::from(other.to_be_bytes());
            let hosts = AllowedHosts::parse(&network.to_string()).unwrap();
            prop_assert_eq!(hosts.judge(&[&address.to_string()]), Verdict::Listed);
            let listed = hosts.judge(&[&other.to_string()]) == Verdict::Listed;
            prop_assert_eq!(listed, network.contains(&other));
        }

        #[test]
        fn a_name_is_its_own_entry(labels in prop::collection::vec("[a-zA-Z_][a-zA-Z0-9_-]{0,8}", 1..5)) {
            let name = labels.join(".");
            let hosts = AllowedHosts::parse(&name).unwrap();
            prop_assert_eq!(hosts.judge(&[&name.to_uppercase()]), Verdict::Listed);
            prop_assert_eq!(hosts.judge(&[&format!("x.{name}")]), Verdict::NotListed);
            let below = AllowedHosts::parse(&format!("*.{name}")).unwrap();
            prop_assert_eq!(below.judge(&[&name]), Verdict::NotListed);
            prop_assert_eq!(below.judge(&[&format!("x.{name}")]), Verdict::Listed);
        }
    }
}
