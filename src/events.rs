//! Events about WebShells, for who asks with `kubectl describe`.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::api::WebShell;

/// After so many events the recorder starts afresh: it keeps each for six minutes, to count repetitions.
const MAX_KEPT: usize = 1000;

/// How long one may take: the next status must not wait for it.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest note that an API server takes, in bytes.
const MAX_NOTE: usize = 1000;

/// Something that a person must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// One of `api::conditions::reasons`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// Publishes events. One recorder serves all WebShells, so that repetitions are counted and not listed.
pub struct Events {
    client: Client,
    reporter: Reporter,
    action: &'static str,
    recorder: Mutex<(Recorder, usize)>,
}

impl Events {
    /// Events that come up at an action of the role of `pod`.
    pub fn new(client: Client, role: &str, action: &'static str, pod: &str) -> Self {
        let reporter = Reporter { controller: format!("webshell.dev/{role}"), instance: Some(pod.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, action, recorder: Mutex::new((recorder, 0)) }
    }

    /// Tells of what has become of a WebShell. That it cannot be told is no reason to stop: status or log say it too.
    pub async fn publish(&self, namespace: &str, name: &str, uid: &str, notices: Vec<Notice>) {
        let reference = ObjectReference {
            api_version: Some(WebShell::api_version(&()).into_owned()),
            kind: Some(WebShell::kind(&()).into_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        for notice in notices {
            let mut note = notice.message;
            note.truncate(note.floor_char_boundary(MAX_NOTE));
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: notice.reason.to_owned(),
                note: Some(note).filter(|note| !note.is_empty()),
                action: self.action.to_owned(),
                secondary: None,
            };
            let recorder = self.recorder();
            match timeout(LIMIT, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(namespace, name, %error, "an event could not be published"),
                Err(_) => debug!(namespace, name, "an event was not published in time"),
            }
        }
    }

    fn recorder(&self) -> Recorder {
        let mut recorder = self.recorder.lock();
        if recorder.1 >= MAX_KEPT {
            *recorder = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        recorder.1 += 1;
        recorder.0.clone()
    }
}
