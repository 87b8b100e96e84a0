//! Whether a namespace's gateway answers at its public URL: a WebSocket ping by the way that browsers take, from the
//! controller's pod. [`Book`] says when to ping, and what follows from an answer (pure); [`run`] pings.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    future::pending,
    mem,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::{
    backoff,
    digest::Digest,
    kind::Kind,
    observe::shorten,
    reconcile::Context,
    state::{Namespace, Report},
};
use crate::{
    config::RouteKind,
    ping::{self, PingError},
};

/// The most pings at once, of all namespaces. Each is a connection that costs a handshake; where none is answered, three
/// namespaces a second still get their turn.
const AT_ONCE: usize = 16;

/// When a way that was proved is pinged again, at the latest; in half the time at the soonest, so that not all have their turn at once.
/// A route does not break by itself, and what follows of a change of it, or of the gateway, is looked at at once. What else may
/// break (a certificate, an ingress controller, DNS) breaks for all namespaces, and so shows far sooner in some.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// How long what is known stands against pings that fail: ingress controllers take a moment to serve a new route, and are
/// replaced now and then.
pub const GRACE: Duration = Duration::from_secs(10);

/// The lists of pings to come: those that somebody may wait for, and all others, which must not keep them waiting.
const AWAITED: usize = 0;
const OTHERS: usize = 1;

/// What is known of the way to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody pings.
    Off,
    /// No ping has come to anything since this controller runs.
    Pending {
        /// One should have by now.
        late: bool,
    },
    /// The gateway answered.
    Proved,
    /// It did not; why, and what to do.
    Failed(Box<str>),
}

/// What a ping goes by. A change of it is a reason to ping at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The route's UID, what of it is ours, and what is said of it.
    route: Option<(Box<str>, Digest, Report)>,
    /// The UIDs of the gateway's pods.
    pods: BTreeSet<Box<str>>,
    /// The gateway runs, and the route is not known to lead nowhere.
    is_open: bool,
}

/// The ways to all gateways.
#[derive(Default)]
pub struct Probes {
    book: Mutex<Book>,
    /// A ping was planned.
    planned: Notify,
    /// Whose certificates are trusted, once that was read.
    trust: Mutex<Option<TlsConnector>>,
}

/// What is known of each way, and when it is pinged.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<Box<str>, Entry>,
    /// By the time when they are due: those that are [`AWAITED`], and the [`OTHERS`].
    due: [BTreeSet<(Instant, Box<str>)>; 2],
    /// How many plans were made: the number of each.
    plans: u64,
}

#[derive(Debug)]
struct Entry {
    way: Way,
    outcome: Outcome,
    /// In a row.
    failures: u32,
    /// Until then what is known stands.
    patience: Instant,
    /// The ping that is planned or under way. The answer to an earlier one counts no more.
    plan: u64,
    /// Where it is in `due`, while it is.
    at: Option<(usize, Instant)>,
}

/// A ping to send.
#[derive(Debug)]
pub struct Turn {
    namespace: Box<str>,
    plan: u64,
}

/// Why a way is not proved.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error(transparent)]
    Ping(#[from] PingError),
    /// An answer, of somebody else.
    #[error("a gateway answers that is none of this namespace's")]
    Other,
    /// The settings make no address.
    #[error("this is no address")]
    Address,
}

// === impl Way ===

impl Way {
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

// === impl Failure ===

impl Failure {
    /// Which kind of failure it is, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ping(error) => error.kind(),
            Self::Other => "other-gateway",
            Self::Address => "address",
        }
    }

    /// Whether a route looks like this that is about to be served.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Other | Self::Ping(PingError::Status(_) | PingError::NotWebSocket | PingError::Closed))
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Address => "correct route.host",
            Self::Other => "look for another route to the same host and path, or another cluster of that name",
            Self::Ping(PingError::NoAddress(_)) => {
                "add it to the DNS; where only browsers are to resolve it, nothing is wrong"
            }
            Self::Ping(PingError::Refused(_) | PingError::Unreachable(..) | PingError::Silence) => {
                "try a browser: where only pods cannot reach the public address, nothing is wrong"
            }
            Self::Ping(PingError::Untrusted(_) | PingError::Tls(_)) => {
                "check the certificate; if a private authority issued it, name that by route.caConfigMap"
            }
            Self::Ping(PingError::Status(_) | PingError::NotWebSocket | PingError::Closed | PingError::Stranger) => {
                "check what the ingress controller, and any proxy before it, makes of the route"
            }
        }
    }
}

// === impl Probes ===

impl Probes {
    /// Takes note of the way to a namespace's gateway, and tells what is known of it.
    pub fn look(&self, namespace: &str, way: Way) -> Outcome {
        let (outcome, is_new) = self.book.lock().look(namespace, way, Instant::now());
        if is_new {
            self.planned.notify_one();
        }
        outcome
    }

    /// The namespace needs no way any more.
    pub fn forget(&self, namespace: &str) {
        self.book.lock().forget(namespace);
    }

