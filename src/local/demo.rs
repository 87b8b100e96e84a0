//! The demo target as a shell like any other.

use std::sync::Arc;

use crate::{
    api::{self, Duration},
    catalog::{Access, Entry, ShellKey},
    ssh::{
        Admission, Credentials, Demo, HostKeyPolicy, HostKeys, KnownHosts, KnownHostsError, MIN_RSA_BITS, Program,
        Target,
    },
};

/// How long the way to the demo target may take: it is in the same process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The shell `demo/terminal`, with the limits that a WebShell has by default.
///
/// # Errors
/// When the demo target's own host key cannot be read, which is a fault of the program.
pub fn shell(demo: &Demo) -> Result<Entry, KnownHostsError> {
    let address = demo.address();
    let target = Target { host: address.ip().to_string(), port: address.port(), user: demo.user().to_owned() };
    let key = ShellKey { namespace: "demo".to_owned(), name: "terminal".to_owned() };
    let terminal = api::Terminal::default();
    let access = Access {
        dial: None,
        credentials: Credentials { private_key: Some(demo.private_key().clone()), ..Credentials::default() },
        host_keys: HostKeys {
            policy: HostKeyPolicy::Strict,
            known_hosts: KnownHosts::parse(demo.known_hosts_line())?,
            learned: None,
        },
        program: Program { term: terminal.term, ..Program::default() },
        connect_timeout: CONNECT_TIMEOUT.get(),
        limits: api::Session::default().limits(),
        clipboard_write: terminal.clipboard_write,
        admission: Admission::default(),
        min_rsa_bits: MIN_RSA_BITS,
        target,
    };
    Ok(Entry { key, target: format!("{}@{address}", demo.user()), access: Ok(Arc::new(access)) })
}
