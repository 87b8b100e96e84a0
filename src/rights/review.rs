//! The access review: may this user `create` `webshells/connect`?

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{
    calls::{CallError, Calls, Purpose},
    catalog::ShellKey,
    user::User,
};

/// What a review is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All WebShells there are.
    Cluster,
    /// All of a namespace.
    Namespace(String),
    /// One.
    Shell(ShellKey),
}

/// Asks for reviews.
#[derive(Debug)]
pub struct Reviewer {
    api: Reviews,
    calls: Arc<Calls>,
}

/// The kind of review that one has the right to ask for.
#[derive(Debug)]
enum Reviews {
    Cluster(Api<SubjectAccessReview>),
    Namespace(Api<LocalSubjectAccessReview>, String),
}

// === impl Reviewer ===

impl Reviewer {
    /// Asks about all namespaces.
    pub fn of_cluster(client: Client, calls: Arc<Calls>) -> Self {
        Self { api: Reviews::Cluster(Api::all(client)), calls }
    }

    /// Asks about one namespace.
    pub fn of_namespace(client: Client, namespace: &str, calls: Arc<Calls>) -> Self {
        Self { api: Reviews::Namespace(Api::namespaced(client, namespace), namespace.to_owned()), calls }
    }

    /// Whether it can ask about all WebShells at once.
    pub fn is_of_cluster(&self) -> bool {
        matches!(self.api, Reviews::Cluster(_))
    }

    /// Whether `user` may open all of `extent`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn may(&self, purpose: Purpose, user: &User, extent: &Extent) -> Result<bool, CallError> {
        let (spec, params) = (spec(user, extent), PostParams::default());
        let status = match &self.api {
            Reviews::Cluster(api) => {
                let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
                self.calls.make(purpose, api.create(&params, &review)).await?.status
            }
            Reviews::Namespace(api, namespace) => {
                let metadata = ObjectMeta { namespace: Some(namespace.clone()), ..ObjectMeta::default() };
                let review = LocalSubjectAccessReview { metadata, spec, status: None };
                self.calls.make(purpose, api.create(&params, &review)).await?.status
            }
        };
        Ok(allows(status.as_ref()))
    }
}

fn spec(user: &User, extent: &Extent) -> SubjectAccessReviewSpec {
    let (namespace, name) = match extent {
        Extent::Cluster => (None, None),
        Extent::Namespace(namespace) => (Some(namespace), None),
        Extent::Shell(ShellKey { namespace, name }) => (Some(namespace), Some(name)),
    };
    let attributes = ResourceAttributes {
        group: Some("webshell.dev".to_owned()),
        resource: Some("webshells".to_owned()),
        subresource: Some("connect".to_owned()),
        verb: Some("create".to_owned()),
        namespace: namespace.cloned(),
        name: name.cloned(),
        ..ResourceAttributes::default()
    };
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: user.uid.clone(),
        groups: Some(user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    }
}

/// Whether the answer allows it. One authorizer's denial counts for more than another's permission; no answer is none.
fn allows(status: Option<&SubjectAccessReviewStatus>) -> bool {
    status.is_some_and(|status| status.allowed && status.denied != Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_review_names_the_right_in_full() {
        let user =
            User { name: "ada".into(), groups: vec!["ops".into(), "system:authenticated".into()], ..User::default() };
        let of = |extent| serde_json::to_value(spec(&user, &extent)).unwrap();
        assert_eq!(
            of(Extent::Shell(ShellKey { namespace: "team-a".into(), name: "db-1".into() })),
            json!({
                "user": "ada",
                "groups": ["ops", "system:authenticated"],
                "resourceAttributes": {
                    "namespace": "team-a", "verb": "create", "group": "webshell.dev",
                    "resource": "webshells", "subresource": "connect", "name": "db-1",
                },
            })
        );
        let namespace = of(Extent::Namespace("team-a".into()));
        assert_eq!(namespace["resourceAttributes"]["namespace"], "team-a");
        assert_eq!(namespace["resourceAttributes"].get("name"), None);
        assert_eq!(of(Extent::Cluster)["resourceAttributes"].get("namespace"), None);
    }

    #[test]
    fn a_denial_outweighs_a_permission() {
        let answer = |allowed, denied| SubjectAccessReviewStatus { allowed, denied, ..Default::default() };
        assert!(!allows(None));
        for (allowed, denied, opens) in
            [(true, None, true), (true, Some(false), true), (true, Some(true), false), (false, None, false)]
        {
            assert_eq!(allows(Some(&answer(allowed, denied))), opens, "{allowed} {denied:?}");
        }
    }
}
