//! What lists show, and how few reviews they cause.

use futures_util::future::join_all;
use tokio::time::advance;

use super::*;
use crate::{calls::Calls, rights::scripted::Scripted};

const TAKES: Duration = Duration::from_millis(10);

fn user(name: &str) -> User {
    User { name: name.to_owned(), groups: vec!["people".to_owned()], ..User::default() }
}

/// So many shells in each of so many namespaces.
fn shells(namespaces: usize, each: usize) -> Vec<ShellKey> {
    let key = |namespace, name| ShellKey { namespace: format!("n-{namespace:03}"), name: format!("s-{name:03}") };
    (0..namespaces).flat_map(|namespace| (0..each).map(move |name| key(namespace, name))).collect()
}

fn lists(api: &Scripted) -> Arc<Lists> {
    Lists::new(Arc::new(Reviewer::of_cluster(api.client.clone(), Arc::new(Calls::default()))))
}

fn names(visible: &Visible) -> Vec<String> {
    visible.shells.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_allowed_as_a_whole_takes_one_review() {
    let api = Scripted::new(TAKES, |review| ["root", "ada n-001", "ben n-000 s-001"].contains(&review));
    let (lists, shells) = (lists(&api), shells(2, 2));
    let all = lists.visible(&user("root"), None, &shells).await.unwrap();
    assert_eq!((all.shells.len(), all.complete), (4, true));
    let ada = lists.visible(&user("ada"), None, &shells).await.unwrap();
    assert_eq!((names(&ada), ada.complete), (vec!["n-001/s-000".into(), "n-001/s-001".into()], true));
    let ben = lists.visible(&user("ben"), None, &shells).await.unwrap();
    assert_eq!((names(&ben), ben.complete), (vec!["n-000/s-001".into()], true));
    let of = |name| api.reviews().iter().filter(|review| review.split(' ').next() == Some(name)).count();
    assert_eq!((of("root"), of("ada"), of("ben")), (1, 5, 7));
    assert!(lists.is_known_to_open(&user("ben"), &shells[1]) && !lists.is_known_to_open(&user("ben"), &shells[0]));
    assert!(lists.is_known_to_open(&user("root"), &shells[0]));
    let other = User { groups: Vec::new(), ..user("ben") };
    assert!(!lists.is_known_to_open(&other, &shells[1]), "what one may depends on groups, too");
}

#[tokio::test(start_paused = true)]
async fn however_often_it_is_requested_it_is_asked_once_and_believed_for_a_while() {
    let api = Scripted::new(TAKES, |review| review == "ada n-000 s-007");
    let (lists, shells, ada) = (lists(&api), shells(1, 20), user("ada"));
    let answers = join_all((0..350).map(|_| lists.visible(&ada, None, &shells))).await;
    for answer in answers {
        let visible = answer.unwrap();
        assert_eq!((names(&visible), visible.complete), (vec!["n-000/s-007".into()], true));
    }
    assert_eq!(api.reviews().len(), 22);
    lists.visible(&ada, None, &shells).await.unwrap();
    assert_eq!(api.reviews().len(), 22);
    advance(BELIEVED).await;
    assert!(!lists.is_known_to_open(&ada, &shells[7]));
    lists.visible(&ada, None, &shells).await.unwrap();
    assert_eq!(api.reviews().len(), 44);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_right_causes_little_and_who_has_one_finds_it() {
    let api = Scripted::new(Duration::ZERO, |review| review == "ben n-049 s-019");
    let (lists, shells) = (lists(&api), shells(50, 20));
    let of = |name: &str| api.reviews().iter().filter(|review| review.split(' ').next() == Some(name)).count();
    let mut last = Visible::default();
    let begun = Instant::now();
    // As often as the page does, of many log-ins.
    while begun.elapsed() < Duration::from_secs(240) {
        for log_in in 0..3 {
            let ada = User { name: "ada".into(), groups: vec![log_in.to_string()], ..User::default() };
            let visible = lists.visible(&ada, None, &shells).await.unwrap();
            assert_eq!(visible.shells.len(), 0);
        }
        let visible = lists.visible(&user("ben"), None, &shells).await.unwrap();
        assert!(visible.shells.len() >= last.shells.len(), "what was found stays");
        last = visible;
        let most = BURST as usize + 5 * (begun.elapsed().as_secs() as usize + 1);
        assert!(of("ada") <= most && of("ben") <= most, "{} {} of {most}", of("ada"), of("ben"));
        if begun.elapsed() < Duration::from_secs(60) {
            assert!(!last.complete, "and says so");
        }
        advance(Duration::from_secs(10)).await;
    }
    assert_eq!((names(&last), last.complete), (vec!["n-049/s-019".into()], true));
}

#[tokio::test(start_paused = true)]
async fn a_list_says_nothing_else_than_a_connection_was_told() {
    let granted = Arc::new(Mutex::new("ada n-000"));
    let now = Arc::clone(&granted);
    let api = Scripted::new(TAKES, move |review| review == *now.lock());
    let (lists, shells, ada) = (lists(&api), shells(1, 2), user("ada"));
    lists.learn(&ada, &shells[0], true);
    assert_eq!(lists.visible(&ada, None, &shells).await.unwrap().shells.len(), 2);
    *granted.lock() = "ada n-000 s-001";
    lists.learn(&ada, &shells[0], false);
    assert_eq!(names(&lists.visible(&ada, None, &shells).await.unwrap()), ["n-000/s-001"]);
    lists.learn(&ada, &shells[0], true);
    assert_eq!(lists.visible(&ada, None, &shells).await.unwrap().shells.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_of_its_own_is_asked_about_alone() {
    let api = Scripted::new(TAKES, |review| review == "ada n-001 s-001");
    let (lists, shells, ada) = (lists(&api), shells(3, 2), user("ada"));
    let of_one: Vec<_> = shells.iter().filter(|key| key.namespace == "n-001").cloned().collect();
    let visible = lists.visible(&ada, Some("n-001"), &of_one).await.unwrap();
    assert_eq!((visible.shells.len(), visible.complete), (1, true));
    assert_eq!(api.reviews().len(), 4);
    assert_eq!(lists.visible(&ada, None, &[]).await.unwrap(), Visible { shells: BTreeSet::new(), complete: true });
}

#[tokio::test(start_paused = true)]
async fn slow_answers_make_a_list_that_grows() {
    let api = Scripted::new(Duration::from_secs(1), |review| review == "ada n-000 s-029");
    let (lists, shells, ada) = (lists(&api), shells(1, 30), user("ada"));
    let first = lists.visible(&ada, None, &shells).await.unwrap();
    assert_eq!((first.shells.len(), first.complete), (0, false));
    lists.visible(&ada, None, &shells).await.unwrap();
    let third = lists.visible(&ada, None, &shells).await.unwrap();
    assert_eq!((third.shells.len(), third.complete), (1, true));

    let silent = Scripted::new(Duration::from_secs(60), |_| true);
    let error = self::lists(&silent).visible(&ada, None, &shells).await.unwrap_err();
    assert!(matches!(*error, CallError::Late), "{error}");
}

#[test]
fn answers_are_remembered_within_bounds() {
    let mut state = State::default();
    let begin = Instant::now();
    let answer = Answer { allowed: false, at: begin };
    for number in 0..10 {
        let given = shells(1, MAX_ANSWERS / 4).into_iter().map(|key| (Extent::Shell(key), answer)).collect();
        state.users.insert(user(&number.to_string()), Answers { given, used: begin + Duration::from_secs(number) });
        state.trim();
    }
    let mut left: Vec<_> = state.users.keys().map(|user| user.name.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["7", "8", "9"]);
}
