//! Shells on real OpenSSH and Dropbear servers: what runs in them, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod client;
    pub mod sshd;
}

use std::time::Duration;

use bytes::Bytes;
use support::{
    client::{PATIENCE, Screen, connect, ended, exit, request, secret, tell},
    sshd::{Sshd, TestUser, run, wait_until},
};
use tokio::time::timeout;
use webshell::ssh::{Credentials, End, Ended, Failure, Program, RekeyLimits, Shell, WindowSize};

/// Tiny limits, so that keys are renewed all the time.
const RESTLESS: RekeyLimits = RekeyLimits { bytes: 64 * 1024, time: Duration::from_secs(3600) };

async fn write(shell: &Shell, text: &str) {
    timeout(PATIENCE, shell.write(Bytes::copy_from_slice(text.as_bytes()))).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_command_reads_input_writes_output_and_exits() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let shell = connect(request(&sshd, "tty >/dev/null && read a && echo got $a; exit 7"), &screen).await.unwrap();
    write(&shell, "hello\n").await;
    screen.shows("got hello").await;
    assert_eq!(ended(&shell).await, exit(7));
    assert_eq!(shell.write(Bytes::from_static(b"late")).await, Err(Ended));
    shell.close().await;
}

#[tokio::test]
async fn without_a_command_the_users_shell_runs() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let mut request = request(&sshd, "");
    request.program = Program::default();
    let shell = connect(request, &screen).await.unwrap();
    write(&shell, "echo in-$((40+2)); exit 3\n").await;
    screen.shows("in-42").await;
    assert_eq!(ended(&shell).await, exit(3));
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn dropbear_runs_commands_too() {
    let user = TestUser::create();
    let sshd = Sshd::dropbear(&user, &[]);
    let screen = Screen::new();
    let mut request = request(&sshd, "read a && echo got $a; stty size; exit 5");
    request.target.user = user.name.clone();
    let shell = connect(request, &screen).await.unwrap();
    write(&shell, "hello\n").await;
    screen.shows("got hello").await;
    screen.shows("24 80").await;
    assert_eq!(ended(&shell).await, exit(5));
}

#[tokio::test]
async fn the_signal_that_ends_a_command_is_told() {
    let sshd = Sshd::start();
    let shell = connect(request(&sshd, "kill -KILL $$"), &Screen::new()).await.unwrap();
    let End::Exit { status: None, signal: Some(signal), .. } = ended(&shell).await else { panic!() };
    assert_eq!(signal, "KILL");
}

#[tokio::test]
async fn the_window_has_its_size_and_changes_it() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let command = "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done";
    let shell = connect(request(&sshd, command), &screen).await.unwrap();
    screen.shows("24 80").await;
    screen.shows("ready").await;
    shell.resize(WindowSize { cols: 132, rows: 50, width: 0, height: 0 }).await.unwrap();
    screen.shows("50 132").await;
    assert_eq!(ended(&shell).await, exit(0));
}

#[tokio::test]
async fn the_environment_is_set_with_colour_and_utf8_by_default() {
    let sshd = Sshd::builder().config_line("AcceptEnv *").start();
    let screen = Screen::new();
    let mut request = request(&sshd, "echo \"$TERM/$LANG/$COLORTERM/$MINE\"; stty -a");
    request.program.env = vec![("MINE".to_owned(), "yes".to_owned()), ("COLORTERM".to_owned(), "no".to_owned())];
    let shell = connect(request, &screen).await.unwrap();
    assert_eq!(ended(&shell).await, exit(0));
    screen.shows("xterm-256color/C.UTF-8/no/yes").await;
    assert!(!screen.text().contains("-iutf8"), "{}", screen.text());
}

#[tokio::test]
async fn banner_and_host_key_notices_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let banner = directory.path().join("banner");
    std::fs::write(&banner, "Welcome to the machine\n").unwrap();
    let sshd = Sshd::builder().config_line(format!("Banner {}", banner.display())).start();
    let (shell, story) = tell(request(&sshd, "true"), &Screen::new(), &[]).await;
    assert_eq!(ended(&shell.unwrap()).await, exit(0));
    assert_eq!(story.banner.trim(), "Welcome to the machine");
    assert_eq!(story.host_key_notices, [""; 0]);
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let shell = connect(request(&sshd, "stty raw -echo; echo ready; exec cat"), &screen).await.unwrap();
    screen.shows("ready").await;
    screen.take();
    // Every byte value, in an order that does not repeat with any power of two.
    let sent: Vec<u8> = (0u32..3_000_000).map(|i| (i % 251 + i / 65_536) as u8).chain(0..=255).collect();
    timeout(PATIENCE, shell.write(Bytes::from(sent.clone()))).await.unwrap().unwrap();
    screen.has(sent.len()).await;
    assert!(screen.bytes() == sent, "something was changed on the way");
    shell.close().await;
}

