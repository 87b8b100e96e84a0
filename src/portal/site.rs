//! What browsers are served at the portal: each route checked and answered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{ALLOW, COOKIE, HOST, HeaderValue, ORIGIN, RETRY_AFTER, SET_COOKIE},
    http::request::Parts,
    upgrade::OnUpgrade,
};
use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use zeroize::Zeroize as _;

use super::{
    access::Access,
    ended::EndedLogins,
    keys::Keyring,
    list, page,
    routes::{self, Route},
    shells::Shells,
    token::{self, MAX_TOKEN, Tokens},
};
use crate::{
    clock::unix_time,
    config,
    gateway::{
        connections::Holder,
        forwarded,
        headers::Reach,
        http::{self, Answer, BodyError, X_FORWARDED_FOR, single, texts},
        limiter::Limiter,
        login::{
            Cookie, Sessions,
            sessions::{self, Login},
        },
        origin::{self, Origins},
        page as pages, path,
        ping::Pings,
        server::{Handler, Peer},
        upgrade,
    },
    network,
    rights::Undecided,
    telemetry::{metrics::HttpMetrics, throttle::Throttle},
    ticket::{
        Order, SignError,
        endings::{MAX_QUESTION, Malformed, Question},
    },
};

/// The most bytes of a log-in: the token and its JSON.
const MAX_BODY: usize = MAX_TOKEN + 1024;

/// The portal's side for browsers.
#[derive(Debug)]
pub struct Site {
    /// Where gateways are.
    pub route: config::Route,
    /// How long one stays logged in.
    pub lifetime: Duration,
    /// The portal's own pages.
    pub origins: Origins,
    /// How browsers reach them.
    pub reach: Reach,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Tells this portal from others to a ping.
    pub instance: String,
    /// What its sessions are named by.
    pub cookie: Cookie,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Who was.
    pub ended: EndedLogins,
    /// Bounds how many gateways ask of them at once.
    pub questions: Limiter,
    /// Finds out whose tokens are.
    pub tokens: Tokens,
    /// Finds out what they may.
    pub access: Access,
    /// All there is.
    pub shells: Shells,
    /// Signs tickets.
    pub keyring: Arc<Keyring>,
    /// The pings under way.
    pub pings: Pings,
    /// Counts requests.
    pub metrics: HttpMetrics,
    /// Keeps the lines about log-ins that were refused within bounds.
    pub refused_log_ins: Throttle,
    /// Tracks upgraded connections.
    pub tasks: TaskTracker,
}

