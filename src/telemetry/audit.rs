//! The audit trail: one line per connect, denial and end, whatever the log level. Never content, never a secret.

use std::{net::IpAddr, time::Duration};

use tracing::info;

use super::throttle::{LeftOut, Throttle};
use crate::{catalog::ShellKey, network};

/// The target of audit lines, by which collectors can part them from the rest.
pub const TARGET: &str = "audit";

/// Who reaches for which shell, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The shell.
    pub shell: &'a ShellKey,
    /// The user, as the log-in named them.
    pub user: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// How a session went.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// From its begin to its end.
    pub duration: Duration,
    /// Bytes the shell was given.
    pub input: u64,
    /// Bytes the shell gave.
    pub output: u64,
}

/// A session reached its shell, or (`resumed`) was continued by a new connection.
pub fn connected(subject: Subject<'_>, session: &str, resumed: bool) {
    let Subject { shell, user, client } = subject;
    let ShellKey { namespace, name } = shell;
    info!(target: TARGET, event = "connected", namespace, name, session, user, %client, resumed);
}

/// Somebody was refused. `reason` is a fixed word, such as the name of a `protocol::Reason`.
pub fn denied(subject: Subject<'_>, reason: &str) {
    let Subject { shell, user, client } = subject;
    let ShellKey { namespace, name } = shell;
    info!(target: TARGET, event = "denied", namespace, name, user, %client, reason);
}

/// Denials of whoever comes, of which strangers can cause any number: of those of nobody who is logged in only the first of each minute
/// have a line of their own, by their reason and client.
#[derive(Debug, Default)]
pub struct Denials(Throttle);

impl Denials {
    /// Somebody was refused, as in [`denied`].
    pub fn denied(&self, subject: Subject<'_>, reason: &'static str) {
        if !subject.user.is_empty() || self.0.lets(reason, Some(network::client_key(subject.client))) {
            denied(subject, reason);
        }
    }

    /// Tells how many denials had no line since this was last told.
    pub fn tell_left_out(&self) {
        for LeftOut { cause: reason, client, lines: suppressed } in self.0.left_out() {
            let client = client.map(tracing::field::display);
            info!(target: TARGET, event = "denied", user = "", client, reason, suppressed);
        }
    }
}

/// A session ended. `reason` is the name of a `protocol::Reason`.
pub fn ended(subject: Subject<'_>, session: &str, reason: &str, summary: Summary) {
    let Subject { shell, user, client } = subject;
    let ShellKey { namespace, name } = shell;
    let Summary { duration, input, output } = summary;
    let seconds = duration.as_secs_f64();
    info!(target: TARGET, event = "ended", namespace, name, session, user, %client, reason, seconds, input, output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logs::{Format, tests::captured};

    #[test]
    fn lines_are_whole_and_typed() {
        let shell = ShellKey { namespace: "team-a".into(), name: "db-1".into() };
        let subject = Subject { shell: &shell, user: "eve\n\u{1b}[2J", client: IpAddr::from([10, 0, 0, 7]) };
        let lines = captured(Format::Json, tracing::Level::ERROR, || {
            connected(subject, "7d1c", false);
            denied(subject, "too-many-sessions");
            let summary = Summary { duration: Duration::from_millis(1500), input: 3, output: 4096 };
            ended(subject, "7d1c", "exit", summary);
        });
        let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        for (line, event) in lines.iter().zip(["connected", "denied", "ended"]) {
            assert_eq!(line["target"], "audit");
            assert_eq!(line["event"], event);
            assert_eq!(line["namespace"], "team-a");
            assert_eq!(line["name"], "db-1");
            assert_eq!(line["user"], "eve\n\u{1b}[2J");
            assert_eq!(line["client"], "10.0.0.7");
        }
        assert_eq!(lines[1]["reason"], "too-many-sessions");
        assert_eq!(lines[2]["seconds"], 1.5);
        assert_eq!(lines[2]["output"], 4096);
    }

    #[test]
    fn strangers_write_few_lines_and_the_rest_is_counted() {
        let shell = ShellKey { namespace: "team-a".into(), name: "db-1".into() };
        let subject = |user| Subject { shell: &shell, user, client: IpAddr::from([10, 0, 0, 7]) };
        let denials = Denials::default();
        let lines = captured(Format::Json, tracing::Level::ERROR, || {
            for _ in 0..100 {
                denials.denied(subject(""), "not-logged-in");
                denials.denied(subject("ada"), "forbidden");
            }
            denials.tell_left_out();
            denials.tell_left_out();
        });
        let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let of = |user: &str| lines.iter().filter(|line| line["user"] == user).count();
        assert_eq!((of("ada"), of("")), (100, 11));
        let last = lines.last().unwrap();
        assert_eq!([&last["target"], &last["event"], &last["client"]], ["audit", "denied", "10.0.0.7"]);
        assert_eq!((&last["reason"], &last["suppressed"]), (&"not-logged-in".into(), &90.into()));
    }
}
