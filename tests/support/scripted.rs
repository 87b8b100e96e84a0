//! A server that does what no real one can be brought to do at will.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::{borrow::Cow, sync::Arc};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet, Pty,
    keys::{Algorithm, PrivateKey, key::safe_rng},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Response, Session, run_stream},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A server on loopback, for one connection.
pub struct Scripted {
    pub port: u16,
    pub known_hosts: String,
    task: JoinHandle<()>,
}

/// What it does.
#[derive(Clone, Copy, Default)]
pub struct Script {
    /// Asks these at once, with whether the answers may be shown, and wants `answers`.
    pub prompts: &'static [(&'static str, bool)],
    pub answers: &'static [&'static str],
    /// Begins with a request that asks nothing.
    pub empty_request: bool,
    pub refuses_shell: bool,
}

struct Connection {
    script: Script,
    begun: bool,
}

impl Scripted {
    pub async fn start(script: Script) -> Self {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let known_hosts = format!("[127.0.0.1]:{port} {}\n", key.public_key().to_openssh().unwrap());
        let methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
        let config = Config { keys: vec![key], methods, auth_rejection_time: Default::default(), ..Config::default() };
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(session) = run_stream(Arc::new(config), stream, Connection { script, begun: false }).await {
                let _ = session.await;
            }
        });
        Self { port, known_hosts, task }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Script { prompts, answers, empty_request, .. } = self.script;
        let ask = |prompts: &[(&'static str, bool)]| Auth::Partial {
            name: Cow::Borrowed("Second factor"),
            instructions: Cow::Borrowed("Look at your token."),
            prompts: prompts.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect(),
        };
        let given: Option<Vec<_>> = response.map(|given| given.map(|answer| answer.to_vec()).collect());
        Ok(match given {
            None if empty_request => ask(&[]),
            None => ask(prompts),
            Some(given) if given.is_empty() && !self.begun => {
                self.begun = true;
                ask(prompts)
            }
            Some(given) if given == answers.iter().map(|a| a.as_bytes().to_vec()).collect::<Vec<_>>() => Auth::Accept,
            Some(_) => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(&mut self, channel: ChannelId, _: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        if self.script.refuses_shell {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        session.exit_status_request(channel, 0)?;
        session.close(channel)
    }
}
