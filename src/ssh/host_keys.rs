//! Which host keys are trusted: the decision over what a server presents.
//!
//! What russh has proven before it asks: the server holds the private key of the key it presents, or of the key inside
//! the certificate it presents. It has looked at nothing else of a certificate; that is done here.

mod certificate;

use std::{fmt, sync::Arc, time::SystemTime};

use russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKeyOrCertificate,
    ssh_encoding::Encode,
    ssh_key::{self, public::KeyData},
};
use thiserror::Error;

use super::{
    known_hosts::{DEFAULT_PORT, Entry, HostKey, KnownHosts, Marker, Place, lookup_name},
    learned_keys::{self, KeyKeeper, LearnedKeys, LearnedKeysError, OpenLearnedKeys},
    rsa,
};

/// The host key algorithms asked for, the best first; those of keys we know come before.
///
/// `ssh-rsa`, which signs with SHA-1, is none of them.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// How often a key is offered to a keeper whose keys are changed by others meanwhile. Others learn once for each host.
const LEARN_ATTEMPTS: usize = 8;

/// Which host keys are trusted, and what happens with others. Equal when both trust the same keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostKeys {
    /// What happens with a key that is not known.
    pub policy: HostKeyPolicy,
    /// The keys that are known.
    pub known_hosts: KnownHosts,
    /// Where keys are kept that were learned on first use. Without it nothing is kept, and every use is the first.
    pub learned: Option<Arc<LearnedKeys>>,
}

/// What happens with a host key that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// It is refused.
    #[default]
    Strict,
    /// It is learned, if no other key of the host is known.
    TrustOnFirstUse,
    /// Whatever is presented is accepted, unless it is revoked: that is said of keys in wrong hands, and a host that is
    /// not checked is no reason to talk to those.
    Insecure,
}

/// A host key is acceptable, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is known, or vouched for by a known authority.
    Trusted,
    /// It is the first one seen of this host.
    Learn(PresentedKey),
    /// It is not known, and nobody wants to know.
    Unchecked(PresentedKey),
}

/// The host key a server presented, for a person to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedKey {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// A known_hosts line that would make this key trusted.
    pub line: String,
    /// The length in bits, if it is a short RSA key.
    pub short: Option<u32>,
}

/// A known key that the server should have presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedKey {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Where it is known from.
    pub place: Place,
}

/// A host key that was refused. Nothing but the key exchange has been sent to the server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem} (presented: {})", presented.fingerprint)]
pub struct HostKeyRejection {
    /// What is wrong with it.
    pub problem: HostKeyProblem,
    /// The key itself.
    pub presented: PresentedKey,
}

/// What is wrong with a host key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostKeyProblem {
    /// No key of this host is known.
    #[error("the host's key is not known")]
    Unknown,
    /// Other keys of this host are known, never an empty list.
    #[error("the host's key is not the one known: {}", list(.0))]
    Changed(Vec<ExpectedKey>),
    /// The key, or the authority that signed its certificate, is marked `@revoked`.
    #[error("the host's key is revoked by {0} of the known hosts")]
    Revoked(Place),
    /// The certificate is broken, or is signed by a known authority but not valid for this host now; a sentence's end that
    /// says why.
    #[error("the host's certificate is not valid: {0}")]
    CertificateInvalid(String),
    /// The RSA key, or that of the authority that signed its certificate, is too short.
    #[error("the host's RSA key of {bits} bits is too short: at least {least} are needed")]
    Short {
        /// The length of its modulus, in bits.
        bits: u32,
        /// The least that is accepted.
        least: u32,
    },
}

