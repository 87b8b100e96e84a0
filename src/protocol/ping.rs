//! The ping that proves a route: `ping` is answered `pong!`, with a nonce by who answered.

/// A nonce's greatest length in characters.
const MAX_NONCE: usize = 64;

/// The answer to a text message, or `None` where it is not a ping. `identity` is `<namespace>/<instance>`.
pub fn answer(text: &str, identity: &str) -> Option<String> {
    if text == "ping" {
        return Some("pong!".to_owned());
    }
    let nonce = text.strip_prefix("ping ")?;
    let well_formed = (1..=MAX_NONCE).contains(&nonce.len())
        && nonce.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    well_formed.then(|| format!("pong! {nonce} {identity}"))
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn bare_ping() {
        assert_eq!(answer("ping", "team-a/uid"), Some("pong!".to_owned()));
    }

    #[test]
    fn a_nonce_comes_back_with_who_answered() {
        assert_eq!(answer("ping a-Z_9", "team-a/uid"), Some("pong! a-Z_9 team-a/uid".to_owned()));
    }

    #[test]
    fn anything_else_is_no_ping() {
        let long = format!("ping {}", "x".repeat(65));
        for text in ["", "pong", "ping ", "ping a b", "ping \u{e9}", "ping <script>", "PING", &long] {
            assert_eq!(answer(text, "n/i"), None, "{text:?}");
        }
    }
}
