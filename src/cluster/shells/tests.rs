//! What becomes of the shells when lists are cut off, news are old or WebShells are malformed.

use serde_json::{Value, json};

use super::*;

fn shells() -> Shells {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let policy = Sender::new(Arc::default()).subscribe();
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
    // That it lacks one may be the list's fault: the API server is asked.
    assert_eq!((names(&shells), shells.doubted()), (vec!["a".into(), "b".into(), "c".into()], vec!["a".into()]));
    assert_eq!(shells.doubted(), [] as [&str; 0]);
    shells.ask("a").await;
    assert_eq!((names(&shells).len(), shells.doubted()), (3, vec!["a".into()]), "there was no answer");
    shells.take(Event::Apply(object("a", "10.0.0.1".into())));
    assert_eq!(shells.doubted(), [] as [&str; 0]);
    shells.take(Event::Delete(object("b", "10.0.0.1".into())));
    assert_eq!(names(&shells), ["a", "c"]);
}

#[tokio::test]
async fn old_news_are_doubted() {
    let shells = shells();
    let version = |version: &str, host: &str| {
        let mut object = object("a", host.into());
        object.meta_mut().resource_version = Some(version.to_owned());
        object
    };
    let target = || shells.catalog().borrow().shells.values().next().unwrap().target.clone();
    shells.take(Event::Apply(version("10", "10.0.0.2")));
    shells.take(Event::Apply(version("9", "10.0.0.1")));
    assert_eq!((target().as_str(), shells.doubted()), ("ops@10.0.0.2:22", vec!["a".to_owned()]));
    shells.take(Event::Apply(version("11", "10.0.0.3")));
    assert_eq!((target().as_str(), shells.doubted().len()), ("ops@10.0.0.3:22", 0));
    shells.take(Event::Delete(version("10", "10.0.0.2")));
    assert_eq!((names(&shells), shells.doubted()), (vec!["a".to_owned()], vec!["a".to_owned()]));
    shells.take(Event::Delete(version("12", "10.0.0.3")));
    assert_eq!(names(&shells), [] as [&str; 0]);
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
    assert!(shells.look("bad", Purpose::Background).await.is_ok());
    assert!(shells.look("good", Purpose::Background).await.is_err());
    let told = shells.unwritten_findings();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.finding.status), ("good", "Unknown"));
}
