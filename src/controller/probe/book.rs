//! When to ping which way, and what follows from an answer. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    time::Duration,
};

use tokio::time::Instant;

use super::Failure;
use crate::{
    config::RouteKind,
    controller::{
        backoff,
        digest::Digest,
        kind::Kind,
        observe::shorten,
        state::{Namespace, Report},
    },
};

/// When a way that was proved is pinged again, at the latest; in half the time at the soonest, so that not all have their turn at once.
/// A route does not break by itself, and what follows of a change of it, or of the gateway, is looked at at once. What else may
/// break (a certificate, an ingress controller, DNS) breaks for all namespaces, and so shows far sooner in some.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// How long what is known stands against pings that fail: ingress controllers take a moment to serve a new route, and are
/// replaced now and then.
pub const GRACE: Duration = Duration::from_secs(10);

/// When a ping is sent again that came at a bad time.
const BUSY: Duration = Duration::from_secs(5);

/// Pings to come, by the time when they are due.
type Due = BTreeSet<(Instant, Box<str>)>;

/// What is known of the way to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody pings.
    Off,
    /// Nothing yet, for there is nothing to ping.
    Idle,
    /// Nothing yet; a ping is on its way, or is sent again because it may be too soon.
    Pending,
    /// Nothing yet, though there should be.
    Late,
    /// The gateway answered.
    Proved,
    /// It did not; why, and what to do.
    Failed(Box<str>),
}

/// What a ping goes by. A change of it is a reason to ping at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The route's UID, what of it is ours, and what is said of it.
    route: Option<(Box<str>, Digest, Report)>,
    /// The UIDs of the gateway's pods.
    pods: BTreeSet<Box<str>>,
    /// The gateway runs, and the route is not known to lead nowhere.
    is_open: bool,
}

/// What is known of each way, and when it is pinged.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<Box<str>, Entry>,
    /// The pings that somebody may wait for.
    awaited: Due,
    /// All others, which must not keep those waiting.
    others: Due,
    /// How many plans were made: the number of each.
    plans: u64,
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    outcome: Outcome,
    /// In a row.
    failures: u32,
    /// What the last ping came to, while that is not told.
    last: Option<Box<str>>,
    /// Until then what is known stands.
    patience: Instant,
    /// The ping that is planned or under way. The answer to an earlier one counts no more.
    plan: u64,
    /// When it is due, until it is sent.
    due: Option<Plan>,
}

/// A ping to come.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    at: Instant,
    is_awaited: bool,
}

/// A ping to send.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whose gateway.
    pub(super) namespace: Box<str>,
    plan: u64,
}

// === impl Outcome ===

impl Outcome {
    /// Whether no ping has come to anything since this controller runs.
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Idle | Self::Pending | Self::Late)
    }
}

// === impl Subject ===

impl Subject {
    /// The way to a namespace's gateway, as far as it is there.
    pub fn of(kind: RouteKind, state: &Namespace) -> Self {
        let kind = Kind::of_routes(kind);
        let child = kind.and_then(|kind| state.children.get(&kind));
        let leads = kind.is_none() || child.is_some_and(|child| child.report.refusal().is_none());
        let runs = state.children.get(&Kind::Deployment).is_some_and(|child| child.report.is_available());
        Self {
            route: child.map(|child| (child.uid.clone(), child.ours, child.report.clone())),
            pods: state.pods.values().map(|pod| pod.uid.clone()).collect(),
            is_open: runs && leads,
        }
    }
}

// === impl Book ===

impl Book {
    /// What is known at `now`, and whether another ping was planned.
    pub(super) fn look(&mut self, namespace: &str, subject: Subject, now: Instant) -> (Outcome, bool) {
        let entry = self.entries.entry(namespace.into()).or_insert_with(|| Entry {
            subject: Subject { route: None, pods: BTreeSet::new(), is_open: false },
            outcome: Outcome::Idle,
            failures: 0,
            last: None,
            patience: now,
            plan: 0,
            due: None,
        });
        let is_new = entry.subject != subject;
        if is_new {
            entry.subject = subject;
            entry.failures = 0;
            entry.last = None;
            entry.patience = now + GRACE;
        }
        if entry.outcome.is_nothing() {
            entry.outcome = if !entry.subject.is_open {
                Outcome::Idle
            } else if now < entry.patience {
                Outcome::Pending
            } else {
                entry.last.take().map_or(Outcome::Late, Outcome::Failed)
            };
        }
        let (outcome, is_open) = (entry.outcome.clone(), entry.subject.is_open);
        if is_new {
            self.plan(namespace, is_open.then_some(Plan { at: now, is_awaited: true }));
        }
        (outcome, is_new)
    }

