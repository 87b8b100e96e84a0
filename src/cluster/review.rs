//! Whether users of live sessions may still open their WebShells: asked of the API server again and again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    calls::Purpose,
    catalog::ShellKey,
    protocol::{Reason, v1::Ended},
    rights::review::{Extent, Reviewer},
    session::Registry,
    user::User,
};

/// How often the users of live sessions are reviewed: a right that was taken away ends them within 10 s, of which the
/// review takes some.
const PERIOD: Duration = Duration::from_secs(8);

/// The most reviews asked for at once in a round; calls have a bound of their own.
const CONCURRENT: usize = 8;

/// What becomes of a session after a review.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Ends(Reason, &'static str),
}

/// Reviews the users of live sessions again and again, until it is stopped. Without an answer their sessions live on for
/// the grace that the channel has.
pub async fn watch_over(
    reviewer: Arc<Reviewer>,
    namespace: String,
    registry: Registry,
    grace: watch::Receiver<Duration>,
    stop: CancellationToken,
) {
    let mut allowed = HashMap::new();
    while stop.run_until_cancelled(sleep(PERIOD)).await.is_some() {
        let users = registry.users();
        allowed.retain(|pair, _| users.contains(pair));
        let reviews = stream::iter(users).map(|(user, shell)| {
            let reviewer = Arc::clone(&reviewer);
            async move {
                let answer = reviewer.may(Purpose::Session, &user, &Extent::Shell(shell.clone())).await;
                (user, shell, answer)
            }
        });
        let mut reviews = std::pin::pin!(reviews.buffer_unordered(CONCURRENT));
        let mut unanswered = None;
        while let Some(Some((user, shell, answer))) = stop.run_until_cancelled(reviews.next()).await {
            let now = Instant::now();
            // Who is not known yet was reviewed when they connected.
            let last = *allowed.entry((Arc::clone(&user), shell.clone())).or_insert(now);
            let fate = judge(answer.as_ref().ok().copied(), now - last, *grace.borrow());
            if let Ok(true) = answer {
                allowed.insert((Arc::clone(&user), shell.clone()), now);
            }
            unanswered = answer.err().or(unanswered);
            if let Fate::Ends(reason, message) = fate {
                end(&registry, &user, &shell, reason, message);
            }
        }
        if let Some(error) = unanswered {
            warn!(namespace, %error, "the rights of users cannot be reviewed; live sessions go on for a while");
        }
    }
}

fn end(registry: &Registry, user: &User, shell: &ShellKey, reason: Reason, message: &str) {
    registry.end(user, shell, &Ended::new(reason, message));
}

/// What an answer means for a session whose user was last allowed so long ago.
fn judge(allowed: Option<bool>, since: Duration, grace: Duration) -> Fate {
    match allowed {
        Some(true) => Fate::Lives,
        Some(false) => Fate::Ends(Reason::PermissionLost, "You may not open this shell any more."),
        None if since < grace => Fate::Lives,
        None => Fate::Ends(
            Reason::ApiUnavailable,
            "Whether you may still use this shell could not be found out for too long: the cluster's API server does not answer.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_answer_sessions_live_on_for_a_grace() {
        let (grace, second) = (Duration::from_secs(600), Duration::from_secs(1));
        let ends = |fate| match fate {
            Fate::Lives => None,
            Fate::Ends(reason, _) => Some(reason),
        };
        assert_eq!(ends(judge(Some(true), grace * 2, grace)), None);
        assert_eq!(ends(judge(Some(false), Duration::ZERO, grace)), Some(Reason::PermissionLost));
        assert_eq!(ends(judge(None, grace - second, grace)), None);
        assert_eq!(ends(judge(None, grace, grace)), Some(Reason::ApiUnavailable));
    }
}
