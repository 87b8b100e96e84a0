//! From a WebShell and the Secrets it names to what a session needs.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::SecretString;

use super::{objects::Name, schema::Problem, secret::Secret};
use crate::{
    api::{HostKeyPolicy, SecretRef, WebShellSpec, is_user_name, secret_keys},
    catalog::Access,
    ssh::{self, HostKeys, KnownHosts, KnownHostsError, LearnedKeys},
};

/// The Secrets that a WebShell may name.
pub(super) struct Secrets<'a> {
    /// The namespace of the WebShell.
    pub(super) namespace: &'a str,
    /// Those of all namespaces; one that cannot be used has the reason.
    pub(super) all: &'a BTreeMap<&'a Name, Result<&'a Secret, String>>,
}

impl<'a> Secrets<'a> {
    fn get(&self, path: &str, name: &str) -> Result<&'a Secret, Problem> {
        let key = Name { namespace: self.namespace.to_owned(), name: name.to_owned() };
        match self.all.get(&key) {
            Some(Ok(secret)) => Ok(secret),
            Some(Err(reason)) => Err(Problem::new(path, format!("Secret {key} cannot be used: {reason}"))),
            None => {
                let text = format!("there is no such Secret in namespace {}; add it to the manifests", self.namespace);
                Err(Problem::of_value(path, &name.into(), text))
            }
        }
    }
}

/// `user@host:port`, without the user where it isn't known.
pub(super) fn target(spec: &WebShellSpec, user: Option<&String>) -> String {
    let host =
        if spec.target.host.contains(':') { format!("[{}]", spec.target.host) } else { spec.target.host.clone() };
    let at = if user.is_some() { "@" } else { "" };
    format!("{}{at}{host}:{}", user.map_or("", String::as_str), spec.target.port)
}

/// What a session of the WebShell needs.
///
/// # Errors
/// Everything that is missing or unusable.
pub(super) fn access(
    spec: &WebShellSpec,
    secrets: &Secrets<'_>,
    learned: Option<&Arc<LearnedKeys>>,
) -> Result<Access, Vec<Problem>> {
    let mut problems = Vec::new();
    let login = login(spec, secrets, &mut problems);
    let host_keys = host_keys(spec, secrets, learned, &mut problems);
    let (Some((user, credentials)), Some(host_keys)) = (login, host_keys) else { return Err(problems) };
    Ok(Access {
        target: ssh::Target { host: spec.target.host.clone(), port: spec.target.port, user },
        credentials,
        host_keys,
        program: ssh::Program {
            term: spec.terminal.term.clone(),
            env: spec.terminal.env.iter().map(|var| (var.name.clone(), var.value.clone())).collect(),
            command: spec.terminal.command.clone(),
        },
        connect_timeout: spec.target.connect_timeout.get(),
        limits: spec.session.limits(),
        clipboard_write: spec.terminal.clipboard_write,
    })
}

/// The user, and what to authenticate with.
fn login(
    spec: &WebShellSpec,
    secrets: &Secrets<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(String, ssh::Credentials)> {
    const PATH: &str = "spec.credentials.secretRef";
    let SecretRef { name } = &spec.credentials.secret_ref;
    let secret = secrets.get(&format!("{PATH}.name"), name).map_err(|problem| problems.push(problem)).ok()?;
    let before = problems.len();
    let mut text = |key: &str| {
        secret.text(key).unwrap_or_else(|problem| {
            problems.push(Problem::new(PATH, format!("key {key} of Secret {name} {problem}")));
            None
        })
    };
    // Nobody can type a line break into a log-in, but files that Secrets are made of often end with one.
    let mut line = |key: &str| text(key).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    let user = spec.target.user.clone().or_else(|| line(secret_keys::USERNAME));
    let password = line(secret_keys::PASSWORD).map(SecretString::from);
    let passphrase = line(secret_keys::PASSPHRASE).map(SecretString::from);
    let private_key = text(secret_keys::PRIVATE_KEY).map(SecretString::from);
    let certificate = text(secret_keys::CERTIFICATE).map(str::to_owned);
    match &user {
        Some(user) if is_user_name(user) => {}
        Some(_) => problems.push(Problem::new(
            PATH,
            format!("key username of Secret {name} must be 1 to 128 letters, digits or signs without spaces, not beginning with -"),
        )),
        None => problems.push(Problem::missing(
            "spec.target.user",
            format!("Secret {name} has no key username either; give one of them"),
        )),
    }
    (problems.len() == before).then_some(())?;
    Some((user?, ssh::Credentials { password, private_key, passphrase, certificate }))
}

fn host_keys(
    spec: &WebShellSpec,
    secrets: &Secrets<'_>,
    learned: Option<&Arc<LearnedKeys>>,
    problems: &mut Vec<Problem>,
) -> Option<HostKeys> {
    let policy = match spec.host_key.policy {
        HostKeyPolicy::Strict => ssh::HostKeyPolicy::Strict,
        HostKeyPolicy::TrustOnFirstUse => ssh::HostKeyPolicy::TrustOnFirstUse,
        HostKeyPolicy::Insecure => ssh::HostKeyPolicy::Insecure,
    };
    let known_hosts = known_hosts(spec, secrets).map_err(|problem| problems.push(problem)).ok()?;
    if policy == ssh::HostKeyPolicy::Strict && known_hosts.is_empty() {
        let text =
            "policy Strict needs a known host key, but there is none in the text; put there what ssh-keyscan prints";
        problems.push(Problem::new("spec.hostKey", text));
        return None;
    }
    if policy != ssh::HostKeyPolicy::TrustOnFirstUse {
        return Some(HostKeys { policy, known_hosts, learned: None });
    }
    if learned.is_none() {
        let text = "there is no place to keep keys that are learned; set HOME or XDG_STATE_HOME";
        problems.push(Problem::of_value("spec.hostKey.policy", &"TrustOnFirstUse".into(), text));
    }
    Some(HostKeys { policy, known_hosts, learned: Some(Arc::clone(learned?)) })
}

fn known_hosts(spec: &WebShellSpec, secrets: &Secrets<'_>) -> Result<KnownHosts, Problem> {
    const PATH: &str = "spec.hostKey.secretRef";
    if let Some(text) = &spec.host_key.known_hosts {
        return KnownHosts::parse(text).map_err(|error| Problem::new("spec.hostKey.knownHosts", error));
    }
    let Some(reference) = &spec.host_key.secret_ref else { return Ok(KnownHosts::default()) };
    let secret = secrets.get(&format!("{PATH}.name"), &reference.name)?;
    let of_key =
        |text: String| Problem::new(PATH, format!("key {} of Secret {} {text}", reference.key, reference.name));
    let text = secret.text(&reference.key).map_err(|problem| of_key(problem.to_owned()))?;
    let text = text.ok_or_else(|| of_key("is missing or empty; put the machine's host key there".to_owned()))?;
    KnownHosts::parse(text).map_err(|error| {
        // Not the error's own words: they quote the line, and the key named may be one that holds a secret.
        of_key(match error {
            KnownHostsError::TooLarge(size) => format!("has {size} bytes, more than known hosts may have"),
            KnownHostsError::Line { line, .. } => {
                format!("has no known_hosts entry in line {line}; copy it as ssh-keyscan prints it")
            }
        })
    })
}