    /// The namespace has no gateway any more.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.plan(namespace, None);
        self.entries.remove(namespace);
    }

    /// Plans the next ping, if there is to be one. One that is under way counts no more.
    fn plan(&mut self, namespace: &str, next: Option<Plan>) {
        let Some(entry) = self.entries.get_mut(namespace) else { return };
        self.plans += 1;
        entry.plan = self.plans;
        let before = mem::replace(&mut entry.due, next);
        if let Some(Plan { at, is_awaited }) = before {
            self.list(is_awaited).remove(&(at, namespace.into()));
        }
        if let Some(Plan { at, is_awaited }) = next {
            self.list(is_awaited).insert((at, namespace.into()));
        }
    }

    fn list(&mut self, is_awaited: bool) -> &mut Due {
        if is_awaited { &mut self.awaited } else { &mut self.others }
    }

    /// The ping that is to be sent now; else when to ask again, if there will be one.
    pub(super) fn next(&mut self, now: Instant) -> Result<Turn, Option<Instant>> {
        for list in [&mut self.awaited, &mut self.others] {
            if list.first().is_some_and(|(at, _)| *at <= now)
                && let Some((_, namespace)) = list.pop_first()
                && let Some(entry) = self.entries.get_mut(&namespace)
            {
                entry.due = None;
                return Ok(Turn { plan: entry.plan, namespace });
            }
        }
        Err([&self.awaited, &self.others].into_iter().filter_map(Due::first).map(|(at, _)| *at).min())
    }

    /// Takes in what a ping of `url` has come to. Returns whether what is known has changed.
    pub(super) fn take(
        &mut self,
        turn: &Turn,
        url: &str,
        result: &Result<(), Failure>,
        now: Instant,
        random: u32,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&turn.namespace).filter(|entry| entry.plan == turn.plan) else {
            return false;
        };
        let (next, changed) = entry.take(url, result, now, random);
        self.plan(&turn.namespace, Some(next));
        changed
    }
}

// === impl Entry ===

impl Entry {
    /// Takes in what a ping has come to. Returns the next one, and whether what is known has changed.
    fn take(&mut self, url: &str, result: &Result<(), Failure>, now: Instant, random: u32) -> (Plan, bool) {
        let after = |pause, is_awaited| Plan { at: now + pause, is_awaited };
        let Err(failure) = result else {
            self.failures = 0;
            return (after(backoff::jitter(AGAIN, random), false), self.learn(Outcome::Proved));
        };
        if failure.is_busy() {
            return (after(BUSY, self.outcome.is_nothing()), false);
        }
        let words = shorten(&format!("{url}: {failure}; {}", failure.advice())).into();
        let was_proved = self.outcome == Outcome::Proved;
        if was_proved && self.failures == 0 {
            self.patience = now + GRACE;
        }
        let is_patient = now < self.patience;
        if is_patient && failure.may_pass() && self.outcome.is_nothing() {
            self.last = Some(words);
            return (after(backoff::pause(0, random), true), false);
        }
        let next = after(backoff::pause(self.failures, random), false);
        self.failures = self.failures.saturating_add(1);
        (next, !(is_patient && was_proved) && self.learn(Outcome::Failed(words)))
    }

