//! The types of the `WebShell` resource. Their doc comments are the CRD's descriptions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Duration, SessionLimits};

/// What a DNS-1123 subdomain looks like: the names of Secrets and WebShells.
const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// What a DNS-1123 label looks like: the names of Services and their ports.
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A DNS name or IPv4 address, or an IPv6 address (two colons at least, so that a port put here by mistake is noticed).
const HOST: &str = r"^([0-9A-Za-z_][0-9A-Za-z._-]*|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[0-9A-Za-z._-]+)?)$";

/// Printable ASCII without spaces, and no `-` in front: nothing that a log, a terminal or an option parser takes amiss.
const USER: &str = "^[!-,.-~][!-~]*$";

/// Any text without NUL, which no process environment or command line can hold.
const NO_NUL: &str = r"^[^\x00]*$";

/// Which machine, and how.
#[expect(clippy::duplicated_attributes, reason = "columns of a type each say so")]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "webshell.dev",
    version = "v1alpha1",
    kind = "WebShell",
    plural = "webshells",
    shortname = "wsh",
    namespaced,
    status = "WebShellStatus",
    derive = "PartialEq",
    doc = "A terminal in the browser on a machine that is reached by SSH.",
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Sessions", type_ = "integer", json_path = ".status.activeSessions"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct WebShellSpec {
    /// The machine to reach.
    pub target: Target,
    /// What to log in there with.
    pub credentials: Credentials,
    /// How to recognise the machine, so that no other can take its place.
    pub host_key: HostKey,
    /// How long sessions last, and how many there may be.
    #[serde(default)]
    pub session: Session,
    /// What runs, and in what terminal.
    #[serde(default)]
    pub terminal: Terminal,
}

/// The machine to reach: by `host`, or by `serviceRef`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.host) != has(self.serviceRef)",
    "message": "needs exactly one of host and serviceRef: the machine's address, or a Service that leads to it",
}]))]
pub struct Target {
    /// DNS name, IPv4 address, or IPv6 address without brackets. The port has a field of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOST), extend("example" = "10.0.4.12"))]
    pub host: Option<String>,
    /// A Service of the same namespace that leads to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// TCP port of the SSH server at `host`. A Service names its own.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
    /// The user to log in as. Without it, the Secret's key `username` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = USER), extend("example" = "ops"))]
    pub user: Option<String>,
    /// How long connecting and the SSH handshake may take together: between 1s and 5m.
    #[serde(default = "default_connect_timeout")]
    #[schemars(extend("example" = "10s", "x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('5m')",
        "message": "must be between 1s and 5m",
    }]))]
    pub connect_timeout: Duration,
}

/// A Service of the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL), extend("example" = "db-1"))]
    pub name: String,
    /// Name of its port.
    #[serde(default = "default_port_name")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub port: String,
}

/// What to log in with.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret of the same namespace. Its keys are those of the types kubernetes.io/ssh-auth and kubernetes.io/basic-auth:
    /// `username`, `password`, `ssh-privatekey`; and besides them `passphrase` and `ssh-certificate`. Its annotation
    /// `webshell.dev/allowed-hosts` may list the only hosts that they are sent to.
    pub secret_ref: SecretRef,
}

/// A Secret of the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME), extend("example" = "db-1-ssh"))]
    pub name: String,
}

/// How to recognise the machine.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.policy != 'Strict' || has(self.knownHosts) || has(self.secretRef)",
        "message": "policy Strict needs knownHosts or secretRef: put the machine's host key there, as ssh-keyscan prints it",
    },
    {
        "rule": "!(has(self.knownHosts) && has(self.secretRef))",
        "message": "has both knownHosts and secretRef: remove one of them",
    },
]))]
pub struct HostKey {
    /// Known host keys, in the format of OpenSSH's known_hosts file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub known_hosts: Option<String>,
    /// A Secret that holds them instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// `Strict` connects only to a machine whose key is known. `TrustOnFirstUse` learns the key of one that is not known, and
    /// from then on accepts no other. `Insecure` accepts any key: whoever stands in the middle can read everything.
    #[serde(default)]
    pub policy: HostKeyPolicy,
}

/// A key in a Secret of the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME), extend("example" = "known-hosts"))]
    pub name: String,
    /// Which of its keys.
    #[serde(default = "default_known_hosts_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What happens with a host key that is not known.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Refuse it.
    #[default]
    Strict,
    /// Learn it at the first connection.
    TrustOnFirstUse,
    /// Accept it, whatever it is.
    Insecure,
}

