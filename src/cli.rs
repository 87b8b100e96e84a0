//! The command line: arguments, each with its environment variable and default.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{api::Duration, gateway::origin::Origin, telemetry::logs};

/// A terminal in the browser for VMs reached by SSH.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look.
    #[arg(long, global = true, value_enum, env = "WEBSHELL_LOG_FORMAT", default_value = "text")]
    pub log_format: logs::Format,
    /// The least level that is logged: error, warn, info, debug or trace. Audit lines always are.
    #[arg(long, global = true, value_name = "LEVEL", env = "WEBSHELL_LOG_LEVEL", default_value = "info")]
    pub log_level: tracing::Level,
}

/// The roles of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the WebShells of manifest files, or a shell on this machine to try it out.
    Local(Box<Local>),
    /// Make each namespace with WebShells have its gateway, in a cluster.
    Controller(Installation),
    /// Find out who somebody is and list their shells, in a cluster.
    Portal(Portal),
    /// Serve the WebShells of a namespace of a cluster, in a pod there.
    Gateway(Gateway),
    /// Prove the way that browsers take to portal and gateways, by a WebSocket.
    Ping(Ping),
    /// Print the CustomResourceDefinition of WebShell.
    Crd,
}

/// Arguments of `webshell local`.
#[derive(Args, Debug)]
pub struct Local {
    /// A file or directory with WebShell and Secret manifests; repeatable. Edits are picked up. Without it, a shell on
    /// this machine is served.
    #[arg(short, long, value_name = "FILE|DIR", env = "WEBSHELL_FILE", value_delimiter = ',')]
    pub file: Vec<PathBuf>,
    /// Where browsers connect. Beyond loopback, --tls-cert and --tls-key are required.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_LISTEN", default_value = "127.0.0.1:8022", value_parser = address)]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_ADMIN_LISTEN", default_value = "127.0.0.1:8023", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// Who may come in.
    #[arg(long, value_enum, env = "WEBSHELL_AUTH", default_value = "ticket")]
    pub auth: AuthMode,
    /// The certificate chain in PEM.
    #[arg(long, value_name = "FILE", env = "WEBSHELL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[arg(long, value_name = "FILE", env = "WEBSHELL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The origin of a page served elsewhere that may open terminals, such as https://tools.example.com; repeatable.
    #[arg(long, value_name = "ORIGIN", env = "WEBSHELL_ALLOW_ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<Origin>,
    /// The network of a proxy whose X-Forwarded-For is believed, such as 10.0.0.0/8; repeatable.
    #[arg(long, value_name = "CIDR", env = "WEBSHELL_TRUSTED_PROXY", value_delimiter = ',', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
    /// The most sessions at once.
    #[arg(long, value_name = "NUMBER", env = "WEBSHELL_MAX_SESSIONS", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_sessions: u32,
    /// How long sessions may live on after SIGTERM or Ctrl-C; a second signal ends them at once.
    #[arg(long, value_name = "DURATION", env = "WEBSHELL_DRAIN_TIMEOUT", default_value = "30s")]
    pub drain_timeout: Duration,
}

/// Arguments of `webshell gateway`. Everything else is said by the ConfigMap `webshell-gateway` of its namespace.
#[derive(Args, Debug)]
pub struct Gateway {
    /// Where browsers connect, through an ingress controller.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_LISTEN", default_value = "0.0.0.0:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_ADMIN_LISTEN", default_value = "0.0.0.0:8081", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// How long sessions may live on after SIGTERM; a second signal ends them at once.
    #[arg(long, value_name = "DURATION", env = "WEBSHELL_DRAIN_TIMEOUT", default_value = "5m")]
    pub drain_timeout: Duration,
    /// The namespace whose WebShells are served.
    #[arg(long, env = "WEBSHELL_NAMESPACE")]
    pub namespace: String,
    /// The name of the pod.
    #[arg(long, env = "WEBSHELL_POD_NAME")]
    pub pod_name: String,
    /// The UID of the pod.
    #[arg(long, env = "WEBSHELL_POD_UID")]
    pub pod_uid: String,
}

/// Arguments of `webshell controller`, and of every other part of an installation.
#[derive(Args, Clone, Debug)]
pub struct Installation {
    /// The installation's settings.
    #[arg(long, value_name = "FILE", env = "WEBSHELL_CONFIG")]
    pub config: PathBuf,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_ADMIN_LISTEN", default_value = "0.0.0.0:8081", value_parser = address)]
    pub admin_listen: SocketAddr,
    /// The namespace of controller and portals.
    #[arg(long, value_name = "NAME", env = "WEBSHELL_NAMESPACE")]
    pub namespace: String,
    /// The name of this pod, by which a controller holds the Lease, and a portal publishes its keys.
    #[arg(long, value_name = "NAME", env = "WEBSHELL_POD_NAME")]
    pub pod_name: String,
}

/// Arguments of `webshell portal`.
#[derive(Args, Clone, Debug)]
pub struct Portal {
    /// What the controller has, too.
    #[command(flatten)]
    pub installation: Installation,
    /// Where browsers connect, through the ingress.
    #[arg(long, value_name = "ADDRESS:PORT", env = "WEBSHELL_LISTEN", default_value = "0.0.0.0:8080", value_parser = address)]
    pub listen: SocketAddr,
}

