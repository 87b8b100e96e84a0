//! The codec of `webshell.v1`: a tag byte, then the body.
//!
//! Both directions can be encoded and decoded, so that clients in Rust need no codec of their own.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::Reason;

/// The WebSocket subprotocol's name.
pub const SUBPROTOCOL: &str = "webshell.v1";
/// The largest frame a client may send, in bytes, its tag included.
pub const MAX_CLIENT_FRAME: usize = 64 * 1024;
/// How many columns or rows a terminal may have: more is a mistake, and costs the programs on the far side memory.
pub const MAX_CELLS: u16 = 10_000;

const HELLO: u8 = 0x01;
const INPUT: u8 = 0x02;
const CLIENT_ACK: u8 = 0x03;
const RESIZE: u8 = 0x04;
const ANSWER: u8 = 0x05;
const END: u8 = 0x06;
const WELCOME: u8 = 0x81;
const OUTPUT: u8 = 0x82;
const SERVER_ACK: u8 = 0x83;
const STATE: u8 = 0x84;
const PROMPT: u8 = 0x85;
const NOTICE: u8 = 0x86;
const ENDED: u8 = 0x87;

/// A message that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// A message without even a tag.
    #[error("empty message")]
    Empty,
    /// A tag that nobody defined.
    #[error("unknown tag {0:#04x}")]
    UnknownTag(u8),
    /// A body that does not fit its tag.
    #[error("malformed {0}")]
    Body(&'static str),
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns, 1 to [`MAX_CELLS`].
    pub cols: u16,
    /// Rows, 1 to [`MAX_CELLS`].
    pub rows: u16,
    /// Width in pixels, 0 when not known.
    #[serde(default)]
    pub width: u16,
    /// Height in pixels, 0 when not known.
    #[serde(default)]
    pub height: u16,
}

impl Size {
    /// What a terminal has when nobody says otherwise.
    pub const DEFAULT: Size = Size { cols: 80, rows: 24, width: 0, height: 0 };

    /// Whether columns and rows are within bounds.
    pub fn is_valid(self) -> bool {
        (1..=MAX_CELLS).contains(&self.cols) && (1..=MAX_CELLS).contains(&self.rows)
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The terminal's size.
    #[serde(flatten)]
    pub size: Size,
    /// Which session to go on with; none begins one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Asks for an earlier session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The token of the session's latest welcome.
    pub token: String,
    /// The output position to go on from.
    pub received: u64,
}

/// Answers to a prompt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The prompt's id.
    pub id: u64,
    /// An answer for each question; none cancels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<String>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Begins or resumes a session.
    Hello(Hello),
    /// Bytes for the shell.
    Input(&'a [u8]),
    /// The output position reached.
    Ack(u64),
    /// The window changed.
    Resize(Size),
    /// Answers a prompt.
    Answer(Answer),
    /// Ends the session.
    End,
}

/// The server's answer to hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Names the session in logs.
    pub session: String,
    /// Resumes the session.
    pub token: String,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// The position of the next output byte.
    pub output: u64,
    /// The position up to which input has arrived.
    pub input: u64,
    /// How many bytes of input may be unacknowledged.
    pub input_window: u64,
    /// Whether the shell may write to the clipboard (OSC 52).
    pub clipboard_write: bool,
}

/// What is happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// On the way to the shell.
    Connecting {
        /// How far.
        step: Step,
    },
    /// The shell runs.
    Connected,
}

/// How far the way to the shell has been gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Resolving the host's name.
    Resolve,
    /// Connecting by TCP.
    Dial,
    /// Exchanging keys and checking the host's.
    Handshake,
    /// Proving who we are.
    Authenticate,
    /// Opening the shell.
    Open,
}

/// Questions for the user (RFC 4256).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// To be repeated in the answer.
    pub id: u64,
    /// Who asks, as `user@host`: said by the gateway. All that follows is the machine's own text, which may say anything.
    pub asker: String,
    /// A title, may be empty.
    pub name: String,
    /// What to do, may be empty; of several lines.
    pub instruction: String,
    /// The questions.
    pub prompts: Vec<PromptLine>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptLine {
    /// What to ask.
    pub text: String,
    /// Whether the answer may be shown.
    pub echo: bool,
}

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// The session ends for lack of input.
    Idle,
    /// The session reaches its longest duration.
    Maximum,
    /// Another connection continued the session.
    TakenOver,
    /// The gateway will stop.
    Draining,
    /// A key was learned, or is not checked.
    HostKey,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// Until it happens; 0 takes the notice back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// A sentence for a person.
    pub message: String,
}

/// The host key that a session failed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKeyReport {
    /// Fingerprint of the key the host has.
    pub presented: String,
    /// Fingerprints of the keys it should have.
    pub expected: Vec<String>,
    /// A known_hosts line for the presented key.
    pub line: String,
}