/// How long sessions last, and how many there may be.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// Ends a session in which nobody has typed for this long. At most 720h; "0" switches the limit off.
    #[schemars(extend("x-kubernetes-validations" = [limit_rule()]))]
    pub idle_timeout: Duration,
    /// Ends a session this long after it began. At most 720h; "0" switches the limit off.
    #[schemars(extend("x-kubernetes-validations" = [limit_rule()]))]
    pub max_duration: Duration,
    /// How long a session waits for a browser that has gone away. At most 720h; with "0" it waits until another limit ends it.
    #[schemars(extend("x-kubernetes-validations" = [limit_rule()]))]
    pub detach_timeout: Duration,
    /// How many sessions there may be at once; 0 switches the limit off.
    #[schemars(range(min = 0, max = 10000), extend("format" = "int32"))]
    pub max_sessions: u32,
}

/// What runs, and in what terminal.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminal {
    /// `TERM` on the machine.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Za-z][0-9A-Za-z._+-]*$"))]
    pub term: String,
    /// Environment variables. An SSH server takes only those that it is configured to accept, and ignores the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<EnvVar>,
    /// A command to run instead of the user's shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), regex(pattern = NO_NUL), extend("example" = "tmux new-session -A -s main"))]
    pub command: Option<String>,
    /// Whether programs may write to the browser's clipboard (OSC 52). They can never read it.
    pub clipboard_write: bool,
}

/// An environment variable.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"), extend("example" = "LANG"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096), regex(pattern = NO_NUL), extend("example" = "C.UTF-8"))]
    pub value: String,
}

/// What is known of a WebShell.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebShellStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The machine, as `host:port` or `service/name:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub target: Option<String>,
    /// The host keys that were learned under the policy `TrustOnFirstUse`, in the format of OpenSSH's known_hosts file.
    /// To let the machine have another key, remove this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub host_key: Option<String>,
    /// Where the terminal is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Sessions of all gateways together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub active_sessions: Option<i32>,
    /// What each gateway pod has to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub gateways: Vec<GatewayStatus>,
    /// The state of things, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// What a gateway pod has to tell.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Name of the pod.
    #[schemars(length(min = 1, max = 253))]
    pub pod: String,
    /// Its sessions.
    #[schemars(range(min = 0))]
    pub active_sessions: i32,
}

fn default_port() -> u16 {
    22
}

fn default_port_name() -> String {
    "ssh".to_owned()
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_known_hosts_key() -> String {
    "known_hosts".to_owned()
}

/// The bounds of a limit that "0" switches off.
fn limit_rule() -> Value {
    json!({
        "rule": "duration(self) == duration('0s') || (duration(self) >= duration('1s') && duration(self) <= duration('720h'))",
        "message": "must be between 1s and 720h, or 0 for no limit",
    })
}

/// `metav1.Condition` as the API conventions have it; a map by type, so that each writer owns its own conditions.
fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "A sentence for people; may be empty.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the spec that this condition speaks of.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, as one word for programs.",
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is so.",
                },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "What the condition is about.",
                },
            },
        },
    })
}

/// Whether `spec.target.user` could be this. A user name that comes from a Secret passes no schema.
pub fn is_user_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

// === impl Session ===

impl Default for Session {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            max_duration: Duration::from_secs(8 * 3600),
            detach_timeout: Duration::from_secs(5 * 60),
            max_sessions: 16,
        }
    }
}

impl Session {
    /// The limits as the gateway keeps them.
    pub fn limits(&self) -> SessionLimits {
        SessionLimits {
            idle: self.idle_timeout.limit(),
            maximum: self.max_duration.limit(),
            detach: self.detach_timeout.limit(),
            sessions: (self.max_sessions > 0).then_some(self.max_sessions),
        }
    }
}

// === impl Terminal ===

impl Default for Terminal {
    fn default() -> Self {
        Self { term: "xterm-256color".to_owned(), env: Vec::new(), command: None, clipboard_write: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn user_names_of_secrets_and_of_specs_are_the_same(text in "[ -~\\n\u{e9}]{0,4}|[a-z]{127,130}") {
            let schema = json!({"minLength": 1, "maxLength": 128, "pattern": USER});
            prop_assert_eq!(is_user_name(&text), jsonschema::is_valid(&schema, &text.into()));
        }
    }
}
