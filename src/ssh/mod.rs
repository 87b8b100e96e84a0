//! The SSH side: everything that touches russh, whose types never leave this module.
//!
//! [`open`] dials the target, checks its host key, authenticates and starts a shell on a pty. Output is handed to a
//! closure as it arrives and is held back with the [`Gate`]; input and window changes go through [`Shell`].

mod auth;
mod demo;
mod dial;
mod failure;
mod gate;
mod handler;
mod host_keys;
mod identity;
#[cfg(test)]
mod keygen;
mod known_hosts;
mod learned_keys;
mod password_prompt;
mod rsa;
mod shell;

use std::{net::SocketAddr, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

pub use demo::{Demo, DemoError};
pub use dial::Admission;
pub use failure::{Attempt, Failure, Phase};
pub use gate::Gate;
pub use handler::{End, RekeyLimits};
pub use host_keys::{
    ExpectedKey, HostKeyError, HostKeyPolicy, HostKeyProblem, HostKeyRejection, HostKeys, PresentedKey,
};
pub use known_hosts::{KnownHosts, KnownHostsError, LineProblem, Place};
pub use learned_keys::{KeyKeeper, LearnedKeys, LearnedKeysError};
pub use rsa::{GOOD_RSA_BITS, MIN_RSA_BITS};
pub use shell::{Ended, Request, Shell, open};

/// Where the shell is, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A DNS name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
}

/// Where to connect in place of a target's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// To another name and port.
    Name(String, u16),
    /// To one of these addresses.
    Addresses(Arc<[SocketAddr]>),
}

/// What to authenticate with. Absent members are not tried.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// For `password`, and once for keyboard-interactive where the question is for this log-in's password.
    pub password: Option<SecretString>,
    /// A private key in OpenSSH, PKCS#8 or PEM form.
    pub private_key: Option<SecretString>,
    /// Decrypts `private_key`.
    pub passphrase: Option<SecretString>,
    /// An OpenSSH user certificate for `private_key`.
    pub certificate: Option<String>,
}

impl Credentials {
    /// Whether private key and certificate can be read. Deciphering a key takes its time.
    ///
    /// # Errors
    /// [`Failure::CredentialsUnusable`], which says what is wrong.
    pub async fn check(&self) -> Result<(), Failure> {
        identity::Identity::of(self).await.map(drop)
    }

    /// Whether `other` has the same content.
    pub fn same(&self, other: &Self) -> bool {
        let same = |one: &Option<SecretString>, other: &Option<SecretString>| {
            one.as_ref().map(ExposeSecret::expose_secret) == other.as_ref().map(ExposeSecret::expose_secret)
        };
        same(&self.password, &other.password)
            && same(&self.private_key, &other.private_key)
            && same(&self.passphrase, &other.passphrase)
            && self.certificate == other.certificate
    }
}

/// The size of a terminal window (RFC 4254, 6.2 and 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// Width in pixels, 0 when not known.
    pub width: u16,
    /// Height in pixels, 0 when not known.
    pub height: u16,
}

/// How far the way to the shell has been gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Resolving the host's name.
    Resolve,
    /// Connecting by TCP.
    Dial,
    /// Exchanging keys and checking the host's.
    Handshake,
    /// Proving who we are.
    Authenticate,
    /// Opening the channel, the pty and the shell.
    Open,
}

/// What happens on the way to the shell.
#[derive(Debug)]
pub enum Event {
    /// The next step was begun.
    Step(Step),
    /// There is a connection to this address.
    Connected(SocketAddr),
    /// What the server says before the log-in is complete: its banner (RFC 4252, 5.4), or what comes with questions that the
    /// Secret answers. As sent: not yet fit for a terminal.
    Banner(String),
    /// A question for the user.
    Question(Question),
    /// A remark on the host key: learned on first use, not checked, or short.
    HostKeyNotice(String),
}

/// A keyboard-interactive request (RFC 4256, 3.2).
#[derive(Debug)]
pub struct Question {
    /// Its title, may be empty.
    pub name: String,
    /// What to do, may be empty.
    pub instruction: String,
    /// The questions; an answer is due for each.
    pub prompts: Vec<Prompt>,
    /// Takes the answers; dropped, it cancels the authentication.
    pub reply: oneshot::Sender<Vec<SecretString>>,
}

/// One line to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What to ask.
    pub text: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
}

/// What runs on the pty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `TERM` on the far side.
    pub term: String,
    /// Variables asked for with `env` requests; a server may ignore them.
    pub env: Vec<(String, String)>,
    /// A command instead of the user's shell.
    pub command: Option<String>,
}
