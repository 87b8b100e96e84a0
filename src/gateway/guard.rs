//! Who may open which shell, beyond being logged in.

use std::{collections::BTreeSet, fmt::Debug};

use futures_util::future::BoxFuture;

use crate::{
    catalog::{Catalog, ShellKey},
    user::User,
};

/// Decides over users and shells.
pub trait Guard: Debug + Send + Sync {
    /// Whether `user` may open `shell` now. Where shells are read on demand, the catalog has been brought up to date by then.
    fn admit<'a>(&'a self, user: &'a User, shell: &'a ShellKey) -> BoxFuture<'a, Verdict>;

    /// Those of the catalog's shells that `user` may open.
    ///
    /// # Errors
    /// When that cannot be found out now.
    fn visible<'a>(
        &'a self,
        user: &'a User,
        catalog: &'a Catalog,
    ) -> BoxFuture<'a, Result<BTreeSet<&'a ShellKey>, Undecided>>;
}

/// Whether somebody may open a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// It cannot be found out now.
    Undecided,
}

/// It cannot be found out now who may open what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what this user may open cannot be found out now")]
pub struct Undecided;

/// Lets whoever is logged in open every shell.
#[derive(Clone, Copy, Debug)]
pub struct Everyone;

impl Guard for Everyone {
    fn admit<'a>(&'a self, _: &'a User, _: &'a ShellKey) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::Allowed })
    }

    fn visible<'a>(
        &'a self,
        _: &'a User,
        catalog: &'a Catalog,
    ) -> BoxFuture<'a, Result<BTreeSet<&'a ShellKey>, Undecided>> {
        Box::pin(async { Ok(catalog.shells.keys().collect()) })
    }
}
