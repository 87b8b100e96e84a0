//! How long RSA keys must be. Keys of the other types have one length each, which is enough.

use russh::keys::{PublicKeyOrCertificate, ssh_key::public::KeyData};

/// Shorter RSA keys are refused, as OpenSSH refuses them (`RequiredRSASize` in ssh_config(5)).
pub const MIN_RSA_BITS: u32 = 1024;

/// Shorter RSA keys are warned of: since 2014 they count as too weak (NIST SP 800-131A).
pub const GOOD_RSA_BITS: u32 = 2048;

/// The length of an RSA key's modulus, in bits; nothing for a key of another type.
pub(super) fn bits(key: &KeyData) -> Option<u32> {
    let modulus = key.rsa()?.n().as_positive_bytes()?;
    // The library's own figure is in whole bytes.
    let bits = modulus.len().checked_mul(8)?.checked_sub(usize::try_from(modulus.first()?.leading_zeros()).ok()?)?;
    u32::try_from(bits).ok()
}

/// The length of the shortest RSA key that vouches for a host: its own, or that of its certificate's authority.
pub(super) fn shortest(presented: &PublicKeyOrCertificate) -> Option<u32> {
    let authority = presented.certificate().and_then(|certificate| bits(certificate.signature_key()));
    bits(presented.public_key().key_data()).into_iter().chain(authority).min()
}

/// The length, if it is one to be warned of.
pub(super) fn short(bits: u32) -> Option<u32> {
    Some(bits).filter(|bits| *bits < GOOD_RSA_BITS)
}

/// What the user should hear of a host's key that was accepted, if anything.
pub(super) fn notice(presented: &PublicKeyOrCertificate) -> Option<String> {
    let bits = shortest(presented).and_then(short)?;
    Some(format!(
        "The host identifies itself by an RSA key of only {bits} bits, which can be forged with enough effort. Give it an Ed25519 \
         key or an RSA key of {GOOD_RSA_BITS} bits or more."
    ))
}
