//! A connection that speaks `webshell.v1`.

use std::time::Duration;

use futures_util::SinkExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::Message;

use super::{Close, Connection, Sink, Stream, Terminals, liveness::Liveness};
use crate::{
    protocol::{
        Conversation, Misuse, Reason,
        v1::{ClientMessage, Ended, Hello, Notice, NoticeKind, ServerMessage, Welcome, begin_output},
    },
    session::{Attachment, Delivery, ResumeError},
    telemetry::audit,
};

/// How long a client may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// The close code for misuse.
const PROTOCOL_ERROR: u16 = 1002;

/// How a connection's two directions came to an end.
enum Outcome {
    /// The client is gone, or closes.
    Gone,
    /// We close.
    Close(Close),
    /// We close, and the session is over.
    Ended(Close),
}

/// Serves one connection.
pub(super) async fn serve<S>(mut sink: Sink<S>, mut stream: Stream<S>, connection: &Connection, terminals: &Terminals)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let conversation = Mutex::new(Conversation::default());
    let liveness = Liveness::new();
    let hello = match tokio::time::timeout(HELLO, receive_hello(&mut stream, &conversation, &liveness)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return super::finish(&mut sink, &mut stream, &liveness).await,
        Ok(Err(misuse)) => return refuse(sink, stream, Close::new(PROTOCOL_ERROR, misuse.to_string())).await,
        Err(_) => return refuse(sink, stream, Close::new(PROTOCOL_ERROR, "no hello in time")).await,
    };
    let (attachment, welcome) = match begin(hello, connection, terminals) {
        Ok(begun) => begun,
        Err(ended) => {
            // Nobody waits for this message: the close tells the same.
            let close = Close::new(ended.code, ended.reason.name());
            let _ = sink.feed(binary(&ServerMessage::Ended(*ended))).await;
            return refuse(sink, stream, close).await;
        }
    };
    let kept = connection.place.keep();
    conversation.lock().welcomed(welcome.output);
    let session = std::sync::Arc::clone(attachment.session());
    let outcome = tokio::select! {
        outcome = read(&mut stream, &attachment, &conversation, &liveness) => outcome,
        outcome = write(&mut sink, &attachment, welcome, &conversation, &liveness) => outcome,
    };
    drop((attachment, kept));
    match outcome {
        Outcome::Gone => super::finish(&mut sink, &mut stream, &liveness).await,
        Outcome::Close(reason) => refuse(sink, stream, reason).await,
        Outcome::Ended(reason) => {
            if reason.perform(&mut sink, &mut stream).await {
                session.dismiss();
            }
        }
    }
}

async fn refuse<S>(mut sink: Sink<S>, mut stream: Stream<S>, close: Close)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    close.perform(&mut sink, &mut stream).await;
}

async fn receive_hello<S>(
    stream: &mut Stream<S>,
    conversation: &Mutex<Conversation>,
    liveness: &Liveness,
) -> Result<Option<Hello>, Misuse>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(message) = liveness.next(stream).await else { return Ok(None) };
    if message.is_text() {
        return Err(Misuse::Text);
    }
    match conversation.lock().receive(message.as_payload())? {
        ClientMessage::Hello(hello) => Ok(Some(hello)),
        _ => Err(Misuse::BeforeHello),
    }
}

/// Begins or resumes the session that the client asks for.
fn begin(hello: Hello, connection: &Connection, terminals: &Terminals) -> Result<(Attachment, Welcome), Box<Ended>> {
    let Connection { shell, user, client, .. } = connection;
    let Some(resume) = hello.resume else {
        return terminals.open(connection, hello.size);
    };
    terminals.registry.resume(&resume.token, resume.received, hello.size, shell, user, *client).map_err(|error| {
        let (reason, code) = match error {
            ResumeError::Unknown => (Reason::UnknownSession, Reason::UnknownSession.code()),
            ResumeError::LoggedOut => (Reason::LoggedOut, Reason::LoggedOut.code()),
            ResumeError::Beyond(_) => (Reason::UnknownSession, PROTOCOL_ERROR),
            ResumeError::Random => (Reason::Internal, Reason::Internal.code()),
        };
        audit::denied(audit::Subject { shell, user: &user.name, client: *client }, reason.name());
        Box::new(Ended { code, ..Ended::new(reason, error.to_string()) })
    })
}

/// What comes from the client. It goes on whatever the other direction does: a Ctrl-C passes a client that reads nothing.
async fn read<S>(
    stream: &mut Stream<S>,
    attachment: &Attachment,
    conversation: &Mutex<Conversation>,
    liveness: &Liveness,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Some(message) = liveness.next(stream).await else { return Outcome::Gone };
        let received =
            if message.is_text() { Err(Misuse::Text) } else { conversation.lock().receive(message.as_payload()) };
        match received {
            Ok(ClientMessage::Input(input)) => attachment.input(input).await,
            Ok(ClientMessage::Ack(position)) => attachment.acknowledge(position),
            Ok(ClientMessage::Resize(size)) => attachment.resize(size),
            Ok(ClientMessage::Answer(answer)) => attachment.answer(answer),
            Ok(ClientMessage::End) => attachment.end(),
            // The conversation lets no second one pass.
            Ok(ClientMessage::Hello(_)) => return misuse(&Misuse::SecondHello),
            Err(error) => return misuse(&error),
        }
    }
}

fn misuse(misuse: &Misuse) -> Outcome {
    Outcome::Close(Close::new(PROTOCOL_ERROR, misuse.to_string()))
}

/// What goes to the client: all there is, then one flush, with no timer in between.
async fn write<S>(
    sink: &mut Sink<S>,
    attachment: &Attachment,
    welcome: Welcome,
    conversation: &Mutex<Conversation>,
    liveness: &Liveness,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = Liveness::pings();
    let mut feed = attachment.feed(begin_output);
    if sink.feed(binary(&ServerMessage::Welcome(welcome))).await.is_err() {
        return Outcome::Gone;
    }
    loop {
        while let Some(delivery) = feed.take() {
            let message = match delivery {
                Delivery::Output { message, position } => {
                    conversation.lock().sent(position);
                    Message::binary(message)
                }
                Delivery::Progress(progress) => binary(&ServerMessage::State(progress)),
                Delivery::Notice(notice) => binary(&ServerMessage::Notice(notice)),
                Delivery::Ack(position) => binary(&ServerMessage::Ack(position)),
                Delivery::Prompt(prompt) => {
                    conversation.lock().asked(prompt.id);
                    binary(&ServerMessage::Prompt(prompt))
                }
                Delivery::TakenOver => {
                    let message = "This session goes on in another window.".to_owned();
                    let notice = Notice { kind: NoticeKind::TakenOver, seconds: None, message };
                    let _ = sink.feed(binary(&ServerMessage::Notice(notice))).await;
                    return Outcome::Close(Close::of(Reason::TakenOver));
                }
                Delivery::Ended(ended) => {
                    let close = Close::new(ended.code, ended.reason.name());
                    let sent = sink.send(binary(&ServerMessage::Ended(ended))).await;
                    return if sent.is_ok() { Outcome::Ended(close) } else { Outcome::Gone };
                }
            };
            if sink.feed(message).await.is_err() {
                return Outcome::Gone;
            }
        }
        if sink.flush().await.is_err() {
            return Outcome::Gone;
        }
        tokio::select! {
            () = feed.ready() => {}
            _ = pings.tick() => {
                if sink.send(liveness.ping()).await.is_err() {
                    return Outcome::Gone;
                }
            }
        }
    }
}

fn binary(message: &ServerMessage<'_>) -> Message {
    Message::binary(message.encode())
}
