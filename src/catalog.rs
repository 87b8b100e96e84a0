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
    pub kept: Option<Kept>,
}

/// What was in force before something that a WebShell names was missing.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What sessions go on with.
    pub access: Arc<Access>,
    /// Since when something is missing.
    pub since: Instant,
}

/// Everything a session needs of its WebShell.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where to.
    pub target: ssh::Target,
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
            Err(Obstacle { kept: Some(kept), .. }) => Ok(&kept.access),
            Err(obstacle) => Err(obstacle),
        }
    }
}

// === impl Obstacle ===

impl Obstacle {
    /// Something in its manifest, or in what that names, cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { reason: Reason::Invalid, message: message.into(), kept: None }
    }

    /// What is in the way is that something is missing: sessions go on with what was in force `before`, for
    /// [`MISSING_GRACE`] at most.
    pub fn keep(&mut self, before: &Result<Arc<Access>, Self>, now: Instant) {
        self.kept = match before {
            Ok(access) => Some(Kept { access: Arc::clone(access), since: now }),
            Err(before) => before.kept.clone().filter(|kept| now - kept.since < MISSING_GRACE),
        };
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
            && self.program == newer.program
            && self.connect_timeout == newer.connect_timeout
            && self.limits == newer.limits
            && self.clipboard_write == newer.clipboard_write
            && self.admission == newer.admission
            && self.min_rsa_bits == newer.min_rsa_bits
    }
}
