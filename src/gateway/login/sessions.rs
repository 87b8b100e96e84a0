//! Who is logged in: by the digest of a cookie's value, for a while.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::cookie::{Cookie, Digest, Secret, digest};
use crate::user::User;

/// For how long after its last request a log-in counts as in use: somebody is at a page that asks again, or comes back to it.
const IN_USE: Duration = Duration::from_secs(10 * 60);

/// Which part of all places the ServiceAccounts of one namespace may take, at most: a tenant can make any number of them.
const SHARE: usize = 4;

/// The log-ins of a server. They are bounded in number. Beyond a user's bound the least recently used of their own gives way;
/// beyond that of a namespace's ServiceAccounts one of theirs, and beyond that of all one of whoever has the most, if it is not in
/// use.
#[derive(Debug)]
pub struct Sessions {
    /// The most at once.
    most: usize,
    /// The most of one user, so that nobody logs everybody else out.
    most_of_one: usize,
    open: Mutex<HashMap<Digest, Known>>,
}

/// A log-in, and when somebody last came with it.
#[derive(Debug)]
struct Known {
    login: Login,
    used: Instant,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who. It is this log-in's own, and tells it from others of the same user.
    pub user: Arc<User>,
    /// Until when.
    pub expires: Instant,
    /// Names it to others who know of it (128 random bits in hexadecimal digits), and lets nobody in. It goes on in a log-in of the
    /// same user that takes its place.
    pub id: String,
}

/// What logging in gives.
#[derive(Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The `Set-Cookie` that names the session.
    pub set_cookie: String,
    /// The log-in.
    pub login: Login,
    /// Those of the same browser whose place it took.
    pub replaced: Vec<Login>,
}

/// Why nobody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No log-in may give way.
    #[error("as many are logged in as there may be; try again in some minutes")]
    Full,
    /// There is nothing to name the session by.
    #[error("the system has no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

// === impl Sessions ===

impl Sessions {
    /// Nobody is logged in.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, open: Mutex::default() }
    }

    /// Logs somebody in who sent the `Cookie` headers. What they name ends: the browser forgets it.
    ///
    /// # Errors
    /// When there is no room, or the system has no random numbers.
    pub fn open<'a>(
        &self,
        cookie: &Cookie,
        user: User,
        lifetime: Duration,
        headers: impl Iterator<Item = &'a str>,
    ) -> Result<LoggedIn, OpenError> {
        let (secret, id) = (Secret::random()?, Secret::random()?);
        let now = Instant::now();
        let mut open = self.open.lock();
        open.retain(|_, known| known.login.expires > now);
        let replaced: Vec<Login> =
            cookie.values(headers).filter_map(|value| open.remove(&digest(value))).map(|known| known.login).collect();
        let earlier = replaced.iter().find(|login| login.user.name == user.name);
        let id = earlier.map_or_else(|| id.expose().to_owned(), |login| login.id.clone());
        if let Some(id) = self.crowded_out(&open, &user.name, now)? {
            open.remove(&id);
        }
        let login = Login { user: Arc::new(user), expires: now + lifetime, id };
        open.insert(digest(secret.expose()), Known { login: login.clone(), used: now });
        Ok(LoggedIn { set_cookie: cookie.set(secret.expose(), lifetime), login, replaced })
    }

    /// Which log-in gives way to another one of the user of this name, if one must. What others hold is taken only where it is idle,
    /// and only from who holds more than the newcomer.
    fn crowded_out(
        &self,
        open: &HashMap<Digest, Known>,
        name: &str,
        now: Instant,
    ) -> Result<Option<Digest>, OpenError> {
        let own = open.iter().filter(|(_, known)| known.name() == name);
        let count = own.clone().count();
        if count >= self.most_of_one {
            return Ok(own.min_by_key(|(_, known)| known.used).map(|(id, _)| *id));
        }
        if let Some(namespace) = namespace_of(name) {
            let tenant = open.iter().filter(|(_, known)| namespace_of(known.name()) == Some(namespace));
            if tenant.clone().count() >= self.most / SHARE {
                let idle = tenant.filter(|(_, known)| !known.is_in_use(now));
                let crowded_out = idle.min_by_key(|(_, known)| known.used);
                return crowded_out.map(|(id, _)| Some(*id)).ok_or(OpenError::Full);
            }
        }
        if open.len() < self.most {
            return Ok(None);
        }
        let mut counts = HashMap::<&str, usize>::new();
        for known in open.values() {
            *counts.entry(known.name()).or_default() += 1;
        }
        let held = |known: &Known| counts.get(known.name()).copied().unwrap_or_default();
        let idle = open.iter().filter(|(_, known)| !known.is_in_use(now) && held(known) > count);
        let crowded_out = idle.max_by_key(|(_, known)| (held(known), Reverse(known.used)));
        crowded_out.map(|(id, _)| Some(*id)).ok_or(OpenError::Full)
    }

    /// Who sent the `Cookie` headers.
    pub fn find<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Option<Login> {
        let mut open = self.open.lock();
        let now = Instant::now();
        let is_open = |id: &Digest| open.get(id).is_some_and(|known| known.login.expires > now);
        let id = cookie.values(headers).map(digest).find(is_open)?;
        let known = open.get_mut(&id)?;
        known.used = now;
        Some(known.login.clone())
    }

    /// Ends the log-ins that the `Cookie` headers name.
    pub fn close<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Vec<Login> {
        let mut open = self.open.lock();
        cookie.values(headers).filter_map(|id| open.remove(&digest(id))).map(|known| known.login).collect()
    }

    /// Ends this log-in.
    pub fn remove(&self, login: &Arc<User>) {
        self.open.lock().retain(|_, known| !Arc::ptr_eq(&known.login.user, login));
    }
}

