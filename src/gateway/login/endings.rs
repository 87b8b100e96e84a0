//! Ends log-ins that hang on something that is no more, and the terminals that were opened by them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::PortalLogins;
use crate::{session::Registry, user::User};

/// What users are told whose log-in's key was withdrawn.
const WITHDRAWN: &str = "The key that vouched for your log-in was withdrawn: log in again.";

/// Ends log-ins whose key is withdrawn, until it is stopped.
pub async fn follow_keys(logins: Arc<PortalLogins>, registry: Registry, stop: CancellationToken) {
    let mut trust = logins.trust();
    while let Some(Ok(())) = stop.run_until_cancelled(trust.changed()).await {
        trust.mark_unchanged();
        end(&registry, &logins.end_withdrawn(), WITHDRAWN);
    }
}

fn end(registry: &Registry, ended: &[Arc<User>], message: &str) {
    for user in ended {
        warn!(user = user.name, message, "a log-in was ended");
        registry.log_out(user, message);
    }
}
