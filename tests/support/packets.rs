//! An SSH server down to its packets, so that it can send what no library would: one key exchange, one cipher, and a log-in
//! that takes anything (RFC 4253, 4252 and 4254).
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::io;

use ring::{
    aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    digest::{Context, SHA256},
    rand::SystemRandom,
};
use russh::keys::{
    Algorithm, HashAlg, PrivateKey,
    key::safe_rng,
    signature::Signer,
    ssh_encoding::Encode,
    ssh_key::{Signature, private::KeypairData},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// How it introduces itself.
pub const VERSION: &str = "SSH-2.0-hostile";

/// Message numbers.
pub mod number {
    pub const SERVICE_ACCEPT: u8 = 6;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const KEX_ECDH_REPLY: u8 = 31;
    pub const USERAUTH_FAILURE: u8 = 51;
    pub const USERAUTH_SUCCESS: u8 = 52;
    pub const USERAUTH_BANNER: u8 = 53;
    pub const USERAUTH_INFO_REQUEST: u8 = 60;
    pub const USERAUTH_INFO_RESPONSE: u8 = 61;
    pub const GLOBAL_REQUEST: u8 = 80;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub const CHANNEL_DATA: u8 = 94;
    pub const CHANNEL_EXTENDED_DATA: u8 = 95;
    pub const CHANNEL_EOF: u8 = 96;
    pub const CHANNEL_CLOSE: u8 = 97;
    pub const CHANNEL_REQUEST: u8 = 98;
    pub const CHANNEL_SUCCESS: u8 = 99;
}

const TAG: usize = 16;

/// A connection of a client.
pub struct Connection {
    stream: BufReader<TcpStream>,
    sealing: Option<SealingKey>,
    opening: Option<OpeningKey>,
    sent: u32,
    received: u32,
    client_version: String,
    session_id: Vec<u8>,
    /// What the client calls its channel.
    pub channel: u32,
}

/// What a server identifies itself by.
#[derive(Clone)]
pub struct HostKey {
    /// The host key algorithm that it offers (RFC 4253, 6.6).
    pub algorithm: String,
    /// Its public key, or a certificate of it.
    pub blob: Vec<u8>,
    pub key: PrivateKey,
    /// What it signs with where that is an RSA key; `None` is SHA-1.
    pub hash: Option<HashAlg>,
}

/// Builds a message.
#[derive(Clone, Default)]
pub struct Payload(pub Vec<u8>);

// === impl Payload ===

impl Payload {
    pub fn new(number: u8) -> Self {
        Self(vec![number])
    }

    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn string(self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut with_length = self.u32(value.len() as u32);
        with_length.0.extend(value);
        with_length
    }

    pub fn raw(mut self, value: impl AsRef<[u8]>) -> Self {
        self.0.extend(value.as_ref());
        self
    }

    /// A number that is not negative, big-endian (RFC 4251, 5).
    fn mpint(self, value: &[u8]) -> Self {
        let start = value.iter().position(|&byte| byte != 0).unwrap_or(value.len());
        let value = &value[start..];
        if value.first().is_some_and(|&byte| byte >= 0x80) {
            self.string([&[0], value].concat())
        } else {
            self.string(value)
        }
    }
}

// === impl HostKey ===

impl HostKey {
    /// One that offers its key as it is; an RSA key with SHA-512.
    pub fn of(key: PrivateKey) -> Self {
        let algorithm = match key.algorithm() {
            Algorithm::Rsa { .. } => "rsa-sha2-512".to_owned(),
            other => other.to_string(),
        };
        let blob = key.public_key().to_bytes().unwrap();
        Self { algorithm, blob, key, hash: Some(HashAlg::Sha512) }
    }

    pub fn random() -> Self {
        Self::of(PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap())
    }

    /// A certificate of its key in place of the key.
    pub fn certified(self, blob: Vec<u8>) -> Self {
        let algorithm = match self.algorithm.split_once('@') {
            Some((name, _)) => format!("{name}-cert-v01@openssh.com"),
            None => format!("{}-cert-v01@openssh.com", self.algorithm),
        };
        Self { algorithm, blob, ..self }
    }

    /// The line of a known_hosts file for it.
    pub fn known_hosts(&self, name: &str) -> String {
        format!("{name} {}\n", self.key.public_key().to_openssh().unwrap())
    }
}

/// Signs with a key, and with this hash where it is an RSA key; the signature as it is sent (RFC 4253, 6.6).
pub fn sign(key: &PrivateKey, hash: Option<HashAlg>, data: &[u8]) -> Vec<u8> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(data).unwrap(),
        _ => key.try_sign(data).unwrap(),
    };
    signature.encode_vec().unwrap()
}

