//! Watches of the API server that go on whatever becomes of them: after pauses, and from the beginning where their place is
//! lost.

use std::{fmt::Debug, iter, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use kube::{
    Api, Resource,
    api::ObjectMeta,
    runtime::watcher::{self, Error, Event},
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

/// How long one watch lasts before the next: a connection that has died without a word is noticed by then.
const LASTS: Duration = Duration::from_secs(60);

/// How long nothing may come before a connection counts as dead, also one on which a list or the first word of a watch is
/// awaited.
pub const SILENCE: Duration = Duration::from_secs(75);

/// The first pause after a failure. New WebShells wait for it, so it is short.
const FIRST: Duration = Duration::from_millis(200);

/// While it goes on failing pauses double up to this: an API server that is back is noticed within it.
const LONGEST: Duration = Duration::from_secs(5);

/// What becomes of the objects of an API: all there are, then each change, then perhaps all there are again. An error says
/// that the watch is interrupted.
pub fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = config.timeout(LASTS.as_secs() as u32);
    keep(move || watcher::watcher(api.clone(), config.clone()).boxed())
}

/// The resource version as the number that it is in any API server that keeps its objects in etcd.
pub fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Goes on with what `begin` begins.
fn keep<K: Send, S>(begin: impl Fn() -> S + Send) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    S: Stream<Item = Result<Event<K>, Error>> + Send + Unpin,
{
    let first = (begin(), begin, pauses(), None);
    stream::unfold(first, async |(mut events, begin, mut next, pause)| {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let event = events.next().await?;
        let mut pause = None;
        match &event {
            // Every attempt at a list begins with it.
            Ok(Event::Init) => {}
            Ok(_) => next = pauses(),
            Err(error) => {
                pause = next.next();
                if is_gone(error) {
                    events = begin();
                }
            }
        }
        Some((event, (events, begin, next, pause)))
    })
}

/// Whether a watch cannot go on from where it was. Told within a watch, the client heeds it; as the answer to a new one it
/// would ask the same for ever.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// The pauses after failures in a row. The last quarter of each is random, so that not all come at once.
fn pauses() -> impl Iterator<Item = Duration> + Send {
    iter::successors(Some(FIRST), |pause| Some((*pause * 2).min(LONGEST))).map(|pause| {
        let random = getrandom::u32().unwrap_or_default() % 1024;
        pause * 3 / 4 + pause * random / 4096
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
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
        let kept = keep(move || {
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
    async fn a_watch_whose_place_is_lost_begins_from_the_beginning() {
        let (_, begun) = waits(|| vec![Ok(Event::InitDone), Err(Error::WatchStartFailed(failed(410)))]).await;
        assert_eq!(begun, 11, "after each of ten");
        let (_, begun) = waits(|| vec![Ok(Event::InitDone), Err(Error::WatchStartFailed(failed(500)))]).await;
        assert_eq!(begun, 1);
    }
}
