//! Questions of a server, asked and answered through the gateway in either mode.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod browser;
    pub mod gateway;
    pub mod scripted;
    pub mod sshd;
}

use futures_util::{SinkExt, StreamExt};
use support::{
    browser::{Client, Event, PATIENCE},
    gateway::{Gateway, access},
    scripted::{Script, Scripted},
    sshd::{Sshd, TestUser},
};
use tokio::time::timeout;
use tokio_websockets::Message;
use webshell::{
    protocol::{
        Reason,
        v1::{Answer, ClientMessage, Prompt},
    },
    ssh::{Credentials, KnownHosts},
};

const SCRIPT: Script = Script {
    prompts: &[("Code: ", true), ("PIN: ", false)],
    answers: &["123456", "98é76"],
    empty_request: false,
    refuses_shell: false,
};

/// A gateway for a server that asks two questions at once, of which the Secret knows neither.
async fn start(raw_mode: bool) -> (Scripted, Gateway) {
    let (sshd, server) = (Sshd::start(), Scripted::start(SCRIPT).await);
    let mut access = access(&sshd, "true");
    access.target.port = server.port;
    access.credentials = Credentials::default();
    access.host_keys.known_hosts = KnownHosts::parse(&server.known_hosts).unwrap();
    let gateway = Gateway::start_raw(access, raw_mode).await;
    (server, gateway)
}

async fn prompt(client: &mut Client) -> Prompt {
    loop {
        match client.next().await {
            Event::Prompt(prompt) => return prompt,
            Event::Ended(ended) => panic!("{ended:?} instead of a question"),
            Event::Closed(close) => panic!("{close:?} instead of a question"),
            _ => {}
        }
    }
}

async fn answer(client: &mut Client, id: u64, answers: Option<&[&str]>) {
    let answers = answers.map(|answers| answers.iter().map(|&answer| answer.to_owned()).collect());
    client.send(ClientMessage::Answer(Answer { id, answers })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_questions_are_asked_and_answered() {
    let (_server, gateway) = start(false).await;
    let mut client = gateway.endpoint.open().await;
    let asked = prompt(&mut client).await;
    assert_eq!(asked.asker, format!("{}@127.0.0.1", Sshd::user()));
    assert_eq!((asked.name.as_str(), asked.instruction.as_str()), ("Second factor", "Look at your token."));
    let lines: Vec<_> = asked.prompts.iter().map(|line| (line.text.as_str(), line.echo)).collect();
    assert_eq!(lines, SCRIPT.prompts);
    answer(&mut client, asked.id, Some(SCRIPT.answers)).await;
    let ended = client.ended().await;
    assert_eq!((ended.reason, ended.status), (Reason::Exit, Some(0)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_wait_for_a_browser_that_comes_back() {
    let (_server, gateway) = start(false).await;
    let mut client = gateway.endpoint.open().await;
    let asked = prompt(&mut client).await;
    let (token, received) = (client.welcome.token.clone(), client.received);
    drop(client);
    let mut client = gateway.endpoint.resume(&token, received).await.unwrap_or_else(|event| panic!("{event:?}"));
    assert_eq!(prompt(&mut client).await.id, asked.id);
    answer(&mut client, asked.id, Some(SCRIPT.answers)).await;
    assert_eq!(client.ended().await.status, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_are_asked_again_and_none_ends_it() {
    let (_server, gateway) = start(false).await;
    let mut client = gateway.endpoint.open().await;
    let id = prompt(&mut client).await.id;
    answer(&mut client, id, Some(&["123456", ""])).await;
    let again = prompt(&mut client).await.id;
    assert!(again > id, "a second question is another one");
    answer(&mut client, again, None).await;
    assert_eq!(client.ended().await.reason, Reason::PromptCancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_raw_mode_the_terminal_asks() {
    let (_server, gateway) = start(true).await;
    let mut socket = gateway.endpoint.connect(None).await.unwrap();
    let mut shown = String::new();
    let mut typing = [("Code: ", "123456\r"), ("PIN: ", "98é76\r")].into_iter().peekable();
    let code = loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Some((code, _)) = message.as_close() {
            break u16::from(code);
        }
        shown.push_str(message.as_text().unwrap_or_default());
        if let Some((_, keys)) = typing.next_if(|(question, _)| shown.ends_with(question)) {
            // As they are typed, key by key.
            for key in keys.chars() {
                socket.send(Message::text(key.to_string())).await.unwrap();
            }
        }
    };
    assert_eq!(code, 1000, "{shown}");
    let asker = format!("The machine {}@127.0.0.1 asks:\r\n", Sshd::user());
    assert_eq!(shown, asker + "Second factor\r\nLook at your token.\r\nCode: 123456\r\nPIN: \r\nssh closed");
}

/// PAM that asks for the account's password.
const PAM: &str = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: creates a user"]
async fn openssh_asks_and_opens_its_shell() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("KbdInteractiveAuthentication yes").pam(PAM).start();
    let mut access = access(&sshd, "");
    access.target.user = user.name.clone();
    access.credentials = Credentials::default();
    let gateway = Gateway::start(access).await;
    let mut client = gateway.endpoint.open().await;
    let asked = prompt(&mut client).await;
    assert!(asked.prompts.len() == 1 && !asked.prompts[0].echo, "{asked:?}");
    answer(&mut client, asked.id, Some(&["wrong"])).await;
    let again = prompt(&mut client).await;
    assert!(again.id > asked.id, "a second question is another one");
    answer(&mut client, again.id, Some(&[&user.password])).await;
    client.connected().await;
    client.input("id -un; exit\r").await;
    client.read_until(&format!("{}\r\n", user.name)).await;
    assert_eq!(client.ended().await.status, Some(0));
}
