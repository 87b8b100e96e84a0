//! What conditions say of each state of a namespace.

use std::sync::Arc;

use super::*;
use crate::{
    config,
    controller::state::{Child, Itself, Pod},
};

const BEFORE: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-02-02T00:00:00Z";

fn config(kind: &str) -> Config {
    let text = format!("gateway: {{image: i}}\nroute: {{kind: {kind}, mode: Path, host: shell.example.com}}");
    config::parse("config", &text).unwrap()
}

fn shell() -> Shell {
    Shell {
        uid: "u".into(),
        generation: 3,
        verdict: Verdict::Accepted,
        target: Some(Target::Host { host: "10.0.4.12".into(), port: 22 }),
        ours: Digest::default(),
        conditions: vec![seen(CREDENTIALS_RESOLVED, "True", "Resolved")],
        gateways: vec![("p1".into(), 2), ("gone".into(), 5)],
    }
}

fn seen(type_: &'static str, status: &str, reason: &str) -> Seen {
    Seen {
        type_,
        status: status.into(),
        reason: reason.into(),
        message: "m".into(),
        since: BEFORE.into(),
        generation: Some(3),
    }
}

fn child(report: Report) -> Child {
    Child {
        uid: "u".into(),
        terminating: false,
        ours: Digest::default(),
        template: None,
        stored_as: None,
        relabelled: None,
        report,
    }
}

fn pod(created: i64, trouble: Option<Trouble>) -> Pod {
    Pod { uid: "u".into(), created, trouble, lost_with: None }
}

fn running() -> Namespace {
    let deployment = Report::Deployment { available: true, complete: true, stalled: false, trouble: None };
    Namespace {
        itself: Some(Itself { terminating: false, selected: true }),
        children: [(Kind::Deployment, child(deployment)), (Kind::Ingress, child(Report::Route(Routed::Accepted)))]
            .into(),
        pods: [("p1".into(), pod(1, None))].into(),
        shells: [("db-1".into(), Arc::new(shell()))].into(),
    }
}

fn status(shell: &Shell, state: &Namespace, refused: &[(Kind, Trouble)]) -> Status {
    status_after(&Outcome::Off, "Ingress", shell, state, refused)
}

fn status_after(way: &Outcome, kind: &str, shell: &Shell, state: &Namespace, refused: &[(Kind, Trouble)]) -> Status {
    let config = config(kind);
    let shared = Shared::new(&config, "team-a", state, &owners(), refused, way);
    Status::new(&shared, "db-1", shell, state, NOW)
}

fn owners() -> Owners {
    Owner::ALL.map(|owner| (owner, "u".into())).into()
}

fn condition<'a>(status: &'a Status, type_: &str) -> (&'a str, &'a str, &'a str) {
    let said = status.conditions.iter().find(|said| said.type_ == type_).unwrap();
    (said.status, said.reason, &said.message)
}

fn trouble(reason: &'static str) -> Option<Trouble> {
    Some(Trouble { reason, message: "the cause".to_owned() })
}

#[test]
fn a_shell_with_all_it_needs_is_ready() {
    insta::assert_yaml_snapshot!(status(&shell(), &running(), &[]).content);
}

#[test]
fn a_time_moves_only_with_its_status() {
    let mut shell = shell();
    shell.conditions = vec![
        seen(ACCEPTED, "True", "Other"),
        seen(GATEWAY_READY, "False", "Progressing"),
        seen(CREDENTIALS_RESOLVED, "True", "Resolved"),
    ];
    let status = status(&shell, &running(), &[]);
    let since = |type_: &str| {
        let listed = status.content["conditions"].as_array().unwrap();
        listed.iter().find(|condition| condition["type"] == type_).unwrap()["lastTransitionTime"].clone()
    };
    assert_eq!((since(ACCEPTED), since(GATEWAY_READY), since(READY)), (BEFORE.into(), NOW.into(), NOW.into()));
}

#[test]
fn the_same_status_is_no_change() {
    let first = status(&shell(), &running(), &[]);
    let mut shell = shell();
    let seen = |said: &Said| Seen { since: NOW.into(), ..seen(said.type_, said.status, said.reason) };
    shell.conditions.extend(first.conditions.iter().map(seen));
    let config = config("Ingress");
    let later = Status::new(
        &Shared::new(&config, "team-a", &running(), &owners(), &[], &Outcome::Off),
        "db-1",
        &shell,
        &running(),
        "later",
    );
    assert_eq!(later.digest(), first.digest());
    assert!(later.notices(&shell).is_empty());
}

