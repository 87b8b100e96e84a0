//! When a session is warned and when it ends by itself. Pure: the caller brings the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::{api::SessionLimits, protocol::Reason};

/// How long before its end a session is warned; a limit shorter than twice this warns at half of it.
const WARNING_LEAD: Duration = Duration::from_secs(60);

/// What the limits are measured from.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// When the session began.
    pub began: Instant,
    /// When the user last typed.
    pub last_input: Instant,
    /// Since when nobody is attached; `None` while somebody is.
    pub detached: Option<Instant>,
}

/// What the clock says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The limit that was reached.
    pub ended: Option<Reason>,
    /// When the idle limit ends it, where that is to be said now.
    pub idle_warning: Option<Instant>,
    /// When the maximum ends it, where that is to be said now.
    pub maximum_warning: Option<Instant>,
    /// When to ask again, unless something changes before.
    pub next: Option<Instant>,
}

/// Holds a session against its limits.
pub fn judge(limits: &SessionLimits, marks: &Marks, now: Instant) -> Verdict {
    let idle = limits.idle.and_then(|limit| Some((marks.last_input.checked_add(limit)?, limit)));
    let maximum = limits.maximum.and_then(|limit| Some((marks.began.checked_add(limit)?, limit)));
    let detach = limits.detach.zip(marks.detached).and_then(|(limit, since)| since.checked_add(limit));

    let reached = |end: Option<Instant>, reason| end.filter(|&end| end <= now).map(|_| reason);
    let ended = reached(maximum.map(|(end, _)| end), Reason::Maximum)
        .or(reached(idle.map(|(end, _)| end), Reason::Idle))
        .or(reached(detach, Reason::Detached));

    let warning_at = |(end, limit): (Instant, Duration)| end - WARNING_LEAD.min(limit / 2);
    let due = |limit: Option<(Instant, Duration)>| limit.filter(|&limit| warning_at(limit) <= now).map(|(end, _)| end);
    let next =
        [idle.map(|(end, _)| end), idle.map(warning_at), maximum.map(|(end, _)| end), maximum.map(warning_at), detach]
            .into_iter()
            .flatten()
            .filter(|&moment| moment > now)
            .min();
    Verdict { ended, idle_warning: due(idle), maximum_warning: due(maximum), next }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const LIMITS: SessionLimits = SessionLimits {
        idle: Some(MINUTE.saturating_mul(30)),
        maximum: Some(MINUTE.saturating_mul(480)),
        detach: Some(MINUTE.saturating_mul(5)),
        sessions: None,
    };

    fn marks(now: Instant) -> Marks {
        Marks { began: now, last_input: now, detached: None }
    }

    #[test]
    fn an_idle_session_is_warned_and_then_ended() {
        let began = Instant::now();
        let marks = marks(began);
        let calm = judge(&LIMITS, &marks, began + 28 * MINUTE);
        assert_eq!((calm.ended, calm.idle_warning, calm.next), (None, None, Some(began + 29 * MINUTE)));
        let warned = judge(&LIMITS, &marks, began + 29 * MINUTE);
        assert_eq!(
            (warned.ended, warned.idle_warning, warned.next),
            (None, Some(began + 30 * MINUTE), Some(began + 30 * MINUTE))
        );
        assert_eq!(judge(&LIMITS, &marks, began + 30 * MINUTE).ended, Some(Reason::Idle));
    }

    #[test]
    fn input_takes_the_idle_warning_back() {
        let began = Instant::now();
        let marks = Marks { last_input: began + 29 * MINUTE, ..marks(began) };
        assert_eq!(judge(&LIMITS, &marks, began + 29 * MINUTE).idle_warning, None);
    }

    #[test]
    fn the_maximum_holds_whatever_is_typed() {
        let began = Instant::now();
        let late = began + 480 * MINUTE;
        let marks = Marks { last_input: late, ..marks(began) };
        assert_eq!(judge(&LIMITS, &marks, late - MINUTE).maximum_warning, Some(late));
        assert_eq!(judge(&LIMITS, &marks, late).ended, Some(Reason::Maximum));
    }

    #[test]
    fn nobody_comes_back() {
        let began = Instant::now();
        let marks = Marks { detached: Some(began + MINUTE), last_input: began + MINUTE, ..marks(began) };
        assert_eq!(judge(&LIMITS, &marks, began + 5 * MINUTE).next, Some(began + 6 * MINUTE));
        assert_eq!(judge(&LIMITS, &marks, began + 6 * MINUTE).ended, Some(Reason::Detached));
    }

    #[test]
    fn limits_that_are_off_never_end_it() {
        let began = Instant::now();
        let off = SessionLimits { idle: None, maximum: None, detach: None, sessions: None };
        let marks = Marks { detached: Some(began), ..marks(began) };
        assert_eq!(
            judge(&off, &marks, began + 100_000 * MINUTE),
            Verdict { ended: None, idle_warning: None, maximum_warning: None, next: None }
        );
    }
}
