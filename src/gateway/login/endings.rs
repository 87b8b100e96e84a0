//! Ends log-ins that hang on something that is no more, and the terminals that were opened by them: a key that was withdrawn, a log-in
//! at the portal that ended.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::PortalLogins;
use crate::{
    gateway::http::{self, BodyError},
    session::Registry,
    ticket::{
        SignError,
        endings::{AnswerError, MAX_ANSWER, MAX_ASKED, Question, read_ended},
    },
};

/// How often the portal is asked, and how long it may take to answer: a log-out there reaches here within 10 s.
const PERIOD: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(3);

/// Where the portal answers.
const PATH: &str = "/-/ended";

/// What users are told.
const WITHDRAWN: &str = "The key that vouched for your log-in was withdrawn: log in again.";
const LOGGED_OUT: &str = "You logged out at the portal.";

/// Why the portal's answer is not known.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("it answers with HTTP status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("no answer within {} s", LIMIT.as_secs())]
    Late,
    #[error(transparent)]
    AnswerError(#[from] AnswerError),
    #[error(transparent)]
    Random(#[from] SignError),
    #[error("its address is malformed: {0}")]
    Address(#[from] hyper::http::Error),
}

/// Ends log-ins whose key is withdrawn, until it is stopped.
pub async fn follow_keys(logins: Arc<PortalLogins>, registry: Registry, stop: CancellationToken) {
    let mut trust = logins.trust();
    while let Some(Ok(())) = stop.run_until_cancelled(trust.changed()).await {
        trust.mark_unchanged();
        for user in logins.end_withdrawn() {
            warn!(namespace = logins.namespace(), user = user.name, "a log-in was ended: its key was withdrawn");
            registry.log_out(&user, WITHDRAWN);
        }
    }
}

/// Ends log-ins that hang on one that ended at the portal, until it is stopped. While the portal is silent, all stay.
pub async fn follow_portal(logins: Arc<PortalLogins>, registry: Registry, stop: CancellationToken) {
    let mut is_silent = false;
    while stop.run_until_cancelled(sleep(PERIOD)).await.is_some() {
        let namespace = logins.namespace();
        match stop.run_until_cancelled(ask_of_all(&logins, &registry)).await {
            None => return,
            Some(Ok(())) => {
                if std::mem::take(&mut is_silent) {
                    info!(namespace, "the portal says again who logged out there");
                }
            }
            Some(Err(error)) if !is_silent => {
                is_silent = true;
                warn!(namespace, %error, "the portal does not say who logged out there; all log-ins stay until it does");
            }
            Some(Err(_)) => {}
        }
    }
}

/// Asks of all the portal's log-ins that log-ins here hang on, and ends what hangs on those that ended.
async fn ask_of_all(logins: &PortalLogins, registry: &Registry) -> Result<(), AskError> {
    // Controllers of earlier releases do not say where the portal is.
    let Some(service) = logins.trust().borrow().service.clone() else { return Ok(()) };
    let mut left = logins.sids().into_iter().peekable();
    while left.peek().is_some() {
        let question = Question::new(left.by_ref().take(MAX_ASKED).collect())?.to_json();
        let answer = timeout(LIMIT, ask(&service, question.clone())).await.map_err(|_| AskError::Late)??;
        let trust = logins.trust().borrow().clone();
        let issuer = trust.portal.to_string();
        for user in logins.end(&read_ended(&answer, &trust.keys, &issuer, question.as_bytes())?) {
            info!(
                namespace = logins.namespace(),
                user = user.name,
                "a log-in was ended: its user logged out at the portal"
            );
            registry.log_out(&user, LOGGED_OUT);
        }
    }
    Ok(())
}

/// Asks once, on a connection of its own: whoever answers then may be another portal.
async fn ask(service: &str, question: String) -> Result<String, AskError> {
    let stream = TcpStream::connect(service).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(HOST, service)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(question)))?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status(answer.status()));
        }
        Ok(http::read(answer.into_body(), MAX_ANSWER).await?)
    };
    let (answer, _) = tokio::join!(exchange, connection);
    String::from_utf8(answer?.to_vec()).map_err(|_| AnswerError::Malformed.into())
}
