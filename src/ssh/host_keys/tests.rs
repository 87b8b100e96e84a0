//! Which host keys are trusted, learned and refused.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use russh::keys::{PublicKey, decode_secret_key};

use super::*;
use crate::ssh::keygen::{Keygen, TINY};

mod openssh;

fn line(host: &str, key: &PublicKey) -> String {
    format!("{host} {}\n", key.to_openssh().unwrap().trim())
}

fn strict(known_hosts: &str, presented: impl Into<PublicKeyOrCertificate>) -> Result<Verdict, HostKeyProblem> {
    decision(HostKeyPolicy::Strict, known_hosts, "db-1", 22, presented)
}

fn decision(
    policy: HostKeyPolicy,
    known_hosts: &str,
    host: &str,
    port: u16,
    presented: impl Into<PublicKeyOrCertificate>,
) -> Result<Verdict, HostKeyProblem> {
    let known_hosts = KnownHosts::parse(known_hosts).unwrap();
    let presented = Presented::new(&presented.into()).unwrap();
    decide(policy, &known_hosts, host, port, &presented, SystemTime::now()).map_err(|rejection| rejection.problem)
}

#[test]
fn a_known_key_is_trusted_under_every_policy() {
    let keygen = Keygen::new();
    let key = keygen.key("key", "ed25519");
    for policy in [HostKeyPolicy::Strict, HostKeyPolicy::TrustOnFirstUse, HostKeyPolicy::Insecure] {
        assert_eq!(decision(policy, &line("db-1", &key), "db-1", 22, key.clone()), Ok(Verdict::Trusted));
    }
}

#[test]
fn an_unknown_key_is_refused_learned_or_left_unchecked() {
    let keygen = Keygen::new();
    let key = keygen.key("key", "ed25519");
    let presented = PresentedKey {
        fingerprint: keygen.fingerprint("key"),
        line: line("[db-1]:2222", &key).trim().into(),
        short: None,
    };
    let decide = |policy| decision(policy, &line("other", &key), "DB-1", 2222, key.clone());
    assert_eq!(decide(HostKeyPolicy::Strict), Err(HostKeyProblem::Unknown));
    assert_eq!(decide(HostKeyPolicy::TrustOnFirstUse), Ok(Verdict::Learn(presented.clone())));
    assert_eq!(decide(HostKeyPolicy::Insecure), Ok(Verdict::Unchecked(presented.clone())));
    // The line offered is one that makes the key known.
    assert_eq!(decision(HostKeyPolicy::Strict, &presented.line, "db-1", 2222, key), Ok(Verdict::Trusted));
}

#[test]
fn a_name_that_would_speak_for_other_hosts_is_not_learned() {
    let key = Keygen::new().key("key", "ed25519");
    for host in ["*", "a,b", "!a", "a b", "|1|a", ""] {
        let decision = decision(HostKeyPolicy::TrustOnFirstUse, "", host, 22, key.clone());
        assert_eq!(decision, Err(HostKeyProblem::Unknown), "{host:?}");
    }
}

#[test]
fn a_changed_key_is_refused_with_those_expected() {
    let keygen = Keygen::new();
    let (old, older, new) = (keygen.key("old", "ed25519"), keygen.key("older", "ecdsa"), keygen.key("new", "ed25519"));
    let known_hosts = format!("{}\n{}", line("db-1", &old), line("db-*", &older));
    let expected =
        |name, line| ExpectedKey { fingerprint: keygen.fingerprint(name), place: Place { file: None, line } };
    let changed = HostKeyProblem::Changed(vec![expected("old", 1), expected("older", 3)]);
    for policy in [HostKeyPolicy::Strict, HostKeyPolicy::TrustOnFirstUse] {
        assert_eq!(decision(policy, &known_hosts, "db-1", 22, new.clone()), Err(changed.clone()));
    }
    let unchecked = decision(HostKeyPolicy::Insecure, &known_hosts, "db-1", 22, new.clone());
    assert!(matches!(unchecked, Ok(Verdict::Unchecked(_))), "{unchecked:?}");

    let presented = Presented::new(&new.into()).unwrap();
    let known_hosts = KnownHosts::parse(&known_hosts).unwrap();
    let now = SystemTime::now();
    let rejection = decide(HostKeyPolicy::Strict, &known_hosts, "db-1", 22, &presented, now).unwrap_err().to_string();
    for text in ["old", "older", "new"].map(|name| keygen.fingerprint(name)) {
        assert!(rejection.contains(&text), "{rejection}");
    }
    assert!(rejection.contains("line 3"), "{rejection}");
}

