//! The known_hosts format of OpenSSH (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): a pure parser and matcher.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::rsa;

/// The largest text taken, in bytes. A Secret or a resource cannot hold more either.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// The longest pattern of a name, in bytes: OpenSSH matches no host with a list that has a longer one.
const MAX_PATTERN: usize = 1022;

/// What separates words; no other white space does.
const SEPARATORS: [char; 2] = [' ', '\t'];

/// The port whose entries carry a bare host name.
pub(super) const DEFAULT_PORT: u16 = 22;

/// Known host keys, compared by what they say: comments and line numbers make no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

/// Why a known_hosts text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KnownHostsError {
    /// Larger than 1 MiB; the number of bytes.
    #[error("{0} bytes are more than known hosts may have ({MAX_TEXT}); remove hosts that are not needed")]
    TooLarge(usize),
    /// A line that is neither an entry nor a comment.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// A word with `@` that is no marker, or a second marker.
    #[error("\"{0}\" is not a marker here; a line may begin with one of @cert-authority and @revoked")]
    Marker(String),
    /// A marker that a tab follows: OpenSSH passes over the line, unless it has no space at all.
    #[error("\"{0}\" must be followed by a space, not by a tab")]
    MarkerTab(&'static str),
    /// A name with a white space or control character, which only looks as if the name ended there.
    #[error("the host name {0:?} has a character that cannot be in one; separate words by spaces")]
    Name(String),
    /// A pattern that is too long to match anything; the number of bytes.
    #[error("a host name of {0} bytes is too long: at most {MAX_PATTERN}")]
    NameTooLong(usize),
    /// Fewer words than an entry has.
    #[error("an entry is a host name, a key type and a key, as ssh-keyscan prints them, all on one line")]
    Incomplete,
    /// A name that begins with `|` but is not `|1|salt|hash`.
    #[error("\"{0}\" is not a hashed host name, which has the form |1|salt|hash and stands alone")]
    HashedName(String),
    /// The key's text is not Base64.
    #[error("the {0} key is not valid Base64; copy the line again, whole")]
    Base64(String),
    /// A certificate where a key must be.
    #[error("what follows is a certificate, not a key: {0}")]
    Certificate(&'static str),
    /// The key is of another type than the line says, or cannot be read.
    #[error("what follows \"{0}\" is not a key of that type; copy the line again, whole")]
    Key(String),
}

/// A public key as known_hosts files and the SSH protocol have it (RFC 4253, 6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostKey {
    algorithm: String,
    blob: Vec<u8>,
}

/// A line of a known_hosts text.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) marker: Option<Marker>,
    hosts: Hosts,
    pub(super) key: HostKey,
    pub(super) place: Place,
}

/// What a line says of its key, other than that it is a host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// The key signs certificates of the hosts named.
    CertAuthority,
    /// The key must never be accepted from the hosts named.
    Revoked,
}

/// Where a line stands, for a person to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, where the text came from one of ours.
    pub file: Option<Arc<Path>>,
    /// The line, counted from 1.
    pub line: usize,
}

/// The names a line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// One name as HMAC-SHA1 of itself under a salt.
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
    /// Any of the patterns that are not negated, and none of those that are. In lower case.
    Patterns(Vec<Pattern>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    text: String,
}

// === impl KnownHosts ===

impl KnownHosts {
    /// Reads a known_hosts text. Keys of types that neither this program nor OpenSSH knows are left out, as are SSH 1 keys.
    ///
    /// # Errors
    ///
    /// When the text is too large, or at the first line that is malformed.
    pub fn parse(text: &str) -> Result<Self, KnownHostsError> {
        Self::parse_file(text, None)
    }

    /// As [`KnownHosts::parse`], remembering the file for messages.
    pub(super) fn parse_file(text: &str, file: Option<&Arc<Path>>) -> Result<Self, KnownHostsError> {
        if text.len() > MAX_TEXT {
            return Err(KnownHostsError::TooLarge(text.len()));
        }
        let mut entries = Vec::new();
        for (text, line) in text.lines().zip(1..) {
            let place = Place { file: file.cloned(), line };
            entries.extend(Entry::parse(text, place).map_err(|problem| KnownHostsError::Line { line, problem })?);
        }
        Ok(Self { entries })
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// These and the others' entries.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self
    }