/// The namespace of a ServiceAccount, by its user's name.
fn namespace_of(name: &str) -> Option<&str> {
    Some(name.strip_prefix("system:serviceaccount:")?.split_once(':')?.0)
}

// === impl Known ===

impl Known {
    fn name(&self) -> &str {
        &self.login.user.name
    }

    /// Whether a request came with it lately, or something that it opened (a terminal) lives and so holds its user.
    fn is_in_use(&self, now: Instant) -> bool {
        now - self.used < IN_USE || Arc::strong_count(&self.login.user) > 1
    }
}

#[cfg(test)]
mod tests {
    use std::iter::{empty, once};

    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Logs in; the cookie as the browser sends it.
    fn log_in(sessions: &Sessions, name: &str) -> String {
        let user = User { name: name.to_owned(), ..User::default() };
        value(&sessions.open(&Cookie::host(), user, HOUR, empty()).unwrap())
    }

    /// The cookie as the browser sends it.
    fn value(logged_in: &LoggedIn) -> String {
        logged_in.set_cookie.split(';').next().unwrap().to_owned()
    }

    fn name(sessions: &Sessions, cookie: &str) -> Option<String> {
        sessions.find(&Cookie::host(), once(cookie)).map(|login| login.user.name.clone())
    }

    #[test]
    fn a_session_lasts_until_log_out() {
        let sessions = Sessions::new(8, 8);
        let (mine, yours) = (log_in(&sessions, "ada"), log_in(&sessions, "ben"));
        assert_eq!(name(&sessions, &format!("a=b; {mine}; c")).as_deref(), Some("ada"));
        assert_eq!(name(&sessions, &yours).as_deref(), Some("ben"));
        for stranger in ["", "__Host-webshell=", "__Host-webshell=0", &mine.replace("__Host-", "")] {
            assert_eq!(name(&sessions, stranger), None, "{stranger}");
        }
        let ended = sessions.close(&Cookie::host(), once(mine.as_str()));
        assert_eq!(ended.len(), 1);
        assert_eq!((name(&sessions, &mine), name(&sessions, &yours).as_deref()), (None, Some("ben")));
        assert!(sessions.close(&Cookie::host(), once(mine.as_str())).is_empty());
    }

    #[test]
    fn two_log_ins_of_one_user_are_told_apart() {
        let sessions = Sessions::new(8, 8);
        let (one, other) = (log_in(&sessions, "ada"), log_in(&sessions, "ada"));
        let find = |cookie: &str| sessions.find(&Cookie::host(), once(cookie)).unwrap().user;
        assert!(Arc::ptr_eq(&find(&one), &find(&one)) && !Arc::ptr_eq(&find(&one), &find(&other)));
    }

