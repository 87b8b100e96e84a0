//! A shell or command, on a terminal or on pipes, and the bytes between it and its channel.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use bytes::BytesMut;
use russh::{ChannelWriteHalf, Sig, server};
use rustix::{
    process::{Pid, Signal, kill_process_group},
    termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::input::InputQueue;
use crate::ssh::WindowSize;

/// What is read of a program's output at once, in bytes: an SSH packet's worth.
const CHUNK: usize = 32 << 10;

/// The type of extended data that is a program's errors (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// What of our environment a program inherits: what a log-in gives, and nothing that is this process's own affair.
const INHERITED: [&str; 6] = ["HOME", "USER", "LOGNAME", "PATH", "TZ", "LANG"];

/// What a client asked for before it asked for a program.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) terminal: Option<Terminal>,
    pub(super) environment: Vec<(String, String)>,
}

/// The terminal a client asked for.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) term: String,
    pub(super) size: WindowSize,
}

/// A running program.
pub(super) struct Program {
    child: Child,
    streams: Streams,
}

enum Streams {
    Terminal(pty_process::OwnedReadPty, pty_process::OwnedWritePty),
    Pipes(ChildStdin, ChildStdout, ChildStderr),
}

/// Starts the user's shell as at log-in, or a command in it. With a terminal, the second is a handle to resize it.
pub(super) fn start(request: &Request, command: Option<&OsStr>) -> io::Result<(Program, Option<OwnedFd>)> {
    let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    let mut process = Command::new(&shell);
    match command {
        Some(command) => process.arg("-c").arg(command),
        // A name that begins with a dash makes it a log-in shell.
        None => {
            let mut name = OsString::from("-");
            name.push(Path::new(&shell).file_name().unwrap_or(&shell));
            process.arg0(name)
        }
    };
    process.env_clear().env("SHELL", &shell);
    process.envs(INHERITED.iter().filter_map(|name| env::var_os(name).map(|value| (name, value))));
    if let Some(terminal) = &request.terminal {
        process.env("TERM", &terminal.term);
    }
    process.envs(request.environment.iter().map(|(name, value)| (name, value)));
    if let Some(home) = env::var_os("HOME").filter(|home| Path::new(home).is_dir()) {
        process.current_dir(home);
    }
    match &request.terminal {
        Some(terminal) => start_on_terminal(process, terminal.size),
        None => start_on_pipes(process),
    }
}

fn start_on_terminal(process: Command, size: WindowSize) -> io::Result<(Program, Option<OwnedFd>)> {
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    let terminal = pty.as_fd().try_clone_to_owned()?;
    resize(&terminal, size)?;
    // So that the terminal's own line editing erases characters rather than bytes.
    let mut modes = tcgetattr(&terminal)?;
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    let child = pty_process::Command::from(process).spawn(pts).map_err(io::Error::other)?;
    let (read, write) = pty.into_split();
    Ok((Program { child, streams: Streams::Terminal(read, write) }, Some(terminal)))
}

fn start_on_pipes(mut process: Command) -> io::Result<(Program, Option<OwnedFd>)> {
    // A group of its own, as on a terminal, so that hanging up reaches all of it.
    process.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn()?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok((Program { child, streams: Streams::Pipes(stdin, stdout, stderr) }, None))
        }
        _ => Err(io::Error::other("a pipe is missing")),
    }
}

/// Sets the size of the terminal that this is the master side of.
pub(super) fn resize(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_col: size.cols, ws_row: size.rows, ws_xpixel: size.width, ws_ypixel: size.height };
    Ok(tcsetwinsize(terminal, size)?)
}

// === impl Program ===

