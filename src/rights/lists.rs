//! All that a user may open, for lists. What was answered is believed for a while, of each user one question is asked only once
//! at a time, and each user causes no more reviews than a rate limit allows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared, WeakShared},
    stream,
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    rate::RateLimits,
    review::{Extent, Reviewer},
};
use crate::{
    calls::{CallError, DEADLINE, Purpose},
    catalog::ShellKey,
    user::User,
};

/// How long an answer is believed before it is asked for again, as far as the rate limit goes. It decides what a list shows; who
/// connects is asked about anew.
pub const BELIEVED: Duration = Duration::from_secs(30);

/// How many reviews one user's lists cause at once, at most, and after how long one more.
pub const BURST: u32 = 300;
const REFILL_INTERVAL: Duration = Duration::from_millis(200);

/// How many of one user are asked at once.
const AT_ONCE: usize = 4;

/// How many answers are remembered, of some 200 bytes each. Beyond, those of users are forgotten whose lists were asked for
/// longest ago.
const MAX_ANSWERS: usize = 50_000;

/// How long an answer is remembered: what it is about may be gone.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Finds out what users may open.
#[derive(Debug)]
pub struct Lists {
    reviewer: Arc<Reviewer>,
    limits: RateLimits,
    state: Mutex<State>,
}

/// What of some shells a user may open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// These, as far as is known.
    pub shells: BTreeSet<ShellKey>,
    /// Whether all that was to be asked was asked.
    pub complete: bool,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<User, Answers>,
    flights: HashMap<Subject, WeakShared<Flight>>,
}

/// Whose rights are being found out: those of a user in a namespace, or wherever the shells are.
type Subject = (User, Option<String>);

/// A finding-out under way. It can be awaited by many.
type Flight = BoxFuture<'static, Result<(), Arc<CallError>>>;

/// What was answered about a user.
#[derive(Debug)]
struct Answers {
    given: HashMap<Extent, Answer>,
    used: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    allowed: bool,
    at: Instant,
}

// === impl Lists ===

impl Lists {
    /// Nothing was asked yet.
    pub fn new(reviewer: Arc<Reviewer>) -> Arc<Self> {
        Arc::new(Self { reviewer, limits: RateLimits::new(BURST, REFILL_INTERVAL), state: Mutex::default() })
    }

    /// Those of `shells`, which are in their order, that the user may open; where `namespace` is given all are in it.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn visible(
        self: &Arc<Self>,
        user: &User,
        namespace: Option<&str>,
        shells: &[ShellKey],
    ) -> Result<Visible, Arc<CallError>> {
        if !shells.is_empty() {
            self.flight(user, namespace, shells).await?;
        }
        let state = self.state.lock();
        Ok(state.users.get(user).map_or_else(
            || Visible { shells: BTreeSet::new(), complete: shells.is_empty() },
            |answers| answers.visible(shells),
        ))
    }

    /// Whether it was answered not long ago that the user may open a shell.
    pub fn is_known_to_open(&self, user: &User, shell: &ShellKey) -> bool {
        let now = Instant::now();
        let state = self.state.lock();
        let extents = [Extent::Cluster, Extent::Namespace(shell.namespace.clone()), Extent::Shell(shell.clone())];
        state.users.get(user).is_some_and(|answers| {
            extents.iter().filter_map(|extent| answers.given.get(extent)).any(|it| it.allowed && !it.is_old(now))
        })
    }

    /// Takes what was answered when somebody connected, so that a list says nothing else.
    pub fn learn(&self, user: &User, shell: &ShellKey, allowed: bool) {
        let mut state = self.state.lock();
        let Some(answers) = state.users.get_mut(user) else { return };
        if !allowed {
            // Then not all may be opened, either.
            for extent in [Extent::Cluster, Extent::Namespace(shell.namespace.clone())] {
                if answers.given.get(&extent).is_some_and(|answer| answer.allowed) {
                    answers.given.remove(&extent);
                }
            }
        }
        answers.given.insert(Extent::Shell(shell.clone()), Answer { allowed, at: Instant::now() });
    }

    /// What is under way about a user, or is begun now.
    fn flight(self: &Arc<Self>, user: &User, namespace: Option<&str>, shells: &[ShellKey]) -> Shared<Flight> {
        let subject = (user.clone(), namespace.map(str::to_owned));
        let mut state = self.state.lock();
        if let Some(under_way) = state.flights.get(&subject).and_then(WeakShared::upgrade) {
            return under_way;
        }
        state.flights.retain(|_, flight| flight.upgrade().is_some());
        let (lists, user, shells) = (Arc::clone(self), user.clone(), shells.to_vec());
        let flight: Flight = Box::pin(async move { lists.find_out(&user, &shells).await.map_err(Arc::new) });
        let flight = flight.shared();
        state.flights.extend(flight.downgrade().map(|weak| (subject, weak)));
        flight
    }

    /// Asks what is due about a user's rights, as far as time and rate limit go.
    async fn find_out(&self, user: &User, shells: &[ShellKey]) -> Result<(), CallError> {
        let mut answered = false;
        let asking = async {
            loop {
                let due = self.due(user, shells);
                let wanted = due.len();
                let affordable = self.limits.take(&user.name, wanted);
                let reviews: Vec<_> = due.into_iter().take(affordable).map(|extent| self.ask(user, extent)).collect();
                let mut reviews = std::pin::pin!(stream::iter(reviews).buffer_unordered(AT_ONCE));
                while let Some(answer) = reviews.next().await {
                    answer?;
                    answered = true;
                }
                if wanted == 0 || affordable < wanted {
                    return Ok(());
                }
            }
        };
        match timeout(DEADLINE, asking).await {
            Ok(result) => result,
            Err(_) if answered => Ok(()),
            Err(_) => Err(CallError::Late),
        }
    }

    fn due(&self, user: &User, shells: &[ShellKey]) -> Vec<Extent> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let answers = state.users.entry(user.clone()).or_insert_with(|| Answers { given: HashMap::new(), used: now });
        answers.used = now;
        answers.given.retain(|_, answer| now - answer.at < REMEMBERED);
        answers.due(shells, self.reviewer.is_of_cluster(), now)
    }

    async fn ask(&self, user: &User, extent: Extent) -> Result<(), CallError> {
        let allowed = self.reviewer.may(Purpose::List, user, &extent).await?;
        let mut state = self.state.lock();
        if let Some(answers) = state.users.get_mut(user) {
            answers.given.insert(extent, Answer { allowed, at: Instant::now() });
        }
        state.trim();
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Forgets what is too much.
    fn trim(&mut self) {
        let size = |answers: &Answers| 1 + answers.given.len();
        let mut known: usize = self.users.values().map(size).sum();
        while known > MAX_ANSWERS && self.users.len() > 1 {
            let oldest = self.users.iter().min_by_key(|(_, answers)| answers.used).map(|(user, _)| user.clone());
            let forgotten = oldest.and_then(|user| self.users.remove(&user));
            known -= forgotten.as_ref().map_or(0, size);
        }
    }
}

