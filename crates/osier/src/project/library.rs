//! Recipes, kinds, systems and machines: the project's own first, then those packed into the program.

use crate::report::problem::{Problem, diagnosed};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use osier_build::PlanError;
use osier_recipe::{Code, Diagnostic, Origin, glob_matches, glob_reaches_below};
use osier_store::{Digest, FileError, IoContext, Store, Tree, TreeNode};
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

/// Bytes of room for each read of a definition, which is more than most have.
const PIECE: usize = 4096;

/// A file of the library inside the program.
pub(crate) struct PackedFile {
    path: &'static str,
    executable: bool,
    content: &'static [u8],
}

mod packed {
    include!(concat!(env!("OUT_DIR"), "/library.rs"));
}

/// Which part of the library a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shelf {
    Recipes,
    Kinds,
    Systems,
    Machines,
}

impl Shelf {
    fn folder(self) -> &'static str {
        match self {
            Self::Recipes => "recipes",
            Self::Kinds => "kinds",
            Self::Systems => "systems",
            Self::Machines => "machines",
        }
    }

    /// The name of the definition inside a folder of its own.
    fn inside(self) -> &'static str {
        match self {
            Self::Recipes => "recipe.toml",
            Self::Kinds => "kind.toml",
            Self::Systems => "system.toml",
            Self::Machines => "machine.toml",
        }
    }
}

/// A definition and the files beside it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The definition's file as a person knows it: relative to the project, or `(built in) …`.
    pub(crate) label: String,
    /// The text of the definition.
    pub(crate) text: String,
    /// Where the files beside it are.
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// A file of its own, without files beside it; on disk it lies here.
    Alone(Option<PathBuf>),
    Disk(PathBuf),
    Packed(String),
}

/// A file beside a definition.
#[derive(Debug, Clone)]
pub(crate) struct BesideFile {
    /// The path below the definition's folder.
    pub(crate) path: String,
    pub(crate) kind: BesideKind,
}

/// What stands beside a definition.
#[derive(Debug, Clone)]
pub(crate) enum BesideKind {
    File { content: Cow<'static, [u8]>, executable: bool },
    Symlink(Vec<u8>),
    Folder,
}

/// Why a definition cannot be had.
#[derive(Debug)]
pub(crate) enum LibraryError {
    /// Its file could not be read.
    File(FileError),
    /// It is not one text.
    Wrong(Vec<Diagnostic>),
}

impl From<LibraryError> for PlanError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::File(error) => Self::File(error),
            LibraryError::Wrong(wrong) => Self::Wrong(wrong),
        }
    }
}

/// An error about the second file of one definition.
fn twice(first: &Entry, second: &str) -> Diagnostic {
    let start = Origin::new(second, "");
    let message = format!("{} has the same name as {second}", first.label);
    Origin::new(&first.label, &first.text)
        .error(Code::DuplicateName, &(0..0), message)
        .related(&start, &(0..0), "the other file")
        .hint("remove one of the two, or give it another name")
}

/// The library as one project sees it.
#[derive(Debug)]
pub(crate) struct Library {
    /// The project's root, where there is one.
    project: Option<PathBuf>,
    /// The folders of the project's shelves that were looked into.
    shelves: [OnceLock<OwnedFd>; 4],
}

impl Library {
    pub(crate) fn new(project: Option<PathBuf>) -> Self {
        Self { project, shelves: Default::default() }
    }

