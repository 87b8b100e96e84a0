//! Host keys learned on first use, kept in a known_hosts file that `ssh` could read as well.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use super::known_hosts::{KnownHosts, KnownHostsError, MAX_TEXT};

/// A known_hosts file that grows by the keys learned. Equal to another when it is the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedKeys {
    path: Arc<Path>,
}

/// Why learned keys can be neither consulted nor added to.
#[derive(Debug, Error)]
pub enum LearnedKeysError {
    /// The file cannot be created, read or written.
    #[error("the file of learned host keys, {}, cannot be used: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its text is not known_hosts text.
    #[error("the file of learned host keys, {}, is not usable: {source}; mend or remove it", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KnownHostsError,
    },
}

/// The file, open and locked, with what it says.
///
/// It stays locked until dropped: between looking up a host and adding its key nobody else, in this process or another,
/// can add a different one.
#[derive(Debug)]
pub(super) struct OpenLearnedKeys {
    path: Arc<Path>,
    file: File,
    text: String,
    known_hosts: KnownHosts,
}

// === impl LearnedKeys ===

impl LearnedKeys {
    /// Keys kept in this file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into() }
    }

    /// Opens the file, creating it and its directories for the user alone. Blocks.
    pub(super) fn open(&self) -> Result<OpenLearnedKeys, LearnedKeysError> {
        let (file, text) = open_locked(&self.path).map_err(|source| file_error(&self.path, source))?;
        let known_hosts = KnownHosts::parse_file(&text, Some(&self.path))
            .map_err(|source| LearnedKeysError::Text { path: self.path.to_path_buf(), source })?;
        Ok(OpenLearnedKeys { path: self.path.clone(), file, text, known_hosts })
    }
}

fn open_locked(path: &Path) -> io::Result<(File, String)> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    let mut text = String::new();
    // One byte more than the parser takes, so that it says what is wrong.
    let bound = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX).saturating_add(1);
    (&file).take(bound).read_to_string(&mut text)?;
    Ok((file, text))
}

fn file_error(path: &Path, source: io::Error) -> LearnedKeysError {
    LearnedKeysError::File { path: path.to_path_buf(), source }
}

// === impl OpenLearnedKeys ===

impl OpenLearnedKeys {
    /// The keys learned so far.
    pub(super) fn known_hosts(&self) -> &KnownHosts {
        &self.known_hosts
    }

    /// Adds a known_hosts line, written in one piece and synchronized to the disk. Blocks.
    pub(super) fn append(mut self, line: &str) -> Result<(), LearnedKeysError> {
        // Someone's editor may have left the last line unfinished.
        let separator = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        self.file
            .write_all(format!("{separator}{line}\n").as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|source| file_error(&self.path, source))
    }
}
