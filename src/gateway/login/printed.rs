//! Log-in with tickets that are printed: a ticket works once and gives a session, and the next is printed then.
//!
//! Browsers send a host's cookies to every port of it (RFC 6265, section 8.5), and let every port set them. So on a machine that
//! others use too, the cookie alone says nothing: another user's server gets it from whoever follows a link there. Each session has a
//! key beside it, which the page keeps in its origin's storage, where no other port reaches, and says with each request.

use std::{iter::once, sync::Arc, time::Duration};

use ring::hmac;
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
    /// What keys are derived with: there is nothing more to keep.
    derivation: hmac::Key,
}

/// What a ticket buys.
#[derive(Debug)]
pub struct Redeemed {
    /// The log-in.
    pub logged_in: LoggedIn,
    /// What must come with its cookie.
    pub key: Secret,
}

impl PrintedTickets {
    /// Nobody is logged in, and one ticket is out; whoever uses it is `user`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(cookie: Cookie, user: User) -> Result<Self, getrandom::Error> {
        let ticket = watch::Sender::new(Secret::random()?);
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        let derivation = hmac::Key::new(hmac::HMAC_SHA256, &bits);
        Ok(Self { cookie, user, ticket, sessions: Sessions::new(MAX_SESSIONS, MAX_SESSIONS), derivation })
    }

    /// The ticket that works now. Whenever one is used, the next takes its place.
    pub fn ticket(&self) -> watch::Receiver<Secret> {
        self.ticket.subscribe()
    }

    /// Uses a ticket that came with these `Cookie` headers and this key: a log-in, or `None` where it is wrong or used.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn redeem<'a>(
        &self,
        ticket: &str,
        cookies: impl Iterator<Item = &'a str>,
        key: Option<&str>,
    ) -> Result<Option<Redeemed>, OpenError> {
        let mut next = Secret::random()?;
        let valid = self.ticket.send_if_modified(|current| {
            let valid = digest(current.expose()) == digest(ticket);
            if valid {
                std::mem::swap(current, &mut next);
            }
            valid
        });
        if !valid {
            return Ok(None);
        }
        let earlier = self.unlocked(cookies, key);
        let logged_in =
            self.sessions.open(&self.cookie, self.user.clone(), LIFETIME, earlier.as_deref().into_iter())?;
        let key = self.cookie.values(once(logged_in.set_cookie.as_str())).next().map(|value| self.key(value));
        Ok(key.map(|key| Redeemed { logged_in, key }))
    }

    /// Who sent the `Cookie` headers, if this is the key to one of them.
    pub fn identify<'a>(&self, cookies: impl Iterator<Item = &'a str>, key: Option<&str>) -> Option<Arc<User>> {
        let own = self.unlocked(cookies, key);
        self.sessions.find(&self.cookie, own.as_deref().into_iter()).map(|login| login.user)
    }

    /// Ends the session that the `Cookie` headers name, if this is the key to it.
    pub fn log_out<'a>(&self, cookies: impl Iterator<Item = &'a str>, key: Option<&str>) -> LoggedOut {
        let own = self.unlocked(cookies, key);
        let closed = self.sessions.close(&self.cookie, own.as_deref().into_iter());
        LoggedOut { users: closed.into_iter().map(|login| login.user).collect(), forget: Some(self.cookie.forget()) }
    }

    /// The cookie that this is the key to, as a header names it. There may be others of its name, which other ports have set.
    fn unlocked<'a>(&self, cookies: impl Iterator<Item = &'a str>, key: Option<&str>) -> Option<String> {
        let key = digest(key?);
        let fits = |value: &&str| digest(self.key(value).expose()) == key;
        self.cookie.values(cookies).find(fits).map(|value| self.cookie.pair(value))
    }

    /// The key to the session that this value of the cookie names.
    fn key(&self, value: &str) -> Secret {
        Secret::derive(&self.derivation, value)
    }
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use super::*;

    fn tickets() -> PrintedTickets {
        PrintedTickets::new(Cookie::loopback(8022), User { name: "local".into(), ..User::default() }).unwrap()
    }

    fn redeem(logins: &PrintedTickets, ticket: &str) -> Option<Redeemed> {
        logins.redeem(ticket, empty(), None).unwrap()
    }

    /// The cookie as the browser sends it, and the key.
    fn kept(redeemed: &Redeemed) -> (String, String) {
        let cookie = redeemed.logged_in.set_cookie.split(';').next().unwrap();
        (cookie.to_owned(), redeemed.key.expose().to_owned())
    }

    /// Logs in with the ticket that works now.
    fn log_in(logins: &PrintedTickets) -> (String, String) {
        let ticket = logins.ticket().borrow().clone();
        kept(&redeem(logins, ticket.expose()).unwrap())
    }

    #[test]
    fn a_ticket_works_once_and_the_next_is_told() {
        let logins = tickets();
        let mut tickets = logins.ticket();
        let first = tickets.borrow_and_update().clone();
        assert_eq!(first.expose().len(), 32);
        let redeemed = redeem(&logins, first.expose()).unwrap();
        let set_cookie = &redeemed.logged_in.set_cookie;
        assert!(set_cookie.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"), "{set_cookie}");
        let (cookie, key) = kept(&redeemed);
        assert_eq!(logins.identify(once(cookie.as_str()), Some(&key)).unwrap().name, "local");
        assert!(tickets.has_changed().unwrap());
        assert!(redeem(&logins, first.expose()).is_none());
        let second = tickets.borrow_and_update().clone();
        assert!(redeem(&logins, second.expose()).is_some());
    }

    #[test]
    fn a_cookie_counts_with_its_own_key_only() {
        let logins = tickets();
        let ((mine, my_key), (theirs, their_key)) = (log_in(&logins), log_in(&logins));
        let of_another_gateway = log_in(&tickets()).1;
        let id = mine.split_once('=').unwrap().1;
        for key in ["", "0", id, &their_key, &of_another_gateway, &my_key.to_uppercase(), &format!("{my_key}0")] {
            assert!(logins.identify(once(mine.as_str()), Some(key)).is_none(), "{key}");
            assert!(logins.log_out(once(mine.as_str()), Some(key)).users.is_empty(), "{key}");
        }
        assert!(logins.identify(once(mine.as_str()), None).is_none());
        // Another port has set a cookie of the same name for a narrower path, so that it comes first.
        let both = format!("{theirs}; {mine}");
        let (me, them) = (
            logins.identify(once(both.as_str()), Some(&my_key)),
            logins.identify(once(theirs.as_str()), Some(&their_key)),
        );
        assert!(!Arc::ptr_eq(&me.unwrap(), &them.unwrap()));
        assert_eq!(logins.log_out(once(both.as_str()), Some(&my_key)).users.len(), 1);
        assert!(logins.identify(once(theirs.as_str()), Some(&their_key)).is_some(), "the other log-in goes on");
    }

    #[test]
    fn a_log_in_takes_the_place_of_one_whose_key_came_too() {
        let logins = tickets();
        let (cookie, key) = log_in(&logins);
        let again = |key: Option<&str>| {
            let ticket = logins.ticket().borrow().clone();
            let redeemed = logins.redeem(ticket.expose(), once(cookie.as_str()), key).unwrap().unwrap();
            redeemed.logged_in.replaced.len()
        };
        assert_eq!((again(None), again(Some(&"0".repeat(32)))), (0, 0));
        assert!(logins.identify(once(cookie.as_str()), Some(&key)).is_some());
        assert_eq!(again(Some(&key)), 1);
        assert!(logins.identify(once(cookie.as_str()), Some(&key)).is_none());
    }

    #[test]
    fn a_wrong_ticket_uses_nothing_up() {
        let logins = tickets();
        let ticket = logins.ticket().borrow().clone();
        for wrong in ["", "0", &format!("0{}", ticket.expose()), &format!("{}0", ticket.expose()), &"0".repeat(32)] {
            assert!(redeem(&logins, wrong).is_none(), "{wrong:?}");
        }
        assert!(redeem(&logins, ticket.expose()).is_some());
    }

    #[test]
    fn log_out_is_told_to_the_browser() {
        let logins = tickets();
        let (cookie, key) = log_in(&logins);
        let gone = logins.log_out(once(cookie.as_str()), Some(&key));
        assert!(gone.forget.unwrap().contains("Max-Age=0;"));
        assert_eq!(gone.users.len(), 1);
        assert!(logins.identify(once(cookie.as_str()), Some(&key)).is_none());
    }

    #[test]
    fn tickets_and_keys_are_not_printed_by_chance() {
        let logins = tickets();
        let ticket = logins.ticket().borrow().clone();
        assert!(!format!("{logins:?}").contains(ticket.expose()));
        let key = redeem(&logins, ticket.expose()).unwrap().key;
        assert!(!format!("{key:?}").contains(key.expose()));
    }
}
