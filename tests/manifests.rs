//! Manifests as `webshell local` takes them: what works, and how each error reads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{fs, path::Path, time::Duration};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use webshell::{
    catalog::{Access, Change, ShellKey},
    local::manifests::{Manifests, Reading},
    ssh::HostKeyPolicy,
};

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIHB1dCB5b3VyIG93biBob3N0J3Mga2V5IGhlcmUsIE9L";
const CANARY: &str = "canary-7f3a";

/// Reads files of these names and texts, given as one directory.
fn read(files: &[(&str, &str)]) -> Reading {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut reading = read_path(directory.path());
    let prefix = format!("{}/", directory.path().display());
    reading.problems.iter_mut().for_each(|problem| *problem = problem.replace(&prefix, ""));
    reading
}

fn read_path(path: &Path) -> Reading {
    Manifests::new(vec![path.to_owned()], Some("/nonexistent/known_hosts".into())).unwrap().read()
}

fn key(namespace: &str, name: &str) -> ShellKey {
    ShellKey { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn access(reading: &Reading, namespace: &str, name: &str) -> Access {
    assert_eq!(reading.problems, [] as [String; 0]);
    Access::clone(reading.catalog.shells[&key(namespace, name)].access.as_ref().unwrap())
}

fn shell() -> Value {
    json!({
        "apiVersion": "webshell.dev/v1alpha1",
        "kind": "WebShell",
        "metadata": {"name": "db-1", "namespace": "team-a"},
        "spec": {
            "target": {"host": "10.0.4.12", "user": "ops"},
            "credentials": {"secretRef": {"name": "login"}},
            "hostKey": {"knownHosts": format!("10.0.4.12 ssh-ed25519 {KEY}")},
        },
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": "team-a"},
        "stringData": {"username": "root", "password": CANARY},
    })
}

/// The shell with a field set to a value; a path such as `/spec/target/port`.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut object;
    for part in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[part.parse::<usize>().unwrap()],
            object => object.as_object_mut().unwrap().entry(part).or_insert_with(|| json!({})),
        };
    }
    at[field] = value;
    object
}

fn without(mut object: Value, parent: &str, field: &str) -> Value {
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    object
}

/// The problems of these objects, one JSON document each in `m.yaml`. Nothing may show the secret.
fn problems(objects: &[Value]) -> Vec<String> {
    let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    let reading = read(&[("m.yaml", &text)]);
    assert!(!format!("{reading:?}").contains(CANARY), "{reading:?}");
    reading.problems
}

#[test]
fn reads_a_shell_and_its_secret() {
    let yaml = format!(
        "apiVersion: webshell.dev/v1alpha1\nkind: WebShell\nmetadata: {{name: db-1}}\nspec:\n  target: {{host: '::1'}}\n  \
         credentials: {{secretRef: {{name: login}}}}\n  hostKey: {{policy: Insecure}}\n---\napiVersion: v1\nkind: Secret\n\
         metadata: {{name: login}}\ndata: {{username: b3BzCg==, password: eA==}}\nstringData: {{password: {CANARY}}}\n"
    );
    let reading = read(&[("m.yaml", &yaml)]);
    let access = access(&reading, "default", "db-1");
    assert_eq!(reading.catalog.shells[&key("default", "db-1")].target, "ops@[::1]:22");
    assert_eq!(access.target.user, "ops", "a line end in the Secret is no part of the name");
    assert_eq!(access.credentials.password.unwrap().expose_secret(), CANARY, "stringData takes the place of data");
    assert_eq!(access.connect_timeout, Duration::from_secs(10));
    assert_eq!(access.limits.idle, Some(Duration::from_secs(1800)));
    assert_eq!(access.limits.sessions, Some(16));
    assert_eq!(access.program.term, "xterm-256color");
    assert_eq!(access.host_keys.policy, HostKeyPolicy::Insecure);
}

