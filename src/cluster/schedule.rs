//! When what a WebShell names is to be looked at again. Pure.

use std::time::Duration;

/// Where sessions use it: a Secret that was changed or deleted ends them within 10 s, of which the look itself takes some.
const IN_USE: Duration = Duration::from_secs(8);

/// The same where something is missing, and sessions go on for a while: they are to end soon after, if it does not come back.
const MISSING: Duration = Duration::from_secs(1);

/// Where something is wrong with it: it may have been mended.
const UNRESOLVED: Duration = Duration::from_secs(10);

/// Otherwise; whoever connects looks anyway.
const UNUSED: Duration = Duration::from_secs(60);

/// What there is to know of a WebShell.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// How long ago it was looked at, if it was since its spec changed.
    pub looked: Option<Duration>,
    /// Whether all was well then.
    pub resolved: bool,
    /// Whether sessions use it.
    pub in_use: bool,
    /// Whether they go on though something is missing.
    pub missing: bool,
}

/// Whether it is time to look again.
pub fn is_due(mark: Mark) -> bool {
    let pause = match mark {
        Mark { in_use: true, missing: true, .. } => MISSING,
        Mark { in_use: true, .. } => IN_USE,
        Mark { resolved: false, .. } => UNRESOLVED,
        _ => UNUSED,
    };
    mark.looked.is_none_or(|looked| looked >= pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_more_is_looked_at_more_often() {
        for (resolved, in_use, missing, pause) in [
            (true, true, false, 8),
            (false, true, false, 8),
            (false, true, true, 1),
            (false, false, true, 10),
            (false, false, false, 10),
            (true, false, false, 60),
        ] {
            let mark = |looked| Mark { looked, resolved, in_use, missing };
            let due = |seconds| is_due(mark(Some(Duration::from_secs(seconds))));
            assert!(!due(pause - 1) && due(pause), "{resolved} {in_use} {missing}");
            assert!(is_due(mark(None)));
        }
    }
}
