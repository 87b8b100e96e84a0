//! All sessions of a gateway: who may begin or resume one, and when all must end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::{
    Attachment, Session,
    budget::{self, Budget},
    input::WINDOW,
    logins::FormerLogins,
    shell,
    tokens::{Token, Tokens},
};
use crate::{
    api::SessionLimits,
    catalog::{Access, Catalog, Change, ShellKey},
    protocol::{
        Reason,
        v1::{Ended, Notice, NoticeKind, Size, Welcome},
    },
    telemetry::{audit, metrics::SessionMetrics},
    user::User,
};

/// What a session begins with.
#[derive(Debug)]
pub struct NewSession {
    /// The shell to open.
    pub shell: ShellKey,
    /// For whom.
    pub user: Arc<User>,
    /// From where.
    pub client: IpAddr,
    /// The terminal's size.
    pub size: Size,
    /// The shell's limits.
    pub limits: SessionLimits,
}

/// How many sessions may live at once, beside each shell's own limit. `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Of the gateway.
    pub total: usize,
    /// Of one user in one namespace.
    pub user: Option<u32>,
    /// Of one shell, whatever its own limit is.
    pub shell: Option<u32>,
    /// Of all shells of one namespace.
    pub namespace: Option<u32>,
}

/// A session that cannot be begun.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The WebShell's own limit.
    #[error("this shell allows {0} sessions at once, and they are all in use: end one of them first")]
    TooMany(u32),
    /// The cap on a user's sessions.
    #[error("you may have {0} sessions at once in this namespace, and have as many: end one of them first")]
    TooManyOfUser(u32),
    /// The cap on a namespace's sessions.
    #[error("{0} sessions are allowed at once in this namespace, and they are all in use: try again later")]
    TooManyInNamespace(u32),
    /// The gateway's limit.
    #[error("this gateway is full: try again later")]
    Full,
    /// The gateway is stopping.
    #[error("the gateway is stopping: try again in a moment")]
    Draining,
    /// The log-in ended meanwhile.
    #[error("you are logged out: log in again")]
    LoggedOut,
    /// The system has no random numbers.
    #[error("no random numbers for a session token")]
    Random,
}

/// A session that cannot be resumed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ResumeError {
    /// No such session for this user and shell.
    #[error("this session is over, or was never yours")]
    Unknown,
    /// The log-in that it was opened or last continued by ended, and whoever comes now is not to see what it left.
    #[error("this session ended with its log-in")]
    LoggedOut,
    /// The client claims bytes that were never sent.
    #[error("resume at {0}, beyond the session's output")]
    Beyond(u64),
    /// The system has no random numbers.
    #[error("no random numbers for a session token")]
    Random,
}

/// All sessions of a gateway. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    caps: Mutex<Caps>,
    metrics: SessionMetrics,
    /// Memory for what is held while nobody is attached.
    budget: Budget,
    observer: Observer,
    tasks: TaskTracker,
    sessions: Mutex<Sessions>,
}

/// Who is told how sessions ended.
struct Observer(Box<Observe>);

type Observe = dyn Fn(&ShellKey, &Ended) + Send + Sync;

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(…)")
    }
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<String, Known>,
    by_token: HashMap<Token, String>,
    former_logins: FormerLogins,
    draining: bool,
}

#[derive(Debug)]
struct Known {
    session: Arc<Session>,
    tokens: Tokens,
    /// The log-in that opened it, or continued it last.
    login: Arc<User>,
    /// What it was opened with; `None` for sessions that follow no catalog.
    access: Option<Arc<Access>>,
}

// === impl OpenError ===

impl OpenError {
    /// The reason to close the connection with.
    pub fn reason(self) -> Reason {
        match self {
            Self::TooMany(_) | Self::TooManyOfUser(_) | Self::TooManyInNamespace(_) => Reason::TooManySessions,
            Self::Full => Reason::GatewayFull,
            Self::Draining => Reason::Draining,
            Self::LoggedOut => Reason::LoggedOut,
            Self::Random => Reason::Internal,
        }
    }
}

