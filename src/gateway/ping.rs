//! The WebSocket that proves a route through proxies.

use std::{net::IpAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{http::request::Parts, upgrade::OnUpgrade};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_websockets::{CloseCode, Limits, Message, ServerBuilder};

use super::{
    http::{self, Answer},
    limiter::{Limiter, Permit},
    server::Peer,
    stream::UpgradedStream,
    upgrade,
};
use crate::protocol::ping;

/// How long a ping's connection may last: nobody logged in for it, and who pings waits no longer.
const LIFETIME: Duration = Duration::from_secs(5);

/// The most pings at once.
pub const MAX_PINGS: usize = 32;

/// The most of one client. The controller sends one at a time to a gateway, and so does `helm test`. Clients behind a proxy that is
/// not trusted count as one, and can still ping one after another.
pub const MAX_PINGS_OF_ONE: usize = 4;

/// The largest message, in bytes: the word, a blank and a nonce fit with room to spare.
const MAX_MESSAGE: usize = 256;

/// The pings of a server.
#[derive(Debug)]
pub struct Pings(Limiter);

impl Default for Pings {
    fn default() -> Self {
        Self(Limiter::new(MAX_PINGS, MAX_PINGS_OF_ONE))
    }
}

impl Pings {
    /// Answers the request of `client` for such a WebSocket, and speaks on it in a task that `tasks` tracks. `identity` is
    /// `<namespace>/<instance>`.
    ///
    /// # Errors
    /// What makes the request none, or that too many are under way.
    pub fn answer(
        &self,
        parts: &Parts,
        upgrade: Option<OnUpgrade>,
        (client, peer): (IpAddr, Peer),
        identity: String,
        tasks: &TaskTracker,
    ) -> Result<Answer, upgrade::Refusal> {
        let accept = upgrade::accept(parts)?;
        let upgrade = upgrade.ok_or(upgrade::Refusal::NotWebSocket)?;
        let permit = self.0.acquire(client).ok_or(upgrade::Refusal::TooManyPings)?;
        http::switch(tasks, upgrade, peer, move |stream| serve(stream, identity, permit));
        Ok(http::switching(accept, None))
    }
}

/// Answers pings until something else comes, the client goes, or the time is up.
async fn serve(stream: UpgradedStream, identity: String, _permit: Permit) {
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
    let mut socket = ServerBuilder::new().limits(limits).serve(stream);
    let answered = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || message.is_ping() || message.is_pong() {
                continue;
            }
            let answer = message.as_text().and_then(|text| ping::answer(text, &identity));
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
