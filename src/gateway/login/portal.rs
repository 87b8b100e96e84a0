//! Log-in at the portal: a browser is sent there with a nonce, and comes back with a ticket that answers it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    LoggedOut,
    cookie::Cookie,
    nonce::{Nonce, Nonces},
    sessions::{LoggedIn, OpenError, Sessions},
};
use crate::{
    clock::unix_time,
    config::{GatewaySettings, RouteMode},
    gateway::origin::{self, Origin},
    ticket::{self, Claims, Expected, Invalid, Keys, KeysError, Voucher, endings::is_login_id},
    user::User,
};

/// How many may be logged in at once, and how many times one user.
pub(in crate::gateway) const MAX_SESSIONS: usize = 4096;
const MAX_SESSIONS_OF_ONE: usize = 64;

/// How long a browser may be at the portal: somebody may have to fetch a token first.
const NONCE_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How many used tickets are remembered; each for less than a minute. Beyond it log-ins wait, because a ticket that was
/// forgotten could be used again.
const MAX_USED: usize = 16 * 1024;

/// How long a ticket of a key that is not known (yet) waits for it: a new portal's key is on its way for some seconds.
const KEY_DEADLINE: Duration = Duration::from_secs(10);

/// Whom a gateway believes, as its settings say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The origin of the gateway's own pages.
    pub origin: Origin,
    /// The origin of the portal.
    pub portal: Origin,
    /// How long one stays logged in, at most.
    pub lifetime: Duration,
    /// The portal's keys.
    pub keys: Keys,
    /// Where to ask the portal who logged out there, as `host:port`.
    pub service: Option<String>,
    /// Whether other gateways have pages at the same origin.
    pub shares_origin: bool,
}

/// Why settings cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// An address that is none.
    #[error("{field}: {error}")]
    Origin {
        /// Which field of the settings.
        field: &'static str,
        /// What is wrong with it.
        error: origin::ParseError,
    },
    /// The keys cannot be read.
    #[error("keys.json: {0}")]
    Keys(#[from] KeysError),
}

/// The log-ins of a gateway that has a portal.
#[derive(Debug)]
pub struct PortalLogins {
    namespace: String,
    trust: watch::Receiver<Arc<Trust>>,
    sessions: Sessions,
    nonces: Nonces,
    /// When the tickets that were used would have ended, by their names.
    used: Mutex<HashMap<String, u64>>,
    vouched: Mutex<Vec<Vouched>>,
}

/// What a log-in hangs on, for as long as it or something that it opened is there.
#[derive(Debug)]
struct Vouched {
    login: Weak<User>,
    voucher: Voucher,
    /// The portal's name for its own log-in; portals of earlier releases tell none.
    sid: Option<String>,
}

/// How a browser is sent to the portal.
#[derive(Debug, PartialEq, Eq)]
pub struct Departure {
    /// The cookie that its ticket must answer.
    pub set_cookie: String,
    /// Where to.
    pub location: String,
}

/// Why a ticket gives no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not valid, or not here.
    #[error("the ticket cannot be used: {0}")]
    Invalid(#[from] Invalid),
    /// It answers what another pod of this gateway sent: the log-in is to begin again, here.
    #[error("the log-in was begun at another pod of this gateway, and begins again")]
    Again,
    /// The same, after it has begun again often enough.
    #[error("the log-in was begun at another pod of this gateway, several times; try again in a minute")]
    OtherPod,
    /// It was used before.
    #[error("the ticket was used before")]
    Used,
    /// Too many log in at once.
    #[error("too many are logging in; try again in a minute")]
    Busy,
    /// It is good, but there is no session for it.
    #[error(transparent)]
    Sessions(#[from] OpenError),
}

// === impl Refusal ===

impl Refusal {
    /// For the log, where refusals of a cause are counted together.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Again | Self::OtherPod => "other-pod",
            Self::Used => "used",
            Self::Busy => "busy",
            Self::Sessions(_) => "sessions",
        }
    }
}

// === impl Trust ===

