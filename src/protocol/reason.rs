//! Why a session or a connection ended: one name and one WebSocket close code for each.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// Why a session or a connection ended; the close codes are those of `docs/protocol.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// The WebSocket close code.
            pub fn code(self) -> u16 {
                match self { $(Reason::$variant => $code,)* }
            }

            /// The name in messages, logs and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// The shell ended, or the client asked for the end.
    Exit = 1000, "exit";
    /// The gateway stopped.
    Draining = 1001, "draining";
    /// A fault of the gateway.
    Internal = 1011, "internal";
    /// The host's name has no address.
    Dns = 4100, "dns";
    /// The host refused the connection.
    Refused = 4101, "refused";
    /// No answer in time.
    Timeout = 4102, "timeout";
    /// No route, or another network error.
    Unreachable = 4103, "unreachable";
    /// What answered does not speak SSH 2.
    NotSsh = 4104, "not-ssh";
    /// No algorithm in common.
    NoCommonAlgorithm = 4105, "no-common-algorithm";
    /// The server ended or broke the connection.
    Disconnected = 4106, "disconnected";
    /// The connection died without a word.
    Lost = 4107, "lost";
    /// The server broke the SSH protocol.
    Protocol = 4108, "protocol";
    /// The target policy forbids every address of the host.
    TargetForbidden = 4109, "target-forbidden";
    /// The host's key is not among the known.
    HostKeyUnknown = 4110, "host-key-unknown";
    /// The host's key is another than the known one.
    HostKeyChanged = 4111, "host-key-changed";
    /// The host's key is marked as revoked.
    HostKeyRevoked = 4112, "host-key-revoked";
    /// The host's certificate is expired, for another name, or of an unknown authority.
    HostCertificateInvalid = 4113, "host-certificate-invalid";
    /// The host's RSA key, or that of its certificate's authority, is too short.
    HostKeyShort = 4114, "host-key-short";
    /// Every authentication method was tried.
    AuthenticationFailed = 4120, "authentication-failed";
    /// The Secret is missing, or a key in it cannot be read.
    CredentialsUnusable = 4121, "credentials-unusable";
    /// The user cancelled a prompt, or let it time out.
    PromptCancelled = 4122, "prompt-cancelled";
    /// The Secret's credentials may not be sent to the host.
    HostNotAllowed = 4123, "host-not-allowed";
    /// The server refused the session channel.
    ChannelRefused = 4130, "channel-refused";
    /// The server refused the pty.
    PtyRefused = 4131, "pty-refused";
    /// The server refused the shell or the command.
    ShellRefused = 4132, "shell-refused";
    /// No input for the idle time.
    Idle = 4200, "idle";
    /// The longest allowed duration was reached.
    Maximum = 4201, "maximum";
    /// The WebShell was deleted.
    Deleted = 4202, "deleted";
    /// The WebShell's target changed.
    TargetChanged = 4203, "target-changed";
    /// The credentials changed.
    CredentialsChanged = 4204, "credentials-changed";
    /// The trusted host keys changed.
    HostKeysChanged = 4205, "host-keys-changed";
    /// Another connection continued the session.
    TakenOver = 4206, "taken-over";
    /// Nobody came back in time.
    Detached = 4207, "detached";
    /// The user may not open the WebShell any more.
    PermissionLost = 4208, "permission-lost";
    /// The API server cannot be asked whether the user may open the WebShell.
    ApiUnavailable = 4209, "api-unavailable";
    /// The user logged out.
    LoggedOut = 4210, "logged-out";
    /// The WebShell cannot be used as it is.
    Invalid = 4300, "invalid";
    /// No such session for this user and shell.
    UnknownSession = 4301, "unknown-session";
    /// The WebShell's own limit of sessions was reached.
    TooManySessions = 4302, "too-many-sessions";
    /// The gateway's limit of sessions was reached.
    GatewayFull = 4303, "gateway-full";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_in_the_specification_with_its_code() {
        let spec = include_str!("../../docs/protocol.md");
        for reason in Reason::ALL {
            let row = format!("| {} | `{}` |", reason.code(), reason.name());
            assert!(spec.contains(&row), "docs/protocol.md lacks {row}");
        }
    }

    #[test]
    fn every_reason_stands_in_the_handbook_with_its_code() {
        let handbook = include_str!("../../docs/operations.md");
        for reason in Reason::ALL {
            let (name, code) = (reason.name(), reason.code());
            let row = format!("| `{name}` | {code} |");
            let mention = format!("`{name}` ({code})");
            assert!(handbook.contains(&row) || handbook.contains(&mention), "docs/operations.md lacks {name}");
        }
    }

    #[test]
    fn every_code_is_used_once() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
