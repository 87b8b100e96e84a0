//! Authentication (RFC 4252): which methods are tried in which order, and what became of each.

use std::{mem, sync::Arc, time::Duration};

use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Interactive, Prompt as RusshPrompt},
    keys::{Algorithm, Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Event, Prompt, Question,
    failure::{Attempt, Failure, Phase, printable},
    handler::{End, Handler, Link},
    identity::{Identity, KeySigner, SignError, validity},
    password_prompt::asks_for_password_of,
};

/// How long a server may take over each answer. It may ask other machines, or a person with a telephone.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// How long a person may take over each question.
const QUESTION_LIMIT: Duration = Duration::from_secs(300);

/// How often the user may try again after a wrong answer; more is for the server to allow at the next connection.
const INTERACTIVE_ROUNDS: usize = 3;

/// How many requests a server may make within one round, prompts within one request, and lines of a text.
const MAX_REQUESTS: usize = 32;
const MAX_PROMPTS: usize = 32;
const MAX_LINES: usize = 20;

/// How long the cause of a broken connection is waited for.
const CAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Who logs in with what.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) identity: Option<Identity>,
    pub(super) password: Option<SecretString>,
    pub(super) events: &'a mpsc::Sender<Event>,
}

/// Authenticates by all methods that the server offers and the credentials allow.
pub(super) async fn authenticate(handle: &mut Handle<Handler>, link: &Link, login: Login<'_>) -> Result<(), Failure> {
    let Login { user, identity, password, events } = login;
    // A key can be tried without asking first. A wrong password counts: so ask what is wanted.
    let ask_first = identity.is_none();
    let pending = methods(identity, password.clone());
    let allowed = pending.iter().map(Method::kind).collect();
    let answers = Answers { user, password, refused: false, events };
    let mut dialogue = Dialogue { handle, link, user, pending, allowed, answers, attempts: Vec::new(), offered: None };
    if ask_first && dialogue.run(Method::None).await? {
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
#[derive(Clone)]
enum Method {
    None,
    Certificate(Arc<PrivateKey>, Arc<Certificate>),
    PublicKey(Arc<PrivateKey>),
    Password(SecretString),
    Interactive,
}

/// What the credentials allow, in order. Questions can be asked without any.
fn methods(identity: Option<Identity>, password: Option<SecretString>) -> Vec<Method> {
    let mut methods = Vec::new();
    if let Some(Identity { key, certificate }) = identity {
        methods.extend(certificate.map(|certificate| Method::Certificate(Arc::clone(&key), certificate)));
        methods.push(Method::PublicKey(key));
    }
    methods.extend(password.map(Method::Password));
    methods.extend(vec![Method::Interactive; INTERACTIVE_ROUNDS]);
    methods
}

/// An authentication under way.
struct Dialogue<'a> {
    handle: &'a mut Handle<Handler>,
    link: &'a Link,
    user: &'a str,
    /// What was not tried yet.
    pending: Vec<Method>,
    /// What the credentials allow.
    allowed: Vec<MethodKind>,
    answers: Answers<'a>,
    attempts: Vec<Attempt>,
    /// What the server offered last.
    offered: Option<MethodSet>,
}

/// Where answers to questions come from.
struct Answers<'a> {
    user: &'a str,
    /// The Secret's password, taken when it is given: it answers once in a log-in.
    password: Option<SecretString>,
    /// Whether the server has refused it.
    refused: bool,
    /// Leads to the user.
    events: &'a mpsc::Sender<Event>,
}

/// What became of a method.
enum Outcome {
    Accepted,
    Refused {
        offered: MethodSet,
        partial: bool,
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
        let offered = |method: &Method| self.offered.as_ref().is_none_or(|offered| offered.contains(&method.kind()));
        let index = self.pending.iter().position(offered)?;
        Some(self.pending.remove(index))
    }

    /// Tries a method. Whether the user is logged in now; a part of what the server wants is not enough.
    async fn run(&mut self, method: Method) -> Result<bool, Failure> {
        let (offered, partial, again) = match self.attempt(&method).await {
            Ok(Outcome::Accepted) => return Ok(true),
            Ok(Outcome::Skipped(why)) => {
                self.record(&method, why);
                self.give_up(&method);
                return Ok(false);
            }
            Ok(Outcome::Refused { offered, partial, again }) => (offered, partial, again),
            Err(Failure::Disconnected { .. }) => return Err(self.broken(&method).await),
            Err(failure) => return Err(failure),
        };
        // russh says so when there was no answer.
        if offered.is_empty() {
            return Err(self.broken(&method).await);
        }
        let guessed = self.offered.is_none() && !partial && !offered.contains(&method.kind());
        self.offered = Some(offered);
        if matches!(method, Method::Password(_)) && !guessed {
            self.answers.password = None;
            self.answers.refused = !partial;
        }
        match method {
            Method::None => {}
            // The server may want it later.
            method if guessed => self.pending.insert(0, method),
            method if partial => self.record(&method, "accepted, but the server wants more"),
            method => {
                if !again {
                    self.give_up(&method);
                }
                match method.remark(self.user) {
                    Some(remark) => self.record(&method, &format!("refused ({remark})")),
                    None => self.record(&method, "refused"),
                }
            }
        }
        Ok(false)
    }