    #[test]
    fn a_login_takes_the_place_of_those_that_the_browser_had() {
        let sessions = Sessions::new(8, 8);
        let log_in_with = |name: &str, cookies: &str| {
            let user = User { name: name.to_owned(), ..User::default() };
            sessions.open(&Cookie::host(), user, HOUR, once(cookies)).unwrap()
        };
        let first = log_in_with("ada", "");
        let again = log_in_with("ada", &value(&first));
        assert_eq!(name(&sessions, &value(&first)), None);
        assert!(Arc::ptr_eq(&again.replaced[0].user, &first.login.user));
        assert_eq!(again.login.id, first.login.id, "of the same user's it is known by the same name");
        let elsewhere = log_in_with("ada", "");
        assert_ne!(elsewhere.login.id, first.login.id);
        let both = log_in_with("eve", &format!("{}; {}", value(&again), value(&elsewhere)));
        assert_eq!(both.replaced.len(), 2);
        assert!(both.replaced.iter().all(|login| login.id != both.login.id));
        assert_eq!(name(&sessions, &value(&both)).as_deref(), Some("eve"));
        sessions.remove(&both.login.user);
        assert_eq!(sessions.open.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_its_lifetime() {
        let sessions = Sessions::new(8, 8);
        let cookie = log_in(&sessions, "ada");
        tokio::time::advance(HOUR - Duration::from_secs(1)).await;
        assert!(name(&sessions, &cookie).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(name(&sessions, &cookie).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn over_their_own_bound_users_lose_what_they_used_least_recently() {
        let sessions = Sessions::new(8, 2);
        let log_in = async |name| {
            tokio::time::advance(Duration::from_secs(1)).await;
            log_in(&sessions, name)
        };
        let ada = log_in("ada").await;
        let ben = [log_in("ben").await, log_in("ben").await];
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(name(&sessions, &ben[0]).is_some());
        let again = log_in("ben").await;
        let found = [&ada, &ben[0], &ben[1], &again].map(|cookie| name(&sessions, cookie).is_some());
        assert_eq!(found, [true, true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_in_number_log_out_nobody_who_is_at_work() {
        const ACCOUNTS: usize = 128;
        let sessions = Sessions::new(4096, 32);
        let at_work = log_in(&sessions, "ada");
        let terminal = sessions.find(&Cookie::host(), once(log_in(&sessions, "ben").as_str())).unwrap();
        let ben = Arc::clone(&terminal.user);
        let away = log_in(&sessions, "cyd");
        tokio::time::advance(IN_USE).await;
        let crowd = || {
            for account in 0..ACCOUNTS {
                for _ in 0..40 {
                    let user = User { name: format!("account-{account}"), ..User::default() };
                    let _ = sessions.open(&Cookie::host(), user, HOUR, empty());
                }
            }
        };
        name(&sessions, &at_work).unwrap();
        crowd();
        assert_eq!(sessions.open.lock().len(), 4096);
        assert!(name(&sessions, &at_work).is_some());
        assert!(sessions.open.lock().values().any(|known| Arc::ptr_eq(&known.login.user, &ben)), "a terminal is open");
        assert!(name(&sessions, &away).is_some(), "others hold more");
        let late = User { name: "dan".to_owned(), ..User::default() };
        assert_eq!(sessions.open(&Cookie::host(), late, HOUR, empty()), Err(OpenError::Full), "all are in use");
        tokio::time::advance(IN_USE).await;
        crowd();
        let late = log_in(&sessions, "dan");
        for person in [&at_work, &away, &late] {
            assert!(name(&sessions, person).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenants_accounts_leave_others_their_places() {
        let sessions = Sessions::new(4096, 32);
        let crowd = |account: &str| {
            let log_in = |number: usize| {
                let name = format!("system:serviceaccount:team-a:{account}-{}", number / 32);
                sessions.open(&Cookie::host(), User { name, ..User::default() }, HOUR, empty()).is_ok()
            };
            (0..4096).filter(|number| log_in(*number)).count()
        };
        assert_eq!(crowd("one"), 1024);
        let other = log_in(&sessions, "system:serviceaccount:team-b:ada");
        assert_eq!(crowd("another"), 0, "all of theirs are in use");
        tokio::time::advance(IN_USE).await;
        name(&sessions, &other).unwrap();
        assert_eq!(crowd("a-third"), 1024);
        assert!(name(&sessions, &other).is_some());
        assert_eq!(sessions.open.lock().len(), 1025);
    }

    proptest! {
        /// Whoever logs in how often, what others have in use stays, and somebody is refused only where nothing may give way.
        #[test]
        fn a_newcomer_takes_nothing_that_is_in_use(steps in proptest::collection::vec((0usize..6, 0usize..4, 0u64..400), 1..120)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let sessions = Sessions::new(8, 3);
                let mut cookies: Vec<String> = Vec::new();
                for (user, action, pause) in steps {
                    tokio::time::advance(Duration::from_secs(pause)).await;
                    if action == 0 {
                        if let Some(cookie) = cookies.get(user) {
                            name(&sessions, cookie);
                        }
                        continue;
                    }
                    let now = Instant::now();
                    // Copies of no user: a log-in is in use while something holds its own.
                    let before: HashMap<Digest, (String, Instant)> = sessions
                        .open
                        .lock()
                        .iter()
                        .filter(|(_, known)| known.login.expires > now)
                        .map(|(id, known)| (*id, (known.name().to_owned(), known.used)))
                        .collect();
                    let held = |name: &str| before.values().filter(|(other, _)| other == name).count();
                    let newcomer = format!("user-{user}");
                    let (own, all) = (held(&newcomer), before.len());
                    let may_give_way = before.values().any(|(name, used)| now - *used >= IN_USE && held(name) > own);
                    let user = User { name: newcomer.clone(), ..User::default() };
                    let opened = sessions.open(&Cookie::host(), user, HOUR, empty());
                    let (gone, count) = {
                        let after = sessions.open.lock();
                        let is_gone = |id: &Digest| !after.contains_key(id);
                        (before.iter().filter(|(id, _)| is_gone(id)).map(|(_, it)| it).collect::<Vec<_>>(), after.len())
                    };
                    prop_assert!(count <= 8 && gone.len() <= 1);
                    prop_assert_eq!(opened.is_err(), own < 3 && all == 8 && !may_give_way);
                    for (name, used) in gone {
                        if *name == newcomer {
                            prop_assert_eq!(own, 3);
                        } else {
                            prop_assert!(now - *used >= IN_USE && own < 3 && all == 8);
                        }
                    }
                    cookies.extend(opened.ok().map(|opened| value(&opened)));
                }
                Ok(())
            })?;
        }
    }
}