/// The last message of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// Its close code.
    pub code: u16,
    /// The exit status, where the shell had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// The signal that ended the shell, without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// A sentence for a person.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The host key it failed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<HostKeyReport>,
}

impl Ended {
    /// An end without anything special.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Ended {
            reason,
            code: reason.code(),
            status: None,
            signal: None,
            message: message.into(),
            hint: None,
            host_key: None,
        }
    }
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// Answers hello.
    Welcome(Welcome),
    /// Bytes from the shell.
    Output(&'a [u8]),
    /// The input position handed to the shell.
    Ack(u64),
    /// What is happening.
    State(State),
    /// Questions for the user.
    Prompt(Prompt),
    /// Something to know.
    Notice(Notice),
    /// The session's end.
    Ended(Ended),
}

// === impl ClientMessage ===

impl<'a> ClientMessage<'a> {
    /// Reads a binary message.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let (&tag, body) = message.split_first().ok_or(Malformed::Empty)?;
        match tag {
            HELLO => {
                let hello: Hello = json(body, "hello")?;
                if hello.size.is_valid() { Ok(Self::Hello(hello)) } else { Err(Malformed::Body("hello")) }
            }
            INPUT if body.is_empty() => Err(Malformed::Body("input")),
            INPUT => Ok(Self::Input(body)),
            CLIENT_ACK => position(body).map(Self::Ack),
            RESIZE => resize(body).map(Self::Resize),
            ANSWER => json(body, "answer").map(Self::Answer),
            END if body.is_empty() => Ok(Self::End),
            END => Err(Malformed::Body("end")),
            tag => Err(Malformed::UnknownTag(tag)),
        }
    }

    /// Writes a binary message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello(hello) => tagged_json(HELLO, hello),
            Self::Input(bytes) => tagged(INPUT, bytes),
            Self::Ack(position) => tagged(CLIENT_ACK, &position.to_be_bytes()),
            Self::Resize(size) => {
                let mut message = BytesMut::with_capacity(9);
                message.put_u8(RESIZE);
                for number in [size.cols, size.rows, size.width, size.height] {
                    message.put_u16(number);
                }
                message.freeze()
            }
            Self::Answer(answer) => tagged_json(ANSWER, answer),
            Self::End => tagged(END, &[]),
        }
    }
}

// === impl ServerMessage ===

impl<'a> ServerMessage<'a> {
    /// Reads a binary message.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let (&tag, body) = message.split_first().ok_or(Malformed::Empty)?;
        match tag {
            WELCOME => json(body, "welcome").map(Self::Welcome),
            OUTPUT => Ok(Self::Output(body)),
            SERVER_ACK => position(body).map(Self::Ack),
            STATE => json(body, "state").map(Self::State),
            PROMPT => json(body, "prompt").map(Self::Prompt),
            NOTICE => json(body, "notice").map(Self::Notice),
            ENDED => json(body, "ended").map(Self::Ended),
            tag => Err(Malformed::UnknownTag(tag)),
        }
    }

    /// Writes a binary message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Welcome(welcome) => tagged_json(WELCOME, welcome),
            Self::Output(bytes) => tagged(OUTPUT, bytes),
            Self::Ack(position) => tagged(SERVER_ACK, &position.to_be_bytes()),
            Self::State(state) => tagged_json(STATE, state),
            Self::Prompt(prompt) => tagged_json(PROMPT, prompt),
            Self::Notice(notice) => tagged_json(NOTICE, notice),
            Self::Ended(ended) => tagged_json(ENDED, ended),
        }
    }
}

/// An output message still without its bytes: the pump copies them from the replay buffer straight behind the tag.
pub fn begin_output(capacity: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(1 + capacity);
    message.put_u8(OUTPUT);
    message
}

fn tagged(tag: u8, body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + body.len());
    message.put_u8(tag);
    message.put_slice(body);
    message.freeze()
}

fn tagged_json(tag: u8, body: &impl Serialize) -> Bytes {
    // Our own types have string keys and no fallible serializers, so this cannot fail; an empty body would be refused as malformed.
    tagged(tag, &serde_json::to_vec(body).unwrap_or_default())
}

fn json<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::Body(what))
}

fn position(body: &[u8]) -> Result<u64, Malformed> {
    body.try_into().map(u64::from_be_bytes).map_err(|_| Malformed::Body("ack"))
}

fn resize(body: &[u8]) -> Result<Size, Malformed> {
    let &[a, b, c, d, e, f, g, h] = body else { return Err(Malformed::Body("resize")) };
    let [cols, rows, width, height] = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes);
    let size = Size { cols, rows, width, height };
    if size.is_valid() { Ok(size) } else { Err(Malformed::Body("resize")) }
}

#[cfg(test)]
mod tests;
