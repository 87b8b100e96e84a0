//! Sessions driven with no socket at all: connections that break anywhere, limits, and taking over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::BytesMut;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::{advance, timeout};
use webshell::{
    api::SessionLimits,
    catalog::ShellKey,
    protocol::{
        Reason,
        v1::{Ended, NoticeKind, Size, Welcome},
    },
    session::{Attachment, Caps, Delivery, Feed, NewSession, OpenError, Registry, ResumeError, Session},
    telemetry::metrics::SessionMetrics,
    user::User,
};

const NO_LIMITS: SessionLimits = SessionLimits { idle: None, maximum: None, detach: None, sessions: None };
const PATIENCE: Duration = Duration::from_secs(20);

fn new_session(limits: SessionLimits) -> NewSession {
    NewSession { shell: shell(), user: user("ada"), client: Ipv4Addr::LOCALHOST.into(), size: Size::DEFAULT, limits }
}

/// A log-in of its own at each call.
fn user(name: &str) -> Arc<User> {
    Arc::new(User { name: name.to_owned(), ..User::default() })
}

fn shell() -> ShellKey {
    ShellKey { namespace: "team-a".to_owned(), name: "db-1".to_owned() }
}

fn registry() -> Registry {
    Registry::new(100, SessionMetrics::default())
}

fn resume(registry: &Registry, token: &str, received: u64) -> Result<(Attachment, Welcome), ResumeError> {
    registry.resume(token, received, Size::DEFAULT, &shell(), &user("ada"), Ipv4Addr::LOCALHOST.into())
}

/// A far end that gives back what it is given and ends at a `q`.
async fn echo(session: Arc<Session>) -> Ended {
    session.connected();
    loop {
        tokio::select! {
            input = session.next_input() => {
                session.output(&input);
                session.input_written();
                if input.contains(&b'q') {
                    return Ended { status: Some(0), ..Ended::new(Reason::Exit, "bye") };
                }
            }
            () = session.ending() => return Ended::new(Reason::Exit, "asked to end"),
        }
    }
}

fn feed(attachment: &Attachment) -> Feed<'_> {
    attachment.feed(BytesMut::with_capacity)
}

/// The next delivery that `wanted` says yes to.
async fn wait_for<T>(feed: &mut Feed<'_>, mut wanted: impl FnMut(Delivery) -> Option<T>) -> T {
    timeout(PATIENCE, async {
        loop {
            while let Some(delivery) = feed.take() {
                if let Some(found) = wanted(delivery) {
                    return found;
                }
            }
            feed.ready().await;
        }
    })
    .await
    .expect("nothing came")
}

/// All output from here on, and the end.
async fn read_to_end(attachment: &Attachment) -> (Vec<u8>, Ended) {
    let mut output = Vec::new();
    let ended = wait_for(&mut feed(attachment), |delivery| match delivery {
        Delivery::Output { message, .. } => {
            output.extend_from_slice(&message);
            None
        }
        Delivery::Ended(ended) => Some(ended),
        _ => None,
    })
    .await;
    (output, ended)
}