#[test]
fn the_gateways_trouble_is_the_reason() {
    let not_available =
        |trouble| child(Report::Deployment { available: false, complete: false, stalled: false, trouble });
    let mut state = running();
    state.children.insert(Kind::Deployment, not_available(None));
    assert_eq!(condition(&status(&shell(), &state, &[]), GATEWAY_READY).1, "Progressing");

    state.children.insert(Kind::Deployment, not_available(trouble(reasons::QUOTA)));
    let quota = status(&shell(), &state, &[]);
    assert_eq!(condition(&quota, GATEWAY_READY), ("False", "QuotaExceeded", "the cause"));
    assert_eq!(condition(&quota, READY), ("False", "NotReady", "GatewayReady is False (QuotaExceeded): the cause"));

    state.pods.insert("p2".into(), pod(2, trouble(reasons::IMAGE_PULL)));
    assert_eq!(condition(&status(&shell(), &state, &[]), GATEWAY_READY).1, "ImagePullFailed");

    // Whatever their names are, the newest counts.
    for (name, created, newest) in [("p3", 3, reasons::UNSCHEDULABLE), ("p0", 4, reasons::CRASHING)] {
        state.pods.insert(name.into(), pod(created, trouble(newest)));
        assert_eq!(condition(&status(&shell(), &state, &[]), GATEWAY_READY).1, newest);
    }

    let refused = [(Kind::Deployment, trouble(reasons::ADMISSION).unwrap())];
    let message = "Deployment was refused: the cause";
    assert_eq!(condition(&status(&shell(), &state, &refused), GATEWAY_READY), ("False", "AdmissionDenied", message));
}

#[test]
fn a_gateway_without_its_role_is_not_ready() {
    let config = config("Ingress");
    let ready = |owners: &Owners| {
        let shared = Shared::new(&config, "team-a", &running(), owners, &[], &Outcome::Off);
        let status = Status::new(&shared, "db-1", &shell(), &running(), NOW);
        let notices = status.notices(&shell());
        let (is, reason, message) = condition(&status, GATEWAY_READY);
        assert_eq!(notices.iter().any(|notice| notice.reason == "RoleMissing" && notice.warning), is == "False");
        (format!("{is} {reason}"), message.to_owned(), condition(&status, READY).0.to_owned())
    };
    let (is, message, all) = ready(&[(Owner::Controller, "u".into())].into());
    assert_eq!((&*is, &*all), ("False RoleMissing", "False"));
    assert!(message.starts_with("ClusterRole webshell-gateway is missing: "), "{message}");
    let (is, message, all) = ready(&Owners::new());
    assert_eq!((&*is, &*all), ("False RoleMissing", "False"));
    assert!(message.starts_with("ClusterRoles webshell-gateway and webshell-controller are missing"), "{message}");
    let (is, _, all) = ready(&[(Owner::Gateway, "u".into())].into());
    assert_eq!((&*is, &*all), ("True Available", "True"), "it lacks nothing");
}

#[test]
fn a_successors_trouble_does_not_hide_that_the_gateway_runs() {
    let mut state = running();
    state.pods.insert("p2".into(), pod(2, trouble(reasons::CRASHING)));
    let status = status(&shell(), &state, &[]);
    let message = "its successor cannot start: the cause";
    assert_eq!(condition(&status, GATEWAY_READY), ("True", "Available", message));
    assert_eq!(condition(&status, READY).0, "True");
}

#[test]
fn a_gateway_that_runs_without_what_it_needs_is_not_ready() {
    let of = |state: &Namespace, refused: &[(Kind, Trouble)]| {
        let status = status(&shell(), state, refused);
        let (is, reason, message) = condition(&status, GATEWAY_READY);
        (format!("{is} {reason}"), message.to_owned())
    };
    let refused = [(Kind::NetworkPolicy, trouble(reasons::ADMISSION).unwrap())];
    let expected = ("False AdmissionDenied".to_owned(), "NetworkPolicy was refused: the cause".to_owned());
    assert_eq!(of(&running(), &refused), expected);

    let mut state = running();
    state.children.insert(Kind::ConfigMap, child(Report::Root { immutable: false }));
    assert_eq!(of(&state, &[]).0, "True Available");
    state.children.insert(Kind::ConfigMap, child(Report::Root { immutable: true }));
    let (is, message) = of(&state, &[]);
    assert_eq!(is, "False Immutable");
    let way_out = "kubectl delete configmap webshell-gateway --namespace team-a --cascade=orphan";
    assert!(message.ends_with(way_out), "{message}");
}

