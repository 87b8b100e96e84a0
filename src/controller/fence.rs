//! Until when the controller may write, and a client of the API server that heeds it: nothing that it has not sent by then
//! leaves it, whoever asked for it, and however long the process was stopped in between.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{self, poll_fn};
use hyper::{Method, Request, Response, rt::Executor};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tower::{BoxError, Service, layer::layer_fn};

/// It goes on while the machine sleeps, which a Lease does too. A hypervisor that pauses a machine without a word stops every
/// clock in it.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment after every fence that was opened once and before every one that is open.
const CLOSED: u64 = 1;

/// The time since some moment, by a clock that nobody sets.
pub fn boot_time() -> Duration {
    let time = clock_gettime(CLOCK);
    // Neither is ever negative.
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Until when writes may be sent. Clones share it.
#[derive(Clone, Debug)]
pub struct Fence {
    /// In nanoseconds of `now`; 0 until it is opened for the first time.
    until: Arc<AtomicU64>,
    now: fn() -> Duration,
}

/// Why a write was not made, or its answer not awaited.
#[derive(Debug, thiserror::Error)]
#[error("not written: this controller does not hold the Lease, and another one may write now")]
pub struct Fenced;

// === impl Fence ===

impl Default for Fence {
    fn default() -> Self {
        Self::new(boot_time)
    }
}

impl Fence {
    /// Closed until it is opened; `now` is the time since some moment.
    pub fn new(now: fn() -> Duration) -> Self {
        Self { until: Arc::default(), now }
    }

    /// The time by its clock.
    pub fn now(&self) -> Duration {
        (self.now)()
    }

    /// Lets writes out until then.
    pub fn open(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX).max(CLOSED), SeqCst);
    }

    /// Lets nothing out any more.
    pub fn close(&self) {
        self.until.store(CLOSED, SeqCst);
    }

    /// How long writes may still be sent; `None` when they may not.
    pub fn left(&self) -> Option<Duration> {
        let left = Duration::from_nanos(self.until.load(SeqCst)).checked_sub(self.now())?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// It was open once, and is not any more.
    fn is_over(&self) -> bool {
        self.until.load(SeqCst) > 0 && self.left().is_none()
    }

    /// A client whose writes this fence lets out. It can read before it is opened for the first time; when it is over its
    /// connections end.
    ///
    /// # Errors
    /// When the certificates or the token that `config` names cannot be used.
    pub fn client(&self, config: Config) -> Result<Client, kube::Error> {
        let layer = layer_fn(|inner| FencedService { inner, fence: self.clone() });
        Ok(ClientBuilder::try_from((config, FencedExecutor(self.clone())))?.with_layer(&layer).build())
    }
}

/// Lets calls that only read pass, and others while the fence is open.
struct FencedService<S> {
    inner: S,
    fence: Fence,
}

impl<S, B> Service<Request<Body>> for FencedService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        if !writes {
            return Box::pin(self.inner.call(request));
        }
        if self.fence.left().is_none() {
            return Box::pin(future::ready(Err(Fenced.into())));
        }
        Box::pin(within(self.fence.clone(), self.inner.call(request)))
    }
}

/// The answer to a write, if it comes while the fence is open.
async fn within<T>(fence: Fence, call: impl Future<Output = Result<T, BoxError>> + Send) -> Result<T, BoxError> {
    let call = pin!(call);
    // Whatever wakes a process that was stopped, the clock is looked at first.
    let mut call = pin!(while_open(&fence, call));
    loop {
        let Some(left) = fence.left() else { return Err(Fenced.into()) };
        tokio::select! {
            answer = call.as_mut() => return answer.unwrap_or_else(|| Err(Fenced.into())),
            () = sleep(left) => {}
        }
    }
}

/// What a future comes to, unless the fence is over when it could go on.
async fn while_open<F: Future>(fence: &Fence, mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| if fence.is_over() { Poll::Ready(None) } else { future.as_mut().poll(context).map(Some) }).await
}