impl Trust {
    /// What a gateway's ConfigMap says: its settings, and the text of `keys.json`.
    ///
    /// # Errors
    /// Names what cannot be used.
    pub fn new(settings: &GatewaySettings, keys: &str) -> Result<Self, TrustError> {
        let parse = |field, text: &str| text.parse().map_err(|error| TrustError::Origin { field, error });
        Ok(Self {
            origin: parse("origin", &settings.origin)?,
            portal: parse("portal", &settings.portal)?,
            lifetime: settings.login_lifetime.get(),
            keys: Keys::parse(keys)?,
            service: settings.portal_service.clone(),
            shares_origin: settings.mode == RouteMode::Path,
        })
    }

    /// Of the gateway of `namespace`. Its name tells it from those of other gateways on the same host.
    fn cookie(&self, namespace: &str, kind: &str) -> Cookie {
        Cookie::of(self.origin.is_secure(), &format!(".{namespace}{kind}"))
    }
}

// === impl PortalLogins ===

impl PortalLogins {
    /// Nobody is logged in at the gateway of `namespace`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(namespace: String, trust: watch::Receiver<Arc<Trust>>) -> Result<Self, getrandom::Error> {
        let nonces = Nonces::new()?;
        let sessions = Sessions::new(MAX_SESSIONS, MAX_SESSIONS_OF_ONE);
        Ok(Self { namespace, trust, sessions, nonces, used: Mutex::default(), vouched: Mutex::default() })
    }

    /// The namespace whose gateway this is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its own pages' origin.
    pub fn origin(&self) -> Origin {
        self.trust.borrow().origin.clone()
    }

    /// Whether other gateways have pages at the same origin.
    pub fn shares_origin(&self) -> bool {
        self.trust.borrow().shares_origin
    }

    /// The portal.
    pub fn portal(&self) -> Origin {
        self.trust.borrow().portal.clone()
    }

    /// Where somebody who is not logged in is to go.
    pub fn login_path(&self) -> String {
        format!("/{}/-/login", self.namespace)
    }

    /// Who sent the `Cookie` headers.
    pub fn identify<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> Option<Arc<User>> {
        let cookie = self.trust.borrow().cookie(&self.namespace, "");
        self.sessions.find(&cookie, cookies).map(|login| login.user)
    }

    /// Ends the session that the `Cookie` headers name.
    pub fn log_out<'a>(&self, cookies: impl Iterator<Item = &'a str>) -> LoggedOut {
        let cookie = self.trust.borrow().cookie(&self.namespace, "");
        let users = self.sessions.close(&cookie, cookies).into_iter().map(|login| login.user).collect();
        LoggedOut { users, forget: Some(cookie.forget()) }
    }

    /// Sends a browser to the portal, to come back to `shell` or to the list. One that is on its way already (another tab)
    /// keeps its nonce, so that both arrive.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn depart<'a>(
        &self,
        shell: Option<&str>,
        cookies: impl Iterator<Item = &'a str>,
    ) -> Result<Departure, getrandom::Error> {
        let trust = self.trust.borrow().clone();
        let cookie = trust.cookie(&self.namespace, ".nonce");
        let earlier = cookie.values(cookies).find_map(|value| Some((value, self.nonces.read(value)?)));
        let value = match earlier {
            Some((value, Nonce::Own)) => value.to_owned(),
            Some((_, Nonce::Other { next })) => self.nonces.make(next.unwrap_or_default())?,
            None => self.nonces.make(0)?,
        };
        let shell = shell.map(|name| format!("&shell={name}")).unwrap_or_default();
        let (portal, namespace, nonce) = (&trust.portal, &self.namespace, ticket::nonce(&value));
        Ok(Departure {
            set_cookie: cookie.set(&value, NONCE_LIFETIME),
            location: format!("{portal}/-/authorize?namespace={namespace}{shell}&nonce={nonce}"),
        })
    }

    /// Uses a ticket that came with these `Cookie` headers: a new log-in, in the place of those that they name.
    ///
    /// # Errors
    /// Says why it gives none.
    pub async fn redeem<'a>(&self, ticket: &str, cookies: impl Iterator<Item = &'a str>) -> Result<LoggedIn, Refusal> {
        let cookies: Vec<&str> = cookies.collect();
        let nonce = {
            let cookie = self.trust.borrow().cookie(&self.namespace, ".nonce");
            let mut values = cookie.values(cookies.iter().copied());
            let found = values.find_map(|value| Some((value, self.nonces.read(value)?)));
            match found.ok_or(Invalid::Nonce)? {
                (value, Nonce::Own) => ticket::nonce(value),
                (_, Nonce::Other { next: Some(_) }) => return Err(Refusal::Again),
                (_, Nonce::Other { next: None }) => return Err(Refusal::OtherPod),
            }
        };
        let (claims, trust) = self.verify(ticket, &nonce).await?;
        let now = unix_time();
        let left = Duration::from_secs(claims.until.saturating_sub(now));
        if left.is_zero() {
            return Err(Invalid::Expired.into());
        }
        self.use_up(claims.jti, claims.exp, now)?;
        let cookie = trust.cookie(&self.namespace, "");
        let mut voucher = Voucher::new(&trust.keys, &claims.kid).ok_or(Invalid::UnknownKey)?;
        // Held until the log-in is among them: a key that is withdrawn meanwhile ends it.
        let mut vouched = self.vouched.lock();
        if !voucher.holds(&self.trust.borrow().keys, now) {
            return Err(Invalid::UnknownKey.into());
        }
        let opened = self.sessions.open(&cookie, claims.user, trust.lifetime.min(left), cookies.into_iter())?;
        let replaced =
            |login: &Weak<User>| opened.replaced.iter().any(|other| Arc::as_ptr(&other.user) == login.as_ptr());
        vouched.retain(|known| known.login.strong_count() > 0 && !replaced(&known.login));
        vouched.push(Vouched {
            login: Arc::downgrade(&opened.login.user),
            voucher,
            sid: claims.sid.filter(|sid| is_login_id(sid)),
        });
        Ok(opened)
    }

    /// What the settings say of whom to believe.
    pub fn trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.trust.clone()
    }

    /// Ends the log-ins whose keys were withdrawn, as the settings say now; those that had them.
    pub fn end_withdrawn(&self) -> Vec<Arc<User>> {
        let (keys, now) = (self.trust.borrow().keys.clone(), unix_time());
        self.end_where(|vouched| !vouched.voucher.holds(&keys, now))
    }

    /// The portal's names for the log-ins that these hang on, each once.
    pub fn sids(&self) -> BTreeSet<String> {
        let mut vouched = self.vouched.lock();
        vouched.retain(|known| known.login.strong_count() > 0);
        vouched.iter().filter_map(|known| known.sid.clone()).collect()
    }

    /// Ends the log-ins that hang on those of the portal's that have ended; those that had them.
    pub fn end(&self, ended: &BTreeSet<String>) -> Vec<Arc<User>> {
        self.end_where(|vouched| vouched.sid.as_ref().is_some_and(|sid| ended.contains(sid)))
    }

    fn end_where(&self, mut must_end: impl FnMut(&mut Vouched) -> bool) -> Vec<Arc<User>> {
        let mut vouched = self.vouched.lock();
        let ended: Vec<_> =
            vouched.extract_if(.., |known| must_end(known)).filter_map(|known| known.login.upgrade()).collect();
        for login in &ended {
            self.sessions.remove(login);
        }
        ended
    }

    /// Checks a ticket, and waits a little for the key that it was signed with.
    async fn verify(&self, ticket: &str, nonce: &str) -> Result<(Claims, Arc<Trust>), Invalid> {
        let deadline = Instant::now() + KEY_DEADLINE;
        let mut newest = self.trust.clone();
        loop {
            let trust = newest.borrow_and_update().clone();
            let issuer = trust.portal.to_string();
            let expected = Expected { issuer: &issuer, namespace: &self.namespace, nonce };
            match ticket::verify(ticket, &trust.keys, expected, unix_time()) {
                Err(Invalid::UnknownKey) if matches!(timeout_at(deadline, newest.changed()).await, Ok(Ok(()))) => {}
                verified => return Ok((verified?, trust)),
            }
        }
    }

    fn use_up(&self, id: String, expires: u64, now: u64) -> Result<(), Refusal> {
        let mut used = self.used.lock();
        used.retain(|_, expires| expires.saturating_add(ticket::LEEWAY) > now);
        if used.contains_key(&id) {
            return Err(Refusal::Used);
        }
        if used.len() >= MAX_USED {
            return Err(Refusal::Busy);
        }
        used.insert(id, expires);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use super::*;
    use crate::ticket::{Order, SigningKey, tests::known as keys};

    const PORTAL: &str = "https://shell.example.com";

    fn trust(origin: &str, known: &[&SigningKey]) -> Arc<Trust> {
        let lifetime = Duration::from_secs(8 * 3600);
        let (origin, portal) = (origin.parse().unwrap(), PORTAL.parse().unwrap());
        Arc::new(Trust { origin, portal, lifetime, keys: keys(known), service: None, shares_origin: false })
    }

    struct Browser {
        cookie: String,
        nonce: String,
    }

    fn depart(logins: &PortalLogins, cookies: &str) -> Browser {
        let departure = logins.depart(Some("db-1"), once(cookies)).unwrap();
        let (to, nonce) = departure.location.split_once("&nonce=").unwrap();
        assert_eq!(to, format!("{PORTAL}/-/authorize?namespace=team-a&shell=db-1"));
        let cookie = departure.set_cookie.split(';').next().unwrap().to_owned();
        Browser { cookie, nonce: nonce.to_owned() }
    }

    fn sign(key: &SigningKey, nonce: &str, until: u64) -> String {
        let user = User { name: "ada".into(), groups: vec!["dba".into()], ..User::default() };
        key.sign(Order { issuer: PORTAL, namespace: "team-a", user: &user, nonce, until, sid: "s" }, unix_time())
            .unwrap()
    }

    fn logins(origin: &str, known: &[&SigningKey]) -> (watch::Sender<Arc<Trust>>, PortalLogins) {
        let (sender, trust) = watch::channel(trust(origin, known));
        (sender, PortalLogins::new("team-a".into(), trust).unwrap())
    }

    #[tokio::test]
    async fn a_ticket_logs_one_browser_in_once() {
        let key = SigningKey::generate().unwrap();
        let (_trust, logins) = logins("https://team-a.shell.example.com", &[&key]);
        let browser = depart(&logins, "");
        let ticket = sign(&key, &browser.nonce, unix_time() + 3600);
        let other = depart(&logins, "");
        for cookies in [other.cookie.as_str(), "", "__Host-webshell.team-a.nonce=0"] {
            assert_eq!(logins.redeem(&ticket, once(cookies)).await, Err(Refusal::Invalid(Invalid::Nonce)), "{cookies}");
        }
        let cookie = logins.redeem(&ticket, once(browser.cookie.as_str())).await.unwrap().set_cookie;
        assert!(cookie.starts_with("__Host-webshell.team-a=") && cookie.contains("; Path=/; Max-Age=3"), "{cookie}");
        let user = logins.identify(once(cookie.split(';').next().unwrap())).unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("ada", &["dba".to_owned()][..]));
        assert_eq!(logins.redeem(&ticket, once(browser.cookie.as_str())).await, Err(Refusal::Used));
        assert!(logins.identify(once(browser.cookie.as_str())).is_none(), "the nonce is no session");
    }

    #[tokio::test]
    async fn two_tabs_are_sent_with_the_same_nonce() {
        let key = SigningKey::generate().unwrap();
        let (_trust, logins) = logins("https://team-a.shell.example.com", &[&key]);
        let first = depart(&logins, "");
        let second = depart(&logins, &first.cookie);
        assert_eq!((&first.cookie, &first.nonce), (&second.cookie, &second.nonce));
        for browser in [first, second] {
            let ticket = sign(&key, &browser.nonce, unix_time() + 3600);
            assert!(logins.redeem(&ticket, once(browser.cookie.as_str())).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_waits_for_its_key() {
        let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (known, logins) = logins("https://team-a.shell.example.com", &[&old]);
        let browser = depart(&logins, "");
        let ticket = sign(&new, &browser.nonce, unix_time() + 3600);
        let redeem = || logins.redeem(&ticket, once(browser.cookie.as_str()));
        assert_eq!(redeem().await, Err(Refusal::Invalid(Invalid::UnknownKey)), "it never comes");
        let news = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            known.send_replace(trust("https://team-a.shell.example.com", &[&old, &new]));
        };
        assert!(tokio::join!(redeem(), news).0.is_ok());
    }

    #[tokio::test]
    async fn nobody_stays_longer_than_the_portal_knows_them() {
        let key = SigningKey::generate().unwrap();
        let (_trust, logins) = logins("https://team-a.shell.example.com", &[&key]);
        let browser = depart(&logins, "");
        let ended = sign(&key, &browser.nonce, unix_time());
        let refused = logins.redeem(&ended, once(browser.cookie.as_str())).await;
        assert_eq!(refused, Err(Refusal::Invalid(Invalid::Expired)));
        let long = sign(&key, &browser.nonce, unix_time() + 1_000_000);
        let cookie = logins.redeem(&long, once(browser.cookie.as_str())).await.unwrap().set_cookie;
        assert!(cookie.contains("; Max-Age=28800;"), "{cookie}");
    }

    #[tokio::test]
    async fn a_ticket_works_at_the_pod_only_that_sent_the_browser() {
        let key = SigningKey::generate().unwrap();
        let [(_one, old), (_other, new)] = [(); 2].map(|()| logins("https://team-a.shell.example.com", &[&key]));
        let browser = depart(&old, "");
        let ticket = sign(&key, &browser.nonce, unix_time() + 3600);
        assert_eq!(new.redeem(&ticket, once(browser.cookie.as_str())).await, Err(Refusal::Again));
        assert!(old.redeem(&ticket, once(browser.cookie.as_str())).await.is_ok(), "nothing used it up");
        // It begins again where it came to, and arrives.
        let again = depart(&new, &browser.cookie);
        assert_ne!(again.nonce, browser.nonce);
        let ticket = sign(&key, &again.nonce, unix_time() + 3600);
        assert!(new.redeem(&ticket, once(again.cookie.as_str())).await.is_ok());
        // Between two that stay, it does not go on without end.
        let mut browser = again;
        for (tries, pods) in [[&old, &new], [&new, &old]].iter().cycle().enumerate() {
            let reply = pods[0].redeem("", once(browser.cookie.as_str())).await;
            if reply == Err(Refusal::OtherPod) {
                assert_eq!(tries, 2);
                break;
            }
            assert_eq!(reply, Err(Refusal::Again));
            browser = depart(pods[0], &browser.cookie);
        }
        let later = depart(&old, &browser.cookie);
        assert_eq!(new.redeem("", once(later.cookie.as_str())).await, Err(Refusal::Again), "whoever tries later may");
    }

    #[test]
    fn namespaces_on_one_host_have_cookies_of_their_own() {
        let trust = trust("https://gateways.shell.example.com", &[]);
        let cookie = trust.cookie("team-a", "").set("0", Duration::ZERO);
        assert!(cookie.starts_with("__Host-webshell.team-a=0; Path=/;"), "{cookie}");
        assert_ne!(trust.cookie("team-a", ""), trust.cookie("team-b", ""));
        assert_ne!(trust.cookie("nonce", ""), trust.cookie("x", ".nonce"));
    }

    #[test]
    fn used_tickets_are_never_forgotten_in_time() {
        let (_trust, logins) = logins(PORTAL, &[]);
        for number in 0..MAX_USED {
            assert_eq!(logins.use_up(number.to_string(), 130, 100), Ok(()));
        }
        assert_eq!(logins.use_up("more".into(), 130, 134), Err(Refusal::Busy));
        assert_eq!(logins.use_up("0".into(), 130, 134), Err(Refusal::Used));
        assert_eq!(logins.use_up("more".into(), 165, 135), Ok(()));
        assert_eq!(logins.used.lock().len(), 1);
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let settings = |origin: &str| -> GatewaySettings {
            let text = format!(
                "{{origin: '{origin}', portal: '{PORTAL}', policy: {{}}, loginLifetime: 8h, apiOutageGrace: 10m, maxSessions: 4, trustedProxies: []}}"
            );
            crate::config::parse("gateway.yaml", &text).unwrap()
        };
        let good = Trust::new(&settings("https://team-a.shell.example.com"), "{\"keys\": []}").unwrap();
        assert_eq!(good.lifetime, Duration::from_secs(8 * 3600));
        assert!(good.shares_origin, "for all that is known");
        let alone = GatewaySettings { mode: RouteMode::Host, ..settings("https://gateways.shell.example.com") };
        assert!(!Trust::new(&alone, "{\"keys\": []}").unwrap().shares_origin);
        let error = Trust::new(&settings("team-a"), "{\"keys\": []}").unwrap_err().to_string();
        assert!(error.starts_with("origin: must be an origin"), "{error}");
        let error = Trust::new(&settings(PORTAL), "").unwrap_err().to_string();
        assert!(error.starts_with("keys.json: "), "{error}");
    }
}
