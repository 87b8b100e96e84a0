//! Known hosts are read as OpenSSH reads them, and errors name the line.

use proptest::prelude::*;

use super::*;
use crate::ssh::keygen::Keygen;

/// A key of no use but to be written in a line.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEqqGknp2r5L7hh2ZTTRMJ8m1UyW7vy9Jtw1vMTl5+H5";

fn parse(text: &str) -> KnownHosts {
    KnownHosts::parse(text).unwrap()
}

fn problem(text: &str) -> (usize, LineProblem) {
    match KnownHosts::parse(text) {
        Err(KnownHostsError::Line { line, problem }) => (line, problem),
        other => panic!("{other:?}"),
    }
}

fn lines(known_hosts: &KnownHosts, host: &str, port: u16) -> Vec<usize> {
    known_hosts.matching(&lookup_name(host, port)).iter().map(|entry| entry.place.line).collect()
}

#[test]
fn names_match_as_openssh_matches_them() {
    let table = [
        ("db-1", "db-1", 22, true),
        ("db-1", "DB-1", 22, true),
        ("DB-1", "db-1", 22, true),
        ("db-1", "db-10", 22, false),
        ("db-1", "db-1", 2222, false),
        ("[db-1]:2222", "db-1", 2222, true),
        ("[db-1]:2222", "db-1", 22, false),
        ("[db-1]:22", "db-1", 22, false),
        ("[*]:2222", "db-1", 2222, true),
        ("[db-?]:22*", "db-1", 2222, true),
        ("web,db-1", "db-1", 22, true),
        ("web,,db-1,", "db-1", 22, true),
        ("*.example.com", "a.b.example.com", 22, true),
        ("*.example.com", "example.com", 22, false),
        ("*.example.com,!bad.example.com", "bad.example.com", 22, false),
        ("!bad.example.com,*.example.com", "bad.example.com", 22, false),
        ("!bad.example.com,*.example.com", "good.example.com", 22, true),
        ("!bad.example.com", "good.example.com", 22, false),
        ("10.0.?.12", "10.0.4.12", 22, true),
        ("10.0.?.12", "10.0.44.12", 22, false),
        ("fe80::1", "FE80::1", 22, true),
        ("[fe80::1]:2222", "fe80::1", 2222, true),
        ("*", "anything", 22, true),
        ("*", "anything", 2222, true),
    ];
    let keygen = Keygen::new();
    for (pattern, host, port, matches) in table {
        let text = format!("{pattern} {KEY}\n");
        assert_eq!(keygen.finds(&text, &lookup_name(host, port)), matches, "OpenSSH: {pattern} for {host} port {port}");
        let known_hosts = parse(&text);
        assert_eq!(!lines(&known_hosts, host, port).is_empty(), matches, "{pattern} for {host} port {port}");
    }
}

#[test]
fn names_hashed_by_ssh_keygen_match() {
    let hashed = Keygen::new().hash(&format!("DB-1,10.0.4.12 {KEY}\n[db-1]:2222 {KEY} a comment\n@revoked * {KEY}\n"));
    assert!(!hashed.to_lowercase().contains("db-1"), "{hashed}");
    let known_hosts = parse(&hashed);
    // ssh-keygen gives each name a line of its own and leaves wildcards as they are.
    assert_eq!(lines(&known_hosts, "db-1", 22), [1, 4]);
    assert_eq!(lines(&known_hosts, "10.0.4.12", 22), [2, 4]);
    assert_eq!(lines(&known_hosts, "Db-1", 2222), [3, 4]);
    assert_eq!(lines(&known_hosts, "db-2", 22), [4]);
}