/// Why a host key was not accepted.
#[derive(Debug, Error)]
pub enum HostKeyError {
    /// It was looked at and refused.
    #[error(transparent)]
    Rejected(#[from] HostKeyRejection),
    /// The learned keys could not be consulted, so nothing is known of it.
    #[error(transparent)]
    Learned(#[from] LearnedKeysError),
    /// It cannot be put into the form in which keys are compared; what the library said.
    #[error("the host's key is malformed: {0}")]
    Malformed(String),
    /// The program is stopping; what the runtime said.
    #[error("the host's key was not checked: {0}")]
    Interrupted(String),
}

/// What a server presents.
#[derive(Clone, Debug)]
struct Presented {
    /// The key that the server has proven to hold.
    key: HostKey,
    /// A certificate of that key, with the key of the authority that is said to have signed it.
    certificate: Option<(Certificate, HostKey)>,
}

/// The lines that are about a host.
struct Entries<'a> {
    /// Those for its name and port.
    own: Vec<&'a Entry>,
    /// Those for its name alone. As with OpenSSH they vouch for a key at any port, but make nobody expect one there.
    bare: Vec<&'a Entry>,
}

/// What to ask a server for, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostKeyAlgorithms {
    /// For plain keys; russh's `Preferred::key`.
    pub(super) keys: Vec<Algorithm>,
    /// For certificates, which russh prefers to plain keys; its `Preferred::host_key_certificates`.
    pub(super) certificates: Vec<Algorithm>,
}

// === impl HostKeys ===

impl HostKeys {
    /// Decides over what a server at this host and port presents, and keeps what is learned.
    ///
    /// An address the host's name resolves to is not looked up besides: the name is what the user asked for, and a key
    /// known for a re-used address says nothing about it (OpenSSH no longer does either, by default).
    ///
    /// RSA keys shorter than `min_rsa_bits` are refused under every policy.
    pub(super) async fn check(
        &self,
        host: &str,
        port: u16,
        presented: &PublicKeyOrCertificate,
        min_rsa_bits: u32,
        now: SystemTime,
    ) -> Result<Verdict, HostKeyError> {
        let bits = rsa::shortest(presented);
        let presented = Presented::new(presented).map_err(|error| HostKeyError::Malformed(error.to_string()))?;
        if let Some(bits) = bits.filter(|bits| *bits < min_rsa_bits) {
            let problem = HostKeyProblem::Short { bits, least: min_rsa_bits };
            return Err(HostKeyRejection { problem, presented: presented.described(host, port) }.into());
        }
        let policy = self.policy;
        if let Some(LearnedKeys::Kept(keeper)) = self.learned() {
            let decide = |known_hosts: &KnownHosts| decide(policy, known_hosts, host, port, &presented, now);
            return self.learn(keeper.as_ref(), decide).await;
        }
        let host = host.to_owned();
        self.consult(move |known_hosts, learned| {
            let verdict = decide(policy, known_hosts, &host, port, &presented, now)?;
            if let (Verdict::Learn(key), Some(learned)) = (&verdict, learned) {
                learned.append(&key.line)?;
            }
            Ok(verdict)
        })
        .await
    }

    /// What to ask a server at this host and port for, so that one with several keys presents one that is known.
    pub(super) async fn preferred_algorithms(&self, host: &str, port: u16) -> Result<HostKeyAlgorithms, HostKeyError> {
        if let Some(LearnedKeys::Kept(keeper)) = self.learned() {
            let (_, learned) = learned_keys::read(keeper.as_ref()).await?;
            return Ok(preferred_algorithms(&self.known_hosts.clone().and(learned), host, port));
        }
        let host = host.to_owned();
        self.consult(move |known_hosts, _| Ok(preferred_algorithms(known_hosts, &host, port))).await
    }

    /// The first of the keys known of a host that is a short RSA key, with its length in bits.
    pub fn short_key(&self, host: &str, port: u16) -> Option<(Place, u32)> {
        let entries = Entries::of(&self.known_hosts, host, port);
        entries.keys().find_map(|entry| Some((entry.place.clone(), rsa::short(entry.key.rsa_bits()?)?)))
    }

    /// Where keys are learned, if they are.
    fn learned(&self) -> Option<&LearnedKeys> {
        self.learned.as_deref().filter(|_| self.policy == HostKeyPolicy::TrustOnFirstUse)
    }

    /// Decides with what a keeper has, and lets it keep what is learned. Where others have learned meanwhile, that counts.
    async fn learn(
        &self,
        keeper: &dyn KeyKeeper,
        decide: impl Fn(&KnownHosts) -> Result<Verdict, HostKeyRejection>,
    ) -> Result<Verdict, HostKeyError> {
        for _ in 0..LEARN_ATTEMPTS {
            let (text, learned) = learned_keys::read(keeper).await?;
            let verdict = decide(&self.known_hosts.clone().and(learned))?;
            let Verdict::Learn(key) = &verdict else { return Ok(verdict) };
            if learned_keys::add(keeper, &text, key).await? {
                return Ok(verdict);
            }
        }
        let problem = "they are changed by others again and again".to_owned();
        Err(LearnedKeysError::Keeper { place: keeper.place().to_owned(), problem }.into())
    }

