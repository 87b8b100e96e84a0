//! Who may open which shell, beyond being logged in.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::{
    catalog::{Catalog, ShellKey},
    rights::{Undecided, lists::Visible},
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
    fn visible<'a>(&'a self, user: &'a User, catalog: &'a Catalog) -> BoxFuture<'a, Result<Visible, Undecided>>;
}

/// Whether somebody may open a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// It cannot be found out now.
    Undecided(Undecided),
}

/// Lets whoever is logged in open every shell.
#[derive(Clone, Copy, Debug)]
pub struct Everyone;

impl Guard for Everyone {
    fn admit<'a>(&'a self, _: &'a User, _: &'a ShellKey) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::Allowed })
    }

    fn visible<'a>(&'a self, _: &'a User, catalog: &'a Catalog) -> BoxFuture<'a, Result<Visible, Undecided>> {
        Box::pin(async { Ok(Visible { shells: catalog.shells.keys().cloned().collect(), complete: true }) })
    }
}
