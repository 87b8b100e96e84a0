//! `webshell local`: a gateway with no cluster, from manifest files or with an embedded demo target.
