//! The values of a Secret. No error, log or debug output ever shows one.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1;
use zeroize::Zeroizing;

/// The values of a Secret, by key.
#[derive(Default)]
pub struct Secret {
    values: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Secret {
    /// A Secret of these values.
    pub fn new(values: BTreeMap<String, Zeroizing<Vec<u8>>>) -> Self {
        Self { values }
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
        Self::new(values.collect())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
