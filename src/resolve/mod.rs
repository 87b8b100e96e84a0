//! From a WebShell and what it names to what a session needs, whatever source they come from. Pure.

pub mod allowed_hosts;
pub mod problem;
pub mod secret;

use std::sync::Arc;

use secrecy::SecretString;

use self::{
    allowed_hosts::{AllowedHosts, Verdict},
    problem::{Cause, Problem},
    secret::Secret,
};
use crate::{
    api::{ALLOWED_HOSTS, HostKeyPolicy, SecretRef, ServiceRef, WebShellSpec, is_user_name, secret_keys},
    catalog::Access,
    ssh::{self, HostKeys, KnownHosts, KnownHostsError, LearnedKeys},
};

/// What a WebShell names: the objects of its namespace.
pub trait References {
    /// A Secret.
    ///
    /// # Errors
    /// Why there is none.
    fn secret(&self, name: &str) -> Result<&Secret, Absence>;

    /// Where a Service leads.
    ///
    /// # Errors
    /// Why there is none.
    fn service(&self, service: &ServiceRef) -> Result<Destination, Absence>;
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its name, by which its host key is known, or its address.
    pub host: String,
    /// Its port, likewise.
    pub port: u16,
    /// Where to connect in place of these.
    pub dial: Option<ssh::Dial>,
}

/// Why something that a WebShell names is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is none of this name; says so, and what to do.
    Missing(String),
    /// There is one, but it cannot be used; says why, and what to do.
    Unusable(String),
    /// There is one that can be used another time; says why, and what to do.
    NotReady(String),
}

impl Absence {
    /// The problem that it is at a field with that name.
    fn at(self, path: &str, name: &str) -> Problem {
        match self {
            Self::Missing(text) => Problem::of_value(path, &name.into(), text).because(Cause::Missing),
            Self::Unusable(text) => Problem::new(path, text),
            Self::NotReady(text) => Problem::new(path, text).because(Cause::NotReady),
        }
    }
}

/// `user@host:port` or `user@service/name:port`, without the user where it isn't known.
pub fn target(spec: &WebShellSpec, user: Option<&String>) -> String {
    let target = &spec.target;
    let machine = match (&target.host, &target.service_ref) {
        (Some(host), _) if host.contains(':') => format!("[{host}]:{}", target.port),
        (Some(host), _) => format!("{host}:{}", target.port),
        (None, Some(service)) => format!("service/{}:{}", service.name, service.port),
        (None, None) => String::new(),
    };
    user.map_or_else(|| machine.clone(), |user| format!("{user}@{machine}"))
}

/// What a session of the WebShell needs. Its targets are where `admission` allows it.
///
/// # Errors
/// Everything that is missing or unusable.
pub fn access(
    spec: &WebShellSpec,
    references: &dyn References,
    learned: Option<&Arc<LearnedKeys>>,
    admission: &ssh::Admission,
) -> Result<Access, Vec<Problem>> {
    let mut problems = Vec::new();
    let login = login(spec, references, &mut problems);
    let host_keys = host_keys(spec, references, learned, &mut problems);
    let address = address(spec, references, &mut problems);
    let allowed = address.as_ref().and_then(|to| allowed(spec, references, &to.host, &mut problems));
    let (Some((user, credentials)), Some(host_keys), Some(Destination { host, port, dial }), Some(allowed)) =
        (login, host_keys, address, allowed)
    else {
        return Err(problems);
    };
    Ok(Access {
        target: ssh::Target { host, port, user },
        dial,
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
        admission: match allowed {
            Verdict::Within(networks) => admission.clone().only_in(networks),
            Verdict::Listed | Verdict::NotListed => admission.clone(),
        },
        min_rsa_bits: ssh::MIN_RSA_BITS,
    })
}

