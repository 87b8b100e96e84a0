//! Log-in with a bearer token: the API server says whose it is, if it was made for WebShell.

use std::net::IpAddr;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{Api, Client, api::PostParams};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroize as _;

use super::attempts::LoginAttempts;
use crate::{
    gateway::login::cookie::digest,
    ticket::{MASTERS, MAX_NAME, MAX_TICKET},
    user::User,
};

/// What a token must be made for, so that one that is good for the whole API is never handed over here.
pub const AUDIENCE: &str = "webshell.dev";

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The most bytes of what is known of a user, as JSON: a ticket holds it in base64, beside its other claims.
const MAX_USER: usize = MAX_TICKET / 2;

/// Asks the API server whose a token is.
#[derive(Debug)]
pub struct Tokens {
    reviews: Api<TokenReview>,
    attempts: LoginAttempts,
}

/// Why a token logs nobody in.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is nobody's.
    #[error(
        "the token is not valid, has expired, or was not made for WebShell; make one with: \
         kubectl create token SERVICEACCOUNT --audience {AUDIENCE}"
    )]
    Invalid,
    /// Its owner would be allowed everything.
    #[error("members of {MASTERS} cannot log in, because no rule limits them; use another account")]
    Masters,
    /// Its owner does not fit in a ticket.
    #[error(
        "the user's name, groups and extra attributes take {0} bytes, more than the {MAX_USER} that are passed on to gateways \
         (of the name {MAX_NAME}); use an account in fewer groups"
    )]
    TooLarge(usize),
    /// Its owner has no name.
    #[error("the token has no user")]
    Nobody,
    /// Many log in at once.
    #[error("too many are logging in; try again in a moment")]
    Busy,
    /// The API server does not answer.
    #[error("the API server cannot be asked whose the token is; try again in a moment")]
    Unavailable(#[from] Box<kube::Error>),
}

// === impl Refusal ===

impl Refusal {
    /// For the log, where refusals of a cause are counted together.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Masters => "masters",
            Self::TooLarge(_) => "too-large",
            Self::Nobody => "nobody",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Asks the API server that `client` reaches.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), attempts: LoginAttempts::new() }
    }

    /// Whose the token is. `client` is where it came from.
    ///
    /// # Errors
    /// Says why it logs nobody in.
    pub async fn review(&self, token: &SecretString, client: IpAddr) -> Result<User, Refusal> {
        let text = token.expose_secret();
        if text.is_empty() || text.len() > MAX_TOKEN {
            return Err(Refusal::Invalid);
        }
        let digest = digest(text);
        if self.attempts.is_invalid(&digest) {
            return Err(Refusal::Invalid);
        }
        let _attempt = self.attempts.take(client).await.ok_or(Refusal::Busy)?;
        let reviewed = self.ask(token).await;
        match &reviewed {
            Err(Refusal::Invalid) => self.attempts.failed(client, Some(digest)),
            Err(Refusal::Masters | Refusal::Nobody) => self.attempts.failed(client, None),
            _ => {}
        }
        reviewed
    }

    async fn ask(&self, token: &SecretString) -> Result<User, Refusal> {
        let spec = TokenReviewSpec {
            token: Some(token.expose_secret().to_owned()),
            audiences: Some(vec![AUDIENCE.to_owned()]),
        };
        let mut question = TokenReview { spec, ..TokenReview::default() };
        let answer = self.reviews.create(&PostParams::default(), &question).await;
        question.spec.token.zeroize();
        let mut answer = answer.map_err(Box::new)?;
        answer.spec.token.zeroize();
        let status = answer.status.unwrap_or_default();
        // A server that knows no audiences names none, and has checked nothing of the kind.
        let for_us = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
        if status.authenticated != Some(true) || !for_us {
            return Err(Refusal::Invalid);
        }
        accept(status.user.unwrap_or_default())
    }
}

/// Somebody who may log in. Names that begin with `system:` are those of ServiceAccounts and of nobody's making.
fn accept(info: UserInfo) -> Result<User, Refusal> {
    let user = User {
        name: info.username.unwrap_or_default(),
        uid: info.uid.filter(|uid| !uid.is_empty()),
        groups: info.groups.unwrap_or_default(),
        extra: info.extra.unwrap_or_default(),
    };
    if user.name.is_empty() {
        return Err(Refusal::Nobody);
    }
    if user.groups.iter().any(|group| group == MASTERS) {
        return Err(Refusal::Masters);
    }
    // A structure of texts is always JSON.
    let size = serde_json::to_vec(&user).map_or(usize::MAX, |json| json.len());
    if size > MAX_USER || user.name.len() > MAX_NAME { Err(Refusal::TooLarge(size)) } else { Ok(user) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        UserInfo { username: Some(name.to_owned()), groups: Some(groups), ..UserInfo::default() }
    }

    #[test]
    fn service_accounts_come_in_and_masters_do_not() {
        let user = accept(info("system:serviceaccount:people:ada", &["system:authenticated"])).unwrap();
        assert_eq!(user.name, "system:serviceaccount:people:ada");
        assert!(matches!(accept(info("root", &["dba", "system:masters"])), Err(Refusal::Masters)));
        assert!(matches!(accept(UserInfo::default()), Err(Refusal::Nobody)));
        assert!(matches!(accept(info(&"n".repeat(1025), &[])), Err(Refusal::TooLarge(_))));
        assert!(matches!(accept(info("ada", &["g".repeat(100).as_str(); 200])), Err(Refusal::TooLarge(_))));
        let scopes = |count| [("scopes".to_owned(), vec!["s".repeat(100); count])].into();
        let scoped = |count| UserInfo { extra: Some(scopes(count)), ..info("ada", &[]) };
        assert!(matches!(accept(scoped(200)), Err(Refusal::TooLarge(_))));
        assert_eq!(accept(scoped(1)).unwrap().extra, scopes(1));
        assert!(accept(info("ada", &["g".repeat(100).as_str(); 150])).is_ok());
    }
}
