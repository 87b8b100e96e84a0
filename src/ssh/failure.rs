//! Why there is no shell, in words that say what to do.

use std::{fmt, io, time::Duration};

use russh::AlgorithmKind;
use thiserror::Error;

use super::{
    gate::Greeting,
    host_keys::{HostKeyError, HostKeyProblem, HostKeyRejection},
    rsa::GOOD_RSA_BITS,
};

/// The longest text of a server that is passed on within a failure, in characters.
const MAX_QUOTE: usize = 300;

/// Why a shell could not be opened, or was lost. Displayed it is a sentence for a person; [`Failure::hint`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The host's name has no address.
    #[error("The name {host:?} could not be resolved: {detail}.")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// None of the host's addresses may be connected to.
    #[error("The target must not be reached from here ({detail}).")]
    TargetForbidden {
        /// Each address and what speaks against it.
        detail: String,
    },
    /// The credentials may be sent to none of the host's addresses.
    #[error("The Secret's credentials may not be sent to this host ({detail}).")]
    HostNotAllowed {
        /// Each address.
        detail: String,
    },
    /// Nothing listens at the host's port.
    #[error("The connection was refused ({detail}).")]
    Refused {
        /// Each address and what became of it.
        detail: String,
    },
    /// No answer in time.
    #[error("No answer in time while {phase} ({detail}).")]
    Timeout {
        /// What was being done.
        phase: Phase,
        /// Whose answer was awaited, or for how long.
        detail: String,
    },
    /// No route, or another error of the network.
    #[error("The host cannot be reached ({detail}).")]
    Unreachable {
        /// Each address and what became of it.
        detail: String,
    },
    /// What answered does not speak SSH 2.
    #[error("What listens there does not speak SSH 2: {answer}.")]
    NotSsh {
        /// What it said instead.
        answer: String,
    },
    /// No algorithm in common.
    #[error("The server has no {kind} algorithm in common with us; it offers {}.", list(theirs))]
    NoCommonAlgorithm {
        /// What the algorithm is for.
        kind: &'static str,
        /// What we would take.
        ours: Vec<String>,
        /// What the server offers.
        theirs: Vec<String>,
    },
    /// The server ended or broke the connection.
    #[error("The server ended the connection while {phase}{}.", quoted(said))]
    Disconnected {
        /// What was being done.
        phase: Phase,
        /// The reason it gave.
        said: Option<String>,
    },
    /// The connection died without a word.
    #[error("The connection was lost: {detail}.")]
    Lost {
        /// How that was noticed.
        detail: String,
    },
    /// The server broke the SSH protocol.
    #[error("The server broke the SSH protocol while {phase}: {detail}.")]
    Protocol {
        /// What was being done.
        phase: Phase,
        /// What is wrong.
        detail: String,
    },
    /// The host's key was refused; nothing was sent to it but the key exchange.
    #[error("The host could not be identified: {0}.")]
    HostKey(HostKeyRejection),
    /// Every method was tried.
    #[error("The server did not accept {user:?}: {}.", each(attempts))]
    AuthenticationFailed {
        /// The user.
        user: String,
        /// Each method and what became of it, in order.
        attempts: Vec<Attempt>,
    },
    /// Something in the Secret cannot be used.
    #[error("The Secret's {key:?} cannot be used: {problem}.")]
    CredentialsUnusable {
        /// The Secret's key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        hint: String,
    },
    /// A question was not answered.
    #[error("The server's question was not answered.")]
    PromptCancelled,
    /// The server refused the session channel.
    #[error("The server refused to open a session ({detail}).")]
    ChannelRefused {
        /// The reason it gave.
        detail: String,
    },
    /// The server refused the pty.
    #[error("The server refused a terminal.")]
    PtyRefused,
    /// The server refused the shell or the command.
    #[error("The server refused to start the {what}.")]
    ShellRefused {
        /// `shell` or `command`.
        what: &'static str,
    },
    /// A fault on our side.
    #[error("The gateway failed: {0}.")]
    Internal(String),
}

