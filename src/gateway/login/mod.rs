//! Who somebody is: what a log-in gives, and how the cookie of a later request is known again. All of it lives in memory only.

pub mod cookie;
pub mod endings;
pub mod nonce;
pub mod portal;
pub mod printed;
pub mod sessions;

use std::sync::Arc;

pub use self::{
    cookie::{Cookie, Secret},
    portal::{PortalLogins, Trust},
    printed::PrintedTickets,
    sessions::{LoggedIn, Sessions},
};
use crate::user::User;

/// Who may come in, and as whom.
#[derive(Debug)]
pub enum Auth {
    /// Everybody who can connect, which on a loopback address is who is on this machine.
    None(Arc<User>),
    /// Whoever had a ticket that was printed.
    Printed(Box<PrintedTickets>),
    /// Whoever the portal vouches for.
    Portal(Arc<PortalLogins>),
}

/// What is left of a log-in that was ended.
#[derive(Debug)]
pub struct LoggedOut {
    /// The log-ins that are no more: what was opened by them ends.
    pub users: Vec<Arc<User>>,
    /// The `Set-Cookie` that makes the browser forget.
    pub forget: Option<String>,
}

impl Auth {
    /// Who sent a request with these `Cookie` headers, and with this key beside them. Each log-in has a value of its own, the same
    /// at every request.
    pub fn identify<'a>(&self, cookies: impl Iterator<Item = &'a str>, key: Option<&str>) -> Option<Arc<User>> {
        match self {
            Self::None(user) => Some(Arc::clone(user)),
            Self::Printed(tickets) => tickets.identify(cookies, key),
            Self::Portal(logins) => logins.identify(cookies),
        }
    }

    /// Where somebody who is not logged in is to go; `None` where no address helps.
    pub fn login_path(&self) -> Option<String> {
        match self {
            Self::Portal(logins) => Some(logins.login_path()),
            Self::None(_) | Self::Printed(_) => None,
        }
    }

    /// Whether other gateways have pages at the same origin.
    pub fn shares_origin(&self) -> bool {
        match self {
            Self::None(_) | Self::Printed(_) => false,
            Self::Portal(logins) => logins.shares_origin(),
        }
    }

    /// Ends the log-ins that the `Cookie` headers name, with this key beside them.
    pub fn log_out<'a>(&self, cookies: impl Iterator<Item = &'a str>, key: Option<&str>) -> LoggedOut {
        match self {
            Self::None(_) => LoggedOut { users: Vec::new(), forget: None },
            Self::Printed(tickets) => tickets.log_out(cookies, key),
            Self::Portal(logins) => logins.log_out(cookies),
        }
    }
}
