//! Authentication (RFC 4252): which methods are tried in which order, and what became of each.

use std::{mem, sync::Arc, time::Duration};

use russh::{
    MethodKind, MethodSet, Signer,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Interactive, Prompt as RusshPrompt},
    keys::{
        Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg,
        agent::AgentIdentity,
        signature,
        ssh_encoding::Encode,
        ssh_key::{Signature, private::KeypairData},
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Credentials, Event, Prompt, Question,
    failure::{Attempt, Failure, Phase, printable},
    handler::{End, Handler, Link},
    identity::{Identity, validity},
};

/// How long a server may take over each answer. It may ask other machines, or a person with a telephone.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// How long a person may take over each question.
const QUESTION_LIMIT: Duration = Duration::from_secs(300);

/// How often the user may try again after a wrong answer; more is for the server to allow at the next connection.
const INTERACTIVE_ROUNDS: usize = 3;

/// How many requests a server may make within one round, and prompts within one request.
const MAX_REQUESTS: usize = 32;
const MAX_PROMPTS: usize = 32;

/// How long the cause of a broken connection is waited for.
const CAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Who logs in with what.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) credentials: &'a Credentials,
    pub(super) identity: Option<Identity>,
    pub(super) events: &'a mpsc::Sender<Event>,
}

/// Authenticates by all methods that the server offers and the credentials allow.
pub(super) async fn authenticate(handle: &mut Handle<Handler>, link: &Link, login: Login<'_>) -> Result<(), Failure> {
    let allowed = methods(&login);
    let mut dialogue = Dialogue {
        handle,
        link,
        pending: allowed.clone(),
        allowed,
        login,
        attempts: Vec::new(),
        offered: None,
        password_answered: false,
    };
    // A key can be tried without asking first. A wrong password counts: so ask what is wanted.
    if dialogue.login.identity.is_none() && dialogue.run(Method::None).await? {
        return Ok(());
    }
    while let Some(method) = dialogue.next() {
        if dialogue.run(method).await? {
            return Ok(());
        }
    }
    Err(dialogue.failure())
}

/// A method with what it is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    None,
    Certificate,
    PublicKey,
    Password,
    Interactive,
}

/// What the credentials allow, in order. Questions can be asked without any.
fn methods(login: &Login<'_>) -> Vec<Method> {
    let mut methods = Vec::new();
    if let Some(identity) = &login.identity {
        methods.extend(identity.certificate.is_some().then_some(Method::Certificate));
        methods.push(Method::PublicKey);
    }
    methods.extend(login.credentials.password.is_some().then_some(Method::Password));
    methods.extend([Method::Interactive; INTERACTIVE_ROUNDS]);
    methods
}

/// An authentication under way.
struct Dialogue<'a> {
    handle: &'a mut Handle<Handler>,
    link: &'a Link,
    login: Login<'a>,
    /// What the credentials allow.
    allowed: Vec<Method>,
    /// What of it was not tried yet.
    pending: Vec<Method>,
    attempts: Vec<Attempt>,
    /// What the server offered last.
    offered: Option<MethodSet>,
    /// The Secret's password has answered a question: it is not given again, so that a wrong one is not repeated.
    password_answered: bool,
}

/// What became of a method.
enum Outcome {
    Accepted,
    Refused {
        offered: MethodSet,
        partial: bool,
        /// Why it may have been refused.
        remark: Option<String>,
        /// Whether trying again may help.
        again: bool,
    },
    /// It could not be tried.
    Skipped(&'static str),
}

// === impl Dialogue ===

impl Dialogue<'_> {
    /// The next method that the server offers and that was not tried yet.
    fn next(&mut self) -> Option<Method> {
        let offered = |method: &Method| match &self.offered {
            Some(offered) => offered.contains(&method.kind()),
            None => true,
        };
        let index = self.pending.iter().position(offered)?;
        Some(self.pending.remove(index))
    }

