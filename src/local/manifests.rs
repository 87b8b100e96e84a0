//! WebShells and Secrets from manifest files, as `kubectl apply` would take them.
//!
//! The way from files to a [`Catalog`]: `files` lists and reads them, `yaml` cuts them into documents, `objects` tells
//! what each is (`schema` checks a WebShell, `secret` reads a Secret), and [`resolve`] joins the two.

mod files;
mod objects;
mod references;
mod rules;
mod schema;
mod secret;
mod yaml;

use std::{
    collections::{BTreeMap, btree_map::Entry as MapEntry},
    env,
    fmt::Display,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

pub use schema::SchemaError;

use self::{
    objects::{Name, Object, Objects, Place},
    references::Secrets,
    schema::Schema,
};
use crate::{
    api,
    catalog::{Catalog, Entry, Obstacle, ShellKey},
    resolve::{self, problem},
    ssh::{Admission, LearnedKeys},
};

/// Manifest files and what they said when they were last read.
pub struct Manifests {
    paths: Vec<PathBuf>,
    learned_keys: Option<Arc<LearnedKeys>>,
    schema: Schema,
    files: BTreeMap<PathBuf, Objects>,
}

/// What manifests say.
#[derive(Debug, Default)]
pub struct Reading {
    /// The shells. Those that cannot be used have the reason.
    pub catalog: Catalog,
    /// Everything that is wrong, each a line that names file, object and field, and says what to do.
    pub problems: Vec<String>,
    /// What was left out because it is of another kind, each a line.
    pub ignored: Vec<String>,
    /// The SHA-256 of all that was read: the same where nothing was edited.
    pub digest: [u8; 32],
}

// === impl Manifests ===

impl Manifests {
    /// Manifests in these files and directories, none of which is read yet. Keys learned on first use are kept in
    /// `learned_keys`; without it, WebShells with that policy are refused.
    ///
    /// # Errors
    /// When the CRD's schema cannot be used, which is a fault of the program.
    pub fn new(paths: Vec<PathBuf>, learned_keys: Option<PathBuf>) -> Result<Self, SchemaError> {
        let learned_keys = learned_keys.map(|path| Arc::new(LearnedKeys::new(path)));
        let schemas = api::crd().spec.versions.into_iter().next().and_then(|version| version.schema);
        let schema = Schema::new(schemas.and_then(|schema| schema.open_api_v3_schema).unwrap_or_default())?;
        Ok(Self { paths, learned_keys, schema, files: BTreeMap::new() })
    }

    /// Reads all files. One that cannot be read, or is no YAML, is taken as it was before; one that is gone is gone. Blocks.
    pub fn read(&mut self) -> Reading {
        let mut reading = Reading::default();
        let mut digest = Sha256::new();
        let mut before = std::mem::take(&mut self.files);
        for path in &self.paths {
            let files = files::list(path).unwrap_or_else(|error| {
                reading.problems.push(unreadable(path, &error));
                let gone = error.kind() == io::ErrorKind::NotFound;
                before.keys().filter(|file| !gone && file.starts_with(path)).cloned().collect()
            });
            for file in files {
                if self.files.contains_key(&file) {
                    continue;
                }
                match read_file(&file, &self.schema, &mut digest) {
                    Ok(objects) => _ = self.files.insert(file, objects),
                    Err(problem) => {
                        let old = before.remove(&file).filter(|_| file.exists());
                        let stays = if old.is_some() { "; what it said before stays in force" } else { "" };
                        reading.problems.push(format!("{problem}{stays}"));
                        self.files.extend(old.map(|old| (file, old)));
                    }
                }
            }
        }
        reading.digest = digest.finalize().into();
        self.assemble(&mut reading);
        reading
    }

    /// The paths that were given, and the files they led to.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().chain(self.files.keys()).map(PathBuf::as_path)
    }

    fn assemble(&self, reading: &mut Reading) {
        for file in self.files.values() {
            reading.problems.extend_from_slice(&file.problems);
            reading.ignored.extend_from_slice(&file.ignored);
        }
        let problems = &mut reading.problems;
        let anywhere = Admission::default();
        let secrets = by_name(self.files.values().flat_map(|file| &file.secrets), problems);
        let secrets = secrets.into_iter().map(|(name, (_, content))| (name, content)).collect();
        for (name, (object, content)) in by_name(self.files.values().flat_map(|file| &file.web_shells), problems) {
            let key = ShellKey { namespace: name.namespace.clone(), name: name.name.clone() };
            let (target, access) = match content {
                Err(reason) => (String::new(), Err(Obstacle::invalid(reason))),
                Ok(spec) => {
                    let secrets = Secrets { namespace: &name.namespace, all: &secrets };
                    let access = resolve::access(spec, &secrets, self.learned_keys.as_ref(), &anywhere);
                    let access = access.map_err(|found| {
                        problems.extend(found.iter().map(|problem| format!("{object}: {problem}")));
                        Obstacle { reason: problem::cause(&found).reason(), ..Obstacle::invalid(join(&found, "; ")) }
                    });
                    let user = access.as_ref().map_or(spec.target.user.as_ref(), |access| Some(&access.target.user));
                    (resolve::target(spec, user), access.map(Arc::new))
                }
            };
            reading.catalog.shells.insert(key.clone(), Entry { key, target, access });
        }
        if reading.catalog.shells.is_empty() && problems.is_empty() {
            let paths = join(self.paths.iter().map(|path| path.display()), ", ");
            problems.push(format!("there is no WebShell in {paths}; add one (examples/ shows how)"));
        }
    }
}

