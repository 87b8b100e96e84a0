//! Keys as `ssh-keygen` and `openssl` write them, and what people put in their place.

use std::process::Command;

use super::*;
use crate::ssh::keygen::{Keygen, TINY};

const WORD: &str = "correct horse";

fn read(key: &str, passphrase: Option<&str>) -> Result<PrivateKey, Failure> {
    private_key(&SecretString::from(key), passphrase.map(SecretString::from).as_ref())
}

/// Which of the Secret's keys is to blame, for what, and the way out.
fn blame(result: Result<impl Sized, Failure>) -> (&'static str, String, String) {
    match result {
        Err(Failure::CredentialsUnusable { key, problem, hint }) => (key, problem, hint),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_type_is_read_in_every_form() {
    let keygen = Keygen::new();
    let kinds = ["ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048"];
    // The first is OpenSSH's own.
    let forms = ["", "-m PKCS8", "-m PEM"];
    for (kind, form) in kinds.iter().flat_map(|kind| forms.map(|form| (kind, form))) {
        for phrase in ["", WORD] {
            let name = format!("{kind}{form}{phrase}").replace(' ', "");
            let options = format!("-t {kind} {form}");
            let text = keygen.private(&name, &options.split_whitespace().collect::<Vec<_>>(), phrase);
            let result = read(&text, Some(phrase).filter(|phrase| !phrase.is_empty()));
            if kind.starts_with("ecdsa") && form == "-m PEM" && !phrase.is_empty() {
                assert!(blame(result).2.contains("ssh-keygen -p"), "the way out of {name}");
                continue;
            }
            let key = result.unwrap_or_else(|failure| panic!("{name}: {failure}\n{text}"));
            assert_eq!(key.public_key().key_data(), keygen.public(&name).key_data(), "{name}");
        }
    }
}

#[test]
fn keys_of_openssl_are_read() {
    let keygen = Keygen::new();
    let path = keygen.path("key").to_str().unwrap().to_owned();
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &path]);
    let plain = std::fs::read_to_string(&path).unwrap();
    assert!(read(&plain, None).is_ok());
    assert!(read(&plain, Some("not needed")).is_ok());
    let word = format!("pass:{WORD}");
    let encrypted = openssl(&["pkcs8", "-topk8", "-in", &path, "-passout", &word]);
    assert!(read(&encrypted, Some(WORD)).is_ok());
    assert_eq!(blame(read(&encrypted, None)).0, "ssh-privatekey");
    assert_eq!(blame(read(&encrypted, Some("wrong"))).0, "passphrase");
}

#[test]
fn rsa_keys_that_openssh_would_refuse_are_refused() {
    let keygen = Keygen::new();
    assert!(read(&keygen.private("key", &["-t", "rsa", "-b", "1024"], ""), None).is_ok());
    let (key, problem, hint) = blame(read(TINY, None));
    assert_eq!((key, problem.as_str()), ("ssh-privatekey", "its 768 bits are too few: an RSA key needs at least 1024"));
    assert!(hint.contains("ssh-keygen -t ed25519"), "{hint}");
}

#[test]
fn damage_by_editors_does_no_harm() {
    let keygen = Keygen::new();
    let text = keygen.private("key", &["-t", "ed25519"], "");
    for damaged in [
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
        format!("\n\n{text}\n\n"),
        text.lines().map(|line| format!("    {line}  \n")).collect(),
    ] {
        assert!(read(&damaged, None).is_ok(), "{damaged:?}");
    }
}

#[test]
fn what_is_no_private_key_is_named() {
    let keygen = Keygen::new();
    let text = keygen.private("key", &["-t", "ed25519"], "");
    keygen.key("ca", "ed25519");
    keygen.certificate("key", "ca", &["-n", "user"]);
    let file = |name: &str| std::fs::read_to_string(keygen.path(name)).unwrap();
    let encoded = {
        use base64::{Engine, prelude::BASE64_STANDARD};
        BASE64_STANDARD.encode(&text)
    };
    let half: String = text.lines().take(3).collect::<Vec<_>>().join("\n");
    for (wrong, problem) in [
        (String::new(), "empty"),
        (file("key.pub"), "public key"),
        (file("key-cert.pub"), "certificate"),
        (text.replace('\n', "\\n"), "\\n"),
        (encoded, "base64"),
        (half, "end is missing"),
        ("hunter2".to_owned(), "no private key"),
        (text.replace("b3BlbnNzaC1rZXktdjE", "b3BlbnNzaC1rZXktdjI"), "cannot be read"),
    ] {
        let (key, said, hint) = blame(read(&wrong, None));
        assert_eq!(key, "ssh-privatekey");
        assert!(said.contains(problem), "{wrong:?}: {said}");
        assert!(!hint.is_empty());
        assert!(!format!("{said}{hint}").contains("hunter2"));
    }
}

#[test]
fn passphrases_are_asked_for_and_checked() {
    let keygen = Keygen::new();
    let text = keygen.private("key", &["-t", "ed25519"], WORD);
    assert!(read(&text, Some(WORD)).is_ok());
    let (key, problem, hint) = blame(read(&text, None));
    assert_eq!((key, problem.as_str()), ("ssh-privatekey", "it is encrypted"));
    assert!(hint.contains("\"passphrase\""));
    let (key, problem, _) = blame(read(&text, Some("wrong")));
    assert_eq!(key, "passphrase");
    assert!(problem.contains("does not decrypt"));
}

#[test]
fn certificates_must_be_for_users_and_for_the_key() {
    let keygen = Keygen::new();
    let key = read(&keygen.private("key", &["-t", "ed25519"], ""), None).unwrap();
    keygen.key("ca", "ed25519");
    let text = |certificate: Certificate| certificate.to_openssh().unwrap();
    let good = keygen.certificate("key", "ca", &["-n", "user"]);
    assert_eq!(validity(&good, "user"), None);
    assert_eq!(validity(&good, "other").unwrap(), "it is for user");
    assert!(user_certificate(&format!("{}\r\n", text(good)), &key).is_ok());
    let expired = keygen.certificate("key", "ca", &["-n", "user", "-V", "-2d:-1d"]);
    assert_eq!(validity(&expired, "user").unwrap(), "it has expired");
    let host = keygen.certificate("key", "ca", &["-n", "user", "-h"]);
    assert!(blame(user_certificate(&text(host), &key)).1.contains("for hosts"));
    keygen.key("other", "ed25519");
    let other = keygen.certificate("other", "ca", &["-n", "user"]);
    assert!(blame(user_certificate(&text(other), &key)).1.contains("another key"));
    assert_eq!(blame(user_certificate("ssh-ed25519 AAAA", &key)).0, "ssh-certificate");
}
