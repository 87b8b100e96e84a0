//! What browsers are served: each route checked and answered.

use std::{fmt::Display, net::IpAddr, sync::Arc};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN,
        SET_COOKIE, VARY,
    },
    http::request::Parts,
    upgrade::OnUpgrade,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokio_websockets::{Limits, ServerBuilder};
use tracing::{error, warn};

use super::{
    Settings,
    connections::Holder,
    form::field,
    forwarded,
    guard::{Guard, Verdict},
    headers::Reach,
    http::{self, Answer, X_FORWARDED_FOR, single, texts},
    list,
    login::{self, Auth, PortalLogins, printed::Redeemed, sessions::LoggedIn},
    origin::{self, Origins},
    page, path,
    ping::Pings,
    refusal::Refusal,
    routes::{self, Route, Scope},
    server::{Handler, Peer},
    terminal::{self, Connection, Mode, Terminals},
    upgrade::{self, Negotiated},
};
use crate::{
    catalog::ShellKey,
    network,
    protocol::{KEY_HEADER, raw, v1},
    telemetry::{
        audit::{Denials, Subject},
        metrics::HttpMetrics,
        throttle::Throttle,
    },
    ticket,
    user::User,
};

/// The header with the key of a log-in.
const KEY: HeaderName = HeaderName::from_static(KEY_HEADER);

/// The most bytes of a body with a printed ticket, and of a form with one of the portal's: the ticket and a name.
const MAX_BODY: usize = 8 * 1024;
const MAX_FORM: usize = ticket::MAX_TICKET + 1024;

/// What makes browsers forget (W3C Clear Site Data); they heed it over TLS and on loopback.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// The public side of a gateway.
#[derive(Debug)]
pub struct Site {
    /// Who may come in, and as whom.
    pub auth: Auth,
    /// Which pages may speak to it.
    pub origins: Origins,
    /// Who may open which shell.
    pub guard: Arc<dyn Guard>,
    /// What may change while it runs.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// How browsers reach it, where no settings say so.
    pub reach: Reach,
    /// Tells this gateway from others to a ping.
    pub instance: String,
    /// The terminals, and the shells they may be opened on.
    pub terminals: Terminals,
    /// The pings under way.
    pub pings: Pings,
    /// Counts requests.
    pub metrics: HttpMetrics,
    /// Keeps the audit trail of WebSockets that were refused.
    pub denials: Denials,
    /// Keeps the lines about log-ins that were refused within bounds.
    pub refused_log_ins: Throttle,
    /// Tracks upgraded connections.
    pub tasks: TaskTracker,
    /// Cancelled once no new terminals are to be opened.
    pub draining: CancellationToken,
}

#[derive(Deserialize)]
struct WithTicket {
    ticket: String,
}

// === impl Site ===

impl Handler for Site {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let (parts, body, upgrade) = http::split(request);
        peer.place.hold(match self.auth.identify(texts(&parts.headers, COOKIE), key(&parts)) {
            Some(user) => Holder::User(user.name.clone()),
            None => Holder::Address(self.client(&parts, &peer)),
        });
        let answer = self.answer(&parts, body, upgrade, peer).await;
        http::finish(answer.unwrap_or_else(Refusal::into_answer), self.reach(), &self.metrics)
    }
}