#[test]
fn a_gateway_on_its_way_says_what_it_waits_for() {
    let stands = |pods: &[(&str, Pod)], stalled: bool| {
        let mut state = running();
        let deployment = Report::Deployment { available: false, complete: false, stalled, trouble: None };
        state.children.insert(Kind::Deployment, child(deployment));
        state.pods = pods.iter().map(|(name, pod)| ((*name).into(), pod.clone())).collect();
        let status = status(&shell(), &state, &[]);
        let (is, reason, message) = condition(&status, GATEWAY_READY);
        assert_eq!((is, reason), ("False", "Progressing"));
        message.to_owned()
    };
    let lost = Pod { lost_with: Some("node-7".into()), ..pod(1, None) };
    assert_eq!(stands(&[("p1", pod(1, None))], false), "the gateway's pod is on its way");
    let words = stands(&[("p1", lost), ("p2", pod(2, None))], true);
    assert!(words.starts_with("node node-7 does not answer any more, and pod p1 with it; "), "{words}");
    assert!(stands(&[], true).contains("no pod with label app.kubernetes.io/name=webshell-gateway"));
    assert!(stands(&[("p1", pod(1, None))], true).contains("longer than 10 minutes"));
}

#[test]
fn a_label_that_was_taken_away_is_told_and_changes_nothing_else() {
    let mut state = running();
    let mut service = child(Report::Nothing);
    service.relabelled = Some("label a was taken away".into());
    state.children.insert(Kind::Service, service);
    let status = status(&shell(), &state, &[]);
    let (is, reason, message) = condition(&status, GATEWAY_READY);
    assert_eq!((is, reason), ("True", "Available"));
    assert!(message.starts_with("Service webshell-gateway: label a was taken away; exempt objects"), "{message}");
    assert_eq!(condition(&status, READY).0, "True");
}

#[test]
fn what_has_no_words_ends_without_a_colon() {
    let mute = Seen { message: "".into(), ..seen(CREDENTIALS_RESOLVED, "False", "NotFound") };
    let unresolved = status(&Shell { conditions: vec![mute], ..shell() }, &running(), &[]);
    assert_eq!(condition(&unresolved, READY).2, "CredentialsResolved is False (NotFound)");
    let refused = [(Kind::Ingress, Trouble { reason: reasons::ADMISSION, message: String::new() })];
    let refused = status(&shell(), &running(), &refused);
    assert_eq!(condition(&refused, ROUTE_READY).2, "Ingress was refused");
}

#[test]
fn only_a_refused_route_holds_ready_back() {
    let ready_with = |routed| {
        let mut state = running();
        state.children.insert(Kind::Ingress, child(Report::Route(routed)));
        let status = status(&shell(), &state, &[]);
        (condition(&status, ROUTE_READY).1.to_owned(), condition(&status, READY).0.to_owned())
    };
    assert_eq!(ready_with(Routed::Accepted), ("Routed".into(), "True".into()));
    assert_eq!(ready_with(Routed::Unknown), ("NotReported".into(), "True".into()));
    assert_eq!(ready_with(Routed::Refused("no".into())), ("NotAccepted".into(), "False".into()));

    let refused = [(Kind::Ingress, trouble(reasons::ADMISSION).unwrap())];
    let status = status(&shell(), &running(), &refused);
    assert_eq!(condition(&status, ROUTE_READY), ("False", "NotAccepted", "Ingress was refused: the cause"));
    assert_eq!(condition(&status, GATEWAY_READY).0, "True");
}

#[test]
fn a_ping_says_whether_the_route_leads_to_the_gateway() {
    let failed = Outcome::Failed("no answer".into());
    let reported = |routed| {
        let mut state = running();
        state.children.insert(Kind::Ingress, child(Report::Route(routed)));
        state
    };
    let (accepted, unknown) = (reported(Routed::Accepted), reported(Routed::Unknown));
    let refused = reported(Routed::Refused("no".into()));
    let nothing_said = "no ingress controller has said anything of Ingress webshell-gateway; ";
    let of_others = "routes are not made by this installation; lead browsers to Service webshell-gateway";
    let pending = &Outcome::Pending;
    for (kind, state, way, route, words, is_ready) in [
        ("Ingress", &accepted, &Outcome::Proved, "True Routed", String::new(), "True"),
        ("Ingress", &unknown, &Outcome::Proved, "True Routed", String::new(), "True"),
        ("Ingress", &refused, &Outcome::Proved, "False NotAccepted", "no".to_owned(), "False"),
        ("Ingress", &accepted, &failed, "Unknown ProbeFailed", "no answer".to_owned(), "True"),
        ("Ingress", &unknown, &failed, "Unknown NotReported", format!("{nothing_said}no answer"), "True"),
        ("Ingress", &accepted, pending, "Unknown Probing", PENDING.to_owned(), "False"),
        ("Ingress", &unknown, pending, "Unknown Probing", format!("{nothing_said}{PENDING}"), "False"),
        ("Ingress", &accepted, &Outcome::Late, "Unknown ProbeFailed", LATE.to_owned(), "True"),
        ("None", &accepted, &Outcome::Off, "Unknown NotManaged", of_others.to_owned(), "True"),
        ("None", &accepted, pending, "Unknown NotManaged", of_others.to_owned(), "True"),
        ("None", &accepted, &failed, "Unknown NotManaged", format!("{of_others}; no answer"), "True"),
        ("None", &accepted, &Outcome::Proved, "True Routed", String::new(), "True"),
    ] {
        let status = status_after(way, kind, &shell(), state, &[]);
        let (is, reason, message) = condition(&status, ROUTE_READY);
        assert_eq!((format!("{is} {reason}"), message), (route.to_owned(), &*words), "{kind} {way:?}");
        assert_eq!(condition(&status, READY).0, is_ready, "{kind} {way:?}");
    }
}

