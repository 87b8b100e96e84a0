//! One connection with one shell: how it is opened, used and closed.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use russh::{
    ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Limits, Preferred, Pty, SshId, cipher,
    client::{self, Config, Handle, Msg},
    compression,
};
use tokio::{
    net::TcpStream,
    select,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Credentials, Dial, Event, HostKeys, Program, Step, Target, WindowSize,
    auth::{Login as Authentication, authenticate},
    dial::{Admission, dial},
    failure::{Failure, Phase, printable},
    gate::{Gate, GatedStream},
    handler::{AcceptedKey, End, Handler, Link, Login, Output, Rekey, RekeyLimits},
    identity::Identity,
    known_hosts::split_string,
};

/// What may still arrive after a Ctrl-C, and what bounds the speed over a long path: window ÷ round trip.
const WINDOW: u32 = 256 * 1024;

/// The largest payload of a packet; every implementation must take as much (RFC 4253, 6.1).
const PACKET: u32 = 32 * 1024;

/// How long opening the channel, the pty and the shell may take.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// How often a server is asked for a sign of life when it says nothing.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long an open connection may bring nothing before it counts as lost: three keepalives.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// How long a polite end may take, before the socket is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Variables for a terminal that shows 24-bit colour and UTF-8, unless the program's own say otherwise.
const DEFAULT_ENV: [(&str, &str); 2] = [("LANG", "C.UTF-8"), ("COLORTERM", "truecolor")];

/// The terminal we are, unless the program says otherwise.
const DEFAULT_TERM: &str = "xterm-256color";

/// Terminal modes (RFC 4254, 8) that a server would not set by itself: erasing UTF-8 characters, and speeds that make no
/// program save output.
const MODES: [(Pty, u32); 3] = [(Pty::IUTF8, 1), (Pty::TTY_OP_ISPEED, 38_400), (Pty::TTY_OP_OSPEED, 38_400)];

/// What to open.
#[derive(Debug)]
pub struct Request {
    /// Where, and as whom.
    pub target: Target,
    /// Where to connect, if that is not the target's host and port.
    pub dial: Option<Dial>,
    /// What to authenticate with.
    pub credentials: Credentials,
    /// Which host keys are trusted.
    pub host_keys: HostKeys,
    /// What to run.
    pub program: Program,
    /// The size of its terminal.
    pub size: WindowSize,
    /// How long resolving, connecting and the key exchange may take together. Authentication has limits of its own.
    pub connect_timeout: Duration,
    /// Which addresses may be connected to.
    pub admission: Admission,
    /// The shortest RSA key that may vouch for the host, in bits; at least [`MIN_RSA_BITS`](super::MIN_RSA_BITS).
    pub min_rsa_bits: u32,
    /// When to renew the keys.
    pub rekey: RekeyLimits,
}

/// The shell has ended: [`Shell::ended`] tells how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shell has ended")]
pub struct Ended;

/// An open shell. Dropped, it cuts the connection.
pub struct Shell {
    connection: Connection,
    channel: ChannelWriteHalf<Msg>,
}

/// A connection, cut when dropped.
pub(super) struct Connection {
    handle: Handle<Handler>,
    link: Arc<Link>,
    /// Cuts also what would outlive the handle.
    gate: Cut,
}

/// What of a request leads to a connection.
pub(super) struct ConnectOptions {
    pub(super) target: Target,
    pub(super) dial: Option<Dial>,
    pub(super) host_keys: HostKeys,
    pub(super) min_rsa_bits: u32,
    pub(super) admission: Admission,
    pub(super) limit: Duration,
    pub(super) rekey: RekeyLimits,
}

/// Severs a gate when dropped.
struct Cut(Gate);

/// Opens a shell.
///
/// Output goes to the closure as it arrives, from before this returns until [`Shell::ended`] does; it must not block. It is
/// held back with the gate. Someone must receive the events meanwhile. Dropped, it gives up and closes the connection.
pub async fn open(
    request: Request,
    gate: Gate,
    output: impl FnMut(&[u8]) + Send + 'static,
    events: mpsc::Sender<Event>,
) -> Result<Shell, Failure> {
    // Much is needed on the way that would otherwise stay part of whatever awaits the shell.
    Box::pin(open_inner(request, gate, Box::new(output), events)).await
}

async fn open_inner(
    request: Request,
    gate: Gate,
    output: Output,
    events: mpsc::Sender<Event>,
) -> Result<Shell, Failure> {
    let Request {
        target,
        dial,
        credentials,
        host_keys,
        program,
        size,
        connect_timeout,
        admission,
        min_rsa_bits,
        rekey,
    } = request;
    let identity = Identity::of(&credentials).await?;
    let user = target.user.clone();
    let options = ConnectOptions { target, dial, host_keys, min_rsa_bits, admission, limit: connect_timeout, rekey };
    let mut connection = connect(options, gate, output, &events).await?;

    let _ = events.send(Event::Step(Step::Authenticate)).await;
    let login = Authentication { user: &user, identity, password: credentials.password, events: &events };
    authenticate(&mut connection.handle, &connection.link, login).await?;

    let _ = events.send(Event::Step(Step::Open)).await;
    drop(events);
    let opened = timeout(OPEN_LIMIT, start(&connection, &program, size)).await;
    let limit = format!("{OPEN_LIMIT:?} in all");
    let channel = opened.unwrap_or(Err(Failure::Timeout { phase: Phase::Open, detail: limit }))?;
    connection.gate.0.limit_silence(SILENCE_LIMIT);
    Ok(Shell { connection, channel })
}

