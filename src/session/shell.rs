//! Drives a session's shell over SSH.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Session;
use crate::{
    catalog::Access,
    protocol::{
        Reason,
        v1::{Ended, HostKeyReport, Notice, NoticeKind, PromptLine, Size, Step},
    },
    ssh::{self, HostKeyProblem},
};

/// Reaches the shell that `access` tells of, and runs until it is gone or the session is to end.
pub async fn drive(session: Arc<Session>, access: Arc<Access>) -> Ended {
    tokio::select! {
        opened = open(&session, &access) => match opened {
            Ok(shell) => attend(&session, shell).await,
            Err(failure) => failed(&failure),
        },
        () = session.ending() => Ended::new(Reason::Exit, "The session ended before the shell was reached."),
    }
}

/// The way to the shell. Boxed, because it is large and a session outlives it.
fn open(
    session: &Arc<Session>,
    access: &Access,
) -> std::pin::Pin<Box<dyn Future<Output = Result<ssh::Shell, ssh::Failure>> + Send>> {
    let (events, mut happened) = mpsc::channel(4);
    let request = ssh::Request {
        target: access.target.clone(),
        dial: access.dial.clone(),
        credentials: access.credentials.clone(),
        host_keys: access.host_keys.clone(),
        program: access.program.clone(),
        size: window(session.size()),
        connect_timeout: access.connect_timeout,
        admission: access.admission.clone(),
        min_rsa_bits: access.min_rsa_bits,
        rekey: ssh::RekeyLimits::default(),
    };
    let sink = Arc::clone(session);
    let output = move |bytes: &[u8]| sink.output(bytes);
    let gate = session.gate().clone();
    let session = Arc::clone(session);
    let asker = format!("{}@{}", access.target.user, access.target.host);
    Box::pin(async move {
        let relay = async {
            while let Some(event) = happened.recv().await {
                relay(&session, &asker, event);
            }
            std::future::pending().await
        };
        tokio::select! {
            opened = ssh::open(request, gate, output, events) => opened,
            never = relay => never,
        }
    })
}

/// Passes what happens on the way on to the user. Questions come from `asker`.
fn relay(session: &Session, asker: &str, event: ssh::Event) {
    match event {
        ssh::Event::Step(step) => session.step(match step {
            ssh::Step::Resolve => Step::Resolve,
            ssh::Step::Dial => Step::Dial,
            ssh::Step::Handshake => Step::Handshake,
            ssh::Step::Authenticate => Step::Authenticate,
            ssh::Step::Open => Step::Open,
        }),
        ssh::Event::Connected(address) => session.reached(address),
        ssh::Event::Banner(text) => session.output(banner(&text).as_bytes()),
        ssh::Event::Question(question) => {
            let lines = question.prompts.into_iter().map(|prompt| PromptLine { text: prompt.text, echo: prompt.echo });
            session.ask(asker.to_owned(), question.name, question.instruction, lines.collect(), question.reply);
        }
        ssh::Event::HostKeyNotice(message) => {
            session.notify(Notice { kind: NoticeKind::HostKey, seconds: None, message });
        }
    }
}

