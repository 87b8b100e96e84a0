//! Host keys learned on first use, kept in a WebShell's status.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kube::Api;

use super::{notices::Notices, status};
use crate::{
    api::WebShell,
    calls::{CallError, Calls, Purpose},
    ssh::{KeyKeeper, PresentedKey},
};

/// Keeps the learned keys of one WebShell.
#[derive(Debug)]
pub struct StatusKeys {
    api: Api<WebShell>,
    calls: Arc<Calls>,
    notices: Notices,
    name: String,
    place: String,
}

impl StatusKeys {
    /// Those of `namespace`'s WebShell of this name.
    pub fn new(api: Api<WebShell>, calls: Arc<Calls>, notices: Notices, namespace: &str, name: &str) -> Self {
        let place = format!("status.hostKey of WebShell {namespace}/{name}");
        Self { api, calls, notices, name: name.to_owned(), place }
    }

    async fn get(&self) -> Result<WebShell, String> {
        self.calls.make(Purpose::Connection, self.api.get(&self.name)).await.map_err(words)
    }

    async fn add_key(&self, read: &str, key: &PresentedKey) -> Result<bool, String> {
        let object = self.get().await?;
        if status::host_key(&object) != read {
            return Ok(false);
        }
        let condition = status::condition_of(&object).cloned();
        let text = format!("{read}{}\n", key.line);
        match status::apply_own(&self.api, &self.calls, Purpose::Connection, &object, condition, Some(text)).await {
            Ok(_) => {
                self.notices.learned(&self.name, key);
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(words(error)),
        }
    }
}

impl KeyKeeper for StatusKeys {
    fn place(&self) -> &str {
        &self.place
    }

    fn read(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok(status::host_key(&self.get().await?).to_owned()) })
    }

    fn add<'a>(&'a self, read: &'a str, key: &'a PresentedKey) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(self.add_key(read, key))
    }
}

fn words(error: CallError) -> String {
    error.to_string()
}
