//! Who may open which WebShell of the namespace: whom the API server allows, as long as it can be asked.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture, stream};
use tracing::warn;

use super::{
    calls::CallError,
    review::{CONCURRENT, Reviewer},
    shells::Shells,
};
use crate::{
    catalog::{Catalog, ShellKey},
    gateway::guard::{Guard, Undecided, Verdict},
    user::User,
};

/// Asks the API server at every connection, and looks afresh at what the WebShell names.
#[derive(Debug)]
pub struct ClusterGuard {
    /// The only namespace with shells.
    pub namespace: String,
    /// Asks for reviews.
    pub reviewer: Arc<Reviewer>,
    /// The WebShells.
    pub shells: Arc<Shells>,
}

impl ClusterGuard {
    async fn check(&self, user: &User, shell: &ShellKey) -> Result<bool, CallError> {
        let allowed = shell.namespace == self.namespace && self.reviewer.may(user, Some(&shell.name)).await?;
        if allowed {
            self.shells.look(&shell.name).await?;
        }
        Ok(allowed)
    }

    async fn review<'a>(&self, user: &User, key: &'a ShellKey) -> Result<(&'a ShellKey, bool), CallError> {
        Ok((key, self.reviewer.may(user, Some(&key.name)).await?))
    }

    async fn all_visible<'a>(
        &'a self,
        user: &'a User,
        catalog: &'a Catalog,
    ) -> Result<BTreeSet<&'a ShellKey>, CallError> {
        // Most who may open one may open all.
        if self.reviewer.may(user, None).await? {
            return Ok(catalog.shells.keys().collect());
        }
        let reviews: Vec<_> = catalog.shells.keys().map(|key| self.review(user, key)).collect();
        let mut reviews = std::pin::pin!(stream::iter(reviews).buffer_unordered(CONCURRENT));
        let mut visible = BTreeSet::new();
        while let Some(review) = reviews.next().await {
            let (key, allowed) = review?;
            if allowed {
                visible.insert(key);
            }
        }
        Ok(visible)
    }
}

impl Guard for ClusterGuard {
    fn admit<'a>(&'a self, user: &'a User, shell: &'a ShellKey) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            match self.check(user, shell).await {
                Ok(true) => Verdict::Allowed,
                Ok(false) => Verdict::Denied,
                Err(error) => {
                    warn!(%shell, user = user.name, %error, "whether a user may open a shell cannot be found out");
                    Verdict::Undecided
                }
            }
        })
    }

    fn visible<'a>(
        &'a self,
        user: &'a User,
        catalog: &'a Catalog,
    ) -> BoxFuture<'a, Result<BTreeSet<&'a ShellKey>, Undecided>> {
        Box::pin(async move {
            self.all_visible(user, catalog).await.map_err(|error| {
                warn!(user = user.name, %error, "which shells a user may open cannot be found out");
                Undecided
            })
        })
    }
}
