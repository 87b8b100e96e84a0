//! A proxy before the API server that makes faults: what it is told to do to calls it does, until it is told to stop.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future::ready, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HOST, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime,
    sync::oneshot,
    task::{JoinSet, yield_now},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{api_server::ApiServer, waiting::eventually};

/// What is done to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this status, and not made; 429 with a `Retry-After` of an hour, as some proxies send.
    Status(u16),
    /// It is made, and the answer comes so much later.
    Slow(Duration),
    /// It is not made, and the connection is cut.
    Cut,
    /// It is made once the fault is lifted.
    Hang,
    /// It is made, but the connection is cut in place of the answer.
    Forget,
    /// It is made, and the connection is cut in the middle of the answer.
    Half,
    /// A watch is told that it begins too long ago.
    Gone,
    /// A watch is told nothing, also one that is under way. What there was to tell comes when the fault is lifted.
    Silence,
    /// It is answered with this, and not made.
    Answer(Bytes),
}

/// A call of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As RBAC calls it.
    pub verb: &'static str,
    /// Such as `webshells/status`.
    pub resource: String,
    /// Empty where it is about none, or all.
    pub namespace: String,
}

/// A proxy in a thread of its own. Dropped, it is gone.
pub struct Faults {
    inner: Arc<Inner>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    config: Config,
    directory: TempDir,
}

/// A fault that is made. Dropped, it is lifted.
pub struct Active {
    rule: Arc<Rule>,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: Mutex<Vec<Arc<Rule>>>,
    calls: Mutex<Vec<Call>>,
    watches: Mutex<Vec<(Call, CancellationToken)>>,
}

struct Rule {
    pattern: String,
    fault: Fault,
    /// How often it is still made.
    left: AtomicUsize,
    made: AtomicUsize,
    lifted: CancellationToken,
}

type Error = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

// === impl Faults ===

impl Faults {
    /// A proxy before `server` that makes no faults yet.
    pub async fn before(server: &ApiServer) -> Self {
        let kubeconfig = server.kubeconfig();
        let options = KubeConfigOptions::default();
        let mut config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig).unwrap(), &options).await.unwrap();
        // Who somebody is they say themselves, and what fails they try again themselves.
        let mut upstream = config.clone();
        upstream.auth_info = Default::default();
        upstream.default_retry = false;

        let inner = Arc::new(Inner::default());
        let stop = CancellationToken::new();
        let (told, address) = oneshot::channel();
        let (of_thread, until) = (Arc::clone(&inner), stop.clone());
        // Whoever it serves may be waited for by a test that lets nothing else run.
        let thread = thread::spawn(move || {
            runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let client = Client::try_from(upstream).unwrap();
                until.run_until_cancelled(of_thread.serve(listener, client)).await;
            });
        });
        let address = address.await.unwrap();
        let url = format!("http://{address}");
        let directory = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(kubeconfig).unwrap();
        let text = text.replace(&config.cluster_url.to_string().trim_end_matches('/').to_owned(), &url);
        assert!(text.contains(&url), "{text}");
        fs::write(directory.path().join("kubeconfig"), text).unwrap();
        config.cluster_url = url.parse().unwrap();
        Self { inner, stop, thread: Some(thread), config, directory }
    }

    /// For clients that may do everything.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The same as a file, for other processes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Makes a fault of every call that `pattern` describes, such as `list webshells`, `write *` or `patch configmaps team-a`: a
    /// verb, a resource and a namespace (`-` for calls without one).
    pub fn on(&self, pattern: &str, fault: Fault) -> Active {
        self.times(usize::MAX, pattern, fault)
    }

    /// Makes a fault of the next calls that `pattern` describes.
    pub fn times(&self, times: usize, pattern: &str, fault: Fault) -> Active {
        let rule = Rule {
            pattern: pattern.to_owned(),
            fault,
            left: AtomicUsize::new(times),
            made: AtomicUsize::new(0),
            lifted: CancellationToken::new(),
        };
        let rule = Arc::new(rule);
        self.inner.rules.lock().push(Arc::clone(&rule));
        Active { rule, inner: Arc::clone(&self.inner) }
    }

    /// Cuts all that is under way, and lets nothing through.
    pub fn outage(&self) -> Active {
        let outage = self.on("* *", Fault::Cut);
        self.cut("* *");
        outage
    }

    /// Cuts the watches that are under way.
    pub fn cut(&self, pattern: &str) {
        self.inner.watches.lock().retain(|(call, cut)| {
            let matches = call.is(pattern);
            if matches {
                cut.cancel();
            }
            !matches
        });
    }

    /// How many such calls have come.
    pub fn calls(&self, pattern: &str) -> usize {
        self.inner.calls.lock().iter().filter(|call| call.is(pattern)).count()
    }

    /// Waits until so many such calls have come.
    pub async fn called(&self, times: usize, pattern: &str) {
        eventually(&format!("{times} × {pattern}"), async || (self.calls(pattern) >= times).then_some(())).await;
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

// === impl Active ===

impl Active {
    /// How often it was made.
    pub fn count(&self) -> usize {
        self.rule.made.load(SeqCst)
    }

    /// Waits until it was made so often.
    pub async fn made(&self, times: usize) {
        let what = format!("{times} × {:?} of {}", self.rule.fault, self.rule.pattern);
        eventually(&what, async || (self.count() >= times).then_some(())).await;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.inner.rules.lock().retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        self.rule.lifted.cancel();
    }
}

// === impl Call ===

impl Call {
    fn of<B>(request: &Request<B>) -> Self {
        let path: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
        let rest = match path.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, has_name) = match rest {
            [] => (String::new(), true),
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, subresource, ..] => (format!("{resource}/{subresource}"), true),
        };
        let watches = request.uri().query().unwrap_or_default().split('&').any(|pair| pair == "watch=true");
        let verb = match *request.method() {
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ if watches => "watch",
            _ if has_name => "get",
            _ => "list",
        };
        Self { verb, resource, namespace: namespace.to_owned() }
    }

    fn is(&self, pattern: &str) -> bool {
        let mut words = pattern.split(' ');
        let (verb, resource, namespace) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or("*"));
        let verb_is = match verb {
            "*" => true,
            "write" => ["create", "patch", "update", "delete"].contains(&self.verb),
            verb => verb == self.verb,
        };
        let namespace_is =
            namespace == "*" || namespace == if self.namespace.is_empty() { "-" } else { &self.namespace };
        verb_is && (resource == "*" || resource == self.resource) && namespace_is
    }
}

