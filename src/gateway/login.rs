//! Log-in with tickets: a ticket works once and gives a session, which a cookie names. All of it lives in memory only.

use std::{collections::HashMap, fmt, time::Duration};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{sync::watch, time::Instant};

/// How long one stays logged in.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How many may be logged in at once; beyond it the oldest is logged out. Tickets are handed out one by one, so this
/// only bounds memory.
const MAX_SESSIONS: usize = 256;

/// Who may come in.
#[derive(Debug)]
pub enum Auth {
    /// Everybody who can connect, which on a loopback address is who is on this machine.
    None,
    /// Whoever had a ticket.
    Ticket(Logins),
}

/// 128 random bits in hexadecimal digits, that let their holder in.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The tickets and sessions of a gateway.
#[derive(Debug)]
pub struct Logins {
    cookie: CookieKind,
    ticket: watch::Sender<Secret>,
    sessions: Mutex<HashMap<Digest, Instant>>,
}

/// What a session's cookie is called and where a browser sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieKind {
    /// Over plain HTTP on a loopback address, where cookies are shared by all ports.
    Loopback {
        /// The port of the listener.
        port: u16,
    },
    /// Over TLS.
    Host,
}

/// A secret's SHA-256. Secrets are compared and found by it: how long that takes tells nothing about them.
type Digest = [u8; 32];

// === impl Secret ===

impl Secret {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits))))
    }

    /// The digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn digest(secret: &str) -> Digest {
    Sha256::digest(secret).into()
}

// === impl CookieKind ===

impl CookieKind {
    fn name(&self) -> String {
        match self {
            Self::Loopback { port } => format!("webshell-{port}"),
            // The prefix makes browsers refuse a cookie that another host of the same domain has set.
            Self::Host => "__Host-webshell".to_owned(),
        }
    }

    fn set(&self, value: &str, age: Duration) -> String {
        let secure = if *self == Self::Host { "; Secure" } else { "" };
        format!("{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", self.name(), age.as_secs())
    }

    /// The values of the cookie in the `Cookie` headers.
    fn values<'a>(&self, headers: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
        let name = self.name();
        headers
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter_map(move |(key, value)| (key == name).then_some(value))
    }
}

// === impl Auth ===

impl Auth {
    /// Whether a request with these `Cookie` headers is from somebody who may come in.
    pub fn admits<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Self::None => true,
            Self::Ticket(logins) => logins.is_logged_in(cookies),
        }
    }
}

// === impl Logins ===

impl Logins {
    /// Nobody is logged in, and one ticket is out.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(cookie: CookieKind) -> Result<Self, getrandom::Error> {
        let ticket = watch::Sender::new(Secret::random()?);
        Ok(Self { cookie, ticket, sessions: Mutex::default() })
    }

    /// The ticket that works now. Whenever one is used, the next takes its place.
    pub fn ticket(&self) -> watch::Receiver<Secret> {
        self.ticket.subscribe()
    }

    /// Uses a ticket: the `Set-Cookie` of a new session, or `None` where it is wrong or used.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn redeem(&self, ticket: &str) -> Result<Option<String>, getrandom::Error> {
        let (session, mut next) = (Secret::random()?, Secret::random()?);
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
        let now = Instant::now();
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, expires| *expires > now);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| *id);
            oldest.map(|id| sessions.remove(&id));
        }
        sessions.insert(digest(session.expose()), now + LIFETIME);
        Ok(Some(self.cookie.set(session.expose(), LIFETIME)))
    }

    /// Ends the session that the `Cookie` headers name; the `Set-Cookie` that makes the browser forget it.
    pub fn log_out<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> String {
        let mut sessions = self.sessions.lock();
        for id in self.cookie.values(cookies) {
            sessions.remove(&digest(id));
        }
        self.cookie.set("", Duration::ZERO)
    }

    fn is_logged_in<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> bool {
        let sessions = self.sessions.lock();
        let now = Instant::now();
        self.cookie.values(cookies).any(|id| sessions.get(&digest(id)).is_some_and(|expires| *expires > now))
    }
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use super::*;

    fn logins() -> Logins {
        Logins::new(CookieKind::Loopback { port: 8022 }).unwrap()
    }

    /// Logs in with the ticket that works now; the cookie as the browser sends it.
    fn log_in(logins: &Logins) -> String {
        let ticket = logins.ticket().borrow().clone();
        let cookie = logins.redeem(ticket.expose()).unwrap().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    fn admits(logins: &Logins, cookie: &str) -> bool {
        logins.is_logged_in(once(cookie))
    }

    #[test]
    fn a_ticket_works_once_and_the_next_is_told() {
        let logins = logins();
        let mut tickets = logins.ticket();
        let first = tickets.borrow_and_update().clone();
        assert_eq!(first.expose().len(), 32);
        assert!(logins.redeem(first.expose()).unwrap().is_some());
        assert!(tickets.has_changed().unwrap());
        assert_eq!(logins.redeem(first.expose()), Ok(None));
        let second = tickets.borrow_and_update().clone();
        assert!(logins.redeem(second.expose()).unwrap().is_some());
    }

    #[test]
    fn a_wrong_ticket_uses_nothing_up() {
        let logins = logins();
        let ticket = logins.ticket().borrow().clone();
        for wrong in ["", "0", &format!("0{}", ticket.expose()), &format!("{}0", ticket.expose()), &"0".repeat(32)] {
            assert_eq!(logins.redeem(wrong), Ok(None), "{wrong:?}");
        }
        assert!(logins.redeem(ticket.expose()).unwrap().is_some());
    }

    #[test]
    fn a_session_lasts_until_log_out() {
        let logins = logins();
        let (mine, yours) = (log_in(&logins), log_in(&logins));
        assert!(admits(&logins, &mine) && admits(&logins, &format!("a=b; {mine}; c")));
        assert!(!admits(&logins, "") && !admits(&logins, "webshell-8022=") && !admits(&logins, "webshell-8022=0"));
        let other_port = mine.replace("8022", "8023");
        assert!(!admits(&logins, &other_port));
        let forget = logins.log_out(once(mine.as_str()));
        assert!(forget.contains("Max-Age=0;"));
        assert!(!admits(&logins, &mine) && admits(&logins, &yours));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_its_lifetime() {
        let logins = logins();
        let cookie = log_in(&logins);
        tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
        assert!(admits(&logins, &cookie));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!admits(&logins, &cookie));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_session_gives_way() {
        let logins = logins();
        let mut cookies = Vec::new();
        for _ in 0..=MAX_SESSIONS {
            cookies.push(log_in(&logins));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(logins.sessions.lock().len(), MAX_SESSIONS);
        assert!(!admits(&logins, &cookies[0]) && admits(&logins, &cookies[1]));
    }

    #[test]
    fn cookies_are_as_strict_as_the_listener_allows() {
        let loopback = CookieKind::Loopback { port: 8022 }.set("ab", LIFETIME);
        assert_eq!(loopback, "webshell-8022=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        let host = CookieKind::Host.set("ab", LIFETIME);
        assert_eq!(host, "__Host-webshell=ab; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure");
    }

    #[test]
    fn secrets_are_not_printed() {
        let logins = logins();
        let ticket = logins.ticket().borrow().clone();
        assert!(!format!("{logins:?}").contains(ticket.expose()));
    }
}