/// Connects and exchanges keys, within the time limit.
async fn connect(
    options: ConnectOptions,
    gate: Gate,
    output: Output,
    events: &mpsc::Sender<Event>,
) -> Result<Connection, Failure> {
    let deadline = Instant::now() + options.limit;
    let elsewhere = options.dial.clone();
    let there = elsewhere.unwrap_or_else(|| Dial::Name(options.target.host.clone(), options.target.port));
    let stream = dial(&there, &options.admission, deadline, events).await?;
    if let Ok(address) = stream.peer_addr() {
        let _ = events.send(Event::Connected(address)).await;
    }
    let _ = events.send(Event::Step(Step::Handshake)).await;
    exchange_keys(stream, options, deadline, gate, output, events).await
}

/// Exchanges keys over a connection, in time.
pub(super) async fn exchange_keys(
    stream: TcpStream,
    options: ConnectOptions,
    deadline: Instant,
    gate: Gate,
    output: Output,
    events: &mpsc::Sender<Event>,
) -> Result<Connection, Failure> {
    let ConnectOptions { target, host_keys, min_rsa_bits, limit, rekey, .. } = options;
    let config = Arc::new(config(&host_keys, &target).await?);
    let login = Login { target, host_keys, min_rsa_bits, events: events.clone(), accepted: None, banner: 0 };
    let link = Arc::new(Link::default());
    let handler = Handler {
        link: Arc::clone(&link),
        gate: gate.clone(),
        output,
        rekey: Rekey::new(rekey),
        login: Some(Box::new(login)),
        exit: None,
    };
    gate.listen_for_greeting();
    let stream = GatedStream::new(stream, gate.clone());
    let gate = Cut(gate);
    let connected = timeout_at(deadline, client::connect_stream(config, stream, handler)).await;
    let greeting = gate.0.take_greeting();
    match connected {
        Ok(Ok(handle)) => {
            check_exchange(&handle, &link)?;
            Ok(Connection { handle, link, gate })
        }
        Ok(Err(error)) => Err(match link.end.get() {
            // The reason that the server gave says more.
            Some(End::Failed(failure @ Failure::Disconnected { said: Some(_), .. })) => failure.clone(),
            _ => Failure::of_handshake(error, greeting),
        }),
        Err(_) => Err(Failure::of_slow_handshake(greeting, limit)),
    }
}

/// Whether the server signed the exchange by the algorithm that was agreed on, and with what was judged: russh verifies
/// signatures by whichever algorithm they name, and passes over what it does not understand of a key.
///
/// Nothing was sent since but what the exchange itself needs. Later exchanges are protected by this one.
fn check_exchange(handle: &Handle<Handler>, link: &Link) -> Result<(), Failure> {
    let breach = |detail: String| Err(Failure::Protocol { phase: Phase::Handshake, detail });
    let (Some(sent), Some(AcceptedKey { algorithm, blob })) = (handle.agent_session_binding(), link.host_key.get())
    else {
        return breach("it did not identify itself".to_owned());
    };
    if sent.host_key() != blob {
        return breach("its key is not written as it must be".to_owned());
    }
    match split_string(sent.signature()) {
        Some((signed, _)) if signed == algorithm.as_bytes() => Ok(()),
        other => {
            let signed = printable(&String::from_utf8_lossy(other.map_or(&[], |(signed, _)| signed)));
            breach(format!("it signed the key exchange with {signed:?}, but {algorithm:?} was agreed on"))
        }
    }
}

/// Opens the channel and starts the program on a pty.
async fn start(connection: &Connection, program: &Program, size: WindowSize) -> Result<ChannelWriteHalf<Msg>, Failure> {
    let channel = match connection.handle.channel_open_session().await {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            return Err(Failure::ChannelRefused { detail: printable(&format!("{reason:?}")) });
        }
        Err(error) => return Err(connection.failure(error).await),
    };
    let (mut replies, channel) = channel.split();
    if let Err(error) = request(&channel, program, size).await {
        return Err(connection.failure(error).await);
    }
    match reply(&mut replies).await {
        Some(true) => {}
        Some(false) => return Err(Failure::PtyRefused),
        None => return Err(connection.failure(russh::Error::Disconnect).await),
    }
    let what = if program.command.is_some() { "command" } else { "shell" };
    // A channel that is closed without an answer tells why in its end.
    if reply(&mut replies).await == Some(false) {
        return Err(Failure::ShellRefused { what });
    }
    // The handler hears of everything. Without this half russh queues nothing for us, and cannot wait for room either.
    drop(replies);
    Ok(channel)
}

