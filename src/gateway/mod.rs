//! The gateway: HTTP routes, log-in, WebSockets, and the embedded page.

pub mod forwarded;
pub mod login;
pub mod origin;
pub mod routes;
pub mod terminal;
pub mod upgrade;