    /// Tries a method. Whether the user is logged in now; a part of what the server wants is not enough.
    async fn run(&mut self, method: Method) -> Result<bool, Failure> {
        let outcome = match method {
            Method::None => self.none().await,
            Method::Certificate => self.certificate().await,
            Method::PublicKey => self.public_key().await,
            Method::Password => self.password().await,
            Method::Interactive => self.interactive().await,
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Failure::Disconnected { .. }) => return Err(self.broken().await),
            Err(failure) => return Err(failure),
        };
        match outcome {
            Outcome::Accepted => return Ok(true),
            Outcome::Skipped(why) => self.record(method, why.to_owned()),
            Outcome::Refused { offered, partial, remark, again } => {
                let guessed = self.offered.is_none() && !partial && !offered.contains(&method.kind());
                if guessed && !offered.is_empty() && method != Method::None {
                    // The server may want it later.
                    self.pending.insert(0, method);
                    self.offered = Some(offered);
                    return Ok(false);
                }
                if method == Method::Interactive && !again && !partial {
                    self.pending.retain(|pending| *pending != Method::Interactive);
                }
                let verdict = if partial { "accepted, but the server wants more" } else { "refused" };
                if method != Method::None {
                    self.record(method, remark.map_or_else(|| verdict.to_owned(), |r| format!("{verdict} ({r})")));
                }
                // Without an offer there was no answer: the connection has ended, or is about to.
                if offered.is_empty() {
                    return Err(self.broken().await);
                }
                self.offered = Some(offered);
            }
        }
        Ok(false)
    }

    fn record(&mut self, method: Method, outcome: String) {
        self.attempts.push(Attempt { method: method.name().to_owned(), outcome });
    }

    async fn none(&mut self) -> Result<Outcome, Failure> {
        let answer = self.handle.authenticate_none(self.login.user);
        Ok(Outcome::of(within(answer).await?, None))
    }

    async fn password(&mut self) -> Result<Outcome, Failure> {
        let Some(password) = &self.login.credentials.password else { return Ok(Outcome::Skipped("there is none")) };
        let answer = self.handle.authenticate_password(self.login.user, password.expose_secret());
        Ok(Outcome::of(within(answer).await?, None))
    }

    async fn public_key(&mut self) -> Result<Outcome, Failure> {
        let Some(key) = self.login.identity.as_ref().map(|identity| Arc::clone(&identity.key)) else {
            return Ok(Outcome::Skipped("there is none"));
        };
        let Some(hash) = self.hash(&key).await? else { return Ok(Outcome::Skipped(ONLY_SHA1)) };
        let answer = self.handle.authenticate_publickey(self.login.user, PrivateKeyWithHashAlg::new(key, hash));
        Ok(Outcome::of(within(answer).await?, None))
    }

    async fn certificate(&mut self) -> Result<Outcome, Failure> {
        let Some(identity) = &self.login.identity else { return Ok(Outcome::Skipped("there is none")) };
        let (key, Some(certificate)) = (Arc::clone(&identity.key), identity.certificate.clone()) else {
            return Ok(Outcome::Skipped("there is none"));
        };
        let remark = validity(&certificate, self.login.user);
        let Some(hash) = self.hash(&key).await? else { return Ok(Outcome::Skipped(ONLY_SHA1)) };
        let mut signer = KeySigner(key);
        let answer = self.handle.authenticate_certificate_with(self.login.user, certificate, hash, &mut signer);
        Ok(Outcome::of(within(answer).await?, remark))
    }

    /// The hash to sign with: none for other keys than RSA. Nothing if the server takes RSA keys with SHA-1 only.
    async fn hash(&self, key: &PrivateKey) -> Result<Option<Option<HashAlg>>, Failure> {
        if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Ok(Some(None));
        }
        let best = within(self.handle.best_supported_rsa_hash()).await?;
        // A server that does not say may well know it: RFC 8332 is older than the habit of saying so.
        Ok(best.unwrap_or(Some(HashAlg::Sha512)).map(Some))
    }

    /// Answers the server's questions (RFC 4256) from the Secret or by the user.
    async fn interactive(&mut self) -> Result<Outcome, Failure> {
        let start = self.handle.authenticate_keyboard_interactive_start(self.login.user, None::<String>);
        let mut answer = within(start).await?;
        let mut asked = false;
        for _ in 0..MAX_REQUESTS {
            let (name, instruction, prompts) = match answer {
                Interactive::Success => return Ok(Outcome::Accepted),
                Interactive::Failure { remaining_methods, partial_success } => {
                    return Ok(Outcome::Refused {
                        offered: remaining_methods,
                        partial: partial_success,
                        remark: None,
                        again: asked,
                    });
                }
                Interactive::InfoRequest { name, instructions, prompts } => (name, instructions, prompts),
            };
            let answers = match self.known_answers(&prompts)? {
                Some(answers) => answers,
                None => {
                    asked = true;
                    self.ask(name, instruction, prompts).await?
                }
            };
            let answers = answers.iter().map(|answer| answer.expose_secret().to_owned()).collect();
            let next = self.handle.authenticate_keyboard_interactive_respond(answers);
            answer = within(next).await?;
        }
        Err(protocol(format!("it makes more than {MAX_REQUESTS} requests for answers")))
    }

    /// The answers, where no person is needed for them.
    fn known_answers(&mut self, prompts: &[RusshPrompt]) -> Result<Option<Vec<SecretString>>, Failure> {
        if prompts.len() > MAX_PROMPTS {
            return Err(protocol(format!("it asks {} questions at once", prompts.len())));
        }
        Ok(match (prompts, &self.login.credentials.password) {
            ([], _) => Some(Vec::new()),
            ([prompt], Some(password)) if !self.password_answered && is_for_password(prompt) => {
                self.password_answered = true;
                Some(vec![password.clone()])
            }
            _ => None,
        })
    }

    /// Asks the user.
    async fn ask(
        &self,
        name: String,
        instruction: String,
        prompts: Vec<RusshPrompt>,
    ) -> Result<Vec<SecretString>, Failure> {
        let (reply, answers) = oneshot::channel();
        let count = prompts.len();
        let prompts = prompts.into_iter().map(|p| Prompt { text: printable(&p.prompt), echo: p.echo }).collect();
        let instruction = instruction.lines().take(20).map(printable).collect::<Vec<_>>().join("\n");
        let question = Question { name: printable(&name), instruction, prompts, reply };
        self.login.events.send(Event::Question(question)).await.map_err(|_| Failure::PromptCancelled)?;
        match timeout(QUESTION_LIMIT, answers).await {
            Ok(Ok(answers)) if answers.len() == count => Ok(answers),
            _ => Err(Failure::PromptCancelled),
        }
    }

    /// What the end of the connection within the authentication means.
    async fn broken(&mut self) -> Failure {
        // It is about to be known.
        let _ = timeout(CAUSE_LIMIT, self.link.end.wait()).await;
        match self.link.end.get() {
            Some(End::Failed(Failure::Disconnected { said: None, .. })) if self.handle.is_closed() => {
                Failure::Disconnected { phase: Phase::Authenticate, said: None }
            }
            // The server has said why, like "Too many authentication failures".
            Some(End::Failed(Failure::Disconnected { said: Some(said), .. })) => {
                let outcome = format!("the server ended the connection: \"{said}\"");
                match self.attempts.last_mut() {
                    Some(last) => last.outcome = format!("{}, and {outcome}", last.outcome),
                    None => self.attempts.push(Attempt { method: Method::None.name().to_owned(), outcome }),
                }
                self.failure()
            }
            Some(End::Failed(failure)) => failure.clone(),
            _ => self.failure(),
        }
    }

    /// Sums up what was tried, and why the rest was not.
    fn failure(&mut self) -> Failure {
        let mut attempts = mem::take(&mut self.attempts);
        let mut add = |method: &str, outcome: &str| {
            attempts.push(Attempt { method: method.to_owned(), outcome: outcome.to_owned() });
        };
        for method in self.pending.iter().filter(|method| **method != Method::Interactive) {
            add(method.name(), "not offered by the server");
        }
        let missing = [(MethodKind::PublicKey, "ssh-privatekey"), (MethodKind::Password, "password")];
        let offered = self.offered.iter().flat_map(|offered| offered.iter());
        for (kind, key) in offered.flat_map(|kind| missing.iter().filter(move |(missing, _)| missing == kind)) {
            if !self.allowed.iter().any(|method| method.kind() == *kind) {
                add(<&str>::from(kind), &format!("offered, but the Secret has no {key:?}"));
            }
        }
        Failure::AuthenticationFailed { user: self.login.user.to_owned(), attempts }
    }
}

