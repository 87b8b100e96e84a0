//! The ping that proves a route: `ping` is answered `pong!`, with a nonce by who answered.

/// The question with a nonce.
pub fn question(nonce: &str) -> String {
    format!("ping {nonce}")
}

/// Who gave the answer to a nonce, as `<namespace>/<instance>`, or `None` where it is no answer to it.
pub fn who_answered<'a>(text: &'a str, nonce: &str) -> Option<&'a str> {
    text.strip_prefix("pong! ")?.strip_prefix(nonce)?.strip_prefix(' ')
}

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
    use super::{answer, question, who_answered};

    #[test]
    fn bare_ping() {
        assert_eq!(answer("ping", "team-a/uid"), Some("pong!".to_owned()));
    }

    #[test]
    fn a_nonce_comes_back_with_who_answered() {
        assert_eq!(answer("ping a-Z_9", "team-a/uid"), Some("pong! a-Z_9 team-a/uid".to_owned()));
    }

    #[test]
    fn only_an_answer_to_the_nonce_tells_who_gave_it() {
        let text = answer(&question("n1"), "team-a/uid").unwrap();
        assert_eq!(who_answered(&text, "n1"), Some("team-a/uid"));
        for nonce in ["n", "n2", "n1 team-a/uid"] {
            assert_eq!(who_answered(&text, nonce), None, "{nonce}");
        }
        assert_eq!(who_answered("pong!", "n1"), None);
    }

    #[test]
    fn anything_else_is_no_ping() {
        let long = format!("ping {}", "x".repeat(65));
        for text in ["", "pong", "ping ", "ping a b", "ping \u{e9}", "ping <script>", "PING", &long] {
            assert_eq!(answer(text, "n/i"), None, "{text:?}");
        }
    }
}
