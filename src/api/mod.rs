//! The `WebShell` resource.

use std::time::Duration;

/// Limits of a session, parsed from `spec.session`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Ends a session without input for this long; `None` never.
    pub idle: Option<Duration>,
    /// Ends a session this long after it began; `None` never.
    pub maximum: Option<Duration>,
    /// How long a session outlives its WebSocket; `None` until another limit ends it.
    pub detach: Option<Duration>,
    /// How many sessions of the WebShell may live at once; `None` any number.
    pub sessions: Option<u32>,
}