/// What was being done when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the host's name.
    Resolve,
    /// Connecting by TCP.
    Dial,
    /// Exchanging keys.
    Handshake,
    /// Authenticating.
    Authenticate,
    /// Opening the channel, the pty and the shell.
    Open,
    /// Using the shell.
    Shell,
}

/// One way of authentication and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The method (RFC 4252), with what it was tried with.
    pub method: String,
    /// What became of it.
    pub outcome: String,
}

/// What a callback of russh, or russh itself, fails with.
#[derive(Debug)]
pub(super) enum ClientError {
    /// One of our own reasons.
    Ours(Box<Failure>),
    /// One of russh's.
    Russh(russh::Error),
}

// === impl Failure ===

impl Failure {
    /// What to do about it, in a sentence or two.
    pub fn hint(&self) -> String {
        match self {
            Self::Dns { .. } => "Check the host's name in the WebShell, and whether the gateway can resolve it.".into(),
            Self::TargetForbidden { .. } => {
                "The target policy decides which addresses gateways may connect to: name another host, or ask whoever \
                 runs the cluster to allow this one."
                    .into()
            }
            Self::HostNotAllowed { .. } => {
                "Name a host that the Secret's annotation webshell.dev/allowed-hosts lists, or have it list this one."
                    .into()
            }
            Self::Refused { .. } => "Check the port, and that an SSH server runs on the host and listens there.".into(),
            Self::Timeout { phase: Phase::Authenticate, .. } => {
                "The server took too long to decide. A server that wants the password to be changed first looks like \
                 this too: log in by another client to see."
                    .into()
            }
            Self::Timeout { .. } | Self::Unreachable { .. } => {
                "Check that the host is up, and that no firewall or network policy between the gateway and the host \
                 drops the connection."
                    .into()
            }
            Self::NotSsh { .. } => {
                "Check the port: another service listens there, or a proxy stands in between.".into()
            }
            Self::NoCommonAlgorithm { ours, .. } => format!(
                "Update the host's SSH server, or enable one of these on it: {}. Outdated algorithms are not supported.",
                list(ours)
            ),
            Self::Disconnected { phase: Phase::Shell, .. } => {
                "The host may have been restarted, or an administrator has ended the session.".into()
            }
            Self::Disconnected { .. } => {
                "The host's SSH server may be overloaded or may refuse the gateway's address; its log says more.".into()
            }
            Self::Lost { .. } => "The host may be down, or the network between the gateway and the host.".into(),
            Self::Protocol { .. } => "The host's SSH server, or something in between, is faulty.".into(),
            Self::HostKey(rejection) => host_key_hint(rejection),
            Self::AuthenticationFailed { .. } => {
                "Check the user and the Secret's credentials against what the host accepts; its log says more.".into()
            }
            Self::CredentialsUnusable { hint, .. } => hint.clone(),
            Self::PromptCancelled => "Connect again to be asked again.".into(),
            Self::ChannelRefused { .. } => {
                "The host allows this user no sessions (MaxSessions 0 in OpenSSH), or is short of resources.".into()
            }
            Self::PtyRefused => {
                "The host allows this user or key no terminal (PermitTTY, or no-pty in authorized_keys).".into()
            }
            Self::ShellRefused { .. } => "Check the user's shell on the host; its SSH server's log says more.".into(),
            Self::Internal(_) => "The gateway's log says more.".into(),
        }
    }

    /// What an error of the key exchange means, given what the server said first.
    pub(super) fn of_handshake(error: ClientError, greeting: Greeting) -> Self {
        match (error, greeting) {
            (ClientError::Ours(failure), _) => *failure,
            (ClientError::Russh(error), Greeting::Ssh) => Self::of_russh(error, Phase::Handshake),
            (ClientError::Russh(_), Greeting::Nothing) => {
                Self::NotSsh { answer: "it closed the connection without a word".to_owned() }
            }
            (ClientError::Russh(_), Greeting::Other(line)) => Self::not_ssh(&line),
        }
    }

