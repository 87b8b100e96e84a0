//! Makes certificates, wrong ones too.

use russh::keys::{HashAlg, PrivateKey};

use super::packets::{HostKey as Identity, Payload, sign};

/// A certificate, field by field (PROTOCOL.certkeys).
pub(super) struct Fields<'a> {
    pub(super) subject: &'a PrivateKey,
    pub(super) authority: &'a PrivateKey,
    pub(super) hash: Option<HashAlg>,
    pub(super) nonce: Vec<u8>,
    pub(super) serial: u64,
    pub(super) kind: u32,
    pub(super) id: Vec<u8>,
    pub(super) principals: Vec<u8>,
    pub(super) after: u64,
    pub(super) before: u64,
    pub(super) critical: Vec<u8>,
    pub(super) extensions: Vec<u8>,
    pub(super) reserved: Vec<u8>,
    /// In place of the authority's key.
    pub(super) signature_key: Option<Vec<u8>>,
    /// Changes the signature.
    pub(super) signature: fn(Vec<u8>) -> Vec<u8>,
    /// Follows the signature.
    pub(super) rest: Vec<u8>,
}

impl Fields<'_> {
    pub(super) fn blob(&self) -> Vec<u8> {
        let subject = public(self.subject);
        let (name, rest) = split(&subject);
        let name = format!("{}-cert-v01@openssh.com", String::from_utf8(name).unwrap());
        let authority = self.signature_key.clone().unwrap_or_else(|| public(self.authority));
        let number = |payload: Payload, value: u64| payload.raw(value.to_be_bytes());
        let body = Payload::default().string(name).string(&self.nonce).raw(rest);
        let body = number(body, self.serial).u32(self.kind).string(&self.id).string(&self.principals);
        let body = number(number(body, self.after), self.before);
        let body = body.string(&self.critical).string(&self.extensions).string(&self.reserved).string(authority);
        let signature = (self.signature)(sign(self.authority, self.hash, &body.0));
        body.string(signature).raw(&self.rest).0
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::of(self.subject.clone()).certified(self.blob())
    }
}

pub(super) fn public(key: &PrivateKey) -> Vec<u8> {
    key.public_key().to_bytes().unwrap()
}

/// The first string of a blob, and what follows it.
pub(super) fn split(blob: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u32::from_be_bytes(blob[..4].try_into().unwrap()) as usize;
    (blob[4..4 + length].to_vec(), blob[4 + length..].to_vec())
}

pub(super) fn names(names: &[&str]) -> Vec<u8> {
    names.iter().fold(Payload::default(), Payload::string).0
}

/// Options of a certificate, each with a string as its value.
pub(super) fn options(names: &[&str]) -> Vec<u8> {
    names.iter().fold(Payload::default(), |all, name| all.string(name).string(Payload::default().string("x").0)).0
}