// === impl Registry ===

impl Registry {
    /// A registry for at most `limit` sessions at once.
    pub fn new(limit: usize, metrics: SessionMetrics) -> Self {
        Self::observed(limit, metrics, |_, _| {})
    }

    /// The same, whose `observer` is told how the sessions of which shell ended; it must not block.
    pub fn observed(
        limit: usize,
        metrics: SessionMetrics,
        observer: impl Fn(&ShellKey, &Ended) + Send + Sync + 'static,
    ) -> Self {
        let caps = Mutex::new(Caps { total: limit, user: None, shell: None, namespace: None });
        let observer = Observer(Box::new(observer));
        let budget = Budget::new(budget::TOTAL, metrics.clone());
        let inner = Inner { caps, metrics, budget, observer, tasks: TaskTracker::new(), sessions: Mutex::default() };
        Registry { inner: Arc::new(inner) }
    }

    /// Where its sessions are counted.
    pub fn metrics(&self) -> &SessionMetrics {
        &self.inner.metrics
    }

    /// Applies other caps from now on. Sessions beyond them live on.
    pub fn set_caps(&self, caps: Caps) {
        *self.inner.caps.lock() = caps;
    }

    /// Begins a session and attaches to it. `drive` reaches the shell and runs until it is gone; `access` is what the session
    /// was opened with, so that [`Registry::follow`] sees when that changes.
    pub fn open<F>(
        &self,
        new: NewSession,
        access: Option<Arc<Access>>,
        drive: impl FnOnce(Arc<Session>) -> F,
    ) -> Result<(Attachment, Welcome), OpenError>
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let (id, token) =
            (Token::random().map_err(|_| OpenError::Random)?, Token::random().map_err(|_| OpenError::Random)?);
        let id = id.to_hex();
        let size = new.size;
        let clipboard_write = access.as_ref().is_some_and(|access| access.clipboard_write);
        let session = {
            let mut sessions = self.inner.sessions.lock();
            if sessions.draining {
                return Err(OpenError::Draining);
            }
            sessions.check(&new, *self.inner.caps.lock())?;
            let login = sessions.former_logins.current(&new.user).ok_or(OpenError::LoggedOut)?;
            let session =
                Arc::new(Session::new(id.clone(), new, self.inner.metrics.clone(), self.inner.budget.share()));
            let known = Known { session: Arc::clone(&session), tokens: Tokens::new(token), login, access };
            sessions.by_token.insert(token, id.clone());
            sessions.by_id.insert(id.clone(), known);
            session
        };
        let driven = Box::pin(drive(Arc::clone(&session)));
        self.inner.tasks.spawn(self.clone().run(Arc::clone(&session), driven));
        let (attachment, output, input) = Attachment::attach(&session, 0, size).ok_or(OpenError::Random)?;
        let welcome = Welcome {
            session: id,
            token: token.to_hex(),
            resumed: false,
            output,
            input,
            input_window: WINDOW as u64,
            clipboard_write,
        };
        Ok((attachment, welcome))
    }

    /// Goes on with the session that `token` resumes, from the output position `received`.
    pub fn resume(
        &self,
        token: &str,
        received: u64,
        size: Size,
        shell: &ShellKey,
        user: &Arc<User>,
        client: IpAddr,
    ) -> Result<(Attachment, Welcome), ResumeError> {
        let presented = Token::from_hex(token).ok_or(ResumeError::Unknown)?;
        let next = Token::random().map_err(|_| ResumeError::Random)?;
        let mut sessions = self.inner.sessions.lock();
        let sessions = &mut *sessions;
        let user = sessions.former_logins.current(user).ok_or(ResumeError::LoggedOut)?;
        let id = sessions.by_token.get(&presented).ok_or(ResumeError::Unknown)?.clone();
        let known = sessions.by_id.get_mut(&id).ok_or(ResumeError::Unknown)?;
        if known.session.shell != *shell || known.session.user.name != user.name {
            return Err(ResumeError::Unknown);
        }
        if known.session.is_logged_out() {
            return Err(ResumeError::LoggedOut);
        }
        let (attachment, output, input) =
            Attachment::attach(&known.session, received, size).ok_or(ResumeError::Beyond(received))?;
        for expired in known.tokens.rotate(presented, next).ok_or(ResumeError::Unknown)? {
            sessions.by_token.remove(&expired);
        }
        sessions.by_token.insert(next, id.clone());
        known.login = Arc::clone(&user);
        self.inner.metrics.resumed();
        audit::connected(audit::Subject { shell, user: &user.name, client }, &id, true);
        let clipboard_write = known.access.as_ref().is_some_and(|access| access.clipboard_write);
        let welcome = Welcome {
            session: id,
            token: next.to_hex(),
            resumed: true,
            output,
            input,
            input_window: WINDOW as u64,
            clipboard_write,
        };
        Ok((attachment, welcome))
    }

    /// Holds every session against the newest catalog: limits apply at once, what a session was opened with must still be so, and
    /// where it is connected to must still be allowed.
    pub fn follow(&self, catalog: &Catalog) {
        let sessions = self.inner.sessions.lock();
        for known in sessions.by_id.values() {
            let Some(used) = &known.access else { continue };
            match changed(used, catalog, &known.session) {
                Ok(now) => known.session.set_limits(now.limits),
                Err(ended) => known.session.end(*ended),
            }
        }
    }

    /// Ends the sessions that were opened or last continued by this log-in, and by no other of the same user. None is opened or
    /// continued by it any more. `message` says why.
    pub fn log_out(&self, login: &Arc<User>, message: &str) {
        let mut sessions = self.inner.sessions.lock();
        sessions.former_logins.end(login);
        for known in sessions.by_id.values().filter(|known| Arc::ptr_eq(&known.login, login)) {
            known.session.end(Ended::new(Reason::LoggedOut, message));
        }
    }

    /// Lets a new log-in take the place of an earlier one of the same browser. The sessions of the same user go on under it; those
    /// of another end.
    pub fn replace_login(&self, login: &Arc<User>, successor: &Arc<User>) {
        if login.name != successor.name {
            return self.log_out(login, "Somebody else logged in with this browser.");
        }
        let mut sessions = self.inner.sessions.lock();
        sessions.former_logins.replace(login, successor);
        for known in sessions.by_id.values_mut().filter(|known| Arc::ptr_eq(&known.login, login)) {
            known.login = Arc::clone(successor);
        }
    }

    /// Ends the living sessions that `user` has on `shell`.
    pub fn end(&self, user: &User, shell: &ShellKey, ended: &Ended) {
        let sessions = self.inner.sessions.lock();
        for known in sessions.living().filter(|known| known.session.shell == *shell && *known.login == *user) {
            known.session.end(ended.clone());
        }
    }

    /// Who has living sessions on what, each pair once.
    pub fn users(&self) -> HashSet<(Arc<User>, ShellKey)> {
        let sessions = self.inner.sessions.lock();
        sessions.living().map(|known| (Arc::clone(&known.login), known.session.shell.clone())).collect()
    }

    /// How many living sessions each shell has that has any.
    pub fn counts(&self) -> BTreeMap<ShellKey, usize> {
        let mut counts = BTreeMap::new();
        for known in self.inner.sessions.lock().living() {
            *counts.entry(known.session.shell.clone()).or_default() += 1;
        }
        counts
    }

    /// Whether `user` has a session on `shell` to go on with.
    pub fn has_session(&self, user: &User, shell: &ShellKey) -> bool {
        let sessions = self.inner.sessions.lock();
        sessions.by_id.values().any(|known| known.session.shell == *shell && known.session.user.name == user.name)
    }

    /// How many sessions live.
    pub fn count(&self) -> usize {
        self.inner.sessions.lock().by_id.len()
    }

    /// Begins no more sessions, tells everybody, waits up to `limit` for the living to end by themselves, and ends the rest.
    /// Returns once every session's task is gone.
    pub async fn drain(&self, limit: Duration) {
        let notice = Notice {
            kind: NoticeKind::Draining,
            seconds: Some(limit.as_secs()),
            message: format!("The gateway stops; this session ends in {} s at the latest.", limit.as_secs()),
        };
        {
            let mut sessions = self.inner.sessions.lock();
            sessions.draining = true;
            for known in sessions.by_id.values() {
                known.session.notify(notice.clone());
            }
        }
        self.inner.tasks.close();
        if tokio::time::timeout(limit, self.inner.tasks.wait()).await.is_err() {
            for known in self.inner.sessions.lock().by_id.values() {
                known.session.end(Ended::new(Reason::Draining, "The gateway stopped."));
                known.session.dismiss();
            }
            self.inner.tasks.wait().await;
        }
    }

    /// One session's life.
    async fn run(self, session: Arc<Session>, drive: impl Future<Output = Ended>) {
        let ended = tokio::select! {
            ended = drive => ended,
            () = session.keep_time() => Ended::new(Reason::Internal, "The session's clock stopped."),
        };
        let ended = session.finish(ended);
        (self.inner.observer.0)(&session.shell, &ended);
        session.linger().await;
        let mut sessions = self.inner.sessions.lock();
        if let Some(known) = sessions.by_id.remove(&session.id) {
            for token in known.tokens.all() {
                sessions.by_token.remove(&token);
            }
        }
    }
}