impl Site {
    async fn answer(
        &self,
        parts: &Parts,
        body: Incoming,
        upgrade: Option<OnUpgrade>,
        peer: Peer,
    ) -> Result<Answer, Refusal> {
        let path = path::check(parts.uri.path())?;
        let route = routes::parse(path).ok_or(Refusal::NotFound)?;
        match route {
            // Proves a route as it is, whatever names a proxy has for it.
            Route::Ping(_) => {}
            _ => self.origins.check_host(single(&parts.headers, HOST))?,
        }
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        match route {
            Route::Session if parts.method == Method::POST => match &self.auth {
                Auth::Portal(logins) => self.log_in_from_portal(parts, body, &peer, logins).await,
                _ => self.log_in(parts, body, &peer).await.or_else(|refusal| self.share(parts, refusal.into_answer())),
            },
            Route::Session if parts.method == Method::DELETE => self.log_out(parts),
            Route::Session if !is_read => Err(Refusal::Method("GET, HEAD, POST, DELETE")),
            _ if !is_read => Err(Refusal::Method("GET, HEAD")),
            Route::AddSlash => add_slash(path, parts.uri.query()),
            Route::List(scope) => self.page(parts, scope, None),
            Route::Shell(shell) => self.page(parts, Scope::Namespace(&shell.namespace), Some(&shell.name)),
            Route::Asset(path) => http::asset(path).ok_or(Refusal::NotFound),
            Route::Session => self.who_am_i(parts),
            Route::Login(scope) => self.send_to_portal(parts, scope),
            Route::Shells(scope) => self.list(parts, scope).await,
            Route::Ping(scope) => {
                let namespace = match scope {
                    Scope::All => "-",
                    Scope::Namespace(namespace) => namespace,
                };
                let identity = format!("{namespace}/{}", self.instance);
                let client = self.client(parts, &peer);
                let answer = self.pings.answer(parts, upgrade, (client, peer), identity, &self.tasks);
                Ok(answer.inspect_err(|refusal| self.metrics.refused(refusal.cause()))?)
            }
            Route::Terminal(shell) => self.terminal(parts, upgrade, peer, shell).await,
        }
    }

    fn reach(&self) -> Reach {
        match &self.auth {
            Auth::Portal(logins) => Reach::of(&logins.origin()),
            Auth::None(_) | Auth::Printed(_) => self.reach,
        }
    }

    /// Who sent a request.
    fn identify(&self, parts: &Parts) -> Result<Arc<User>, Refusal> {
        let user = self.auth.identify(texts(&parts.headers, COOKIE), key(parts));
        user.ok_or_else(|| self.auth.login_path().map_or(Refusal::NotLoggedIn, Refusal::LogInAt))
    }

    /// The page; where somebody has to log in elsewhere first, they are sent there at once.
    fn page(&self, parts: &Parts, scope: Scope<'_>, shell: Option<&str>) -> Result<Answer, Refusal> {
        let base = match scope {
            Scope::All => "/".to_owned(),
            Scope::Namespace(namespace) => format!("/{namespace}/"),
        };
        match self.identify(parts) {
            Err(Refusal::LogInAt(path)) => {
                let location = format!("{path}{}", shell_query(shell));
                http::redirect(StatusCode::SEE_OTHER, location).ok_or(Refusal::Internal)
            }
            _ => Ok(http::html(StatusCode::OK, page::page(&base))),
        }
    }

    fn check_origin(&self, parts: &Parts) -> Result<(), origin::Refusal> {
        self.origins.check(single(&parts.headers, ORIGIN), single(&parts.headers, HOST))
    }

    /// The client's address, for people to read.
    fn client(&self, parts: &Parts, peer: &Peer) -> IpAddr {
        let settings = self.settings.borrow();
        forwarded::client(peer.address, texts(&parts.headers, X_FORWARDED_FOR), &settings.trusted_proxies)
    }

    fn tell_of_refusal(&self, client: IpAddr, cause: &'static str, reason: &dyn Display) {
        if self.refused_log_ins.lets(cause, Some(network::client_key(client))) {
            warn!(%client, %reason, "a log-in was refused");
        }
    }

    /// Tells how many refusals were not told of since this was last done.
    pub fn tell_left_out(&self) {
        self.denials.tell_left_out();
        self.refused_log_ins.tell_left_out("log-ins were refused");
    }

