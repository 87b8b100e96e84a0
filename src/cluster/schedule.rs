//! When what a WebShell names is to be looked at again. Pure.

use std::time::Duration;

/// Where sessions use it: a Secret that was changed or deleted ends them within 10 s, of which the look itself takes some.
const IN_USE: Duration = Duration::from_secs(8);

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
}

/// Whether it is time to look again.
pub fn is_due(mark: Mark) -> bool {
    let pause = match mark {
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
        let due =
            |seconds, resolved, in_use| is_due(Mark { looked: Some(Duration::from_secs(seconds)), resolved, in_use });
        for (resolved, in_use, pause) in [(true, true, 8), (false, true, 8), (false, false, 10), (true, false, 60)] {
            assert!(!due(pause - 1, resolved, in_use) && due(pause, resolved, in_use), "{resolved} {in_use}");
            assert!(is_due(Mark { looked: None, resolved, in_use }));
        }
    }
}
