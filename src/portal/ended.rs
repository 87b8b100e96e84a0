//! Log-ins that ended at the portal, of which gateways ask: what they vouched for there ends, too.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::gateway::login::sessions::Login;

/// How many are remembered, of some 100 bytes each: sixteen times as many as may be logged in at once.
const MAX_ENDED: usize = 64 * 1024;

/// How long one is remembered at least: gateways ask every few seconds, and may be cut off for a while.
const AT_LEAST: Duration = Duration::from_secs(15 * 60);

/// When the log-ins that ended would have expired, by their names: there is nothing left to end then.
#[derive(Debug, Default)]
pub struct EndedLogins(Mutex<HashMap<String, Instant>>);

impl EndedLogins {
    /// Remembers some. Beyond the bound, those are forgotten that would have expired first.
    pub fn add(&self, logins: impl IntoIterator<Item = Login>) {
        let now = Instant::now();
        let mut ended = self.0.lock();
        for login in logins {
            if ended.len() >= MAX_ENDED {
                ended.retain(|_, until| *until > now);
            }
            if ended.len() >= MAX_ENDED
                && let Some(first) = ended.iter().min_by_key(|(_, until)| **until).map(|(id, _)| id.clone())
            {
                ended.remove(&first);
            }
            ended.insert(login.id, login.expires.max(now + AT_LEAST));
        }
    }

    /// Those of `asked` that ended. Of a log-in that is not known, nothing is said: another portal may have made it.
    pub fn among(&self, asked: &BTreeSet<String>) -> BTreeSet<String> {
        let ended = self.0.lock();
        asked.iter().filter(|id| ended.contains_key(*id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn login(id: &str, expires: Instant) -> Login {
        Login { user: Arc::default(), expires, id: id.to_owned() }
    }

    fn ended(logins: &EndedLogins, ids: &[&str]) -> Vec<String> {
        logins.among(&ids.iter().map(|&id| id.to_owned()).collect()).into_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_is_known_until_it_would_have_expired() {
        let (logins, now) = (EndedLogins::default(), Instant::now());
        logins.add([login("a", now + Duration::from_secs(3600)), login("b", now)]);
        assert_eq!(ended(&logins, &["a", "b", "c"]), ["a", "b"]);
        tokio::time::advance(AT_LEAST).await;
        for number in 0..MAX_ENDED {
            logins.add([login(&number.to_string(), now + Duration::from_secs(7200))]);
        }
        assert_eq!(ended(&logins, &["a", "b", "0"]), ["0"]);
        assert_eq!(logins.0.lock().len(), MAX_ENDED);
    }
}