    /// Calls `f` with all keys that count, and with those of a file held open where they do.
    async fn consult<T, F>(&self, f: F) -> Result<T, HostKeyError>
    where
        T: Send + 'static,
        F: FnOnce(&KnownHosts, Option<OpenLearnedKeys>) -> Result<T, HostKeyError> + Send + 'static,
    {
        let Some(LearnedKeys::File(path)) = self.learned().cloned() else { return f(&self.known_hosts, None) };
        let known_hosts = self.known_hosts.clone();
        let task = tokio::task::spawn_blocking(move || {
            let open = learned_keys::open(&path)?;
            f(&known_hosts.and(open.known_hosts().clone()), Some(open))
        });
        task.await.unwrap_or_else(|error| Err(HostKeyError::Interrupted(error.to_string())))
    }
}

/// Decides over what a server presents, given all keys that are known.
fn decide(
    policy: HostKeyPolicy,
    known_hosts: &KnownHosts,
    host: &str,
    port: u16,
    presented: &Presented,
    now: SystemTime,
) -> Result<Verdict, HostKeyRejection> {
    let key = presented.described(host, port);
    match (policy, verify(known_hosts, host, port, presented, now)) {
        (_, Ok(())) => Ok(Verdict::Trusted),
        (_, Err(problem @ HostKeyProblem::Revoked(_))) => Err(HostKeyRejection { problem, presented: key }),
        (HostKeyPolicy::Insecure, Err(_)) => Ok(Verdict::Unchecked(key)),
        // A name with a pattern's characters would make a line that speaks for other hosts.
        (HostKeyPolicy::TrustOnFirstUse, Err(HostKeyProblem::Unknown)) if is_plain_name(host) => {
            Ok(Verdict::Learn(key))
        }
        (HostKeyPolicy::TrustOnFirstUse | HostKeyPolicy::Strict, Err(problem)) => {
            Err(HostKeyRejection { problem, presented: key })
        }
    }
}

/// Whether what a server presents is known or vouched for, by the rules of OpenSSH's client.
fn verify(
    known_hosts: &KnownHosts,
    host: &str,
    port: u16,
    presented: &Presented,
    now: SystemTime,
) -> Result<(), HostKeyProblem> {
    let entries = Entries::of(known_hosts, host, port);
    let authority = presented.certificate.as_ref().map(|(_, authority)| authority);
    for key in authority.into_iter().chain([&presented.key]) {
        if let Some(entry) = entries.find(Marker::Revoked, key) {
            return Err(HostKeyProblem::Revoked(entry.place.clone()));
        }
    }
    if let Some((certificate, _)) = &presented.certificate {
        // Whoever signed it: no server has a reason to present one that is broken.
        certificate::check_form(certificate).map_err(HostKeyProblem::CertificateInvalid)?;
    }
    let certified = match &presented.certificate {
        Some((certificate, authority)) if entries.find(Marker::CertAuthority, authority).is_some() => {
            Some(certificate::check(certificate, host, now))
        }
        // Without a known authority a certificate says no more than the key inside it.
        _ => None,
    };
    if certified == Some(Ok(())) || entries.keys().any(|entry| entry.key == presented.key) {
        return Ok(());
    }
    if let Some(Err(why)) = certified {
        return Err(HostKeyProblem::CertificateInvalid(why));
    }
    let expected = |entry: &Entry| ExpectedKey { fingerprint: entry.key.fingerprint(), place: entry.place.clone() };
    match entries.own_keys().map(expected).collect::<Vec<_>>() {
        none if none.is_empty() => Err(HostKeyProblem::Unknown),
        expected => Err(HostKeyProblem::Changed(expected)),
    }
}