/// Asks for the pty, the variables and the program, all at once: the server answers in order.
async fn request(channel: &ChannelWriteHalf<Msg>, program: &Program, size: WindowSize) -> Result<(), russh::Error> {
    let term = if program.term.is_empty() { DEFAULT_TERM } else { &program.term };
    let [cols, rows, width, height] = size.as_u32();
    channel.request_pty(true, term, cols, rows, width, height, &MODES).await?;
    let defaults = DEFAULT_ENV.iter().filter(|(name, _)| program.env.iter().all(|(n, _)| n != name));
    let own = program.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in defaults.copied().chain(own) {
        // Servers refuse most variables; that is no reason to fail.
        channel.set_env(false, name, value).await?;
    }
    match &program.command {
        Some(command) => channel.exec(true, command.as_str()).await,
        None => channel.request_shell(true).await,
    }
}

/// Whether the next request was granted; `None` if the channel was closed instead.
async fn reply(replies: &mut ChannelReadHalf) -> Option<bool> {
    loop {
        match replies.wait().await? {
            ChannelMsg::Success => return Some(true),
            ChannelMsg::Failure => return Some(false),
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

/// How we speak SSH.
async fn config(host_keys: &HostKeys, target: &Target) -> Result<Config, Failure> {
    let algorithms = host_keys.preferred_algorithms(&target.host, target.port).await?;
    Ok(Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-WebShell_", env!("CARGO_PKG_VERSION")))),
        // Never by russh itself: it would begin while reading is stopped, and input would wait. See `Rekey`.
        limits: Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::from_secs(u64::from(u32::MAX)),
        },
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        // Only the replies to our own requests ever wait there.
        channel_buffer_size: 8,
        preferred: Preferred {
            key: Cow::Owned(algorithms.keys),
            host_key_certificates: Cow::Owned(algorithms.certificates),
            cipher: Cow::Borrowed(ciphers()),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(KEEPALIVE),
        // Never by russh itself: it counts answers, and reads none while reading is stopped. See `Gate::limit_silence`.
        keepalive_max: 0,
        ..Config::default()
    })
}

/// The quickest first: AES is only where the CPU has instructions for it.
fn ciphers() -> &'static [cipher::Name] {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let has_aes = false;
    if has_aes {
        &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR]
    } else {
        &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::AES_256_CTR]
    }
}

// === impl Shell ===

impl Shell {
    /// Writes input, in order with earlier calls that have returned. Waits while the far side takes none; whoever drops
    /// it meanwhile cannot know how much was written.
    pub async fn write(&self, data: Bytes) -> Result<(), Ended> {
        let link = &self.connection.link;
        let len = data.len() as u64;
        // russh takes input of a closed channel as well, and then waits for ever.
        if link.end.initialized() {
            return Err(Ended);
        }
        select! {
            biased;
            written = self.channel.data_bytes(data) => written.map_err(|_| Ended)?,
            _ = link.end.wait() => return Err(Ended),
        }
        link.written.fetch_add(len, Relaxed);
        Ok(())
    }

    /// Tells the program that its window has another size. Passes input that waits.
    pub async fn resize(&self, size: WindowSize) -> Result<(), Ended> {
        let [cols, rows, width, height] = size.as_u32();
        select! {
            biased;
            sent = self.channel.window_change(cols, rows, width, height) => sent.map_err(|_| Ended),
            _ = self.connection.link.end.wait() => Err(Ended),
        }
    }

    /// Waits for the end. All output has been handed on by then.
    pub async fn ended(&self) -> End {
        self.connection.link.end.wait().await.clone()
    }

    /// Ends the connection, politely if that is possible at once. Returns when it is closed.
    pub async fn close(&self) {
        let Connection { handle, link, gate } = &self.connection;
        let polite = async {
            // During a key exchange this waits.
            let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
            link.gone.wait().await;
        };
        if timeout(CLOSE_LIMIT, polite).await.is_err() {
            gate.0.sever();
            link.gone.wait().await;
        }
    }
}

// === impl Connection ===

impl Connection {
    /// What an error of a call while the shell is opened means; if the connection has ended, what ended it says more.
    async fn failure(&self, error: russh::Error) -> Failure {
        // It is about to be known.
        let _ = timeout(CLOSE_LIMIT, self.link.end.wait()).await;
        match self.link.end.get() {
            Some(End::Failed(failure)) => failure.clone(),
            _ => Failure::of_russh(error, Phase::Open),
        }
    }
}

// === impl WindowSize ===

impl WindowSize {
    /// Columns, rows, width and height.
    fn as_u32(self) -> [u32; 4] {
        [self.cols, self.rows, self.width, self.height].map(u32::from)
    }
}

// === impl Cut ===

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.sever();
    }
}
