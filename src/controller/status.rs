//! What the status of a WebShell should say. Pure.

use serde_json::{Value, json};

use super::{
    build,
    digest::{self, Digest},
    kind::Kind,
    observe,
    owner::{Owner, Owners},
    probe::Outcome,
    state::{Child, Namespace, Report, Routed, Seen, Shell, Target, Trouble},
    validate::Verdict,
};
use crate::{
    api::conditions::{ACCEPTED, CREDENTIALS_RESOLVED, GATEWAY_READY, READY, ROUTE_READY, reasons},
    config::Config,
    events::Notice,
};

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

const PENDING: &str = "the gateway has not answered at its public URL yet";
const LATE: &str = "whether the gateway answers at its public URL is not known yet, because pings of others take long";

/// What a condition should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its type, one of `api::conditions`.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Its reason, one of `api::conditions::reasons`.
    pub reason: &'static str,
    /// A sentence, where there is something to say.
    pub message: String,
}

/// What the WebShells of a namespace have in common.
pub struct Shared<'a> {
    /// The installation's settings.
    pub config: &'a Config,
    /// The namespace.
    pub namespace: &'a str,
    /// Whether the installation serves it.
    pub served: bool,
    /// Whether the gateway runs.
    pub gateway: Said,
    /// Whether browsers are led there.
    route: Said,
    /// With which reason an earlier condition that says so stands.
    route_stands: Option<&'static str>,
}

/// A status, ready to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Its content.
    pub content: Value,
    /// Its conditions.
    pub conditions: Vec<Said>,
}

// === impl Shared ===

impl<'a> Shared<'a> {
    /// Sums a namespace up. `owners` are what there is to own its objects, `refused` those that the API server did not take, `way` is
    /// what pings say.
    pub fn new(
        config: &'a Config,
        namespace: &'a str,
        state: &Namespace,
        owners: &Owners,
        refused: &[(Kind, Trouble)],
        way: &Outcome,
    ) -> Self {
        let (route, route_stands) = route(config, state, refused, way);
        Self {
            config,
            namespace,
            served: state.itself.is_some_and(|itself| itself.selected),
            gateway: missing(owners).unwrap_or_else(|| gateway(namespace, state, refused)),
            route,
            route_stands,
        }
    }

    /// Whether browsers are led to the gateway, by what a WebShell's status says where nothing else is known: so a controller
    /// that was restarted takes nothing back.
    fn route(&self, shell: &Shell) -> Said {
        let before = shell.seen(ROUTE_READY).zip(self.route_stands);
        match before.map(|(seen, stands)| (seen, &*seen.status, &*seen.reason, stands)) {
            Some((_, TRUE, reasons::ROUTED, _)) => said(ROUTE_READY, TRUE, reasons::ROUTED, ""),
            Some((seen, UNKNOWN, reason, stands)) if reason == stands => {
                said(ROUTE_READY, UNKNOWN, stands, &*seen.message)
            }
            _ => self.route.clone(),
        }
    }
}