#[test]
fn a_bare_name_vouches_at_any_port_unless_the_port_has_keys() {
    let keygen = Keygen::new();
    let (bare, own) = (keygen.key("bare", "ed25519"), keygen.key("own", "ed25519"));
    let only_bare = line("db-1", &bare);
    let both = line("db-1", &bare) + &line("[db-1]:2222", &own);
    let strict =
        |known_hosts: &str, key: &PublicKey| decision(HostKeyPolicy::Strict, known_hosts, "db-1", 2222, key.clone());
    assert_eq!(strict(&only_bare, &bare), Ok(Verdict::Trusted));
    assert_eq!(strict(&only_bare, &own), Err(HostKeyProblem::Unknown));
    assert_eq!(strict(&both, &own), Ok(Verdict::Trusted));
    assert!(matches!(strict(&both, &bare), Err(HostKeyProblem::Changed(expected)) if expected.len() == 1));
}

#[test]
fn a_revoked_key_is_refused_whatever_else_is_said() {
    let keygen = Keygen::new();
    let (key, authority) = (keygen.key("key", "ed25519"), keygen.key("ca", "ed25519"));
    let certificate = keygen.certificate("key", "ca", &["-h", "-n", "db-1"]);
    let trust = line("db-1", &key) + &line("@cert-authority db-1", &authority);
    let revoked = Err(HostKeyProblem::Revoked(Place { file: None, line: 3 }));
    for policy in [HostKeyPolicy::Strict, HostKeyPolicy::TrustOnFirstUse, HostKeyPolicy::Insecure] {
        let decide = |revoked: &str, port, presented: PublicKeyOrCertificate| {
            decision(policy, &format!("{trust}{revoked}"), "db-1", port, presented)
        };
        let key_revoked = line("@revoked *", &key);
        assert_eq!(decide(&key_revoked, 22, key.clone().into()), revoked);
        assert_eq!(decide(&key_revoked, 22, certificate.clone().into()), revoked);
        assert_eq!(decide(&line("@revoked *", &authority), 22, certificate.clone().into()), revoked);
        // Revoked for the host is revoked at each of its ports, but not for others.
        assert_eq!(decide(&line("@revoked db-1", &key), 2222, key.clone().into()), revoked);
        assert_eq!(decide(&line("@revoked db-2", &key), 22, key.clone().into()), Ok(Verdict::Trusted));
    }
}

#[test]
fn certificates_of_every_kind_of_authority_are_trusted() {
    let keygen = Keygen::new();
    keygen.key("key", "ecdsa");
    for (name, kind) in [("ca1", "ed25519"), ("ca2", "ecdsa"), ("ca3", "rsa")] {
        let known_hosts = line("@cert-authority *.example.com,db-*", &keygen.key(name, kind));
        let certificate = keygen.certificate("key", name, &["-h", "-n", "web,db-1", "-V", "-5m:+5m"]);
        assert_eq!(strict(&known_hosts, certificate), Ok(Verdict::Trusted), "{kind}");
    }
}

#[test]
fn an_invalid_certificate_of_a_known_authority_is_refused_with_the_reason() {
    let keygen = Keygen::new();
    let (key, authority) = (keygen.key("key", "ed25519"), keygen.key("ca", "rsa"));
    let known_hosts = line("@cert-authority *", &authority);
    let table: [(&[&str], &str); 9] = [
        (&["-n", "db-1"], "users"),
        (&["-h"], "it is for []"),
        (&["-h", "-n", "db-2,db"], "\"db-1\""),
        (&["-h", "-n", "db-?,*"], "\"db-?\", \"*\""),
        (&["-h", "-n", "DB-1"], "\"DB-1\""),
        (&["-h", "-n", "db-1", "-V", "-2h:-1h"], "expired"),
        (&["-h", "-n", "db-1", "-V", "+1h:+2h"], "not valid before"),
        (&["-h", "-n", "db-1", "-O", "critical:force-command=x"], "force-command"),
        (&["-h", "-n", "db-1", "-t", "ssh-rsa"], "SHA-1"),
    ];
    for (options, reason) in table {
        let certificate = keygen.certificate("key", "ca", options);
        for policy in [HostKeyPolicy::Strict, HostKeyPolicy::TrustOnFirstUse] {
            match decision(policy, &known_hosts, "db-1", 22, certificate.clone()) {
                Err(HostKeyProblem::CertificateInvalid(why)) => assert!(why.contains(reason), "{why}"),
                other => panic!("{options:?}: {other:?}"),
            }
        }
        // The key inside is known by itself, so the certificate is not needed.
        let both = known_hosts.clone() + &line("db-1", &key);
        assert_eq!(strict(&both, certificate), Ok(Verdict::Trusted), "{options:?}");
    }
}

