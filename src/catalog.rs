//! The shells a gateway serves, as its source (manifest files, or a cluster) last saw them.
//!
//! A source publishes whole, immutable [`Catalog`]s through a `tokio::sync::watch` channel; whoever follows shells (routes,
//! the list, live sessions) compares the newest with what it used.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{api::SessionLimits, protocol::Reason, ssh};

/// How long sessions live on while something that their WebShell names is missing: Secrets are deleted and made again by those
/// who keep them in step with a store elsewhere.
pub const MISSING_GRACE: Duration = Duration::from_secs(30);

/// Names a WebShell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShellKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ShellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A WebShell, ready to be opened or with the reason why not.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which WebShell.
    pub key: ShellKey,
    /// `user@host:port`, for the list; empty when not known.
    pub target: String,
    /// What is needed to open it, or why it cannot be opened.
    pub access: Result<Arc<Access>, Obstacle>,
}

/// Why a WebShell cannot be opened.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// What connections are closed with.
    pub reason: Reason,
    /// A sentence for the user that says what to do.
    pub message: String,
    /// What sessions that live already go on with all the same.
    pub last_good: Option<LastGood>,
}

/// What was in force before something was in the way.
#[derive(Clone, Debug)]
pub struct LastGood {
    /// What sessions go on with.
    pub access: Arc<Access>,
    /// Until when, where that is bounded.
    pub until: Option<Instant>,
}

/// Everything a session needs of its WebShell.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where to.
    pub target: ssh::Target,
    /// Where that is, if it is not for DNS to say: a Service's addresses. They may change under living sessions.
    pub dial: Option<ssh::Dial>,
    /// With what.
    pub credentials: ssh::Credentials,
    /// Which host keys are trusted.
    pub host_keys: ssh::HostKeys,
    /// What to run there.
    pub program: ssh::Program,
    /// How long the dial and the handshake may take, together.
    pub connect_timeout: std::time::Duration,
    /// Limits of its sessions; changes apply to live ones.
    pub limits: SessionLimits,
    /// Whether the shell may write to the browser's clipboard (OSC 52).
    pub clipboard_write: bool,
    /// Which addresses may be connected to.
    pub admission: ssh::Admission,
    /// The shortest RSA key that may vouch for the host, in bits.
    pub min_rsa_bits: u32,
}

/// What of an [`Access`] has become another, so that sessions that began with it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The host, port or user.
    Target,
    /// What to authenticate with.
    Credentials,
    /// Which host keys are trusted.
    HostKeys,
}

/// All shells of a gateway.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By namespace and name.
    pub shells: BTreeMap<ShellKey, Entry>,
}

// === impl Entry ===

impl Entry {
    /// What sessions that live already go on with, or why they cannot.
    pub fn in_force(&self) -> Result<&Access, &Obstacle> {
        match &self.access {
            Ok(access) => Ok(access),
            Err(Obstacle { last_good: Some(last_good), .. }) => Ok(&last_good.access),
            Err(obstacle) => Err(obstacle),
        }
    }
}

// === impl Obstacle ===

impl Obstacle {
    /// Something in its manifest, or in what that names, cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { reason: Reason::Invalid, message: message.into(), last_good: None }
    }

    /// Has sessions that live go on with what was in force `before`: for `grace`, or without it as long as this is in the way.
    pub fn keep(&mut self, before: &Result<Arc<Access>, Self>, grace: Option<Duration>, now: Instant) {
        let (access, until) = match before {
            Ok(access) => (access, None),
            Err(Self { last_good: Some(last_good), .. }) => (&last_good.access, last_good.until),
            Err(_) => return,
        };
        let until = grace.map(|grace| until.unwrap_or(now + grace));
        let lasts = until.is_none_or(|until| now < until);
        self.last_good = lasts.then(|| LastGood { access: Arc::clone(access), until });
    }
}

// === impl Access ===

impl Access {
    /// What ends the sessions that began with this, now that `newer` is in force: compared by content, so that a file
    /// saved as it was, or a Secret replaced by its like, ends nothing.
    pub fn change(&self, newer: &Self) -> Option<Change> {
        if self.target != newer.target {
            Some(Change::Target)
        } else if !self.credentials.same(&newer.credentials) {
            Some(Change::Credentials)
        } else {
            (self.host_keys != newer.host_keys).then_some(Change::HostKeys)
        }
    }

    /// Whether nothing is different in `newer`.
    pub fn same(&self, newer: &Self) -> bool {
        self.change(newer).is_none()
            && self.dial == newer.dial
            && self.program == newer.program
            && self.connect_timeout == newer.connect_timeout
            && self.limits == newer.limits
            && self.clipboard_write == newer.clipboard_write
            && self.admission == newer.admission
            && self.min_rsa_bits == newer.min_rsa_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Session;

    fn access() -> Arc<Access> {
        Arc::new(Access {
            target: ssh::Target { host: "db-1".into(), port: 22, user: "ops".into() },
            dial: None,
            credentials: ssh::Credentials::default(),
            host_keys: ssh::HostKeys::default(),
            program: ssh::Program::default(),
            connect_timeout: Duration::from_secs(1),
            limits: Session::default().limits(),
            clipboard_write: false,
            admission: ssh::Admission::default(),
            min_rsa_bits: 0,
        })
    }

    /// What becomes of an obstacle that is found after so many seconds.
    fn then(before: Result<Arc<Access>, Obstacle>, grace: Option<Duration>, begin: Instant, after: u64) -> Obstacle {
        let mut obstacle = Obstacle::invalid("missing");
        obstacle.keep(&before, grace, begin + Duration::from_secs(after));
        obstacle
    }

    #[test]
    fn sessions_go_on_for_a_grace_from_when_something_was_first_missing() {
        let begin = Instant::now();
        let grace = Some(MISSING_GRACE);
        let mut found = then(Ok(access()), grace, begin, 0);
        for after in [1, 15, 29] {
            found = then(Err(found), grace, begin, after);
            assert!(found.last_good.is_some(), "{after}");
        }
        found = then(Err(found), grace, begin, 30);
        assert!(found.last_good.is_none());
        assert!(then(Err(found), grace, begin, 31).last_good.is_none(), "over is over");
        assert!(then(Err(Obstacle::invalid("unusable")), grace, begin, 0).last_good.is_none(), "nothing was in force");
    }

    #[test]
    fn what_may_last_has_no_end_and_gives_what_comes_after_its_own() {
        let begin = Instant::now();
        let not_ready = then(Ok(access()), None, begin, 0);
        let not_ready = then(Err(not_ready), None, begin, 3600);
        assert!(not_ready.last_good.is_some());
        let missing = then(Err(not_ready), Some(MISSING_GRACE), begin, 3600);
        let missing = then(Err(missing), Some(MISSING_GRACE), begin, 3629);
        assert!(missing.last_good.is_some());
        assert!(then(Err(missing), Some(MISSING_GRACE), begin, 3630).last_good.is_none());
    }
}