fn said(type_: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Said {
    Said { type_, status, reason, message: message.into() }
}

/// What it means for gateways that there is no ClusterRole for them.
fn missing(owners: &Owners) -> Option<Said> {
    if owners.contains_key(&Owner::Gateway) {
        return None;
    }
    let message = match owners.len() {
        0 => {
            "ClusterRoles webshell-gateway and webshell-controller are missing, which own all gateways: Kubernetes removes them; \
              install WebShell's chart or manifests again, and they are made anew"
        }
        _ => {
            "ClusterRole webshell-gateway is missing: gateways have no rights without it, so no terminal opens, and open ones end after \
              gateway.apiOutageGrace; make it anew, as by helm upgrade"
        }
    };
    Some(said(GATEWAY_READY, FALSE, reasons::ROLE_MISSING, message))
}

fn gateway(namespace: &str, state: &Namespace, refused: &[(Kind, Trouble)]) -> Said {
    let mut gateway = running(namespace, state, refused);
    let relabelled = |(kind, child): (&Kind, &Child)| {
        Some(format!("{} {}: {}", kind.name(), build::NAME, child.relabelled.as_ref()?))
    };
    let relabelled: Vec<_> = state.children.iter().filter_map(relabelled).collect();
    if !relabelled.is_empty() {
        let words = "exempt objects of this name from what does that, an admission webhook as a rule";
        let parts = Some(gateway.message).filter(|message| !message.is_empty()).into_iter();
        gateway.message = parts.chain(relabelled).chain([words.to_owned()]).collect::<Vec<_>>().join("; ");
    }
    gateway
}

fn running(namespace: &str, state: &Namespace, refused: &[(Kind, Trouble)]) -> Said {
    let report = |kind| state.children.get(&kind).map(|child| &child.report);
    let (available, stalled, pods_refused) = match report(Kind::Deployment) {
        Some(Report::Deployment { available, stalled, trouble, .. }) => (*available, *stalled, trouble.as_ref()),
        _ => (false, false, None),
    };
    // Without these a gateway that runs does not do what it should.
    if let Some((kind, trouble)) = refused.iter().find(|(kind, _)| !is_route(*kind) && *kind != Kind::Deployment) {
        return said(GATEWAY_READY, FALSE, trouble.reason, refusal(*kind, trouble));
    }
    if report(Kind::ConfigMap) == Some(&Report::Root { immutable: true }) {
        let message = format!(
            "ConfigMap {} was made immutable, so that settings and portals' keys do not reach the gateway; {}",
            build::NAME,
            build::replacement(Kind::ConfigMap, namespace)
        );
        return said(GATEWAY_READY, FALSE, reasons::IMMUTABLE, message);
    }
    // What an earlier pod could not do has been changed since.
    let troubled = state.pods.values().filter(|pod| pod.trouble.is_some());
    let of_pods = || troubled.max_by_key(|pod| pod.created).and_then(|pod| pod.trouble.as_ref()).or(pods_refused);
    let trouble = match refused.iter().find(|(kind, _)| *kind == Kind::Deployment) {
        Some((kind, trouble)) => Some((trouble.reason, refusal(*kind, trouble))),
        None => of_pods().map(|trouble| (trouble.reason, trouble.message.clone())),
    };
    match trouble {
        None if available => said(GATEWAY_READY, TRUE, reasons::AVAILABLE, ""),
        Some((_, message)) if available => {
            said(GATEWAY_READY, TRUE, reasons::AVAILABLE, format!("its successor cannot start: {message}"))
        }
        Some((reason, message)) => said(GATEWAY_READY, FALSE, reason, message),
        None => said(GATEWAY_READY, FALSE, reasons::PROGRESSING, progress(state, stalled)),
    }
}

/// What a gateway that does not run, for no reason that somebody gives, is waiting for.
fn progress(state: &Namespace, stalled: bool) -> String {
    let lost = state.pods.iter().find_map(|(name, pod)| Some((name, pod.lost_with.as_ref()?)));
    match lost {
        Some((pod, node)) => format!(
            "node {node} does not answer any more, and pod {pod} with it; another takes its place once Kubernetes gives the pod up, \
             after 5 minutes as a rule"
        ),
        None if stalled && state.pods.is_empty() => format!(
            "its Deployment makes no progress, and has no pod with label {}: does an admission webhook change labels of pods?",
            build::pod_selector()
        ),
        None if stalled => {
            "its pod takes longer than 10 minutes to be ready; kubectl describe pod says more".to_owned()
        }
        None => "the gateway's pod is on its way".to_owned(),
    }
}

fn refusal(kind: Kind, trouble: &Trouble) -> String {
    observe::told(&format!("{} was refused", kind.name()), &trouble.message)
}

fn is_route(kind: Kind) -> bool {
    matches!(kind, Kind::Ingress | Kind::HttpRoute)
}

/// Whether browsers are led to the gateway; and where no ping has told yet, with which reason an earlier condition stands, besides
/// one that holds.
fn route(
    config: &Config,
    state: &Namespace,
    refused: &[(Kind, Trouble)],
    way: &Outcome,
) -> (Said, Option<&'static str>) {
    let kind = Kind::of_routes(config.route.kind);
    let report = kind.and_then(|kind| state.children.get(&kind)).map(|child| &child.report);
    let refused = refused.iter().find(|(kind, _)| is_route(*kind));
    let refused = refused.map(|(kind, trouble)| refusal(*kind, trouble));
    if let Some(why) = refused.as_ref().or(report.and_then(Report::refusal)) {
        return (said(ROUTE_READY, FALSE, reasons::NOT_ACCEPTED, why), None);
    }
    let is_accepted = report == Some(&Report::Route(Routed::Accepted));
    let (unproved, words) = match kind {
        None => (
            reasons::NOT_MANAGED,
            format!("routes are not made by this installation; lead browsers to Service {}", build::NAME),
        ),
        Some(_) if is_accepted => (reasons::PROBE_FAILED, String::new()),
        Some(kind) => (
            reasons::NOT_REPORTED,
            format!("no ingress controller has said anything of {} {}", kind.name(), build::NAME),
        ),
    };
    let unknown = |reason, why: &str| {
        let parts: Vec<_> = [&words, why].into_iter().filter(|part| !part.is_empty()).collect();
        said(ROUTE_READY, UNKNOWN, reason, observe::shorten(&parts.join("; ")))
    };
    let routed = || said(ROUTE_READY, TRUE, reasons::ROUTED, "");
    match way {
        Outcome::Proved => (routed(), None),
        Outcome::Off if is_accepted => (routed(), None),
        Outcome::Off => (unknown(unproved, ""), None),
        Outcome::Failed(why) => (unknown(unproved, why), None),
        // Whoever makes routes themselves knows when they are done.
        Outcome::Idle | Outcome::Pending | Outcome::Late if kind.is_none() => (unknown(unproved, ""), Some(unproved)),
        Outcome::Idle | Outcome::Pending => (unknown(reasons::PROBING, PENDING), Some(unproved)),
        Outcome::Late => (unknown(unproved, LATE), Some(unproved)),
    }
}

// === impl Status ===

impl Status {
    /// What the status of a WebShell should say at `now`, a time in RFC 3339. Times of conditions that don't change stay.
    pub fn new(shared: &Shared<'_>, name: &str, shell: &Shell, state: &Namespace, now: &str) -> Self {
        let mut conditions = vec![accepted(shared, shell)];
        if shared.served {
            conditions.extend([shared.gateway.clone(), shared.route(shell)]);
        }
        conditions.push(ready(&conditions, &credentials(shell)));
        let listed = conditions.iter().map(|said| {
            let seen = shell.seen(said.type_).filter(|seen| &*seen.status == said.status);
            json!({
                "type": said.type_,
                "status": said.status,
                "reason": said.reason,
                "message": said.message,
                "observedGeneration": shell.generation,
                "lastTransitionTime": seen.map_or(now, |seen| &*seen.since),
            })
        });
        let sessions =
            shell.gateways.iter().filter(|(pod, _)| state.pods.contains_key(pod)).map(|(_, sessions)| *sessions);
        let content = json!({
            "observedGeneration": shell.generation,
            "activeSessions": sessions.fold(0, i32::saturating_add),
            "conditions": listed.collect::<Vec<_>>(),
        });
        let url = shared.served.then(|| shared.config.route.url(shared.namespace, name));
        let content = build::with(content, "target", shell.target.as_ref().map(Target::to_string));
        let content = build::with(content, "url", url);
        Self { content, conditions }
    }

    /// To compare with what is ours of the status that is there.
    pub fn digest(&self) -> Digest {
        digest::digest(&json!({"status": self.content}))
    }

    /// What of it a person must know who saw `shell` last.
    pub fn notices(&self, shell: &Shell) -> Vec<Notice> {
        let new = |said: &&Said| {
            shell.seen(said.type_).is_none_or(|seen| &*seen.status != said.status || &*seen.reason != said.reason)
        };
        let notice = |said: &Said| match (said.type_, said.status) {
            (READY, TRUE) => {
                let url = self.content.get("url").and_then(Value::as_str).unwrap_or_default();
                Some(Notice { warning: false, reason: said.reason, message: format!("open {url}") })
            }
            // What is wrong is said by the condition that Ready names.
            (READY, _) => None,
            (_, FALSE) if said.reason != reasons::PROGRESSING => {
                Some(Notice { warning: true, reason: said.reason, message: said.message.clone() })
            }
            _ => None,
        };
        self.conditions.iter().filter(new).filter_map(notice).collect()
    }
}

// === impl Shell ===

impl Shell {
    /// A condition of its status.
    pub fn seen(&self, type_: &str) -> Option<&Seen> {
        self.conditions.iter().find(|seen| seen.type_ == type_)
    }
}

fn accepted(shared: &Shared<'_>, shell: &Shell) -> Said {
    if !shared.served {
        let message = format!(
            "namespace {} is not among those that this installation serves; ask its administrators (namespaceSelector)",
            shared.namespace
        );
        return said(ACCEPTED, FALSE, reasons::FORBIDDEN, message);
    }
    match &shell.verdict {
        Verdict::Accepted => said(ACCEPTED, TRUE, reasons::VALID, ""),
        Verdict::Invalid(problem) => said(ACCEPTED, FALSE, reasons::INVALID, problem.as_str()),
        Verdict::Forbidden(problem) => said(ACCEPTED, FALSE, reasons::FORBIDDEN, problem.as_str()),
    }
}

/// What the gateway has said of the Secrets, and whether that holds: as `(holds, words)`.
fn credentials(shell: &Shell) -> (bool, String) {
    match shell.seen(CREDENTIALS_RESOLVED) {
        Some(seen) if seen.generation.is_none_or(|generation| generation >= shell.generation) => {
            let words = describe(CREDENTIALS_RESOLVED, &seen.status, &seen.reason, &seen.message);
            (&*seen.status == TRUE, words)
        }
        _ => (false, describe(CREDENTIALS_RESOLVED, UNKNOWN, reasons::PENDING, "the gateway has not looked yet")),
    }
}

fn ready(others: &[Said], (resolved, credentials): &(bool, String)) -> Said {
    // A way that cannot be proved is no reason to keep people off it; one that may be about to be served is.
    let is_unproved =
        |said: &Said| said.type_ == ROUTE_READY && said.status == UNKNOWN && said.reason != reasons::PROBING;
    let holds = |said: &&Said| said.status == TRUE || is_unproved(said);
    let mut words = others
        .iter()
        .filter(|said| !holds(said))
        .map(|said| describe(said.type_, said.status, said.reason, &said.message));
    match words.next() {
        Some(words) => said(READY, FALSE, reasons::NOT_READY, words),
        None if !resolved => said(READY, FALSE, reasons::NOT_READY, credentials.as_str()),
        None => said(READY, TRUE, reasons::READY, ""),
    }
}

fn describe(type_: &str, status: &str, reason: &str, message: &str) -> String {
    observe::told(&format!("{type_} is {status} ({reason})"), message)
}

#[cfg(test)]
mod tests;