#[test]
fn a_forged_certificate_is_refused() {
    let keygen = Keygen::new();
    keygen.key("key", "ed25519");
    let known_hosts = line("@cert-authority *", &keygen.key("ca", "ed25519"));
    let mut bytes = keygen.certificate("key", "ca", &["-h", "-n", "db-2"]).to_bytes().unwrap();
    let name = bytes.windows(4).position(|bytes| bytes == b"db-2").unwrap();
    bytes[name + 3] = b'1';
    let forged = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(
        strict(&known_hosts, forged),
        Err(HostKeyProblem::CertificateInvalid("its signature is wrong".to_owned()))
    );
}

#[test]
fn a_certificate_of_an_unknown_authority_counts_as_its_key() {
    let keygen = Keygen::new();
    let (key, other) = (keygen.key("key", "ed25519"), keygen.key("other", "ed25519"));
    let authority = keygen.key("ca", "ed25519");
    let certificate = keygen.certificate("key", "ca", &["-h", "-n", "db-1"]);
    assert_eq!(strict(&line("db-1", &key), certificate.clone()), Ok(Verdict::Trusted));
    assert!(matches!(strict(&line("db-1", &other), certificate.clone()), Err(HostKeyProblem::Changed(_))));
    // Another authority, one for other hosts, and the authority's key taken for a host's.
    for known_hosts in
        [line("@cert-authority *", &other), line("@cert-authority db-2", &authority), line("db-2", &authority)]
    {
        assert_eq!(strict(&known_hosts, certificate.clone()), Err(HostKeyProblem::Unknown), "{known_hosts}");
    }
    // An authority's key is not a host's key.
    assert_eq!(strict(&line("@cert-authority *", &key), key), Err(HostKeyProblem::Unknown));
}

#[tokio::test]
async fn short_rsa_keys_are_refused_or_told_whoever_vouches_for_them() {
    let keygen = Keygen::new();
    let (short, good, other) =
        (keygen.key("short", "rsa -b 1024"), keygen.key("good", "rsa -b 2048"), keygen.key("other", "ed25519"));
    let tiny = decode_secret_key(TINY, None).unwrap().public_key().clone();
    let by_short = keygen.certificate("other", "short", &["-h", "-n", "db-1"]);
    let known_hosts = [&short, &good, &tiny].map(|key| line("db-1", key)).concat() + &line("@cert-authority *", &short);
    let cases: [(PublicKeyOrCertificate, Option<u32>); 5] = [
        (tiny.clone().into(), Some(768)),
        (short.clone().into(), Some(1024)),
        (by_short.into(), Some(1024)),
        (good.into(), None),
        (other.into(), None),
    ];
    for policy in [HostKeyPolicy::Strict, HostKeyPolicy::Insecure] {
        let known_hosts = KnownHosts::parse(&known_hosts).unwrap();
        let host_keys = HostKeys { policy, known_hosts, learned: None };
        for (presented, short) in &cases {
            for least in [rsa::MIN_RSA_BITS, rsa::GOOD_RSA_BITS] {
                let result = host_keys.check("db-1", 22, presented, least, SystemTime::now()).await;
                let refused = match &result {
                    Err(HostKeyError::Rejected(rejection)) => match rejection.problem {
                        HostKeyProblem::Short { bits, least } => Some((bits, least)),
                        _ => None,
                    },
                    _ => None,
                };
                assert_eq!(refused, short.filter(|bits| *bits < least).map(|bits| (bits, least)), "{result:?}");
            }
            let told = rsa::notice(presented);
            assert_eq!(told.is_some(), short.is_some());
            assert!(told.is_none_or(|told| told.contains(&short.unwrap().to_string())));
        }
    }
    let warned = |text: &str, port| {
        let known_hosts = KnownHosts::parse(text).unwrap();
        HostKeys { known_hosts, ..HostKeys::default() }.short_key("db-1", port)
    };
    let place = Place { file: None, line: 2 };
    assert_eq!(warned(&(line("db-1", &keygen.public("other")) + &line("db-*", &short)), 22), Some((place, 1024)));
    assert_eq!(warned(&line("db-2", &short), 22), None);
    assert_eq!(warned(&line("db-1", &keygen.public("good")), 2222), None);
}