    /// Finds a definition by name. One that a project has in two files is an error, as either could be meant.
    pub(crate) fn find(&self, shelf: Shelf, name: &str) -> Result<Option<Entry>, LibraryError> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Ok(None);
        }
        let (folder, inside) = (shelf.folder(), shelf.inside());
        if let Some(project) = &self.project {
            let mut found: Option<Entry> = None;
            for (file, is_own) in
                [([name, "/", inside].concat(), true), ([name, ".toml"].concat(), false)]
            {
                let at = || project.join(folder).join(&file);
                let bytes = match self.read(shelf, project, &file) {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => continue,
                    Err(error) => return Err(error).at("read", &at()).map_err(LibraryError::File),
                };
                let label = [folder, "/", &file].concat();
                let place = if is_own {
                    Place::Disk(project.join(folder).join(name))
                } else {
                    Place::Alone(Some(at()))
                };
                let text = String::from_utf8(bytes).map_err(|error| {
                    let wrong = osier_recipe::utf8(&label, error.as_bytes());
                    LibraryError::Wrong(wrong.err().unwrap_or_default())
                })?;
                if let Some(first) = &found {
                    return Err(LibraryError::Wrong(vec![twice(first, &label)]));
                }
                found = Some(Entry { label, text, place });
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        let own = format!("{folder}/{name}/{inside}");
        let alone = format!("{folder}/{name}.toml");
        let found = packed::FILES.iter().find(|file| file.path == own || file.path == alone);
        Ok(found.map(|file| Entry {
            label: format!("(built in) {}", file.path),
            text: String::from_utf8_lossy(file.content).into_owned(),
            place: if file.path == own {
                Place::Packed(format!("{folder}/{name}/"))
            } else {
                Place::Alone(None)
            },
        }))
    }

    /// Reads a file of a shelf of the project; nothing where there is none. A plan reads thousands, most of them small.
    fn read(&self, shelf: Shelf, project: &Path, file: &str) -> io::Result<Option<Vec<u8>>> {
        let is_missing = |error: Errno| matches!(error, Errno::NOENT | Errno::NOTDIR);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = &self.shelves[shelf as usize];
        if folder.get().is_none() {
            match open(project.join(shelf.folder()), flags | OFlags::PATH, Mode::empty()) {
                Ok(opened) => drop(folder.set(opened)),
                Err(error) if is_missing(error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(folder) = folder.get() else { return Ok(None) };
        // A pipe in its place is not waited for.
        let opened = match openat(folder, file, flags | OFlags::NONBLOCK, Mode::empty()) {
            Ok(opened) => opened,
            Err(error) if is_missing(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        loop {
            if bytes.len() == bytes.capacity() {
                bytes.reserve(PIECE);
            }
            if rustix::io::read(&opened, spare_capacity(&mut bytes))? == 0 {
                return Ok(Some(bytes));
            }
        }
    }

    /// Lists the names on a shelf.
    pub(crate) fn names(&self, shelf: Shelf) -> Vec<String> {
        let (folder, inside) = (shelf.folder(), shelf.inside());
        let mut names = std::collections::BTreeSet::new();
        for file in packed::FILES {
            let Some(rest) = file.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            match rest.split_once('/') {
                Some((name, rest)) if rest == inside => drop(names.insert(name.to_owned())),
                None => drop(rest.strip_suffix(".toml").map(|name| names.insert(name.to_owned()))),
                _ => {}
            }
        }
        let listed =
            self.project.as_ref().and_then(|project| fs::read_dir(project.join(folder)).ok());
        for entry in listed.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".toml") {
                names.insert(name.to_owned());
            } else if entry.path().join(inside).is_file() {
                names.insert(name);
            }
        }
        names.into_iter().collect()
    }
}

impl Entry {
    /// The definition's own folder, where it lies on disk and in one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(folder) => Some(folder),
            Place::Alone(_) | Place::Packed(_) => None,
        }
    }

    /// Whether the definition and the files beside it are part of the program.
    pub(crate) fn is_built_in(&self) -> bool {
        matches!(self.place, Place::Packed(_) | Place::Alone(None))
    }

    /// The definition's file on disk, where it has no folder of its own.
    pub(crate) fn alone(&self) -> Option<&Path> {
        match &self.place {
            Place::Alone(file) => file.as_deref(),
            Place::Disk(_) | Place::Packed(_) => None,
        }
    }

    /// Gives the label of a file beside the definition.
    pub(crate) fn label_of(&self, path: &str) -> String {
        match self.label.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{path}"),
            None => path.to_owned(),
        }
    }

    /// Lists everything beside the definition, below one folder, by path relative to that folder.
    ///
    /// An empty folder name means all. A folder that is not there gives nothing.
    pub(crate) fn beside(&self, below: &str) -> Result<BTreeMap<String, BesideFile>, FileError> {
        self.listed(below, &|_, _| true)
    }

    /// Reads the files beside the definition whose paths fit one of these patterns; all others are left alone.
    pub(crate) fn matching(&self, patterns: &[&str]) -> Result<Vec<BesideFile>, FileError> {
        let files = self.listed("", &|path, is_folder| {
            let fits = if is_folder { glob_reaches_below } else { glob_matches };
            patterns.iter().any(|pattern| fits(pattern, path))
        })?;
        Ok(files.into_values().filter(|file| !matches!(file.kind, BesideKind::Folder)).collect())
    }

    /// Takes a folder beside the definition into the store as a tree; nothing where there is no such folder.
    pub(crate) fn tree(&self, store: &Store, name: &str) -> Result<Option<Digest>, FileError> {
        if let Place::Disk(folder) = &self.place {
            let folder = folder.join(name);
            return if folder.is_dir() { store.take_folder(&folder).map(Some) } else { Ok(None) };
        }
        let mut tree = Tree::default();
        for (path, file) in self.beside(name)? {
            let node = match file.kind {
                BesideKind::Folder => TreeNode::Folder { mode: 0o755 },
                BesideKind::Symlink(target) => TreeNode::Symlink { target },
                BesideKind::File { content, executable } => TreeNode::File {
                    mode: if executable { 0o755 } else { 0o644 },
                    content: store.put_bytes(&content)?,
                    size: content.len() as u64,
                    hard_link: None,
                },
            };
            tree.insert(path.into_bytes(), node);
        }
        if tree.is_empty() { Ok(None) } else { store.put_tree(&tree).map(Some) }
    }

    fn listed(
        &self,
        below: &str,
        wanted: &dyn Fn(&str, bool) -> bool,
    ) -> Result<BTreeMap<String, BesideFile>, FileError> {
        let mut files = BTreeMap::new();
        match &self.place {
            Place::Alone(_) => {}
            Place::Disk(folder) => list_disk(&folder.join(below), "", wanted, &mut files)?,
            Place::Packed(prefix) => {
                let prefix =
                    if below.is_empty() { prefix.clone() } else { format!("{prefix}{below}/") };
                for file in packed::FILES {
                    let Some(path) = file.path.strip_prefix(&prefix) else { continue };
                    if !wanted(path, false) {
                        continue;
                    }
                    for (position, _) in path.match_indices('/') {
                        let parent = path[..position].to_owned();
                        files.insert(
                            parent.clone(),
                            BesideFile { path: parent, kind: BesideKind::Folder },
                        );
                    }
                    let kind = BesideKind::File {
                        content: Cow::Borrowed(file.content),
                        executable: file.executable,
                    };
                    files.insert(path.to_owned(), BesideFile { path: path.to_owned(), kind });
                }
            }
        }
        Ok(files)
    }
}

