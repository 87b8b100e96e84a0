use serde_json::{Value, json};

use super::*;

fn shells() -> Shells {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let policy = watch::Sender::new(Arc::default()).subscribe();
    Shells::new(&Client::try_from(config).unwrap(), "team-a", "pod-1", Arc::default(), Notices::new().0, policy)
}

fn object(name: &str, host: Value) -> DeserializeGuard<WebShell> {
    serde_json::from_value(json!({
        "apiVersion": "webshell.dev/v1alpha1",
        "kind": "WebShell",
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {
            "target": {"host": host, "user": "ops"},
            "credentials": {"secretRef": {"name": "login"}},
            "hostKey": {"policy": "Insecure"},
        },
    }))
    .unwrap()
}

fn names(shells: &Shells) -> Vec<String> {
    shells.catalog().borrow().shells.keys().map(|key| key.name.clone()).collect()
}

#[tokio::test]
async fn a_list_counts_once_it_is_complete() {
    let shells = shells();
    shells.take(Event::Init);
    shells.take(Event::InitApply(object("a", "10.0.0.1".into())));
    shells.take(Event::InitApply(object("b", "10.0.0.1".into())));
    assert_eq!(names(&shells), [] as [&str; 0]);
    shells.take(Event::InitDone);
    assert_eq!(names(&shells), ["a", "b"]);

    // The watch broke, and so did the next list.
    shells.take(Event::Init);
    shells.take(Event::InitApply(object("b", "10.0.0.1".into())));
    assert_eq!(names(&shells), ["a", "b"]);
    shells.take(Event::Init);
    shells.take(Event::InitApply(object("b", "10.0.0.1".into())));
    shells.take(Event::InitApply(object("c", "10.0.0.1".into())));
    shells.take(Event::InitDone);
    assert_eq!(names(&shells), ["b", "c"]);
    shells.take(Event::Delete(object("b", "10.0.0.1".into())));
    assert_eq!(names(&shells), ["c"]);
}

#[tokio::test]
async fn a_malformed_webshell_has_its_reason_and_hurts_no_other() {
    let shells = shells();
    shells.take(Event::Apply(object("good", "10.0.0.1".into())));
    shells.take(Event::Apply(object("bad", 1.into())));
    let catalog = shells.catalog().borrow().clone();
    let entry = |name: &str| {
        let key = ShellKey { namespace: "team-a".to_owned(), name: name.to_owned() };
        catalog.shells[&key].clone()
    };
    assert_eq!(
        (entry("good").target.as_str(), entry("good").access.unwrap_err().message.as_str()),
        ("ops@10.0.0.1:22", NOT_READ)
    );
    assert!(entry("bad").access.unwrap_err().message.starts_with("it cannot be read: "));
    // Nothing is asked of an API server for it.
    assert!(shells.look("bad").await.is_ok());
    assert!(shells.look("good").await.is_err());
    let told = shells.unwritten_findings();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.finding.status), ("good", "Unknown"));
}
