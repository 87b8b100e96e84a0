//! The gateway: HTTP routes, log-in, WebSockets, and the embedded page.

pub mod terminal;
