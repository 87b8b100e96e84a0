//! Every way to log in, on real servers where they can be brought to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support {
    pub mod client;
    pub mod scripted;
    pub mod sshd;
}

use support::{
    client::{Screen, Story, ended, exit, known, refused, request, secret, tell},
    scripted::{Script, Scripted},
    sshd::{Sshd, TestUser, keygen, run},
};
use webshell::ssh::{Credentials, Failure, Request};

/// PAM that asks for the account's password.
const PAM: &str = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";

/// A request by a user with a password only.
fn by_password(sshd: &Sshd, user: &TestUser, password: &str) -> Request {
    let mut request = request(sshd, "true");
    request.target.user = user.name.clone();
    request.credentials = Credentials { password: Some(secret(password)), ..Credentials::default() };
    request
}

/// Opens what must open; the story of it.
async fn succeeds(request: Request, answers: &[&[&str]]) -> Story {
    let (shell, story) = tell(request, &Screen::new(), answers).await;
    assert_eq!(ended(&shell.unwrap()).await, exit(0));
    story
}

/// What the failure of an authentication says of each method.
async fn attempts(request: Request) -> Vec<(String, String)> {
    match refused(request).await {
        Failure::AuthenticationFailed { attempts, .. } => {
            attempts.into_iter().map(|attempt| (attempt.method, attempt.outcome)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The methods and outcomes of a failure, for comparison.
fn said(attempts: &[(String, String)]) -> Vec<(&str, &str)> {
    attempts.iter().map(|(method, outcome)| (method.as_str(), outcome.as_str())).collect()
}

#[tokio::test]
async fn keys_of_every_type_log_in() {
    let directory = tempfile::tempdir().unwrap();
    let sshd = Sshd::start();
    for (name, options) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
    ] {
        let (private, public) = keygen(directory.path(), name, options);
        sshd.authorize(&public);
        let mut request = request(&sshd, "true");
        request.credentials.private_key = Some(secret(&private));
        succeeds(request, &[]).await;
    }
    // Never SHA-1, though this server's list would allow to ask.
    assert!(sshd.log().contains("RSA SHA256:"), "{}", sshd.log());
}

#[tokio::test]
async fn an_encrypted_key_logs_in_with_its_passphrase() {
    let sshd = Sshd::start();
    let file = sshd.directory().join("encrypted");
    std::fs::write(&file, sshd.client_key()).unwrap();
    run("chmod", &["600", file.to_str().unwrap()]);
    run("ssh-keygen", &["-q", "-p", "-P", "", "-N", "correct horse", "-f", file.to_str().unwrap()]);
    let mut request = request(&sshd, "true");
    request.credentials.private_key = Some(secret(&std::fs::read_to_string(file).unwrap()));
    request.credentials.passphrase = Some(secret("correct horse"));
    succeeds(request, &[]).await;
}

#[tokio::test]
async fn certificates_log_in_where_their_keys_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let (_, authority) = keygen(directory.path(), "authority", &["-t", "ed25519"]);
    let sshd = Sshd::builder().user_authority(&authority).start();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let (private, _) = keygen(directory.path(), kind, &["-t", kind]);
        let mut request = request(&sshd, "true");
        request.credentials.private_key = Some(secret(&private));
        let sign = |options: &[&str]| {
            let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
            let (authority, key) = (path("authority"), path(&format!("{kind}.pub")));
            run("ssh-keygen", &[&["-q", "-s", &authority, "-I", "test"], options, &[&key]].concat());
            Some(std::fs::read_to_string(path(&format!("{kind}-cert.pub"))).unwrap())
        };
        request.credentials.certificate = sign(&["-n", &Sshd::user(), "-V", "-2d:-1d"]);
        let mut expired = support::client::request(&sshd, "true");
        expired.credentials = request.credentials.clone();
        let attempts = attempts(expired).await;
        assert_eq!(
            said(&attempts),
            [("publickey with the certificate", "refused (it has expired)"), ("publickey", "refused")]
        );
        request.credentials.certificate = sign(&["-n", &Sshd::user()]);
        succeeds(request, &[]).await;
    }
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn passwords_log_in_and_wrong_ones_do_not() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("PasswordAuthentication yes").start();
    succeeds(by_password(&sshd, &user, &user.password), &[]).await;
    let attempts = attempts(by_password(&sshd, &user, "wrong")).await;
    assert_eq!(
        said(&attempts),
        [("password", "refused"), ("publickey", "offered, but the Secret has no \"ssh-privatekey\"")]
    );
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn a_key_that_is_refused_is_followed_by_the_password() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("PasswordAuthentication yes").start();
    let mut request = by_password(&sshd, &user, &user.password);
    request.target.user = user.name.clone();
    let directory = tempfile::tempdir().unwrap();
    request.credentials.private_key = Some(secret(&keygen(directory.path(), "other", &["-t", "ed25519"]).0));
    succeeds(request, &[]).await;
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn too_many_failures_are_told_with_the_servers_words() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("PasswordAuthentication yes").config_line("MaxAuthTries 1").start();
    let attempts = attempts(by_password(&sshd, &user, "wrong")).await;
    assert_eq!(attempts[0].0, "password");
    assert!(attempts[0].1.contains("Too many authentication failures"), "{attempts:?}");
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn questions_for_the_password_are_answered_from_the_secret() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("KbdInteractiveAuthentication yes").pam(PAM).start();
    let story = succeeds(by_password(&sshd, &user, &user.password), &[]).await;
    assert!(story.questions.is_empty());
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn a_wrong_password_is_given_once_and_then_the_user_is_asked() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("KbdInteractiveAuthentication yes").pam(PAM).start();
    // A round that only the Secret took part in is not repeated.
    let attempts = attempts(by_password(&sshd, &user, "wrong")).await;
    assert_eq!(said(&attempts)[0], ("keyboard-interactive", "refused"));
    assert_eq!(sshd.log().matches("PAM: Authentication failure").count(), 1, "{}", sshd.log());
    // Without a password in the Secret the user is asked, and may try again.
    let mut request = by_password(&sshd, &user, "");
    request.credentials = Credentials::default();
    let story = succeeds(request, &[&["wrong"], &[&user.password]]).await;
    assert_eq!(story.questions.len(), 2);
    assert_eq!(story.questions[0].prompts.len(), 1);
    assert!(story.questions[0].prompts[0].text.contains("Password:"), "{:?}", story.questions);
    assert!(!story.questions[0].prompts[0].echo);
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn a_question_that_is_not_answered_cancels() {
    let user = TestUser::create();
    let sshd = Sshd::builder().config_line("KbdInteractiveAuthentication yes").pam(PAM).start();
    let mut request = by_password(&sshd, &user, "");
    request.credentials = Credentials::default();
    assert_eq!(refused(request).await, Failure::PromptCancelled);
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn all_that_a_server_wants_is_given_in_turn() {
    let user = TestUser::create();
    for wanted in ["publickey,password", "publickey,keyboard-interactive", "password,publickey"] {
        let sshd = Sshd::builder()
            .config_line("PasswordAuthentication yes")
            .config_line("KbdInteractiveAuthentication yes")
            .config_line(format!("AuthenticationMethods {wanted}"))
            .pam(PAM)
            .start();
        let mut request = by_password(&sshd, &user, &user.password);
        request.credentials.private_key = Some(secret(sshd.client_key()));
        succeeds(request, &[]).await;
    }
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn the_password_is_given_once_whichever_methods_ask_for_it() {
    let user = TestUser::create();
    let sshd = |methods: &str| {
        Sshd::builder()
            .config_line("PasswordAuthentication yes")
            .config_line("KbdInteractiveAuthentication yes")
            .config_line(format!("AuthenticationMethods {methods}"))
            .pam(PAM)
            .start()
    };
    // What looks the same may be the second factor: the user knows.
    let both = sshd("password,keyboard-interactive");
    let story = succeeds(by_password(&both, &user, &user.password), &[&[&user.password]]).await;
    assert_eq!(story.questions.len(), 1);
    let either = sshd("password keyboard-interactive");
    let attempts = attempts(by_password(&either, &user, "wrong")).await;
    assert_eq!(
        said(&attempts),
        [("password", "refused"), ("keyboard-interactive", "it asks for the password that was refused")]
    );
    assert_eq!(either.log().matches("Failed password").count(), 1, "{}", either.log());
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn half_an_authentication_is_not_taken_for_a_whole_one() {
    let user = TestUser::create();
    let sshd = Sshd::builder()
        .config_line("PasswordAuthentication yes")
        .config_line("AuthenticationMethods publickey,password")
        .start();
    let mut request = by_password(&sshd, &user, "wrong");
    request.credentials.private_key = Some(secret(sshd.client_key()));
    let attempts = attempts(request).await;
    assert_eq!(said(&attempts), [("publickey", "accepted, but the server wants more"), ("password", "refused")]);
    let mut request = by_password(&sshd, &user, "");
    request.credentials = Credentials { private_key: Some(secret(sshd.client_key())), ..Credentials::default() };
    let attempts = self::attempts(request).await;
    assert_eq!(
        said(&attempts),
        [
            ("publickey", "accepted, but the server wants more"),
            ("password", "offered, but the Secret has no \"password\"")
        ]
    );
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn dropbear_takes_keys_passwords_and_both() {
    let user = TestUser::create();
    for options in [&[][..], &["-t"]] {
        let sshd = Sshd::dropbear(&user, options);
        let mut both = by_password(&sshd, &user, &user.password);
        both.credentials.private_key = Some(secret(sshd.client_key()));
        succeeds(both, &[]).await;
        let password = by_password(&sshd, &user, &user.password);
        if options.is_empty() {
            succeeds(password, &[]).await;
            let attempts = attempts(by_password(&sshd, &user, "wrong")).await;
            assert_eq!(attempts[0], ("password".to_owned(), "refused".to_owned()));
        } else {
            assert!(matches!(refused(password).await, Failure::AuthenticationFailed { .. }));
        }
    }
}

#[tokio::test]
#[ignore = "needs root: creates a user"]
async fn dropbear_takes_keys_of_every_type() {
    let user = TestUser::create();
    let sshd = Sshd::dropbear(&user, &["-s"]);
    let directory = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (private, public) = keygen(directory.path(), kind, &["-t", kind]);
        user.authorize(&public);
        let mut request = by_password(&sshd, &user, "");
        request.credentials = Credentials { private_key: Some(secret(&private)), ..Credentials::default() };
        succeeds(request, &[]).await;
    }
}

/// A request at a server of our own: no real one asks two questions at once without a module that is not at hand.
fn of_script(server: &Scripted, sshd: &Sshd) -> Request {
    let mut request = request(sshd, "true");
    request.target.port = server.port;
    request.host_keys = known(&server.known_hosts);
    request.credentials = Credentials { password: Some(secret("the password")), ..Credentials::default() };
    request
}

#[tokio::test]
async fn the_user_is_asked_what_the_secret_does_not_know() {
    let sshd = Sshd::start();
    let script = Script {
        prompts: &[("Password: ", false), ("One-time \x1b[2Jpassword: ", true), ("Favourite colour? ", false)],
        answers: &["the password", "123456", "blue"],
        empty_request: true,
        ..Script::default()
    };
    let server = Scripted::start(script).await;
    let story = succeeds(of_script(&server, &sshd), &[&["123456", "blue"]]).await;
    let [question] = &story.questions[..] else { panic!("{story:?}") };
    assert_eq!((question.name.as_str(), question.instruction.as_str()), ("Second factor", "Look at your token."));
    let prompts: Vec<_> = question.prompts.iter().map(|prompt| (prompt.text.as_str(), prompt.echo)).collect();
    assert_eq!(prompts, [("One-time  [2Jpassword: ", true), ("Favourite colour? ", false)]);
}

#[tokio::test]
async fn a_one_time_password_is_asked_of_the_user() {
    let sshd = Sshd::start();
    let script = Script { prompts: &[("One-time password: ", false)], answers: &["123456"], ..Script::default() };
    let server = Scripted::start(script).await;
    let story = succeeds(of_script(&server, &sshd), &[&["123456"]]).await;
    assert_eq!(story.questions.len(), 1);
}

#[tokio::test]
async fn other_questions_than_for_this_log_ins_password_are_asked_of_the_user() {
    let sshd = Sshd::start();
    const QUESTIONS: [&[(&str, bool)]; 9] = [
        &[("SMS password:", false)],
        &[("Enter next password:", false)],
        &[("Sudo password for root:", false)],
        &[("[sudo] password for ops: ", false)],
        &[("Master password of the vault: ", false)],
        &[("New password: ", false)],
        &[("Password: ", true)],
        &[("Password:\u{202e} ", false)],
        &[("Password: ", false), ("Password: ", false)],
    ];
    for prompts in QUESTIONS {
        let answers: &[&str] = if prompts.len() == 1 { &["typed"] } else { &["typed", "twice"] };
        let server = Scripted::start(Script { prompts, answers, ..Script::default() }).await;
        let story = succeeds(of_script(&server, &sshd), &[answers]).await;
        assert_eq!(story.questions.len(), 1, "{prompts:?}");
        assert_eq!(story.questions[0].prompts.len(), prompts.len(), "{prompts:?}");
    }
}

#[tokio::test]
async fn what_is_said_beside_the_question_for_the_password_is_not_lost() {
    let sshd = Sshd::start();
    let prompts = &[("Your password expires soon.\r\nPassword: ", false)];
    let server = Scripted::start(Script { prompts, answers: &["the password"], ..Script::default() }).await;
    let story = succeeds(of_script(&server, &sshd), &[]).await;
    assert!(story.questions.is_empty(), "{story:?}");
    assert_eq!(story.banner, "Second factor\nLook at your token.\nYour password expires soon.");
}

#[tokio::test]
async fn a_shell_that_is_refused_is_told() {
    let sshd = Sshd::start();
    let script = Script {
        prompts: &[("Password: ", false)],
        answers: &["the password"],
        refuses_shell: true,
        ..Script::default()
    };
    let server = Scripted::start(script).await;
    assert_eq!(refused(of_script(&server, &sshd)).await, Failure::ShellRefused { what: "command" });
}

#[tokio::test]
async fn a_key_that_cannot_be_read_fails_before_anything_is_dialled() {
    let sshd = Sshd::start();
    let mut request = request(&sshd, "true");
    request.credentials.private_key = Some(secret("hunter2"));
    let failure = refused(request).await;
    assert!(matches!(failure, Failure::CredentialsUnusable { key: "ssh-privatekey", .. }), "{failure:?}");
}