async fn wait_for_end(feed: &mut Feed<'_>) -> Ended {
    wait_for(feed, |delivery| match delivery {
        Delivery::Ended(ended) => Some(ended),
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_is_typed_comes_back_and_the_end_comes_last() {
    let (attachment, welcome) = registry().open(new_session(NO_LIMITS), None, echo).unwrap();
    assert!(!welcome.resumed);
    attachment.input(b"hello q").await;
    let (output, ended) = read_to_end(&attachment).await;
    assert_eq!((output.as_slice(), ended.status), (&b"hello q"[..], Some(0)));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_saw_is_told_at_the_resume() {
    let registry = registry();
    let (attachment, welcome) = registry.open(new_session(NO_LIMITS), None, echo).unwrap();
    attachment.input(b"last words q").await;
    drop(attachment);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (attachment, _) = resume(&registry, &welcome.token, 0).unwrap();
    let (output, ended) = read_to_end(&attachment).await;
    assert_eq!((output.as_slice(), ended.status), (&b"last words q"[..], Some(0)));
    attachment.session().dismiss();
    drop(attachment);
    timeout(PATIENCE, async {
        while registry.count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a session whose end was seen is let go");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_warned_taken_back_by_input_and_ended() {
    let limits = SessionLimits { idle: Some(Duration::from_secs(1800)), ..NO_LIMITS };
    let (attachment, _) = registry().open(new_session(limits), None, echo).unwrap();
    let mut feed = feed(&attachment);
    let idle = |delivery| match delivery {
        Delivery::Notice(notice) if notice.kind == NoticeKind::Idle => notice.seconds,
        _ => None,
    };
    tokio::task::yield_now().await;
    advance(Duration::from_secs(1741)).await;
    assert!(wait_for(&mut feed, idle).await > 0);
    attachment.input(b"x").await;
    assert_eq!(wait_for(&mut feed, idle).await, 0, "typing takes the warning back");
    advance(Duration::from_secs(1801)).await;
    assert_eq!(wait_for_end(&mut feed).await.reason, Reason::Idle);
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_back() {
    let registry = registry();
    let limits = SessionLimits { detach: Some(Duration::from_secs(300)), ..NO_LIMITS };
    let (attachment, welcome) = registry.open(new_session(limits), None, echo).unwrap();
    drop(attachment);
    tokio::time::sleep(Duration::from_secs(299)).await;
    let (attachment, welcome) = resume(&registry, &welcome.token, 0).expect("still there");
    tokio::time::sleep(Duration::from_secs(3000)).await;
    drop(attachment);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(resume(&registry, &welcome.token, 0).err(), Some(ResumeError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn changed_limits_apply_to_a_living_session() {
    let (attachment, _) = registry().open(new_session(NO_LIMITS), None, echo).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    attachment.session().set_limits(SessionLimits { maximum: Some(Duration::from_secs(100)), ..NO_LIMITS });
    assert_eq!(wait_for_end(&mut feed(&attachment)).await.reason, Reason::Maximum);
}

#[tokio::test(start_paused = true)]
async fn one_session_past_a_limit_is_refused_and_an_ended_one_makes_room() {
    let registry = registry();
    let limits = SessionLimits { sessions: Some(2), ..NO_LIMITS };
    let open = || registry.open(new_session(limits), None, echo);
    let (first, second) = (open().unwrap().0, open().unwrap().0);
    assert_eq!(open().err(), Some(OpenError::TooMany(2)));
    first.end();
    assert!(open().is_ok());
    drop(second);
    assert_eq!(open().err(), Some(OpenError::TooMany(2)), "a detached session counts");
    let full = Registry::new(1, SessionMetrics::default());
    let _one = full.open(new_session(NO_LIMITS), None, echo).unwrap();
    assert_eq!(full.open(new_session(NO_LIMITS), None, echo).err(), Some(OpenError::Full));
}

#[tokio::test(start_paused = true)]
async fn caps_count_users_shells_and_namespaces_apart_and_apply_at_once() {
    let registry = registry();
    let open = |namespace: &str, name: &str, who: &str| {
        let shell = ShellKey { namespace: namespace.to_owned(), name: name.to_owned() };
        registry.open(NewSession { shell, user: user(who), ..new_session(NO_LIMITS) }, None, echo)
    };
    let caps = Caps { total: 100, user: Some(2), shell: None, namespace: None };
    registry.set_caps(caps);
    let _living = [open("team-a", "db-1", "ada").unwrap(), open("team-a", "db-2", "ada").unwrap()];
    assert_eq!(open("team-a", "db-3", "ada").err(), Some(OpenError::TooManyOfUser(2)));
    let _others = [open("team-b", "db-1", "ada").unwrap(), open("team-a", "db-1", "bob").unwrap()];

    registry.set_caps(Caps { user: None, shell: Some(2), ..caps });
    assert_eq!(open("team-a", "db-1", "eve").err(), Some(OpenError::TooMany(2)));
    registry.set_caps(Caps { user: None, namespace: Some(3), ..caps });
    assert_eq!(open("team-a", "db-3", "eve").err(), Some(OpenError::TooManyInNamespace(3)));
    assert!(open("team-b", "db-3", "eve").is_ok());
    registry.set_caps(Caps { total: 4, user: None, ..caps });
    assert_eq!(open("team-c", "db-1", "eve").err(), Some(OpenError::Full));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_of_use_to_its_user_and_shell_only() {
    let registry = registry();
    let (_attachment, welcome) = registry.open(new_session(NO_LIMITS), None, echo).unwrap();
    let client = Ipv4Addr::LOCALHOST.into();
    let other = ShellKey { name: "db-2".to_owned(), ..shell() };
    let attempt = |shell: &ShellKey, name: &str, token: &str| {
        registry.resume(token, 0, Size::DEFAULT, shell, &user(name), client).err()
    };
    assert_eq!(attempt(&shell(), "eve", &welcome.token), Some(ResumeError::Unknown));
    assert_eq!(attempt(&other, "ada", &welcome.token), Some(ResumeError::Unknown));
    assert_eq!(
        attempt(&shell(), "ada", &welcome.session),
        Some(ResumeError::Unknown),
        "the id in the logs is no token"
    );
    let (_, second) = resume(&registry, &welcome.token, 0).unwrap();
    let (_, third) = resume(&registry, &second.token, 0).unwrap();
    assert_eq!(resume(&registry, &welcome.token, 0).err(), Some(ResumeError::Unknown), "replayed");
    assert_eq!(resume(&registry, &third.token, 99).err(), Some(ResumeError::Beyond(99)));
}

#[tokio::test(start_paused = true)]
async fn log_out_ends_what_that_log_in_opened_or_continued_last() {
    let registry = registry();
    let (here, elsewhere) = (user("ada"), user("ada"));
    let open = |user: &Arc<User>| {
        let new = NewSession { user: Arc::clone(user), ..new_session(NO_LIMITS) };
        registry.open(new, None, echo).unwrap()
    };
    let (opened, _) = open(&here);
    let (_moved, welcome) = open(&here);
    let (kept, _) = open(&elsewhere);
    let client = Ipv4Addr::LOCALHOST.into();
    let resumed = registry.resume(&welcome.token, 0, Size::DEFAULT, &shell(), &elsewhere, client);
    let (moved, _) = resumed.unwrap();
    registry.log_out(&here, "You logged out.");
    let ended = wait_for_end(&mut feed(&opened)).await;
    assert_eq!((ended.reason, ended.message.as_str()), (Reason::LoggedOut, "You logged out."));
    kept.input(b"still here").await;
    moved.input(b"still here").await;
    for attachment in [&kept, &moved] {
        wait_for(&mut feed(attachment), |delivery| matches!(delivery, Delivery::Output { .. }).then_some(())).await;
    }
    registry.log_out(&elsewhere, "You logged out.");
    for attachment in [&kept, &moved] {
        assert_eq!(wait_for_end(&mut feed(attachment)).await.reason, Reason::LoggedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_took_the_place_of_another_has_its_sessions() {
    let registry = registry();
    let [earlier, later, after] = [(); 3].map(|()| user("ada"));
    let open = |user: &Arc<User>| {
        let new = NewSession { user: Arc::clone(user), ..new_session(NO_LIMITS) };
        registry.open(new, None, echo)
    };
    let (before, welcome) = open(&earlier).unwrap();
    registry.replace_login(&earlier, &later);
    // A page that came with the earlier one and is only now through its hello.
    let (late, _) = open(&earlier).unwrap();
    let (resumed, welcome) =
        registry.resume(&welcome.token, 0, Size::DEFAULT, &shell(), &earlier, Ipv4Addr::LOCALHOST.into()).unwrap();
    registry.replace_login(&later, &after);
    drop(before);
    registry.log_out(&earlier, "of no use any more");
    for attachment in [&late, &resumed] {
        attachment.input(b"still here").await;
        wait_for(&mut feed(attachment), |delivery| matches!(delivery, Delivery::Output { .. }).then_some(())).await;
    }
    registry.log_out(&after, "You logged out.");
    for attachment in [&late, &resumed] {
        assert_eq!(wait_for_end(&mut feed(attachment)).await.reason, Reason::LoggedOut);
    }
    let again = user("ada");
    let resume = |login| {
        let client = Ipv4Addr::LOCALHOST.into();
        registry.resume(&welcome.token, 0, Size::DEFAULT, &shell(), login, client).err()
    };
    assert_eq!(resume(&again), Some(ResumeError::LoggedOut), "what was on the screen is shown to no later log-in");
    for login in [&earlier, &later, &after] {
        assert_eq!(resume(login), Some(ResumeError::LoggedOut));
        assert_eq!(open(login).err(), Some(OpenError::LoggedOut), "nobody comes with it after log-out");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_of_somebody_else_ends_the_sessions_of_the_one_before() {
    let registry = registry();
    let (ada, eve) = (user("ada"), user("eve"));
    let new = NewSession { user: Arc::clone(&ada), ..new_session(NO_LIMITS) };
    let (attachment, _) = registry.open(new, None, echo).unwrap();
    registry.replace_login(&ada, &eve);
    let ended = wait_for_end(&mut feed(&attachment)).await;
    assert_eq!(
        (ended.reason, ended.message.as_str()),
        (Reason::LoggedOut, "Somebody else logged in with this browser.")
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_takes_over_and_the_first_can_take_back() {
    let registry = registry();
    let (first, welcome) = registry.open(new_session(NO_LIMITS), None, echo).unwrap();
    let (second, taken) = resume(&registry, &welcome.token, 0).unwrap();
    let displaced = |delivery| matches!(delivery, Delivery::TakenOver).then_some(());
    wait_for(&mut feed(&first), displaced).await;
    first.input(b"lost?").await;
    second.input(b"mine").await;
    let (first, _) = resume(&registry, &welcome.token, 0).unwrap();
    wait_for(&mut feed(&second), displaced).await;
    let mut output = Vec::new();
    wait_for(&mut feed(&first), |delivery| match delivery {
        Delivery::Output { message, .. } => {
            output.extend_from_slice(&message);
            (output.len() >= 4).then_some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(output, b"mine", "what a displaced connection sends is not typed");
    assert!(resume(&registry, &taken.token, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_everybody_and_ends_what_does_not_end() {
    let registry = registry();
    let (attachment, _) = registry.open(new_session(NO_LIMITS), None, echo).unwrap();
    let draining = registry.clone();
    let drained = tokio::spawn(async move { draining.drain(Duration::from_secs(5)).await });
    let mut feed = feed(&attachment);
    wait_for(&mut feed, |delivery| match delivery {
        Delivery::Notice(notice) => (notice.kind == NoticeKind::Draining).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(registry.open(new_session(NO_LIMITS), None, echo).err(), Some(OpenError::Draining));
    assert_eq!(wait_for_end(&mut feed).await.reason, Reason::Draining);
    timeout(PATIENCE, drained).await.expect("drained").unwrap();
    assert_eq!(registry.count(), 0);
}

/// What a client does next in the property below.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Types so many bytes, of which the last `lost` do not leave the browser before the connection breaks.
    Type { bytes: usize, lost: usize },
    /// Reads so many deliveries.
    Read(usize),
    /// Acknowledges half of what it may.
    Acknowledge,
    /// Loses the connection, and the last so many bytes that were on their way.
    Break(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1usize..3000, 0usize..3000).prop_map(|(bytes, lost)| Step::Type { bytes, lost: lost.min(bytes) }),
        (1usize..8).prop_map(Step::Read),
        Just(Step::Acknowledge),
        (0usize..100_000).prop_map(Step::Break),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A far end that writes what `produce` gives, up to `total` bytes, and keeps what it is given.
async fn script(session: Arc<Session>, total: usize, got: Arc<Mutex<Vec<u8>>>) -> Ended {
    session.connected();
    let write = async {
        let mut position = 0;
        while position < total {
            let length = (position % 7919 + 1).min(total - position);
            let chunk: Vec<u8> = (position..position + length).map(produced).collect();
            session.output(&chunk);
            position += length;
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await
    };
    let read = async {
        loop {
            let input = session.next_input().await;
            got.lock().extend_from_slice(&input);
            session.input_written();
        }
    };
    tokio::select! {
        () = write => unreachable!(),
        () = read => unreachable!(),
        () = session.ending() => Ended::new(Reason::Exit, "asked to end"),
    }
}

fn produced(position: usize) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn typed(position: usize) -> u8 {
    (position.wrapping_mul(40_503) >> 7) as u8
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Wherever connections break, in whichever direction, the client has seen every byte of output once and the shell has
    /// got every byte of input once.
    #[test]
    fn breaks_anywhere_lose_nothing(steps in steps(), total in 1usize..600_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let registry = registry();
            let got = Arc::new(Mutex::new(Vec::new()));
            let shell = Arc::clone(&got);
            let (mut attachment, mut welcome) =
                registry.open(new_session(NO_LIMITS), None, |session| script(session, total, shell)).unwrap();
            // What the client has: output by position, how much it acknowledged, and what it typed and keeps.
            let (mut received, mut acked, mut typed_to, mut sent_to) = (0usize, 0usize, 0usize, 0usize);
            let mut connected = true;
            for step in steps.into_iter().chain([Step::Break(0)]) {
                tokio::task::yield_now().await;
                if !connected {
                    (attachment, welcome) = resume(&registry, &welcome.token, received as u64).unwrap();
                    assert_eq!(welcome.output, received as u64);
                    let arrived = usize::try_from(welcome.input).unwrap();
                    assert!(arrived <= sent_to, "{arrived} of {sent_to}");
                    let again: Vec<u8> = (arrived..typed_to).map(typed).collect();
                    attachment.input(&again).await;
                    sent_to = typed_to;
                    acked = received;
                    connected = true;
                }
                match step {
                    Step::Type { bytes, lost } => {
                        let input: Vec<u8> = (typed_to..typed_to + bytes).map(typed).collect();
                        typed_to += bytes;
                        attachment.input(&input[..bytes - lost]).await;
                        sent_to = typed_to;
                        if lost > 0 {
                            connected = false;
                        }
                    }
                    Step::Read(count) => {
                        let mut feed = feed(&attachment);
                        for _ in 0..count {
                            if let Some(Delivery::Output { message, position }) = feed.take() {
                                for (offset, &byte) in message.iter().enumerate() {
                                    assert_eq!(byte, produced(received + offset), "at {}", received + offset);
                                }
                                received += message.len();
                                assert_eq!(position, received as u64);
                            }
                        }
                    }
                    Step::Acknowledge => {
                        acked += (received - acked) / 2;
                        attachment.acknowledge(acked as u64);
                    }
                    Step::Break(lost) => {
                        received = received.saturating_sub(lost).max(acked);
                        connected = false;
                    }
                }
            }
            (attachment, welcome) = resume(&registry, &welcome.token, received as u64).unwrap();
            let arrived = usize::try_from(welcome.input).unwrap();
            let again: Vec<u8> = (arrived..typed_to).map(typed).collect();
            attachment.input(&again).await;
            while received < total {
                received = wait_for(&mut feed(&attachment), |delivery| match delivery {
                    Delivery::Output { message, .. } => {
                        assert!(message.iter().enumerate().all(|(offset, &byte)| byte == produced(received + offset)));
                        Some(received + message.len())
                    }
                    _ => None,
                })
                .await;
                attachment.acknowledge(received as u64);
            }
            timeout(PATIENCE, async {
                while got.lock().len() < typed_to {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("the shell got everything");
            let got = got.lock();
            assert_eq!(got.len(), typed_to);
            assert!(got.iter().enumerate().all(|(position, &byte)| byte == typed(position)));
        });
    }
}
