//! Log-in with tickets that are printed: a ticket works once and gives a session, and the next is printed then.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    LoggedOut,
    cookie::{Cookie, Secret, digest},
    sessions::{LoggedIn, OpenError, Sessions},
};
use crate::user::User;

/// How long one stays logged in.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How many may be logged in at once; beyond it the least recently used is logged out. Tickets are handed out one by one, so this
/// only bounds memory.
const MAX_SESSIONS: usize = 256;

/// The tickets and sessions of a gateway with one user.
#[derive(Debug)]
pub struct PrintedTickets {
    cookie: Cookie,
    user: User,
    ticket: watch::Sender<Secret>,
    sessions: Sessions,
}

impl PrintedTickets {
    /// Nobody is logged in, and one ticket is out; whoever uses it is `user`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(cookie: Cookie, user: User) -> Result<Self, getrandom::Error> {
        let ticket = watch::Sender::new(Secret::random()?);
        Ok(Self { cookie, user, ticket, sessions: Sessions::new(MAX_SESSIONS, MAX_SESSIONS) })
    }

    /// The ticket that works now. Whenever one is used, the next takes its place.
    pub fn ticket(&self) -> watch::Receiver<Secret> {
        self.ticket.subscribe()
    }

    /// Uses a ticket that came with these `Cookie` headers: a log-in, or `None` where it is wrong or used.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn redeem<'a>(
        &self,
        ticket: &str,
        cookies: impl Iterator<Item = &'a str>,
    ) -> Result<Option<LoggedIn>, OpenError> {
        let mut next = Secret::random()?;
        let valid = self.ticket.send_if_modified(|current| {
            let valid = digest(current.expose()) == digest(ticket);
            if valid {
                std::mem::swap(current, &mut next);
            }
            valid
        });
        valid.then(|| self.sessions.open(&self.cookie, self.user.clone(), LIFETIME, cookies)).transpose()
    }

    /// Who sent the `Cookie` headers.
    pub fn identify<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> Option<Arc<User>> {
        self.sessions.find(&self.cookie, cookies).map(|login| login.user)
    }

    /// Ends the session that the `Cookie` headers name.
    pub fn log_out<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> LoggedOut {
        let users = self.sessions.close(&self.cookie, cookies).into_iter().map(|login| login.user).collect();
        LoggedOut { users, forget: Some(self.cookie.forget()) }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::{empty, once};

    use super::*;

    fn tickets() -> PrintedTickets {
        PrintedTickets::new(Cookie::loopback(8022), User { name: "local".into(), ..User::default() }).unwrap()
    }

    fn redeem(logins: &PrintedTickets, ticket: &str) -> Option<String> {
        logins.redeem(ticket, empty()).unwrap().map(|logged_in| logged_in.set_cookie)
    }

    #[test]
    fn a_ticket_works_once_and_the_next_is_told() {
        let logins = tickets();
        let mut tickets = logins.ticket();
        let first = tickets.borrow_and_update().clone();
        assert_eq!(first.expose().len(), 32);
        let cookie = redeem(&logins, first.expose()).unwrap();
        assert!(cookie.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"), "{cookie}");
        assert_eq!(logins.identify(once(cookie.split(';').next().unwrap())).unwrap().name, "local");
        assert!(tickets.has_changed().unwrap());
        assert_eq!(redeem(&logins, first.expose()), None);
        let second = tickets.borrow_and_update().clone();
        assert!(redeem(&logins, second.expose()).is_some());
    }

    #[test]
    fn a_wrong_ticket_uses_nothing_up() {
        let logins = tickets();
        let ticket = logins.ticket().borrow().clone();
        for wrong in ["", "0", &format!("0{}", ticket.expose()), &format!("{}0", ticket.expose()), &"0".repeat(32)] {
            assert_eq!(redeem(&logins, wrong), None, "{wrong:?}");
        }
        assert!(redeem(&logins, ticket.expose()).is_some());
    }

    #[test]
    fn log_out_is_told_to_the_browser() {
        let logins = tickets();
        let ticket = logins.ticket().borrow().clone();
        let cookie = redeem(&logins, ticket.expose()).unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let gone = logins.log_out(once(cookie));
        assert!(gone.forget.unwrap().contains("Max-Age=0;"));
        assert_eq!(gone.users.len(), 1);
        assert!(logins.identify(once(cookie)).is_none());
    }

    #[test]
    fn tickets_are_not_printed_by_chance() {
        let logins = tickets();
        let ticket = logins.ticket().borrow().clone();
        assert!(!format!("{logins:?}").contains(ticket.expose()));
    }
}
