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

/// A small page that tells something, with one way on. It needs no script.
pub fn message(title: &str, text: &str, href: &str, link: &str) -> String {
    let [title, text, href, link] = [title, text, href, link].map(escape);
    bare(&title, &format!("<p>{text}</p><p><a href=\"{href}\">{link}</a></p>"))
}

/// A page in the look of the others, without script and assets. `title` and `content` are HTML.
pub fn bare(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"dark light\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title} — WebShell</title><style>{BARE_STYLE}</style></head>\
         <body><main><h1>{title}</h1>{content}</main></body></html>"
    )
}

/// Text as HTML, within elements and quoted attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The colours of `web/src/style.css`.
const BARE_STYLE: &str = ":root{--ground:#15171c;--text:#d5d9e0;--soft:#99a1af;--accent:#7cc4a4;--accent-text:#10251c}\
     @media(prefers-color-scheme:light){:root{--ground:#fdfdfc;--text:#24292f;--soft:#5c6570;--accent:#1d7a5a;--accent-text:#fff}}\
     body{margin:0;background:var(--ground);color:var(--text);font:14px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}\
     main{max-width:560px;margin:0 auto;padding:48px 20px}h1{margin:0 0 12px;font-size:24px}p{margin:0 0 16px;color:var(--soft)}\
     a{color:var(--accent)}:focus-visible{outline:2px solid var(--accent);outline-offset:1px}\
     button{font:inherit;font-weight:600;border:0;border-radius:7px;padding:6px 14px;background:var(--accent);color:var(--accent-text);cursor:pointer}";

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
    fn a_message_is_text_only() {
        let page = message("a<b", "<script>x</script> & \"y\"", "/a?b=c&d=\"e", "Try again");
        assert!(page.contains("<h1>a&lt;b</h1>") && page.contains("&lt;script&gt;x&lt;/script&gt; &amp; "), "{page}");
        assert!(page.contains("<a href=\"/a?b=c&amp;d=&quot;e\">Try again</a>"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn a_base_cannot_leave_its_attribute() {
        assert!(!page_at("/\"><script>/").contains("<script>"));
    }
}