/// Why a request is not answered as it wishes.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Path(#[from] path::Ambiguous),
    #[error("there is nothing at this address; the shells that you may open are listed at /")]
    NotFound,
    #[error("this address does not take this method")]
    Method(&'static str),
    #[error(transparent)]
    Origin(#[from] origin::Refusal),
    #[error(transparent)]
    Handshake(#[from] upgrade::Refusal),
    #[error("log in first")]
    NotLoggedIn,
    #[error(transparent)]
    Token(#[from] token::Refusal),
    #[error(transparent)]
    Sessions(#[from] sessions::OpenError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body must be JSON such as {{\"token\": \"…\"}}")]
    NoToken,
    #[error("this address is no gateway's: open the shell again")]
    NoWish,
    #[error("You may open no such shell: there is none, or it is not shared with you.")]
    NotAllowed,
    #[error(transparent)]
    Undecided(#[from] Undecided),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Question(#[from] Malformed),
    #[error("too many ask at once; try again in a moment")]
    Busy,
    #[error("the portal is at fault; its log says more")]
    Internal,
}

#[derive(Deserialize)]
struct LogIn {
    token: SecretText,
}

/// A text of a request that is kept as a secret from the first.
#[derive(Deserialize)]
#[serde(from = "String")]
struct SecretText(SecretString);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

// === impl Site ===

impl Handler for Site {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let (parts, body, upgrade) = http::split(request);
        peer.place.hold(match self.login(&parts) {
            Some(login) => Holder::User(login.user.name.clone()),
            None => Holder::Address(self.client(&parts, &peer)),
        });
        let answer = self.answer(&parts, body, upgrade, peer).await;
        http::finish(answer.unwrap_or_else(Refusal::into_answer), self.reach, &self.metrics)
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
        let route = routes::parse(path::check(parts.uri.path())?).ok_or(Refusal::NotFound)?;
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        match route {
            Route::LogIn if parts.method == Method::POST => self.log_in(parts, body, &peer).await,
            Route::LogIn => Err(Refusal::Method("POST")),
            // Through an ingress it comes by the public name.
            Route::Ended if self.is_public_name(single(&parts.headers, HOST)) => Err(Refusal::NotFound),
            Route::Ended if parts.method == Method::POST => self.tell_ended(body, &peer).await,
            Route::Ended => Err(Refusal::Method("POST")),
            Route::LogOut if parts.method == Method::POST => self.log_out(parts),
            Route::LogOut if !is_read => Err(Refusal::Method("GET, HEAD, POST")),
            _ if !is_read => Err(Refusal::Method("GET, HEAD")),
            Route::Page | Route::LogOut => Ok(show_page()),
            Route::Asset(path) => http::asset(path).ok_or(Refusal::NotFound),
            Route::Session => self.who_am_i(parts),
            Route::Shells => self.list(parts).await,
            Route::Authorize => self.authorize(parts).await,
            Route::Ping => {
                let identity = format!("-/{}", self.instance);
                let client = self.client(parts, &peer);
                let answer = self.pings.answer(parts, upgrade, (client, peer), identity, &self.tasks);
                Ok(answer.inspect_err(|refusal| self.metrics.refused(refusal.cause()))?)
            }
        }
    }

    fn login(&self, parts: &Parts) -> Option<Login> {
        self.sessions.find(&self.cookie, texts(&parts.headers, COOKIE))
    }

    fn check_origin(&self, parts: &Parts) -> Result<(), origin::Refusal> {
        self.origins.check(single(&parts.headers, ORIGIN), single(&parts.headers, HOST))
    }

    fn client(&self, parts: &Parts, peer: &Peer) -> IpAddr {
        forwarded::client(peer.address, texts(&parts.headers, X_FORWARDED_FOR), &self.trusted_proxies)
    }

    async fn log_in(&self, parts: &Parts, body: Incoming, peer: &Peer) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        let client = self.client(parts, peer);
        let body = http::read(body, MAX_BODY).await?;
        let LogIn { token } = serde_json::from_slice(&body).map_err(|_| Refusal::NoToken)?;
        if let Ok(mut read) = body.try_into_mut() {
            read.as_mut().zeroize();
        }
        let reviewed = self.tokens.review(&token.0, client).await.inspect_err(|reason| match reason {
            reason if !self.refused_log_ins.lets(reason.cause(), Some(network::client_key(client))) => {}
            token::Refusal::Unavailable(error) => warn!(%client, %error, "a log-in could not be decided"),
            reason => warn!(%client, %reason, "a log-in was refused"),
        });
        let opened = reviewed.map_err(Refusal::from).and_then(|user| {
            let name = user.name.clone();
            let presented = texts(&parts.headers, COOKIE);
            let opened = self.sessions.open(&self.cookie, user, self.lifetime, presented);
            Ok(opened.inspect_err(|reason| warn!(user = name, %client, %reason, "a log-in was refused"))?)
        });
        self.metrics.login(opened.is_ok());
        let opened = opened?;
        info!(user = opened.login.user.name, %client, "somebody logged in");
        // Of the same user's, the new log-in has the name.
        self.ended.add(opened.replaced.into_iter().filter(|login| login.id != opened.login.id));
        let mut answer = http::empty(StatusCode::NO_CONTENT);
        let cookie = opened.set_cookie.try_into().map_err(|_| Refusal::Internal)?;
        answer.headers_mut().insert(SET_COOKIE, cookie);
        Ok(answer)
    }

    fn log_out(&self, parts: &Parts) -> Result<Answer, Refusal> {
        self.check_origin(parts)?;
        self.ended.add(self.sessions.close(&self.cookie, texts(&parts.headers, COOKIE)));
        let mut answer = http::empty(StatusCode::NO_CONTENT);
        let forget = self.cookie.forget().try_into().map_err(|_| Refusal::Internal)?;
        answer.headers_mut().insert(SET_COOKIE, forget);
        Ok(answer)
    }

    fn is_public_name(&self, host: Option<&str>) -> bool {
        let name = host.unwrap_or_default().split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case(&self.route.host)
    }

    /// Tells a gateway which log-ins have ended. Nobody who does not know their names learns anything.
    async fn tell_ended(&self, body: Incoming, peer: &Peer) -> Result<Answer, Refusal> {
        // Who sends slowly takes no place.
        let body = http::read(body, MAX_QUESTION).await?;
        let _permit = self.questions.acquire(peer.address).ok_or(Refusal::Busy)?;
        let ended = self.ended.among(&Question::parse(&body)?.sids);
        let answer = self.keyring.tell_ended(&self.route.portal_origin(), &body, ended, unix_time())?;
        Ok(http::text(StatusCode::OK, &answer))
    }

    /// Not being logged in is no error here: the page asks this first.
    fn who_am_i(&self, parts: &Parts) -> Result<Answer, Refusal> {
        let user = self.login(parts).map(|login| login.user.name.clone());
        let session = json!({"user": user, "tokenAudience": token::AUDIENCE});
        http::json(StatusCode::OK, &session).ok_or(Refusal::Internal)
    }

    async fn list(&self, parts: &Parts) -> Result<Answer, Refusal> {
        let login = self.login(parts).ok_or(Refusal::NotLoggedIn)?;
        let allowed = self.access.allowed(&login.user, &self.shells.keys()).await?;
        let shells = self.shells.summaries(allowed.shells);
        http::json(StatusCode::OK, &list::list(&shells, allowed.complete, &self.route)).ok_or(Refusal::Internal)
    }

    /// Makes out a ticket to the gateway that sent the browser, or lets somebody log in first. A gateway is told who somebody is
    /// only where there is something for them to open.
    async fn authorize(&self, parts: &Parts) -> Result<Answer, Refusal> {
        let wish = routes::wish(parts.uri.query().unwrap_or_default()).ok_or(Refusal::NoWish)?;
        // The page asks for the token, and then for this address again.
        let Some(login) = self.login(parts) else { return Ok(show_page()) };
        let allowed = match &wish.shell {
            Some(key) => self.shells.contains(key) && self.access.may_open(&login.user, key).await?,
            None => {
                let mut shells = self.shells.keys();
                shells.retain(|key| key.namespace == wish.namespace);
                self.access.may_open_any(&login.user, wish.namespace, &shells).await?
            }
        };
        if !allowed {
            return Err(Refusal::NotAllowed);
        }
        let now = unix_time();
        let until = now.saturating_add(login.expires.saturating_duration_since(Instant::now()).as_secs());
        let issuer = self.route.portal_origin();
        let order = Order {
            issuer: &issuer,
            namespace: wish.namespace,
            user: &login.user,
            nonce: wish.nonce,
            until,
            sid: &login.id,
        };
        let ticket = self.keyring.sign(order, now)?;
        let shell = wish.shell.as_ref().map(|key| key.name.as_str());
        page::ticket(&self.route.origin(wish.namespace), wish.namespace, shell, &ticket).ok_or(Refusal::Internal)
    }
}

// === impl Refusal ===

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin(_) | Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::Handshake(refusal) => refusal.status(),
            Self::NotLoggedIn | Self::Token(token::Refusal::Invalid) => StatusCode::UNAUTHORIZED,
            Self::Undecided(Undecided::TooOften) => StatusCode::TOO_MANY_REQUESTS,
            Self::Token(token::Refusal::Busy | token::Refusal::Unavailable(_))
            | Self::Sessions(_)
            | Self::Busy
            | Self::Undecided(Undecided::Unanswered) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Token(_) | Self::Sign(SignError::TooLarge) => StatusCode::FORBIDDEN,
            Self::Body(error) => error.status(),
            Self::Path(_) | Self::NoToken | Self::NoWish | Self::Question(_) => StatusCode::BAD_REQUEST,
            Self::Sign(SignError::Random) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn into_answer(self) -> Answer {
        let status = self.status();
        let mut answer = match &self {
            // What a person is looking at.
            Self::NotAllowed | Self::NoWish | Self::Undecided(_) => {
                let page = pages::message("This shell does not open", &self.to_string(), "/", "All shells");
                http::html(status, page)
            }
            _ => http::text(status, &self.to_string()),
        };
        let headers = answer.headers_mut();
        match self {
            Self::Method(allow) => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            _ if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        answer
    }
}

fn show_page() -> Answer {
    http::html(StatusCode::OK, pages::page("/"))
}