const ONLY_SHA1: &str = "not tried, because the server takes RSA keys only with SHA-1; use an Ed25519 key";

/// Waits for the server's answer, but not for ever.
async fn within<T, E: Into<AuthError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    match timeout(ANSWER_LIMIT, answer).await.map(|answer| answer.map_err(Into::into)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(AuthError::Russh(error))) => Err(Failure::of_russh(error, Phase::Authenticate)),
        Ok(Err(AuthError::Sign(error))) => Err(Failure::Internal(format!("the private key cannot sign: {error}"))),
        Err(_) => {
            let detail = format!("{ANSWER_LIMIT:?} for one answer");
            Err(Failure::Timeout { phase: Phase::Authenticate, detail })
        }
    }
}

fn protocol(detail: String) -> Failure {
    Failure::Protocol { phase: Phase::Authenticate, detail }
}

/// Whether a question is for the password that one logs in with, not for a one-time or a new one.
fn is_for_password(prompt: &RusshPrompt) -> bool {
    const OTHERS: [&str; 10] =
        ["one-time", "one time", "onetime", "otp", "token", "code", "new", "again", "retype", "confirm"];
    let text = prompt.prompt.to_lowercase();
    !prompt.echo && text.contains("password") && !OTHERS.iter().any(|other| text.contains(other))
}

