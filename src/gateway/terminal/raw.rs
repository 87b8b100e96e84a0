//! A connection in raw mode: bytes both ways, and the session ends with the socket.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::Message;

use super::{
    Close, Connection, Sink, Stream, Terminals,
    liveness::Liveness,
    raw_prompt::{RawPrompt, Typed},
};
use crate::{
    protocol::{
        Reason, raw,
        v1::{Ended, Size},
    },
    session::{Attachment, Delivery},
};

/// What both directions share.
#[derive(Default)]
struct Shared {
    /// The question that typing answers at the moment.
    prompt: Mutex<Option<RawPrompt>>,
    /// What to show of the typing.
    shown: Mutex<String>,
    show: tokio::sync::Notify,
}

/// Serves one connection.
pub(super) async fn serve<S>(
    mut sink: Sink<S>,
    mut stream: Stream<S>,
    size: Size,
    connection: &Connection,
    terminals: &Terminals,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let attachment = match terminals.open(connection, size) {
        Ok((attachment, _)) => attachment,
        Err(ended) => return say_end(&mut sink, &mut stream, &ended).await,
    };
    let kept = connection.place.keep();
    let (liveness, shared) = (Liveness::new(), Shared::default());
    let ended = tokio::select! {
        () = read(&mut stream, &attachment, &shared, &liveness) => None,
        ended = write(&mut sink, &attachment, &shared, &liveness) => ended,
    };
    let session = std::sync::Arc::clone(attachment.session());
    drop((attachment, kept));
    session.end(Ended::new(Reason::Exit, "The client closed the connection."));
    session.dismiss();
    match ended {
        Some(ended) => say_end(&mut sink, &mut stream, &ended).await,
        None => super::finish(&mut sink, &mut stream, &liveness).await,
    }
}

/// Says in words why it is over, where there is more to say than that the shell ended.
async fn say_end<S>(sink: &mut Sink<S>, stream: &mut Stream<S>, ended: &Ended)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if ended.reason != Reason::Exit {
        let hint = ended.hint.as_deref().map(|hint| format!(" {hint}")).unwrap_or_default();
        let _ = sink.feed(Message::text(format!("\r\n{}{hint}\r\n", ended.message))).await;
    }
    let _ = sink.feed(Message::text(raw::CLOSED.to_owned())).await;
    Close::new(ended.code, ended.reason.name()).perform(sink, stream).await;
}

/// What comes from the client.
async fn read<S>(stream: &mut Stream<S>, attachment: &Attachment, shared: &Shared, liveness: &Liveness)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = liveness.next(stream).await {
        if let Some(size) = message.as_text().and_then(raw::resize) {
            attachment.resize(size);
            continue;
        }
        let input = message.as_payload();
        let asking = shared.prompt.lock().as_mut().map(|prompt| prompt.typed(input));
        match asking {
            None => attachment.input(input).await,
            Some(Typed::Show(shown)) => shared.show(&shown),
            Some(Typed::Done(shown, answer)) => {
                *shared.prompt.lock() = None;
                attachment.answer(answer);
                shared.show(&shown);
            }
        }
    }
}

/// What goes to the client; how the session ended, or `None` where the connection broke.
async fn write<S>(sink: &mut Sink<S>, attachment: &Attachment, shared: &Shared, liveness: &Liveness) -> Option<Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = Liveness::pings();
    let mut feed = attachment.feed(BytesMut::with_capacity);
    let mut incomplete = Bytes::new();
    loop {
        let mut written = None;
        while let Some(delivery) = feed.take() {
            match delivery {
                Delivery::Output { message, position } => {
                    incomplete = feed_runs(sink, &incomplete, message.freeze()).await.ok()?;
                    written = Some(position);
                }
                Delivery::Prompt(prompt) => {
                    let (prompt, shown) = RawPrompt::ask(prompt);
                    *shared.prompt.lock() = Some(prompt);
                    sink.feed(Message::text(shown)).await.ok()?;
                }
                Delivery::Ended(ended) => {
                    if !incomplete.is_empty() {
                        sink.feed(Message::binary(incomplete)).await.ok()?;
                    }
                    return Some(ended);
                }
                Delivery::TakenOver => return None,
                // In this mode nothing but the shell's own output is shown.
                Delivery::Progress(_) | Delivery::Notice(_) | Delivery::Ack(_) => {}
            }
        }
        let shown = std::mem::take(&mut *shared.shown.lock());
        if !shown.is_empty() {
            sink.feed(Message::text(shown)).await.ok()?;
        }
        sink.flush().await.ok()?;
        if let Some(position) = written {
            // There are no acknowledgements: what the network took counts, and shows that the client reads.
            liveness.seen();
            attachment.acknowledge(position);
        }
        tokio::select! {
            () = feed.ready() => {}
            () = shared.show.notified() => {}
            _ = pings.tick() => sink.send(liveness.ping()).await.ok()?,
        }
    }
}

/// Feeds output as text where it is UTF-8 and as binary where it is not; returns the beginning of a character whose rest
/// has not come yet.
async fn feed_runs<S>(sink: &mut Sink<S>, incomplete: &Bytes, output: Bytes) -> Result<Bytes, tokio_websockets::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let output = if incomplete.is_empty() {
        output
    } else {
        let mut joined = BytesMut::with_capacity(incomplete.len() + output.len());
        joined.put_slice(incomplete);
        joined.put_slice(&output);
        joined.freeze()
    };
    let mut rest: &[u8] = &output;
    while let Some((run, after)) = raw::next_run(rest) {
        rest = after;
        match run {
            raw::Run::Text(text) => sink.feed(Message::text(text.to_owned())).await?,
            raw::Run::Binary(bytes) => sink.feed(Message::binary(output.slice_ref(bytes))).await?,
            raw::Run::Incomplete(bytes) => return Ok(Bytes::copy_from_slice(bytes)),
        }
    }
    Ok(Bytes::new())
}

// === impl Shared ===

impl Shared {
    fn show(&self, text: &str) {
        self.shown.lock().push_str(text);
        self.show.notify_one();
    }
}