/// Whether the credentials may be sent to the host, as far as that can be said of its name; not where they may not.
fn allowed(
    spec: &WebShellSpec,
    references: &dyn References,
    host: &str,
    problems: &mut Vec<Problem>,
) -> Option<Verdict> {
    let name = &spec.credentials.secret_ref.name;
    // That there is none was said already.
    let Some(text) = references.secret(name).ok()?.allowed_hosts() else { return Some(Verdict::Listed) };
    let hosts = AllowedHosts::parse(text).map_err(|error| {
        let text = format!("annotation {ALLOWED_HOSTS} of Secret {name} {error}");
        problems.push(Problem::new("spec.credentials.secretRef", text));
    });
    let (path, value) = match &spec.target.service_ref {
        Some(service) => ("spec.target.serviceRef.name", service.name.as_str()),
        None => ("spec.target.host", host),
    };
    let verdict = hosts.ok()?.judge(&[host, value]);
    if verdict == Verdict::NotListed {
        let text = format!(
            "annotation {ALLOWED_HOSTS} of Secret {name} does not list it; name a host that it lists, or have it list this one"
        );
        problems.push(Problem::of_value(path, &value.into(), text).because(Cause::HostNotAllowed));
        return None;
    }
    Some(verdict)
}

fn address(spec: &WebShellSpec, references: &dyn References, problems: &mut Vec<Problem>) -> Option<Destination> {
    const PATH: &str = "spec.target.serviceRef";
    if let Some(host) = &spec.target.host {
        return Some(Destination { host: host.clone(), port: spec.target.port, dial: None });
    }
    let Some(service) = &spec.target.service_ref else {
        problems.push(Problem::missing("spec.target.host", "give it, or serviceRef"));
        return None;
    };
    let found = references.service(service).map_err(|absence| absence.at(PATH, &service.name));
    found.map_err(|problem| problems.push(problem)).ok()
}

fn find<'a>(references: &'a dyn References, path: &str, name: &str) -> Result<&'a Secret, Problem> {
    references.secret(name).map_err(|absence| absence.at(path, name))
}

/// The user, and what to authenticate with.
fn login(
    spec: &WebShellSpec,
    references: &dyn References,
    problems: &mut Vec<Problem>,
) -> Option<(String, ssh::Credentials)> {
    const PATH: &str = "spec.credentials.secretRef";
    let SecretRef { name } = &spec.credentials.secret_ref;
    let secret = find(references, &format!("{PATH}.name"), name).map_err(|problem| problems.push(problem)).ok()?;
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
    references: &dyn References,
    learned: Option<&Arc<LearnedKeys>>,
    problems: &mut Vec<Problem>,
) -> Option<HostKeys> {
    let policy = match spec.host_key.policy {
        HostKeyPolicy::Strict => ssh::HostKeyPolicy::Strict,
        HostKeyPolicy::TrustOnFirstUse => ssh::HostKeyPolicy::TrustOnFirstUse,
        HostKeyPolicy::Insecure => ssh::HostKeyPolicy::Insecure,
    };
    let known_hosts = known_hosts(spec, references).map_err(|problem| problems.push(problem)).ok()?;
    if policy == ssh::HostKeyPolicy::Strict && known_hosts.is_empty() {
        let text =
            "policy Strict needs a known host key, but there is none in the text; put there what ssh-keyscan prints";
        let path = match (&spec.host_key.known_hosts, &spec.host_key.secret_ref) {
            (Some(_), _) => "spec.hostKey.knownHosts",
            (None, Some(_)) => "spec.hostKey.secretRef",
            (None, None) => "spec.hostKey",
        };
        problems.push(Problem::new(path, text));
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

fn known_hosts(spec: &WebShellSpec, references: &dyn References) -> Result<KnownHosts, Problem> {
    const PATH: &str = "spec.hostKey.secretRef";
    if let Some(text) = &spec.host_key.known_hosts {
        return KnownHosts::parse(text).map_err(|error| Problem::new("spec.hostKey.knownHosts", error));
    }
    let Some(reference) = &spec.host_key.secret_ref else { return Ok(KnownHosts::default()) };
    let secret = find(references, &format!("{PATH}.name"), &reference.name)?;
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