// === impl Connection ===

impl Connection {
    /// Exchanges versions.
    pub async fn greet(stream: TcpStream) -> io::Result<Self> {
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{VERSION}\r\n").as_bytes()).await?;
        let mut client_version = String::new();
        stream.read_line(&mut client_version).await?;
        Ok(Connection {
            stream,
            sealing: None,
            opening: None,
            sent: 0,
            received: 0,
            client_version: client_version.trim_end().to_owned(),
            session_id: Vec::new(),
            channel: 0,
        })
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a message.
    pub async fn send(&mut self, payload: Payload) -> io::Result<()> {
        let payload = payload.0;
        // What is padded to whole blocks includes the length only where that is not encrypted apart.
        let prefix = if self.sealing.is_some() { 1 } else { 5 };
        let padding = 4 + (8 - (prefix + payload.len() + 4) % 8) % 8;
        let length = 1 + payload.len() + padding;
        self.send_packet(length as u32, &[&[padding as u8], &payload[..], &vec![0; padding][..]].concat()).await
    }

    /// Sends a packet that says to be so long, whatever it holds.
    pub async fn send_packet(&mut self, length: u32, content: &[u8]) -> io::Result<()> {
        let mut packet = [&length.to_be_bytes(), content].concat();
        if let Some(sealing) = &self.sealing {
            let mut tag = [0; TAG];
            sealing.seal_in_place(self.sent, &mut packet, &mut tag);
            packet.extend(tag);
        }
        self.sent = self.sent.wrapping_add(1);
        self.stream.write_all(&packet).await
    }

    /// Receives a message.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; 4];
        self.stream.read_exact(&mut packet).await?;
        let mut length: [u8; 4] = packet[..].try_into().unwrap();
        if let Some(opening) = &self.opening {
            length = opening.decrypt_packet_length(self.received, length);
        }
        packet.resize(4 + u32::from_be_bytes(length) as usize, 0);
        self.stream.read_exact(&mut packet[4..]).await?;
        if let Some(opening) = &self.opening {
            let mut tag = [0; TAG];
            self.stream.read_exact(&mut tag).await?;
            opening.open_in_place(self.received, &mut packet, &tag).map_err(unauthentic)?;
        }
        self.received = self.received.wrapping_add(1);
        let padding = usize::from(packet[4]);
        Ok(packet[5..packet.len() - padding].to_vec())
    }

    /// Receives messages up to one of this number.
    pub async fn receive_until(&mut self, number: u8) -> io::Result<Vec<u8>> {
        loop {
            let payload = self.receive().await?;
            if payload.first() == Some(&number) {
                return Ok(payload);
            }
        }
    }

    /// What this server can do, with these host key algorithms.
    pub fn kexinit(host_keys: &str) -> Payload {
        let lists = [
            "curve25519-sha256",
            host_keys,
            "chacha20-poly1305@openssh.com",
            "chacha20-poly1305@openssh.com",
            "hmac-sha2-256",
            "hmac-sha2-256",
            "none",
            "none",
            "",
            "",
        ];
        let payload = Payload::new(number::KEXINIT).raw([7; 16]);
        lists.iter().fold(payload, Payload::string).byte(0).u32(0)
    }

    /// Exchanges keys (RFC 8731), with a host key of its own.
    pub async fn exchange_keys(&mut self) -> io::Result<()> {
        self.exchange_keys_as(&[HostKey::random()]).await
    }