    /// What a key exchange that did not end in time means.
    pub(super) fn of_slow_handshake(greeting: Greeting, limit: Duration) -> Self {
        match greeting {
            Greeting::Nothing => Self::NotSsh { answer: format!("it said nothing within {limit:?}") },
            Greeting::Other(line) => Self::not_ssh(&line),
            Greeting::Ssh => Self::Timeout { phase: Phase::Handshake, detail: format!("{limit:?} in all") },
        }
    }

    fn not_ssh(line: &[u8]) -> Self {
        Self::NotSsh { answer: format!("it answered {:?}", printable(&String::from_utf8_lossy(line))) }
    }

    /// What an error of russh means.
    pub(super) fn of_russh(error: russh::Error, phase: Phase) -> Self {
        use russh::Error as E;
        match error {
            E::NoCommonAlgo { kind, ours, theirs } => Self::NoCommonAlgorithm {
                kind: purpose(&kind),
                ours,
                // What is no name is no matter, and must not be taken for our words.
                theirs: theirs.into_iter().filter(|name| is_name(name)).take(64).collect(),
            },
            E::IO(error) => Self::of_io(&error, phase),
            E::Disconnect | E::HUP | E::SendError | E::RecvError => Self::Disconnected { phase, said: None },
            // russh leaves when a server refuses and offers nothing else.
            E::NoAuthMethod => Self::Disconnected { phase, said: Some("no other method is left".to_owned()) },
            E::KeepaliveTimeout | E::InactivityTimeout | E::ConnectionTimeout | E::Elapsed(_) => {
                Self::Lost { detail: "no answer in time".to_owned() }
            }
            E::Join(_) => Self::Internal("the SSH library stopped".to_owned()),
            error => Self::Protocol { phase, detail: printable(&error.to_string()) },
        }
    }

    fn of_io(error: &io::Error, phase: Phase) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::TimedOut => Self::Lost { detail: "the host answers no more".to_owned() },
            K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => Self::Lost { detail: error.to_string() },
            _ => Self::Disconnected { phase, said: None },
        }
    }
}

impl From<HostKeyError> for Failure {
    fn from(error: HostKeyError) -> Self {
        match error {
            HostKeyError::Rejected(rejection) => Self::HostKey(rejection),
            HostKeyError::Malformed(_) => {
                Self::Protocol { phase: Phase::Handshake, detail: printable(&error.to_string()) }
            }
            HostKeyError::Learned(_) | HostKeyError::Interrupted(_) => Self::Internal(error.to_string()),
        }
    }
}

fn host_key_hint(rejection: &HostKeyRejection) -> String {
    let line = &rejection.presented.line;
    match rejection.problem {
        HostKeyProblem::Unknown => format!(
            "Compare the fingerprint with the host's own (ssh-keygen -lf on the host). If they are the same, add this line to \
             the known hosts: {line}"
        ),
        HostKeyProblem::Changed(_) => format!(
            "Somebody may be in between, or the host was set up anew. Ask its administrator; if the new key is right, \
             replace the old one in the known hosts by this line: {line}"
        ),
        HostKeyProblem::Revoked(_) => {
            "This key is in wrong hands. Don't connect before the host has a new one.".to_owned()
        }
        HostKeyProblem::Short { .. } => format!(
            "Nothing was sent to it. Give the host another key (ssh-keygen -A makes an Ed25519 key where it has none, and one of \
             RSA has at least {GOOD_RSA_BITS} bits today) and put that into the known hosts."
        ),
        HostKeyProblem::CertificateInvalid(_) => {
            "Issue a certificate that is valid for this host, or add the host's own key to the known hosts.".to_owned()
        }
    }
}

