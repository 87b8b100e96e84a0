//! `webshell local`: a gateway with no cluster, from manifest files or with an embedded demo target.

pub mod manifests;
pub mod watch;