    /// The entries for a name as [`lookup_name`] makes it.
    pub(super) fn matching(&self, name: &str) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.hosts.include(name)).collect()
    }
}

/// The name under which a host's keys are kept: the host in lower case, or `[host]:port` unless the port is 22.
pub(super) fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == DEFAULT_PORT { host } else { format!("[{host}]:{port}") }
}

/// Whether a text matches a pattern of literal bytes, `*` (any number of bytes) and `?` (any one byte).
///
/// Takes at most the product of both lengths in steps, whatever the pattern.
pub(super) fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut position) = (0, 0);
    // On a mismatch the last `*` takes one byte more: from which pattern and text position to try then. Earlier
    // ones need not, because the last could have taken whatever they would.
    let mut retry = None;
    while let Some(byte) = text.get(position) {
        match (pattern.get(at), retry) {
            (Some(b'*'), _) => {
                at += 1;
                retry = Some((at, position + 1));
            }
            (Some(wanted), _) if *wanted == b'?' || wanted == byte => {
                at += 1;
                position += 1;
            }
            (_, Some((after_star, next))) => {
                (at, position) = (after_star, next);
                retry = Some((after_star, next + 1));
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

// === impl Entry ===

impl Entry {
    /// Reads a line; `None` for a comment, an empty line, and a key of an unknown type.
    ///
    /// Whatever OpenSSH would pass over is an error, so that nobody relies on what is not there.
    fn parse(line: &str, place: Place) -> Result<Option<Self>, LineProblem> {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(None);
        }
        let line = line.trim_start_matches(SEPARATORS);
        let mut words = line.split(SEPARATORS).filter(|word| !word.is_empty());
        let Some(first) = words.next() else { return Ok(None) };
        let marker = Marker::parse(first);
        if let Some(marker) = marker
            && line.contains(' ')
            && line.as_bytes().get(first.len()) == Some(&b'\t')
        {
            return Err(LineProblem::MarkerTab(marker.as_str()));
        }
        let hosts = if marker.is_some() { words.next() } else { Some(first) };
        let (Some(hosts), Some(algorithm), Some(key)) = (hosts, words.next(), words.next()) else {
            return Err(LineProblem::Incomplete);
        };
        if hosts.starts_with('@') {
            return Err(LineProblem::Marker(hosts.to_owned()));
        }
        let hosts = Hosts::parse(hosts)?;
        Ok(HostKey::parse(marker, algorithm, key)?.map(|key| Self { marker, hosts, key, place }))
    }
}

// === impl Marker ===

impl Marker {
    fn parse(word: &str) -> Option<Self> {
        [Self::CertAuthority, Self::Revoked].into_iter().find(|marker| marker.as_str() == word)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::CertAuthority => "@cert-authority",
            Self::Revoked => "@revoked",
        }
    }
}

/// An entry is the same wherever it stands.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.marker, &self.hosts, &self.key) == (other.marker, &other.hosts, &other.key)
    }
}

impl Eq for Entry {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}, line {}", file.display(), self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

// === impl Hosts ===

impl Hosts {
    fn parse(text: &str) -> Result<Self, LineProblem> {
        if text.starts_with('|') {
            return Self::parse_hashed(text).ok_or_else(|| LineProblem::HashedName(text.to_owned()));
        }
        let pattern = |text: &str| {
            let (negated, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
            if text.starts_with('|') {
                Err(LineProblem::HashedName(text.to_owned()))
            } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                Err(LineProblem::Name(text.to_owned()))
            } else if text.len() > MAX_PATTERN {
                Err(LineProblem::NameTooLong(text.len()))
            } else {
                Ok(Pattern { negated, text: text.to_ascii_lowercase() })
            }
        };
        text.split(',').filter(|text| !text.is_empty()).map(pattern).collect::<Result<_, _>>().map(Self::Patterns)
    }