#[test]
fn a_controller_that_has_not_pinged_yet_takes_nothing_back() {
    let failed = Outcome::Failed(format!("{}…", "x".repeat(600)).into());
    for (kind, way) in [("Ingress", &Outcome::Proved), ("Ingress", &failed), ("None", &failed)] {
        let before = status_after(way, kind, &shell(), &running(), &[]);
        let mut shell = shell();
        let seen = |said: &Said| {
            let message = if said.status == TRUE { "" } else { &said.message };
            Seen { since: NOW.into(), message: message.into(), ..seen(said.type_, said.status, said.reason) }
        };
        shell.conditions.extend(before.conditions.iter().map(seen));
        for pending in [Outcome::Idle, Outcome::Pending, Outcome::Late] {
            let after = status_after(&pending, kind, &shell, &running(), &[]);
            assert_eq!(after.digest(), before.digest(), "{kind} {way:?}");
        }
        let refused = [(Kind::Ingress, trouble(reasons::ADMISSION).unwrap())];
        let refused = status_after(&Outcome::Pending, kind, &shell, &running(), &refused);
        assert_eq!(condition(&refused, ROUTE_READY).1, "NotAccepted", "what is known counts");
    }
    let mut shell = shell();
    shell.conditions.push(seen(ROUTE_READY, "Unknown", "NotManaged"));
    let status = status_after(&Outcome::Pending, "Ingress", &shell, &running(), &[]);
    assert_eq!(condition(&status, ROUTE_READY).1, "Probing", "what cannot be any more does not stand");
}

#[test]
fn credentials_are_as_the_gateway_says_of_this_generation() {
    let ready = |conditions| {
        let status = status(&Shell { conditions, ..shell() }, &running(), &[]);
        condition(&status, READY).2.to_owned()
    };
    let pending = "CredentialsResolved is Unknown (Pending): the gateway has not looked yet";
    assert_eq!(ready(Vec::new()), pending);
    let old = Seen { generation: Some(2), ..seen(CREDENTIALS_RESOLVED, "True", "Resolved") };
    assert_eq!(ready(vec![old]), pending);
    let missing = seen(CREDENTIALS_RESOLVED, "False", "NotFound");
    assert_eq!(ready(vec![missing]), "CredentialsResolved is False (NotFound): m");
    assert_eq!(ready(vec![seen(CREDENTIALS_RESOLVED, "True", "Resolved")]), "");
}

#[test]
fn a_namespace_that_is_not_served_is_told_so_and_has_no_url() {
    let mut state = running();
    state.itself = Some(Itself { terminating: false, selected: false });
    let status = status(&shell(), &state, &[]);
    assert_eq!(condition(&status, ACCEPTED).1, "ForbiddenByPolicy");
    assert_eq!(status.conditions.len(), 2);
    assert_eq!(status.content.get("url"), None);
}

#[test]
fn people_are_told_of_what_goes_wrong_and_of_recovery_once() {
    let mut invalid = Shell { verdict: Verdict::Invalid("spec.target: no".to_owned()), ..shell() };
    let notices = status(&invalid, &running(), &[]).notices(&invalid);
    let expected = Notice { warning: true, reason: "Invalid", message: "spec.target: no".to_owned() };
    assert_eq!(notices, [expected]);
    invalid.conditions.push(seen(ACCEPTED, "False", "Invalid"));
    assert!(status(&invalid, &running(), &[]).notices(&invalid).is_empty());

    let mut recovered = shell();
    recovered.conditions.push(seen(READY, "False", "NotReady"));
    let notices = status(&recovered, &running(), &[]).notices(&recovered);
    let message = "open https://gateways.shell.example.com/team-a/db-1/".to_owned();
    assert_eq!(notices, [Notice { warning: false, reason: "Ready", message }]);
}