#[test]
fn every_field_arrives() {
    let shell = with(shell(), "/spec/target/port", json!(2222));
    let shell = with(shell, "/spec/target/connectTimeout", json!("1m30s"));
    let shell = with(
        shell,
        "/spec/session",
        json!({"idleTimeout": "0", "maxDuration": "0s", "detachTimeout": "90s", "maxSessions": 0}),
    );
    let terminal =
        json!({"term": "linux", "env": [{"name": "A", "value": "b"}], "command": "top", "clipboardWrite": true});
    let shell = with(shell, "/spec/terminal", terminal);
    let keys = json!({"ssh-privatekey": "k", "passphrase": "p\n", "ssh-certificate": "c"});
    let secret = with(secret(), "/stringData", keys);
    let reading = read(&[("a.json", &shell.to_string()), ("b.yml", &secret.to_string())]);
    let access = access(&reading, "team-a", "db-1");
    assert_eq!((access.target.port, access.target.user.as_str()), (2222, "ops"));
    assert_eq!(access.connect_timeout, Duration::from_secs(90));
    let limits = access.limits;
    assert_eq!((limits.idle, limits.maximum, limits.sessions), (None, None, None));
    assert_eq!(limits.detach, Some(Duration::from_secs(90)));
    assert_eq!(access.program.term, "linux");
    assert_eq!(access.program.env, [("A".to_owned(), "b".to_owned())]);
    assert_eq!(access.program.command.as_deref(), Some("top"));
    assert!(access.clipboard_write);
    assert_eq!(access.credentials.private_key.unwrap().expose_secret(), "k");
    assert_eq!(access.credentials.passphrase.unwrap().expose_secret(), "p");
    assert_eq!(access.credentials.certificate.as_deref(), Some("c"));
    assert!(access.credentials.password.is_none());
}

#[test]
fn lists_are_taken_and_other_kinds_left_out() {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [shell(), secret(), config]});
    let reading = read(&[("m.yaml", &list.to_string()), (".m.yaml", "]"), ("m.txt", "]")]);
    access(&reading, "team-a", "db-1");
    assert!(reading.ignored[0].ends_with(
        "m.yaml, document 1, item 3: ignored, because its kind \"ConfigMap\" is neither WebShell nor Secret"
    ));
}

#[test]
fn what_a_cluster_adds_is_taken() {
    let shell = with(shell(), "/status", json!({"url": "https://x", "conditions": []}));
    let shell = with(shell, "/metadata/managedFields", json!([{"manager": "kubectl"}]));
    let secret = with(secret(), "/immutable", json!(true));
    assert_eq!(problems(&[shell, secret]), [] as [String; 0]);
}