fn list_disk(
    folder: &Path,
    prefix: &str,
    wanted: &dyn Fn(&str, bool) -> bool,
    files: &mut BTreeMap<String, BesideFile>,
) -> Result<(), FileError> {
    let mut folders = vec![(folder.to_path_buf(), prefix.to_owned())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && prefix.is_empty() => {
                return Ok(());
            }
            Err(error) => return Err(error).at("list", &folder),
        };
        for entry in entries {
            let entry = entry.at("list", &folder)?;
            let host = entry.path();
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = fs::symlink_metadata(&host).at("read", &host)?;
            if !wanted(&path, metadata.is_dir()) {
                continue;
            }
            let kind = if metadata.is_dir() {
                folders.push((host, format!("{path}/")));
                BesideKind::Folder
            } else if metadata.is_symlink() {
                let target = fs::read_link(&host).at("read", &host)?;
                BesideKind::Symlink(target.into_os_string().into_encoded_bytes())
            } else {
                // A pipe would be waited for.
                let content = if metadata.is_file() {
                    fs::read(&host)
                } else {
                    Err(io::Error::other("it is neither a file, a folder nor a link"))
                };
                let content = content.at("read", &host)?;
                BesideKind::File {
                    content: content.into(),
                    executable: metadata.permissions().mode() & 0o111 != 0,
                }
            };
            files.insert(path.clone(), BesideFile { path, kind });
        }
    }
    Ok(())
}
impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::File(error) => error.into(),
            LibraryError::Wrong(wrong) => diagnosed(&wrong, |_| None),
        }
    }
}