#[tokio::test]
async fn ctrl_c_reaches_a_flood_that_nobody_reads() {
    let sshd = Sshd::start();
    let screen = Screen::with_limit(256 * 1024);
    let mark = sshd.directory().join("interrupted");
    let command = format!("trap 'touch {}; exit 0' INT; yes", mark.display());
    let shell = connect(request(&sshd, &command), &screen).await.unwrap();
    screen.has(256 * 1024).await;
    write(&shell, "\x03").await;
    tokio::task::spawn_blocking(move || wait_until("the flood is interrupted", || mark.exists())).await.unwrap();
    assert!(screen.len() < 256 * 1024 + 32 * 1024, "the gate leaks: {} bytes", screen.len());
    // The rest comes, and the end with it.
    screen.never_stop();
    assert_eq!(ended(&shell).await, exit(0));
}

#[tokio::test]
async fn keys_are_renewed_by_both_sides_while_bytes_flow_both_ways() {
    // A day's hourly renewals within the first MiB or two.
    let sshd = Sshd::builder().config_line("RekeyLimit 64K").config_line("LogLevel DEBUG1").start();
    let screen = Screen::new();
    let mut request = request(&sshd, "stty raw -echo; echo ready; exec cat");
    request.rekey = RESTLESS;
    let shell = connect(request, &screen).await.unwrap();
    screen.shows("ready").await;
    screen.take();
    let sent: Vec<u8> = (0u32..8 << 20).map(|i| (i % 251) as u8).collect();
    for chunk in sent.chunks(10_000) {
        timeout(PATIENCE, shell.write(Bytes::copy_from_slice(chunk))).await.unwrap().unwrap();
    }
    screen.has(sent.len()).await;
    assert!(screen.bytes() == sent, "something was changed on the way");
    assert!(sshd.log().matches("SSH2_MSG_NEWKEYS received").count() > 24);
    shell.close().await;
}

#[tokio::test]
async fn keys_are_renewed_while_the_reader_pauses() {
    for server in ["RekeyLimit default none", "RekeyLimit 64K"] {
        let sshd = Sshd::builder().config_line(server).config_line("LogLevel DEBUG1").start();
        let screen = Screen::with_limit(100_000);
        let mut request =
            request(&sshd, "stty raw -echo; echo ready; head -c1; seq 1 400000; echo the end; exec cat >/dev/null");
        request.rekey = RESTLESS;
        let shell = connect(request, &screen).await.unwrap();
        screen.shows("ready").await;
        screen.take();
        write(&shell, "\n").await;
        let mut all = Vec::new();
        while !all.ends_with(b"the end\n") {
            screen.has(1).await;
            // Input passes while reading is stopped.
            write(&shell, "x").await;
            all.extend(screen.take());
        }
        let lines: String = (1..=400_000).map(|i| format!("{i}\n")).collect();
        assert!(all == format!("\n{lines}the end\n").into_bytes(), "{server}: output was lost, doubled or changed");
        assert!(sshd.log().matches("SSH2_MSG_NEWKEYS received").count() > 3, "{server}");
        shell.close().await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_a_shell_that_ends() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let shell = connect(request(&sshd, "echo ready; sleep 1000"), &screen).await.unwrap();
    screen.shows("ready").await;
    sshd.kill_connections();
    let end = ended(&shell).await;
    assert!(matches!(end, End::Failed(Failure::Disconnected { .. })), "{end:?}");
}

#[tokio::test]
async fn closing_ends_a_shell_that_nobody_reads() {
    let sshd = Sshd::start();
    for rekey in [RekeyLimits::default(), RESTLESS] {
        let screen = Screen::with_limit(256 * 1024);
        let mut request = request(&sshd, "yes");
        request.rekey = rekey;
        let shell = connect(request, &screen).await.unwrap();
        screen.has(256 * 1024).await;
        timeout(PATIENCE, shell.close()).await.unwrap();
        assert!(matches!(ended(&shell).await, End::Failed(_)));
    }
}

#[tokio::test]
async fn input_that_nobody_takes_does_not_outlive_the_shell() {
    let sshd = Sshd::start();
    let screen = Screen::new();
    let shell = connect(request(&sshd, "stty raw -echo; echo ready; sleep 1000"), &screen).await.unwrap();
    screen.shows("ready").await;
    // More than the window and the terminal hold.
    let paste = shell.write(Bytes::from(vec![b'x'; 16 << 20]));
    let (written, ()) = tokio::join!(paste, async {
        shell.resize(WindowSize { cols: 100, rows: 30, width: 0, height: 0 }).await.unwrap();
        sshd.kill_connections();
    });
    assert_eq!(written, Err(Ended));
}

#[tokio::test]
async fn dropping_a_shell_closes_its_connection() {
    let sshd = Sshd::start();
    let screen = Screen::with_limit(0);
    let shell = connect(request(&sshd, "yes"), &screen).await.unwrap();
    screen.has(1).await;
    drop(shell);
    let pid = sshd.pid();
    let children = move || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    tokio::task::spawn_blocking(move || wait_until("the connection is closed", || children().is_empty()))
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn a_users_own_shell_is_what_the_account_says() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("PasswordAuthentication yes").start();
    let screen = Screen::new();
    let mut request = request(&sshd, "id -un");
    request.target.user = user.name.clone();
    request.credentials = Credentials { password: Some(secret(&user.password)), ..Credentials::default() };
    let shell = connect(request, &screen).await.unwrap();
    assert_eq!(ended(&shell).await, exit(0));
    assert_eq!(screen.text().trim(), run("id", &["-un", &user.name]).trim());
}
