//! An API server for tests that answers reviews as they say, after as long as they say, and nothing else.

use std::{sync::Arc, time::Duration};

use hyper::{Request, Response};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

/// The API server.
pub(crate) struct Scripted {
    pub(crate) client: Client,
    reviews: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Reviews are written as `user`, `user namespace` or `user namespace name`.
    pub(crate) fn new(takes: Duration, allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let reviews = Arc::new(Mutex::new(Vec::new()));
        let (asked, allows) = (Arc::clone(&reviews), Arc::new(allows));
        let answer = move |request: Request<Body>| {
            let (asked, allows) = (Arc::clone(&asked), Arc::clone(&allows));
            async move {
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let spec = &review["spec"];
                let attributes = &spec["resourceAttributes"];
                let words = [&spec["user"], &attributes["namespace"], &attributes["name"]];
                let words = words.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
                let allowed = allows(&words);
                asked.lock().push(words);
                review["status"] = json!({"allowed": allowed});
                sleep(takes).await;
                Ok::<_, kube::Error>(Response::new(Body::from(review.to_string().into_bytes())))
            }
        };
        Self { client: Client::new(tower::service_fn(answer), "default"), reviews }
    }

    /// What was asked, in order.
    pub(crate) fn reviews(&self) -> Vec<String> {
        self.reviews.lock().clone()
    }
}
