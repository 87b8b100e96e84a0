//! Watches of the API server that go on whatever becomes of them: after pauses, and from the beginning where their place is
//! lost.

use std::{fmt::Debug, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use kube::{
    Api, Resource,
    api::ObjectMeta,
    runtime::watcher::{self, Error, Event},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// How long one watch lasts before the next: a connection that has died without a word is noticed by then.
const LASTS: Duration = Duration::from_secs(60);

/// How long nothing may come before a connection counts as dead, also one on which a list or the first word of a watch is
/// awaited.
pub const SILENCE: Duration = Duration::from_secs(75);

/// The first pause after a failure. New WebShells wait for it, so it is short.
const FIRST: Duration = Duration::from_millis(200);

/// While it goes on failing pauses double up to this: an API server that is back is noticed within it.
const LONGEST: Duration = Duration::from_secs(5);

/// The same where the API server knows no such kind: a definition that is back is noticed within it.
const LONGEST_UNKNOWN: Duration = Duration::from_secs(60);

/// When it is said again that a watch still fails. The time doubles up to the longest.
const SAID_AGAIN: Duration = Duration::from_secs(60);
const SAID_AT_LEAST: Duration = Duration::from_secs(60 * 60);

/// What becomes of the objects of an API, which the log calls `what`: all there are, then each change, then perhaps all there are
/// again. An error says that the watch is interrupted; it has been logged, unless it was not long ago.
pub fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(LASTS.as_secs() as u32);
    keep(what, move || watcher::watcher(api.clone(), config.clone()).boxed())
}

/// The resource version as the number that it is in any API server that keeps its objects in etcd.
pub fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Goes on with what `begin` begins.
fn keep<K: Send, S>(
    what: &'static str,
    begin: impl Fn() -> S + Send,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    S: Stream<Item = Result<Event<K>, Error>> + Send + Unpin,
{
    let first = (begin(), begin, Failing::default(), None);
    stream::unfold(first, move |(mut events, begin, mut failing, pause)| async move {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let event = events.next().await?;
        let mut pause = None;
        match &event {
            // Every attempt at a list begins with it.
            Ok(Event::Init) => {}
            Ok(_) => {
                if failing.is_over() {
                    info!(what, "the watch goes on");
                }
            }
            Err(error) => {
                pause = Some(failing.pause(error));
                if failing.is_to_be_said(Instant::now()) {
                    warn!(what, %error, "a watch failed, and is tried again; what was seen last counts");
                }
                if is_lost(error) {
                    events = begin();
                }
            }
        }
        Some((event, (events, begin, failing, pause)))
    })
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failing {
    pause: Option<Duration>,
    /// When the last was said, and how long none is said after it.
    said: Option<(Instant, Duration)>,
}

impl Failing {
    /// How long to wait after one more. The last quarter of it is random, so that not all come at once.
    fn pause(&mut self, error: &Error) -> Duration {
        let longest = if is_unknown(error) { LONGEST_UNKNOWN } else { LONGEST };
        let pause = self.pause.map_or(FIRST, |pause| pause * 2).min(longest);
        self.pause = Some(pause);
        let random = getrandom::u32().unwrap_or_default() % 1024;
        pause * 3 / 4 + pause * random / 4096
    }

    /// Whether somebody must be told at `now`.
    fn is_to_be_said(&mut self, now: Instant) -> bool {
        let quiet = match self.said {
            None => SAID_AGAIN,
            Some((at, quiet)) if now.duration_since(at) >= quiet => (quiet * 2).min(SAID_AT_LEAST),
            Some(_) => return false,
        };
        self.said = Some((now, quiet));
        true
    }

    /// It goes well. Returns whether somebody was told that it doesn't.
    fn is_over(&mut self) -> bool {
        std::mem::take(self).said.is_some()
    }
}

/// Whether the API server knows no such kind.
pub fn is_unknown(error: &Error) -> bool {
    code(error) == Some(404)
}

/// Whether a watch cannot go on from where it was: that was too long ago, or the kind is not there any more. Told within a watch the
/// client heeds the one; as the answer to a new one it would ask the same for ever.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(_)) && matches!(code(error), Some(404 | 410))
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.code)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        iter,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use kube::core::Status;
    use tokio::time::Instant;

    use super::*;

    type Events = Vec<Result<Event<()>, Error>>;

    fn failed(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, ..Status::default() }))
    }

    /// How long each event is waited for where the client brings these, as often as it is begun anew.
    async fn waits(events: impl Fn() -> Events + Send) -> (Vec<Duration>, usize) {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let kept = keep("things", move || {
            count.fetch_add(1, SeqCst);
            stream::iter(events())
        });
        let mut kept = std::pin::pin!(kept.take(20));
        let mut waits = Vec::new();
        let mut last = Instant::now();
        while kept.next().await.is_some() {
            waits.push(last.elapsed());
            last = Instant::now();
        }
        (waits, begun.load(SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_bound_while_lists_fail_and_begin_anew_after_one() {
        let attempt = || [Ok(Event::Init), Err(Error::InitialListFailed(failed(500)))];
        let success = || [Ok(Event::Init), Ok(Event::InitDone), Err(Error::WatchFailed(failed(500))), Ok(Event::Init)];
        let (waits, begun) = waits(|| iter::repeat_with(attempt).take(8).flatten().chain(success()).collect()).await;
        assert_eq!(begun, 1);
        let pauses: Vec<_> = waits.into_iter().filter(|wait| !wait.is_zero()).collect();
        assert_eq!(pauses.len(), 9);
        for (pause, longest) in pauses.iter().zip([200, 400, 800, 1600, 3200, 5000, 5000, 5000, 200]) {
            let longest = Duration::from_millis(longest);
            assert!(*pause > longest * 7 / 10 && *pause <= longest + Duration::from_millis(1), "{pauses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_not_there_is_asked_for_less_and_less_often() {
        let attempt = || [Ok(Event::Init), Err(Error::InitialListFailed(failed(404)))];
        let (waits, _) = waits(|| iter::repeat_with(attempt).take(12).flatten().collect()).await;
        let pauses: Vec<_> = waits.into_iter().filter(|wait| !wait.is_zero()).collect();
        let longest = [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000];
        for (pause, longest) in pauses.iter().zip(longest.map(Duration::from_millis)) {
            assert!(*pause > longest * 7 / 10 && *pause <= longest + Duration::from_millis(1), "{pauses:?}");
        }
    }

    #[test]
    fn what_goes_on_failing_is_said_less_and_less_often_and_anew_after_it_went_well() {
        let (mut failing, began) = (Failing::default(), Instant::now());
        assert!(!failing.is_over(), "nobody was told of anything");
        let said: Vec<_> =
            (0..24 * 3600).step_by(5).filter(|s| failing.is_to_be_said(began + Duration::from_secs(*s))).collect();
        assert_eq!(said[..8], [0, 60, 180, 420, 900, 1860, 3780, 7380]);
        assert_eq!(said.len(), 29, "each hour");
        assert!(failing.is_over());
        assert!(failing.is_to_be_said(began));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_whose_place_is_lost_begins_from_the_beginning() {
        let (_, begun) = waits(|| vec![Ok(Event::InitDone), Err(Error::WatchStartFailed(failed(410)))]).await;
        assert_eq!(begun, 11, "after each of ten");
        let (_, begun) = waits(|| vec![Ok(Event::InitDone), Err(Error::WatchStartFailed(failed(404)))]).await;
        assert_eq!(begun, 11, "of a kind that is gone");
        let (_, begun) = waits(|| vec![Ok(Event::InitDone), Err(Error::WatchStartFailed(failed(500)))]).await;
        assert_eq!(begun, 1);
    }
}
