//! The WebSocket that proves a route through proxies.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{http::request::Parts, upgrade::OnUpgrade};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_websockets::{CloseCode, Limits, Message, ServerBuilder};

use super::{
    http::{self, Answer},
    server::Peer,
    stream::UpgradedStream,
    upgrade,
};
use crate::protocol::ping;

/// How long a ping's connection may last: nobody logged in for it.
const LIFETIME: Duration = Duration::from_secs(60);

/// The largest message, in bytes: the word, a blank and a nonce fit with room to spare.
const MAX_MESSAGE: usize = 256;

/// Answers the request for such a WebSocket, and speaks on it in a task that `tasks` tracks. `identity` is
/// `<namespace>/<instance>`.
///
/// # Errors
/// What makes the request none.
pub fn answer(
    parts: &Parts,
    upgrade: Option<OnUpgrade>,
    peer: Peer,
    identity: String,
    tasks: &TaskTracker,
) -> Result<Answer, upgrade::Refusal> {
    let accept = upgrade::accept(parts)?;
    let upgrade = upgrade.ok_or(upgrade::Refusal::NotWebSocket)?;
    http::switch(tasks, upgrade, peer, move |stream| async move { serve(stream, &identity).await });
    Ok(http::switching(accept, None))
}

/// Answers pings until something else comes, the client goes, or the time is up.
async fn serve(stream: UpgradedStream, identity: &str) {
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
    let mut socket = ServerBuilder::new().limits(limits).serve(stream);
    let answered = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || message.is_ping() || message.is_pong() {
                continue;
            }
            let answer = message.as_text().and_then(|text| ping::answer(text, identity));
            let Some(answer) = answer else {
                let close = Message::close(Some(CloseCode::PROTOCOL_ERROR), "not a ping");
                return socket.send(close).await;
            };
            socket.send(Message::text(answer)).await?;
        }
        Ok(())
    };
    // Who leaves in the middle of an answer did not want it.
    let _ = timeout(LIFETIME, answered).await;
}
