//! The wire formats, pure: bytes in, messages out. Specified in `docs/protocol.md`.
//!
//! [`v1`] is `webshell.v1`'s codec and [`conversation`] its rules, [`raw`] the mode of clients that offer no subprotocol or
//! `webshell.raw`,
//! [`ping`] the route probe, [`reason`] why a session or a connection ends.

pub mod conversation;
pub mod ping;
pub mod raw;
pub mod reason;
pub mod v1;

pub use conversation::{Conversation, Misuse};
pub use reason::Reason;

/// How a client says the key of its log-in with a request.
pub const KEY_HEADER: &str = "webshell-key";

/// How it says it with a WebSocket, for which a browser's page can set no header: as a subprotocol that begins so, which is never
/// the one that is selected.
pub const KEY_SUBPROTOCOL: &str = "webshell.key.";
