//! The raw mode: bytes both ways, for AttachAddon, websocat, wscat and the Django WebShell's page.

use super::v1::Size;

/// Its name, for clients that must offer one: browsers close a WebSocket for which none of those offered is selected.
pub const SUBPROTOCOL: &str = "webshell.raw";
/// The largest frame a client may send, in bytes: AttachAddon sends a paste whole.
pub const MAX_CLIENT_FRAME: usize = 1024 * 1024;
/// What is said, as text, before a raw connection is closed.
pub const CLOSED: &str = "ssh closed";

/// The size in a query string (`cols=120&rows=40`); what is missing or out of bounds has its default.
pub fn size_from_query(query: &str) -> Size {
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u16>().ok());
    let size = Size {
        cols: value("cols").unwrap_or(Size::DEFAULT.cols),
        rows: value("rows").unwrap_or(Size::DEFAULT.rows),
        ..Size::DEFAULT
    };
    if size.is_valid() { size } else { Size::DEFAULT }
}

/// The size in a text frame that is exactly `<RESIZE>cols,rows`; anything else is input.
pub fn resize(text: &str) -> Option<Size> {
    let (cols, rows) = text.strip_prefix("<RESIZE>")?.split_once(',')?;
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?;
    let size = Size { cols: number(cols)?, rows: number(rows)?, ..Size::DEFAULT };
    size.is_valid().then_some(size)
}

/// A run of output for one frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// Valid UTF-8, for a text frame.
    Text(&'a str),
    /// Not UTF-8, for a binary frame.
    Binary(&'a [u8]),
    /// The beginning of a character whose rest has not come yet.
    Incomplete(&'a [u8]),
}

/// Cuts the next run from the front of `bytes`: runs put together are the bytes again. `None` when nothing is left.
///
/// Everything from the first to the last invalid byte is one run, so that binary output makes few frames.
pub fn next_run(bytes: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let mut chunks = bytes.utf8_chunks();
    let first = chunks.next()?;
    if !first.valid().is_empty() {
        return bytes.get(first.valid().len()..).map(|rest| (Run::Text(first.valid()), rest));
    }
    let (mut end, mut binary) = (0, 0);
    for chunk in std::iter::once(first).chain(chunks) {
        end += chunk.valid().len() + chunk.invalid().len();
        let incomplete =
            end == bytes.len() && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
        if !chunk.invalid().is_empty() && !incomplete {
            binary = end;
        }
    }
    match bytes.split_at_checked(binary)? {
        ([], incomplete) => Some((Run::Incomplete(incomplete), &[])),
        (run, rest) => Some((Run::Binary(run), rest)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(mut bytes: &[u8]) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        while let Some((run, rest)) = next_run(bytes) {
            runs.push(run);
            bytes = rest;
        }
        runs
    }

    #[test]
    fn the_django_page_resizes_in_band() {
        assert_eq!(resize("<RESIZE>120,40"), Some(Size { cols: 120, rows: 40, ..Size::DEFAULT }));
        for input in [
            "<RESIZE>",
            "<RESIZE>120",
            "<RESIZE>120,40 ",
            "x<RESIZE>1,1",
            "<RESIZE>0,1",
            "<RESIZE>+1,1",
            "<RESIZE>99999,1",
            "<RESIZE>,",
        ] {
            assert_eq!(resize(input), None, "{input:?} is input");
        }
    }

    #[test]
    fn the_query_names_the_size() {
        assert_eq!(size_from_query("cols=120&rows=40"), Size { cols: 120, rows: 40, ..Size::DEFAULT });
        assert_eq!(size_from_query("rows=50"), Size { rows: 50, ..Size::DEFAULT });
        for nonsense in ["", "cols=0&rows=0", "cols=x", "cols=70000", "xcols=3"] {
            assert_eq!(size_from_query(nonsense), Size::DEFAULT, "{nonsense}");
        }
    }

    #[test]
    fn characters_are_never_cut() {
        let text = "aé漢😀";
        let bytes = text.as_bytes();
        for cut in 0..bytes.len() {
            let found = runs(&bytes[..cut]);
            for (index, run) in found.iter().enumerate() {
                match run {
                    Run::Text(part) => assert!(text.starts_with(part)),
                    Run::Incomplete(_) => assert_eq!(index, found.len() - 1),
                    Run::Binary(part) => panic!("{part:?} at {cut}"),
                }
            }
        }
        let mixed = b"ok\xffab\xfeok\xc3";
        assert_eq!(
            runs(mixed),
            [Run::Text("ok"), Run::Binary(b"\xffab\xfe"), Run::Text("ok"), Run::Incomplete(b"\xc3")]
        );
    }

    proptest! {
        #[test]
        fn runs_put_together_are_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let joined: Vec<u8> = runs(&bytes).into_iter().flat_map(|run| match run {
                Run::Text(text) => text.as_bytes().to_vec(),
                Run::Binary(part) | Run::Incomplete(part) => part.to_vec(),
            }).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
