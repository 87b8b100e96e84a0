//! An open terminal of any of the ways that are compared, seen from its user's side.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pty_process::Pty;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Child,
    time::timeout,
};
use tokio_websockets::{Message, WebSocketStream};

use crate::browser::{Client, Event};

/// What the shell says when it waits for a command; nothing else that is run ends in it.
pub const PROMPT: &str = "ready> ";

/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The page acknowledges as often.
const ACKNOWLEDGE_EVERY: u64 = 32 * 1024;

/// A terminal.
pub enum Terminal {
    /// `ssh` on a pty of its own.
    Native { pty: Pty, ssh: Child, buffer: Vec<u8> },
    /// A session of the gateway.
    Gateway { client: Box<Client>, acknowledged: u64 },
    /// A WebSocket that takes `{"data": "…"}` and sends bytes.
    Webssh(WebSocketStream<TcpStream>),
    /// A WebSocket that takes and sends text.
    DjangoLike(WebSocketStream<TcpStream>),
}

impl Terminal {
    /// Types.
    pub async fn send(&mut self, input: &str) {
        match self {
            Self::Native { pty, .. } => pty.write_all(input.as_bytes()).await.unwrap(),
            Self::Gateway { client, .. } => client.input(input).await,
            Self::Webssh(socket) => {
                let message = serde_json::json!({ "data": input }).to_string();
                socket.send(Message::text(message)).await.unwrap();
            }
            Self::DjangoLike(socket) => socket.send(Message::text(input.to_owned())).await.unwrap(),
        }
    }

    /// The next piece of output. Whoever asks for it has consumed those before.
    pub async fn receive(&mut self) -> Bytes {
        timeout(PATIENCE, self.receive_patiently()).await.expect("output")
    }

    async fn receive_patiently(&mut self) -> Bytes {
        match self {
            Self::Native { pty, buffer, .. } => {
                let length = pty.read(buffer).await.unwrap();
                Bytes::copy_from_slice(&buffer[..length])
            }
            Self::Gateway { client, acknowledged } => {
                if client.received - *acknowledged >= ACKNOWLEDGE_EVERY {
                    client.acknowledge().await;
                    *acknowledged = client.received;
                }
                loop {
                    match client.next().await {
                        Event::Output(output) => return output,
                        Event::Ended(ended) => panic!("the session ended: {ended:?}"),
                        Event::Closed(close) => panic!("the connection was closed: {close:?}"),
                        _ => {}
                    }
                }
            }
            Self::Webssh(socket) | Self::DjangoLike(socket) => loop {
                let message = socket.next().await.expect("an open connection").unwrap();
                assert!(!message.is_close(), "the connection was closed: {message:?}");
                if message.is_binary() || message.is_text() {
                    return Bytes::from(message.into_payload());
                }
            },
        }
    }

    /// Reads until the shell waits for a command; returns how many bytes that were.
    pub async fn prompted(&mut self) -> usize {
        let mut watch = PromptWatch::default();
        while !watch.saw(&self.receive().await) {}
        watch.length
    }

    /// Runs a command and reads its output, until the shell waits for the next.
    pub async fn run(&mut self, command: &str) -> usize {
        self.send(&format!("{command}\r")).await;
        self.prompted().await
    }

    /// Tells that everything received was consumed.
    pub async fn settle(&mut self) {
        if let Self::Gateway { client, acknowledged } = self {
            client.acknowledge().await;
            *acknowledged = client.received;
        }
    }
}

/// Notices that a stream of output has come to a prompt.
#[derive(Default)]
pub struct PromptWatch {
    tail: Vec<u8>,
    length: usize,
}

impl PromptWatch {
    /// Takes the next piece; whether the output so far ends in a prompt.
    pub fn saw(&mut self, output: &[u8]) -> bool {
        self.length += output.len();
        self.tail.extend_from_slice(&output[output.len().saturating_sub(PROMPT.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(PROMPT.len()));
        self.tail == PROMPT.as_bytes()
    }
}

/// Takes output at a steady rate.
pub struct Pace {
    bytes_per_second: Option<f64>,
    began: Instant,
    taken: usize,
}

impl Pace {
    /// Begins now; `None` is as fast as it goes.
    pub fn new(bytes_per_second: Option<f64>) -> Self {
        Self { bytes_per_second, began: Instant::now(), taken: 0 }
    }

    /// Waits until so many more bytes are due to have been taken.
    pub async fn take(&mut self, length: usize) {
        self.taken += length;
        if let Some(rate) = self.bytes_per_second {
            let due = self.began + Duration::from_secs_f64(self.taken as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