// === impl Answers ===

impl Answers {
    /// What is to be asked next, the most urgent first; nothing where all is known. Whole namespaces come before the shells in
    /// them, since most who may open one may open all; what was never asked comes before what was, and then the oldest.
    fn due(&self, shells: &[ShellKey], of_cluster: bool, now: Instant) -> Vec<Extent> {
        if of_cluster {
            match self.given.get(&Extent::Cluster) {
                Some(answer) if !answer.is_old(now) => {
                    if answer.allowed {
                        return Vec::new();
                    }
                }
                _ => return vec![Extent::Cluster],
            }
        }
        let mut due = Vec::new();
        for of_namespace in shells.chunk_by(|one, other| one.namespace == other.namespace) {
            let Some(first) = of_namespace.first() else { continue };
            let namespace = Extent::Namespace(first.namespace.clone());
            let answer = self.given.get(&namespace).copied();
            if answer.is_none_or(|answer| answer.is_old(now)) {
                due.push((answer.map(|answer| answer.at), namespace));
            }
            if answer.is_some_and(|answer| !answer.allowed) {
                let names = of_namespace.iter().map(|key| Extent::Shell(key.clone()));
                let answered = names.map(|extent| (self.given.get(&extent).copied(), extent));
                let old = answered.filter(|(answer, _)| answer.is_none_or(|answer| answer.is_old(now)));
                due.extend(old.map(|(answer, extent)| (answer.map(|answer| answer.at), extent)));
            }
        }
        // `None` is first.
        due.sort_by_key(|(at, extent)| (*at, matches!(extent, Extent::Shell(_))));
        due.into_iter().map(|(_, extent)| extent).collect()
    }

    /// What is known of these shells.
    fn visible(&self, shells: &[ShellKey]) -> Visible {
        let allowed = |extent: &Extent| self.given.get(extent).map(|answer| answer.allowed);
        if allowed(&Extent::Cluster) == Some(true) {
            return Visible { shells: shells.iter().cloned().collect(), complete: true };
        }
        let mut visible = Visible { shells: BTreeSet::new(), complete: true };
        for of_namespace in shells.chunk_by(|one, other| one.namespace == other.namespace) {
            let whole = of_namespace.first().and_then(|key| allowed(&Extent::Namespace(key.namespace.clone())));
            for key in of_namespace {
                let opens = match whole {
                    Some(false) => allowed(&Extent::Shell(key.clone())),
                    known => known,
                };
                visible.complete &= opens.is_some();
                if opens == Some(true) {
                    visible.shells.insert(key.clone());
                }
            }
        }
        visible
    }
}

// === impl Answer ===

impl Answer {
    fn is_old(&self, now: Instant) -> bool {
        now - self.at >= BELIEVED
    }
}

#[cfg(test)]
mod tests;
