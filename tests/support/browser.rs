//! A client of `webshell.v1`, as a browser's page would be one, for tests and benchmarks.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_websockets::{ClientBuilder, Error, Message, WebSocketStream};
use webshell::protocol::v1::{
    ClientMessage, Ended, Hello, Notice, Prompt, Resume, ServerMessage, Size, State, Welcome,
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub welcome: Welcome,
    /// The output position received.
    pub received: u64,
    /// The input position acknowledged.
    pub acknowledged: u64,
}

/// What a server sent, apart from output positions and acknowledgements, which the client keeps itself.
#[derive(Debug)]
pub enum Event {
    Output(Bytes),
    Ack(u64),
    State(State),
    Prompt(Prompt),
    Notice(Notice),
    Ended(Ended),
    /// The connection was closed with this code and reason.
    Closed(Option<(u16, String)>),
}

/// Where a gateway's WebSockets are.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub path: String,
    /// Of the page; the address's own without it.
    pub origin: Option<String>,
    /// Sent where there is one.
    pub cookie: Option<String>,
}

// === impl Endpoint ===

impl Endpoint {
    /// The WebSocket of one shell.
    pub fn shell(address: SocketAddr, namespace: &str, name: &str) -> Self {
        Endpoint { address, path: format!("/{namespace}/{name}/ws"), origin: None, cookie: None }
    }

    /// Connects, offering `subprotocol`.
    pub async fn connect(&self, subprotocol: Option<&str>) -> Result<WebSocketStream<TcpStream>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let uri = format!("ws://{}{}", self.address, self.path);
        let header = |name: &'static str, value: &str| (name.parse().unwrap(), value.parse().unwrap());
        let origin = self.origin.clone().unwrap_or_else(|| format!("http://{}", self.address));
        let mut headers = vec![header("origin", &origin)];
        headers.extend(subprotocol.map(|name| header("sec-websocket-protocol", name)));
        headers.extend(self.cookie.as_deref().map(|cookie| header("cookie", cookie)));
        let mut builder = ClientBuilder::new().uri(&uri).expect("a valid URI");
        for (name, value) in headers {
            builder = builder.add_header(name, value)?;
        }
        Ok(builder.connect_on(stream).await?.0)
    }

    /// Begins a session.
    pub async fn open(&self) -> Client {
        self.hello(Hello { size: Size::DEFAULT, resume: None }).await.expect("a session")
    }

    /// Goes on with a session.
    pub async fn resume(&self, token: &str, received: u64) -> Result<Client, Event> {
        let resume = Some(Resume { token: token.to_owned(), received });
        self.hello(Hello { size: Size::DEFAULT, resume }).await
    }

    /// Connects and says hello; what came instead of a welcome otherwise.
    pub async fn hello(&self, hello: Hello) -> Result<Client, Event> {
        Client::begin(self.connect(Some("webshell.v1")).await.expect("a WebSocket"), hello).await
    }
}

fn closed(message: Option<Result<Message, Error>>) -> Event {
    let close = message.and_then(Result::ok);
    Event::Closed(close.and_then(|m| m.as_close().map(|(code, reason)| (u16::from(code), reason.to_owned()))))
}

// === impl Client ===

impl Client {
    /// Says hello; what came instead of a welcome otherwise.
    pub async fn begin(mut socket: WebSocketStream<TcpStream>, hello: Hello) -> Result<Self, Event> {
        socket.send(Message::binary(ClientMessage::Hello(hello).encode())).await.expect("hello is sent");
        let message = match timeout(PATIENCE, socket.next()).await.expect("an answer to hello") {
            Some(Ok(message)) if message.is_binary() => message,
            other => return Err(closed(other)),
        };
        match ServerMessage::decode(message.as_payload()).unwrap() {
            ServerMessage::Welcome(welcome) => {
                let (received, acknowledged) = (welcome.output, welcome.input);
                Ok(Client { socket, welcome, received, acknowledged })
            }
            ServerMessage::Ended(ended) => Err(Event::Ended(ended)),
            other => panic!("instead of a welcome came {other:?}"),
        }
    }

    /// The next thing that came.
    pub async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.next_patiently()).await.expect("something came")
    }

    async fn next_patiently(&mut self) -> Event {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) if message.is_binary() => Bytes::from(message.into_payload()),
                Some(Ok(message)) if message.is_ping() || message.is_pong() => continue,
                other => return closed(other),
            };
            return match ServerMessage::decode(&message).unwrap() {
                ServerMessage::Output(output) => {
                    self.received += output.len() as u64;
                    Event::Output(message.slice_ref(output))
                }
                ServerMessage::Ack(position) => {
                    self.acknowledged = position;
                    Event::Ack(position)
                }
                ServerMessage::State(state) => Event::State(state),
                ServerMessage::Prompt(prompt) => Event::Prompt(prompt),
                ServerMessage::Notice(notice) => Event::Notice(notice),
                ServerMessage::Ended(ended) => Event::Ended(ended),
                ServerMessage::Welcome(_) => panic!("a second welcome"),
            };
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: ClientMessage<'_>) -> Result<(), Error> {
        self.socket.send(Message::binary(message.encode())).await
    }

    /// Types.
    pub async fn input(&mut self, input: impl AsRef<[u8]>) {
        self.send(ClientMessage::Input(input.as_ref())).await.expect("input is sent");
    }

    /// Acknowledges all that was received.
    pub async fn acknowledge(&mut self) {
        self.send(ClientMessage::Ack(self.received)).await.expect("an ack is sent");
    }

    /// Reads, acknowledging, until the shell runs.
    pub async fn connected(&mut self) {
        loop {
            match self.next().await {
                Event::State(State::Connected) => return,
                Event::Output(_) | Event::State(_) | Event::Notice(_) | Event::Ack(_) => {}
                other => panic!("instead of a shell came {other:?}"),
            }
        }
    }

    /// Reads, acknowledging, until the output since this call contains `wanted`; returns that output.
    pub async fn read_until(&mut self, wanted: &str) -> String {
        let mut output = Vec::new();
        loop {
            match self.next().await {
                Event::Output(bytes) => {
                    output.extend_from_slice(&bytes);
                    self.acknowledge().await;
                    let text = String::from_utf8_lossy(&output);
                    if text.contains(wanted) {
                        return text.into_owned();
                    }
                }
                Event::Ended(_) | Event::Closed(_) => {
                    panic!("ended before {wanted:?} in {:?}", String::from_utf8_lossy(&output))
                }
                _ => {}
            }
        }
    }

    /// Reads, acknowledging, to the session's end.
    pub async fn ended(&mut self) -> Ended {
        loop {
            match self.next().await {
                Event::Output(_) => self.acknowledge().await,
                Event::Ended(ended) => return ended,
                Event::Closed(close) => panic!("closed without an end: {close:?}"),
                _ => {}
            }
        }
    }
}
