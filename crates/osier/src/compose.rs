//! From the outputs of components and the overlays to the bytes of an image, cached by key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU32;

use osier_image::{
    Accounts, Area, ComposeOptions, Composition, Compression, Compressor, CpioWriter,
    Entry as AreaEntry, ImagePath, Manifest, NEWC_VERSION, Role, compose,
};
use osier_recipe::{Code, ComponentRef, EffectiveSystem};
use osier_store::{Digest, FileError, Key, KeyBuilder, Record, Store, Tree, TreeNode};

use crate::project::library::{BesideKind, Entry};
use crate::report::problem::{Exit, Outcome, Problem};

/// The code of stored bytes that turned out to be damaged, and were set aside.
pub(crate) const DAMAGED: &str = "M007";

/// The version of how systems are composed; raised when equal inputs begin to give other bytes.
const COMPOSE_FORMAT: u32 = 1;

/// The time of everything in an image: 2020-01-01, seconds since 1970.
pub(crate) const IMAGE_TIME: u32 = 1_577_836_800;

/// Everything that a system's root file system is made of.
pub(crate) struct Parts {
    /// Overlays and components, in the order of search, as stored trees.
    pub(crate) areas: Vec<(String, Role, Digest)>,
    /// The manifest's name for messages, and its text.
    pub(crate) manifest: (String, String),
    /// Where users and groups are looked up, as far as the system says.
    pub(crate) accounts: [Option<String>; 2],
}

/// Gathers everything that a system's root file system is made of. `output` gives what a component delivers.
pub(crate) fn parts(
    store: &Store,
    entry: &Entry,
    system: &EffectiveSystem<'_>,
    output: &dyn Fn(&ComponentRef) -> Outcome<Digest>,
) -> Outcome<Parts> {
    let mut areas = Vec::new();
    for name in &system.overlays {
        areas.push((
            format!("overlay {}", name.value),
            Role::Overlay,
            overlay(store, entry, name)?,
        ));
    }
    for component in &system.components {
        areas.push((format!("component {}", component.value), Role::Component, output(component)?));
    }
    let name = system.manifest.map_or("manifest", |manifest| manifest.as_str());
    let manifest = manifest(entry, name)?;
    let accounts = [&system.system.passwd, &system.system.group];
    let accounts = accounts.map(|path| path.as_ref().map(|path| path.value.clone()));
    Ok(Parts { areas, manifest, accounts })
}

fn wrong(message: impl std::fmt::Display) -> Problem {
    Problem::new("I001", Exit::Usage, message)
}

/// Takes an overlay folder into the store as a tree.
pub(crate) fn overlay(store: &Store, entry: &Entry, folder: &str) -> Outcome<Digest> {
    let empty = Tree::default().digest();
    entry.tree(store, folder)?.filter(|tree| *tree != empty).ok_or_else(|| {
        wrong(format!("the overlay {} is not there, or is empty", entry.label_of(folder)))
    })
}

/// The key of an image: all that its bytes depend on, `fields` by the image's format and the rest by its parts.
pub(crate) fn image_key(parts: &Parts, format: &str, fields: &[(&str, &[u8])]) -> Key {
    let mut key = KeyBuilder::new(format, COMPOSE_FORMAT);
    for (label, value) in fields {
        key.field(label, value);
    }
    for (name, role, digest) in &parts.areas {
        key.field("area", name.as_bytes());
        key.field("role", format!("{role:?}").as_bytes());
        key.field("tree", &digest.0);
    }
    key.field("manifest", parts.manifest.1.as_bytes());
    for (label, path) in ["passwd", "group"].into_iter().zip(&parts.accounts) {
        if let Some(path) = path {
            key.field(label, path.as_bytes());
        }
    }
    key.finish()
}

/// Finds the file that was made under a key before.
pub(crate) fn known(store: &Store, key: &Key) -> Option<(Digest, u64)> {
    // The index is let go of first: to find out whether a blob is whole takes it again.
    let known = store.index().file(key);
    known.filter(|(digest, _)| store.has_blob(digest))
}

/// The key of an initramfs.
pub(crate) fn initramfs_key(parts: &Parts, compression: Compression) -> Key {
    let encoder = format!("{compression:?} {}", compression.encoder_version());
    let fields = [("newc", NEWC_VERSION.as_bytes()), ("compression", encoder.as_bytes())];
    image_key(parts, "initramfs", &fields)
}

