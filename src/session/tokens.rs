//! The tokens that resume a session. Pure but for the random numbers.

use std::fmt;

/// How many tokens may be out and unused: one for each of two browser tabs that take a session from each other.
const OUTSTANDING: usize = 2;

/// 128 random bits that let their holder, as the same user at the same shell, go on with a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// A new one; an error where the system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Token(bits))
    }

    /// Reads the 32 hexadecimal digits that [`Token::to_hex`] writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let well_formed = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| well_formed)?;
        Some(Token(bits.to_be_bytes()))
    }

    /// As 32 hexadecimal digits.
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A session's valid tokens.
///
/// Using a token issues the next, and the used one stays valid until a token issued since is used in its turn: a reply
/// that is lost on its way loses no session, and a tab whose session was taken over can take it back.
#[derive(Debug)]
pub struct Tokens {
    used: Option<Token>,
    outstanding: Vec<Token>,
}

impl Tokens {
    /// Begins with the token of the session's first welcome.
    pub fn new(first: Token) -> Self {
        Tokens { used: None, outstanding: vec![first] }
    }

    /// Uses `presented` and issues `next`; the tokens that are no longer valid are returned, or `None` where `presented` is not valid.
    pub fn rotate(&mut self, presented: Token, next: Token) -> Option<Vec<Token>> {
        let mut expired = Vec::new();
        if let Some(index) = self.outstanding.iter().position(|&token| token == presented) {
            self.outstanding.remove(index);
            expired.extend(self.used.replace(presented));
        } else if self.used != Some(presented) {
            return None;
        }
        if self.outstanding.len() == OUTSTANDING {
            expired.push(self.outstanding.remove(0));
        }
        self.outstanding.push(next);
        Some(expired)
    }

    /// Every valid token.
    pub fn all(&self) -> impl Iterator<Item = Token> {
        self.used.iter().chain(&self.outstanding).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u8) -> Token {
        Token([number; 16])
    }

    #[test]
    fn a_used_token_is_valid_until_its_successor_is_used() {
        let mut tokens = Tokens::new(token(1));
        assert_eq!(tokens.rotate(token(1), token(2)), Some(vec![]));
        assert_eq!(tokens.rotate(token(1), token(3)), Some(vec![]), "the reply with 2 was lost");
        assert_eq!(tokens.rotate(token(3), token(4)), Some(vec![token(1)]));
        assert_eq!(tokens.rotate(token(1), token(5)), None, "replayed");
    }

    #[test]
    fn two_tabs_can_take_the_session_from_each_other_for_ever() {
        let mut tokens = Tokens::new(token(1));
        let (mut mine, mut yours) = (token(1), token(1));
        for round in 0..50u8 {
            let next = token(2 + 2 * round);
            assert!(tokens.rotate(yours, next).is_some(), "round {round}");
            yours = next;
            let next = token(3 + 2 * round);
            assert!(tokens.rotate(mine, next).is_some(), "round {round}");
            mine = next;
            assert!(tokens.all().count() <= OUTSTANDING + 1);
        }
    }

    #[test]
    fn tokens_read_as_they_are_written() {
        let token = Token::random().unwrap();
        assert_eq!(Token::from_hex(&token.to_hex()), Some(token));
        for bad in ["", "0", &"g".repeat(32), &"0".repeat(33), "+0000000000000000000000000000000"] {
            assert_eq!(Token::from_hex(bad), None, "{bad}");
        }
        assert!(!format!("{token:?}").contains(&token.to_hex()));
    }
}