#[test]
fn validity_begins_and_ends_on_the_second() {
    let keygen = Keygen::new();
    keygen.key("key", "ed25519");
    let known_hosts = KnownHosts::parse(&line("@cert-authority *", &keygen.key("ca", "ed25519"))).unwrap();
    let certificate = keygen.certificate("key", "ca", &["-h", "-n", "db-1", "-V", "20300101000000Z:20300102000000Z"]);
    let presented = Presented::new(&certificate.into()).unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let day = Duration::from_secs(86_400);
    let second = Duration::from_secs(1);
    let at = |now| decide(HostKeyPolicy::Strict, &known_hosts, "db-1", 22, &presented, now);
    assert_eq!(at(start), Ok(Verdict::Trusted));
    assert_eq!(at(start + day - second), Ok(Verdict::Trusted));
    assert!(at(start - second).unwrap_err().to_string().contains("2030-01-01T00:00:00Z"));
    assert!(at(start + day).unwrap_err().to_string().contains("2030-01-02T00:00:00Z"));
}

#[test]
fn algorithms_of_known_keys_are_asked_for_first() {
    let keygen = Keygen::new();
    let (rsa, ecdsa, authority) = (keygen.key("a", "rsa"), keygen.key("b", "ecdsa"), keygen.key("ca", "ed25519"));
    let ask = |known_hosts: &str, port| preferred_algorithms(&KnownHosts::parse(known_hosts).unwrap(), "db-1", port);
    let names = |algorithms: &[Algorithm]| algorithms.iter().map(|a| a.to_string()).collect::<Vec<_>>();

    let nothing_known = ask(&line("db-2", &rsa), 22);
    assert_eq!(nothing_known.keys, ALGORITHMS);
    assert!(nothing_known.certificates.is_empty());
    assert!(!names(&ALGORITHMS).contains(&"ssh-rsa".to_owned()));

    let known = line("db-1", &rsa) + &line("db-1", &ecdsa) + &line("@revoked db-1", &authority);
    assert_eq!(
        names(&ask(&known, 22).keys)[..4],
        ["ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
    );
    assert_eq!(ask(&known, 2222), ask(&known, 22));
    assert_eq!(ask(&known, 22).keys.len(), ALGORITHMS.len());

    let by_authority = ask(&line("@cert-authority db-1", &authority), 22);
    assert_eq!(by_authority.certificates, ALGORITHMS);
    assert_eq!(by_authority.keys, ALGORITHMS);
}

fn learning(path: impl Into<std::path::PathBuf>) -> HostKeys {
    HostKeys {
        policy: HostKeyPolicy::TrustOnFirstUse,
        known_hosts: KnownHosts::default(),
        learned: Some(Arc::new(LearnedKeys::new(path))),
    }
}

async fn check(host_keys: &HostKeys, host: &str, key: &PublicKey) -> Result<Verdict, HostKeyError> {
    host_keys.check(host, 22, &key.clone().into(), rsa::MIN_RSA_BITS, SystemTime::now()).await
}

#[tokio::test]
async fn a_key_is_learned_once_and_another_is_never_accepted() {
    let keygen = Keygen::new();
    let (key, other) = (keygen.key("key", "ed25519"), keygen.key("other", "rsa"));
    let path = keygen.path("state/webshell/known_hosts");
    let host_keys = learning(&path);
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Learn(_))));
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Trusted)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line("db-1", &key));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let changed = check(&host_keys, "db-1", &other).await.unwrap_err();
    assert!(
        matches!(&changed, HostKeyError::Rejected(rejection) if matches!(rejection.problem, HostKeyProblem::Changed(_)))
    );
    assert!(changed.to_string().contains(&format!("{}, line 1", path.display())), "{changed}");
    assert!(matches!(check(&host_keys, "db-2", &other).await, Ok(Verdict::Learn(_))));
    let asked = host_keys.preferred_algorithms("db-2", 22).await.unwrap();
    assert_eq!(asked.keys[0], Algorithm::Rsa { hash: Some(HashAlg::Sha512) });
}

