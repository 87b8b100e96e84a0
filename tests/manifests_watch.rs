//! Manifests that are edited while they are served.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use webshell::{
    catalog::{Access, Catalog, Obstacle},
    local::{manifests::Manifests, watch::Follower},
};

/// How long a change may take to be seen; far longer than it does.
const DEADLINE: Duration = Duration::from_secs(20);

struct Served {
    catalogs: watch::Receiver<Arc<Catalog>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    fn start(path: &Path) -> Self {
        let mut manifests = Manifests::new(vec![path.to_owned()], Some("/nonexistent/known_hosts".into())).unwrap();
        let reading = manifests.read();
        let (sender, catalogs) = watch::channel(Arc::new(reading.catalog));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(Follower::new(manifests).unwrap().run(sender, cancel.clone()));
        Self { catalogs, cancel, task }
    }

    /// Waits until the shells are these, by name: the target's host, or `!` where it cannot be used.
    async fn becomes(&mut self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, host)| ((*name).to_owned(), (*host).to_owned())).collect();
        let seen = timeout(DEADLINE, self.catalogs.wait_for(|catalog| shells(catalog) == expected)).await;
        assert!(
            seen.is_ok_and(|seen| seen.is_ok()),
            "expected {expected:?}, still {:?}",
            shells(&self.catalogs.borrow())
        );
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }
}

fn shells(catalog: &Catalog) -> Vec<(String, String)> {
    let shell = |access: &Result<Arc<Access>, Obstacle>| {
        access.as_ref().map_or("!".to_owned(), |access| access.target.host.clone())
    };
    catalog.shells.iter().map(|(key, entry)| (key.name.clone(), shell(&entry.access))).collect()
}

/// A manifest of one shell with its Secret.
fn manifest(name: &str, host: &str) -> String {
    format!(
        "apiVersion: webshell.dev/v1alpha1\nkind: WebShell\nmetadata: {{name: {name}}}\nspec:\n  target: {{host: '{host}', user: ops}}\n  \
         credentials: {{secretRef: {{name: {name}}}}}\n  hostKey: {{policy: Insecure}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{password: x}}\n"
    )
}

/// Writes a new file and moves it in the old one's place, as many editors do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifests");
    fs::create_dir(&path).unwrap();
    (directory, path)
}

#[tokio::test]
async fn a_file_is_followed_through_edits_replacement_and_removal() {
    let (_directory, path) = directory();
    let file = path.join("a.yaml");
    fs::write(&file, manifest("a", "h1")).unwrap();
    let mut served = Served::start(&file);
    served.becomes(&[("a", "h1")]).await;
    fs::write(&file, manifest("a", "h2")).unwrap();
    served.becomes(&[("a", "h2")]).await;
    replace(&file, &manifest("a", "h3"));
    served.becomes(&[("a", "h3")]).await;
    replace(&file, &manifest("b", "h4"));
    served.becomes(&[("b", "h4")]).await;
    fs::remove_file(&file).unwrap();
    served.becomes(&[]).await;
    fs::write(&file, manifest("a", "h5")).unwrap();
    served.becomes(&[("a", "h5")]).await;
    served.stop().await;
}

#[tokio::test]
async fn a_directory_is_followed_even_when_it_is_replaced() {
    let (_directory, path) = directory();
    fs::write(path.join("a.yaml"), manifest("a", "h1")).unwrap();
    let mut served = Served::start(&path);
    served.becomes(&[("a", "h1")]).await;
    fs::write(path.join("b.yaml"), manifest("b", "h2")).unwrap();
    served.becomes(&[("a", "h1"), ("b", "h2")]).await;
    fs::remove_file(path.join("a.yaml")).unwrap();
    served.becomes(&[("b", "h2")]).await;
    fs::remove_dir_all(&path).unwrap();
    served.becomes(&[]).await;
    fs::create_dir(&path).unwrap();
    fs::write(path.join("c.yaml"), manifest("c", "h3")).unwrap();
    served.becomes(&[("c", "h3")]).await;
    fs::write(path.join("c.yaml"), manifest("c", "h4")).unwrap();
    served.becomes(&[("c", "h4")]).await;
    served.stop().await;
}

#[tokio::test]
async fn a_link_is_followed_to_its_file() {
    let (directory, path) = directory();
    let file = directory.path().join("real.yaml");
    fs::write(&file, manifest("a", "h1")).unwrap();
    std::os::unix::fs::symlink(&file, path.join("a.yaml")).unwrap();
    let mut served = Served::start(&path);
    served.becomes(&[("a", "h1")]).await;
    replace(&file, &manifest("a", "h2"));
    served.becomes(&[("a", "h2")]).await;
    served.stop().await;
}

#[tokio::test]
async fn an_edit_gone_wrong_harms_only_what_it_says() {
    let (_directory, path) = directory();
    fs::write(path.join("a.yaml"), manifest("a", "h1")).unwrap();
    fs::write(path.join("b.yaml"), manifest("b", "h2")).unwrap();
    let mut served = Served::start(&path);
    served.becomes(&[("a", "h1"), ("b", "h2")]).await;
    // No YAML: what it said before stays in force. The new shell shows that both files were read.
    fs::write(path.join("a.yaml"), "a: [").unwrap();
    fs::write(path.join("c.yaml"), manifest("c", "-h3")).unwrap();
    served.becomes(&[("a", "h1"), ("b", "h2"), ("c", "!")]).await;
    fs::write(path.join("a.yaml"), manifest("a", "h4")).unwrap();
    fs::write(path.join("c.yaml"), manifest("c", "h3")).unwrap();
    served.becomes(&[("a", "h4"), ("b", "h2"), ("c", "h3")]).await;
    served.stop().await;
}
