//! What russh calls: the host's key, the banner, output, and how it all ended.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use russh::{
    Channel, ChannelId, Sig,
    client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session},
    keys::PublicKeyOrCertificate,
};
use tokio::{
    sync::{SetOnce, mpsc},
    time::Instant,
};
use tracing::debug;

use super::{
    Event, HostKeys, Target,
    failure::{ClientError, Failure, Phase, is_name, printable},
    gate::{Gate, Hold},
    host_keys,
    rsa::{self, MIN_RSA_BITS},
};

/// What a server may say in banners. OpenSSH's own are a few KiB; an endless one must not fill our memory.
const BANNER_LIMIT: usize = 64 * 1024;

/// How a shell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The shell ended of its own, with what the server told of it (RFC 4254, 6.10).
    Exit {
        /// The exit status.
        status: Option<u32>,
        /// The name of the signal that ended it, without `SIG`.
        signal: Option<String>,
        /// What the server said of the signal, on one line; may be empty.
        message: String,
    },
    /// The connection ended before the shell did.
    Failed(Failure),
}

/// When to renew the keys, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyLimits {
    /// After so many bytes of input and output.
    pub bytes: u64,
    /// After so long.
    pub time: Duration,
}

/// Takes output.
pub(super) type Output = Box<dyn FnMut(&[u8]) + Send>;

/// What the callbacks and the [`Shell`](super::Shell) know of one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Set when the shell has ended, or the connection.
    pub(super) end: SetOnce<End>,
    /// What the host identified itself by, set when the first key exchange is done.
    pub(super) host_key: SetOnce<AcceptedKey>,
    /// Set when russh has let go of the connection.
    pub(super) gone: SetOnce<()>,
    /// How many bytes of input were written.
    pub(super) written: AtomicU64,
}

/// A host key that was accepted.
#[derive(Debug)]
pub(super) struct AcceptedKey {
    /// The algorithm that was agreed on for it (RFC 4253, 7.1).
    pub(super) algorithm: String,
    /// The key, or the certificate, as it was judged.
    pub(super) blob: Vec<u8>,
}

/// The callbacks of one connection.
pub(super) struct Handler {
    pub(super) link: Arc<Link>,
    pub(super) gate: Gate,
    pub(super) output: Output,
    pub(super) rekey: Rekey,
    /// Gone as soon as the shell's channel is open.
    pub(super) login: Option<Box<Login>>,
    /// What the server told of the end.
    pub(super) exit: Option<End>,
}

/// What is needed only until the user is logged in.
pub(super) struct Login {
    pub(super) target: Target,
    pub(super) host_keys: HostKeys,
    /// The shortest RSA key of a host that is accepted, in bits.
    pub(super) min_rsa_bits: u32,
    pub(super) events: mpsc::Sender<Event>,
    /// The host's key, once it was accepted.
    pub(super) accepted: Option<Vec<u8>>,
    /// How many bytes of banners there were.
    pub(super) banner: usize,
}

/// When the keys were renewed and how much has passed since.
#[derive(Debug)]
pub(super) struct Rekey {
    limits: RekeyLimits,
    since: Instant,
    read: u64,
    /// How much of the input had been written.
    written: u64,
    /// Held while we renew them.
    hold: Option<Hold>,
}

// === impl RekeyLimits ===

impl Default for RekeyLimits {
    /// 1 GiB or an hour, as RFC 4253 (section 9) recommends.
    fn default() -> Self {
        Self { bytes: 1 << 30, time: Duration::from_secs(3600) }
    }
}

// === impl Rekey ===

impl Rekey {
    pub(super) fn new(limits: RekeyLimits) -> Self {
        Self { limits, since: Instant::now(), read: 0, written: 0, hold: None }
    }

    /// Whether to renew the keys now.
    ///
    /// Called only when something has just been read: then the gate is open, and an exchange cannot wait for it. Nor is
    /// it begun before the backlog of a pause is read: russh gives up when more than two windows arrive before the
    /// server's answer, and packets of a byte or two in a window are more than that. A flood never lets up, but comes in
    /// large packets.
    fn is_due(&self, written: u64, gate: &Gate) -> bool {
        let bytes = self.read + written.saturating_sub(self.written);
        let RekeyLimits { bytes: limit, time } = self.limits;
        self.hold.is_none()
            && (bytes >= limit || self.since.elapsed() >= time)
            && (bytes >= limit.saturating_mul(2) || gate.is_drained())
    }
}

// === impl Handler ===

impl Handler {
    /// Hands on output, whichever stream it is of: a pty has but one.
    fn put(&mut self, data: &[u8], session: &mut Session) -> Result<(), ClientError> {
        (self.output)(data);
        self.gate.output_passed();
        self.rekey.read += data.len() as u64;
        self.rekey_if_due(session)
    }

