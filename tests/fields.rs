//! Every field of a WebShell's spec with empty, extreme and invalid values: what a real API server says of them, `webshell local`
//! says too, and what is stored can be judged by the controller.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support {
    pub mod api_server;
}

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::{
    Api, Error,
    api::{DynamicObject, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use support::api_server::ApiServer;
use tempfile::TempDir;
use webshell::{
    api::{WebShell, WebShellSpec, crd},
    config::{self, Config},
    controller::validate::{Verdict, validate},
    local::manifests::Manifests,
};

const KNOWN_HOSTS: &str = "10.0.4.12 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHB1dCB5b3VyIG93biBob3N0J3Mga2V5IGhlcmUsIE9L";

/// What is to be said of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Everybody takes it.
    Taken,
    /// Everybody takes it but `webshell local`, which has no cluster.
    TakenInClusters,
    /// An API server cannot tell; controller and `webshell local` refuse it.
    Told,
    /// Nobody takes it.
    Refused,
}
use Expected::{Refused, Taken, TakenInClusters, Told};

/// Who judges.
struct Judges {
    shells: Api<DynamicObject>,
    config: Config,
    local: Manifests,
    directory: TempDir,
}

impl Judges {
    async fn call() -> Self {
        let server = ApiServer::shared().await;
        let kind = ApiResource::erase::<WebShell>(&());
        let settings = "gateway: {image: 'webshell:1'}\nroute: {kind: None, mode: Path, host: shell.example.com}\n";
        let directory = tempfile::tempdir().unwrap();
        let learned = directory.path().join("known_hosts");
        Self {
            shells: Api::namespaced_with(server.client(), &server.namespace().await, &kind),
            config: config::parse("config", settings).unwrap(),
            local: Manifests::new(vec![Self::file(&directory)], Some(learned)).unwrap(),
            directory,
        }
    }

    fn file(directory: &TempDir) -> PathBuf {
        directory.path().join("manifests.json")
    }

    /// What the API server would store, or what it says against it.
    async fn server(&self, spec: &Value) -> Result<Value, String> {
        let kind = ApiResource::erase::<WebShell>(&());
        let shell = DynamicObject::new("vm", &kind).data(json!({"spec": spec}));
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match self.shells.create(&dry_run, &shell).await {
            Ok(shell) => Ok(shell.data["spec"].clone()),
            Err(Error::Api(status)) if status.code == 422 => Err(status.message),
            Err(other) => panic!("{other}"),
        }
    }

    /// What the controller says against what is stored.
    fn controller(&self, stored: Value) -> Option<String> {
        let spec: WebShellSpec = serde_json::from_value(stored).expect("what is stored can be read");
        match validate(&spec, &self.config) {
            Verdict::Accepted => None,
            Verdict::Invalid(problem) | Verdict::Forbidden(problem) => Some(problem),
        }
    }

    /// What `webshell local` says against it, where the Secrets that it names exist.
    fn local(&mut self, spec: &Value) -> Option<String> {
        let object = |kind: &str, version: &str, name: &Value, field: &str, content: &Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, field: content});
        let of_login = &spec["credentials"]["secretRef"]["name"];
        let of_host_keys = &spec["hostKey"]["secretRef"];
        let key = of_host_keys["key"].as_str().unwrap_or("known_hosts");
        let login = json!({"username": "ops", "password": "x"});
        let mut objects = vec![object("WebShell", "webshell.dev/v1alpha1", &"vm".into(), "spec", spec)];
        objects.push(object("Secret", "v1", of_login, "stringData", &login));
        if of_host_keys["name"].is_string() {
            objects.push(object("Secret", "v1", &of_host_keys["name"], "stringData", &json!({key: KNOWN_HOSTS})));
        }
        let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        fs::write(Self::file(&self.directory), text).unwrap();
        let problems = self.local.read().problems;
        (!problems.is_empty()).then(|| problems.join("\n"))
    }

    /// Asks all, and holds what they say against what is expected.
    async fn judge(&mut self, field: &str, value: &Value, expected: Expected) {
        let spec = with(field, value);
        let path = format!("spec.{}", field.replace("[]", "[0]"));
        let shown: String = value.to_string().chars().take(80).collect();
        let (server, controller) = match self.server(&spec).await {
            Ok(stored) => (None, self.controller(stored)),
            Err(complaint) => (Some(complaint), None),
        };
        let local = self.local(&spec);
        let refused = (server.is_some(), controller.is_some(), local.is_some());
        let wanted = match expected {
            Taken => (false, false, false),
            TakenInClusters => (false, false, true),
            Told => (false, true, true),
            Refused => (true, false, true),
        };
        let said = format!("{path} = {shown}\nserver: {server:?}\ncontroller: {controller:?}\nlocal: {local:?}");
        assert_eq!(refused, wanted, "{said}");
        // Without a cluster the whole reference is at fault.
        let at_fault = if expected == TakenInClusters { "spec.target.serviceRef" } else { &path };
        for complaint in [&server, &controller, &local].into_iter().flatten() {
            assert!(names(complaint, at_fault), "the field is not named\n{said}");
        }
    }
}

