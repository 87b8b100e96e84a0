//! The headers that every response carries.

use hyper::{
    HeaderMap,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use super::page;

/// The same for all responses.
const FIXED: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    // For browsers that do not know frame-ancestors.
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // What is not named stays with the page itself, among it the clipboard and the keyboard lock.
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()",
    ),
];

/// One year: what preload lists ask for, too.
const HSTS: &str = "max-age=31536000";

/// Adds the headers. What a handler has said on caching stands; otherwise nothing is stored. `hsts` pins the host to
/// HTTPS (RFC 6797), which is not for `localhost`: it has many services.
pub fn add(headers: &mut HeaderMap, hsts: bool) {
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}
