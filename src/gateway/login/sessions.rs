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
#[derive(Clone, Debug)]
pub struct Login {
    /// Who. It is this log-in's own, and tells it from others of the same user.
    pub user: Arc<User>,
    /// Until when.
    pub expires: Instant,
}

impl Sessions {
    /// Nobody is logged in.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, open: Mutex::default() }
    }

    /// Logs somebody in; the `Set-Cookie` that names the session.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn open(&self, cookie: &Cookie, user: User, lifetime: Duration) -> Result<String, getrandom::Error> {
        let id = Secret::random()?;
        let now = Instant::now();
        let mut open = self.open.lock();
        open.retain(|_, login| login.expires > now);
        let of_one = open.iter().filter(|(_, login)| login.user.name == user.name);
        let crowded = if of_one.clone().count() >= self.most_of_one {
            oldest(of_one)
        } else if open.len() >= self.most {
            oldest(open.iter())
        } else {
            None
        };
        crowded.map(|id| open.remove(&id));
        open.insert(digest(id.expose()), Login { user: Arc::new(user), expires: now + lifetime });
        Ok(cookie.set(id.expose(), lifetime))
    }

    /// Who sent the `Cookie` headers.
    pub fn find<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Option<Login> {
        let open = self.open.lock();
        let now = Instant::now();
        cookie.values(headers).filter_map(|id| open.get(&digest(id))).find(|login| login.expires > now).cloned()
    }

    /// Ends the log-ins that the `Cookie` headers name.
    pub fn close<'a>(&self, cookie: &Cookie, headers: impl Iterator<Item = &'a str>) -> Vec<Arc<User>> {
        let mut open = self.open.lock();
        cookie.values(headers).filter_map(|id| open.remove(&digest(id))).map(|login| login.user).collect()
    }
}

fn oldest<'a>(logins: impl Iterator<Item = (&'a Digest, &'a Login)>) -> Option<Digest> {
    logins.min_by_key(|(_, login)| login.expires).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Logs in; the cookie as the browser sends it.
    fn log_in(sessions: &Sessions, name: &str) -> String {
        let user = User { name: name.to_owned(), groups: Vec::new() };
        let cookie = sessions.open(&Cookie::host(), user, HOUR).unwrap();
        cookie.split(';').next().unwrap().to_owned()
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