/// Carries input and window changes to the shell until it is gone.
async fn attend(session: &Session, shell: ssh::Shell) -> Ended {
    session.connected();
    let input = async {
        loop {
            let chunk = session.next_input().await;
            if shell.write(chunk).await.is_err() {
                // Why it is closed, `ended` tells.
                return std::future::pending::<()>().await;
            }
            session.input_written();
        }
    };
    let window_changes = async {
        loop {
            session.resized().await;
            if shell.resize(window(session.size())).await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    let ended = tokio::select! {
        end = shell.ended() => match end {
            ssh::End::Exit { status, signal, .. } => exited(status, signal),
            ssh::End::Failed(failure) => failed(&failure),
        },
        () = input => Ended::new(Reason::Internal, "The input stopped."),
        () = window_changes => Ended::new(Reason::Internal, "Window changes stopped."),
        () = session.ending() => Ended::new(Reason::Exit, "The session ended."),
    };
    shell.close().await;
    ended
}

fn window(size: Size) -> ssh::WindowSize {
    ssh::WindowSize { cols: size.cols, rows: size.rows, width: size.width, height: size.height }
}

fn exited(status: Option<u32>, signal: Option<String>) -> Ended {
    let message = match (&signal, status) {
        (Some(signal), _) => format!("The shell was ended by signal {signal}."),
        (None, Some(status)) => format!("The shell ended with status {status}."),
        (None, None) => "The shell ended without a status.".to_owned(),
    };
    Ended { status, signal, ..Ended::new(Reason::Exit, message) }
}

/// The end that a failure is.
pub(super) fn failed(failure: &ssh::Failure) -> Ended {
    let host_key = match failure {
        ssh::Failure::HostKey(rejection) => Some(report(rejection)),
        _ => None,
    };
    Ended { hint: Some(failure.hint()), host_key, ..Ended::new(reason(failure), failure.to_string()) }
}

fn report(rejection: &ssh::HostKeyRejection) -> HostKeyReport {
    let expected = match &rejection.problem {
        HostKeyProblem::Changed(keys) => keys.iter().map(|key| key.fingerprint.clone()).collect(),
        _ => Vec::new(),
    };
    let ssh::PresentedKey { fingerprint, line, .. } = rejection.presented.clone();
    HostKeyReport { presented: fingerprint, expected, line }
}

fn reason(failure: &ssh::Failure) -> Reason {
    use ssh::Failure as F;
    match failure {
        F::Dns { .. } => Reason::Dns,
        F::TargetForbidden { .. } => Reason::TargetForbidden,
        F::HostNotAllowed { .. } => Reason::HostNotAllowed,
        F::Refused { .. } => Reason::Refused,
        F::Timeout { .. } => Reason::Timeout,
        F::Unreachable { .. } => Reason::Unreachable,
        F::NotSsh { .. } => Reason::NotSsh,
        F::NoCommonAlgorithm { .. } => Reason::NoCommonAlgorithm,
        F::Disconnected { .. } => Reason::Disconnected,
        F::Lost { .. } => Reason::Lost,
        F::Protocol { .. } => Reason::Protocol,
        F::HostKey(rejection) => match rejection.problem {
            HostKeyProblem::Unknown => Reason::HostKeyUnknown,
            HostKeyProblem::Changed(_) => Reason::HostKeyChanged,
            HostKeyProblem::Revoked(_) => Reason::HostKeyRevoked,
            HostKeyProblem::CertificateInvalid(_) => Reason::HostCertificateInvalid,
            HostKeyProblem::Short { .. } => Reason::HostKeyShort,
        },
        F::AuthenticationFailed { .. } => Reason::AuthenticationFailed,
        F::CredentialsUnusable { .. } => Reason::CredentialsUnusable,
        F::PromptCancelled => Reason::PromptCancelled,
        F::ChannelRefused { .. } => Reason::ChannelRefused,
        F::PtyRefused => Reason::PtyRefused,
        F::ShellRefused { .. } => Reason::ShellRefused,
        F::Internal(_) => Reason::Internal,
    }
}

/// Makes a server's banner fit for a terminal: line ends as a terminal wants them, and no other control characters
/// (RFC 4252, 5.4).
fn banner(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.lines() {
        clean.extend(line.chars().filter(|&c| c == '\t' || !c.is_control()));
        clean.push_str("\r\n");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::banner;

    #[test]
    fn a_banner_cannot_drive_the_terminal() {
        assert_eq!(banner("Authorized\tuse\nonly\r\n"), "Authorized\tuse\r\nonly\r\n");
        assert_eq!(banner("\x1b[2J\x1b]0;x\x07 \u{9b}2J\x08!"), "[2J]0;x 2J!\r\n");
    }
}