/// Where keys learned on first use are kept: in the user's state directory (XDG Base Directory Specification).
pub fn default_learned_keys() -> Option<PathBuf> {
    let directory = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
    Some(state.join("webshell/known_hosts"))
}

fn read_file(file: &Path, schema: &Schema, digest: &mut Sha256) -> Result<Objects, String> {
    let text = files::read(file).map_err(|error| unreadable(file, &error))?;
    digest.update(file.as_os_str().as_encoded_bytes());
    digest.update(text.as_bytes());
    let documents = yaml::documents(&text).map_err(|error| format!("{}, {error}", file.display()))?;
    let mut objects = Objects::default();
    for (document, number) in documents.into_iter().zip(1..) {
        objects.read(Place { file: file.to_owned(), document: number, item: None }, document, schema);
    }
    Ok(objects)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "; give the path of a manifest or of a directory of manifests",
        io::ErrorKind::PermissionDenied => "; give yourself the right to read it",
        _ => "",
    };
    format!("{}: cannot be read: {error}{advice}", path.display())
}

/// The first object of each name, with what it says or why it cannot be used.
fn by_name<'a, T: 'a>(
    objects: impl Iterator<Item = &'a Object<T>>,
    problems: &mut Vec<String>,
) -> BTreeMap<&'a Name, (&'a Object<T>, Result<&'a T, String>)> {
    let mut by_name = BTreeMap::new();
    for object in objects {
        let content = object.content.as_ref().map_err(|found| {
            problems.extend(found.iter().map(|problem| format!("{object}: {problem}")));
            join(found, "; ")
        });
        match by_name.entry(&object.name) {
            MapEntry::Vacant(entry) => _ = entry.insert((object, content)),
            MapEntry::Occupied(mut entry) => {
                let (first, content) = entry.get_mut();
                problems.push(format!("{object}: the same is in {}; remove one of them", first.place));
                let Object { kind, name, .. } = object;
                *content = Err(format!(
                    "{kind} {name} is given twice, in {} and in {}; remove one of them",
                    first.place, object.place
                ));
            }
        }
    }
    by_name
}

fn join<T: Display>(parts: impl IntoIterator<Item = T>, separator: &str) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(separator)
}