/// Whether a complaint names a field: by its path, or by that of what it belongs to and its own name.
fn names(complaint: &str, path: &str) -> bool {
    let (parent, name) = path.rsplit_once('.').unwrap();
    complaint.contains(path) || (complaint.contains(parent) && complaint.contains(name))
}

/// A spec that everybody takes, with a field set; what would contradict it is left out.
fn with(field: &str, value: &Value) -> Value {
    let mut spec = json!({
        "target": {"host": "10.0.4.12", "user": "ops"},
        "credentials": {"secretRef": {"name": "login"}},
        "hostKey": {"knownHosts": KNOWN_HOSTS},
    });
    if field.starts_with("target.serviceRef") {
        spec["target"] = json!({"serviceRef": {"name": "db-1"}, "user": "ops"});
    }
    if field.starts_with("hostKey.secretRef") {
        spec["hostKey"] = json!({"secretRef": {"name": "known-hosts"}});
    }
    if field.starts_with("terminal.env[]") {
        spec["terminal"] = json!({"env": [{"name": "A", "value": "b"}]});
    }
    let mut at = &mut spec;
    for part in field.split('.') {
        at = match part.strip_suffix("[]") {
            Some(list) => &mut at[list][0],
            None => &mut at[part],
        };
    }
    *at = value.clone();
    spec
}

/// All fields below `spec`, with their schemas: `target`, `target.host`, …, `terminal.env[]`, ….
fn fields() -> BTreeMap<String, JSONSchemaProps> {
    fn walk(path: &str, schema: &JSONSchemaProps, found: &mut BTreeMap<String, JSONSchemaProps>) {
        for (name, property) in schema.properties.iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, property, found);
            found.insert(path, property.clone());
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            let path = format!("{path}[]");
            walk(&path, items, found);
            found.insert(path, (**items).clone());
        }
    }
    let versions = crd().spec.versions;
    let schema = versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let mut found = BTreeMap::new();
    walk("", &schema.properties.unwrap()["spec"], &mut found);
    found
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|&text| text.into()).collect()
}

/// A text of so many characters.
fn long(length: usize) -> String {
    "x".repeat(length)
}

/// Names in DNS; `most` is their greatest length.
fn dns_names(most: usize) -> (Vec<Value>, Vec<Value>) {
    let good = texts(&["a", "db-1", "1", &long(most)]);
    let bad = texts(&["", &long(most + 1), "A", "a_b", "-a", "a-", "a b", "a\n", "\u{e4}", "a\0", "../a", "a/b"]);
    (good, bad)
}

/// Limits of a session.
fn limits() -> (Vec<Value>, Vec<Value>) {
    let good = texts(&["0", "0s", "0h0m", "1s", "1000ms", "720h", "719h60m", "1h2m3s4ms"]);
    let bad = texts(&[
        "",
        "00",
        "1",
        "999ms",
        "720h1ms",
        "-1s",
        "+1s",
        "1.5h",
        "1d",
        "1H",
        " 1s",
        "1s\n",
        "soon",
        "100000s",
        "1h1h1h1h1h",
        "99999h99999h99999h99999h",
        "\u{ff11}s",
    ]);
    (good, bad)
}

