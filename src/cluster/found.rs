//! What is found of a WebShell and what it names: the access that sessions get, and the finding that its status tells.

use std::{sync::Arc, time::Duration};

use kube::Api;
use tokio::{sync::watch, time::Instant};

use super::{host_keys::StatusKeys, notices::Notices, references::Fetched, status::Finding};
use crate::{
    api::{WebShell, WebShellSpec, conditions::reasons},
    calls::{CallError, Calls},
    catalog::{Access, MISSING_GRACE, Obstacle},
    policy::TargetPolicy,
    resolve::{
        self,
        problem::{Cause, Problem},
    },
    ssh::{self, LearnedKeys},
};

/// Judges what the WebShells of a namespace name.
#[derive(Debug)]
pub(super) struct Judge {
    namespace: String,
    api: Api<WebShell>,
    calls: Arc<Calls>,
    notices: Notices,
    policy: watch::Receiver<Arc<TargetPolicy>>,
    admission: ssh::Admission,
}

/// What a look has found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) access: Result<Arc<Access>, Obstacle>,
    pub(super) target: String,
    pub(super) finding: Finding,
    /// Where only something is missing or not ready: what that means for live sessions.
    gap: Option<Gap>,
    /// The spec that was looked at, and its generation.
    spec: Arc<WebShellSpec>,
    pub(super) generation: Option<i64>,
    /// Credentials that were tried to read, and what is wrong with them: to decipher a key takes its time.
    checked: Option<(ssh::Credentials, Option<String>)>,
}

/// What is in the way of new sessions only, for the time being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Something does not exist.
    Missing,
    /// A Service leads nowhere. Connections that it has led before may well live on.
    NotReady,
}

// === impl Gap ===

impl Gap {
    fn of(problems: &[Problem]) -> Option<Self> {
        let has = |cause| problems.iter().any(|problem| problem.cause == cause);
        let others = problems.iter().any(|problem| !matches!(problem.cause, Cause::Missing | Cause::NotReady));
        match (others, has(Cause::Missing)) {
            (true, _) => None,
            (false, true) => Some(Self::Missing),
            (false, false) => has(Cause::NotReady).then_some(Self::NotReady),
        }
    }

    /// How long live sessions go on.
    fn grace(self) -> Option<Duration> {
        match self {
            Self::Missing => Some(MISSING_GRACE),
            Self::NotReady => None,
        }
    }
}

// === impl Judge ===

impl Judge {
    /// Keeps to the newest `policy`. Learned host keys are kept by `api` and told to `notices`.
    pub(super) fn new(
        namespace: &str,
        api: Api<WebShell>,
        calls: Arc<Calls>,
        notices: Notices,
        policy: watch::Receiver<Arc<TargetPolicy>>,
    ) -> Self {
        let newest = policy.clone();
        let admission = ssh::Admission::new(move |address| newest.borrow().admit(address));
        Self { namespace: namespace.to_owned(), api, calls, notices, policy, admission }
    }

    /// What follows from what was got.
    pub(super) async fn judge(
        &self,
        name: &str,
        spec: &Arc<WebShellSpec>,
        fetched: &Fetched,
        before: Option<&Found>,
    ) -> Found {
        let keys =
            StatusKeys::new(self.api.clone(), Arc::clone(&self.calls), self.notices.clone(), &self.namespace, name);
        let learned = Arc::new(LearnedKeys::Kept(Arc::new(keys)));
        let access = match resolve::access(spec, fetched, Some(&learned), &self.admission) {
            Ok(access) => Access { min_rsa_bits: self.policy.borrow().min_rsa_bits(), ..access },
            Err(problems) => {
                let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let found = Found::unresolved(spec, resolve::problem::cause(&problems), message, None);
                return Found { gap: Gap::of(&problems), ..found };
            }
        };
        let known = before.and_then(|found| found.checked.clone());
        let known = known.filter(|(checked, _)| access.credentials.same(checked));
        let wrong = match known {
            Some((_, wrong)) => wrong,
            None => access.credentials.check().await.err().map(|failure| format!("{failure} {}", failure.hint())),
        };
        let checked = Some((access.credentials.clone(), wrong.clone()));
        if let Some(wrong) = wrong {
            let message = format!("Secret {}: {wrong}", spec.credentials.secret_ref.name);
            return Found::unresolved(spec, Cause::Unusable, message, checked);
        }
        let target = resolve::target(spec, Some(&access.target.user));
        let warning = match access.host_keys.short_key(&access.target.host, access.target.port) {
            Some((place, bits)) => format!(
                " But {place} of the known hosts has an RSA key of only {bits} bits for the host: give the host an Ed25519 key, and \
                 put that there."
            ),
            None => String::new(),
        };
        let remark = fetched.remark().map(|remark| format!(" {remark}")).unwrap_or_default();
        let message = format!("All that it names was read and can be used.{warning}{remark}");
        let admitted = self.policy.borrow().admit_host_keys(spec.host_key.policy);
        let access = admitted.map(|()| Arc::new(access)).map_err(Obstacle::invalid);
        let finding = Finding { status: "True", reason: reasons::RESOLVED, message };
        Found { access, target, finding, gap: None, spec: Arc::clone(spec), generation: None, checked }
    }
}