    async fn log_in(&self, parts: &Parts, body: Incoming, peer: &Peer) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        let body = http::read(body, MAX_BODY).await?;
        let WithTicket { ticket } = serde_json::from_slice(&body).map_err(|_| Refusal::NoTicket)?;
        let Auth::Printed(tickets) = &self.auth else { return Ok(http::empty(StatusCode::NO_CONTENT)) };
        let redeemed = tickets.redeem(&ticket, texts(&parts.headers, COOKIE), key(parts)).map_err(|error| {
            error!(%error, "nobody can log in");
            Refusal::Internal
        })?;
        self.metrics.login(redeemed.is_some());
        let Redeemed { logged_in, key } = redeemed.ok_or_else(|| {
            self.tell_of_refusal(self.client(parts, peer), "ticket", &"the ticket is wrong or was used before");
            Refusal::Ticket
        })?;
        let mut answer = http::json(StatusCode::OK, &json!({"key": key.expose()})).ok_or(Refusal::Internal)?;
        self.welcome(logged_in, &mut answer)?;
        self.share(parts, answer)
    }

    /// Lets a page served elsewhere, whose origin is allowed, read an answer (Fetch standard, CORS protocol).
    fn share(&self, parts: &Parts, mut answer: Answer) -> Result<Answer, Refusal> {
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = single(&parts.headers, ORIGIN).filter(|origin| self.origins.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, header(origin.to_owned())?);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        Ok(answer)
    }

    /// Gives the browser its new log-in, and that the sessions of the one that it had before.
    fn welcome(&self, LoggedIn { set_cookie, login, replaced }: LoggedIn, answer: &mut Answer) -> Result<(), Refusal> {
        for earlier in &replaced {
            self.terminals.registry.replace_login(&earlier.user, &login.user);
        }
        answer.headers_mut().insert(SET_COOKIE, header(set_cookie)?);
        Ok(())
    }

    /// Begins to log in: the portal is to find out who this is.
    fn send_to_portal(&self, parts: &Parts, scope: Scope<'_>) -> Result<Answer, Refusal> {
        let Auth::Portal(logins) = &self.auth else { return Err(Refusal::NotFound) };
        if scope != Scope::Namespace(logins.namespace()) {
            return Err(Refusal::NotFound);
        }
        let shell = shell_name(parts.uri.query().unwrap_or_default());
        let departure = logins.depart(shell, texts(&parts.headers, COOKIE)).map_err(|_| Refusal::Internal)?;
        let mut answer = http::redirect(StatusCode::SEE_OTHER, departure.location).ok_or(Refusal::Internal)?;
        answer.headers_mut().insert(SET_COOKIE, header(departure.set_cookie)?);
        Ok(answer)
    }

    /// Takes the ticket that the portal's page sends, and shows what the browser came for.
    async fn log_in_from_portal(
        &self,
        parts: &Parts,
        body: Incoming,
        peer: &Peer,
        logins: &PortalLogins,
    ) -> Result<Answer, Refusal> {
        if !logins.portal().is(single(&parts.headers, ORIGIN)) {
            return Err(Refusal::NotThePortal);
        }
        let body = http::read(body, MAX_FORM).await?;
        let form = std::str::from_utf8(&body).unwrap_or_default();
        let shell = shell_name(form);
        let redeemed = logins.redeem(field(form, "ticket").unwrap_or_default(), texts(&parts.headers, COOKIE)).await;
        let begin = || format!("{}{}", logins.login_path(), shell_query(shell));
        if redeemed == Err(login::portal::Refusal::Again) {
            return http::redirect(StatusCode::SEE_OTHER, begin()).ok_or(Refusal::Internal);
        }
        self.metrics.login(redeemed.is_ok());
        let logged_in = redeemed.map_err(|reason| {
            self.tell_of_refusal(self.client(parts, peer), reason.cause(), &reason);
            Refusal::LogIn(reason, begin())
        })?;
        let shell = shell.map(|name| format!("{name}/")).unwrap_or_default();
        let location = format!("/{}/{shell}", logins.namespace());
        let mut answer = http::redirect(StatusCode::SEE_OTHER, location).ok_or(Refusal::Internal)?;
        self.welcome(logged_in, &mut answer)?;
        Ok(answer)
    }

    /// Ends a log-in, and the sessions that were opened or last continued by it.
    fn log_out(&self, parts: &Parts) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        let logged_out = self.auth.log_out(texts(&parts.headers, COOKIE), key(parts));
        for user in &logged_out.users {
            self.terminals.registry.log_out(user, "You logged out.");
        }
        let mut answer = http::empty(StatusCode::NO_CONTENT);
        let headers = answer.headers_mut();
        if let Some(forget) = logged_out.forget {
            headers.insert(SET_COOKIE, header(forget)?);
        }
        // Pages that are open forget by themselves. Those that are not (closed, and opened again by the browser) cannot. Other gateways
        // of the same origin have pages of their own there.
        if !self.auth.shares_origin() {
            headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"storage\""));
        }
        Ok(answer)
    }

    fn who_am_i(&self, parts: &Parts) -> Result<Answer, Refusal> {
        let user = self.identify(parts)?;
        let catalog = self.terminals.catalog.borrow().clone();
        let mut session = json!({"user": user.name, "namespaces": list::namespaces(&catalog)});
        if let (Auth::Portal(logins), Some(session)) = (&self.auth, session.as_object_mut()) {
            session.insert("portal".to_owned(), logins.portal().to_string().into());
        }
        http::json(StatusCode::OK, &session).ok_or(Refusal::Internal)
    }

    async fn list(&self, parts: &Parts, scope: Scope<'_>) -> Result<Answer, Refusal> {
        let user = self.identify(parts)?;
        let catalog = self.terminals.catalog.borrow().clone();
        let visible = self.guard.visible(&user, &catalog).await?;
        http::json(StatusCode::OK, &list::list(&catalog, scope, &visible)).ok_or(Refusal::Internal)
    }

    async fn terminal(
        &self,
        parts: &Parts,
        upgrade: Option<OnUpgrade>,
        peer: Peer,
        shell: ShellKey,
    ) -> Result<Answer, Refusal> {
        let client = self.client(parts, &peer);
        let (accept, (mode, subprotocol), user, may_begin) =
            self.admit(parts, &shell).await.inspect_err(|refusal| {
                let cause = refusal.cause();
                self.metrics.refused(cause);
                if !matches!(refusal, Refusal::Handshake(_)) {
                    let user = self.identify(parts).map(|user| user.name.clone()).unwrap_or_default();
                    self.denials.denied(Subject { shell: &shell, user: &user, client }, cause);
                }
            })?;
        let upgrade = upgrade.ok_or(upgrade::Refusal::NotWebSocket)?;
        let max_frame = match mode {
            Mode::V1 => v1::MAX_CLIENT_FRAME,
            Mode::Raw { .. } => raw::MAX_CLIENT_FRAME,
        };
        let connection = Connection { shell, user, client, may_begin, place: Arc::clone(&peer.place) };
        let terminals = self.terminals.clone();
        http::switch(&self.tasks, upgrade, peer, move |stream| async move {
            let limits = Limits::default().max_payload_len(Some(max_frame));
            let socket = ServerBuilder::new().limits(limits).serve(stream);
            terminal::serve(socket, mode, connection, &terminals).await;
        });
        Ok(http::switching(accept, subprotocol))
    }

    /// All that stands between a request and a terminal, and whether a session may be begun there: one that lives may be
    /// gone on with also while nobody can tell.
    async fn admit(
        &self,
        parts: &Parts,
        shell: &ShellKey,
    ) -> Result<(HeaderValue, Negotiated, Arc<User>, bool), Refusal> {
        let accept = upgrade::accept(parts)?;
        self.check_origin(parts)?;
        if self.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        let user = self.identify(parts)?;
        let may_begin = match self.guard.admit(&user, shell).await {
            Verdict::Allowed => true,
            Verdict::Undecided(_) if self.terminals.registry.has_session(&user, shell) => false,
            Verdict::Undecided(undecided) => return Err(undecided.into()),
            Verdict::Denied => return Err(Refusal::Forbidden(shell.clone())),
        };
        if !self.terminals.catalog.borrow().shells.contains_key(shell) {
            return Err(Refusal::UnknownShell(shell.clone()));
        }
        Ok((accept, upgrade::mode(parts)?, user, may_begin))
    }
}

/// The key of the sender's log-in: in a header, or, where a browser's page can set none, among the subprotocols.
fn key(parts: &Parts) -> Option<&str> {
    single(&parts.headers, KEY).or_else(|| upgrade::key(&parts.headers))
}

// === answers ===

fn add_slash(path: &str, query: Option<&str>) -> Result<Answer, Refusal> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    http::redirect(StatusCode::PERMANENT_REDIRECT, format!("{path}/{query}")).ok_or(Refusal::Internal)
}

/// The WebShell that a query or a form names in `shell`.
fn shell_name(fields: &str) -> Option<&str> {
    field(fields, "shell").filter(|name| routes::is_subdomain(name))
}

/// The query by which a log-in leads back to a shell.
fn shell_query(shell: Option<&str>) -> String {
    shell.map(|name| format!("?shell={name}")).unwrap_or_default()
}

fn header(value: String) -> Result<HeaderValue, Refusal> {
    value.try_into().map_err(|_| Refusal::Internal)
}
