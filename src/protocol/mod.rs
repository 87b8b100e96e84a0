//! The wire formats, pure: bytes in, messages out. Specified in `docs/protocol.md`.
//!
//! [`v1`] is `webshell.v1`'s codec and [`conversation`] its rules, [`raw`] the mode of clients that offer no subprotocol,
//! [`ping`] the route probe, [`reason`] why a session or a connection ends.

pub mod conversation;
pub mod ping;
pub mod raw;
pub mod reason;
pub mod v1;

pub use conversation::{Conversation, Misuse};
pub use reason::Reason;