// === impl Inner ===

impl Inner {
    async fn serve(self: Arc<Self>, listener: TcpListener, upstream: Client) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    let (inner, upstream) = (Arc::clone(&self), upstream.clone());
                    let service = service_fn(move |request| Arc::clone(&inner).answer(upstream.clone(), request));
                    // It ends by an error where it is cut.
                    connections.spawn(async move {
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// The fault to be made of a call.
    fn find(&self, call: &Call) -> Option<Arc<Rule>> {
        let rules = self.rules.lock();
        let rule = rules.iter().find(|rule| {
            let silences = matches!(rule.fault, Fault::Silence);
            !silences && call.is(&rule.pattern) && rule.left.load(SeqCst) > 0
        })?;
        rule.left.fetch_sub(1, SeqCst);
        rule.made.fetch_add(1, SeqCst);
        Some(Arc::clone(rule))
    }

    /// What keeps a watch from being told something.
    fn silence(&self, call: &Call) -> Option<CancellationToken> {
        let rules = self.rules.lock();
        let rule = rules.iter().find(|rule| matches!(rule.fault, Fault::Silence) && call.is(&rule.pattern))?;
        rule.made.fetch_add(1, SeqCst);
        Some(rule.lifted.clone())
    }

    async fn answer(self: Arc<Self>, upstream: Client, request: Request<Incoming>) -> Result<Answer, Error> {
        let call = Call::of(&request);
        let rule = self.find(&call);
        self.calls.lock().push(call.clone());
        let fault = rule.as_ref().map(|rule| &rule.fault);
        match (fault, &rule) {
            (Some(Fault::Status(code)), _) => return Ok(refusal(*code)),
            (Some(Fault::Gone), _) => {
                return Ok(full(200, format!("{}\n", json!({"type": "ERROR", "object": status(410)}))));
            }
            (Some(Fault::Answer(body)), _) => return Ok(full(200, body.clone())),
            (Some(Fault::Cut), _) => return Err("cut".into()),
            (Some(Fault::Hang), Some(rule)) => rule.lifted.cancelled().await,
            _ => {}
        }
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(HOST);
        let body = kube::client::Body::from(body.collect().await?.to_bytes());
        let answer = upstream.send(Request::from_parts(parts, body)).await?;
        let (parts, body) = answer.into_parts();
        let mut body = body.into_data_stream().map_err(Error::from);
        let body = match fault {
            Some(Fault::Forget) => return Err("the answer is forgotten".into()),
            Some(Fault::Half) => {
                let first = body.next().await.transpose()?.unwrap_or_default();
                let half = first.slice(..first.len() / 2);
                stream::iter([Ok(half), Err(Error::from("cut in the middle"))]).then(yielding).boxed()
            }
            Some(Fault::Slow(pause)) => {
                sleep(*pause).await;
                body.boxed()
            }
            _ if call.verb == "watch" => self.watched(call, body).boxed(),
            _ => body.boxed(),
        };
        Ok(Response::from_parts(parts, StreamBody::new(body.map_ok(Frame::data)).boxed_unsync()))
    }

    /// What a watch is told, unless it is cut or silenced.
    fn watched<S>(self: Arc<Self>, call: Call, body: S) -> impl Stream<Item = Result<Bytes, Error>> + Send
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + Unpin,
    {
        let cut = CancellationToken::new();
        self.watches.lock().push((call.clone(), cut.clone()));
        let told = stream::unfold((self, body, call), async |(inner, mut body, call)| {
            let chunk = body.next().await?;
            while let Some(lifted) = inner.silence(&call) {
                lifted.cancelled().await;
            }
            Some((chunk, (inner, body, call)))
        });
        let end = async move {
            cut.cancelled().await;
            Err(Error::from("cut"))
        };
        stream::select(told.map(Some).chain(stream::iter([None])), stream::once(end).map(Some))
            .take_while(|chunk| ready(chunk.is_some()))
            .filter_map(ready)
    }
}

/// Lets what came before go out first.
async fn yielding(part: Result<Bytes, Error>) -> Result<Bytes, Error> {
    yield_now().await;
    part
}

fn full(code: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(code).header(CONTENT_TYPE, "application/json").body(body).unwrap()
}

/// An answer as an API server gives it.
fn refusal(code: u16) -> Answer {
    let mut answer = full(code, status(code).to_string());
    if code == 429 {
        answer.headers_mut().insert(RETRY_AFTER, "3600".parse().unwrap());
    }
    answer
}

fn status(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("a fault made by the test: {reason}"),
    })
}
