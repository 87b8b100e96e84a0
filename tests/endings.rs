//! What ends a session of `webshell local -f`: edits, limits that come near, and a signal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod support {
    pub mod binary;
    pub mod browser;
    pub mod bystander;
    pub mod sshd;
}

use serde_json::json;
use support::{
    binary::{Binary, Manifest},
    browser::{Client, Event},
    bystander::Bystander,
    sshd::Sshd,
};
use webshell::protocol::{
    Reason,
    v1::{Notice, NoticeKind},
};

async fn connected(binary: &Binary, name: &str) -> Client {
    let mut client = binary.endpoint(name).open().await;
    client.connected().await;
    client
}

/// The next notice of a kind; what else comes is passed over.
async fn notice(client: &mut Client, kind: NoticeKind) -> Notice {
    loop {
        match client.next().await {
            Event::Notice(notice) if notice.kind == kind => return notice,
            Event::Ended(ended) => panic!("{ended:?} instead of a notice"),
            Event::Closed(close) => panic!("{close:?} instead of a notice"),
            Event::Output(_) => client.acknowledge().await,
            _ => {}
        }
    }
}

/// Waits for the end, which must be of a reason and be told twice: in words, and by the code of the close.
async fn assert_ended(client: &mut Client, reason: Reason, code: u16) {
    let ended = client.ended().await;
    assert_eq!((ended.reason, ended.code), (reason, code), "{ended:?}");
    assert!(!ended.message.is_empty());
    let closed = client.next().await;
    assert!(matches!(closed, Event::Closed(Some((closed, _))) if closed == code), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_away_ends_with_the_reason_and_the_rest_goes_on() {
    let sshd = Sshd::start();
    let good = Bystander::manifest(&sshd);
    let shell = Manifest::of("edited", &sshd);
    let binary = Binary::serve(&[good.clone(), shell.clone()]);
    let mut bystander = Bystander::begin(&binary).await;

    let mut client = connected(&binary, "edited").await;
    let mut secret = shell.clone();
    secret.secret["password"] = json!("another");
    binary.edit(&[good.clone(), secret.clone()]);
    assert_ended(&mut client, Reason::CredentialsChanged, 4204).await;

    let mut client = connected(&binary, "edited").await;
    let mut target = secret.clone();
    target.target["host"] = json!("localhost");
    binary.edit(&[good.clone(), target]);
    assert_ended(&mut client, Reason::TargetChanged, 4203).await;

    binary.edit(&[good.clone(), shell]);
    bystander.works().await;
    let mut client = reconnected(&binary).await;
    binary.edit(std::slice::from_ref(&good));
    assert_ended(&mut client, Reason::Deleted, 4202).await;
    assert!(binary.endpoint("edited").connect(None).await.is_err(), "there is nothing any more");
    bystander.works().await;
}

/// A session that stays: of the shell as it is after an edit, which takes a moment to be noticed.
async fn reconnected(binary: &Binary) -> Client {
    loop {
        let mut client = binary.endpoint("edited").open().await;
        loop {
            match client.next().await {
                Event::State(webshell::protocol::v1::State::Connected) => return client,
                Event::Ended(_) | Event::Closed(_) => break,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_edited_counts_for_the_living() {
    let sshd = Sshd::start();
    let good = Bystander::manifest(&sshd);
    let shell = Manifest { session: json!({"maxDuration": "8h"}), ..Manifest::of("edited", &sshd) };
    let binary = Binary::serve(&[good.clone(), shell.clone()]);
    let mut bystander = Bystander::begin(&binary).await;
    let mut client = connected(&binary, "edited").await;
    binary.edit(&[good, Manifest { session: json!({"maxDuration": "6s"}), ..shell }]);
    let notice = notice(&mut client, NoticeKind::Maximum).await;
    assert!(notice.seconds.unwrap() <= 6, "{notice:?}");
    assert_ended(&mut client, Reason::Maximum, 4201).await;
    bystander.works().await;
    // Its log lies beside the manifests, and every line of it is a change in their directory.
    assert_eq!(binary.log().matches("manifests read").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_warned_and_ended_and_typing_takes_the_warning_back() {
    let sshd = Sshd::start();
    let shell = Manifest { session: json!({"idleTimeout": "4s"}), ..Manifest::of("idle", &sshd) };
    let binary = Binary::serve(&[shell]);
    let mut client = connected(&binary, "idle").await;
    let warned = notice(&mut client, NoticeKind::Idle).await;
    assert!((1..=2).contains(&warned.seconds.unwrap()), "{warned:?}");
    client.input("x").await;
    assert_eq!(notice(&mut client, NoticeKind::Idle).await.seconds, Some(0));
    assert!(notice(&mut client, NoticeKind::Idle).await.seconds.unwrap() > 0);
    assert_ended(&mut client, Reason::Idle, 4200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_comes_back_in_time_finds_the_session() {
    let sshd = Sshd::start();
    let shell = Manifest { session: json!({"detachTimeout": "1s"}), ..Manifest::of("left", &sshd) };
    let mut binary = Binary::serve(&[shell]);
    let client = connected(&binary, "left").await;
    let (token, received) = (client.welcome.token.clone(), client.received);
    drop(client);
    while !binary.admin("/metrics").await.1.contains("webshell_closes_total{reason=\"detached\"} 1") {
        tokio::task::yield_now().await;
    }
    // The end itself may still be told, within the same time again; then it is forgotten.
    loop {
        match binary.endpoint("left").resume(&token, received).await {
            Ok(mut client) => assert_ended(&mut client, Reason::Detached, 4207).await,
            Err(Event::Ended(ended)) => break assert_eq!(ended.code, 4301),
            Err(other) => panic!("{other:?}"),
        }
    }
    binary.terminate();
    assert!(binary.exit().success(), "without sessions it stops at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_tells_users_waits_and_ends_what_is_left() {
    let sshd = Sshd::start();
    let mut binary = Binary::serve_with(&[Manifest::of("shell", &sshd)], &["--drain-timeout", "3s"]);
    let (mut leaves, mut stays) = (connected(&binary, "shell").await, connected(&binary, "shell").await);
    assert_eq!(binary.admin("/readyz").await.0, 200);
    binary.terminate();
    for client in [&mut leaves, &mut stays] {
        assert_eq!(notice(client, NoticeKind::Draining).await.seconds, Some(3));
    }
    assert_eq!(binary.admin("/readyz").await.0, 503);
    assert_eq!(binary.admin("/healthz").await.0, 200);
    assert!(binary.endpoint("shell").connect(Some("webshell.v1")).await.is_err(), "no more is opened");
    leaves.input("exit 5\r").await;
    assert_eq!(leaves.ended().await.status, Some(5));
    assert_ended(&mut stays, Reason::Draining, 1001).await;
    assert_eq!(binary.exit().code(), Some(0));
}
