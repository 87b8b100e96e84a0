//! Messages survive the wire, and malformed ones are refused by name.

use proptest::prelude::*;

use super::*;

fn sizes() -> impl Strategy<Value = Size> {
    (1..=MAX_CELLS, 1..=MAX_CELLS, any::<u16>(), any::<u16>()).prop_map(|(cols, rows, width, height)| Size {
        cols,
        rows,
        width,
        height,
    })
}

proptest! {
    #[test]
    fn client_messages_survive_the_wire(
        bytes in proptest::collection::vec(any::<u8>(), 1..300), position in any::<u64>(), size in sizes(),
        token in "[0-9a-f]{32}", id in any::<u64>(), answers in proptest::option::of(proptest::collection::vec(".*", 0..4)),
        resume in any::<bool>(),
    ) {
        let resume = resume.then_some(Resume { token, received: position });
        for message in [
            ClientMessage::Hello(Hello { size, resume }),
            ClientMessage::Input(&bytes),
            ClientMessage::Ack(position),
            ClientMessage::Resize(size),
            ClientMessage::Answer(Answer { id, answers: answers.clone() }),
            ClientMessage::End,
        ] {
            let encoded = message.encode();
            prop_assert_eq!(ClientMessage::decode(&encoded), Ok(message));
        }
    }

    #[test]
    fn server_messages_survive_the_wire(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), position in any::<u64>(), text in ".*", flag in any::<bool>(),
        seconds in proptest::option::of(any::<u64>()), status in proptest::option::of(any::<u32>()),
    ) {
        for message in [
            ServerMessage::Welcome(Welcome {
                session: text.clone(), token: text.clone(), resumed: flag, output: position, input: position,
                input_window: position, clipboard_write: flag,
            }),
            ServerMessage::Output(&bytes),
            ServerMessage::Ack(position),
            ServerMessage::State(State::Connecting { step: Step::Handshake }),
            ServerMessage::State(State::Connected),
            ServerMessage::Prompt(Prompt {
                id: position, asker: text.clone(), name: text.clone(), instruction: text.clone(),
                prompts: vec![PromptLine { text: text.clone(), echo: flag }],
            }),
            ServerMessage::Notice(Notice { kind: NoticeKind::TakenOver, seconds, message: text.clone() }),
            ServerMessage::Ended(Ended { status, ..Ended::new(Reason::HostKeyChanged, text.clone()) }),
        ] {
            let encoded = message.encode();
            prop_assert_eq!(ServerMessage::decode(&encoded), Ok(message));
        }
    }

    #[test]
    fn no_bytes_make_the_decoders_fail_badly(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = ClientMessage::decode(&bytes);
        let _ = ServerMessage::decode(&bytes);
    }
}

#[test]
fn bodies_that_do_not_fit_are_refused_by_name() {
    for (message, error) in [
        (&b""[..], Malformed::Empty),
        (b"\x07", Malformed::UnknownTag(7)),
        (b"\x81{}", Malformed::UnknownTag(0x81)),
        (b"\x01{}", Malformed::Body("hello")),
        (b"\x01{\"cols\":0,\"rows\":1}", Malformed::Body("hello")),
        (b"\x01{\"cols\":80,\"rows\":10001}", Malformed::Body("hello")),
        (b"\x02", Malformed::Body("input")),
        (b"\x03\0\0\0\0\0\0\0", Malformed::Body("ack")),
        (b"\x03\0\0\0\0\0\0\0\0\0", Malformed::Body("ack")),
        (b"\x04\0\x50\0\x18\0\0\0", Malformed::Body("resize")),
        (b"\x04\0\0\0\x18\0\0\0\0", Malformed::Body("resize")),
        (b"\x05{\"answers\":[]}", Malformed::Body("answer")),
        (b"\x06x", Malformed::Body("end")),
    ] {
        assert_eq!(ClientMessage::decode(message), Err(error), "{message:?}");
    }
}

#[test]
fn a_hello_reads_as_specified() {
    let text = br#"{"cols": 80, "rows": 24, "width": 640, "height": 384, "later": true, "resume": {"token": "0f", "received": 81233}}"#;
    let message = [&[HELLO][..], text].concat();
    let Ok(ClientMessage::Hello(hello)) = ClientMessage::decode(&message) else { panic!("no hello") };
    assert_eq!(hello.size, Size { cols: 80, rows: 24, width: 640, height: 384 });
    assert_eq!(hello.resume, Some(Resume { token: "0f".to_owned(), received: 81233 }));
}

#[test]
fn states_read_as_specified() {
    let encoded = ServerMessage::State(State::Connecting { step: Step::Dial }).encode();
    assert_eq!(&encoded[1..], br#"{"state":"connecting","step":"dial"}"#);
    assert_eq!(&ServerMessage::State(State::Connected).encode()[1..], br#"{"state":"connected"}"#);
}

#[test]
fn answers_are_not_shown_in_debug_output() {
    let answer = Answer { id: 1, answers: Some(vec!["hunter2".to_owned()]) };
    assert!(!format!("{:?}", ClientMessage::Answer(answer)).contains("hunter2"));
}
