//! Which log-ins have ended at the portal: what a gateway asks, and the answer, which the portal signs like a ticket. Pure.
//!
//! The way between them is plain HTTP within the cluster. Whoever is on it must not be able to end a log-in, nor to make one live on by
//! an answer: an answer is of its own question only, of all of it. They can keep the two from speaking.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Keys, SignError, SigningKey};
use crate::hex;

/// The most log-ins that are asked of at once.
pub const MAX_ASKED: usize = 1024;

/// The longest question and the longest answer, in bytes: [`MAX_ASKED`] names with what is around them, and in base64.
pub const MAX_QUESTION: usize = 64 * 1024;
/// See [`MAX_QUESTION`].
pub const MAX_ANSWER: usize = 96 * 1024;

/// Tells what is signed from a ticket.
const CONTEXT: &str = "webshell-ended:";

/// Which log-ins of the portal's have ended?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Random, so that no answer from before is one to this.
    pub nonce: String,
    /// The portal's names for the log-ins.
    pub sids: BTreeSet<String>,
}

/// What the portal signs.
#[derive(Debug, Serialize, Deserialize)]
struct Statement {
    kid: String,
    iss: String,
    /// The question's SHA-256.
    question: String,
    ended: BTreeSet<String>,
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON of our kind.
    #[error("the body must be JSON such as {{\"nonce\": \"…\", \"sids\": [\"…\"]}}, in 32 hexadecimal digits each")]
    Form,
    /// It asks for too many.
    #[error("more than {MAX_ASKED} log-ins are asked of at once")]
    TooMany,
}

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is none.
    #[error("the answer is malformed")]
    Malformed,
    /// No portal says so, or its key is not known (yet, or any more).
    #[error("the answer is signed by an unknown key, or not at all")]
    Signature,
    /// It answers something else.
    #[error("the answer is not to this question")]
    Question,
}

impl Question {
    /// About these log-ins.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(sids: BTreeSet<String>) -> Result<Self, SignError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| SignError::Random)?;
        Ok(Self { nonce: hex::encode(&nonce), sids })
    }

    /// As it is sent.
    pub fn to_json(&self) -> String {
        // A structure of texts is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads one.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let question: Self = serde_json::from_slice(json).map_err(|_| Malformed::Form)?;
        match question.sids.len() {
            ..=MAX_ASKED if hex::is_128_bits(&question.nonce) && question.sids.iter().all(|sid| is_login_id(sid)) => {
                Ok(question)
            }
            ..=MAX_ASKED => Err(Malformed::Form),
            _ => Err(Malformed::TooMany),
        }
    }
}

