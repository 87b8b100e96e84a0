//! Tickets that are taken, and all the ways in which one is not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const PORTAL: &str = "https://shell.example.com";
const NOW: u64 = 1_800_000_000;

fn user() -> User {
    User {
        name: "system:serviceaccount:people:ada".into(),
        uid: Some("0c1e".into()),
        groups: vec!["dba".into(), "system:authenticated".into()],
        extra: [("scopes.example.com/shell".into(), vec!["read".into(), "list".into()])].into(),
    }
}

fn order<'a>(user: &'a User, nonce: &'a str) -> Order<'a> {
    Order { issuer: PORTAL, namespace: "team-a", user, nonce, until: NOW + 3600, sid: "s" }
}

fn expected(nonce: &str) -> Expected<'_> {
    Expected { issuer: PORTAL, namespace: "team-a", nonce }
}

/// A set of the public halves of these keys.
pub(crate) fn known(keys: &[&SigningKey]) -> Keys {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Keys::parse(&json!({"keys": keys}).to_string()).unwrap()
}

fn claims(key: &SigningKey) -> Claims {
    let ticket = key.sign(order(&user(), "n"), NOW).unwrap();
    verify(&ticket, &known(&[key]), expected("n"), NOW).unwrap()
}

#[test]
fn a_ticket_says_who_somebody_is_for_half_a_minute() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let keys = known(&[&other, &key]);
    let nonce = nonce("in the cookie");
    assert!(is_nonce(&nonce));
    let ticket = key.sign(order(&user(), &nonce), NOW).unwrap();
    let claims = verify(&ticket, &keys, expected(&nonce), NOW).unwrap();
    assert_eq!(claims.user, user(), "and nothing of it is left out");
    assert_eq!((claims.aud.as_str(), claims.until), ("webshell-gateway:team-a", NOW + 3600));
    for (now, valid) in [
        (NOW - LEEWAY, true),
        (NOW - LEEWAY - 1, false),
        (NOW + LIFETIME + LEEWAY - 1, true),
        (NOW + LIFETIME + LEEWAY, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let verified = verify(&ticket, &keys, expected(&nonce), now);
        assert_eq!(verified.err(), (!valid).then_some(Invalid::Expired), "{now}");
    }
}

#[test]
fn a_ticket_for_another_is_refused() {
    let key = SigningKey::generate().unwrap();
    let keys = known(&[&key]);
    let ticket = key.sign(order(&user(), "n"), NOW).unwrap();
    for (issuer, namespace, nonce, invalid) in [
        ("https://shell.example.com:8443", "team-a", "n", Invalid::Issuer),
        (PORTAL, "team-b", "n", Invalid::Audience),
        (PORTAL, "team", "n", Invalid::Audience),
        (PORTAL, "team-a", "m", Invalid::Nonce),
        (PORTAL, "team-a", "", Invalid::Nonce),
    ] {
        let expected = Expected { issuer, namespace, nonce };
        assert_eq!(verify(&ticket, &keys, expected, NOW), Err(invalid), "{expected:?}");
    }
}

#[test]
fn keys_count_only_while_they_are_known() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let ticket = old.sign(order(&user(), "n"), NOW).unwrap();
    assert_eq!(verify(&ticket, &known(&[&new]), expected("n"), NOW), Err(Invalid::UnknownKey));
    assert_eq!(verify(&ticket, &Keys::default(), expected("n"), NOW), Err(Invalid::UnknownKey));
    // Another key that takes a known one's name.
    let forged = new.seal(&Claims { kid: old.kid().to_owned(), ..claims(&new) }).unwrap();
    assert_eq!(verify(&forged, &known(&[&old, &new]), expected("n"), NOW), Err(Invalid::Signature));
}

#[test]
fn a_key_that_is_about_to_end_signs_nothing() {
    let key = SigningKey::generate().unwrap();
    let ticket = key.sign(order(&user(), "n"), NOW).unwrap();
    for (exp, refused) in [
        (None, None),
        (Some(NOW + NOTICE), None),
        (Some(NOW + NOTICE - 1), Some(Invalid::EndingKey)),
        (Some(0), Some(Invalid::EndingKey)),
    ] {
        let keys = Keys::parse(&json!({"keys": [Jwk { exp, ..key.jwk() }]}).to_string()).unwrap();
        assert_eq!(verify(&ticket, &keys, expected("n"), NOW).err(), refused, "{exp:?}");
    }
}

