//! Paths that everybody on the way to a server reads alike. Pure.

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path has a percent sign, a backslash, an empty part, or a part that is `.` or `..`: no address here has one"
)]
pub struct Ambiguous;

/// The path of a request, where it has one reading only.
///
/// Proxies disagree on when to decode and to normalise a path (RFC 3986, section 6.2, leaves it to them): one that does so before it
/// looks at its rules leads `/-/..%2fteam-b/` to another gateway than a browser that matched a cookie's path had in mind. Our addresses
/// need no percent sign, so no encoding is looked into, however deep it goes.
///
/// # Errors
/// [`Ambiguous`] otherwise.
pub fn check(path: &str) -> Result<&str, Ambiguous> {
    let is_dots = |part| matches!(part, "." | "..");
    let is_ambiguous = path.contains(['%', '\\']) || path.contains("//") || path.split('/').any(is_dots);
    if is_ambiguous { Err(Ambiguous) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in ["/", "/demo/db-1.prod/ws", "/-/assets/a..b.js", "/demo/...", "*", "", "/.a/", "/t\u{e9}/"] {
            assert_eq!(check(path), Ok(path));
        }
        for path in [
            "//",
            "//evil.example/",
            "/demo//ws",
            "/demo/..",
            "/../demo/",
            "/demo/./ws",
            "/.",
            "..",
            "/-/..%2fteam-b/",
            "/-/%2e%2E/team-b/",
            "/-/%252e%252e%252fteam-b/",
            "/-/..%5cteam-b/",
            "/-/..\\team-b/",
            "/%",
        ] {
            assert_eq!(check(path), Err(Ambiguous), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_let_through_is_what_any_normalisation_makes_of_it(parts in proptest::collection::vec("/|//|demo|-|\\.{1,3}|%2[eEfF]|%5[cC]|%25|\\\\", 0..12)) {
            let path = parts.concat();
            let odd = parts.iter().any(|part| part.starts_with(['%', '\\']));
            // As RFC 3986, section 5.2.4, removes dots, and common proxies merge slashes.
            let mut kept: Vec<&str> = Vec::new();
            for part in path.split('/') {
                match part {
                    ".." => drop(kept.pop()),
                    "." => {}
                    "" if kept.last() == Some(&"") => {}
                    part => kept.push(part),
                }
            }
            let trailing = path.len() > 1 && path.ends_with('/') && kept.last() != Some(&"");
            let normal = kept.join("/") + if trailing { "/" } else { "" };
            if check(&path).is_ok() {
                prop_assert!(!odd);
                // `/` alone is two empty parts, and so one here.
                prop_assert!(normal == path || path == "/");
            }
        }
    }
}