    fn next(&self) -> Result<Turn, Option<Instant>> {
        self.book.lock().next(Instant::now())
    }

    fn take(&self, turn: &Turn, url: &str, result: &Result<(), Failure>) -> bool {
        self.book.lock().take(turn, url, result, Instant::now(), getrandom::u32().unwrap_or_default())
    }

    fn trust(&self) -> Result<TlsConnector, PingError> {
        let mut trust = self.trust.lock();
        match &*trust {
            Some(tls) => Ok(tls.clone()),
            None => Ok(trust.insert(ping::tls()?).clone()),
        }
    }
}

// === impl Book ===

impl Book {
    /// What is known at `now`, and whether another ping was planned.
    fn look(&mut self, namespace: &str, way: Way, now: Instant) -> (Outcome, bool) {
        let entry = self.entries.entry(namespace.into()).or_insert_with(|| Entry {
            way: Way { route: None, pods: BTreeSet::new(), is_open: false },
            outcome: Outcome::Pending { late: false },
            failures: 0,
            patience: now,
            plan: 0,
            at: None,
        });
        let is_new = entry.way != way;
        if is_new {
            entry.way = way;
            entry.failures = 0;
            entry.patience = now + GRACE;
        }
        if matches!(entry.outcome, Outcome::Pending { .. }) {
            entry.outcome = Outcome::Pending { late: entry.way.is_open && now >= entry.patience };
        }
        let (outcome, is_open) = (entry.outcome.clone(), entry.way.is_open);
        if is_new {
            self.plan(namespace, is_open.then_some((AWAITED, now)));
        }
        (outcome, is_new)
    }

    fn forget(&mut self, namespace: &str) {
        self.plan(namespace, None);
        self.entries.remove(namespace);
    }

    /// Plans the next ping, if there is to be one. One that is under way counts no more.
    fn plan(&mut self, namespace: &str, at: Option<(usize, Instant)>) {
        let Some(entry) = self.entries.get_mut(namespace) else { return };
        self.plans += 1;
        entry.plan = self.plans;
        let before = mem::replace(&mut entry.at, at);
        if let Some((list, time)) = before
            && let Some(due) = self.due.get_mut(list)
        {
            due.remove(&(time, namespace.into()));
        }
        if let Some((list, time)) = at
            && let Some(due) = self.due.get_mut(list)
        {
            due.insert((time, namespace.into()));
        }
    }

    /// The ping that is to be sent now; else when to ask again, if there will be one.
    fn next(&mut self, now: Instant) -> Result<Turn, Option<Instant>> {
        for due in &mut self.due {
            if due.first().is_some_and(|(time, _)| *time <= now)
                && let Some((_, namespace)) = due.pop_first()
                && let Some(entry) = self.entries.get_mut(&namespace)
            {
                entry.at = None;
                return Ok(Turn { plan: entry.plan, namespace });
            }
        }
        Err(self.due.iter().filter_map(|due| due.first()).map(|(time, _)| *time).min())
    }

    /// Takes in what a ping of `url` has come to. Returns whether what is known has changed.
    fn take(&mut self, turn: &Turn, url: &str, result: &Result<(), Failure>, now: Instant, random: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&turn.namespace).filter(|entry| entry.plan == turn.plan) else {
            return false;
        };
        let (list, pause, changed) = entry.take(url, result, now, random);
        self.plan(&turn.namespace, Some((list, now + pause)));
        changed
    }
}

// === impl Entry ===

impl Entry {
    /// Takes in what a ping has come to: in which list the next one is, after which pause, and whether what is known has changed.
    fn take(&mut self, url: &str, result: &Result<(), Failure>, now: Instant, random: u32) -> (usize, Duration, bool) {
        let Err(failure) = result else {
            self.failures = 0;
            return (OTHERS, backoff::jitter(AGAIN, random), self.learn(Outcome::Proved));
        };
        let was_proved = self.outcome == Outcome::Proved;
        if was_proved && self.failures == 0 {
            self.patience = now + GRACE;
        }
        let is_patient = now < self.patience;
        if is_patient && failure.may_pass() && matches!(self.outcome, Outcome::Pending { .. }) {
            return (AWAITED, backoff::pause(0, random), false);
        }
        let pause = backoff::pause(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        let stands = is_patient && was_proved;
        let words = || shorten(&format!("{url}: {failure}; {}", failure.advice()));
        (OTHERS, pause, !stands && self.learn(Outcome::Failed(words().into())))
    }

    fn learn(&mut self, outcome: Outcome) -> bool {
        let changed = self.outcome != outcome;
        self.outcome = outcome;
        changed
    }
}

/// Pings what is due, for ever, and tells of which namespaces there is something new to say.
pub async fn run(context: &Context, news: mpsc::Sender<Box<str>>) -> Infallible {
    let probes = &context.probes;
    let mut pings = FuturesUnordered::new();
    loop {
        let mut next = None;
        while pings.len() < AT_ONCE {
            match probes.next() {
                Ok(turn) => pings.push(ping(context, turn)),
                Err(at) => {
                    next = at;
                    break;
                }
            }
        }
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some((turn, url, result)) = pings.next() => {
                context.metrics.probed(result.as_ref().err().map_or("proved", Failure::kind));
                if probes.take(&turn, &url, &result) {
                    // Who listens is there as long as this is.
                    let _ = news.send(turn.namespace).await;
                }
            }
            () = due => {}
            () = probes.planned.notified() => {}
        }
    }
}