/// Runs the client's connections, which do its writing. So nothing that waits in one is written once the fence is over.
#[derive(Clone)]
struct FencedExecutor(Fence);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for FencedExecutor {
    fn execute(&self, connection: F) {
        let fence = self.0.clone();
        tokio::spawn(async move { while_open(&fence, pin!(connection)).await });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{OnceLock, atomic::AtomicUsize};

    use hyper::StatusCode;
    use parking_lot::Mutex;
    use tokio::{
        sync::Notify,
        task::yield_now,
        time::{Instant, advance},
    };
    use tower::service_fn;

    use super::*;

    const HOLDS: Duration = Duration::from_secs(10);

    /// The time of the test's runtime, which stands still unless nothing else is left to do.
    fn virtual_time() -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let began = *BEGAN.get_or_init(Instant::now);
        Duration::from_secs(1) + Instant::now().duration_since(began)
    }

    fn fence() -> Fence {
        Fence::new(virtual_time)
    }

    fn open(fence: &Fence) {
        fence.open(fence.now() + HOLDS);
    }

    fn request(method: Method) -> Request<Body> {
        Request::builder().method(method).body(Body::empty()).unwrap()
    }

    fn is_fenced<T>(result: Result<T, BoxError>) -> bool {
        result.is_err_and(|error| error.is::<Fenced>())
    }

    #[tokio::test(start_paused = true)]
    async fn only_reads_pass_unless_it_is_open() {
        let (fence, sent) = (fence(), Arc::new(Mutex::new(Vec::new())));
        let record = sent.clone();
        let inner = service_fn(move |request: Request<Body>| {
            record.lock().push(request.method().clone());
            future::ready(Ok::<_, BoxError>(Response::new(StatusCode::OK)))
        });
        let mut service = FencedService { inner, fence: fence.clone() };
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        for method in writes.clone() {
            assert!(is_fenced(service.call(request(method)).await), "nobody has opened it");
        }
        open(&fence);
        advance(HOLDS - Duration::from_millis(1)).await;
        for method in writes.clone() {
            service.call(request(method)).await.unwrap();
        }
        assert_eq!(*sent.lock(), writes);
        advance(Duration::from_millis(1)).await;
        for method in writes.clone() {
            assert!(is_fenced(service.call(request(method)).await), "its time is over");
        }
        service.call(request(Method::GET)).await.unwrap();
        assert_eq!(sent.lock().len(), writes.len() + 1);
        open(&fence);
        fence.close();
        assert!(is_fenced(service.call(request(Method::PATCH)).await), "it was closed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_awaited_as_long_as_it_is_open() {
        let fence = fence();
        open(&fence);
        let began = Instant::now();
        let never = within(fence.clone(), future::pending::<Result<(), BoxError>>());
        let renew = async {
            sleep(HOLDS / 2).await;
            open(&fence);
        };
        let (answer, ()) = tokio::join!(never, renew);
        assert!(is_fenced(answer));
        let waited = began.elapsed();
        assert!((HOLDS * 3 / 2..HOLDS * 2).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_in_a_connection_is_not_written_after_the_process_was_stopped() {
        let (fence, wake, written) = (fence(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (woken, count) = (wake.clone(), written.clone());
        FencedExecutor(fence.clone()).execute(async move {
            loop {
                count.fetch_add(1, SeqCst);
                woken.notified().await;
            }
        });
        yield_now().await;
        assert_eq!(written.load(SeqCst), 1, "what only reads needs no Lease");
        open(&fence);
        wake.notify_one();
        yield_now().await;
        assert_eq!(written.load(SeqCst), 2);
        // As if the clock had gone on while nothing else did: no timer has its turn before the connection has.
        fence.open(fence.now());
        wake.notify_one();
        yield_now().await;
        assert_eq!(written.load(SeqCst), 2);
        assert_eq!(Arc::strong_count(&written), 1, "the connection is gone");
    }
}
