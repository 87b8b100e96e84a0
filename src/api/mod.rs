//! The `WebShell` resource.

use std::time;

pub mod conditions;
mod crd;
mod duration;
mod webshell;

pub use crd::{crd, crd_yaml};
pub use duration::{Duration, ParseError};
pub use webshell::{
    Credentials, EnvVar, GatewayStatus, HostKey, HostKeyPolicy, SecretKeyRef, SecretRef, ServiceRef, Session, Target,
    Terminal, WebShell, WebShellSpec, WebShellStatus, is_user_name,
};

/// The annotation of a Secret of credentials that says which hosts they may be sent to; any without it.
pub const ALLOWED_HOSTS: &str = "webshell.dev/allowed-hosts";

/// The keys of a Secret of credentials, as Kubernetes names them for its types `kubernetes.io/ssh-auth` and
/// `kubernetes.io/basic-auth`, and two of ours.
pub mod secret_keys {
    /// The user to log in as, where the WebShell names none.
    pub const USERNAME: &str = "username";
    /// The user's password.
    pub const PASSWORD: &str = "password";
    /// A private key in OpenSSH, PKCS#8 or PEM form.
    pub const PRIVATE_KEY: &str = "ssh-privatekey";
    /// Decrypts the private key.
    pub const PASSPHRASE: &str = "passphrase";
    /// An OpenSSH user certificate for the private key.
    pub const CERTIFICATE: &str = "ssh-certificate";
}

/// Limits of a session, parsed from `spec.session`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Ends a session without input for this long; `None` never.
    pub idle: Option<time::Duration>,
    /// Ends a session this long after it began; `None` never.
    pub maximum: Option<time::Duration>,
    /// How long a session outlives its WebSocket; `None` until another limit ends it.
    pub detach: Option<time::Duration>,
    /// How many sessions of the WebShell may live at once; `None` any number.
    pub sessions: Option<u32>,
}
