//! A gateway's shells from a real API server, on a real SSH server: what becomes of sessions as WebShells, Secrets and rights
//! change, and while the API server is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support {
    pub mod api_server;
    pub mod browser;
    pub mod faults;
    pub mod place;
    pub mod sshd;
    pub mod waiting;
}

use std::{process::Stdio, time::Duration};

use futures_util::future::join_all;
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    events::v1::Event as KubernetesEvent,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::{
    api_server::ApiServer,
    browser::PATIENCE,
    faults::Fault,
    place::{Options, POD, Place, ada, condition, get, spec, write_settings},
    sshd::{self, Sshd},
    waiting::eventually,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use webshell::{api::WebShell, policy::Reserved, protocol::Reason};

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_new_webshell_is_usable_and_its_status_tells_of_it() {
    let (sshd, mut place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell("db-1", spec(&sshd, "db-1")).await;
    let message = place.status("db-1", |status| {
        let condition = condition(status).filter(|condition| condition["reason"] == "NotFound")?;
        assert_eq!((&condition["status"], &condition["observedGeneration"]), (&json!("False"), &json!(1)));
        Some(condition["message"].as_str().unwrap().to_owned())
    });
    let message = message.await;
    assert!(message.contains("there is no such Secret") && message.contains("create it"), "{message}");
    assert_eq!(place.refused("db-1").await, Reason::Invalid);

    place.secret("db-1", json!({"ssh-privatekey": "nonsense"})).await;
    let unusable = |status: &Value| {
        let condition = condition(status).filter(|condition| condition["reason"] == "Unusable")?;
        Some(condition["message"].as_str().unwrap().to_owned())
    };
    let message = place.status("db-1", unusable).await;
    assert!(message.contains("Secret db-1") && message.contains("ssh-privatekey"), "{message}");

    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut browser = place.open("db-1").await;
    browser.input("hello\n").await;
    browser.read_until("hello").await;
    place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;
    let entry = json!([{"pod": POD, "activeSessions": 1}]);
    place.status("db-1", |status| (status["gateways"] == entry).then_some(())).await;
    // Nothing is written while nothing changes, however often it is looked at: as it is for each who connects.
    let writes = async || ApiServer::shared().await.status_writes(&place.namespace);
    let before = writes().await;
    for _ in 0..5 {
        assert_eq!(place.websocket_status("db-1").await, 101);
    }
    place.shutdown.drain.cancel();
    timeout(PATIENCE, place.running.take().unwrap()).await.unwrap().unwrap();
    place.status("db-1", |status| status["gateways"].is_null().then_some(())).await;
    assert_eq!(writes().await, before + 1, "besides the last number of sessions");
    place.status("db-1", |status| condition(status).map(|_| ())).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_a_session_began_with_must_stay_so() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    for name in ["changed", "moved", "gone", "same"] {
        place.shell_on(&sshd, name).await;
    }
    let mut same = place.open("same").await;
    let mut changed = place.open("changed").await;
    place.secret("changed", json!({"password": "another"})).await;
    assert_eq!(changed.ended().await.reason, Reason::CredentialsChanged);

    let mut moved = place.open("moved").await;
    let mut elsewhere = spec(&sshd, "moved");
    elsewhere["target"]["host"] = "localhost".into();
    place.shell("moved", elsewhere).await;
    assert_eq!(moved.ended().await.reason, Reason::TargetChanged);

    let mut gone = place.open("gone").await;
    place.api::<WebShell>().delete("gone", &DeleteParams::default()).await.unwrap();
    assert_eq!(gone.ended().await.reason, Reason::Deleted);
    assert_eq!(place.websocket_status("gone").await, 404);

    // What does not matter ends nothing, and limits apply live.
    place.secret("same", json!({"ssh-privatekey": sshd.client_key(), "comment": "new"})).await;
    same.input("still\n").await;
    same.read_until("still").await;
    let mut limited = spec(&sshd, "same");
    limited["session"] = json!({"maxDuration": "1s"});
    place.shell("same", limited).await;
    assert_eq!(same.ended().await.reason, Reason::Maximum);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_secret_that_is_made_again_ends_nothing_and_opens_nothing_meanwhile() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    let names = ["same", "known-hosts", "other", "limited", "unasked", "stays"];
    let known_hosts = async || place.secret("keys", json!({"known_hosts": sshd.known_hosts()})).await;
    known_hosts().await;
    let mut browsers = Vec::new();
    for name in names {
        place.shell_on(&sshd, name).await;
        if name == "known-hosts" {
            let mut by_reference = spec(&sshd, name);
            by_reference["hostKey"] = json!({"secretRef": {"name": "keys"}});
            place.shell(name, by_reference).await;
        }
        browsers.push(place.open(name).await);
    }
    let [same, known, other, limited, unasked, stays] = &mut browsers[..] else { unreachable!() };
    let delete = async |name: &str| place.api::<Secret>().delete(name, &DeleteParams::default()).await.unwrap();
    for name in ["same", "keys", "other", "limited", "unasked", "stays"] {
        delete(name).await;
    }
    // The gap was noticed: nothing new is opened.
    for name in names {
        place.status(name, |status| (condition(status)?["reason"] == "NotFound").then_some(())).await;
        assert_eq!(place.refused(name).await, Reason::Invalid, "{name}");
    }
    // Nor does it end anything that the API server cannot be asked.
    let unanswered = place.faults.on("get secrets", Fault::Status(500));
    unanswered.made(10).await;
    for browser in [&mut *same, known, other, limited, unasked, stays] {
        browser.input("meanwhile\n").await;
        browser.read_until("meanwhile").await;
    }
    drop(unanswered);

    place.secret("same", json!({"ssh-privatekey": sshd.client_key(), "comment": "made again"})).await;
    place.secret("unasked", json!({"ssh-privatekey": sshd.client_key()})).await;
    known_hosts().await;
    place.secret("other", json!({"password": "another"})).await;
    assert_eq!(other.ended().await.reason, Reason::CredentialsChanged);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"ssh-privatekey": sshd.client_key()},
        "metadata": {"name": "limited", "annotations": {"webshell.dev/allowed-hosts": "10.0.0.0/8"}},
    });
    let params = PatchParams::apply("tests").force();
    place.api::<Secret>().patch("limited", &params, &Patch::Apply(secret)).await.unwrap();
    assert_eq!(limited.ended().await.reason, Reason::HostNotAllowed);
    let ended = stays.ended().await;
    assert_eq!(ended.reason, Reason::Invalid);
    assert!(ended.message.contains("there is no such Secret"), "{}", ended.message);
    // By then what was made again is no gap any more.
    for (name, browser) in [("same", same), ("known-hosts", known), ("unasked", unasked)] {
        place.status(name, |status| (condition(status)?["status"] == "True").then_some(())).await;
        browser.input("afterwards\n").await;
        browser.read_until("afterwards").await;
        drop(place.open(name).await);
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn another_secret_that_is_missing_is_no_gap() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    let mut browser = place.open("db-1").await;
    place.shell("db-1", spec(&sshd, "none")).await;
    assert_eq!(browser.ended().await.reason, Reason::Invalid);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn lists_hold_up_neither_connections_nor_sessions() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    for number in 0..10 {
        place.shell(&format!("other-{number}"), spec(&sshd, "none")).await;
    }
    place.shell_on(&sshd, "db-1").await;
    let mut browser = place.open("db-1").await;
    place.allow("ada", &["create"], Some("db-1")).await;
    const REVIEWS: &str = "create localsubjectaccessreviews";
    let _slow = place.faults.on(REVIEWS, Fault::Slow(Duration::from_millis(300)));
    let before = place.faults.calls(REVIEWS);
    let lists = join_all((0..350).map(|_| get(place.address, "/-/shells", false)));
    let others = async {
        for _ in 0..3 {
            drop(place.open("db-1").await);
        }
        browser.input("still\n").await;
        browser.read_until("still").await;
    };
    let (lists, ()) = tokio::join!(lists, others);
    for (status, list) in lists {
        assert_eq!(status, 200, "{list}");
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((list["shells"][0]["name"].as_str(), list["complete"].as_bool()), (Some("db-1"), Some(true)));
        assert_eq!(list["shells"].as_array().unwrap().len(), 1, "{list}");
    }
    // One for the namespace and one for each shell, those for connections, and those of live sessions.
    let reviews = place.faults.calls(REVIEWS) - before;
    assert!((12..50).contains(&reviews), "{reviews}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn credentials_are_sent_only_where_their_secret_allows_it() {
    let sshd = Sshd::builder().config_line("LogLevel VERBOSE").start();
    let place = Place::start(Options::default()).await;
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key(), "password": "secret"})).await;
    place.allow_hosts("db-1", "db-1.example.com, *.example.com, 10.0.0.0/8").await;
    place.shell("db-1", spec(&sshd, "db-1")).await;
    let condition_is = async |status: &str, reason: &str| {
        place
            .status("db-1", |of| {
                let condition = condition(of).filter(|it| it["status"] == status && it["reason"] == reason)?;
                Some(condition["message"].as_str().unwrap().to_owned())
            })
            .await
    };
    assert_eq!(place.refused("db-1").await, Reason::HostNotAllowed);
    let message = condition_is("False", "HostNotAllowed").await;
    assert!(message.contains("spec.target.host is \"127.0.0.1\"") && message.contains("Secret db-1"), "{message}");

    place.allow_hosts("db-1", "127.0.0.1:22").await;
    assert_eq!(place.refused("db-1").await, Reason::Invalid);
    let message = condition_is("False", "Unusable").await;
    assert!(message.contains("has the entry \"127.0.0.1:22\""), "{message}");

    // Where a name leads to is known only once it is resolved.
    let mut by_name = spec(&sshd, "db-1");
    by_name["target"]["host"] = "localhost".into();
    place.shell("db-1", by_name).await;
    place.allow_hosts("db-1", "10.0.0.0/8").await;
    assert_eq!(place.refused("db-1").await, Reason::HostNotAllowed);
    condition_is("True", "Resolved").await;
    assert!(!sshd.log().contains("Connection from"), "{}", sshd.log());

    place.shell("db-1", spec(&sshd, "db-1")).await;
    place.allow_hosts("db-1", "127.0.0.1").await;
    let mut browser = place.open("db-1").await;
    assert!(sshd.log().contains("Connection from"), "{}", sshd.log());
    place.allow_hosts("db-1", "127.0.0.0/8").await;
    // Whoever connects has it read afresh.
    place.open("db-1").await;
    browser.input("still\n").await;
    browser.read_until("still").await;
    place.allow_hosts("db-1", "10.0.0.0/8").await;
    let ended = browser.ended().await;
    assert_eq!(ended.reason, Reason::HostNotAllowed);
    assert!(ended.message.contains("127.0.0.1"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_right_that_is_taken_away_ends_sessions() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    place.shell_on(&sshd, "db-2").await;
    let mut browser = place.open("db-1").await;
    place.allow("ada", &["create"], Some("db-2")).await;
    assert_eq!(browser.ended().await.reason, Reason::PermissionLost);
    assert_eq!(place.websocket_status("db-1").await, 403);
    let (status, list) = get(place.address, "/-/shells", false).await;
    assert_eq!(status, 200);
    assert!(list.contains("db-2") && !list.contains("db-1"), "{list}");

    // Of a shell that does not exist no more is told.
    assert_eq!(place.websocket_status("db-3").await, 403);
    place.allow("ada", &["get"], None).await;
    assert_eq!(place.websocket_status("db-2").await, 403);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn an_authorizer_is_told_all_that_is_known_of_a_user() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    let _live = place.open("db-1").await;
    assert_eq!(get(place.address, "/-/shells", false).await.0, 200);
    let user = ada();
    // Of the list, of the connection, and again while the session lives.
    let reviews = eventually("reviews of each kind", async || {
        let reviews = ApiServer::shared().await.access_reviews(&place.namespace);
        let named = reviews.iter().filter(|review| review["resourceAttributes"]["name"] == "db-1").count();
        (named >= 2 && reviews.len() > named).then_some(reviews)
    })
    .await;
    for review in reviews {
        let told = json!([review["user"], review["uid"], review["groups"], review["extra"]]);
        assert_eq!(told, json!([user.name, user.uid, user.groups, user.extra]), "{review}");
    }
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn without_an_api_server_sessions_live_on_and_none_begins() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    place.shell_on(&sshd, "db-2").await;
    let mut browser = place.open("db-1").await;
    drop(place.open("db-2").await.socket);
    let outage = place.faults.outage();

    browser.input("alive\n").await;
    browser.read_until("alive").await;
    browser.acknowledge().await;
    let mut resumed = place.endpoint("db-1").resume(&browser.welcome.token, browser.received).await.unwrap();
    resumed.input("resumed\n").await;
    resumed.read_until("resumed").await;
    // One who has a session may want to resume it, but may not begin another.
    assert_eq!(place.refused("db-1").await, Reason::ApiUnavailable);
    place.shell_on(&sshd, "db-3").await;
    assert_eq!(place.websocket_status("db-3").await, 503);
    assert_eq!(get(place.address, "/-/shells", false).await.0, 503);

    drop(outage);
    let mut later = place.open("db-3").await;
    later.input("later\n").await;
    later.read_until("later").await;
    resumed.input("through\n").await;
    resumed.read_until("through").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn an_outage_beyond_the_grace_ends_sessions() {
    let options = Options { grace: "1s", ..Options::default() };
    let (sshd, place) = (Sshd::start(), Place::start(options).await);
    place.shell_on(&sshd, "db-1").await;
    let mut browser = place.open("db-1").await;
    let _outage = place.faults.outage();
    let ended = browser.ended().await;
    assert_eq!(ended.reason, Reason::ApiUnavailable);
    assert!(ended.message.contains("API server"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_host_key_is_learned_once_and_no_other_is_accepted() {
    let (sshd, other, place) = (Sshd::start(), Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut tofu = spec(&sshd, "db-1");
    tofu["hostKey"] = json!({"policy": "TrustOnFirstUse"});
    place.shell("db-1", tofu).await;
    let (one, two) = tokio::join!(place.open("db-1"), place.open("db-1"));
    drop((one, two));
    let learned = place.status("db-1", |status| status["hostKey"].as_str().map(str::to_owned)).await;
    assert_eq!(learned, sshd.known_hosts());
    // What gateways write otherwise leaves it alone.
    place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;

    let imposed = other.known_hosts().replace(&other.port().to_string(), &sshd.port().to_string());
    let patch = json!({"status": {"hostKey": imposed}});
    place.api::<WebShell>().patch_status("db-1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(place.refused("db-1").await, Reason::HostKeyChanged);
    assert_eq!(place.status("db-1", |status| status["hostKey"].as_str().map(str::to_owned)).await, imposed);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn people_are_told_of_host_keys_and_refused_credentials_by_events() {
    let (sshd, other, place) = (Sshd::start(), Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut tofu = spec(&sshd, "db-1");
    tofu["hostKey"] = json!({"policy": "TrustOnFirstUse"});
    place.shell("db-1", tofu).await;
    place.open("db-1").await;
    let imposed = other.known_hosts().replace(&other.port().to_string(), &sshd.port().to_string());
    let patch = json!({"status": {"hostKey": imposed}});
    place.api::<WebShell>().patch_status("db-1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(place.refused("db-1").await, Reason::HostKeyChanged);
    }
    place.secret("db-2", json!({"ssh-privatekey": other.client_key(), "password": "canary"})).await;
    place.shell("db-2", spec(&sshd, "db-2")).await;
    assert_eq!(place.refused("db-2").await, Reason::AuthenticationFailed);

    // It is the last: what there was to tell of the others was told before it.
    let events = eventually("an event", async || {
        let events = place.api::<KubernetesEvent>().list(&ListParams::default()).await.unwrap().items;
        events.iter().any(|event| event.reason.as_deref() == Some("CredentialsRefused")).then_some(events)
    })
    .await;
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            let name = event.regarding.as_ref().unwrap().name.clone().unwrap();
            (name, event.type_.clone().unwrap(), event.reason.clone().unwrap(), event.series.is_some())
        })
        .collect();
    told.sort();
    let once = |name: &str, kind: &str, reason: &str| (name.to_owned(), kind.to_owned(), reason.to_owned(), false);
    assert_eq!(
        told,
        [
            once("db-1", "Normal", "HostKeyLearned"),
            once("db-1", "Warning", "HostKeyRefused"),
            once("db-2", "Warning", "CredentialsRefused"),
        ]
    );
    let fingerprint = sshd::run("ssh-keygen", &["-lf", sshd.directory().join("host_key.pub").to_str().unwrap()]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    let text = serde_json::to_string(&events).unwrap();
    // Of the key that was learned, and that it is another one that was refused.
    assert_eq!(text.matches(fingerprint).count(), 2, "{text}");
    assert!(!text.contains("canary") && !text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn settings_apply_live() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.shell_on(&sshd, "db-1").await;
    let browser = place.open("db-1").await;
    let answers = async |policy: Value, reason: Reason| {
        place.settings("10m", policy).await;
        eventually("a refusal", async || (place.refused("db-1").await == reason).then_some(())).await;
    };
    answers(json!({"maxSessionsPerUser": 1}), Reason::TooManySessions).await;
    answers(json!({"deniedCidrs": ["127.0.0.0/8"]}), Reason::TargetForbidden).await;
    drop(browser);
    place.secret("db-2", json!({"password": "secret"})).await;
    let mut insecure = spec(&sshd, "db-2");
    insecure["hostKey"] = json!({"policy": "Insecure"});
    place.shell("db-2", insecure).await;
    place.settings("10m", json!({"forbidInsecure": true})).await;
    eventually("a refusal", async || (place.refused("db-2").await == Reason::Invalid).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn what_the_policy_newly_forbids_ends_sessions() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    place.secret("db-1", json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut insecure = spec(&sshd, "db-1");
    insecure["hostKey"] = json!({"policy": "Insecure"});
    place.shell("db-1", insecure).await;
    for (policy, reason, words) in [
        (json!({"deniedCidrs": ["127.0.0.0/8"]}), Reason::TargetForbidden, "deniedCidrs of the policy"),
        (json!({"allowedPorts": [22]}), Reason::TargetForbidden, "allowedPorts of the policy"),
        (json!({"forbidInsecure": true}), Reason::Invalid, "this installation forbids it"),
    ] {
        place.settings("10m", json!({})).await;
        let mut browser = place.open("db-1").await;
        // One session more is too many, but none too many ends.
        place.settings("10m", json!({"maxSessionsPerNamespace": 1})).await;
        eventually("a refusal", async || (place.refused("db-1").await == Reason::TooManySessions).then_some(())).await;
        browser.input("still\n").await;
        browser.read_until("still").await;
        place.settings("10m", policy).await;
        let ended = browser.ended().await;
        assert_eq!(ended.reason, reason);
        assert!(ended.message.contains(words), "{}", ended.message);
    }
    place.settings("10m", json!({})).await;
    let mut browser = place.open("db-1").await;
    place.reserved.send_replace(Reserved::in_cluster([[127, 0, 0, 1].into()]));
    let ended = browser.ended().await;
    assert!(ended.message.contains("the API server is no target"), "{}", ended.message);
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_service_leads_to_its_named_port_and_loopback_is_no_target() {
    let options = Options { reserved: Reserved::in_cluster([]), ..Options::default() };
    let (sshd, place) = (Sshd::start(), Place::start(options).await);
    place.shell_on(&sshd, "here").await;
    assert_eq!(place.refused("here").await, Reason::TargetForbidden);

    let ports = json!([{"name": "ssh", "port": 2222}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let service = json!({"spec": {"selector": {"app": "vm"}, "ports": ports}});
    let service: Service = place.apply("v1", "Service", "db-1", service).await;
    by_service(&place, &sshd, "db-1", "ssh").await;
    // There is no DNS of a cluster here; none is asked.
    let address = service.spec.unwrap().cluster_ip.unwrap();
    place.settings("10m", json!({"deniedCidrs": [format!("{address}/32")], "allowedPorts": [2222]})).await;
    eventually("a refusal", async || (place.refused("db-1").await == Reason::TargetForbidden).then_some(())).await;
    for (port, words) in
        [("shh", "no port named \"shh\", but the ports ssh, dns"), ("dns", "is UDP, and SSH needs TCP")]
    {
        by_service(&place, &sshd, "db-1", port).await;
        unusable(&place, "db-1", words).await;
    }
    place.apply::<Service>("v1", "Service", "out", json!({"spec": {"ports": ports}})).await;
    by_service(&place, &sshd, "out", "ssh").await;
    let told = |status: &Value| {
        let condition = condition(status).filter(|condition| condition["status"] == "True")?;
        condition["message"].as_str().unwrap().contains("a NetworkPolicy of your own").then_some(())
    };
    place.status("out", told).await;
}

/// A WebShell that leads to the Service of its name.
async fn by_service(place: &Place, sshd: &Sshd, name: &str, port: &str) {
    place.secret(name, json!({"ssh-privatekey": sshd.client_key()})).await;
    let mut by_service = spec(sshd, name);
    let host = format!("{name}.{}.svc", place.namespace);
    by_service["target"] = json!({"serviceRef": {"name": name, "port": port}, "user": Sshd::user()});
    by_service["hostKey"]["knownHosts"] =
        sshd.known_hosts().replace(&format!("[127.0.0.1]:{}", sshd.port()), &host).into();
    place.shell(name, by_service).await;
}

/// Waits until a condition says that what a WebShell names cannot be used, in these words.
async fn unusable(place: &Place, name: &str, words: &str) {
    let says = |status: &Value| {
        let condition = condition(status).filter(|condition| condition["reason"] == "Unusable")?;
        condition["message"].as_str().unwrap().contains(words).then_some(())
    };
    place.status(name, says).await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn a_headless_service_leads_to_its_ready_endpoints_at_their_port() {
    let (sshd, place) = (Sshd::start(), Place::start(Options::default()).await);
    let ports = json!([{"name": "ssh", "port": 22, "targetPort": "ssh"}]);
    let service = json!({"spec": {"clusterIP": "None", "selector": {"app": "vm"}, "ports": ports}});
    place.apply::<Service>("v1", "Service", "db-1", service).await;
    by_service(&place, &sshd, "db-1", "ssh").await;
    unusable(&place, "db-1", "Service db-1 has no ready endpoint for its port ssh").await;
    assert_eq!(place.refused("db-1").await, Reason::Invalid);

    // An API server takes no loopback addresses. Nobody listens at the first.
    let ready = |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}});
    let endpoints = json!([ready("127.0.0.2", true), ready("192.0.2.1", false), ready("127.0.0.1", true)]);
    let slice = json!({
        "metadata": {"name": "db-1-a"}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "ssh", "port": sshd.port(), "protocol": "TCP"}],
    });
    let list =
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {}, "items": [slice]});
    let slices = place.faults.on("list endpointslices", Fault::Answer(list.to_string().into()));
    let mut browser = place.open("db-1").await;
    place.status("db-1", |status| (condition(status)?["status"] == "True").then_some(())).await;

    // Where no new connection can be led to, those that were live on.
    drop(slices);
    unusable(&place, "db-1", "no ready endpoint").await;
    assert_eq!(place.refused("db-1").await, Reason::Invalid);
    browser.input("still\n").await;
    browser.read_until("still").await;

    // As a real API server has them: those of this Service alone.
    place.settings("10m", json!({"deniedCidrs": ["192.0.2.7/32"]})).await;
    for (name, service, address) in [("db-1-b", "db-1", "192.0.2.7"), ("db-2-a", "db-2", "192.0.2.8")] {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [ready(address, true)], "ports": [{"name": "ssh", "port": 22, "protocol": "TCP"}],
        });
        let params = PatchParams::apply("tests").force();
        place.api::<EndpointSlice>().patch(name, &params, &Patch::Apply(slice)).await.unwrap();
    }
    eventually("a refusal", async || (place.refused("db-1").await == Reason::TargetForbidden).then_some(())).await;
    browser.input("yet\n").await;
    browser.read_until("yet").await;
}

#[tokio::test]
#[ignore = "needs an API server: make test builds one"]
async fn the_program_is_ready_once_it_has_settings_and_sends_strangers_to_the_portal() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace().await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, admin) = (free(), free());
    let mut program = Command::new(env!("CARGO_BIN_EXE_webshell"))
        .args(["gateway", "--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
        .env("KUBECONFIG", server.kubeconfig())
        .env("WEBSHELL_NAMESPACE", &namespace)
        .env("WEBSHELL_POD_NAME", POD)
        .env("WEBSHELL_POD_UID", "uid-1")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let ready = async |wanted: u16| {
        eventually("an answer", async || {
            TcpStream::connect(admin).await.ok()?;
            (get(admin, "/readyz", false).await.0 == wanted).then_some(())
        })
        .await;
    };
    ready(503).await;
    assert_eq!(get(admin, "/healthz", false).await.0, 200);
    write_settings(&server.client(), &namespace, &json!({})).await;
    ready(200).await;
    let (status, body) = get(address, &format!("/{namespace}/-/session"), false).await;
    assert_eq!(
        (status, serde_json::from_str(&body).ok()),
        (401, Some(json!({"login": format!("/{namespace}/-/login")})))
    );

    // Each change of settings is logged: in the form that they ask for, from soon after on.
    for (format, is_json) in [("json", true), ("text", false)] {
        for number in 1.. {
            let settings = json!({"maxSessions": number, "log": {"format": format}});
            write_settings(&server.client(), &namespace, &settings).await;
            let line = timeout(PATIENCE, log.next_line()).await.expect("a line in time").unwrap().unwrap();
            if serde_json::from_str::<Value>(&line).is_ok() == is_json {
                break;
            }
            assert!(number < 100, "still no {format}: {line}");
        }
    }

    let pid = program.id().unwrap().to_string();
    sshd::run("kill", &["-TERM", &pid]);
    assert!(timeout(PATIENCE, program.wait()).await.unwrap().unwrap().success());
}
