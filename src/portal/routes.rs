//! Which of the portal's addresses is what. Pure.
//!
//! Paths that begin with a namespace are gateways' alone, so all of the portal's own are `/` and below `/-/`, which no namespace
//! can be called: no address means one thing here and another there.

use crate::{
    catalog::ShellKey,
    gateway::{
        form::field,
        routes::{is_label, is_subdomain},
    },
    ticket::is_nonce,
};

/// What an address of the portal stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The page: the list, or the log-in.
    Page,
    /// Exchanges a token for a session.
    LogIn,
    /// The page where one logs out, and what it posts to.
    LogOut,
    /// Who one is.
    Session,
    /// The shells that one may open.
    Shells,
    /// Where gateways send browsers that they do not know.
    Authorize,
    /// A file of the page.
    Asset(&'a str),
    /// The WebSocket that proves a route.
    Ping,
    /// Which log-ins have ended, for gateways.
    Ended,
}

/// For which gateway a browser wants a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// The gateway's namespace.
    pub namespace: &'a str,
    /// The shell to open there; the list without it.
    pub shell: Option<ShellKey>,
    /// What the gateway sent along.
    pub nonce: &'a str,
}

/// What `path` (without its query) stands for; `None` where there is nothing.
pub fn parse(path: &str) -> Option<Route<'_>> {
    match path {
        "/" => Some(Route::Page),
        "/-/login" => Some(Route::LogIn),
        "/-/logout" => Some(Route::LogOut),
        "/-/session" => Some(Route::Session),
        "/-/shells" => Some(Route::Shells),
        "/-/authorize" => Some(Route::Authorize),
        "/-/ping" => Some(Route::Ping),
        "/-/ended" => Some(Route::Ended),
        _ => path.strip_prefix("/-/assets/").map(Route::Asset),
    }
}

/// Reads the query of [`Route::Authorize`]; `None` where it is none of a gateway's. It holds names only, never an address.
pub fn wish(query: &str) -> Option<Wish<'_>> {
    let namespace = field(query, "namespace").filter(|name| is_label(name))?;
    let nonce = field(query, "nonce").filter(|nonce| is_nonce(nonce))?;
    let shell = match field(query, "shell") {
        Some(name) if is_subdomain(name) => Some(ShellKey { namespace: namespace.to_owned(), name: name.to_owned() }),
        Some(_) => return None,
        None => None,
    };
    Some(Wish { namespace, shell, nonce })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::routes;

    #[test]
    fn nothing_of_a_namespace_is_the_portals() {
        for path in ["/team-a", "/team-a/", "/team-a/-/session", "/team-a/db-1/ws", "", "/-", "/-/", "/-/else", "//"] {
            assert_eq!(parse(path), None, "{path}");
        }
        for path in ["/-/login", "/-/logout", "/-/session", "/-/shells", "/-/authorize", "/-/ping", "/-/assets/a.js"] {
            assert!(parse(path).is_some(), "{path}");
            let of_gateway = routes::parse(path);
            let has_name = matches!(of_gateway, Some(routes::Route::Shell(_) | routes::Route::Terminal(_)));
            assert!(
                !has_name && !matches!(of_gateway, Some(routes::Route::List(routes::Scope::Namespace(_)))),
                "{path}"
            );
        }
    }

    #[test]
    fn a_wish_names_a_namespace_and_a_shell_and_nothing_else() {
        let nonce = "0".repeat(64);
        let read = |query: &str| wish(&query.replace("NONCE", &nonce)).is_some();
        let key = ShellKey { namespace: "team-a".into(), name: "db-1.prod".into() };
        let query = format!("namespace=team-a&shell=db-1.prod&nonce={nonce}");
        assert_eq!(wish(&query), Some(Wish { namespace: "team-a", shell: Some(key), nonce: &nonce }));
        assert!(read("nonce=NONCE&namespace=team-a"));
        for query in [
            "",
            "namespace=team-a",
            "nonce=NONCE",
            "namespace=team-a&nonce=0",
            "namespace=evil.example/&nonce=NONCE",
            "namespace=evil.example&nonce=NONCE",
            "namespace=https://evil.example&nonce=NONCE",
            "namespace=team-a&namespace=team-b&nonce=NONCE",
            "namespace=team-a&shell=//evil.example&nonce=NONCE",
            "namespace=team-a&shell=&nonce=NONCE",
            "namespace=team-a&shell=%2e%2e&nonce=NONCE",
            "namespace=Team&nonce=NONCE",
        ] {
            assert!(!read(query), "{query}");
        }
    }
}
