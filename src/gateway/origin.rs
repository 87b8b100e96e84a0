//! Which pages may speak to the gateway: the exact `Origin` check against cross-site requests, and the `Host` check against
//! DNS rebinding. Pure.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use tokio::sync::watch;

use super::login::Trust;

/// An origin (RFC 6454): scheme, host and port, in lower case, without the scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is not an origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an origin such as https://shell.example.com or http://localhost:8000, without a path")]
pub struct ParseError;

/// The origins a gateway accepts.
#[derive(Clone, Debug)]
pub struct Origins {
    own: Own,
    allowed: Vec<Origin>,
}

/// The origins of the gateway's own pages.
#[derive(Clone, Debug)]
enum Own {
    /// On a loopback address: its few names are known, and any other name in `Host` was made to point here by somebody else.
    Loopback(Vec<Origin>),
    /// Elsewhere: whatever name the certificate let the browser accept.
    Host,
    /// Behind an ingress: the one that an installation's settings name.
    Exactly(Origin),
    /// The same, where the settings may change.
    Told(watch::Receiver<Arc<Trust>>),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The `Host` header is missing or not a name of this gateway.
    #[error(
        "the Host header is not a name of this gateway; open the address that it printed, or allow the page's origin with --allow-origin"
    )]
    Host,
    /// The `Origin` header is missing, `null` or that of another page.
    #[error("the Origin header is missing or not allowed; a page served elsewhere is allowed with --allow-origin")]
    Origin,
}

// === impl Origin ===

impl FromStr for Origin {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) = lower.split_once("://").ok_or(ParseError)?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(ParseError),
        };
        let authority: hyper::http::uri::Authority = authority.parse().map_err(|_| ParseError)?;
        if authority.host().is_empty() || authority.as_str().contains('@') || authority.as_str().ends_with(':') {
            return Err(ParseError);
        }
        let authority = authority.as_str();
        Ok(Self(format!("{scheme}://{}", authority.strip_suffix(default_port).unwrap_or(authority))))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Origin {
    /// Whether it is encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether its host is this machine to every browser.
    pub fn is_local(&self) -> bool {
        let authority = self.authority();
        let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let host = host.map_or(authority, |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether an `Origin` header is exactly this.
    pub fn is(&self, header: Option<&str>) -> bool {
        header == Some(self.0.as_str())
    }

    /// Host and port, as a `Host` header names them.
    fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

// === impl Origins ===

impl Origins {
    /// The origins of a gateway that listens on `address`, and those of `allowed`.
    pub fn new(address: SocketAddr, tls: bool, allowed: Vec<Origin>) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let own = if address.ip().is_loopback() {
            let names = ["127.0.0.1".to_owned(), "localhost".to_owned(), "[::1]".to_owned(), ip_in_url(address)];
            let origin = |name| format!("{scheme}://{name}:{}", address.port()).parse().ok();
            Own::Loopback(names.into_iter().filter_map(origin).collect())
        } else {
            Own::Host
        };
        Self { own, allowed }
    }

    /// The one origin of pages behind an ingress.
    pub fn exactly(origin: Origin) -> Self {
        Self { own: Own::Exactly(origin), allowed: Vec::new() }
    }

    /// The one origin of a gateway's pages, as its settings say now.
    pub fn told(trust: watch::Receiver<Arc<Trust>>) -> Self {
        Self { own: Own::Told(trust), allowed: Vec::new() }
    }

    /// Whether this is another page's origin that was allowed.
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.0 == origin)
    }

    /// Whether a request may read from here: its `Host` is a name of this gateway.
    ///
    /// # Errors
    /// [`Refusal::Host`] otherwise.
    pub fn check_host(&self, host: Option<&str>) -> Result<(), Refusal> {
        let host = host.ok_or(Refusal::Host)?;
        match &self.own {
            // Another name leads to nothing: browsers send it no cookie of ours.
            Own::Host | Own::Exactly(_) | Own::Told(_) => Ok(()),
            Own::Loopback(own) => {
                own.iter().chain(&self.allowed).any(|o| names(o, host)).then_some(()).ok_or(Refusal::Host)
            }
        }
    }

    /// Whether a request may open a WebSocket or change something: its `Origin` is exactly the one that its `Host` belongs
    /// to, or one that is allowed.
    ///
    /// # Errors
    /// Says which header is to blame.
    pub fn check(&self, origin: Option<&str>, host: Option<&str>) -> Result<(), Refusal> {
        self.check_host(host)?;
        let (origin, host) = (origin.ok_or(Refusal::Origin)?, host.ok_or(Refusal::Host)?);
        let own = match &self.own {
            Own::Loopback(own) => own.iter().any(|o| o.0 == origin && names(o, host)),
            Own::Host => format!("https://{host}").parse().is_ok_and(|o: Origin| o.0 == origin),
            Own::Exactly(own) => own.0 == origin,
            Own::Told(trust) => trust.borrow().origin.0 == origin,
        };
        (own || self.allows(origin)).then_some(()).ok_or(Refusal::Origin)
    }
}

/// Whether a `Host` header is that of `origin`. The port of the scheme may be written or left out.
fn names(origin: &Origin, host: &str) -> bool {
    let scheme = if origin.is_secure() { "https" } else { "http" };
    format!("{scheme}://{host}").parse().is_ok_and(|o: Origin| o.authority() == origin.authority())
}

