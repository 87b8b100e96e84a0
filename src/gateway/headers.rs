//! The headers that every response carries.

use hyper::{
    HeaderMap,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use super::{origin::Origin, page};

/// The same for all responses.
const FIXED: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    // For browsers that do not know frame-ancestors.
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // What is not named stays with the page itself, among it the clipboard and the keyboard lock.
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()",
    ),
];

/// One year: what preload lists ask for, too.
const HSTS: &str = "max-age=31536000";

/// How browsers reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On this machine, or over TLS under a name that many services have.
    Local,
    /// Over TLS, under a name of its own: browsers shall insist on HTTPS (RFC 6797).
    Pinned,
    /// In plain text under a name, to try it out. There browsers know no opener policy, and complain of one.
    Plain,
}

impl Reach {
    /// That of the pages of an origin.
    pub fn of(origin: &Origin) -> Self {
        match (origin.is_local(), origin.is_secure()) {
            (true, _) => Self::Local,
            (false, true) => Self::Pinned,
            (false, false) => Self::Plain,
        }
    }
}

/// Adds the headers. What a handler has said itself stands; where it says nothing on caching, nothing is stored.
pub fn add(headers: &mut HeaderMap, reach: Reach) {
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if reach != Reach::Plain {
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    }
    if reach == Reach::Pinned {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_their_own_are_pinned_to_https() {
        for (origin, reach) in [
            ("https://shell.example.com", Reach::Pinned),
            ("https://shell.example.com:8443", Reach::Pinned),
            ("http://shell.example.com:8080", Reach::Plain),
            ("http://localhost:8080", Reach::Local),
            ("https://team-a.localhost", Reach::Local),
            ("https://127.0.0.1:8443", Reach::Local),
            ("http://[::1]:8080", Reach::Local),
            ("https://localhost.example.com", Reach::Pinned),
        ] {
            assert_eq!(Reach::of(&origin.parse().unwrap()), reach, "{origin}");
        }
        for (reach, opener, pin) in
            [(Reach::Local, true, false), (Reach::Pinned, true, true), (Reach::Plain, false, false)]
        {
            let mut headers = HeaderMap::new();
            add(&mut headers, reach);
            assert_eq!(headers.contains_key("cross-origin-opener-policy"), opener, "{reach:?}");
            assert_eq!(headers.contains_key(STRICT_TRANSPORT_SECURITY), pin, "{reach:?}");
        }
    }

    #[test]
    fn what_a_handler_said_stands() {
        let mut headers = HeaderMap::new();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
        add(&mut headers, Reach::Local);
        assert_eq!(headers.get_all(REFERRER_POLICY).iter().collect::<Vec<_>>(), ["strict-origin"]);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
    }
}