// === impl Method ===

impl Method {
    fn kind(self) -> MethodKind {
        match self {
            Self::None => MethodKind::None,
            Self::Certificate | Self::PublicKey => MethodKind::PublicKey,
            Self::Password => MethodKind::Password,
            Self::Interactive => MethodKind::KeyboardInteractive,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Certificate => "publickey with the certificate",
            Self::PublicKey => "publickey",
            Self::Password => "password",
            Self::Interactive => "keyboard-interactive",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(result: AuthResult, remark: Option<String>) -> Self {
        match result {
            AuthResult::Success => Self::Accepted,
            AuthResult::Failure { remaining_methods, partial_success } => {
                Self::Refused { offered: remaining_methods, partial: partial_success, remark, again: false }
            }
        }
    }
}

/// Signs for a certificate. russh would itself use SHA-1 for one of an RSA key.
struct KeySigner(Arc<PrivateKey>);

/// Why there was no answer.
enum AuthError {
    /// The connection failed.
    Russh(russh::Error),
    /// The key failed to sign.
    Sign(signature::Error),
}

impl From<russh::SendError> for AuthError {
    fn from(_: russh::SendError) -> Self {
        Self::Russh(russh::Error::SendError)
    }
}

impl From<russh::Error> for AuthError {
    fn from(error: russh::Error) -> Self {
        Self::Russh(error)
    }
}

impl Signer for KeySigner {
    type Error = AuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, AuthError> {
        use signature::Signer as _;
        let signature: Signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => self.0.try_sign(&data),
        }
        .map_err(AuthError::Sign)?;
        let failed = |_| AuthError::Sign(signature::Error::new());
        signature.encode_prefixed(&mut data).map_err(failed)?;
        Ok(data)
    }
}