impl Program {
    /// Passes bytes both ways until the program has ended and all its output is sent, then says how it ended; or hangs
    /// up on it.
    pub(super) async fn run(
        mut self,
        channel: ChannelWriteHalf<server::Msg>,
        session: server::Handle,
        input: Arc<InputQueue>,
        hang_up: CancellationToken,
    ) {
        let group = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let whole_run = async {
            let status = converse(&mut self.child, self.streams, &channel, &input).await?;
            // Failing now means that the client has gone.
            let _ = report(status, &channel, &session).await;
            io::Result::Ok(())
        };
        match (hang_up.run_until_cancelled(whole_run).await, group) {
            (Some(Ok(())), _) => {}
            (Some(Err(error)), _) => debug!(%error, "the demo target lost its program"),
            (None, Some(group)) => {
                // It may just have ended. If it takes no hint it goes on without us, as it would with any SSH server.
                let _ = kill_process_group(group, Signal::HUP);
            }
            (None, None) => {}
        }
    }
}

/// Passes bytes both ways until the program has ended and all its output is sent.
async fn converse(
    child: &mut Child,
    streams: Streams,
    channel: &ChannelWriteHalf<server::Msg>,
    input: &InputQueue,
) -> io::Result<ExitStatus> {
    match streams {
        Streams::Terminal(read, write) => tokio::select! {
            status = async { forward(read, channel, None).await; child.wait().await } => status,
            // A terminal has no end of input: that is a character.
            never = async { feed(write, input).await; std::future::pending().await } => never,
        },
        Streams::Pipes(stdin, stdout, stderr) => {
            let output = async {
                tokio::join!(forward(stdout, channel, None), forward(stderr, channel, Some(STDERR)));
                child.wait().await
            };
            tokio::select! {
                status = output => status,
                never = async { feed(stdin, input).await; std::future::pending().await } => never,
            }
        }
    }
}

/// Sends a program's output, as fast as the client's window allows: while that is full nothing more is read.
async fn forward(mut output: impl AsyncRead + Unpin, channel: &ChannelWriteHalf<server::Msg>, kind: Option<u32>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        // A terminal without a program is an error to read (EIO), and means the end.
        let Ok(1..) = output.read_buf(&mut buffer).await else { return };
        let bytes = buffer.split().freeze();
        let sent = match kind {
            None => channel.data_bytes(bytes).await,
            Some(kind) => channel.extended_data_bytes(kind, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Gives a program its input until that ends, then closes it. Input that a program no longer takes is thrown away.
async fn feed(mut program: impl AsyncWrite + Unpin, input: &InputQueue) {
    let mut takes = true;
    while let Some(bytes) = input.next().await {
        takes = takes && program.write_all(&bytes).await.is_ok();
    }
}

/// Tells the client how its program ended, and closes the channel.
async fn report(
    status: ExitStatus,
    channel: &ChannelWriteHalf<server::Msg>,
    session: &server::Handle,
) -> Result<(), russh::Error> {
    channel.eof().await?;
    match status.signal() {
        Some(signal) => {
            let (name, core) = (signal_name(signal), status.core_dumped());
            let sent = session.exit_signal_request(channel.id(), name, core, String::new(), String::new()).await;
            sent.map_err(|()| russh::Error::SendError)?;
        }
        None => channel.exit_status(status.code().map_or(1, i32::cast_unsigned)).await?,
    }
    channel.close().await
}

/// A signal's name (RFC 4254, 6.10); for those it does not list, one of ours.
fn signal_name(number: i32) -> Sig {
    let named = [
        (Signal::ABORT, Sig::ABRT),
        (Signal::ALARM, Sig::ALRM),
        (Signal::FPE, Sig::FPE),
        (Signal::HUP, Sig::HUP),
        (Signal::ILL, Sig::ILL),
        (Signal::INT, Sig::INT),
        (Signal::KILL, Sig::KILL),
        (Signal::PIPE, Sig::PIPE),
        (Signal::QUIT, Sig::QUIT),
        (Signal::SEGV, Sig::SEGV),
        (Signal::TERM, Sig::TERM),
        (Signal::USR1, Sig::USR1),
    ];
    let named = named.into_iter().find(|(signal, _)| signal.as_raw() == number);
    named.map_or_else(|| Sig::Custom(format!("{number}@webshell.dev")), |(_, name)| name)
}
