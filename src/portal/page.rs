//! The page that carries a ticket to a gateway: a form that sends itself. Pure.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY},
};
use sha2::{Digest as _, Sha256};

use crate::gateway::{
    http::{self, Answer},
    page::{bare, escape},
};

/// Sends the form. Without scripts, its button does.
const SCRIPT: &str = "document.forms[0].submit()";

/// How a policy names [`SCRIPT`], by its hash.
static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| BASE64_STANDARD.encode(Sha256::digest(SCRIPT)));

/// The page that posts `ticket` to the gateway of `namespace` at `origin`, and opens `shell` there. `None` where an address is
/// no header's value.
///
/// With `no-referrer`, browsers would send the form with `Origin: null`, which a gateway refuses. The policy names the portal too,
/// because browsers hold redirects against it: a gateway that has just taken another's place sends its users back here.
pub fn ticket(origin: &str, namespace: &str, shell: Option<&str>, ticket: &str) -> Option<Answer> {
    let shell = shell.map(|name| format!("<input type=\"hidden\" name=\"shell\" value=\"{}\">", escape(name)));
    let content = format!(
        "<p>You are logged in, and go on to namespace {namespace}.</p>\
         <form method=\"post\" action=\"{origin}/{namespace}/-/session\">\
         <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">{}<button>Go on</button></form>\
         <script>{SCRIPT}</script>",
        shell.unwrap_or_default(),
        namespace = escape(namespace),
        origin = escape(origin),
        ticket = escape(ticket),
    );
    let mut answer = http::html(StatusCode::OK, bare("Opening your shell", &content));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'unsafe-inline'; base-uri 'none'; \
         form-action 'self' {origin}; frame-ancestors 'none'",
        *SCRIPT_HASH
    );
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.try_into().ok()?);
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_form_goes_to_the_gateway_and_nowhere_else() {
        let answer = ticket("https://team-a.shell.example.com", "team-a", Some("db-1"), "e30.AAAA").unwrap();
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.contains("; form-action 'self' https://team-a.shell.example.com; "), "{policy}");
        assert!(policy.contains(&format!("script-src 'sha256-{}';", BASE64_STANDARD.encode(Sha256::digest(SCRIPT)))));
        assert_eq!(answer.headers()[REFERRER_POLICY], "strict-origin");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8(body.to_vec()).unwrap();
        for part in [
            "action=\"https://team-a.shell.example.com/team-a/-/session\"",
            "name=\"ticket\" value=\"e30.AAAA\"",
            "name=\"shell\" value=\"db-1\"",
            "<button>Go on</button>",
            &format!("<script>{SCRIPT}</script>"),
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