/// Every field with values, and what is to be said of them. Values of another type are the same for all and come besides.
fn table() -> Vec<(&'static str, Expected, Vec<Value>)> {
    let mut rows = Vec::new();
    let mut row = |field, expected, values: Vec<Value>| rows.push((field, expected, values));

    let nothing = || vec![Value::Null, json!({})];
    for field in ["target", "target.serviceRef", "credentials", "credentials.secretRef", "hostKey", "hostKey.secretRef"]
    {
        row(field, Refused, nothing());
    }
    row("terminal.env[]", Refused, nothing());
    for field in ["session", "terminal"] {
        row(field, Taken, nothing());
    }

    let hosts = ["10.0.4.12", "a", "db-1.example.com", "_a._tcp.b", "fd00::1", "fe80::1%eth0", &long(253)];
    row("target.host", Taken, texts(&hosts));
    let no_hosts = [
        "",
        &long(254),
        "a b",
        "[fd00::1]",
        "a:22",
        "ops@a",
        "-oProxyCommand=x",
        "ssh://a",
        "a/b",
        "$(a)",
        "a\n",
        "a\0",
        "\u{e4}",
        "a\u{202e}b",
    ];
    row("target.host", Refused, texts(&no_hosts));
    row("target.host", Refused, vec![Value::Null]);
    for (field, default) in [("target.serviceRef.name", Refused), ("target.serviceRef.port", TakenInClusters)] {
        let (good, bad) = dns_names(63);
        row(field, TakenInClusters, good);
        row(field, Refused, bad);
        row(field, Refused, texts(&["a.b"]));
        row(field, default, vec![Value::Null]);
    }
    row("target.port", Taken, vec![json!(1), json!(65535), json!(22.0), Value::Null]);
    let numbers = [0, -1, 65536, i64::from(i32::MAX) + 1, i64::from(u32::MAX) + 23, i64::MIN, i64::MAX];
    row("target.port", Refused, numbers.map(Value::from).to_vec());
    row("target.port", Refused, vec![json!(1e300), json!(-0.5)]);
    row("target.user", Taken, texts(&["ops", "x-y", "DOMAIN\\ops", "~!$\"'", &long(128)]));
    row("target.user", Taken, vec![Value::Null]);
    row("target.user", Refused, texts(&["", &long(129), "-l", "a b", "a\n", "a\0", "\u{e4}", "a\u{1b}[0m", "\u{7f}"]));
    row("target.connectTimeout", Taken, texts(&["1s", "1500ms", "5m", "4m60s"]));
    row("target.connectTimeout", Taken, vec![Value::Null]);
    row("target.connectTimeout", Refused, texts(&["", "0", "0s", "999ms", "5m1ms", "1h", "-1s", "1.5s", "10", "1d"]));

    let (good, bad) = dns_names(253);
    for field in ["credentials.secretRef.name", "hostKey.secretRef.name"] {
        row(field, Taken, good.clone());
        row(field, Taken, texts(&["a.b-c"]));
        row(field, Refused, bad.clone());
        row(field, Refused, texts(&["a.", ".a", "a..b"]));
        row(field, Refused, vec![Value::Null]);
    }
    row("hostKey.secretRef.key", Taken, texts(&["known_hosts", "A.b-c_1", &long(253)]));
    row("hostKey.secretRef.key", Taken, vec![Value::Null]);
    row("hostKey.secretRef.key", Refused, texts(&["", &long(254), "a/b", "a b", "a\n", "\u{e4}"]));
    let padded = format!("{KNOWN_HOSTS}\n#{}", long(65536 - KNOWN_HOSTS.len() - 2));
    row("hostKey.knownHosts", Taken, texts(&[KNOWN_HOSTS, &format!("# one\r\n\r\n{KNOWN_HOSTS}\r\n"), &padded]));
    row("hostKey.knownHosts", Told, texts(&["nonsense", "# nothing", "\n", "a\0b", "10.0.4.12 ssh-ed25519 AAAA"]));
    row("hostKey.knownHosts", Refused, texts(&["", &format!("{padded}x")]));
    row("hostKey.knownHosts", Refused, vec![Value::Null]);
    row("hostKey.policy", Taken, texts(&["Strict", "TrustOnFirstUse", "Insecure"]));
    row("hostKey.policy", Taken, vec![Value::Null]);
    row("hostKey.policy", Refused, texts(&["", "strict", "Strict ", "None", &long(10_000)]));

    for field in ["session.idleTimeout", "session.maxDuration", "session.detachTimeout"] {
        let (good, bad) = limits();
        row(field, Taken, good);
        row(field, Taken, vec![Value::Null]);
        row(field, Refused, bad);
    }
    row("session.maxSessions", Taken, vec![json!(0), json!(1), json!(10_000), Value::Null]);
    let numbers = [-1, 10_001, i64::from(i32::MAX) + 1, i64::from(u32::MAX) + 2, i64::MIN, i64::MAX];
    row("session.maxSessions", Refused, numbers.map(Value::from).to_vec());

    row("terminal.term", Taken, texts(&["xterm-256color", "a", "9", "a.b_c+d", &long(64)]));
    row("terminal.term", Taken, vec![Value::Null]);
    row("terminal.term", Refused, texts(&["", &long(65), "-a", "a b", "a;b", "a\n", "a\0", "\u{e4}", "../a"]));
    let variable = |number: usize| json!({"name": format!("A{number}"), "value": ""});
    row("terminal.env", Taken, vec![json!([]), Value::Null, (0..64).map(variable).collect()]);
    row("terminal.env", Refused, vec![(0..65).map(variable).collect(), json!([variable(1), variable(1)])]);
    row("terminal.env[].name", Taken, texts(&["A", "_a1", &long(128)]));
    row("terminal.env[].name", Refused, texts(&["", &long(129), "1A", "A=B", "A B", "A\n", "A\0", "\u{c4}"]));
    row("terminal.env[].name", Refused, vec![Value::Null]);
    row("terminal.env[].value", Taken, texts(&["", "a\nb\u{1b}\u{e4}", &"\u{e4}".repeat(4096)]));
    row("terminal.env[].value", Refused, texts(&[&"\u{e4}".repeat(4097), "a\0b"]));
    row("terminal.env[].value", Refused, vec![Value::Null]);
    row("terminal.command", Taken, texts(&["ls", "a\nb; c \u{e4}", &long(4096)]));
    row("terminal.command", Taken, vec![Value::Null]);
    row("terminal.command", Refused, texts(&["", &long(4097), "a\0b"]));
    row("terminal.clipboardWrite", Taken, vec![json!(true), json!(false), Value::Null]);
    row("terminal.clipboardWrite", Refused, vec![json!("true"), json!(1), json!("")]);
    rows
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn everybody_says_the_same_of_every_field() {
    let rows = table();
    let fields = fields();
    let known: BTreeSet<_> = fields.keys().map(String::as_str).collect();
    let tried: BTreeSet<_> = rows.iter().map(|(field, ..)| *field).collect();
    assert_eq!(tried, known, "each field has values to be tried");
    let mut judges = Judges::call().await;
    for (field, expected, values) in rows {
        for value in values {
            judges.judge(field, &value, expected).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn values_of_another_type_are_refused_by_everybody() {
    let mut judges = Judges::call().await;
    let values = [
        ("string", json!("x")),
        ("integer", json!(7)),
        ("number", json!(1.5)),
        ("boolean", json!(true)),
        ("array", json!([])),
        ("array", json!([1])),
        ("object", json!({})),
        ("object", json!({"a": {}})),
    ];
    for (field, schema) in fields() {
        let own = schema.type_.unwrap();
        for (_, value) in values.iter().filter(|(kind, _)| *kind != own) {
            judges.judge(&field, value, Refused).await;
        }
    }
}
