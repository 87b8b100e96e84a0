//! Tickets: what the portal signs and a gateway checks. Pure: the time is given.
//!
//! A ticket is `base64url(claims as JSON) "." base64url(Ed25519 signature of the first part)`. There is one algorithm, so
//! nothing is negotiated. It says who somebody is, to one gateway, in answer to a nonce of that gateway's, for half a minute.

pub mod endings;
mod voucher;

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::voucher::Voucher;
use crate::{hex, user::User};

/// The ConfigMap in which portals publish their keys, with an entry `<kid>.json` for each: a [`Jwk`].
pub const CONFIG_MAP: &str = "webshell-portal-keys";

/// An annotation there says of each key (`ends.webshell.dev/<kid>`) when it is published no more, in seconds since 1970.
pub const ENDS: &str = "ends.webshell.dev/";

/// How long a key that signs a ticket is published from then on at least, in seconds. A key that is put where gateways find it for
/// a moment signs nothing that is taken for a portal's.
pub const NOTICE: u64 = 5 * 60;

/// How long a ticket is valid, in seconds: it is used by the next request of a browser.
pub const LIFETIME: u64 = 30;

/// By how much the clocks of portal and gateway may differ, in seconds, for a ticket to be taken.
pub const LEEWAY: u64 = 5;

/// The longest ticket, in bytes: room for some hundred groups, and below what a gateway reads of a body.
pub const MAX_TICKET: usize = 32 * 1024;

/// The longest user name, in bytes.
pub const MAX_NAME: usize = 1024;

/// The most keys that are known at once: there are a few portals, each with two while it changes them.
const MAX_KEYS: usize = 256;

/// The longest of the short claims, in bytes.
const MAX_SHORT: usize = 512;

/// The group that is allowed everything, whatever the rules say. Nobody comes in as its member.
pub const MASTERS: &str = "system:masters";

/// The claims of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Names the key that signed it.
    pub kid: String,
    /// The origin of the portal.
    pub iss: String,
    /// For which gateway: [`audience`].
    pub aud: String,
    /// Who: the claims `sub`, `uid`, `groups` and `extra`.
    #[serde(flatten)]
    pub user: User,
    /// What the gateway sent the browser to the portal with.
    pub nonce: String,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// When the log-in behind it ends, in seconds since 1970.
    pub until: u64,
    /// Tells it from all others, so that it works once.
    pub jti: String,
    /// The portal's name for the log-in behind it, by which its end is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

/// What a ticket is to say.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The origin of the portal.
    pub issuer: &'a str,
    /// The namespace of the gateway.
    pub namespace: &'a str,
    /// Who.
    pub user: &'a User,
    /// What the gateway sent.
    pub nonce: &'a str,
    /// When the log-in behind it ends, in seconds since 1970.
    pub until: u64,
    /// The portal's name for that log-in.
    pub sid: &'a str,
}

/// What a gateway takes.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The origin of its portal.
    pub issuer: &'a str,
    /// Its own namespace.
    pub namespace: &'a str,
    /// What it sent this browser to the portal with.
    pub nonce: &'a str,
}

/// A key that signs tickets. It is made anew by each portal and never leaves it.
pub struct SigningKey {
    kid: String,
    pair: Ed25519KeyPair,
}

/// A public key as a JSON Web Key (RFC 8037), and when it ends, which RFC 7517 leaves to those who use it (section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// Names the key.
    pub kid: String,
    /// The key in base64url.
    pub x: String,
    /// When it is published no more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

/// The public keys whose tickets are taken, by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    public: Vec<u8>,
    /// See [`Jwk::exp`].
    ends: Option<u64>,
}

/// Why no ticket was made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There are no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// More is known of the user than a ticket holds.
    #[error("the user's name, groups and extra attributes are longer than a ticket holds ({MAX_TICKET} bytes)")]
    TooLarge,
}

/// Why keys cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not a set of JSON Web Keys.
    #[error("not a JSON Web Key Set: {0}")]
    Malformed(String),
    /// A key of our kind that is none.
    #[error("key {0:?} is not an Ed25519 public key")]
    Key(String),
    /// More than could be meant.
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a ticket at all.
    #[error("it is malformed")]
    Malformed,
    /// Signed by a key that is not known (yet, or any more).
    #[error("it is signed by an unknown key")]
    UnknownKey,
    /// Signed by a key whose time is over, as portals go.
    #[error("the key that it is signed by is about to end")]
    EndingKey,
    /// Altered, or never signed.
    #[error("its signature is wrong")]
    Signature,
    /// From another portal.
    #[error("it is from another portal")]
    Issuer,
    /// For another gateway.
    #[error("it is for another gateway")]
    Audience,
    /// Not what this browser was sent for.
    #[error("it was made for another browser, or cookies are blocked")]
    Nonce,
    /// Too late, or too early.
    #[error("it has expired, or the clocks of portal and gateway differ")]
    Expired,
    /// Nobody comes in as this.
    #[error("it is for a user who may not log in")]
    User,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// The audience of the tickets for a namespace's gateway.