    /// Exchanges keys, with that of these host keys which the client likes best.
    pub async fn exchange_keys_as(&mut self, host_keys: &[HostKey]) -> io::Result<()> {
        let algorithms = host_keys.iter().map(|key| key.algorithm.as_str()).collect::<Vec<_>>().join(",");
        let (ours, theirs) = (Self::kexinit(&algorithms), self.receive().await?);
        self.send(ours.clone()).await?;
        let wanted = name_list(&theirs[17..], 1);
        let chosen = wanted.split(',').find_map(|name| host_keys.iter().find(|key| key.algorithm == name));
        let HostKey { blob: host_public, key, hash: hash_algorithm, .. } = chosen.ok_or(io::ErrorKind::Unsupported)?;
        let init = self.receive().await?;
        let client_public = &init[5..];

        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &random).unwrap();
        let public = private.compute_public_key().unwrap();
        let secret = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, client_public), <[u8]>::to_vec);
        let secret = Payload::default().mpint(&secret.map_err(unauthentic)?).0;

        let hashed = Payload::default().string(&self.client_version).string(VERSION).string(theirs).string(ours.0);
        let hashed = hashed.string(host_public).string(client_public).string(&public).raw(&secret);
        let hash = sha256(&[&hashed.0]);
        let signature = sign(key, *hash_algorithm, &hash);
        let reply = Payload::new(number::KEX_ECDH_REPLY).string(host_public).string(&public).string(signature);
        self.send(reply).await?;
        self.send(Payload::new(number::NEWKEYS)).await?;
        self.receive_until(number::NEWKEYS).await?;

        self.session_id.clone_from(&hash);
        let key = |letter: u8| -> [u8; 64] {
            let first = sha256(&[&secret, &hash, &[letter], &self.session_id]);
            let second = sha256(&[&secret, &hash, &first]);
            [first, second].concat().try_into().unwrap()
        };
        self.opening = Some(OpeningKey::new(&key(b'C')));
        self.sealing = Some(SealingKey::new(&key(b'D')));
        Ok(())
    }

    /// Lets the client begin to log in.
    pub async fn offer_log_in(&mut self) -> io::Result<()> {
        self.receive_until(5).await?;
        self.send(Payload::new(number::SERVICE_ACCEPT).string("ssh-userauth")).await
    }

    /// Lets anybody in.
    pub async fn log_in(&mut self) -> io::Result<()> {
        self.offer_log_in().await?;
        self.receive_until(50).await?;
        self.send(Payload::new(number::USERAUTH_SUCCESS)).await
    }

    /// Lets the client open its channel and its shell, which says `welcome`.
    pub async fn open_shell(&mut self) -> io::Result<()> {
        let open = self.receive_until(number::CHANNEL_OPEN).await?;
        // The type comes first: "session".
        self.channel = u32::from_be_bytes(open[12..16].try_into().unwrap());
        let confirmation = Payload::new(number::CHANNEL_OPEN_CONFIRMATION).u32(self.channel).u32(7);
        self.send(confirmation.u32(1 << 20).u32(32_768)).await?;
        for _ in ["pty-req", "exec"] {
            // Requests without a wish for an answer, such as variables, are passed over.
            while !wants_reply(&self.receive_until(number::CHANNEL_REQUEST).await?) {}
            self.send(Payload::new(number::CHANNEL_SUCCESS).u32(self.channel)).await?;
        }
        self.data(b"welcome\r\n").await
    }

    /// Sends output of the shell.
    pub async fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(Payload::new(number::CHANNEL_DATA).u32(self.channel).string(data)).await
    }

    /// From a TCP connection to an open shell.
    pub async fn shell(stream: TcpStream) -> io::Result<Self> {
        let mut connection = Self::greet(stream).await?;
        connection.exchange_keys().await?;
        connection.log_in().await?;
        connection.open_shell().await?;
        Ok(connection)
    }

    /// Reads, as far as the client goes on, to its end.
    pub async fn drain(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// A list of a KEXINIT, counted from 0, from behind the cookie on (RFC 4253, 7.1).
fn name_list(lists: &[u8], index: usize) -> String {
    let (length, rest) = lists.split_at(4);
    let (list, rest) = rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
    if index == 0 { String::from_utf8(list.to_vec()).unwrap() } else { name_list(rest, index - 1) }
}

fn wants_reply(request: &[u8]) -> bool {
    let length = u32::from_be_bytes(request[5..9].try_into().unwrap()) as usize;
    request[9 + length] != 0
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn unauthentic(_: ring::error::Unspecified) -> io::Error {
    io::ErrorKind::InvalidData.into()
}