#[test]
fn each_bad_field_is_named_with_its_value_and_the_way_out() {
    let duration = r#"must match ^(0|([0-9]{1,5}(h|m|s|ms)){1,4})$, as "1h30m" does"#;
    let limit = "must be between 1s and 720h, or 0 for no limit";
    let name = r#"must match ^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"#;
    let long = "x".repeat(5000);
    let (host, user) = ("must match ^([0-9A-Za-z_]", "must match ^[!-,.-~][!-~]*$, as \"ops\" does");
    let cases = [
        ("target/host", json!(""), "is \"\": must not be empty"),
        ("target/host", json!("-oProxyCommand=x"), host),
        ("target/host", json!("a b"), host),
        ("target/host", json!("a\n"), host),
        ("target/host", json!("ops@a"), host),
        ("target/host", json!("[::1]"), host),
        ("target/host", json!("a:22"), host),
        ("target/host", json!(long), "must have at most 253 characters"),
        ("target/host", json!(1), "is 1: must be a string; put it in quotes: \"1\""),
        ("target/port", json!(70000), "is 70000: must be between 1 and 65535"),
        ("target/port", json!(0), "is 0: must be between 1 and 65535"),
        ("target/port", json!(-1), "is -1: must be between 1 and 65535"),
        ("target/port", json!(22.5), "is 22.5: must be a whole number"),
        ("target/port", json!("22"), "is \"22\": must be a whole number, without quotes"),
        ("target/user", json!(""), "must not be empty"),
        ("target/user", json!("-l"), user),
        ("target/user", json!("a b"), user),
        ("target/user", json!("a\nb"), user),
        ("target/user", json!("x".repeat(129)), "must have at most 128 characters"),
        ("target/connectTimeout", json!("0"), "is \"0\": must be between 1s and 5m"),
        ("target/connectTimeout", json!("301s"), "is \"301s\": must be between 1s and 5m"),
        ("target/connectTimeout", json!("10"), "must match ^(0|([0-9]{1,5}(h|m|s|ms)){1,4})$, as \"10s\" does"),
        ("credentials/secretRef/name", json!("A_b"), name),
        ("credentials/secretRef/name", json!(""), "must not be empty"),
        ("hostKey/policy", json!("strict"), "is \"strict\": must be one of Strict, TrustOnFirstUse, Insecure"),
        ("hostKey/knownHosts", json!(""), "must not be empty"),
        ("hostKey/knownHosts", json!("x".repeat(65537)), "must have at most 65536 characters"),
        ("hostKey/knownHosts", json!("h ssh-ed25519"), ": line 1: an entry is a host name"),
        ("session/idleTimeout", json!(0), "is 0: must be a string; put it in quotes: \"0\""),
        ("session/idleTimeout", json!(""), "must not be empty"),
        ("session/idleTimeout", json!("soon"), duration),
        ("session/idleTimeout", json!("500ms"), limit),
        ("session/maxDuration", json!("-5m"), duration),
        ("session/maxDuration", json!("721h"), limit),
        ("session/detachTimeout", json!("99999h99999h"), limit),
        ("session/maxSessions", json!(-1), "is -1: must be between 0 and 10000"),
        ("session/maxSessions", json!(10001), "is 10001: must be between 0 and 10000"),
        ("terminal/term", json!(""), "must not be empty"),
        ("terminal/term", json!("a b"), "must match ^[0-9A-Za-z][0-9A-Za-z._+-]*$, as \"xterm-256color\" does"),
        ("terminal/env", json!({"A": "b"}), "is a mapping: must be a list"),
        (
            "terminal/env",
            (0..65).map(|n| json!({"name": format!("A{n}"), "value": ""})).collect(),
            "is a list: must have at most 64 entries",
        ),
        ("terminal/command", json!(""), "must not be empty"),
        ("terminal/command", json!("a\0b"), r"must match ^[^\x00]*$"),
        ("terminal/command", json!(long), "must have at most 4096 characters"),
        ("terminal/clipboardWrite", json!("yes"), "is \"yes\": must be true or false"),
        ("session", json!([]), "is a list: must be a mapping"),
    ];
    for (field, value, expected) in cases {
        let path = format!("m.yaml, document 1 (WebShell team-a/db-1): spec.{}", field.replace('/', "."));
        let problems = problems(&[with(shell(), &format!("/spec/{field}"), value), secret()]);
        assert_eq!(problems.len(), 1, "{field}: {problems:?}");
        let rest = problems[0].strip_prefix(&path).unwrap_or_else(|| panic!("{path} is not named by {}", problems[0]));
        assert!(rest.contains(expected), "{field}: {} does not say {expected}", problems[0]);
    }
}