/// The address of a listener as URLs have it.
fn ip_in_url(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loopback(allowed: &[&str]) -> Origins {
        let allowed = allowed.iter().map(|o| o.parse().unwrap()).collect();
        Origins::new("127.0.0.1:8022".parse().unwrap(), false, allowed)
    }

    #[test]
    fn on_loopback_only_its_own_names_pass() {
        for (origin, host, expected) in [
            (Some("http://127.0.0.1:8022"), Some("127.0.0.1:8022"), Ok(())),
            (Some("http://localhost:8022"), Some("localhost:8022"), Ok(())),
            (Some("http://[::1]:8022"), Some("[::1]:8022"), Ok(())),
            (Some("http://localhost:8022"), Some("LOCALHOST:8022"), Ok(())),
            (None, Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("null"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some(""), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("https://127.0.0.1:8022"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://127.0.0.1"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://127.0.0.1:8023"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://127.0.0.1:80220"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://127.0.0.1:8022/"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://evil.example"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            (Some("http://x.localhost:8022"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            // One own name may not speak for another: a cookie of localhost is not one of 127.0.0.1.
            (Some("http://localhost:8022"), Some("127.0.0.1:8022"), Err(Refusal::Origin)),
            // DNS rebinding: page and Host agree, but on a name that is not ours.
            (Some("http://evil.example:8022"), Some("evil.example:8022"), Err(Refusal::Host)),
            (Some("http://127.0.0.1:8022"), Some("evil.example:8022"), Err(Refusal::Host)),
            (Some("http://127.0.0.1:8022"), Some("127.0.0.1"), Err(Refusal::Host)),
            (Some("http://127.0.0.1:8022"), Some("user@127.0.0.1:8022"), Err(Refusal::Host)),
            (Some("http://127.0.0.1:8022"), None, Err(Refusal::Host)),
        ] {
            assert_eq!(loopback(&[]).check(origin, host), expected, "Origin {origin:?}, Host {host:?}");
        }
    }

    #[test]
    fn an_allowed_origin_passes_with_its_own_host_or_ours() {
        let origins = loopback(&["https://Shell.example.com:443"]);
        assert_eq!(origins.check(Some("https://shell.example.com"), Some("127.0.0.1:8022")), Ok(()));
        assert_eq!(origins.check(Some("https://shell.example.com"), Some("shell.example.com")), Ok(()));
        assert_eq!(origins.check(Some("http://shell.example.com"), Some("shell.example.com")), Err(Refusal::Origin));
        assert_eq!(origins.check(Some("https://a.shell.example.com"), Some("127.0.0.1:8022")), Err(Refusal::Origin));
    }

    #[test]
    fn elsewhere_the_origin_is_that_of_the_host() {
        let origins = Origins::new("0.0.0.0:443".parse().unwrap(), true, vec![]);
        for (origin, host, allowed) in [
            ("https://shell.example.com", "shell.example.com", true),
            ("https://shell.example.com", "shell.example.com:443", true),
            ("https://shell.example.com:8443", "shell.example.com:8443", true),
            ("https://shell.example.com:8443", "shell.example.com", false),
            ("http://shell.example.com", "shell.example.com", false),
            ("https://evil.example.com", "shell.example.com", false),
            ("https://example.com", "shell.example.com", false),
            ("null", "shell.example.com", false),
        ] {
            assert_eq!(origins.check(Some(origin), Some(host)).is_ok(), allowed, "Origin {origin}, Host {host}");
        }
    }

    #[test]
    fn behind_an_ingress_there_is_one_origin() {
        let origins = Origins::exactly("https://team-a.shell.example.com".parse().unwrap());
        for (origin, allowed) in [
            (Some("https://team-a.shell.example.com"), true),
            (Some("https://team-b.shell.example.com"), false),
            (Some("https://shell.example.com"), false),
            (Some("https://x.team-a.shell.example.com"), false),
            (Some("https://team-a.shell.example.com:8443"), false),
            (Some("http://team-a.shell.example.com"), false),
            (Some("null"), false),
            (None, false),
        ] {
            for host in ["team-a.shell.example.com", "team-b.shell.example.com", "10.0.0.7:8080"] {
                assert_eq!(origins.check(origin, Some(host)).is_ok(), allowed, "Origin {origin:?}, Host {host}");
            }
        }
        assert_eq!(origins.check_host(Some("10.0.0.7:8080")), Ok(()));
    }

    #[test]
    fn a_default_port_is_left_out_by_browsers() {
        let origins = Origins::new("127.0.0.1:80".parse().unwrap(), false, vec![]);
        assert_eq!(origins.check(Some("http://localhost"), Some("localhost")), Ok(()));
        let origins = Origins::new("127.0.0.2:443".parse().unwrap(), true, vec![]);
        assert_eq!(origins.check(Some("https://127.0.0.2"), Some("127.0.0.2")), Ok(()));
    }

    #[test]
    fn what_is_not_an_origin_is_refused_with_the_way_out() {
        for text in [
            "",
            "null",
            "*",
            "example.com",
            "ftp://example.com",
            "https://",
            "https://a/b",
            "https://a/",
            "https://u@a",
            "https://a:",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(ParseError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_only_our_own_pages_pass(origin in "https?://[a-z0-9.:@/\\[\\]-]{0,24}|\\PC{0,24}", host in "[a-z0-9.:@\\[\\]-]{0,24}") {
            let own = ["127.0.0.1:8022", "localhost:8022", "[::1]:8022"];
            let passes = loopback(&[]).check(Some(&origin), Some(&host)).is_ok();
            prop_assert_eq!(passes, own.contains(&host.as_str()) && origin == format!("http://{host}"));
        }
    }
}