    fn rekey_if_due(&mut self, session: &mut Session) -> Result<(), ClientError> {
        if self.rekey.is_due(self.link.written.load(Relaxed), &self.gate) {
            debug!("renewing the keys");
            self.rekey.hold = Some(self.gate.hold_open());
            session.initiate_rekey()?;
        }
        Ok(())
    }

    /// What the loss of the connection means, given what is known of the shell.
    fn end(&mut self, failure: Failure) -> End {
        // Some servers close the connection without closing the channel.
        self.exit.take().unwrap_or(End::Failed(failure))
    }

    fn phase(&self) -> Phase {
        match &self.login {
            None => Phase::Shell,
            Some(login) if login.accepted.is_some() => Phase::Authenticate,
            Some(_) => Phase::Handshake,
        }
    }
}

impl client::Handler for Handler {
    type Error = ClientError;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, ClientError> {
        let Some(login) = &mut self.login else { return Ok(false) };
        let Target { host, port, .. } = &login.target;
        let host_keys = mem::take(&mut login.host_keys);
        let least = login.min_rsa_bits.max(MIN_RSA_BITS);
        let verdict = host_keys.check(host, *port, presented, least, SystemTime::now()).await.map_err(Failure::from)?;
        let notices: Vec<_> = verdict.notice().into_iter().chain(rsa::notice(presented)).collect();
        if !notices.is_empty() {
            // Nobody who listens is no reason to stop.
            let _ = login.events.send(Event::HostKeyNotice(notices.join(" "))).await;
        }
        login.accepted = Some(host_keys::encoded(presented).map_err(Failure::from)?);
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), ClientError> {
        let Some(login) = &mut self.login else { return Ok(()) };
        login.banner += banner.len();
        if login.banner > BANNER_LIMIT {
            let detail = format!("its banner is longer than {BANNER_LIMIT} bytes");
            return Err(Failure::Protocol { phase: Phase::Authenticate, detail }.into());
        }
        let _ = login.events.send(Event::Banner(banner.to_owned())).await;
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        _: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        self.login = None;
        Ok(())
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, names: &russh::Names, _: &mut Session) -> Result<(), ClientError> {
        // Only the first exchange is one with a key that was judged.
        if let Some(blob) = self.login.as_mut().and_then(|login| login.accepted.clone()) {
            let _ = self.link.host_key.set(AcceptedKey { algorithm: names.key.to_string(), blob });
        }
        self.rekey = Rekey { written: self.link.written.load(Relaxed), ..Rekey::new(self.rekey.limits) };
        Ok(())
    }

    // A server has no reason to open channels to a terminal. A reply that is dropped refuses.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn data(&mut self, _: ChannelId, data: &[u8], session: &mut Session) -> Result<(), ClientError> {
        self.put(data, session)
    }

    async fn extended_data(
        &mut self,
        _: ChannelId,
        _: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), ClientError> {
        self.put(data, session)
    }

    async fn window_adjusted(&mut self, _: ChannelId, _: u32, session: &mut Session) -> Result<(), ClientError> {
        self.rekey_if_due(session)
    }

    async fn exit_status(&mut self, _: ChannelId, status: u32, _: &mut Session) -> Result<(), ClientError> {
        self.exit = Some(End::Exit { status: Some(status), signal: None, message: String::new() });
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        _: ChannelId,
        signal: Sig,
        _: bool,
        message: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        self.exit = Some(End::Exit { status: None, signal: Some(name(signal)), message: printable(message) });
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut Session) -> Result<(), ClientError> {
        let unknown = End::Exit { status: None, signal: None, message: String::new() };
        // Only the first end counts.
        let _ = self.link.end.set(self.exit.take().unwrap_or(unknown));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<ClientError>) -> Result<(), ClientError> {
        let phase = self.phase();
        let failure = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                Failure::Disconnected { phase, said: Some(printable(&info.message)).filter(|said| !said.is_empty()) }
            }
            DisconnectReason::Error(ClientError::Ours(failure)) => *failure,
            DisconnectReason::Error(ClientError::Russh(error)) => Failure::of_russh(error, phase),
        };
        let end = self.end(failure);
        let _ = self.link.end.set(end);
        Ok(())
    }
}

impl Drop for Handler {
    /// russh drops its handler last of all, also when it panics.
    fn drop(&mut self) {
        let end = self.end(Failure::Internal("the SSH library stopped".to_owned()));
        let _ = self.link.end.set(end);
        let _ = self.link.gone.set(());
    }
}

fn name(signal: Sig) -> String {
    match signal {
        // What is no name must not be taken for our words.
        Sig::Custom(name) => {
            if is_name(&name) {
                name
            } else {
                format!("{:?}", printable(&name))
            }
        }
        known => format!("{known:?}"),
    }
}
