//! The bare parallel client: bodies that are ready to be sent, many requests at once, answers read to their end and not
//! looked at.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::http::{Request, header};
use kube::{Client, client::Body};

/// How many requests are under way at once when there is nothing to compare.
const AT_ONCE: usize = 32;

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: &'static str,
    pub path: String,
    pub body: Bytes,
}

impl Call {
    /// A server-side apply in the name of a field manager.
    pub fn apply(path: &str, manager: &str, object: &serde_json::Value) -> Self {
        let path = format!("{path}?force=true&fieldManager={manager}");
        Self { verb: "PATCH", path, body: object.to_string().into() }
    }

    /// A creation.
    pub fn create(path: &str, object: &serde_json::Value) -> Self {
        Self { verb: "POST", path: path.to_owned(), body: object.to_string().into() }
    }

    /// A deletion.
    pub fn delete(path: &str) -> Self {
        Self { verb: "DELETE", path: path.to_owned(), body: Bytes::new() }
    }

    /// Sends it; returns the answer.
    pub async fn send(&self, client: &Client) -> Bytes {
        let kind = if self.verb == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let request = Request::builder().method(self.verb).uri(&self.path).header(header::CONTENT_TYPE, kind);
        let answer = client.send(request.body(Body::from(self.body.to_vec())).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{} {}: {status} {body:?}", self.verb, self.path);
        body
    }
}

/// Sends all of them, in no order.
pub async fn send_all(client: &Client, calls: impl IntoIterator<Item = Call>) {
    let sent = stream::iter(calls).for_each_concurrent(AT_ONCE, async |call| _ = call.send(client).await);
    sent.await;
}