/// Gives the initramfs of a system, from the store where it was written before.
pub(crate) fn initramfs(
    store: &Store,
    parts: &Parts,
    compression: Compression,
    threads: usize,
) -> Outcome<(Digest, u64)> {
    compression.check().map_err(wrong)?;
    let key = initramfs_key(parts, compression);
    if let Some(known) = known(store, &key) {
        return Ok(known);
    }
    let composition = composition(store, parts)?;
    let threads = u32::try_from(threads).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let (digest, size) =
        store.put_with::<Problem>(|sink| write(store, &composition, compression, threads, sink))?;
    store.index().append(Record::File(key, digest, size))?;
    Ok((digest, size))
}

fn write(
    store: &Store,
    composition: &Composition<Digest>,
    compression: Compression,
    threads: NonZeroU32,
    sink: &mut dyn Write,
) -> Outcome<()> {
    let failed = |source: io::Error| FileError { action: "write", path: "an image".into(), source };
    let compressor = Compressor::new(sink, compression, threads).map_err(failed)?;
    let mut writer = CpioWriter::new(compressor, IMAGE_TIME);
    if let Err(error) = writer.write_tree(&composition.tree, |digest| content(store, digest)) {
        return Err(write_problem(store, &error)?);
    }
    let (compressor, _) = writer.finish().map_err(wrong)?;
    compressor.finish().map_err(failed)?;
    Ok(())
}

/// Opens the bytes of a file for an image; they are verified as they are read.
pub(crate) fn content(store: &Store, digest: &Digest) -> io::Result<impl io::Read + use<>> {
    VerifiedFile::open(store, digest)
}

/// Says why an image could not be written. Damaged bytes are set aside and forgotten, so that the next try
/// makes them again.
pub(crate) fn write_problem(
    store: &Store,
    error: &(dyn std::error::Error + 'static),
) -> Outcome<Problem> {
    let Some(digest) = damaged(error) else {
        return Ok(wrong(crate::report::problem::chain(error)));
    };
    store.forget_digest(&digest)?;
    if let Ok(found) =
        File::open(store.blob_path(&digest)).and_then(|mut file| Digest::of_reader(&mut file))
    {
        store.set_aside(&digest, found.0)?;
    }
    Ok(Problem::new(DAMAGED, Exit::Machine, crate::report::problem::chain(error)))
}

/// Says why a blob cannot be used; what leads to it is forgotten where its bytes are damaged or gone, so that the next try
/// makes it again.
pub(crate) fn blob_problem(store: &Store, error: osier_store::BlobError) -> Problem {
    let Some(digest) = error.digest() else { return Problem::new("M001", Exit::Machine, error) };
    match store.forget_digest(&digest) {
        Ok(_) => Problem::new(DAMAGED, Exit::Machine, error),
        Err(error) => error.into(),
    }
}

/// Stored bytes that are not there, or not those of their digest.
#[derive(Debug)]
struct Damaged(Digest);

impl std::fmt::Display for Damaged {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the stored bytes of {} are damaged or gone", self.0)
    }
}

impl std::error::Error for Damaged {}

/// Finds the damaged bytes among the causes of an error.
fn damaged(error: &(dyn std::error::Error + 'static)) -> Option<Digest> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Damaged(digest)) = error.downcast_ref() {
            return Some(*digest);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner
            .map(|inner| inner as &(dyn std::error::Error + 'static))
            .or_else(|| error.source());
    }
    None
}

/// Reads a blob and fails at its end when its bytes are not those of its digest.
struct VerifiedFile {
    file: File,
    hasher: osier_store::Hasher,
    expected: Digest,
}

impl VerifiedFile {
    fn open(store: &Store, digest: &Digest) -> io::Result<Self> {
        let file = File::open(store.blob_path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::InvalidData, Damaged(*digest)),
            _ => error,
        })?;
        Ok(Self { file, hasher: osier_store::Hasher::default(), expected: *digest })
    }
}

impl io::Read for VerifiedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.hasher.clone().finish().0 != self.expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Damaged(self.expected)));
        }
        Ok(count)
    }
}