#[test]
fn keys_of_every_kind_keep_their_fingerprint_and_form() {
    let keygen = Keygen::new();
    for (name, kind) in [("a", "ed25519"), ("b", "ecdsa"), ("c", "rsa")] {
        let line = keygen.key(name, kind).to_openssh().unwrap();
        let known_hosts = parse(&format!("db-1 {line}"));
        let [entry] = known_hosts.entries.as_slice() else { panic!("{line}") };
        assert_eq!(entry.key.fingerprint(), keygen.fingerprint(name));
        assert_eq!(entry.key.to_string(), line.trim());
        assert!(line.starts_with(entry.key.algorithm()));
    }
}

#[test]
fn comments_blank_lines_and_unknown_keys_are_left_out() {
    let future = BASE64_STANDARD.encode(b"\0\0\0\x0essh-mldsa-2030rest");
    let text = format!(
        "# a comment\r\n\r\n \t \n  # another\nold 1024 35 123456789\nnew ssh-mldsa-2030 {future}\n\
         db-1\t{KEY}  with a comment\r\n@cert-authority *.example.com {KEY}\n@revoked  * {KEY}\n"
    );
    let known_hosts = parse(&text);
    let found: Vec<_> = known_hosts.entries.iter().map(|entry| (entry.place.line, entry.marker)).collect();
    assert_eq!(found, [(7, None), (8, Some(Marker::CertAuthority)), (9, Some(Marker::Revoked))]);
    assert!(parse("# nothing\n").is_empty());
}

#[test]
fn what_openssh_passes_over_is_an_error() {
    let (kind, base64) = KEY.split_once(' ').unwrap();
    for text in ["@revoked\tdb-1 ", "@cert-authority\t* "] {
        let (_, problem) = problem(&format!("{text}{KEY}"));
        assert!(matches!(problem, LineProblem::MarkerTab(_)), "{problem:?}");
    }
    // Without any space OpenSSH takes it.
    assert!(!parse(&format!("@revoked\tdb-1\t{kind}\t{base64}")).is_empty());
    for odd in ['\r', '\u{b}', '\u{c}', '\u{a0}', '\u{2003}', '\0'] {
        assert_eq!(problem(&format!("@revoked db-1{odd} {KEY}")).1, LineProblem::Name(format!("db-1{odd}")));
    }
    assert_eq!(problem(&format!("db-1,{} {KEY}", "x".repeat(1023))).1, LineProblem::NameTooLong(1023));
    assert!(!parse(&format!("db-1,{} {KEY}", "x".repeat(1022))).is_empty());
}

#[test]
fn a_certificate_that_is_revoked_revokes_its_key() {
    let keygen = Keygen::new();
    keygen.key("ca", "ed25519");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = keygen.key(kind, kind);
        let certificate = keygen.certificate(kind, "ca", &["-h", "-n", "db-1"]).to_openssh().unwrap();
        let known_hosts = parse(&format!("@revoked * {certificate}"));
        let [entry] = known_hosts.entries.as_slice() else { panic!("{certificate}") };
        assert_eq!(entry.key.to_string(), key.to_openssh().unwrap().trim());
        for start in ["db-1", "@cert-authority db-1"] {
            let (_, problem) = problem(&format!("{start} {certificate}"));
            assert!(matches!(problem, LineProblem::Certificate(_)), "{problem:?}");
        }
    }
}

