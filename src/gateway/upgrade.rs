//! The WebSocket handshake (RFC 6455, section 4.2). Pure: a request in, what to answer out.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap, Method, StatusCode, Version,
    header::{
        CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    http::request,
};
use sha1::{Digest as _, Sha1};

use super::terminal::Mode;
use crate::protocol::{KEY_SUBPROTOCOL, raw, v1};

/// What is appended to a key before it is hashed (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The mode in which a terminal is spoken to, and the subprotocol that is selected for it.
pub type Negotiated = (Mode, Option<&'static str>);

/// Why a request is no handshake we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a WebSocket request at all.
    #[error("this address speaks WebSocket only; its page is one level up")]
    NotWebSocket,
    /// Another version of the protocol.
    #[error("the version of WebSocket is not supported; use Sec-WebSocket-Version 13")]
    Version,
    /// A key that is missing or not 16 bytes in base64.
    #[error("the Sec-WebSocket-Key header is missing or not 16 bytes in base64")]
    Key,
    /// Only subprotocols that we do not speak.
    #[error("none of the offered subprotocols is supported; offer webshell.v1, or webshell.raw or none for raw bytes")]
    Subprotocol,
    /// One ping too many. It has a status of its own: what stands before us answers with 503 where it has nobody to pass a request to,
    /// and whoever proves a route must be able to tell the two apart.
    #[error("too many pings are under way; try again in some seconds")]
    TooManyPings,
}

impl Refusal {
    /// How it is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::TooManyPings => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// For metrics.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotWebSocket => "not-websocket",
            Self::Version => "version",
            Self::Key => "key",
            Self::Subprotocol => "subprotocol",
            Self::TooManyPings => "too-many-pings",
        }
    }
}

/// The value of `Sec-WebSocket-Accept` for a request that is a handshake.
///
/// # Errors
/// What the request lacks.
pub fn accept(request: &request::Parts) -> Result<HeaderValue, Refusal> {
    let headers = &request.headers;
    let is_websocket = request.method == Method::GET
        && request.version == Version::HTTP_11
        && list(headers, UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
        && list(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    if !is_websocket {
        return Err(Refusal::NotWebSocket);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    let bytes = BASE64_STANDARD.decode(key).map_err(|_| Refusal::Key)?;
    if bytes.len() != 16 {
        return Err(Refusal::Key);
    }
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    BASE64_STANDARD.encode(hash.finalize()).try_into().map_err(|_| Refusal::Key)
}

/// What the offered subprotocols come to: the client's first that is known counts.
///
/// # Errors
/// [`Refusal::Subprotocol`] where only unknown ones are offered.
pub fn mode(request: &request::Parts) -> Result<Negotiated, Refusal> {
    let raw = Mode::Raw { size: raw::size_from_query(request.uri.query().unwrap_or_default()) };
    let mut offers = list(&request.headers, SEC_WEBSOCKET_PROTOCOL).peekable();
    if offers.peek().is_none() {
        return Ok((raw, None));
    }
    let known = offers.find_map(|offer| match offer {
        v1::SUBPROTOCOL => Some((Mode::V1, Some(v1::SUBPROTOCOL))),
        raw::SUBPROTOCOL => Some((raw, Some(raw::SUBPROTOCOL))),
        _ => None,
    });
    known.ok_or(Refusal::Subprotocol)
}

/// The key of a log-in among the subprotocols.
pub fn key(headers: &HeaderMap) -> Option<&str> {
    list(headers, SEC_WEBSOCKET_PROTOCOL).find_map(|offer| offer.strip_prefix(KEY_SUBPROTOCOL))
}

/// The members of a header that is a list, over all its fields. A field that is not text counts as one empty member.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().flat_map(|field| field.to_str().unwrap_or_default().split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::v1::Size;

    fn request(headers: &[(&str, &str)]) -> request::Parts {
        let builder = Request::get("/demo/terminal/ws?cols=120&rows=40");
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn without(name: &str) -> request::Parts {
        let rest: Vec<_> = GOOD.into_iter().filter(|(n, _)| *n != name).collect();
        request(&rest)
    }

    fn with(name: &'static str, value: &'static str) -> request::Parts {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|(n, _)| *n != name).collect();
        headers.push((name, value));
        request(&headers)
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(&request(&GOOD)), Ok(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    }

    #[test]
    fn what_is_no_handshake_is_told_why() {
        assert_eq!(accept(&without("upgrade")), Err(Refusal::NotWebSocket));
        assert_eq!(accept(&with("upgrade", "h2c")), Err(Refusal::NotWebSocket));
        assert_eq!(accept(&without("connection")), Err(Refusal::NotWebSocket));
        assert_eq!(accept(&with("connection", "close")), Err(Refusal::NotWebSocket));
        assert_eq!(accept(&without("sec-websocket-version")), Err(Refusal::Version));
        assert_eq!(accept(&with("sec-websocket-version", "8")), Err(Refusal::Version));
        assert_eq!(accept(&without("sec-websocket-key")), Err(Refusal::Key));
        assert_eq!(accept(&with("sec-websocket-key", "c2hvcnQ=")), Err(Refusal::Key));
        assert_eq!(accept(&with("sec-websocket-key", "!!!")), Err(Refusal::Key));
        let mut old = request(&GOOD);
        old.version = Version::HTTP_10;
        assert_eq!(accept(&old), Err(Refusal::NotWebSocket));
        let mut post = request(&GOOD);
        post.method = Method::POST;
        assert_eq!(accept(&post), Err(Refusal::NotWebSocket));
    }

    #[test]
    fn the_subprotocol_chooses_the_mode() {
        let size = Size { cols: 120, rows: 40, ..Size::DEFAULT };
        assert_eq!(mode(&request(&GOOD)), Ok((Mode::Raw { size }, None)));
        for (offered, expected, selected) in [
            ("webshell.v1", Mode::V1, "webshell.v1"),
            ("tty, webshell.v1", Mode::V1, "webshell.v1"),
            ("webshell.key.00, webshell.v1", Mode::V1, "webshell.v1"),
            ("webshell.raw", Mode::Raw { size }, "webshell.raw"),
            ("webshell.raw, webshell.v1, webshell.key.00", Mode::Raw { size }, "webshell.raw"),
        ] {
            assert_eq!(mode(&with("sec-websocket-protocol", offered)), Ok((expected, Some(selected))), "{offered}");
        }
        for unknown in ["tty", "webshell.v2, v5.channel.k8s.io", "WEBSHELL.V1", "webshell.key.00", ""] {
            assert_eq!(mode(&with("sec-websocket-protocol", unknown)), Err(Refusal::Subprotocol), "{unknown:?}");
        }
    }

    #[test]
    fn a_key_comes_among_the_subprotocols() {
        let key_in = |offered| key(&with("sec-websocket-protocol", offered).headers).map(str::to_owned);
        assert_eq!(key_in("webshell.v1, webshell.key.0a1b"), Some("0a1b".to_owned()));
        assert_eq!(key_in("webshell.key."), Some(String::new()));
        assert_eq!(key_in("webshell.v1, webshell.keys"), None);
        assert_eq!(key(&request(&GOOD).headers), None);
    }

    proptest! {
        #[test]
        fn headers_of_any_bytes_are_answered(values in proptest::collection::vec(proptest::collection::vec(32u8.., 0..40), 5)) {
            let mut request = request(&[]);
            let names = [UPGRADE, CONNECTION, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL];
            for (name, value) in names.into_iter().zip(values) {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    request.headers.insert(name, value);
                }
            }
            prop_assert!(accept(&request).is_err());
            let _ = mode(&request);
        }
    }
}
