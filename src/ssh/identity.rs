//! The private key and certificate of a Secret: read, and if that fails, explained.

use std::sync::Arc;

use russh::{
    Signer,
    keys::{
        Algorithm, Certificate, Error, HashAlg, PrivateKey,
        agent::AgentIdentity,
        decode_secret_key, signature,
        ssh_encoding::Encode,
        ssh_key::{self, Signature, certificate::CertType, private::KeypairData},
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{
    Credentials,
    failure::{Failure, printable},
    rsa::{self, MIN_RSA_BITS},
};
use crate::clock::unix_time;

/// The Secret's keys, as kubernetes.io/ssh-auth names the first.
const PRIVATE_KEY: &str = "ssh-privatekey";
const PASSPHRASE: &str = "passphrase";
const CERTIFICATE: &str = "ssh-certificate";

/// How to bring any key that OpenSSH can read into a form that we can.
const CONVERT: &str = "Convert it with \"ssh-keygen -p -f FILE\", which writes it in OpenSSH's own format.";

/// How to get a key into a Secret undamaged.
const STORE: &str = "Put in the whole file as ssh-keygen wrote it, for example with \
     \"kubectl create secret generic NAME --from-file=ssh-privatekey=FILE\".";

/// What public key authentication is done with.
#[derive(Debug)]
pub(super) struct Identity {
    /// The private key.
    pub(super) key: Arc<PrivateKey>,
    /// A user certificate of that key.
    pub(super) certificate: Option<Arc<Certificate>>,
}

/// Signs for a certificate. russh would itself use SHA-1 for one of an RSA key.
pub(super) struct KeySigner(pub(super) Arc<PrivateKey>);

/// Why nothing was signed.
pub(super) enum SignError {
    /// The connection failed.
    Russh(russh::Error),
    /// The key failed.
    Key(signature::Error),
}

// === impl Identity ===

impl Identity {
    /// Reads the private key and certificate, if there are any.
    pub(super) async fn of(credentials: &Credentials) -> Result<Option<Self>, Failure> {
        let Some(key) = credentials.private_key.clone() else {
            return match credentials.certificate {
                Some(_) => Err(unusable(
                    CERTIFICATE,
                    "it is of no use without the private key it was issued for",
                    format!("Add that key as {PRIVATE_KEY:?}."),
                )),
                None => Ok(None),
            };
        };
        let (passphrase, certificate) = (credentials.passphrase.clone(), credentials.certificate.clone());
        // A passphrase is slow to check on purpose.
        let read = spawn_blocking(move || Self::read(&key, passphrase.as_ref(), certificate.as_deref()));
        read.await.unwrap_or_else(|error| Err(Failure::Internal(error.to_string()))).map(Some)
    }

    fn read(key: &SecretString, passphrase: Option<&SecretString>, certificate: Option<&str>) -> Result<Self, Failure> {
        let key = private_key(key, passphrase)?;
        let certificate = certificate.map(|text| user_certificate(text, &key)).transpose()?.map(Arc::new);
        Ok(Self { key: Arc::new(key), certificate })
    }
}

/// Reads a private key in OpenSSH, PKCS#8, PKCS#1, SEC1 or PuTTY form.
fn private_key(text: &SecretString, passphrase: Option<&SecretString>) -> Result<PrivateKey, Failure> {
    // Line ends of Windows, indentation and a missing last line end do no harm to a key, only to its reader.
    let lines = text.expose_secret().trim().lines().map(str::trim);
    let text = Zeroizing::new(lines.collect::<Vec<_>>().join("\n"));
    if let Some((problem, hint)) = not_a_private_key(&text) {
        return Err(unusable(PRIVATE_KEY, problem, hint));
    }
    let encrypted = text.contains("ENCRYPTED");
    if encrypted && passphrase.is_none() {
        return Err(no_passphrase());
    }
    // Only OpenSSH's own format and PuTTY's say inside whether they are encrypted.
    let says_inside = text.contains("OPENSSH PRIVATE KEY") || text.starts_with("PuTTY");
    let passphrase = passphrase.map(ExposeSecret::expose_secret).filter(|_| encrypted || says_inside);
    let key = decode_secret_key(&text, passphrase).map_err(|error| match error {
        Error::KeyIsEncrypted => no_passphrase(),
        Error::SshKey(ssh_key::Error::Crypto) if passphrase.is_some() => wrong_passphrase(""),
        _ if encrypted => wrong_passphrase(", or the key is encrypted by an outdated method"),
        error => unusable(PRIVATE_KEY, format!("it cannot be read ({})", printable(&error.to_string())), STORE),
    })?;
    if let Some(bits) = rsa::bits(key.public_key().key_data()).filter(|bits| *bits < MIN_RSA_BITS) {
        return Err(unusable(
            PRIVATE_KEY,
            format!("its {bits} bits are too few: an RSA key needs at least {MIN_RSA_BITS}"),
            "Make a new key: ssh-keygen -t ed25519.",
        ));
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(unusable(
            PRIVATE_KEY,
            "it can only be used together with a hardware token",
            "Make a key without one: ssh-keygen -t ed25519.",
        )),
        other => Err(unusable(
            PRIVATE_KEY,
            format!("keys of type {} are not supported", printable(other.as_str())),
            "Make a new key: ssh-keygen -t ed25519.",
        )),
    }
}

/// What is wrong with a text that does not even look like a private key, and what to do about it.
fn not_a_private_key(text: &str) -> Option<(&'static str, &'static str)> {
    Some(if text.is_empty() {
        ("it is empty", STORE)
    } else if text.contains("-cert-v01@openssh.com ") {
        ("it is a certificate", "Put the certificate under \"ssh-certificate\" and the private key here.")
    } else if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| text.starts_with(start)) || text.contains("PUBLIC KEY") {
        ("it is a public key", "Put in the private key: the file beside it whose name does not end in .pub.")
    } else if text.contains("BEGIN DSA ") {
        ("keys of type ssh-dss are not supported", "Make a new key: ssh-keygen -t ed25519.")
    } else if text.contains("\\n") {
        ("it has \\n where lines should end", STORE)
    } else if text.starts_with("LS0t") {
        (
            "it is base64 of a key",
            "It was encoded twice: put the file itself under stringData, or its base64 under data.",
        )
    } else if !text.contains("PRIVATE KEY-----") && !text.starts_with("PuTTY-User-Key-File-") {
        ("it is no private key", STORE)
    } else if !text.contains("-----END ") && !text.starts_with("PuTTY") {
        ("its end is missing", STORE)
    } else {
        return None;
    })
}

/// Reads the certificate and compares it with the key.
fn user_certificate(text: &str, key: &PrivateKey) -> Result<Certificate, Failure> {
    let certificate = Certificate::from_openssh(text.trim()).map_err(|error| {
        unusable(
            CERTIFICATE,
            format!("it cannot be read ({})", printable(&error.to_string())),
            "Put in the one line of the file whose name ends in -cert.pub.",
        )
    })?;
    if certificate.cert_type() != CertType::User {
        return Err(unusable(CERTIFICATE, "it is a certificate for hosts", "Sign the key with ssh-keygen without -h."));
    }
    if certificate.public_key() != key.public_key().key_data() {
        return Err(unusable(
            CERTIFICATE,
            "it was issued for another key",
            format!("Put the key it was issued for under {PRIVATE_KEY:?}, or have this one signed."),
        ));
    }
    Ok(certificate)
}

/// Why a server may have refused a certificate, as far as can be seen from here.
pub(super) fn validity(certificate: &Certificate, user: &str) -> Option<String> {
    let now = unix_time();
    let principals = certificate.valid_principals();
    if now >= certificate.valid_before() {
        Some("it has expired".to_owned())
    } else if now < certificate.valid_after() {
        Some("it is not valid yet".to_owned())
    } else if !principals.is_empty() && !principals.iter().any(|principal| principal == user) {
        Some(format!("it is for {}", printable(&principals.join(", "))))
    } else {
        None
    }
}

fn unusable(key: &'static str, problem: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::CredentialsUnusable { key, problem: problem.into(), hint: hint.into() }
}

fn no_passphrase() -> Failure {
    unusable(PRIVATE_KEY, "it is encrypted", format!("Add its passphrase as {PASSPHRASE:?}, or use a key without one."))
}

fn wrong_passphrase(or: &str) -> Failure {
    let problem = format!("it does not decrypt {PRIVATE_KEY:?}{or}");
    let hint =
        format!("Check it with \"ssh-keygen -y -f FILE\". Mind a line end after it that does not belong. {CONVERT}");
    unusable(PASSPHRASE, problem, hint)
}

// === impl KeySigner ===

impl Signer for KeySigner {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        use signature::Signer as _;
        let signature: Signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => self.0.try_sign(&data),
        }
        .map_err(SignError::Key)?;
        let failed = |_| SignError::Key(signature::Error::new());
        signature.encode_prefixed(&mut data).map_err(failed)?;
        Ok(data)
    }
}

impl From<russh::Error> for SignError {
    fn from(error: russh::Error) -> Self {
        Self::Russh(error)
    }
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Russh(russh::Error::SendError)
    }
}

#[cfg(test)]
mod tests;
