//! Whether a host certificate (OpenSSH's PROTOCOL.certkeys) is good for a host.

use std::time::SystemTime;

use jiff::Timestamp;
use russh::keys::{Algorithm, Certificate, ssh_key::certificate::CertType};

use crate::ssh::failure::printable;

/// The most names that a certificate is for, as in OpenSSH.
const MAX_PRINCIPALS: usize = 256;

/// Whether a certificate is one at all: signed by the authority it names, whichever that is; if not, why.
pub(super) fn check_form(certificate: &Certificate) -> Result<(), String> {
    certificate.verify_signature().map_err(|_| "its signature is wrong".to_owned())?;
    if certificate.valid_principals().iter().any(|name| name.contains('\0')) || certificate.key_id().contains('\0') {
        return Err("its text has a zero byte".to_owned());
    }
    let principals = certificate.valid_principals().len();
    if principals > MAX_PRINCIPALS {
        return Err(format!("it is for {principals} names, more than {MAX_PRINCIPALS}"));
    }
    Ok(())
}

/// Whether a certificate, signed by an authority that may sign for this host, is valid for it now; if not, why.
pub(super) fn check(certificate: &Certificate, host: &str, now: SystemTime) -> Result<(), String> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if now < certificate.valid_after() {
        return Err(format!("it is not valid before {}", date(certificate.valid_after())));
    }
    if now >= certificate.valid_before() {
        return Err(format!("it expired at {}", date(certificate.valid_before())));
    }
    // The library verifies a signature made with SHA-1, for which collisions can be bought.
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
        return Err("it is signed with SHA-1; sign it with rsa-sha2-512 or an Ed25519 key".to_owned());
    }
    if certificate.cert_type() != CertType::Host {
        return Err("it is a certificate for users; sign host keys with ssh-keygen -h".to_owned());
    }
    // None at all would mean any (CVE-2024-7594): nobody who issues one means that. Neither patterns nor capitals mean
    // anything in them, as OpenSSH has it.
    let (principals, host) = (certificate.valid_principals(), host.to_ascii_lowercase());
    if !principals.contains(&host) {
        let principals = printable(&format!("{principals:?}"));
        return Err(format!("it is for {principals}, not for {host:?}; issue one with ssh-keygen -n {host}"));
    }
    if let Some(option) = certificate.critical_options().keys().next() {
        let option = printable(option);
        return Err(format!("it has the critical option {option:?}, which host certificates have no use for"));
    }
    Ok(())
}

/// Seconds since 1970 as a date and time in UTC.
fn date(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| format!("second {seconds}"), |timestamp| timestamp.to_string())
}