/// What to ask for when these keys are known.
fn preferred_algorithms(known_hosts: &KnownHosts, host: &str, port: u16) -> HostKeyAlgorithms {
    let entries = Entries::of(known_hosts, host, port);
    let is_known = |algorithm: &Algorithm| entries.keys().any(|entry| entry.key.algorithm() == key_type(algorithm));
    let (mut keys, others): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(is_known);
    keys.extend(others);
    // Where no authority is known, certificates would only decide which plain key is presented.
    let certificates = if entries.has(Marker::CertAuthority) { ALGORITHMS.to_vec() } else { Vec::new() };
    HostKeyAlgorithms { keys, certificates }
}

/// The type of the keys that an algorithm signs with.
fn key_type(algorithm: &Algorithm) -> &str {
    match algorithm {
        Algorithm::Rsa { .. } => "ssh-rsa",
        other => other.as_str(),
    }
}

/// Whether a host's name has no character that means something else in a known_hosts line.
fn is_plain_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))
}

// === impl Entries ===

impl<'a> Entries<'a> {
    fn of(known_hosts: &'a KnownHosts, host: &str, port: u16) -> Self {
        let matching = |port| known_hosts.matching(&lookup_name(host, port));
        Self { own: matching(port), bare: matching(DEFAULT_PORT) }
    }

    /// The line that marks a key so.
    fn find(&self, marker: Marker, key: &HostKey) -> Option<&'a Entry> {
        self.all().find(|entry| entry.marker == Some(marker) && entry.key == *key)
    }

    /// Whether any line has this marker.
    fn has(&self, marker: Marker) -> bool {
        self.all().any(|entry| entry.marker == Some(marker))
    }

    fn all(&self) -> impl Iterator<Item = &'a Entry> {
        self.own.iter().chain(&self.bare).copied()
    }

    /// The keys known of exactly this host and port.
    fn own_keys(&self) -> impl Iterator<Item = &'a Entry> {
        self.own.iter().copied().filter(|entry| entry.marker.is_none())
    }

    /// The keys that are acceptable: the host's own, or if none is known those of its name.
    fn keys(&self) -> impl Iterator<Item = &'a Entry> {
        let of_name = if self.own_keys().next().is_none() { self.bare.as_slice() } else { &[] };
        self.own_keys().chain(of_name.iter().copied().filter(|entry| entry.marker.is_none()))
    }
}

// === impl Presented ===

impl Presented {
    fn new(presented: &PublicKeyOrCertificate) -> Result<Self, ssh_key::Error> {
        let certificate = presented.certificate().cloned();
        let certificate = certificate.map(|c| Ok::<_, ssh_key::Error>((c.clone(), host_key(c.signature_key())?)));
        Ok(Self { key: host_key(presented.public_key().key_data())?, certificate: certificate.transpose()? })
    }

    /// The key as a person is shown it.
    fn described(&self, host: &str, port: u16) -> PresentedKey {
        PresentedKey {
            fingerprint: self.key.fingerprint(),
            line: format!("{} {}", lookup_name(host, port), self.key),
            short: self.key.rsa_bits().and_then(rsa::short),
        }
    }
}

/// What a server presents, as it should have been sent.
pub(super) fn encoded(presented: &PublicKeyOrCertificate) -> Result<Vec<u8>, HostKeyError> {
    let encoded = match presented.certificate() {
        Some(certificate) => certificate.to_bytes(),
        None => presented.public_key().to_bytes(),
    };
    encoded.map_err(|error| HostKeyError::Malformed(error.to_string()))
}

fn host_key(key: &KeyData) -> Result<HostKey, ssh_key::Error> {
    Ok(HostKey::new(key.algorithm().as_str(), key.encode_vec()?))
}

// === impl Verdict ===

impl Verdict {
    /// What the user should hear of it, if anything.
    pub(super) fn notice(&self) -> Option<String> {
        match self {
            Self::Trusted => None,
            Self::Learn(key) => Some(format!(
                "The host's key was not known and is trusted from its first use on: {}. Compare it with the host's own.",
                key.fingerprint
            )),
            Self::Unchecked(key) => Some(format!(
                "The host's key is not checked, anyone between here and the host can read and change what passes: {}.",
                key.fingerprint
            )),
        }
    }
}

// === impl HostKeyProblem ===

fn list(keys: &[ExpectedKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ExpectedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fingerprint, self.place)
    }
}

#[cfg(test)]
mod tests;
