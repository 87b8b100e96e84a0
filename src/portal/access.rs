//! Which shells somebody may open, as far as the portal must know: for the list, and before it makes out a ticket.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tracing::warn;

use crate::{
    calls::{CallError, Calls, Purpose},
    catalog::ShellKey,
    rights::{
        Undecided,
        lists::{Lists, Visible},
        rate::RateLimits,
        review::{Extent, Reviewer},
    },
    user::User,
};

/// How many shells of a user are asked about for tickets, at most, and after how long one more. It is apart from what lists
/// may cause: a shell opens by its address whatever the list says.
const BURST: u32 = 60;
const REFILL_INTERVAL: Duration = Duration::from_secs(1);

/// Asks the API server.
#[derive(Debug)]
pub struct Access {
    reviewer: Arc<Reviewer>,
    lists: Arc<Lists>,
    limits: RateLimits,
}

impl Access {
    /// Nothing was asked yet.
    pub fn new(client: Client) -> Self {
        let reviewer = Arc::new(Reviewer::of_cluster(client, Arc::new(Calls::default())));
        Self { lists: Lists::new(Arc::clone(&reviewer)), reviewer, limits: RateLimits::new(BURST, REFILL_INTERVAL) }
    }

    /// Those of `shells`, which are all there are, in their order, that the user may open.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn allowed(&self, user: &User, shells: &[ShellKey]) -> Result<Visible, Undecided> {
        self.lists.visible(user, None, shells).await.map_err(|error| unanswered(&error))
    }

    /// Whether the user may open any of `shells`, which are all of a namespace.
    ///
    /// # Errors
    /// When the API server does not answer, or the user has too much asked.
    pub async fn may_open_any(&self, user: &User, namespace: &str, shells: &[ShellKey]) -> Result<bool, Undecided> {
        let visible = self.lists.visible(user, Some(namespace), shells).await.map_err(|error| unanswered(&error))?;
        if visible.shells.is_empty() && visible.complete {
            return Ok(false);
        }
        // What a list may still show is too old to let somebody in by.
        let is_known = visible.shells.iter().any(|shell| self.lists.is_known_to_open(user, shell));
        if is_known { Ok(true) } else { Err(Undecided::TooOften) }
    }

    /// Whether the user may open one shell. A refusal is never an answer from before: the right may have been given since.
    ///
    /// # Errors
    /// When the API server does not answer, or the user has too much asked.
    pub async fn may_open(&self, user: &User, shell: &ShellKey) -> Result<bool, Undecided> {
        if self.lists.is_known_to_open(user, shell) {
            return Ok(true);
        }
        if self.limits.take(&user.name, 1) == 0 {
            return Err(Undecided::TooOften);
        }
        let extent = Extent::Shell(shell.clone());
        let answer = self.reviewer.may(Purpose::Connection, user, &extent).await;
        let allowed = answer.map_err(|error| unanswered(&error))?;
        self.lists.learn(user, shell, allowed);
        Ok(allowed)
    }
}

fn unanswered(error: &CallError) -> Undecided {
    warn!(%error, "it could not be decided who may open what");
    Undecided::Unanswered
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::rights::{lists::BELIEVED, scripted::Scripted};

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_too_old_lets_nobody_in() {
        let api = Scripted::new(Duration::ZERO, |review| review == "ada n-000 s-0");
        let access = Access::new(api.client.clone());
        let ada = User { name: "ada".to_owned(), ..User::default() };
        let shells = |namespace: &str, count: usize| -> Vec<_> {
            let key = |number| ShellKey { namespace: namespace.to_owned(), name: format!("s-{number}") };
            (0..count).map(key).collect()
        };
        assert!(access.may_open_any(&ada, "n-000", &shells("n-000", 1)).await.unwrap());
        advance(BELIEVED).await;
        // All that she may have asked is asked about others.
        access.allowed(&ada, &shells("n-001", 2000)).await.unwrap();
        let refused = access.may_open_any(&ada, "n-000", &shells("n-000", 1)).await;
        assert!(matches!(refused, Err(Undecided::TooOften)), "{refused:?}");
    }
}