// === impl Found ===

impl Found {
    fn unresolved(
        spec: &Arc<WebShellSpec>,
        cause: Cause,
        message: String,
        checked: Option<(ssh::Credentials, Option<String>)>,
    ) -> Self {
        let target = resolve::target(spec, spec.target.user.as_ref());
        let reason = match cause {
            Cause::Missing => reasons::NOT_FOUND,
            Cause::NotReady | Cause::Unusable => reasons::UNUSABLE,
            Cause::HostNotAllowed => reasons::HOST_NOT_ALLOWED,
        };
        let finding = Finding { status: "False", reason, message: message.clone() };
        let access = Err(Obstacle { reason: cause.reason(), ..Obstacle::invalid(message) });
        Self { access, target, finding, gap: None, spec: Arc::clone(spec), generation: None, checked }
    }

    /// Nothing, because of an error.
    pub(super) fn unread(spec: &Arc<WebShellSpec>, generation: Option<i64>, error: &CallError) -> Self {
        let message = format!("what it names cannot be read: {error}");
        let target = resolve::target(spec, spec.target.user.as_ref());
        let finding = Finding { status: "Unknown", reason: reasons::PENDING, message: message.clone() };
        let access = Err(Obstacle::invalid(message));
        Self { access, target, finding, gap: None, spec: Arc::clone(spec), generation, checked: None }
    }

    /// Keeps what is in use where it is the same, and for live sessions where something is missing for a while.
    pub(super) fn keep(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        let names_the_same = self.names_the_same(before);
        match (&mut self.access, &before.access) {
            (Ok(now), Ok(before)) if now.same(before) => *now = Arc::clone(before),
            (Err(obstacle), before) if names_the_same => {
                if let Some(gap) = self.gap {
                    obstacle.keep(before, gap.grace(), Instant::now());
                }
            }
            _ => {}
        }
        self
    }

    /// Whether live sessions go on for a while though something is missing.
    pub(super) fn keeps(&self) -> bool {
        let until =
            |obstacle: &Obstacle| obstacle.last_good.as_ref().is_some_and(|last_good| last_good.until.is_some());
        self.access.as_ref().is_err_and(until)
    }

    /// Whether what sessions begin with has the same names in both specs.
    fn names_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&*self.spec, &*other.spec);
        one.target == other.target && one.credentials == other.credentials && one.host_key == other.host_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_or_host_is_no_gap_of_what_was_in_use() {
        let found = |host: &str, credentials: &str, key: &str| {
            let text = format!(
                "{{target: {{host: {host}}}, credentials: {{secretRef: {{name: {credentials}}}}}, hostKey: {{secretRef: {{name: {key}}}}}}}"
            );
            let spec: WebShellSpec = serde_saphyr::from_str(&text).unwrap();
            Found::unread(&Arc::new(spec), None, &CallError::Late)
        };
        let before = found("db-1", "key", "hosts");
        assert!(found("db-1", "key", "hosts").names_the_same(&before));
        for other in [found("db-2", "key", "hosts"), found("db-1", "other", "hosts"), found("db-1", "key", "other")] {
            assert!(!other.names_the_same(&before));
        }
    }
}