async fn ping(context: &Context, turn: Turn) -> (Turn, String, Result<(), Failure>) {
    let url = context.config.route.ping_url(&turn.namespace);
    let result = prove(context, &turn.namespace, &url).await;
    debug!(namespace = &*turn.namespace, url, ?result, "pinged");
    (turn, url, result)
}

async fn prove(context: &Context, namespace: &str, url: &str) -> Result<(), Failure> {
    let way = url.parse().ok().and_then(|url| ping::Way::to(&url, None)).ok_or(Failure::Address)?;
    let answered = way.ping(&context.probes.trust()?).await.inspect_err(|error| {
        // The authority may have been replaced since it was read.
        if matches!(error, PingError::Untrusted(_)) {
            *context.probes.trust.lock() = None;
        }
    })?;
    let is_ours = |uid| context.cache.has_pod(namespace, uid);
    match answered.split_once('/') {
        Some((of, uid)) if of == namespace && is_ours(uid) => Ok(()),
        _ => Err(Failure::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "wss://shell.example.com/team-a/-/ping";
    const SECOND: Duration = Duration::from_secs(1);

    /// A way with these pods, of which one serves.
    fn open(pods: &[&str]) -> Way {
        Way { route: None, pods: pods.iter().map(|pod| Box::from(*pod)).collect(), is_open: true }
    }

    fn closed() -> Way {
        Way { is_open: false, ..open(&[]) }
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

        fn look(&mut self, way: &Way) -> Outcome {
            self.book.look("team-a", way.clone(), self.now).0
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
        assert_eq!(story.look(&closed()), Outcome::Pending { late: false });
        assert!(story.is_at_rest(), "no gateway runs");
        assert_eq!(story.look(&open(&["p1"])), Outcome::Pending { late: false });
        assert_eq!(story.ping(status(404)), (Duration::ZERO, false));
        assert_eq!(story.ping(status(502)), (SECOND, false));
        assert_eq!(story.ping(Ok(())), (SECOND, true));
        assert_eq!(story.look(&open(&["p1"])), Outcome::Proved);
        assert_eq!(story.ping(Ok(())), (AGAIN, false));
    }

    #[test]
    fn what_is_not_served_in_time_is_told_once_and_seen_when_it_is() {
        let mut story = Story::begin();
        let way = open(&["p1"]);
        story.look(&way);
        let began = story.now;
        while !story.ping(status(404)).1 {
            assert!(story.now < began + GRACE);
        }
        let outcome = story.look(&way);
        let words = failed(&outcome);
        assert!(words.starts_with(&format!("{URL}: it answers with HTTP status 404; check ")), "{words}");
        for pause in [1, 2, 4, 8].map(Duration::from_secs) {
            assert_eq!(story.ping(status(404)), (pause, false));
        }
        assert_eq!(story.look(&way), outcome);
        assert!(story.ping(refused()).1, "another failure is another thing to say");
        assert!(story.ping(Ok(())).1);
        assert_eq!(story.look(&way), Outcome::Proved);
    }

    #[test]
    fn what_time_does_not_mend_is_told_at_once() {
        let mut story = Story::begin();
        let way = open(&["p1"]);
        story.look(&way);
        assert_eq!(story.ping(refused()), (Duration::ZERO, true));
        failed(&story.look(&way));
    }

    #[test]
    fn a_way_that_was_proved_may_fail_for_a_moment() {
        let mut story = Story::begin();
        let way = open(&["p1"]);
        story.look(&way);
        story.ping(Ok(()));
        assert_eq!(story.ping(refused()), (AGAIN, false));
        assert_eq!(story.ping(status(502)), (SECOND, false));
        assert_eq!(story.look(&way), Outcome::Proved);
        assert_eq!(story.ping(Ok(())), (2 * SECOND, false));

        let began = story.now + AGAIN;
        while !story.ping(refused()).1 {
            assert!(story.now < began + GRACE);
        }
        failed(&story.look(&way));
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
        assert_eq!(story.look(&closed()), Outcome::Pending { late: false });
    }

    #[test]
    fn nobody_waits_for_a_ping_that_does_not_come() {
        let mut story = Story::begin();
        story.look(&open(&["p1"]));
        story.now += GRACE;
        assert_eq!(story.look(&open(&["p1"])), Outcome::Pending { late: true });
        assert!(story.ping(Ok(())).1);
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