    /// Asks no more questions, where those of this method led nowhere.
    fn give_up(&mut self, method: &Method) {
        if matches!(method, Method::Interactive) {
            self.pending.retain(|pending| !matches!(pending, Method::Interactive));
        }
    }

    async fn attempt(&mut self, method: &Method) -> Result<Outcome, Failure> {
        let result = match method {
            Method::None => within(self.handle.authenticate_none(self.user)).await?,
            Method::Password(password) => {
                within(self.handle.authenticate_password(self.user, password.expose_secret())).await?
            }
            Method::PublicKey(key) => {
                let Some(hash) = self.hash(key).await? else { return Ok(Outcome::Skipped(ONLY_SHA1)) };
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
                within(self.handle.authenticate_publickey(self.user, key)).await?
            }
            Method::Certificate(key, certificate) => {
                let Some(hash) = self.hash(key).await? else { return Ok(Outcome::Skipped(ONLY_SHA1)) };
                let (certificate, mut signer) = (Certificate::clone(certificate), KeySigner(Arc::clone(key)));
                within(self.handle.authenticate_certificate_with(self.user, certificate, hash, &mut signer)).await?
            }
            Method::Interactive => return self.interact().await,
        };
        Ok(match result {
            AuthResult::Success => Outcome::Accepted,
            AuthResult::Failure { remaining_methods: offered, partial_success: partial } => {
                Outcome::Refused { offered, partial, again: false }
            }
        })
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

    /// Answers the server's questions (RFC 4256).
    async fn interact(&mut self) -> Result<Outcome, Failure> {
        let start = self.handle.authenticate_keyboard_interactive_start(self.user, None::<String>);
        let mut response = within(start).await?;
        let mut again = false;
        for _ in 0..MAX_REQUESTS {
            let (name, instruction, prompts) = match response {
                Interactive::Success => return Ok(Outcome::Accepted),
                Interactive::Failure { remaining_methods: offered, partial_success: partial } => {
                    return Ok(Outcome::Refused { offered, partial, again });
                }
                Interactive::InfoRequest { name, instructions, prompts } => (name, instructions, prompts),
            };
            if self.answers.was_refused(&prompts) {
                return Ok(Outcome::Skipped("it asks for the password that was refused"));
            }
            let (answers, user_was_asked) = self.answers.find(&name, &instruction, &prompts).await?;
            again |= user_was_asked;
            let answers = answers.iter().map(|answer| answer.expose_secret().to_owned()).collect();
            response = within(self.handle.authenticate_keyboard_interactive_respond(answers)).await?;
        }
        Err(protocol(format!("it makes more than {MAX_REQUESTS} requests for answers")))
    }

    fn record(&mut self, method: &Method, outcome: &str) {
        self.attempts.push(Attempt { method: method.name().to_owned(), outcome: outcome.to_owned() });
    }

    /// What the end of the connection during a method means.
    async fn broken(&mut self, method: &Method) -> Failure {
        // It is about to be known.
        let _ = timeout(CAUSE_LIMIT, self.link.end.wait()).await;
        match self.link.end.get() {
            // Many servers have enough after a few attempts, and some say so.
            Some(End::Failed(Failure::Disconnected { said: Some(said), .. })) => {
                self.record(method, &format!("the server ended the connection: {said:?}"));
                self.failure()
            }
            Some(End::Failed(Failure::Disconnected { .. })) if !self.attempts.is_empty() => {
                self.record(method, "the server ended the connection");
                self.failure()
            }
            Some(End::Failed(failure)) => failure.clone(),
            _ => Failure::Disconnected { phase: Phase::Authenticate, said: None },
        }
    }

    /// Sums up what was tried, and why the rest was not.
    fn failure(&mut self) -> Failure {
        let mut attempts = mem::take(&mut self.attempts);
        let mut add = |method: &str, outcome: String| attempts.push(Attempt { method: method.to_owned(), outcome });
        for method in self.pending.iter().filter(|method| !matches!(method, Method::Interactive)) {
            add(method.name(), "not offered by the server".to_owned());
        }
        for kind in self.offered.iter().flat_map(|offered| offered.iter()) {
            let key = match kind {
                MethodKind::PublicKey => "ssh-privatekey",
                MethodKind::Password => "password",
                _ => continue,
            };
            if !self.allowed.contains(kind) {
                add(kind.into(), format!("offered, but the Secret has no {key:?}"));
            }
        }
        Failure::AuthenticationFailed { user: self.user.to_owned(), attempts }
    }
}

// === impl Answers ===

impl Answers<'_> {
    /// Whether a request is for the very password that the server has refused: given twice, it would count twice.
    fn was_refused(&self, prompts: &[RusshPrompt]) -> bool {
        self.refused && matches!(prompts, [prompt] if self.is_for_password(prompt))
    }

