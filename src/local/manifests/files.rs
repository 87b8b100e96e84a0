//! The files that hold manifests: which there are, and what they say.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::yaml::MAX_TEXT;

/// The most files of one directory: far more than anybody writes by hand.
const MAX_FILES: usize = 10_000;

/// The files that a path names: itself, or those of the directory that it is, sorted.
///
/// A directory's own directories are left out, as kubectl does, and hidden files, because editors keep half-written
/// copies in them.
pub(super) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if is_manifest(&file) && !file.is_dir() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} manifests in one directory")));
        }
    }
    files.sort();
    Ok(files)
}

fn is_manifest(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// What a file says; it may hold secrets.
pub(super) fn read(file: &Path) -> io::Result<Zeroizing<String>> {
    // Opening a pipe would block, and it could be read but once.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let bound = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
    let mut text = Zeroizing::new(String::new());
    let read = File::open(file)?.take(bound.saturating_add(1)).read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(error.kind(), "not UTF-8 text"),
        _ => error,
    })?;
    if text.len() > MAX_TEXT {
        return Err(io::Error::other(format!(
            "larger than the {} MiB that are read of a file",
            MAX_TEXT / (1024 * 1024)
        )));
    }
    Ok(text)
}