#[test]
fn errors_name_the_line_and_what_is_wrong_with_it() {
    let truncated = KEY.strip_suffix("l5+H5").unwrap();
    let shortened = KEY.strip_suffix("5+H5").unwrap();
    let other_type = KEY.replace("ssh-ed25519", "ssh-rsa");
    assert_eq!(problem(&format!("db-1 {KEY}\n\n@trusted db-1 {KEY}")), (3, LineProblem::Marker("@trusted".into())));
    assert_eq!(problem(&format!("@revoked @revoked db-1 {KEY}")), (1, LineProblem::Marker("@revoked".into())));
    assert_eq!(problem("db-1"), (1, LineProblem::Incomplete));
    assert_eq!(problem("db-1 ssh-ed25519"), (1, LineProblem::Incomplete));
    assert_eq!(problem(KEY), (1, LineProblem::Incomplete));
    assert_eq!(problem(&format!("|1|abc|def {KEY}")), (1, LineProblem::HashedName("|1|abc|def".into())));
    assert_eq!(problem(&format!("a,|1|b|c {KEY}")), (1, LineProblem::HashedName("|1|b|c".into())));
    assert_eq!(problem(&format!("db-1 {truncated}")), (1, LineProblem::Base64("ssh-ed25519".into())));
    assert_eq!(problem(&format!("db-1 {shortened}")), (1, LineProblem::Key("ssh-ed25519".into())));
    assert_eq!(problem(&format!("db-1 {other_type}")), (1, LineProblem::Key("ssh-rsa".into())));
    let error = KnownHosts::parse("\ndb-1 ssh-ed25519").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2: an entry is a host name, a key type and a key, as ssh-keyscan prints them, all on one line"
    );
    let large = "#".repeat(MAX_TEXT + 1);
    assert_eq!(KnownHosts::parse(&large), Err(KnownHostsError::TooLarge(MAX_TEXT + 1)));
}

#[test]
fn a_certificate_in_a_keys_place_is_refused_however_deep_it_nests() {
    let mut blob = Vec::new();
    for _ in 0..20_000 {
        blob.extend(b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com");
    }
    let base64 = BASE64_STANDARD.encode(&blob);
    assert_eq!(problem(&format!("db-1 ssh-ed25519 {base64}")).1, LineProblem::Key("ssh-ed25519".into()));
    let certificate = format!("ssh-ed25519-cert-v01@openssh.com {base64}");
    assert!(matches!(problem(&format!("db-1 {certificate}")).1, LineProblem::Certificate(_)));
    // What looks like a key inside is one, and the rest is not looked at.
    assert!(!parse(&format!("@revoked db-1 {certificate}")).is_empty());
}

#[test]
fn only_what_is_said_counts_for_equality() {
    let one = parse(&format!("db-1 {KEY}"));
    assert_eq!(one, parse(&format!("# moved down\nDB-1   {KEY} comment")));
    assert_ne!(one, parse(&format!("db-2 {KEY}")));
    assert_ne!(one, parse(&format!("@revoked db-1 {KEY}")));
}

/// The definition of a wildcard match, as slow as it is obvious.
fn matches_by_definition(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', pattern @ ..], _) => (0..=text.len()).any(|taken| matches_by_definition(pattern, &text[taken..])),
        ([b'?', pattern @ ..], [_, text @ ..]) => matches_by_definition(pattern, text),
        ([wanted, pattern @ ..], [byte, text @ ..]) => wanted == byte && matches_by_definition(pattern, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_by_their_definition(pattern in "[ab*?]{0,8}", text in "[abc]{0,10}") {
        prop_assert_eq!(matches_wildcard(&pattern, &text), matches_by_definition(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = KnownHosts::parse(&text);
    }

    #[test]
    fn anything_like_a_line_is_read_or_refused(
        marker in "(@cert-authority |@revoked |@x )?",
        hosts in "(\\|1\\|[A-Za-z0-9+/=|]{0,40}|[a-z*?!,\\[\\]:]{0,20})",
        kind in "(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256|sk-ssh-ed25519@openssh.com|ssh-ed25519-cert-v01@openssh.com)",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut blob = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(kind.as_bytes());
        blob.extend(body);
        if let Ok(known_hosts) = KnownHosts::parse(&format!("{marker}{hosts} {kind} {}", BASE64_STANDARD.encode(blob))) {
            known_hosts.matching("db-1");
        }
    }

    #[test]
    fn a_plain_name_finds_its_own_line_only(names in proptest::collection::btree_set("[a-z0-9.-]{1,12}", 1..20)) {
        let text: String = names.iter().map(|name| format!("{name} {KEY}\n")).collect();
        let known_hosts = parse(&text);
        for (name, line) in names.iter().zip(1..) {
            prop_assert_eq!(lines(&known_hosts, name, 22), [line]);
        }
    }
}