pub fn audience(namespace: &str) -> String {
    format!("webshell-gateway:{namespace}")
}

/// What a gateway sends a browser to the portal with, where `secret` is in the browser's cookie.
pub fn nonce(secret: &str) -> String {
    hex::encode(&Sha256::digest(secret))
}

/// Whether a text could be [`nonce`]'s.
pub fn is_nonce(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Checks a ticket, at `now` in seconds since 1970.
///
/// # Errors
/// Says what is wrong with it.
pub fn verify(ticket: &str, keys: &Keys, expected: Expected<'_>, now: u64) -> Result<Claims, Invalid> {
    if ticket.len() > MAX_TICKET {
        return Err(Invalid::Malformed);
    }
    let (payload, signature) = ticket.split_once('.').ok_or(Invalid::Malformed)?;
    let json = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| Invalid::Malformed)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Invalid::Malformed)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| Invalid::Malformed)?;
    // Nothing but the key's name is believed before this.
    let key = keys.0.get(&claims.kid).ok_or(Invalid::UnknownKey)?;
    UnparsedPublicKey::new(&ED25519, &key.public)
        .verify(payload.as_bytes(), &signature)
        .map_err(|_| Invalid::Signature)?;
    if claims.iss != expected.issuer {
        return Err(Invalid::Issuer);
    }
    if claims.aud != audience(expected.namespace) {
        return Err(Invalid::Audience);
    }
    if claims.nonce != expected.nonce {
        return Err(Invalid::Nonce);
    }
    let in_time = claims.iat <= now.saturating_add(LEEWAY)
        && now < claims.exp.saturating_add(LEEWAY)
        && claims.exp.checked_sub(claims.iat).is_some_and(|lifetime| lifetime <= LIFETIME);
    if !in_time {
        return Err(Invalid::Expired);
    }
    if key.ends.is_some_and(|ends| ends < now.saturating_add(NOTICE)) {
        return Err(Invalid::EndingKey);
    }
    let is_long = |text: &String| text.len() > MAX_SHORT;
    if is_long(&claims.jti) || claims.jti.is_empty() || claims.sid.as_ref().is_some_and(is_long) {
        return Err(Invalid::Malformed);
    }
    let User { name, groups, .. } = &claims.user;
    if name.is_empty() || name.len() > MAX_NAME || groups.iter().any(|group| group == MASTERS) {
        return Err(Invalid::User);
    }
    Ok(claims)
}

// === impl SigningKey ===

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, SignError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignError::Random)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SignError::Random)?;
        let digest = Sha256::digest(pair.public_key().as_ref());
        let kid = hex::encode(digest.first_chunk::<8>().ok_or(SignError::Random)?);
        Ok(Self { kid, pair })
    }

    /// Its name: 16 hexadecimal digits, from a hash of the public key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: self.kid.clone(),
            x: BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key()),
            exp: None,
        }
    }

    /// Makes a ticket, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// When it would be too large, or the system has no random numbers.
    pub fn sign(&self, order: Order<'_>, now: u64) -> Result<String, SignError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| SignError::Random)?;
        let claims = Claims {
            kid: self.kid.clone(),
            iss: order.issuer.to_owned(),
            aud: audience(order.namespace),
            user: order.user.clone(),
            nonce: order.nonce.to_owned(),
            iat: now,
            exp: now.saturating_add(LIFETIME),
            until: order.until,
            jti: hex::encode(&id),
            sid: Some(order.sid.to_owned()),
        };
        self.seal(&claims)
    }

    fn seal(&self, claims: &Claims) -> Result<String, SignError> {
        let json = serde_json::to_vec(claims).map_err(|_| SignError::TooLarge)?;
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(payload.as_bytes()));
        let ticket = format!("{payload}.{signature}");
        (ticket.len() <= MAX_TICKET && claims.user.name.len() <= MAX_NAME).then_some(ticket).ok_or(SignError::TooLarge)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

// === impl Keys ===

impl Keys {
    /// Reads a JSON Web Key Set (RFC 7517). Keys of other kinds are passed over.
    ///
    /// # Errors
    /// When it is none, or one of its Ed25519 keys cannot be one.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let set: KeySet = serde_json::from_str(text).map_err(|error| KeysError::Malformed(error.to_string()))?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany);
        }
        let mut keys = BTreeMap::new();
        for value in set.keys {
            let ours =
                value.get("kty").is_some_and(|kty| kty == "OKP") && value.get("crv").is_some_and(|c| c == "Ed25519");
            if !ours {
                continue;
            }
            let jwk: Jwk = serde_json::from_value(value).map_err(|error| KeysError::Malformed(error.to_string()))?;
            let public = BASE64_URL_SAFE_NO_PAD.decode(&jwk.x).ok().filter(|key| key.len() == 32);
            let key = Key { public: public.ok_or_else(|| KeysError::Key(jwk.kid.clone()))?, ends: jwk.exp };
            keys.insert(jwk.kid, key);
        }
        Ok(Self(keys))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