impl SigningKey {
    /// Answers a question, given in its own bytes, as the portal of this origin.
    ///
    /// # Errors
    /// None are expected.
    pub fn tell_ended(&self, issuer: &str, question: &[u8], ended: BTreeSet<String>) -> Result<String, SignError> {
        let question = hex::encode(&Sha256::digest(question));
        let statement = Statement { kid: self.kid.clone(), iss: issuer.to_owned(), question, ended };
        let json = serde_json::to_vec(&statement).map_err(|_| SignError::TooLarge)?;
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
        let signature = self.pair.sign(format!("{CONTEXT}{payload}").as_bytes());
        Ok(format!("{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Whether a text can be the portal's name for a log-in: 32 hexadecimal digits, in lower case.
pub fn is_login_id(text: &str) -> bool {
    hex::is_128_bits(text)
}

/// The log-ins that have ended, by an answer (a line) to the question that was sent in these bytes.
///
/// # Errors
/// Says why the answer is not believed.
pub fn read_ended(answer: &str, keys: &Keys, issuer: &str, question: &[u8]) -> Result<BTreeSet<String>, AnswerError> {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| AnswerError::Malformed);
    let (payload, signature) = answer.trim_end().split_once('.').ok_or(AnswerError::Malformed)?;
    let statement: Statement = serde_json::from_slice(&decode(payload)?).map_err(|_| AnswerError::Malformed)?;
    let key = keys.0.get(&statement.kid).ok_or(AnswerError::Signature)?;
    let signed = format!("{CONTEXT}{payload}");
    let verified = UnparsedPublicKey::new(&ED25519, &key.public).verify(signed.as_bytes(), &decode(signature)?);
    verified.map_err(|_| AnswerError::Signature)?;
    if statement.iss != issuer || statement.question != hex::encode(&Sha256::digest(question)) {
        return Err(AnswerError::Question);
    }
    Ok(statement.ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ticket::{Expected, Invalid, Order, tests::known as keys, verify};

    const PORTAL: &str = "https://shell.example.com";

    fn sids(names: &[u128]) -> BTreeSet<String> {
        names.iter().map(|name| format!("{name:032x}")).collect()
    }

    #[test]
    fn an_answer_is_believed_for_its_own_question_from_the_portal_only() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let question = Question::new(sids(&[1, 2])).unwrap().to_json();
        let asked = Question::parse(question.as_bytes()).unwrap().sids;
        assert_eq!(asked, sids(&[1, 2]));
        let answer = key.tell_ended(PORTAL, question.as_bytes(), sids(&[2])).unwrap();
        let read = |answer: &str, keys: &Keys, question: &str| read_ended(answer, keys, PORTAL, question.as_bytes());
        assert_eq!(read(&format!("{answer}\n"), &keys(&[&key]), &question), Ok(sids(&[2])));
        // Somebody on the way repeats an answer, or asks for less than the gateway did.
        let again = Question::new(sids(&[1, 2])).unwrap().to_json();
        let less = Question { sids: sids(&[1]), ..Question::parse(question.as_bytes()).unwrap() }.to_json();
        for other in [&again, &less] {
            assert_eq!(read(&answer, &keys(&[&key]), other), Err(AnswerError::Question));
        }
        assert_eq!(
            read_ended(&answer, &keys(&[&key]), "https://other", question.as_bytes()),
            Err(AnswerError::Question)
        );
        assert_eq!(read(&answer, &keys(&[&other]), &question), Err(AnswerError::Signature));
        let (payload, signature) = answer.split_once('.').unwrap();
        let forged = other.tell_ended(PORTAL, question.as_bytes(), sids(&[1])).unwrap();
        let theirs = forged.split_once('.').unwrap().0;
        assert_eq!(
            read(&format!("{theirs}.{signature}"), &keys(&[&key, &other]), &question),
            Err(AnswerError::Signature)
        );
        for none in ["", ".", payload, &format!("{payload}."), "{}.x"] {
            assert!(read(none, &keys(&[&key]), &question).is_err(), "{none}");
        }
    }

    #[test]
    fn an_answer_is_no_ticket_and_a_ticket_no_answer() {
        let key = SigningKey::generate().unwrap();
        let answer = key.tell_ended(PORTAL, b"{}", sids(&[1])).unwrap();
        let expected = Expected { issuer: PORTAL, namespace: "team-a", nonce: "n" };
        assert_eq!(verify(&answer, &keys(&[&key]), expected, 0), Err(Invalid::Malformed));
        let user = crate::user::User { name: "ada".into(), ..Default::default() };
        let order = Order { issuer: PORTAL, namespace: "team-a", user: &user, nonce: "n", until: 60, sid: "s" };
        let ticket = key.sign(order, 0).unwrap();
        assert_eq!(read_ended(&ticket, &keys(&[&key]), PORTAL, b"{}"), Err(AnswerError::Malformed));
    }

    #[test]
    fn questions_and_answers_keep_to_their_bounds() {
        let many = sids(&(0..MAX_ASKED as u128).collect::<Vec<_>>());
        let question = Question::new(many.clone()).unwrap().to_json();
        assert!(question.len() <= MAX_QUESTION && Question::parse(question.as_bytes()).is_ok());
        let key = SigningKey::generate().unwrap();
        assert!(key.tell_ended(PORTAL, question.as_bytes(), many).unwrap().len() <= MAX_ANSWER);
        let more = Question::new(sids(&(0..=MAX_ASKED as u128).collect::<Vec<_>>())).unwrap().to_json();
        assert_eq!(Question::parse(more.as_bytes()), Err(Malformed::TooMany));
        let nonce = "0".repeat(32);
        for body in [
            json!({}),
            json!([]),
            json!({"nonce": "", "sids": []}),
            json!({"nonce": nonce, "sids": ["ada"]}),
            json!({"nonce": nonce, "sids": {}}),
            json!({"nonce": nonce, "sids": [7]}),
        ] {
            assert_eq!(Question::parse(body.to_string().as_bytes()), Err(Malformed::Form), "{body}");
        }
    }
}
