//! The access review: may this user `create` `webshells/connect`? Pure.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec, SubjectAccessReviewStatus};

use crate::user::User;

/// Asks about one WebShell, without `name` about all of a namespace, and without `namespace` about all there are.
pub fn spec(user: &User, namespace: Option<&str>, name: Option<&str>) -> SubjectAccessReviewSpec {
    let attributes = ResourceAttributes {
        group: Some("webshell.dev".to_owned()),
        resource: Some("webshells".to_owned()),
        subresource: Some("connect".to_owned()),
        verb: Some("create".to_owned()),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
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
pub fn allows(status: Option<&SubjectAccessReviewStatus>) -> bool {
    status.is_some_and(|status| status.allowed && status.denied != Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_review_names_the_right_in_full() {
        let user = User { name: "ada".into(), groups: vec!["ops".into(), "system:authenticated".into()], ..User::default() };
        let of = |namespace, name| serde_json::to_value(spec(&user, namespace, name)).unwrap();
        assert_eq!(
            of(Some("team-a"), Some("db-1")),
            json!({
                "user": "ada",
                "groups": ["ops", "system:authenticated"],
                "resourceAttributes": {
                    "namespace": "team-a", "verb": "create", "group": "webshell.dev",
                    "resource": "webshells", "subresource": "connect", "name": "db-1",
                },
            })
        );
        assert_eq!(of(Some("team-a"), None)["resourceAttributes"]["namespace"], "team-a");
        for (absent, of_what) in [("name", of(Some("team-a"), None)), ("namespace", of(None, None))] {
            assert_eq!(of_what["resourceAttributes"].get(absent), None, "empty would be a name");
        }
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
