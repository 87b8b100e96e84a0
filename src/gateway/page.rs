//! Stand-in.
use bytes::Bytes;

/// CSP.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Page.
pub fn page(base: &str) -> Bytes {
    Bytes::from(format!("<!doctype html><base href=\"{base}\">"))
}

/// Asset.
pub fn asset(path: &str) -> Option<(&'static str, Bytes)> {
    (path == "x.js").then(|| ("text/javascript", Bytes::new()))
}
