//! `webshell local`: a gateway with no cluster, from manifest files or with an embedded demo target.

pub mod demo;
pub mod manifests;
pub mod watch;

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::sync::watch as watched;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    manifests::{Manifests, SchemaError},
    watch::Follower,
};
use crate::{
    catalog::Catalog,
    cli::{AuthMode, Conflict, Local},
    gateway::{
        Gateway, Settings,
        drain::{Shutdown, Signals, SignalsError},
        guard::Everyone,
        listen::{ListenError, listen},
        login::{Auth, Cookie, PrintedTickets, Secret},
        origin::Origins,
        tls::{self, TlsError},
    },
    session::{Caps, Registry},
    ssh::{Demo, DemoError, KnownHostsError},
    telemetry::metrics::SessionMetrics,
    user::User,
};

/// The name of the only user.
const USER: &str = "local";

/// Why `webshell local` did not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Arguments that do not go together.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No manifest can be used.
    #[error("--file: no WebShell can be served:\n  {}", .0.join("\n  "))]
    NoShell(Vec<String>),
    /// The schema that manifests are checked by cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Edits of manifests cannot be noticed.
    #[error("--file: changes cannot be watched: {0}; raise the system's limit of inotify watches or instances")]
    Watch(#[from] notify_debouncer_full::notify::Error),
    /// The demo target did not start.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The demo target's host key cannot be read.
    #[error("the demo target's host key: {0}")]
    DemoKey(#[from] KnownHostsError),
    /// There are no random numbers.
    #[error("the system has no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The system does not tell of signals.
    #[error(transparent)]
    Signals(#[from] SignalsError),
}

/// Where shells come from.
enum Source {
    Demo(Demo),
    Manifests(Box<Follower>),
}

/// Serves until a signal asks for the end.
///
/// # Errors
/// When it cannot start; the message says what to change.
pub async fn run(arguments: Local) -> Result<(), LocalError> {
    arguments.check()?;
    let signals = Signals::new()?;
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let listener = listen("--listen", arguments.listen).await?;
    let admin = listen("--admin-listen", arguments.admin_listen).await?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    let user = User { name: USER.to_owned(), ..User::default() };
    let cookie = if tls.is_none() { Cookie::loopback(address.port()) } else { Cookie::host() };
    let auth = match arguments.auth {
        AuthMode::None => Auth::None(Arc::new(user)),
        AuthMode::Ticket => Auth::Printed(Box::new(PrintedTickets::new(cookie, user)?)),
    };

    let stop = CancellationToken::new();
    let (catalog, source) = open(&arguments, &stop).await?;
    let url = url(address, tls.is_some(), &catalog);
    let tasks = TaskTracker::new();
    match &auth {
        Auth::Printed(tickets) => {
            tasks.spawn(stop.clone().run_until_cancelled_owned(announce(url, tickets.ticket())));
        }
        Auth::None(_) | Auth::Portal(_) => print_line(&format!("WebShell is ready: {url}")),
    }
    let (catalogs, catalog) = watched::channel(Arc::new(catalog));
    let demo = match source {
        Source::Demo(demo) => Some(demo),
        Source::Manifests(follower) => {
            tasks.spawn(follower.run(catalogs, stop.clone()));
            None
        }
    };
    let shutdown = Shutdown::new(arguments.drain_timeout.get());
    tasks.spawn(stop.clone().run_until_cancelled_owned(signals.forward(shutdown.clone())));

    let max_sessions = arguments.max_sessions as usize;
    let registry = Registry::new(max_sessions, SessionMetrics::default());
    let settings = Settings {
        trusted_proxies: arguments.trusted_proxy,
        caps: Caps { total: max_sessions, user: None, shell: None, namespace: None },
    };
    let ready = CancellationToken::new();
    ready.cancel();
    let gateway = Gateway {
        listener,
        origins: Origins::new(address, tls.is_some(), arguments.allow_origin),
        guard: Arc::new(Everyone),
        settings: watched::channel(Arc::new(settings)).1,
        tls,
        admin,
        auth,
        instance: format!("{:08x}", getrandom::u32()?),
        registry,
        catalog,
        ready,
        shutdown,
    };
    gateway.run().await;

    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(demo) = demo {
        demo.shutdown().await;
    }
    Ok(())
}

/// The shells to begin with, and where more news of them will come from.
async fn open(arguments: &Local, stop: &CancellationToken) -> Result<(Catalog, Source), LocalError> {
    if arguments.file.is_empty() {
        let demo = Demo::start(stop).await?;
        let shell = demo::shell(&demo)?;
        let catalog = Catalog { shells: [(shell.key.clone(), shell)].into() };
        return Ok((catalog, Source::Demo(demo)));
    }
    let mut manifests = Manifests::new(arguments.file.clone(), manifests::default_learned_keys())?;
    let reading = manifests.read();
    if reading.catalog.shells.values().all(|shell| shell.access.is_err()) {
        return Err(LocalError::NoShell(reading.problems));
    }
    Ok((reading.catalog, Source::Manifests(Box::new(Follower::new(manifests)?))))
}

/// The address to open first: the only shell, or the list of them.
fn url(address: SocketAddr, tls: bool, catalog: &Catalog) -> String {
    let scheme = if tls { "https" } else { "http" };
    let port = address.port();
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let mut shells = catalog.shells.keys();
    match (shells.next(), shells.next()) {
        (Some(only), None) => format!("{scheme}://{host}:{port}/{only}/"),
        _ => format!("{scheme}://{host}:{port}/"),
    }
}

/// Prints the URL that logs one browser in, and the next one whenever it was used.
async fn announce(url: String, mut tickets: watched::Receiver<Secret>) {
    let mut words = "WebShell is ready:";
    loop {
        let ticket = tickets.borrow_and_update().clone();
        print_line(&format!("{words} {url}#ticket={}", ticket.expose()));
        words = "For another browser:";
        if tickets.changed().await.is_err() {
            return;
        }
    }
}

fn print_line(line: &str) {
    // Who closed standard output does not want to know.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Entry, Obstacle, ShellKey};

    fn catalog(names: &[&str]) -> Catalog {
        let entry = |name: &&str| {
            let key = ShellKey { namespace: "demo".into(), name: (*name).into() };
            (key.clone(), Entry { key, target: String::new(), access: Err(Obstacle::invalid("")) })
        };
        Catalog { shells: names.iter().map(entry).collect() }
    }

    #[test]
    fn the_url_leads_to_the_only_shell_or_to_the_list() {
        let url = |address: &str, tls, names: &[&str]| url(address.parse().unwrap(), tls, &catalog(names));
        assert_eq!(url("127.0.0.1:8022", false, &["terminal"]), "http://127.0.0.1:8022/demo/terminal/");
        assert_eq!(url("[::1]:8022", false, &["a", "b"]), "http://[::1]:8022/");
        assert_eq!(url("0.0.0.0:8443", true, &[]), "https://localhost:8443/");
    }
}