#[test]
fn list_entries_are_named_by_their_place() {
    let env =
        json!([{"name": "A", "value": "1"}, {"name": "B=", "value": "2"}, {"name": "A", "value": 3}, {"value": ""}]);
    insta::assert_snapshot!(problems(&[with(shell(), "/spec/terminal/env", env), secret()]).join("\n"), @r#"
    m.yaml, document 1 (WebShell team-a/db-1): spec.terminal.env[1].name is "B=": must match ^[A-Za-z_][A-Za-z0-9_]*$, as "LANG" does
    m.yaml, document 1 (WebShell team-a/db-1): spec.terminal.env[2]: the same as spec.terminal.env[0]; remove one of them
    m.yaml, document 1 (WebShell team-a/db-1): spec.terminal.env[2].value is 3: must be a string; put it in quotes: "3"
    m.yaml, document 1 (WebShell team-a/db-1): spec.terminal.env[3].name is missing: Its name.
    "#);
}

#[test]
fn what_is_missing_is_named() {
    let shell = without(
        without(without(shell(), "/spec", "hostKey"), "/spec/target", "host"),
        "/spec/credentials",
        "secretRef",
    );
    insta::assert_snapshot!(problems(&[shell]).join("\n"), @r"
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef is missing: A Secret of the same namespace.
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey is missing: How to recognise the machine, so that no other can take its place.
    m.yaml, document 1 (WebShell team-a/db-1): spec.target: needs exactly one of host and serviceRef: the machine's address, or a Service that leads to it
    ");
    insta::assert_snapshot!(problems(&[without(self::shell(), "", "spec")]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec is missing: Which machine, and how.");
}

#[test]
fn a_machine_is_named_in_one_way_and_a_service_needs_a_cluster() {
    let both = with(shell(), "/spec/target/serviceRef", json!({"name": "db-1"}));
    insta::assert_snapshot!(problems(&[both, secret()]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec.target: needs exactly one of host and serviceRef: the machine's address, or a Service that leads to it");
    let service = with(shell(), "/spec/target", json!({"serviceRef": {"name": "db-1"}}));
    insta::assert_snapshot!(problems(&[service, secret()]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec.target.serviceRef: a Service can be reached in its cluster only; give host");
}

#[test]
fn host_keys_must_be_pinned_or_the_policy_say_otherwise() {
    let none = with(shell(), "/spec/hostKey", json!({}));
    let both = with(shell(), "/spec/hostKey/secretRef", json!({"name": "login"}));
    let comment = with(shell(), "/spec/hostKey/knownHosts", json!("# to do"));
    let insecure = with(shell(), "/spec/hostKey", json!({"policy": "Insecure"}));
    insta::assert_snapshot!(problems(&[none, secret()]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey: policy Strict needs knownHosts or secretRef: put the machine's host key there, as ssh-keyscan prints it");
    insta::assert_snapshot!(problems(&[both, secret()]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey: has both knownHosts and secretRef: remove one of them");
    insta::assert_snapshot!(problems(&[comment, secret()]).join("\n"), @"m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.knownHosts: policy Strict needs a known host key, but there is none in the text; put there what ssh-keyscan prints");
    assert_eq!(problems(&[insecure, secret()]), [] as [String; 0]);
}

#[test]
fn unknown_fields_are_errors() {
    let shell = with(shell(), "/spec/target/prot", json!(22));
    let shell = with(shell, "/spec/tunnel", json!({}));
    let shell = with(shell, "/metadata/namspace", json!("team-b"));
    let secret = with(secret(), "/stringdata", json!({"password": CANARY}));
    insta::assert_snapshot!(problems(&[shell, secret]).join("\n"), @r"
    m.yaml, document 2 (Secret team-a/login): stringdata is no field; did you mean stringData?
    m.yaml, document 1 (WebShell team-a/db-1): metadata.namspace is no field; did you mean namespace?
    m.yaml, document 1 (WebShell team-a/db-1): spec.target.prot is no field; did you mean port?
    m.yaml, document 1 (WebShell team-a/db-1): spec.tunnel is no field; the fields here are credentials, hostKey, session, target, terminal
    ");
}

#[test]
fn objects_are_named_as_kubernetes_demands() {
    for (field, value) in
        [("name", ""), ("name", "Db"), ("name", "-a"), ("name", "a..b"), ("namespace", "a.b"), ("namespace", "A")]
    {
        let problems = problems(&[with(shell(), &format!("/metadata/{field}"), json!(value)), secret()]);
        assert!(
            problems[0].starts_with(&format!("m.yaml, document 1 (WebShell): metadata.{field} is {value:?}: must be")),
            "{problems:?}"
        );
    }
    assert_eq!(problems(&[with(shell(), "/metadata/name", json!("db-1.example")), secret()]), [] as [String; 0]);
    insta::assert_snapshot!(problems(&[without(shell(), "/metadata", "name")]).join("\n"), @"m.yaml, document 1 (WebShell): metadata.name is missing: give the object a name");
}

#[test]
fn what_is_no_object_is_named() {
    let wrong_version = with(shell(), "/apiVersion", json!("webshell.dev/v1"));
    let wrong_kind = with(shell(), "/kind", json!("Webshell"));
    let wrong_secret = with(secret(), "/apiVersion", json!("v2"));
    let no_kind = without(secret(), "", "kind");
    let no_version = without(secret(), "", "apiVersion");
    let list = json!({"apiVersion": "v1", "kind": "List"});
    insta::assert_snapshot!(problems(&[json!("text"), wrong_version, wrong_kind, wrong_secret, no_kind, no_version, list]).join("\n"), @r#"
    m.yaml, document 1: is no object: begin with apiVersion and kind
    m.yaml, document 2: apiVersion is "webshell.dev/v1": must be webshell.dev/v1alpha1 for a WebShell
    m.yaml, document 3: kind is "Webshell": must be WebShell
    m.yaml, document 4: apiVersion is "v2": must be v1 for a Secret
    m.yaml, document 5: kind is missing: write WebShell or Secret
    m.yaml, document 6: apiVersion is missing: it is webshell.dev/v1alpha1 for a WebShell, v1 for a Secret
    m.yaml, document 7: items is missing: a List has its objects there
    "#);
}

#[test]
fn duplicates_name_both_places() {
    let text = format!("{}\n---\n{}\n", shell(), secret());
    let reading = read(&[("a.yaml", &text), ("b.yaml", &text)]);
    insta::assert_snapshot!(reading.problems.join("\n"), @r"
    b.yaml, document 2 (Secret team-a/login): the same is in a.yaml, document 2; remove one of them
    b.yaml, document 1 (WebShell team-a/db-1): the same is in a.yaml, document 1; remove one of them
    ");
    assert!(reading.catalog.shells[&key("team-a", "db-1")].access.is_err());
}

#[test]
fn secrets_that_cannot_be_used_say_so_without_their_values() {
    let coded = with(secret(), "/data", json!({"password": CANARY, "ok": "eA==", "number": 5}));
    let numbers = with(secret(), "/stringData", json!({"password": 1234}));
    let key = with(secret(), "/type", json!("kubernetes.io/ssh-auth"));
    let basic = with(with(secret(), "/type", json!("kubernetes.io/basic-auth")), "/stringData", json!({}));
    let large = with(secret(), "/stringData/password", json!(CANARY.repeat(200_000)));
    let odd_key = with(secret(), "/stringData/a b", json!(CANARY));
    let binary = with(secret(), "/data", json!({"passphrase": "/w=="}));
    let no_mapping = with(secret(), "/stringData", json!(CANARY));
    let nobody = with(secret(), "/stringData", json!({"password": CANARY}));
    let odd_user = with(secret(), "/stringData", json!({"username": format!("{CANARY} x")}));
    let all = [coded, numbers, key, basic, large, odd_key, binary, no_mapping, nobody, odd_user];
    let all = all.map(|secret| problems(&[without(shell(), "/spec/target", "user"), secret]).join("\n"));
    insta::assert_snapshot!(all.join("\n\n"), @r#"
    m.yaml, document 2 (Secret team-a/login): data.number: must be Base64; write plain text under stringData instead
    m.yaml, document 2 (Secret team-a/login): data.password: must be Base64; write plain text under stringData instead
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: data.number: must be Base64; write plain text under stringData instead; data.password: must be Base64; write plain text under stringData instead

    m.yaml, document 2 (Secret team-a/login): stringData.password: must be a string; put it in quotes
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: stringData.password: must be a string; put it in quotes

    m.yaml, document 2 (Secret team-a/login): stringData: has no ssh-privatekey, which its type requires
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: stringData: has no ssh-privatekey, which its type requires

    m.yaml, document 2 (Secret team-a/login): stringData: has no username or password, one of which its type requires
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: stringData: has no username or password, one of which its type requires

    m.yaml, document 2 (Secret team-a/login): data: more than 1 MiB; remove what is not needed
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: data: more than 1 MiB; remove what is not needed

    m.yaml, document 2 (Secret team-a/login): data."a b": a key must be letters, digits, -, _ and ., at most 253 of them
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: data."a b": a key must be letters, digits, -, _ and ., at most 253 of them

    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef: key passphrase of Secret login must be UTF-8 text

    m.yaml, document 2 (Secret team-a/login): stringData: must be a mapping
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name: Secret team-a/login cannot be used: stringData: must be a mapping

    m.yaml, document 1 (WebShell team-a/db-1): spec.target.user is missing: Secret login has no key username either; give one of them

    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef: key username of Secret login must be 1 to 128 letters, digits or signs without spaces, not beginning with -
    "#);
}

#[test]
fn secrets_that_are_missing_are_named() {
    let elsewhere = with(secret(), "/metadata/namespace", json!("team-b"));
    let known = with(shell(), "/spec/hostKey", json!({"secretRef": {"name": "hosts"}}));
    insta::assert_snapshot!(problems(&[known, elsewhere]).join("\n"), @r#"
    m.yaml, document 1 (WebShell team-a/db-1): spec.credentials.secretRef.name is "login": there is no such Secret in namespace team-a; add it to the manifests
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef.name is "hosts": there is no such Secret in namespace team-a; add it to the manifests
    "#);
}

#[test]
fn known_hosts_from_secrets() {
    let shell = with(shell(), "/spec/hostKey", json!({"secretRef": {"name": "login", "key": "hosts"}}));
    let secret = |hosts: &str| with(secret(), "/stringData/hosts", json!(hosts));
    assert_eq!(problems(&[shell.clone(), secret(&format!("10.0.4.12 ssh-ed25519 {KEY}"))]), [] as [String; 0]);
    // Whoever names the wrong key may have named one with a secret.
    let all = ["", "# none", CANARY, &format!("@{CANARY} a b c"), &format!("|{CANARY} ssh-ed25519 {KEY}")];
    let all = all.map(|hosts| problems(&[shell.clone(), secret(hosts)]).join("\n"));
    insta::assert_snapshot!(all.join("\n"), @r"
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef: key hosts of Secret login is missing or empty; put the machine's host key there
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef: policy Strict needs a known host key, but there is none in the text; put there what ssh-keyscan prints
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef: key hosts of Secret login has no known_hosts entry in line 1; copy it as ssh-keyscan prints it
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef: key hosts of Secret login has no known_hosts entry in line 1; copy it as ssh-keyscan prints it
    m.yaml, document 1 (WebShell team-a/db-1): spec.hostKey.secretRef: key hosts of Secret login has no known_hosts entry in line 1; copy it as ssh-keyscan prints it
    ");
}

#[test]
fn a_secret_says_where_its_credentials_may_be_sent() {
    let listing = |hosts: Value| with(secret(), "/metadata/annotations", json!({"webshell.dev/allowed-hosts": hosts}));
    let reading = |hosts: Value| read(&[("m.yaml", &format!("{}\n---\n{}\n", shell(), listing(hosts)))]);
    access(&reading(json!("*.example.com, 10.0.4.0/24")), "team-a", "db-1");
    let named = with(shell(), "/spec/target/host", json!("db-1.example.com"));
    let text = format!("{named}\n---\n{}\n", listing(json!("10.0.4.12")));
    let admission = access(&read(&[("m.yaml", &text)]), "team-a", "db-1").admission;
    assert!(admission.check("10.0.4.12:22".parse().unwrap()).is_ok());
    assert!(admission.check("10.0.4.13:22".parse().unwrap()).is_err());

    let refused = ["db-1.example.com 10.0.4.13", "10.0.4.12:22", " ", "\u{202e}"].map(|hosts| {
        let reading = reading(json!(hosts));
        let obstacle = reading.catalog.shells[&key("team-a", "db-1")].access.as_ref().unwrap_err();
        format!("{}: {}", obstacle.reason.name(), obstacle.message)
    });
    insta::assert_snapshot!(refused.join("\n"), @r#"
    host-not-allowed: spec.target.host is "10.0.4.12": annotation webshell.dev/allowed-hosts of Secret login does not list it; name a host that it lists, or have it list this one
    invalid: spec.credentials.secretRef: annotation webshell.dev/allowed-hosts of Secret login has the entry "10.0.4.12:22"; write names, domains, addresses and networks there, such as db-1.example.com, *.example.com, 10.0.4.12 or 10.0.0.0/8
    invalid: spec.credentials.secretRef: annotation webshell.dev/allowed-hosts of Secret login lists no host; list some, or remove the annotation to allow any
    invalid: spec.credentials.secretRef: annotation webshell.dev/allowed-hosts of Secret login has the entry "\u{202e}"; write names, domains, addresses and networks there, such as db-1.example.com, *.example.com, 10.0.4.12 or 10.0.0.0/8
    "#);
    insta::assert_snapshot!(reading(json!(1)).problems[0], @"m.yaml, document 2 (Secret team-a/login): metadata.annotations: must be a mapping of strings; put values in quotes");
}

#[test]
fn one_bad_object_hurts_no_other() {
    let bad = with(with(shell(), "/metadata/name", json!("bad")), "/spec/target/port", json!(0));
    let text = format!("{bad}\n---\n{}\n---\n{}\n", shell(), secret());
    let reading = read(&[("m.yaml", &text), ("n.yaml", "a: [")]);
    assert_eq!(reading.problems.len(), 2, "{:?}", reading.problems);
    assert!(reading.catalog.shells[&key("team-a", "db-1")].access.is_ok());
    let reason = reading.catalog.shells[&key("team-a", "bad")].access.as_ref().unwrap_err();
    assert_eq!(reason.message, "spec.target.port is 0: must be between 1 and 65535");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let large = "#".repeat(4 * 1024 * 1024 + 1);
    let reading = read(&[("large.yaml", &large), ("syntax.yaml", "a: 1\n---\nb: 2\nc: [\n")]);
    insta::assert_snapshot!(reading.problems.join("\n"), @r"
    large.yaml: cannot be read: larger than the 4 MiB that are read of a file
    syntax.yaml, document 2, line 4: not valid YAML: unclosed bracket '['
    ");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("m.yaml"), b"a: \xff").unwrap();
    for (path, expected) in
        [("m.yaml", "m.yaml: cannot be read: not UTF-8 text"), ("n.yaml", "give the path of a manifest")]
    {
        let problems = read_path(&directory.path().join(path)).problems;
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
    assert!(read(&[]).problems[0].starts_with("there is no WebShell in "));
}

#[test]
fn what_ends_sessions_is_compared_by_content() {
    let read = |shell: &Value, secret: &Value| {
        access(&read(&[("m.yaml", &format!("{shell}\n---\n{secret}"))]), "team-a", "db-1")
    };
    let before = read(&shell(), &secret());
    let after = |pointer: &str, value: Value| before.change(&read(&with(shell(), pointer, value), &secret()));
    assert_eq!(after("/spec/session/idleTimeout", json!("5m")), None);
    assert_eq!(after("/spec/target/port", json!(2222)), Some(Change::Target));
    assert_eq!(after("/spec/target/user", json!("root")), Some(Change::Target));
    assert_eq!(after("/spec/hostKey/knownHosts", json!(format!("# c\n10.0.4.12 ssh-ed25519 {KEY}"))), None);
    assert_eq!(after("/spec/hostKey/knownHosts", json!(format!("* ssh-ed25519 {KEY}"))), Some(Change::HostKeys));
    assert_eq!(after("/spec/hostKey", json!({"policy": "Insecure"})), Some(Change::HostKeys));
    let other = with(secret(), "/stringData/password", json!("other"));
    assert_eq!(before.change(&read(&shell(), &other)), Some(Change::Credentials));
}

#[test]
fn examples_load() {
    let reading = read_path(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"));
    assert_eq!(reading.problems, [] as [String; 0]);
    assert_eq!(reading.ignored, [] as [String; 0]);
    let shells: Vec<_> = reading.catalog.shells.values().map(|entry| entry.target.as_str()).collect();
    assert_eq!(
        shells,
        ["ops@db-1.example.com:22", "ops@127.0.0.1:22", "ops@192.0.2.11:22", "ops@vm-2.internal.example.com:2222"]
    );
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            assert_eq!(read_path(&path).problems, [] as [String; 0], "{} does not stand alone", path.display());
        }
    }
}
