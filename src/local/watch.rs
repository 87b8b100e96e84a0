//! Follows manifest files while they are edited.
//!
//! Directories are watched rather than files, because editors replace a file by a new one of the same name.

use std::{
    collections::BTreeSet,
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify_debouncer_full::{
    DebounceEventResult, Debouncer, NoCache, new_debouncer_opt,
    notify::{self, Config, RecommendedWatcher, RecursiveMode},
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::manifests::{Manifests, Reading};
use crate::catalog::Catalog;

/// How long files must have been at rest: an editor's truncation, writing and renaming are one change.
const REST: Duration = Duration::from_millis(250);

/// Reads manifests again whenever their files change.
pub struct Follower {
    manifests: Manifests,
    watcher: Debouncer<RecommendedWatcher, NoCache>,
    watched: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
    /// Problems of the last reading, so that each is logged once.
    told: BTreeSet<String>,
    /// What was read last.
    digest: Option<[u8; 32]>,
}

impl Follower {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system has no means to watch files, or no more of them.
    pub fn new(manifests: Manifests) -> Result<Self, notify::Error> {
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let on_events = move |events: DebounceEventResult| {
            // Reading is an event too, and would never end.
            if events.map_or(true, |events| events.iter().any(|event| !event.kind.is_access())) {
                notify.notify_one();
            }
        };
        let watcher = new_debouncer_opt(REST, None, on_events, NoCache::new(), Config::default())?;
        let mut follower =
            Self { manifests, watcher, watched: BTreeSet::new(), changed, told: BTreeSet::new(), digest: None };
        follower.watch()?;
        Ok(follower)
    }

    /// Publishes what the manifests say: at once, because they may have changed since they were last read, and after
    /// every change, until cancelled.
    pub async fn run(mut self, catalogs: watch::Sender<Arc<Catalog>>, cancel: CancellationToken) {
        loop {
            let reading;
            (self, reading) = match spawn_blocking(move || self.read()).await {
                Ok(read) => read,
                Err(fault) => return log_fault(&fault),
            };
            self.tell(&reading);
            catalogs.send_replace(Arc::new(reading.catalog));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.changed.notified() => {}
            }
        }
        if let Err(fault) = spawn_blocking(move || self.watcher.stop()).await {
            log_fault(&fault);
        }
    }

    fn read(mut self) -> (Self, Reading) {
        // Watched before it is read, a change in between is seen; and after, because there may be new links to follow.
        let before = self.watch();
        let reading = self.manifests.read();
        if let Err(error) = before.and_then(|()| self.watch()) {
            warn!(%error, "changes of manifests may go unnoticed");
        }
        (self, reading)
    }

    fn tell(&mut self, reading: &Reading) {
        for problem in reading.problems.iter().filter(|problem| !self.told.contains(*problem)) {
            warn!(problem, "a manifest cannot be used");
        }
        for ignored in &reading.ignored {
            debug!(ignored, "a manifest is left out");
        }
        self.told = reading.problems.iter().cloned().collect();
        // Other files may change beside them, our own log among these: to tell of it each time would go round in a circle.
        if self.digest.replace(reading.digest) == Some(reading.digest) {
            return;
        }
        info!(shells = reading.catalog.shells.len(), problems = reading.problems.len(), "manifests read");
    }

    /// Watches the directories where a change can matter, and no others.
    fn watch(&mut self) -> Result<(), notify::Error> {
        let wanted: BTreeSet<PathBuf> = self.manifests.paths().flat_map(directories).collect();
        for gone in self.watched.difference(&wanted) {
            // It fails for a directory that is gone, which is as good.
            let _ = self.watcher.unwatch(gone);
        }
        // All of them, also those watched before: one of the same name may have taken the place of another.
        let result = wanted.iter().try_for_each(|directory| self.watcher.watch(directory, RecursiveMode::NonRecursive));
        self.watched = wanted;
        result
    }
}

/// The directories that tell of changes of a path: its parent's, its own, and where it really lies.
fn directories(path: &Path) -> Vec<PathBuf> {
    let parent = path::absolute(path).ok().and_then(|path| Some(path.parent()?.to_owned()));
    let target = path.canonicalize().ok();
    let target = target.and_then(|path| if path.is_dir() { Some(path) } else { Some(path.parent()?.to_owned()) });
    parent.into_iter().chain(target).filter(|directory| directory.is_dir()).collect()
}

fn log_fault(fault: &JoinError) {
    error!(%fault, "manifests are no longer followed");
}
