//! The values of a Secret, of which no error, log or debug output ever shows one, and what it says of their use.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1;
use zeroize::Zeroizing;

use crate::api::ALLOWED_HOSTS;

/// A Secret: its values, by key.
#[derive(Default)]
pub struct Secret {
    values: BTreeMap<String, Zeroizing<Vec<u8>>>,
    allowed_hosts: Option<String>,
}

impl Secret {
    /// A Secret of these values, that has these annotations.
    pub fn new(values: BTreeMap<String, Zeroizing<Vec<u8>>>, annotations: Option<&BTreeMap<String, String>>) -> Self {
        let allowed_hosts = annotations.and_then(|annotations| annotations.get(ALLOWED_HOSTS)).cloned();
        Self { values, allowed_hosts }
    }

    /// What the annotation `webshell.dev/allowed-hosts` says, if there is one.
    pub fn allowed_hosts(&self) -> Option<&str> {
        self.allowed_hosts.as_deref()
    }

    /// All values by key.
    pub fn values(&self) -> &BTreeMap<String, Zeroizing<Vec<u8>>> {
        &self.values
    }

    /// The text under a key, if there is any.
    ///
    /// # Errors
    /// When it is not UTF-8: a sentence's end that says so.
    pub fn text(&self, key: &str) -> Result<Option<&str>, &'static str> {
        let Some(bytes) = self.values.get(key).filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
        str::from_utf8(bytes).map(Some).map_err(|_| "must be UTF-8 text")
    }
}

impl From<v1::Secret> for Secret {
    fn from(secret: v1::Secret) -> Self {
        let values = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, Zeroizing::new(value.0)));
        Self::new(values.collect(), secret.metadata.annotations.as_ref())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