// === impl Sessions ===

impl Sessions {
    fn living(&self) -> impl Iterator<Item = &Known> {
        self.by_id.values().filter(|known| !known.session.is_over())
    }

    /// Whether one more may be begun.
    fn check(&self, new: &NewSession, caps: Caps) -> Result<(), OpenError> {
        let reached = |limit: Option<u32>, counts: &dyn Fn(&Session) -> bool| {
            limit.filter(|&limit| self.living().filter(|known| counts(&known.session)).count() >= limit as usize)
        };
        let in_namespace = |session: &Session| session.shell.namespace == new.shell.namespace;
        let of_shell = [new.limits.sessions, caps.shell].into_iter().flatten().min();
        if let Some(limit) = reached(of_shell, &|session| session.shell == new.shell) {
            return Err(OpenError::TooMany(limit));
        }
        if let Some(limit) = reached(caps.user, &|session| in_namespace(session) && session.user.name == new.user.name)
        {
            return Err(OpenError::TooManyOfUser(limit));
        }
        if let Some(limit) = reached(caps.namespace, &in_namespace) {
            return Err(OpenError::TooManyInNamespace(limit));
        }
        if self.living().count() >= caps.total {
            return Err(OpenError::Full);
        }
        Ok(())
    }
}

/// What a session's shell has become; an error where the session must end for it.
fn changed<'a>(used: &Access, catalog: &'a Catalog, session: &Session) -> Result<&'a Access, Box<Ended>> {
    let ended = |reason, message: &str| Box::new(Ended::new(reason, message));
    let Some(entry) = catalog.shells.get(&session.shell) else {
        return Err(ended(Reason::Deleted, "The WebShell was deleted."));
    };
    let now = entry.in_force().map_err(|obstacle| ended(obstacle.reason, &obstacle.message))?;
    match used.change(now) {
        None => {
            let allowed = session.address().map_or(Ok(()), |address| now.admission.check(address));
            allowed.map(|()| now).map_err(|failure| Box::new(shell::failed(&failure)))
        }
        Some(Change::Target) => Err(ended(Reason::TargetChanged, "The WebShell points to another target now.")),
        Some(Change::Credentials) => Err(ended(Reason::CredentialsChanged, "The WebShell's credentials changed.")),
        Some(Change::HostKeys) => {
            Err(ended(Reason::HostKeysChanged, "The host keys that the WebShell trusts changed."))
        }
    }
}
