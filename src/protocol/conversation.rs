//! The rules of a `webshell.v1` connection, as the server keeps them: what may come when, and how far an ack may go.

use thiserror::Error;

use super::v1::{ClientMessage, Malformed};

/// What a client did that the protocol forbids; the text becomes the close reason of a 1002.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Misuse {
    /// Not a message at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Text where everything is binary.
    #[error("text frame: webshell.v1 is binary")]
    Text,
    /// Something else came first.
    #[error("the first message must be hello")]
    BeforeHello,
    /// There is one hello a connection.
    #[error("second hello")]
    SecondHello,
    /// An acknowledgement of bytes that were never sent.
    #[error("ack of {position}, but only {sent} sent")]
    AckBeyondSent {
        /// What was acknowledged.
        position: u64,
        /// What had been sent.
        sent: u64,
    },
    /// Acknowledgements never take anything back.
    #[error("ack of {position} behind an earlier {acked}")]
    AckBackwards {
        /// What was acknowledged.
        position: u64,
        /// What had been acknowledged before.
        acked: u64,
    },
    /// An answer that nobody asked for.
    #[error("answer to no open prompt")]
    UnaskedAnswer,
}

/// One connection's state.
#[derive(Debug, Default)]
pub struct Conversation {
    greeted: bool,
    sent: u64,
    acked: u64,
    asked: Option<u64>,
}

impl Conversation {
    /// Reads the client's next message and holds it against the rules.
    pub fn receive<'a>(&mut self, message: &'a [u8]) -> Result<ClientMessage<'a>, Misuse> {
        let message = ClientMessage::decode(message)?;
        match (&message, self.greeted) {
            (ClientMessage::Hello(_), false) => self.greeted = true,
            (ClientMessage::Hello(_), true) => return Err(Misuse::SecondHello),
            (_, false) => return Err(Misuse::BeforeHello),
            (&ClientMessage::Ack(position), true) => self.acknowledge(position)?,
            (ClientMessage::Answer(answer), true) if self.asked.take() != Some(answer.id) => {
                return Err(Misuse::UnaskedAnswer);
            }
            _ => {}
        }
        Ok(message)
    }

    /// Notes the output position that the welcome named.
    pub fn welcomed(&mut self, output: u64) {
        self.sent = output;
        self.acked = output;
    }

    /// Notes that output up to `position` was sent.
    pub fn sent(&mut self, position: u64) {
        self.sent = position;
    }

    /// Notes that a prompt was sent.
    pub fn asked(&mut self, id: u64) {
        self.asked = Some(id);
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), Misuse> {
        if position > self.sent {
            return Err(Misuse::AckBeyondSent { position, sent: self.sent });
        }
        if position < self.acked {
            return Err(Misuse::AckBackwards { position, acked: self.acked });
        }
        self.acked = position;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::v1::{Answer, Hello, Size},
        *,
    };

    fn greeted() -> Conversation {
        let mut conversation = Conversation::default();
        conversation.receive(&ClientMessage::Hello(Hello { size: Size::DEFAULT, resume: None }).encode()).unwrap();
        conversation
    }

    #[test]
    fn hello_comes_first_and_once() {
        for early in [
            ClientMessage::Ack(0),
            ClientMessage::Input(b"x"),
            ClientMessage::End,
            ClientMessage::Resize(Size::DEFAULT),
        ] {
            assert_eq!(Conversation::default().receive(&early.encode()), Err(Misuse::BeforeHello));
        }
        let hello = ClientMessage::Hello(Hello { size: Size::DEFAULT, resume: None });
        assert_eq!(greeted().receive(&hello.encode()), Err(Misuse::SecondHello));
    }

    #[test]
    fn an_answer_needs_its_question() {
        let answer = |id| ClientMessage::Answer(Answer { id, answers: None }).encode();
        let mut conversation = greeted();
        assert_eq!(conversation.receive(&answer(1)), Err(Misuse::UnaskedAnswer));
        conversation.asked(1);
        assert_eq!(conversation.receive(&answer(2)), Err(Misuse::UnaskedAnswer));
        conversation.asked(2);
        assert!(conversation.receive(&answer(2)).is_ok());
        assert_eq!(conversation.receive(&answer(2)), Err(Misuse::UnaskedAnswer), "answered twice");
    }

    proptest! {
        #[test]
        fn acks_move_forward_within_what_was_sent(start in 0u64..1000, sent in 0u64..1000, acks in proptest::collection::vec(0u64..3000, 1..20)) {
            let mut conversation = greeted();
            conversation.welcomed(start);
            conversation.sent(start + sent);
            let mut acked = start;
            for position in acks {
                let result = conversation.receive(&ClientMessage::Ack(position).encode()).map(|_| ());
                if position > start + sent {
                    prop_assert_eq!(result, Err(Misuse::AckBeyondSent { position, sent: start + sent }));
                } else if position < acked {
                    prop_assert_eq!(result, Err(Misuse::AckBackwards { position, acked }));
                } else {
                    prop_assert_eq!(result, Ok(()));
                    acked = position;
                }
            }
        }
    }
}
