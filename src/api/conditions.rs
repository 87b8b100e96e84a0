//! The condition types of a WebShell's status, and the reasons that they and events have.

/// The spec is one that can be served.
pub const ACCEPTED: &str = "Accepted";
/// The Secrets that the spec names exist and can be used. Written by the gateway.
pub const CREDENTIALS_RESOLVED: &str = "CredentialsResolved";
/// The namespace's gateway runs.
pub const GATEWAY_READY: &str = "GatewayReady";
/// Browsers are led to the gateway.
pub const ROUTE_READY: &str = "RouteReady";
/// A terminal can be opened: all of the above, where a route that cannot be proved counts as one.
pub const READY: &str = "Ready";

/// Reasons: one word each, for programs.
pub mod reasons {
    /// [`ACCEPTED`](super::ACCEPTED): nothing is wrong with the spec.
    pub const VALID: &str = "Valid";
    /// [`ACCEPTED`](super::ACCEPTED): a field cannot be used.
    pub const INVALID: &str = "Invalid";
    /// [`ACCEPTED`](super::ACCEPTED): the cluster's policy forbids it.
    pub const FORBIDDEN: &str = "ForbiddenByPolicy";
    /// [`CREDENTIALS_RESOLVED`](super::CREDENTIALS_RESOLVED): every Secret was read and parsed.
    pub const RESOLVED: &str = "Resolved";
    /// [`CREDENTIALS_RESOLVED`](super::CREDENTIALS_RESOLVED): a Secret or Service does not exist.
    pub const NOT_FOUND: &str = "NotFound";
    /// [`CREDENTIALS_RESOLVED`](super::CREDENTIALS_RESOLVED): what a Secret holds cannot be used.
    pub const UNUSABLE: &str = "Unusable";
    /// [`CREDENTIALS_RESOLVED`](super::CREDENTIALS_RESOLVED): the Secret's annotation does not list the host.
    pub const HOST_NOT_ALLOWED: &str = "HostNotAllowed";
    /// [`CREDENTIALS_RESOLVED`](super::CREDENTIALS_RESOLVED): no gateway has looked yet.
    pub const PENDING: &str = "Pending";
    /// Of events alone: a host's key was learned on first use.
    pub const HOST_KEY_LEARNED: &str = "HostKeyLearned";
    /// Of events alone: a host's key, or its certificate, was refused.
    pub const HOST_KEY_REFUSED: &str = "HostKeyRefused";
    /// Of events alone: a host did not accept the credentials.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): the Deployment has its pods.
    pub const AVAILABLE: &str = "Available";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): its pods are on their way.
    pub const PROGRESSING: &str = "Progressing";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): the image cannot be pulled.
    pub const IMAGE_PULL: &str = "ImagePullFailed";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): a quota allows no more pods.
    pub const QUOTA: &str = "QuotaExceeded";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): an admission control refuses the pods.
    pub const ADMISSION: &str = "AdmissionDenied";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): an object in the way cannot be changed, only replaced.
    pub const IMMUTABLE: &str = "Immutable";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): no node takes the pods.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): the container ends again and again.
    pub const CRASHING: &str = "Crashing";
    /// [`GATEWAY_READY`](super::GATEWAY_READY): a ClusterRole of the installation is missing, so that gateways have no rights.
    pub const ROLE_MISSING: &str = "RoleMissing";
    /// [`ROUTE_READY`](super::ROUTE_READY): the gateway answers at its public URL; where nobody asks it there, the ingress
    /// controller has taken the route.
    pub const ROUTED: &str = "Routed";
    /// [`ROUTE_READY`](super::ROUTE_READY): the gateway has not answered at its public URL yet.
    pub const PROBING: &str = "Probing";
    /// [`ROUTE_READY`](super::ROUTE_READY): the ingress controller has taken the route, but the controller gets no answer of the
    /// gateway at its public URL.
    pub const PROBE_FAILED: &str = "ProbeFailed";
    /// [`ROUTE_READY`](super::ROUTE_READY): no ingress controller has said anything of it.
    pub const NOT_REPORTED: &str = "NotReported";
    /// [`ROUTE_READY`](super::ROUTE_READY): the ingress controller refuses it.
    pub const NOT_ACCEPTED: &str = "NotAccepted";
    /// [`ROUTE_READY`](super::ROUTE_READY): routes are not made by this installation.
    pub const NOT_MANAGED: &str = "NotManaged";
    /// [`READY`](super::READY): a terminal can be opened.
    pub const READY: &str = "Ready";
    /// [`READY`](super::READY): another condition, which the message names, does not hold.
    pub const NOT_READY: &str = "NotReady";
}