#[tokio::test]
async fn edits_of_the_learned_file_count_at_once() {
    let keygen = Keygen::new();
    let key = keygen.key("key", "ed25519");
    let path = keygen.path("known_hosts");
    let host_keys = learning(&path);
    // As an editor may leave it, without an end of line.
    std::fs::write(&path, line("db-1", &key).trim()).unwrap();
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Trusted)));
    assert!(matches!(check(&host_keys, "db-2", &key).await, Ok(Verdict::Learn(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line("db-1", &key) + &line("db-2", &key));

    std::fs::write(&path, line("@revoked *", &key)).unwrap();
    assert!(check(&host_keys, "db-1", &key).await.unwrap_err().to_string().contains("revoked"));
    std::fs::write(&path, "nonsense").unwrap();
    let error = check(&host_keys, "db-1", &key).await.unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("line 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_presented_at_once_only_one_is_learned() {
    let keygen = Keygen::new();
    let keys = ["a", "b", "c", "d"].map(|name| keygen.key(name, "ed25519"));
    let path = keygen.path("known_hosts");
    // Each with its own handle, as separate processes have.
    let checks = keys.each_ref().map(|key| async { check(&learning(&path), "db-1", key).await.is_ok() });
    let learned = futures_util::future::join_all(checks).await.into_iter().filter(|learned| *learned).count();
    assert_eq!(learned, 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn learned_keys_count_under_trust_on_first_use_only() {
    let keygen = Keygen::new();
    let key = keygen.key("key", "ed25519");
    let path = keygen.path("known_hosts");
    std::fs::write(&path, line("db-1", &key)).unwrap();
    let strict = HostKeys { policy: HostKeyPolicy::Strict, ..learning(&path) };
    assert!(check(&strict, "db-1", &key).await.is_err());
    assert_ne!(strict, learning(&path));
    assert_eq!(learning(&path), learning(&path));
}

/// Keeps keys in memory; somebody else learns `others` first.
#[derive(Debug)]
struct Memory {
    text: parking_lot::Mutex<String>,
    others: parking_lot::Mutex<Vec<String>>,
}

impl KeyKeeper for Memory {
    fn place(&self) -> &str {
        "status.hostKey"
    }

    fn read(&self) -> futures_util::future::BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok(self.text.lock().clone()) })
    }

    fn add<'a>(
        &'a self,
        read: &'a str,
        key: &'a PresentedKey,
    ) -> futures_util::future::BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            let mut text = self.text.lock();
            text.extend(self.others.lock().pop());
            if *text == read {
                text.push_str(&format!("{}\n", key.line));
                return Ok(true);
            }
            Ok(false)
        })
    }
}

fn kept(text: String, others: Vec<String>) -> (HostKeys, Arc<Memory>) {
    let memory = Arc::new(Memory { text: text.into(), others: others.into() });
    let learned = Some(Arc::new(LearnedKeys::Kept(memory.clone())));
    (HostKeys { policy: HostKeyPolicy::TrustOnFirstUse, known_hosts: KnownHosts::default(), learned }, memory)
}

#[tokio::test]
async fn a_keeper_learns_a_key_once_and_another_is_never_accepted() {
    let keygen = Keygen::new();
    let (key, other) = (keygen.key("key", "ed25519"), keygen.key("other", "ed25519"));
    let (host_keys, memory) = kept(String::new(), Vec::new());
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Learn(_))));
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Trusted)));
    let changed = check(&host_keys, "db-1", &other).await.unwrap_err().to_string();
    assert!(changed.contains("status.hostKey, line 1"), "{changed}");
    assert_eq!(*memory.text.lock(), line("db-1", &key));
}

#[tokio::test]
async fn what_others_teach_a_keeper_first_counts() {
    let keygen = Keygen::new();
    let (key, other) = (keygen.key("key", "ed25519"), keygen.key("other", "ed25519"));
    let (host_keys, memory) = kept(String::new(), vec![line("db-1", &other)]);
    let changed = check(&host_keys, "db-1", &key).await.unwrap_err();
    assert!(matches!(changed, HostKeyError::Rejected(_)), "{changed}");
    assert_eq!(*memory.text.lock(), line("db-1", &other));

    let (host_keys, _) = kept(String::new(), vec![line("db-2", &other)]);
    assert!(matches!(check(&host_keys, "db-1", &key).await, Ok(Verdict::Learn(_))));

    let endless = (0..100).map(|number| line(&format!("other-{number}"), &other)).collect();
    let (host_keys, _) = kept(String::new(), endless);
    assert!(matches!(check(&host_keys, "db-1", &key).await, Err(HostKeyError::Learned(_))));
}