fn read_manifest((label, text): &(String, String)) -> Outcome<Manifest> {
    Manifest::parse(label, text).map_err(|errors| {
        let mut problem = wrong(format!("{label} has {} error(s)", errors.len()));
        let lines: Vec<&str> = text.lines().collect();
        for error in errors {
            let line = lines.get(error.line.saturating_sub(1)).copied().unwrap_or_default();
            problem.body.push_str(&format!("  {error}\n    | {line}\n"));
            if let Some(hint) = &error.hint {
                problem.body.push_str(&format!("    hint: {hint}\n"));
            }
        }
        problem
    })
}

/// Finds what is wrong with a system's overlays and manifest before anything is built for it.
pub(crate) fn check(store: &Store, entry: &Entry, system: &EffectiveSystem<'_>) -> Outcome<()> {
    let at = |problem: Problem, span: &std::ops::Range<usize>| {
        let error = system.system.origin.error(Code::MissingFile, span, problem.message);
        crate::report::problem::diagnosed(&[error], |_| Some(entry.text.clone()))
    };
    for name in &system.overlays {
        overlay(store, entry, name).map_err(|problem| match problem.code.exit() {
            Exit::Usage => at(problem, &name.span),
            _ => problem,
        })?;
    }
    if let Some(name) = system.manifest {
        let text = manifest(entry, name).map_err(|problem| at(problem, &name.span))?;
        read_manifest(&text)?;
    }
    Ok(())
}

/// Gives a system's manifest: its name for messages, and its text.
fn manifest(entry: &Entry, name: &str) -> Outcome<(String, String)> {
    let label = entry.label_of(name);
    let files = entry.beside("")?;
    let text = files.get(name).and_then(|file| match &file.kind {
        BesideKind::File { content, .. } => Some(String::from_utf8_lossy(content).into_owned()),
        _ => None,
    });
    let text = text.ok_or_else(|| {
        Problem::new("R019", Exit::Usage, format!("the manifest {label} is not there"))
    })?;
    Ok((label, text))
}

/// Composes the root file system of a system.
pub(crate) fn composition(store: &Store, parts: &Parts) -> Outcome<Composition<Digest>> {
    let manifest = read_manifest(&parts.manifest)?;
    let mut areas = Vec::new();
    for (name, role, digest) in &parts.areas {
        let tree = store.tree(digest).map_err(|error| blob_problem(store, error))?;
        let mut entries = BTreeMap::new();
        for (path, node) in tree.iter() {
            let path = ImagePath::new(path.to_vec()).map_err(wrong)?;
            let bits = |mode: u32| u16::try_from(mode & 0o7777).unwrap_or(0);
            let entry = match node {
                TreeNode::Folder { mode } => AreaEntry::Folder { mode: bits(*mode) },
                TreeNode::Symlink { target } => AreaEntry::Symlink { target: target.clone() },
                TreeNode::File { mode, content, size, .. } => {
                    AreaEntry::File { content: *content, size: *size, mode: bits(*mode) }
                }
            };
            entries.insert(path, entry);
        }
        areas.push(Area { name: name.clone(), role: *role, entries });
    }
    let accounts = accounts(store, &areas, &parts.accounts)?;
    compose(&areas, &manifest, &accounts, &ComposeOptions::default()).map_err(|errors| {
        let mut problem =
            wrong(format!("the system cannot be composed: {} problem(s)", errors.len()));
        for error in errors {
            problem.body.push_str(&format!("  {error}\n"));
        }
        problem
    })
}

/// Reads the users and groups from the first area that has the files.
fn accounts(
    store: &Store,
    areas: &[Area<Digest>],
    [passwd, group]: &[Option<String>; 2],
) -> Outcome<Accounts> {
    let read = |named: &Option<String>, usual: &str| -> Outcome<Vec<u8>> {
        let path = ImagePath::new(named.as_deref().unwrap_or(usual)).map_err(wrong)?;
        for area in areas {
            if let Some(AreaEntry::File { content, .. }) = area.entries.get(&path) {
                return store.read_blob(content).map_err(|error| blob_problem(store, error));
            }
        }
        match named {
            Some(path) => Err(wrong(format!(
                "no overlay and no component has the file {path}, which the system's `accounts` name"
            ))),
            None => Ok(Vec::new()),
        }
    };
    let accounts = Accounts::parse(&read(passwd, "etc/passwd")?, &read(group, "etc/group")?);
    accounts.map_err(|errors| {
        let mut problem = wrong("the users or groups of the system cannot be read");
        for error in errors {
            problem.body.push_str(&format!("  {error}\n"));
        }
        problem
    })
}