    fn parse_hashed(text: &str) -> Option<Self> {
        let (salt, hash) = text.strip_prefix("|1|")?.split_once('|')?;
        let [salt, hash] = [salt, hash].map(|part| BASE64_STANDARD.decode(part).ok());
        let (salt, hash) = (salt?, hash?);
        let length = <Sha1 as Digest>::output_size();
        (salt.len() == length && hash.len() == length).then_some(Self::Hashed { salt, hash })
    }

    fn include(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name).finalize().into_bytes().as_slice() == hash),
            Self::Patterns(patterns) => {
                let mut matching = patterns.iter().filter(|pattern| matches_wildcard(&pattern.text, name)).peekable();
                matching.peek().is_some() && matching.all(|pattern| !pattern.negated)
            }
        }
    }
}

// === impl HostKey ===

impl HostKey {
    /// A key from its wire form, whose first string names its type.
    pub(super) fn new(algorithm: &str, blob: Vec<u8>) -> Self {
        Self { algorithm: algorithm.to_owned(), blob }
    }

    /// Reads type and Base64; `None` when the type is not known to this program, so the key can never be presented.
    fn parse(marker: Option<Marker>, algorithm: &str, base64: &str) -> Result<Option<Self>, LineProblem> {
        // A number of bits: a key of SSH 1, of which old files are full.
        if algorithm.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        let blob = BASE64_STANDARD.decode(base64).map_err(|_| LineProblem::Base64(algorithm.to_owned()))?;
        // The type is compared before anything is decoded, because a certificate in a key's place may nest others
        // so deep that decoding it exhausts the stack.
        let malformed = || LineProblem::Key(algorithm.to_owned());
        let (name, rest) = split_string(&blob).ok_or_else(malformed)?;
        if name != algorithm.as_bytes() {
            return Err(malformed());
        }
        if let Ok(key_type) = Algorithm::new_certificate(algorithm) {
            return match marker {
                _ if matches!(key_type, Algorithm::Other(_)) => Ok(None),
                // As with OpenSSH it speaks of the key inside.
                Some(Marker::Revoked) => Self::certified(&key_type, rest).map(Some).ok_or_else(malformed),
                Some(Marker::CertAuthority) => Err(LineProblem::Certificate("put the authority's own key there")),
                None => Err(LineProblem::Certificate(
                    "put the host's own key there, or its authority's after @cert-authority",
                )),
            };
        }
        if matches!(Algorithm::new(algorithm), Err(_) | Ok(Algorithm::Other(_))) {
            return Ok(None);
        }
        Self::decode(&blob).map(Some).ok_or_else(malformed)
    }

    /// A key that is not a certificate, put into the form in which keys are compared.
    fn decode(blob: &[u8]) -> Option<Self> {
        let key = PublicKey::from_bytes(blob).ok()?;
        Some(Self::new(key.algorithm().as_str(), key.to_bytes().ok()?))
    }

    /// The key inside a certificate whose type's name was read. What else the certificate says makes no difference.
    fn certified(key_type: &Algorithm, certificate: &[u8]) -> Option<Self> {
        let fields = match key_type {
            Algorithm::Ed25519 => 1,
            Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } | Algorithm::SkEd25519 => 2,
            Algorithm::SkEcdsaSha2NistP256 => 3,
            Algorithm::Dsa => 4,
            _ => return None,
        };
        let (_nonce, key) = split_string(certificate)?;
        let rest = (0..fields).try_fold(key, |rest, _| split_string(rest).map(|(_, rest)| rest))?;
        let key = key.get(..key.len().checked_sub(rest.len())?)?;
        let name = key_type.as_str();
        let length = u32::try_from(name.len()).ok()?.to_be_bytes();
        Self::decode(&[&length, name.as_bytes(), key].concat())
    }

    /// The name of the key's type, such as `ssh-ed25519`.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The length of an RSA key, in bits.
    pub(super) fn rsa_bits(&self) -> Option<u32> {
        rsa::bits(PublicKey::from_bytes(&self.blob).ok()?.key_data())
    }

    /// `SHA256:` and the hash in Base64, as `ssh-keygen -l` prints it.
    pub(super) fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

/// A string of the wire (RFC 4251, section 5), and what follows it.
pub(super) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// As in a known_hosts line: type and Base64.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, BASE64_STANDARD.encode(&self.blob))
    }
}

#[cfg(test)]
mod tests;