    fn is_for_password(&self, prompt: &RusshPrompt) -> bool {
        !prompt.echo && asks_for_password_of(self.user, &prompt.prompt)
    }

    /// The answers to a request, and whether the user was asked for any of them.
    async fn find(
        &mut self,
        name: &str,
        instruction: &str,
        prompts: &[RusshPrompt],
    ) -> Result<(Vec<SecretString>, bool), Failure> {
        if prompts.len() > MAX_PROMPTS {
            return Err(protocol(format!("it asks {} questions at once", prompts.len())));
        }
        // Who asks for it twice at once wants something else: the old and the new one, perhaps.
        let only = prompts.iter().filter(|prompt| self.is_for_password(prompt)).count() == 1;
        let mut known = Vec::new();
        for prompt in prompts {
            let is_known = only && self.is_for_password(prompt);
            known.push(self.password.take_if(|_| is_known));
        }
        let open: Vec<_> = prompts.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(p, _)| p).collect();
        // What stands before a question that the user does not see must not be lost.
        let unseen = prompts.iter().zip(&known).filter(|(_, known)| known.is_some());
        let before = unseen.filter_map(|(prompt, _)| Some(prompt.prompt.trim_end().rsplit_once('\n')?.0));
        let instruction: Vec<_> = [instruction].into_iter().chain(before).flat_map(readable).collect();
        if open.is_empty() {
            self.tell(readable(name).into_iter().chain(instruction).collect()).await;
            return Ok((known.into_iter().flatten().collect(), false));
        }
        let mut asked = self.ask(name, &instruction, &open).await?.into_iter();
        Ok((known.into_iter().filter_map(|known| known.or_else(|| asked.next())).collect(), true))
    }

    /// Tells the user what the server says beside questions that need no answer of theirs.
    async fn tell(&self, lines: Vec<String>) {
        if !lines.is_empty() {
            // Nobody who listens is no reason to stop.
            let _ = self.events.send(Event::Banner(lines.join("\n"))).await;
        }
    }

    /// Asks the user.
    async fn ask(
        &self,
        name: &str,
        instruction: &[String],
        prompts: &[&RusshPrompt],
    ) -> Result<Vec<SecretString>, Failure> {
        let (reply, answers) = oneshot::channel();
        let question = Question {
            name: printable(name),
            instruction: instruction.join("\n"),
            prompts: prompts.iter().map(|p| Prompt { text: readable(&p.prompt).join("\n"), echo: p.echo }).collect(),
            reply,
        };
        self.events.send(Event::Question(question)).await.map_err(|_| Failure::PromptCancelled)?;
        match timeout(QUESTION_LIMIT, answers).await {
            Ok(Ok(answers)) if answers.len() == prompts.len() => Ok(answers),
            _ => Err(Failure::PromptCancelled),
        }
    }
}

/// A server's text, line by line: the last ones, as many as a person reads.
fn readable(text: &str) -> Vec<String> {
    let text = text.trim_matches(['\r', '\n']);
    text.lines().skip(text.lines().count().saturating_sub(MAX_LINES)).map(printable).collect()
}

const ONLY_SHA1: &str = "not tried, because the server takes RSA keys only with SHA-1; use an Ed25519 key";

/// Waits for the server's answer, but not for ever.
async fn within<T, E: Into<SignError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    match timeout(ANSWER_LIMIT, answer).await.map(|answer| answer.map_err(Into::into)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(SignError::Russh(error))) => Err(Failure::of_russh(error, Phase::Authenticate)),
        Ok(Err(SignError::Key(error))) => Err(Failure::Internal(format!("the private key cannot sign: {error}"))),
        Err(_) => {
            let detail = format!("{ANSWER_LIMIT:?} for one answer");
            Err(Failure::Timeout { phase: Phase::Authenticate, detail })
        }
    }
}

fn protocol(detail: String) -> Failure {
    Failure::Protocol { phase: Phase::Authenticate, detail }
}

// === impl Method ===

impl Method {
    fn kind(&self) -> MethodKind {
        match self {
            Self::None => MethodKind::None,
            Self::Certificate(..) | Self::PublicKey(_) => MethodKind::PublicKey,
            Self::Password(_) => MethodKind::Password,
            Self::Interactive => MethodKind::KeyboardInteractive,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Certificate(..) => "publickey with the certificate",
            other => (&other.kind()).into(),
        }
    }

    /// Why it may have been refused, as far as can be seen from here.
    fn remark(&self, user: &str) -> Option<String> {
        match self {
            Self::Certificate(_, certificate) => validity(certificate, user),
            _ => None,
        }
    }
}