    fn learn(&mut self, outcome: Outcome) -> bool {
        self.last = None;
        let changed = self.outcome != outcome;
        self.outcome = outcome;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ping::PingError;

    const URL: &str = "wss://shell.example.com/team-a/-/ping";
    const SECOND: Duration = Duration::from_secs(1);

    /// What is pinged where these pods are, and one serves.
    fn open(pods: &[&str]) -> Subject {
        Subject { route: None, pods: pods.iter().map(|pod| Box::from(*pod)).collect(), is_open: true }
    }

    fn closed() -> Subject {
        Subject { is_open: false, ..open(&[]) }
    }

    fn status(status: u16) -> Result<(), Failure> {
        Err(PingError::Status(status).into())
    }

    fn refused() -> Result<(), Failure> {
        Err(PingError::Refused("shell.example.com:443".to_owned()).into())
    }

    /// A book at a time that goes on when told to.
    struct Story {
        book: Book,
        now: Instant,
    }

    impl Story {
        fn begin() -> Self {
            Self { book: Book::default(), now: Instant::now() }
        }

        fn look(&mut self, subject: &Subject) -> Outcome {
            self.book.look("team-a", subject.clone(), self.now).0
        }

        /// Goes on to the next ping, which comes to `result`. Returns how long that took, and whether there is something new to say.
        fn ping(&mut self, result: Result<(), Failure>) -> (Duration, bool) {
            let began = self.now;
            let turn = match self.book.next(self.now) {
                Ok(turn) => turn,
                Err(next) => {
                    self.now = next.expect("another ping");
                    self.book.next(self.now).expect("a ping that is due")
                }
            };
            (self.now - began, self.book.take(&turn, URL, &result, self.now, 0))
        }

        fn is_at_rest(&mut self) -> bool {
            matches!(self.book.next(self.now), Err(None))
        }
    }

    fn failed(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_route_is_pinged_until_it_is_served_and_seldom_then() {
        let mut story = Story::begin();
        assert_eq!(story.look(&closed()), Outcome::Idle);
        assert!(story.is_at_rest(), "no gateway runs");
        assert_eq!(story.look(&open(&["p1"])), Outcome::Pending);
        assert_eq!(story.ping(status(404)), (Duration::ZERO, false));
        assert_eq!(story.ping(status(502)), (SECOND, false));
        assert_eq!(story.ping(Ok(())), (SECOND, true));
        assert_eq!(story.look(&open(&["p1"])), Outcome::Proved);
        assert_eq!(story.ping(Ok(())), (AGAIN, false));
    }

    #[test]
    fn what_is_not_served_in_time_is_told_once_and_seen_when_it_is() {
        let mut story = Story::begin();
        let subject = open(&["p1"]);
        story.look(&subject);
        let began = story.now;
        while !story.ping(status(404)).1 {
            assert!(story.now < began + GRACE);
        }
        let outcome = story.look(&subject);
        let words = failed(&outcome);
        assert!(words.starts_with(&format!("{URL}: it answers with HTTP status 404; check ")), "{words}");
        for pause in [1, 2, 4, 8].map(Duration::from_secs) {
            assert_eq!(story.ping(status(404)), (pause, false));
        }
        assert_eq!(story.look(&subject), outcome);
        assert!(story.ping(refused()).1, "another failure is another thing to say");
        assert!(story.ping(Ok(())).1);
        assert_eq!(story.look(&subject), Outcome::Proved);
    }

    #[test]
    fn what_time_does_not_mend_is_told_at_once() {
        let mut story = Story::begin();
        let subject = open(&["p1"]);
        story.look(&subject);
        assert_eq!(story.ping(refused()), (Duration::ZERO, true));
        failed(&story.look(&subject));
    }

    #[test]
    fn a_way_that_was_proved_may_fail_for_a_moment() {
        let mut story = Story::begin();
        let subject = open(&["p1"]);
        story.look(&subject);
        story.ping(Ok(()));
        assert_eq!(story.ping(refused()), (AGAIN, false));
        assert_eq!(story.ping(status(502)), (SECOND, false));
        assert_eq!(story.look(&subject), Outcome::Proved);
        assert_eq!(story.ping(Ok(())), (2 * SECOND, false));

        let began = story.now + AGAIN;
        while !story.ping(refused()).1 {
            assert!(story.now < began + GRACE);
        }
        failed(&story.look(&subject));
    }

    #[test]
    fn a_ping_at_a_bad_time_changes_nothing_that_is_known() {
        let busy = || Err(PingError::Busy.into());
        let mut story = Story::begin();
        let subject = open(&["p1"]);
        story.look(&subject);
        assert_eq!(story.ping(busy()), (Duration::ZERO, false));
        assert_eq!(story.look(&subject), Outcome::Pending);
        assert_eq!(story.ping(Ok(())), (BUSY, true));
        story.ping(busy());
        let began = story.now;
        while story.now < began + 3 * GRACE {
            assert_eq!(story.ping(busy()), (BUSY, false));
        }
        assert_eq!(story.look(&subject), Outcome::Proved);
        assert_eq!(story.ping(refused()), (BUSY, false), "what fails after it has its grace");
    }

    #[test]
    fn a_change_is_looked_at_at_once_and_an_answer_of_before_it_does_not_count() {
        let mut story = Story::begin();
        story.look(&open(&["p1"]));
        story.ping(Ok(()));
        assert_eq!(story.look(&open(&["p1", "p2"])), Outcome::Proved);
        let before = story.book.next(story.now).unwrap();
        story.look(&open(&["p2"]));
        assert!(!story.book.take(&before, URL, &refused(), story.now, 0));
        assert_eq!(story.ping(Ok(())), (Duration::ZERO, false));

        assert_eq!(story.look(&closed()), Outcome::Proved, "the route is the same while no gateway runs");
        assert!(story.is_at_rest());
        story.book.forget("team-a");
        assert_eq!(story.look(&closed()), Outcome::Idle);
    }

    #[test]
    fn nobody_waits_for_a_ping_that_does_not_come() {
        let mut story = Story::begin();
        story.look(&open(&["p1"]));
        story.now += GRACE;
        assert_eq!(story.look(&open(&["p1"])), Outcome::Late);
        assert!(story.ping(Ok(())).1);

        let mut story = Story::begin();
        story.look(&open(&["p1"]));
        story.ping(status(404));
        story.now += GRACE;
        assert!(failed(&story.look(&open(&["p1"]))).contains("HTTP status 404"));
    }

    #[test]
    fn ways_that_fail_for_long_do_not_keep_new_ones_waiting() {
        let mut story = Story::begin();
        story.book.look("old", open(&[]), story.now);
        let turn = story.book.next(story.now).unwrap();
        story.book.take(&turn, URL, &refused(), story.now, 0);
        story.now += AGAIN;
        story.book.look("new", open(&[]), story.now);
        let turns = [(); 2].map(|()| story.book.next(story.now).unwrap().namespace);
        assert_eq!(turns, ["new".into(), "old".into()]);
    }
}
