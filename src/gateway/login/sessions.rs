//! Who is logged in: by the digest of a cookie's value, for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::cookie::{Cookie, Digest, Secret, digest};
use crate::user::User;

/// The log-ins of a server. They are bounded in number; beyond it the oldest gives way.
#[derive(Debug)]
pub struct Sessions {
    /// The most at once.
    most: usize,
    /// The most of one user, so that nobody logs everybody else out.
    most_of_one: usize,
    open: Mutex<HashMap<Digest, Login>>,
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

impl Sessions {
    /// Nobody is logged in.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, open: Mutex::default() }
    }

    /// Logs somebody in who sent the `Cookie` headers. What they name ends: the browser forgets it.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn open<'a>(
        &self,
        cookie: &Cookie,
        user: User,
        lifetime: Duration,
        headers: impl Iterator<Item = &'a str>,
    ) -> Result<LoggedIn, getrandom::Error> {
        let (secret, id) = (Secret::random()?, Secret::random()?);
        let now = Instant::now();
        let mut open = self.open.lock();
        open.retain(|_, login| login.expires > now);
        let replaced: Vec<Login> = cookie.values(headers).filter_map(|value| open.remove(&digest(value))).collect();
        let earlier = replaced.iter().find(|login| login.user.name == user.name);
        let id = earlier.map_or_else(|| id.expose().to_owned(), |login| login.id.clone());
        let of_one = open.iter().filter(|(_, login)| login.user.name == user.name);
        let crowded = if of_one.clone().count() >= self.most_of_one {
            oldest(of_one)
        } else if open.len() >= self.most {
            oldest(open.iter())
        } else {
            None
        };
        crowded.map(|id| open.remove(&id));
        let login = Login { user: Arc::new(user), expires: now + lifetime, id };
        open.insert(digest(secret.expose()), login.clone());
        Ok(LoggedIn { set_cookie: cookie.set(secret.expose(), lifetime), login, replaced })
    }

    /// Who sent the `Cookie` headers.
    pub fn find<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Option<Login> {
        let open = self.open.lock();
        let now = Instant::now();
        cookie.values(headers).filter_map(|id| open.get(&digest(id))).find(|login| login.expires > now).cloned()
    }

    /// Ends the log-ins that the `Cookie` headers name.
    pub fn close<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Vec<Login> {
        let mut open = self.open.lock();
        cookie.values(headers).filter_map(|id| open.remove(&digest(id))).collect()
    }

    /// Ends this log-in.
    pub fn remove(&self, login: &Arc<User>) {
        self.open.lock().retain(|_, open| !Arc::ptr_eq(&open.user, login));
    }
}

fn oldest<'a>(logins: impl Iterator<Item = (&'a Digest, &'a Login)>) -> Option<Digest> {
    logins.min_by_key(|(_, login)| login.expires).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use std::iter::{empty, once};

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
    async fn the_oldest_session_gives_way_first_to_its_own_user() {
        let sessions = Sessions::new(4, 2);
        let log_in = async |name| {
            tokio::time::advance(Duration::from_secs(1)).await;
            log_in(&sessions, name)
        };
        let ada = log_in("ada").await;
        let ben = [log_in("ben").await, log_in("ben").await, log_in("ben").await];
        assert!(name(&sessions, &ada).is_some());
        assert!(name(&sessions, &ben[0]).is_none() && name(&sessions, &ben[1]).is_some());
        let others = [log_in("cyd").await, log_in("dan").await];
        assert!(name(&sessions, &ada).is_none() && others.iter().all(|other| name(&sessions, other).is_some()));
        assert_eq!(sessions.open.lock().len(), 4);
    }
}
