//! The page and its assets, built by `build.rs` and embedded in the binary.

use std::borrow::Cow;

use bytes::Bytes;
use rust_embed::RustEmbed;

/// The page before its addresses are filled in.
const INDEX: &str = include_str!(concat!(env!("OUT_DIR"), "/page/index.html"));

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/page/assets"]
struct Assets;

/// What the page may load and do; for the header `Content-Security-Policy`.
///
/// Everything comes from the gateway itself, and nothing may frame the page. Scripts are files only. Inline styles have to be
/// allowed: xterm.js measures the font and colours its cells by `<style>` elements and `style` attributes that it makes
/// at run time, for which it takes no nonce. They hold sizes and colours, never text of the terminal, and the page parses
/// no string as HTML, which `require-trusted-types-for` enforces.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The page, which loads its assets below `base` (`/` or `/<namespace>/`). It is the same for every shell and for the list,
/// and must not be cached, because the names of its assets change.
pub fn page(base: &str) -> Bytes {
    // Nothing that could end the attribute that it becomes a part of; no namespace has such characters.
    let base: String = base.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.')).collect();
    Bytes::from(INDEX.replace("\"./assets/", &format!("\"{base}-/assets/")))
}

/// The asset of this name (what follows `-/assets/`) and its media type; `None` when there is none. Its name holds a hash
/// of its content, so it may be cached for ever.
pub fn asset(name: &str) -> Option<(&'static str, Bytes)> {
    let file = Assets::get(name)?;
    let bytes = match file.data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => Bytes::from(read),
    };
    Some((media_type(name), bytes))
}

/// Of what the page's build makes.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        Some("md") => "text/markdown; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_at(base: &str) -> String {
        String::from_utf8(page(base).to_vec()).unwrap()
    }

    /// The names of the assets that the page loads by itself.
    fn loaded(page: &str, base: &str) -> Vec<String> {
        let start = format!("\"{base}-/assets/");
        page.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_asset_that_the_page_loads_is_there() {
        for base in ["/", "/team-a/"] {
            let names = loaded(&page_at(base), base);
            assert!(names.iter().any(|name| name.ends_with(".js")), "{names:?}");
            assert!(names.iter().any(|name| name.ends_with(".css")), "{names:?}");
            for name in names {
                assert!(asset(&name).is_some_and(|(_, bytes)| !bytes.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn every_asset_has_a_type_that_browsers_know() {
        for name in Assets::iter() {
            assert_ne!(asset(&name).unwrap().0, "application/octet-stream", "{name}");
        }
    }

    #[test]
    fn nothing_but_assets_is_served() {
        for name in ["", "index.html", "../index.html", "/etc/passwd", "missing.js"] {
            assert!(asset(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_base_cannot_leave_its_attribute() {
        assert!(!page_at("/\"><script>/").contains("<script>"));
    }
}