#[test]
fn even_the_portal_cannot_sign_everything() {
    let key = SigningKey::generate().unwrap();
    let good = claims(&key);
    for (claims, invalid) in [
        (Claims { exp: NOW + LIFETIME + 1, ..good.clone() }, Invalid::Expired),
        (Claims { exp: NOW - 1, ..good.clone() }, Invalid::Expired),
        (Claims { iat: u64::MAX, exp: u64::MAX, ..good.clone() }, Invalid::Expired),
        (Claims { user: User { groups: vec!["dba".into(), MASTERS.into()], ..user() }, ..good.clone() }, Invalid::User),
        (Claims { user: User { name: String::new(), ..user() }, ..good.clone() }, Invalid::User),
        (Claims { jti: String::new(), ..good.clone() }, Invalid::Malformed),
        (Claims { jti: "x".repeat(513), ..good.clone() }, Invalid::Malformed),
        (Claims { sid: Some("x".repeat(513)), ..good.clone() }, Invalid::Malformed),
    ] {
        let ticket = key.seal(&claims).unwrap();
        assert_eq!(verify(&ticket, &known(&[&key]), expected("n"), NOW), Err(invalid), "{claims:?}");
    }
}

#[test]
fn a_ticket_of_an_earlier_portal_says_nothing_more_of_its_user() {
    let key = SigningKey::generate().unwrap();
    let user = User { name: "ada".into(), ..User::default() };
    let json = serde_json::to_value(Claims { user: user.clone(), ..claims(&key) }).unwrap();
    assert_eq!(
        (&json["sub"], &json["groups"], json.get("uid"), json.get("extra")),
        (&json!("ada"), &json!([]), None, None)
    );
    assert_eq!(serde_json::from_value::<Claims>(json).unwrap().user, user);
}

#[test]
fn sizes_are_bounded() {
    let key = SigningKey::generate().unwrap();
    let sign = |user: &User| key.sign(order(user, "n"), NOW);
    let many = User { groups: vec!["g".repeat(64); 400], ..user() };
    assert_eq!(sign(&many), Err(SignError::TooLarge));
    assert_eq!(sign(&User { name: "n".repeat(MAX_NAME + 1), ..user() }), Err(SignError::TooLarge));
    let much = User { extra: [("scopes".into(), vec!["s".repeat(64); 400])].into(), ..user() };
    assert_eq!(sign(&much), Err(SignError::TooLarge));
    let some = User { groups: vec!["g".repeat(64); 300], ..user() };
    assert!(verify(&sign(&some).unwrap(), &known(&[&key]), expected("n"), NOW).is_ok());
    assert_eq!(verify(&"x".repeat(MAX_TICKET + 1), &known(&[&key]), expected("n"), NOW), Err(Invalid::Malformed));
}

#[test]
fn key_sets_are_read_as_the_rfc_has_them() {
    let key = SigningKey::generate().unwrap();
    let rsa = json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"});
    let mut extra = serde_json::to_value(key.jwk()).unwrap();
    extra["use"] = json!("sig");
    assert_eq!(Keys::parse(&json!({"keys": [rsa, extra], "more": 1}).to_string()), Ok(known(&[&key])));
    assert_eq!(Keys::parse(r#"{"keys": []}"#), Ok(Keys::default()));
    for text in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [{"kty": "OKP", "crv": "Ed25519"}]}"#] {
        assert!(matches!(Keys::parse(text), Err(KeysError::Malformed(_))), "{text}");
    }
    let short = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AAAA"}]}).to_string();
    assert_eq!(Keys::parse(&short), Err(KeysError::Key("k".into())));
    let many = json!({"keys": vec![json!({}); MAX_KEYS + 1]}).to_string();
    assert_eq!(Keys::parse(&many), Err(KeysError::TooMany));
}

#[test]
fn keys_print_their_names_only() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.kid()));
    assert!(!format!("{:?}", known(&[&key])).contains(&key.jwk().x));
}

proptest! {
    #[test]
    fn an_altered_ticket_is_refused(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9._-]") {
        let key = SigningKey::generate().unwrap();
        let mut ticket = key.sign(order(&user(), "n"), NOW).unwrap();
        let at = at.index(ticket.len());
        prop_assume!(ticket.get(at..=at) != Some(byte.as_str()));
        ticket.replace_range(at..=at, &byte);
        // The last characters of base64 have bits that mean nothing; the decoder takes only zeros there.
        prop_assert!(verify(&ticket, &known(&[&key]), expected("n"), NOW).is_err());
    }

    #[test]
    fn whatever_comes_is_no_ticket(text in "\\PC{0,200}|[A-Za-z0-9_-]{0,200}[.][A-Za-z0-9_-]{0,90}") {
        let key = SigningKey::generate().unwrap();
        prop_assert!(verify(&text, &known(&[&key]), expected("n"), NOW).is_err());
    }

    #[test]
    fn whoever_it_is_passes_unchanged(
        name in "\\PC{1,60}",
        uid in proptest::option::of("\\PC{0,40}"),
        groups in proptest::collection::vec("\\PC{0,20}", 0..20),
        extra in proptest::collection::btree_map("\\PC{0,20}", proptest::collection::vec("\\PC{0,20}", 0..4), 0..4),
    ) {
        let key = SigningKey::generate().unwrap();
        let user = User { name, uid, groups, extra };
        let ticket = key.sign(order(&user, "n"), NOW).unwrap();
        let claims = verify(&ticket, &known(&[&key]), expected("n"), NOW).unwrap();
        prop_assert_eq!(claims.user, user);
    }
}