fn purpose(kind: &AlgorithmKind) -> &'static str {
    match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    }
}

// === impl Phase ===

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the host's name",
            Self::Dial => "connecting",
            Self::Handshake => "exchanging keys",
            Self::Authenticate => "authenticating",
            Self::Open => "opening the shell",
            Self::Shell => "the shell was open",
        })
    }
}

// === impl ClientError ===

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        Self::Russh(error)
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        Self::Ours(Box::new(failure))
    }
}

// === Text ===

/// A server's text on one line: without control characters and what else is not seen, and not too long.
pub(super) fn printable(text: &str) -> String {
    let words = text.split(is_invisible).filter(|part| !part.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut quote: String = line.chars().take(MAX_QUOTE).collect();
    if quote.len() < line.len() {
        quote.push('…');
    }
    quote
}

/// Whether a character is not seen itself, but changes how the text around it looks or reads: it controls, reverses, joins
/// or hides. (Unicode's categories Cc, Zl, Zp and, as far as text for people has no use for them, Cf.)
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a text is a name as the protocol has them (RFC 4250, 4.6.1).
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.-_+".contains(&byte))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn quoted(said: &Option<String>) -> String {
    said.as_ref().map(|said| format!(": {said:?}")).unwrap_or_default()
}

fn each(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "there was nothing to try".to_owned();
    }
    attempts.iter().map(|a| format!("{}: {}", a.method, a.outcome)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_is_quoted_on_one_short_line() {
        assert_eq!(printable("Too many\r\n\x1b[31mfail\u{200b}ures\u{202e}\n"), "Too many [31mfail ures");
        let long = printable(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_QUOTE + 1);
    }

    #[test]
    fn a_servers_words_cannot_pass_for_ours() {
        let said = Some("bye\". Log in again at \"https://evil.example".to_owned());
        let failure = Failure::Disconnected { phase: Phase::Handshake, said };
        assert!(failure.to_string().ends_with(r#": "bye\". Log in again at \"https://evil.example"."#), "{failure}");
        let theirs = ["ssh-ed25519", "none. Log in again at https://evil.example", &"a".repeat(65), "a@example.com"];
        let error = russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ours: Vec::new(),
            theirs: theirs.map(str::to_owned).to_vec(),
        };
        let failure = Failure::of_russh(error, Phase::Handshake).to_string();
        assert!(failure.ends_with("it offers ssh-ed25519, a@example.com."), "{failure}");
    }

    #[test]
    fn what_is_not_ssh_is_quoted() {
        let answer = Greeting::Other(b"HTTP/1.1 400 Bad Request".to_vec());
        let failure = Failure::of_handshake(russh::Error::Disconnect.into(), answer);
        assert_eq!(
            failure.to_string(),
            "What listens there does not speak SSH 2: it answered \"HTTP/1.1 400 Bad Request\"."
        );
        let failure = Failure::of_handshake(russh::Error::HUP.into(), Greeting::Nothing);
        assert!(matches!(failure, Failure::NotSsh { .. }));
        let failure = Failure::of_handshake(russh::Error::HUP.into(), Greeting::Ssh);
        assert!(matches!(failure, Failure::Disconnected { phase: Phase::Handshake, .. }));
    }

    #[test]
    fn what_fits_nothing_else_is_a_breach_of_the_protocol() {
        let failure = Failure::of_russh(russh::Error::Inconsistent, Phase::Shell);
        assert!(matches!(failure, Failure::Protocol { phase: Phase::Shell, .. }));
        let failure = Failure::of_russh(io::Error::from(io::ErrorKind::ConnectionReset).into(), Phase::Shell);
        assert!(matches!(failure, Failure::Disconnected { .. }));
        let failure = Failure::of_russh(io::Error::from(io::ErrorKind::TimedOut).into(), Phase::Shell);
        assert!(matches!(failure, Failure::Lost { .. }));
    }
}
