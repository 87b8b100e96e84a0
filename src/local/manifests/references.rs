//! What WebShells of manifests name: the Secrets beside them.

use std::collections::BTreeMap;

use super::objects::Name;
use crate::{
    api::ServiceRef,
    resolve::{Absence, Destination, References, secret::Secret},
};

/// The Secrets that a WebShell may name.
pub(super) struct Secrets<'a> {
    /// The namespace of the WebShell.
    pub(super) namespace: &'a str,
    /// Those of all namespaces; one that cannot be used has the reason.
    pub(super) all: &'a BTreeMap<&'a Name, Result<&'a Secret, String>>,
}

impl References for Secrets<'_> {
    fn secret(&self, name: &str) -> Result<&Secret, Absence> {
        let key = Name { namespace: self.namespace.to_owned(), name: name.to_owned() };
        match self.all.get(&key) {
            Some(Ok(secret)) => Ok(secret),
            Some(Err(reason)) => Err(Absence::Unusable(format!("Secret {key} cannot be used: {reason}"))),
            None => Err(Absence::Missing(format!(
                "there is no such Secret in namespace {}; add it to the manifests",
                self.namespace
            ))),
        }
    }

    fn service(&self, _: &ServiceRef) -> Result<Destination, Absence> {
        Err(Absence::Unusable("a Service can be reached in its cluster only; give host".to_owned()))
    }
}
