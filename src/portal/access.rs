//! Which shells somebody may open, as the API server decides; what it said is believed for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use crate::{catalog::ShellKey, rights::review, user::User};

/// How long an answer is believed. It decides what a list shows; a gateway asks anew at every connection.
pub const BELIEVED: Duration = Duration::from_secs(30);

/// How many answers are remembered, of some 200 bytes each: ten thousand shells for a few users at once.
const MAX_ANSWERS: usize = 50_000;

/// How many questions are asked at once, over all users: the API server has other things to do.
const MAX_QUESTIONS: usize = 16;

/// Asks the API server.
#[derive(Debug)]
pub struct Access {
    reviews: Api<SubjectAccessReview>,
    places: Semaphore,
    answers: Mutex<Answers>,
}

/// What was answered, and when.
#[derive(Debug, Default)]
struct Answers(HashMap<Question, (bool, Instant)>);

/// Whether a user may connect to one shell, to all of a namespace, or to all there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    user: Arc<User>,
    /// Empty for all.
    namespace: String,
    /// Empty for all.
    name: String,
}

impl Access {
    /// Nothing was asked yet.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), places: Semaphore::new(MAX_QUESTIONS), answers: Mutex::default() }
    }

    /// Those of `shells` that the user may open, in their order, which is by namespace. Whole namespaces are asked about
    /// first.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn allowed(&self, user: &Arc<User>, shells: Vec<ShellKey>) -> Result<Vec<ShellKey>, kube::Error> {
        if shells.is_empty() || self.ask(user, "", "").await? {
            return Ok(shells);
        }
        let mut namespaces: Vec<_> = shells.iter().map(|key| key.namespace.clone()).collect();
        namespaces.dedup();
        let whole: HashMap<String, bool> = stream::iter(namespaces)
            .map(async |namespace| {
                let allowed = self.ask(user, &namespace, "").await?;
                Ok::<_, kube::Error>((namespace, allowed))
            })
            .buffer_unordered(MAX_QUESTIONS)
            .try_collect()
            .await?;
        let whole = &whole;
        let decided: Vec<Option<ShellKey>> = stream::iter(shells)
            .map(async |key| {
                let allowed =
                    whole.get(&key.namespace) == Some(&true) || self.ask(user, &key.namespace, &key.name).await?;
                Ok::<_, kube::Error>(allowed.then_some(key))
            })
            .buffered(MAX_QUESTIONS)
            .try_collect()
            .await?;
        Ok(decided.into_iter().flatten().collect())
    }

    /// Whether the user may open one shell. A refusal is never an answer from before: the right may have been given since.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may_open(&self, user: &Arc<User>, shell: &ShellKey) -> Result<bool, kube::Error> {
        let question = Question::new(user, &shell.namespace, &shell.name);
        if self.known(&question) == Some(true) { Ok(true) } else { self.review(question).await }
    }

    async fn ask(&self, user: &Arc<User>, namespace: &str, name: &str) -> Result<bool, kube::Error> {
        let question = Question::new(user, namespace, name);
        match self.known(&question) {
            Some(known) => Ok(known),
            None => self.review(question).await,
        }
    }

    fn known(&self, question: &Question) -> Option<bool> {
        self.answers.lock().get(question, Instant::now())
    }

    async fn review(&self, question: Question) -> Result<bool, kube::Error> {
        // It is never closed.
        let _place = self.places.acquire().await;
        let review = self.reviews.create(&PostParams::default(), &question.review()).await?;
        let allowed = review::allows(review.status.as_ref());
        self.answers.lock().put(question, allowed, Instant::now());
        Ok(allowed)
    }
}

// === impl Answers ===

impl Answers {
    fn get(&self, question: &Question, now: Instant) -> Option<bool> {
        self.0.get(question).filter(|(_, asked)| now - *asked < BELIEVED).map(|(allowed, _)| *allowed)
    }

    fn put(&mut self, question: Question, allowed: bool, now: Instant) {
        if self.0.len() >= MAX_ANSWERS {
            self.0.retain(|_, (_, asked)| now - *asked < BELIEVED);
        }
        // Where there is no room, the question is asked again the next time.
        if self.0.len() < MAX_ANSWERS {
            self.0.insert(question, (allowed, now));
        }
    }
}

// === impl Question ===

impl Question {
    fn new(user: &Arc<User>, namespace: &str, name: &str) -> Self {
        Self { user: Arc::clone(user), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn review(&self) -> SubjectAccessReview {
        let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let spec = review::spec(&self.user, some(&self.namespace), some(&self.name));
        SubjectAccessReview { spec, ..SubjectAccessReview::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(user: &str, groups: &[&str], name: &str) -> Question {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        let user = Arc::new(User { name: user.to_owned(), groups, ..User::default() });
        Question { user, namespace: "team-a".to_owned(), name: name.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_a_while_for_its_own_question_only() {
        let mut answers = Answers::default();
        let begin = Instant::now();
        answers.put(question("ada", &["dba"], "db-1"), true, begin);
        assert_eq!(answers.get(&question("ada", &["dba"], "db-1"), begin), Some(true), "of another log-in, too");
        for other in [
            question("ben", &["dba"], "db-1"),
            question("ada", &[], "db-1"),
            question("ada", &["dba"], "db-2"),
            question("ada", &["dba"], ""),
        ] {
            assert_eq!(answers.get(&other, begin), None, "{other:?}");
        }
        assert_eq!(answers.get(&question("ada", &["dba"], "db-1"), begin + BELIEVED), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered_within_bounds() {
        let mut answers = Answers::default();
        let begin = Instant::now();
        for number in 0..MAX_ANSWERS + 10 {
            answers.put(question("ada", &[], &number.to_string()), true, begin);
        }
        assert_eq!(answers.0.len(), MAX_ANSWERS);
        answers.put(question("ada", &[], "later"), true, begin + BELIEVED);
        assert_eq!(answers.0.len(), 1);
    }
}
