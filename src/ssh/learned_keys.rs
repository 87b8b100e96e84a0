//! Host keys learned on first use: kept in a known_hosts file that `ssh` could read as well, or by somebody else as text of
//! that form.

use std::{
    fmt::Debug,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::host_keys::PresentedKey;
use super::known_hosts::{KnownHosts, KnownHostsError, MAX_TEXT};

/// Where learned keys are. Equal to another when it is the same place.
#[derive(Clone, Debug)]
pub enum LearnedKeys {
    /// A known_hosts file that grows by the keys learned.
    File(Arc<Path>),
    /// Text of the same form that somebody else keeps.
    Kept(Arc<dyn KeyKeeper>),
}

/// Keeps learned keys, as known_hosts text.
///
/// Several may learn at once, in other processes too: what is added counts only if nothing was added since it was read.
pub trait KeyKeeper: Debug + Send + Sync {
    /// Names the place, for people and to tell it from others.
    fn place(&self) -> &str;

    /// The text. The error is a sentence's end.
    fn read(&self) -> BoxFuture<'_, Result<String, String>>;

    /// Adds the line of a key, unless the text is no longer `read`; whether it was added.
    fn add<'a>(&'a self, read: &'a str, key: &'a PresentedKey) -> BoxFuture<'a, Result<bool, String>>;
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
    /// Its keeper failed.
    #[error("the learned host keys in {place} cannot be used: {problem}")]
    Keeper {
        /// Where they are.
        place: String,
        /// What went wrong.
        problem: String,
    },
    /// The text is not known_hosts text.
    #[error("the learned host keys in {place} are not usable: {source}; mend or remove them")]
    Text {
        /// Where they are.
        place: String,
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
        Self::File(path.into().into())
    }
}

impl PartialEq for LearnedKeys {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Kept(one), Self::Kept(other)) => one.place() == other.place(),
            _ => false,
        }
    }
}

impl Eq for LearnedKeys {}

/// Opens the file, creating it and its directories for the user alone. Blocks.
pub(super) fn open(path: &Arc<Path>) -> Result<OpenLearnedKeys, LearnedKeysError> {
    let (file, text) = open_locked(path).map_err(|source| file_error(path, source))?;
    let known_hosts = parse(&text, path)?;
    Ok(OpenLearnedKeys { path: path.clone(), file, text, known_hosts })
}

/// The text that a keeper has, and what it says.
pub(super) async fn read(keeper: &dyn KeyKeeper) -> Result<(String, KnownHosts), LearnedKeysError> {
    let text = keeper.read().await.map_err(|problem| keeper_error(keeper, problem))?;
    let known_hosts = parse(&text, &Path::new(keeper.place()).into())?;
    Ok((text, known_hosts))
}

/// Adds a key by a keeper; whether it was added.
pub(super) async fn add(keeper: &dyn KeyKeeper, read: &str, key: &PresentedKey) -> Result<bool, LearnedKeysError> {
    keeper.add(read, key).await.map_err(|problem| keeper_error(keeper, problem))
}

fn keeper_error(keeper: &dyn KeyKeeper, problem: String) -> LearnedKeysError {
    LearnedKeysError::Keeper { place: keeper.place().to_owned(), problem }
}

fn parse(text: &str, place: &Arc<Path>) -> Result<KnownHosts, LearnedKeysError> {
    KnownHosts::parse_file(text, Some(place))
        .map_err(|source| LearnedKeysError::Text { place: place.display().to_string(), source })
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
