//! One user's lists and connections hold up no others.

use std::{collections::BTreeSet, future::pending, net::Ipv4Addr};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    api::Session,
    calls::Calls,
    catalog::{Entry, Obstacle},
    cluster::{notices::Notices, review},
    protocol::v1::Size,
    rights::scripted::Scripted,
    session::{NewSession, Registry},
    telemetry::metrics::SessionMetrics,
};

/// As a busy API server answers.
const TAKES: Duration = Duration::from_millis(100);

fn user(name: &str) -> Arc<User> {
    Arc::new(User { name: name.to_owned(), ..User::default() })
}

fn key(name: &str) -> ShellKey {
    ShellKey { namespace: "team-a".to_owned(), name: name.to_owned() }
}

fn catalog(shells: usize) -> Catalog {
    let entry = |number| {
        let key = key(&format!("db-{number:02}"));
        (key.clone(), Entry { key, target: String::new(), access: Err(Obstacle::invalid("")) })
    };
    Catalog { shells: (0..shells).map(entry).collect() }
}

/// A guard, and who reviews for it.
fn guard(api: &Scripted) -> (Arc<ClusterGuard>, Arc<Reviewer>) {
    let calls = Arc::new(Calls::default());
    let policy = watch::channel(Arc::default()).1;
    let shells = Shells::new(&api.client, "team-a", "pod-1", Arc::clone(&calls), Notices::new().0, policy);
    let reviewer = Arc::new(Reviewer::of_namespace(api.client.clone(), "team-a", calls));
    (Arc::new(ClusterGuard::new("team-a", Arc::clone(&reviewer), Arc::new(shells))), reviewer)
}

#[tokio::test(start_paused = true)]
async fn one_users_lists_hold_up_neither_connections_nor_live_sessions() {
    let revoked = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    let taken = Arc::clone(&revoked);
    let api = Scripted::new(TAKES, move |review| {
        !taken.lock().contains(review) && ["ben team-a db-00", "ada team-a db-01", "eve team-a db-02"].contains(&review)
    });
    let (guard, reviewer) = guard(&api);
    let registry = Registry::new(8, SessionMetrics::default());
    let new = NewSession {
        shell: key("db-01"),
        user: user("ada"),
        client: Ipv4Addr::LOCALHOST.into(),
        size: Size::DEFAULT,
        limits: Session::default().limits(),
    };
    let (_attachment, _) = registry
        .open(new, None, |session| async move {
            session.ending().await;
            pending().await
        })
        .unwrap();
    let stop = CancellationToken::new();
    let grace = watch::channel(Duration::from_secs(5)).1;
    let watching = review::watch_over(reviewer, "team-a".to_owned(), registry.clone(), grace, stop.clone());
    let watching = tokio::spawn(watching);

    let (catalog, ben) = (catalog(40), user("ben"));
    let begun = Instant::now();
    let flood = async {
        let lists = || guard.visible(&ben, &catalog);
        let mut under_way: FuturesUnordered<_> = (0..350).map(|_| lists()).collect();
        while begun.elapsed() < Duration::from_secs(30) {
            let visible = under_way.next().await.unwrap().unwrap();
            assert!(visible.shells.is_subset(&BTreeSet::from([key("db-00")])));
            under_way.push(lists());
            // Lists that are known already take no time.
            sleep(Duration::from_millis(10)).await;
        }
    };
    let others = async {
        for (name, shell) in [("ada", "db-01"), ("eve", "db-02")] {
            for _ in 0..10 {
                let asked = Instant::now();
                assert_eq!(guard.admit(&user(name), &key(shell)).await, Verdict::Allowed);
                assert!(asked.elapsed() <= TAKES, "{:?}", asked.elapsed());
                sleep(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(registry.count(), 1);
        revoked.lock().insert("ada team-a db-01");
        let taken_away = Instant::now();
        while registry.users().len() == 1 {
            assert!(taken_away.elapsed() < Duration::from_secs(10), "the right was taken away");
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(flood, others);
    stop.cancel();
    watching.await.unwrap();
    let of_ben = api.reviews().iter().filter(|review| review.starts_with("ben")).count();
    assert!((41..=82).contains(&of_ben), "{of_ben}");
}

#[tokio::test(start_paused = true)]
async fn one_users_connections_hold_up_no_others() {
    let api = Scripted::new(Duration::from_secs(1), |review| review == "ada team-a db-01");
    let (guard, _) = guard(&api);
    let (ada, eve, shell) = (user("ada"), user("eve"), key("db-01"));
    let asked = Instant::now();
    let flood = join_all((0..2000).map(|_| guard.admit(&eve, &shell)));
    let other = async {
        assert_eq!(guard.admit(&ada, &shell).await, Verdict::Allowed);
        assert_eq!(asked.elapsed(), Duration::from_secs(1));
    };
    let (verdicts, ()) = tokio::join!(flood, other);
    let count = |verdict| verdicts.iter().filter(|it| **it == verdict).count();
    assert_eq!(count(Verdict::Undecided(Undecided::TooOften)), 2000 - BURST as usize);
    assert_eq!(count(Verdict::Allowed), 0);
    let of_eve = api.reviews().iter().filter(|review| review.starts_with("eve")).count();
    assert!(of_eve <= BURST as usize, "{of_eve}");
    assert_eq!(
        guard.admit(&ada, &ShellKey { namespace: "team-b".into(), name: "db-01".into() }).await,
        Verdict::Denied
    );
}
