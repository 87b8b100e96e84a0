//! Memory for what sessions hold beyond their windows: one sum for all of a process, so that a limit of memory can fit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::telemetry::metrics::SessionMetrics;

/// How much all sessions together may hold beyond their windows, in bytes: sixteen builds go on in full behind closed lids, or more
/// that say less.
pub const TOTAL: usize = 64 * 1024 * 1024;

/// What all sessions together may hold, and do. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    most: usize,
    held: Arc<AtomicUsize>,
    metrics: SessionMetrics,
}

/// What one session holds of a budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// Of `most` bytes; what is held shows in `metrics`.
    pub fn new(most: usize, metrics: SessionMetrics) -> Self {
        Self { most, held: Arc::default(), metrics }
    }

    /// A share of nothing yet.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }
}

impl Share {
    /// Notes that the session holds so many bytes now; whether all together hold no more than they may. What has come is held in any
    /// case: only what is to come can be held back.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let Budget { most, held, metrics } = &self.budget;
        let before = std::mem::replace(&mut self.held, bytes);
        if bytes != before {
            held.fetch_add(bytes, Ordering::Relaxed);
            held.fetch_sub(before, Ordering::Relaxed);
            metrics.holds(bytes, before);
        }
        bytes == 0 || held.load(Ordering::Relaxed) <= *most
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        api::SessionLimits,
        catalog::ShellKey,
        protocol::{
            Reason,
            v1::{Ended, Size},
        },
        session::{NewSession, Registry, Session, replay},
        user::User,
    };

    #[test]
    fn all_shares_together_keep_to_the_budget() {
        let budget = Budget::new(100, SessionMetrics::default());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.hold(60) && other.hold(40));
        assert!(!other.hold(41), "it is used up");
        assert!(one.hold(59), "what is given back is there for others");
        drop(one);
        assert!(other.hold(100) && !other.hold(101) && other.hold(0));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    /// How much a machine says at once here.
    const PIECE: usize = 32 * 1024;

    fn is_held_back(session: &Session) -> bool {
        session.state.lock().paused
    }

    /// A machine that says as much as it may.
    async fn flood(session: Arc<Session>) -> Ended {
        session.connected();
        while !is_held_back(&session) {
            session.output(&[b'x'; PIECE]);
            tokio::task::yield_now().await;
        }
        session.ending().await;
        Ended::new(Reason::Exit, "asked to end")
    }

    #[tokio::test]
    async fn detached_sessions_hold_no_more_than_their_budget_and_lose_nothing() {
        let registry = Registry::new(100, SessionMetrics::default());
        let user = Arc::new(User { name: "ada".into(), ..User::default() });
        let shell = ShellKey { namespace: "team-a".into(), name: "db-1".into() };
        let client = Ipv4Addr::LOCALHOST.into();
        let sessions: Vec<_> = (0..40)
            .map(|_| {
                let limits = SessionLimits { idle: None, maximum: None, detach: None, sessions: None };
                let (shell, user, size) = (shell.clone(), Arc::clone(&user), Size::DEFAULT);
                let new = NewSession { shell, user, client, size, limits };
                let (attachment, welcome) = registry.open(new, None, flood).unwrap();
                (Arc::clone(attachment.session()), welcome.token)
            })
            .collect();
        let all_wait = async {
            while !sessions.iter().all(|(session, _)| is_held_back(session)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), all_wait).await.expect("all are held back");
        let held: Vec<_> = sessions.iter().map(|(session, _)| session.state.lock().replay.end() as usize).collect();
        assert!(held.iter().all(|held| (replay::WINDOW..replay::DETACHED_WINDOW + PIECE).contains(held)), "{held:?}");
        let sum: usize = held.iter().sum();
        assert!((TOTAL..TOTAL + sessions.len() * (replay::FREE + PIECE)).contains(&sum), "{sum} bytes");
        for (_, token) in &sessions {
            let (_, welcome) = registry.resume(token, 0, Size::DEFAULT, &shell, &user, client).unwrap();
            assert_eq!(welcome.output, 0, "all is sent, from the first byte");
        }
        registry.drain(std::time::Duration::ZERO).await;
        drop(sessions);
        assert_eq!(registry.count(), 0);
    }
}
