//! Which address is what. Pure: a path in, a [`Route`] out.

use crate::catalog::ShellKey;

/// The longest name of a namespace (RFC 1123 label, as Kubernetes has it).
const MAX_LABEL: usize = 63;

/// The longest name of a WebShell (RFC 1123 subdomain, as Kubernetes has it).
const MAX_NAME: usize = 253;

/// The shells that an address is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// `/`: those of every namespace.
    All,
    /// `/<namespace>/`: those of one.
    Namespace(&'a str),
}

/// What an address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A page whose address lacks its final slash, without which its relative links would not work.
    AddSlash,
    /// The page with the list of shells.
    List(Scope<'a>),
    /// The page of one shell.
    Shell(ShellKey),
    /// The WebSocket of one shell.
    Terminal(ShellKey),
    /// A file of the page, by its path within the assets.
    Asset(&'a str),
    /// Log-in, log-out and who one is.
    Session,
    /// Where a browser begins to log in.
    Login(Scope<'a>),
    /// The shells as JSON.
    Shells(Scope<'a>),
    /// The WebSocket that proves a route.
    Ping(Scope<'a>),
}

/// What `path` (without its query) stands for; `None` where there is nothing. Nothing is decoded or normalised: every
/// valid address has one spelling.
pub fn parse(path: &str) -> Option<Route<'_>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Route::List(Scope::All));
    }
    if let Some(rest) = path.strip_prefix("-/") {
        return parse_inner(Scope::All, rest);
    }
    let Some((namespace, path)) = path.split_once('/') else {
        return is_label(path).then_some(Route::AddSlash);
    };
    if !is_label(namespace) {
        return None;
    }
    if path.is_empty() {
        return Some(Route::List(Scope::Namespace(namespace)));
    }
    if let Some(rest) = path.strip_prefix("-/") {
        return parse_inner(Scope::Namespace(namespace), rest);
    }
    let (name, rest) = match path.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    if !is_subdomain(name) {
        return None;
    }
    let key = || ShellKey { namespace: namespace.to_owned(), name: name.to_owned() };
    match rest {
        None => Some(Route::AddSlash),
        Some("") => Some(Route::Shell(key())),
        Some("ws") => Some(Route::Terminal(key())),
        Some(_) => None,
    }
}

/// What follows `/-/` or `/<namespace>/-/`.
fn parse_inner<'a>(scope: Scope<'a>, path: &'a str) -> Option<Route<'a>> {
    match path {
        "session" => Some(Route::Session),
        "login" => Some(Route::Login(scope)),
        "shells" => Some(Route::Shells(scope)),
        "ping" => Some(Route::Ping(scope)),
        _ => path.strip_prefix("assets/").map(Route::Asset),
    }
}

/// Whether `name` is a DNS label as RFC 1123 has it, in lower case: the name of a namespace.
pub fn is_label(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= MAX_LABEL
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `name` is made of such labels with dots between them: the name of a WebShell.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(namespace: &str, name: &str) -> ShellKey {
        ShellKey { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn every_address_of_the_specification() {
        let demo = Scope::Namespace("demo");
        for (path, route) in [
            ("/", Route::List(Scope::All)),
            ("/-/session", Route::Session),
            ("/-/login", Route::Login(Scope::All)),
            ("/-/shells", Route::Shells(Scope::All)),
            ("/-/ping", Route::Ping(Scope::All)),
            ("/-/assets/page-1a2b.js", Route::Asset("page-1a2b.js")),
            ("/demo", Route::AddSlash),
            ("/demo/", Route::List(demo)),
            ("/demo/-/session", Route::Session),
            ("/demo/-/login", Route::Login(demo)),
            ("/demo/-/shells", Route::Shells(demo)),
            ("/demo/-/ping", Route::Ping(demo)),
            ("/demo/-/assets/a/b.woff2", Route::Asset("a/b.woff2")),
            ("/demo/terminal", Route::AddSlash),
            ("/demo/terminal/", Route::Shell(key("demo", "terminal"))),
            ("/demo/terminal/ws", Route::Terminal(key("demo", "terminal"))),
            ("/demo/ws/ws", Route::Terminal(key("demo", "ws"))),
            ("/demo/db-1.prod/ws", Route::Terminal(key("demo", "db-1.prod"))),
        ] {
            assert_eq!(parse(path), Some(route), "{path}");
        }
    }

    #[test]
    fn names_that_break_paths_are_nowhere() {
        let long = format!("/{}/x/", "a".repeat(64));
        for path in [
            "",
            "demo/",
            "//",
            "//evil.example/",
            "/-",
            "/-/",
            "/-/nothing",
            "/-demo/",
            "/demo-/",
            "/Demo/",
            "/de.mo/",
            "/demo//ws",
            "/demo/-",
            "/demo/-/",
            "/demo/terminal/ws/",
            "/demo/terminal/x",
            "/demo/../etc/",
            "/demo/./ws",
            "/demo/a..b/",
            "/demo/.a/",
            "/demo/%2e%2e/",
            "/demo/terminal%2fws",
            "/demo/t\u{e9}/",
            "/demo/a_b/",
            "*",
            &long,
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_shell_is_found_again_under_its_key(namespace in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", name in "[a-z0-9]([a-z0-9.]{0,1}[a-z0-9])?") {
            let path = format!("/{namespace}/{name}/ws");
            prop_assert_eq!(parse(&path), Some(Route::Terminal(key(&namespace, &name))));
        }

        #[test]
        fn no_path_yields_a_name_that_is_none(path in "[a-zA-Z0-9./%_-]{0,40}") {
            if let Some(Route::Shell(key) | Route::Terminal(key)) = parse(&path) {
                prop_assert!(is_label(&key.namespace) && is_subdomain(&key.name));
            }
        }
    }
}