/// Arguments of `webshell ping`.
#[derive(Args, Debug)]
pub struct Ping {
    /// Where to connect instead of the addresses' own hosts, whose names and certificates count all the same.
    #[arg(long, value_name = "HOST:PORT", env = "WEBSHELL_CONNECT_TO")]
    pub connect_to: Option<String>,
    /// How long to try, all addresses together.
    #[arg(long, value_name = "DURATION", env = "WEBSHELL_TIMEOUT", default_value = "4m")]
    pub timeout: Duration,
    /// What to ping, such as wss://shell.example.com/team-a/-/ping.
    #[arg(required = true, env = "WEBSHELL_URL", value_delimiter = ',')]
    pub url: Vec<hyper::Uri>,
}

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Whoever opens the printed URL first; the next URL is printed then.
    Ticket,
    /// Everybody on this machine.
    None,
}

/// Arguments that do not go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Anybody could come in.
    #[error("--auth none: everybody who reaches {0} would have a terminal; use --auth ticket, or --listen 127.0.0.1:{port}", port = .0.port())]
    OpenToAll(SocketAddr),
    /// Anybody on the way could read along.
    #[error("--listen {0}: beyond loopback, terminals must be encrypted; give --tls-cert and --tls-key, or --listen 127.0.0.1:{port}", port = .0.port())]
    Unencrypted(SocketAddr),
}

impl Local {
    /// Refuses what would be unsafe.
    ///
    /// # Errors
    /// Names the argument and the way out.
    pub fn check(&self) -> Result<(), Conflict> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        if self.auth == AuthMode::None {
            return Err(Conflict::OpenToAll(self.listen));
        }
        self.tls_cert.is_some().then_some(()).ok_or(Conflict::Unencrypted(self.listen))
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8022 or [::1]:8022")
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let alone = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(alone).map_err(|_| "must be a network or an address, such as 10.0.0.0/8 or fd00::1")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn local(arguments: &[&str]) -> Result<Local, clap::Error> {
        let cli = Cli::try_parse_from(["webshell", "local"].iter().chain(arguments))?;
        match cli.command {
            Command::Local(local) => Ok(*local),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn every_argument_has_an_environment_variable_and_a_text() {
        Cli::command().debug_assert();
        let command = Cli::command();
        let roles = command.get_subcommands().flat_map(clap::Command::get_arguments);
        for argument in command.get_arguments().chain(roles) {
            let id = argument.get_id().as_str();
            if !matches!(id, "help" | "version") {
                let variable = format!("WEBSHELL_{}", id.to_uppercase());
                assert_eq!(argument.get_env().and_then(|env| env.to_str()), Some(variable.as_str()));
                assert!(argument.get_help().is_some(), "{id}");
            }
        }
    }

    #[test]
    fn every_argument_stands_in_the_handbook_with_its_default() {
        let handbook = include_str!("../docs/operations.md");
        let command = Cli::command();
        for role in command.get_subcommands().filter(|role| role.get_arguments().next().is_some()) {
            let heading = format!("### webshell {}\n", role.get_name());
            let (_, section) = handbook.split_once(&heading).expect(&heading);
            let section = section.split("\n#").next().unwrap();
            for argument in command.get_arguments().chain(role.get_arguments()) {
                let Some(variable) = argument.get_env().and_then(|env| env.to_str()) else { continue };
                let row = section.lines().find(|line| line.contains(&format!("| `{variable}` |"))).expect(variable);
                let name = argument.get_long().map_or("URL…".to_owned(), |long| format!("--{long}"));
                assert!(row.contains(&name), "{row}");
                for default in argument.get_default_values() {
                    assert!(row.contains(&format!("| `{}` |", default.to_str().unwrap())), "{row}");
                }
            }
        }
    }

    #[test]
    fn defaults_are_for_this_machine_alone() {
        let local = local(&[]).unwrap();
        assert_eq!(local.listen.to_string(), "127.0.0.1:8022");
        assert_eq!(local.admin_listen.to_string(), "127.0.0.1:8023");
        assert_eq!(local.auth, AuthMode::Ticket);
        assert_eq!(local.check(), Ok(()));
    }

    #[test]
    fn unsafe_listeners_are_refused_with_the_way_out() {
        let everywhere = "0.0.0.0:8022".parse().unwrap();
        let check = |arguments: &[&str]| local(arguments).unwrap().check();
        let tls = ["--tls-cert", "c", "--tls-key", "k"];
        assert_eq!(check(&["--listen", "0.0.0.0:8022"]), Err(Conflict::Unencrypted(everywhere)));
        assert_eq!(check(&[&["--listen", "0.0.0.0:8022"], &tls[..]].concat()), Ok(()));
        assert_eq!(
            check(&[&["--listen", "0.0.0.0:8022", "--auth", "none"], &tls[..]].concat()),
            Err(Conflict::OpenToAll(everywhere))
        );
        for loopback in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8022"] {
            assert_eq!(check(&["--listen", loopback, "--auth", "none"]), Ok(()), "{loopback}");
        }
        let error = Conflict::Unencrypted(everywhere).to_string();
        assert!(error.starts_with("--listen 0.0.0.0:8022: ") && error.contains("--tls-cert"), "{error}");
    }

    #[test]
    fn values_that_are_none_are_refused_by_name() {
        for arguments in [
            ["--listen", "localhost"],
            ["--allow-origin", "example.com"],
            ["--trusted-proxy", "10.0.0.0/33"],
            ["--max-sessions", "0"],
            ["--drain-timeout", "30"],
            ["--tls-cert", "cert.pem"],
        ] {
            let error = local(&arguments).unwrap_err().to_string();
            assert!(error.contains("--"), "{error}");
        }
        let networks = local(&["--trusted-proxy", "10.0.0.0/8,fd00::1"]).unwrap().trusted_proxy;
        assert_eq!(networks.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "fd00::1/128"]);
    }
}
