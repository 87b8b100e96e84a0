//! Who may open which WebShell of the namespace: whom the API server allows, as long as it can be asked.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::shells::Shells;
use crate::{
    calls::{CallError, DEADLINE, Purpose},
    catalog::{Catalog, ShellKey},
    gateway::guard::{Guard, Verdict},
    rights::{
        Undecided,
        lists::{Lists, Visible},
        rate::RateLimits,
        review::{Extent, Reviewer},
        turns::Turns,
    },
    user::User,
};

/// How many connections of one user are decided at once. Others' wait behind no more than these.
const AT_ONCE: usize = 4;

/// How many connections of one user are decided, at most, and after how long one more: some dozens of tabs that come back
/// at once, and then some.
const BURST: u32 = 120;
const REFILL_INTERVAL: Duration = Duration::from_millis(500);

/// Asks the API server at every connection, and looks afresh at what the WebShell names.
#[derive(Debug)]
pub struct ClusterGuard {
    /// The only namespace with shells.
    namespace: String,
    reviewer: Arc<Reviewer>,
    lists: Arc<Lists>,
    shells: Arc<Shells>,
    turns: Turns,
    limits: RateLimits,
}

impl ClusterGuard {
    /// Guards the shells of `namespace`, of which `reviewer` knows who may open them.
    pub fn new(namespace: &str, reviewer: Arc<Reviewer>, shells: Arc<Shells>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            lists: Lists::new(Arc::clone(&reviewer)),
            reviewer,
            shells,
            turns: Turns::new(AT_ONCE),
            limits: RateLimits::new(BURST, REFILL_INTERVAL),
        }
    }

    async fn check(&self, user: &User, shell: &ShellKey) -> Result<bool, CallError> {
        // Not for ever, where many of the same user's hang.
        let _turn = timeout(DEADLINE, self.turns.next(&user.name)).await.map_err(|_| CallError::Late)?;
        let allowed = self.reviewer.may(Purpose::Connection, user, &Extent::Shell(shell.clone())).await?;
        self.lists.learn(user, shell, allowed);
        if allowed {
            self.shells.look(&shell.name, Purpose::Connection).await?;
        }
        Ok(allowed)
    }
}

impl Guard for ClusterGuard {
    fn admit<'a>(&'a self, user: &'a User, shell: &'a ShellKey) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if shell.namespace != self.namespace {
                return Verdict::Denied;
            }
            if self.limits.take(&user.name, 1) == 0 {
                debug!(%shell, user = user.name, "a user connects too often");
                return Verdict::Undecided(Undecided::TooOften);
            }
            match self.check(user, shell).await {
                Ok(true) => Verdict::Allowed,
                Ok(false) => Verdict::Denied,
                Err(error) => {
                    warn!(%shell, user = user.name, %error, "whether a user may open a shell cannot be found out");
                    Verdict::Undecided(Undecided::Unanswered)
                }
            }
        })
    }

    fn visible<'a>(&'a self, user: &'a User, catalog: &'a Catalog) -> BoxFuture<'a, Result<Visible, Undecided>> {
        Box::pin(async move {
            let shells: Vec<_> = catalog.shells.keys().cloned().collect();
            self.lists.visible(user, None, &shells).await.map_err(|error| {
                warn!(user = user.name, %error, "which shells a user may open cannot be found out");
                Undecided::Unanswered
            })
        })
    }
}

#[cfg(test)]
mod tests;
