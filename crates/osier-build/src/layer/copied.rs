//! The root of a step where no overlay can be mounted: the layers copied into one folder.
//!
//! What the step changed is found afterwards by comparing with the state before it, and moved into a folder of the
//! same form as an overlay's upper one, so that a layer means the same however it was made. A file that was written
//! has another change time, and one that was replaced another inode: neither can be set by a step.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::layer::OUTPUT;
use osier_store::{FileError, IoContext, LayerEntry, LayerKind, LayerStack, overlay, parents};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// Folders of a root that no layer keeps.
const PASSING: [&str; 7] = ["dev", "files", "proc", "proto", "sys", "tmp", "tools"];

/// A root made of copies, and what it was like before the step.
pub(crate) struct CopiedRoot {
    root: PathBuf,
    before: BTreeMap<Vec<u8>, Stamp>,
}

/// What tells that an entry is untouched.
#[derive(PartialEq, Eq)]
struct Stamp {
    folder: bool,
    mode: u32,
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        // The change time of a folder says only that something was made in it, which is seen by itself.
        let folder = metadata.is_dir();
        let changed = if folder { (0, 0) } else { (metadata.ctime(), metadata.ctime_nsec()) };
        Self { folder, mode: metadata.mode(), inode: metadata.ino(), changed }
    }
}

impl CopiedRoot {
    /// Copies layers, the topmost first, into an empty folder.
    pub(crate) fn new(root: &Path, layers: &[PathBuf]) -> Result<Self, FileError> {
        copy_out(&LayerStack::new(layers.to_vec()), Path::new(""), root)?;
        for name in PASSING {
            let folder = root.join(name);
            if !folder.is_dir() {
                fs::create_dir(&folder).at("make", &folder)?;
            }
        }
        let tmp = root.join("tmp");
        fs::set_permissions(&tmp, Permissions::from_mode(0o1777)).at("set the mode of", &tmp)?;
        Ok(Self { root: root.to_path_buf(), before: BTreeMap::new() })
    }

    /// Copies layers, the topmost first, to a place of the root where a step with an overlay would see them mounted.
    pub(crate) fn put(&self, layers: &[PathBuf], place: &str) -> Result<(), FileError> {
        let to = self.root.join(place);
        fs::create_dir_all(&to).at("make", &to)?;
        copy_out(&LayerStack::new(layers.to_vec()), Path::new(""), &to)
    }

    /// Takes down what the root is like; the step runs after this.
    pub(crate) fn remember(&mut self) -> Result<(), FileError> {
        self.before = stamps(&self.root)?;
        Ok(())
    }

    /// Moves what has changed since [`Self::remember`] into `upper`, in the form of an overlay's upper folder.
    pub(crate) fn take_changes(&self, upper: &Path) -> Result<(), FileError> {
        let now = stamps(&self.root)?;
        for (path, stamp) in &now {
            let before = self.before.get(path);
            if before == Some(stamp) {
                continue;
            }
            let (from, to) = (self.place(&self.root, path), self.place(upper, path));
            self.make_parents(upper, path)?;
            if stamp.folder {
                make_like(&from, &to)?;
                // What a folder replaced must not show through it.
                if before.is_some_and(|before| before.inode != stamp.inode) {
                    overlay::make_opaque(&to)?;
                }
            } else {
                fs::rename(&from, &to).at("rename", &from)?;
            }
        }
        for path in self.before.keys().filter(|path| !now.contains_key(*path)) {
            let parent = path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash]);
            let inside =
                parent.is_none_or(|parent| now.get(parent).is_some_and(|stamp| stamp.folder));
            if inside {
                self.make_parents(upper, path)?;
                let gone = self.place(upper, path);
                // What was laid there before the step ran is gone with it.
                if gone.symlink_metadata().is_ok() {
                    osier_store::remove_tree(&gone)?;
                }
                overlay::whiteout(&gone)?;
            }
        }
        Ok(())
    }

    fn place(&self, base: &Path, path: &[u8]) -> PathBuf {
        base.join(OsStr::from_bytes(path))
    }

    fn make_parents(&self, upper: &Path, path: &[u8]) -> Result<(), FileError> {
        for above in parents(path) {
            let folder = self.place(upper, above);
            if !folder.is_dir() {
                make_like(&self.place(&self.root, above), &folder)?;
            }
        }
        Ok(())
    }
}

fn make_like(like: &Path, folder: &Path) -> Result<(), FileError> {
    let mode = like.symlink_metadata().at("read", like)?.mode() & 0o7777;
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(folder).at("make", folder)?;
    }
    fs::set_permissions(folder, Permissions::from_mode(mode)).at("set the mode of", folder)
}

/// Copies the folders of a root that steps pass on into the layer of one that wants them as its own, where nothing below shows through.
///
/// The kernel renames a folder that lies in the upper layer alone, and no other.
pub(crate) fn flatten(layers: &[PathBuf], upper: &Path) -> Result<(), FileError> {
    let stack = LayerStack::new(layers.to_vec());
    for name in ["build", OUTPUT] {
        let folder = Path::new(name);
        let Some(found) = stack.find(folder)?.filter(|found| found.kind == LayerKind::Folder)
        else {
            continue;
        };
        let place = upper.join(name);
        DirBuilder::new().mode(0o700).create(&place).at("make", &place)?;
        overlay::make_opaque(&place)?;
        copy(&stack, folder, &place, Some(&mut BTreeMap::new()))?;
        let mode = Permissions::from_mode(found.metadata.mode() & 0o7777);
        fs::set_permissions(&place, mode).at("set the mode of", &place)?;
        set_time(&place, &found.metadata)?;
    }
    Ok(())
}

/// Copies what layers show together below a folder into one of the host that is there, with modes and times.
pub fn copy_out(stack: &LayerStack, folder: &Path, to: &Path) -> Result<(), FileError> {
    copy(stack, folder, to, None)
}

/// The first of each group of hard links, by device and inode.
type Links = BTreeMap<(u64, u64), PathBuf>;

/// As [`copy_out`]; where `links` is given, files that are one stay one.
fn copy(
    stack: &LayerStack,
    folder: &Path,
    to: &Path,
    mut links: Option<&mut Links>,
) -> Result<(), FileError> {
    let entries = stack.walk(folder)?;
    let mut folders: Vec<(PathBuf, &LayerEntry)> = Vec::new();
    for entry in &entries {
        let place = to.join(OsStr::from_bytes(&entry.path));
        match entry.kind {
            LayerKind::Folder => {
                if !place.is_dir() {
                    DirBuilder::new().mode(0o700).create(&place).at("make", &place)?;
                }
                folders.push((place, entry));
            }
            LayerKind::File => {
                if let Some(links) = &mut links
                    && entry.metadata.nlink() > 1
                {
                    let file = (entry.metadata.dev(), entry.metadata.ino());
                    if let Some(first) = links.get(&file) {
                        fs::hard_link(first, &place).at("link", &place)?;
                        continue;
                    }
                    links.insert(file, place.clone());
                }
                fs::copy(&entry.host, &place).at("copy", &entry.host)?;
                set_time(&place, &entry.metadata)?;
            }
            LayerKind::Symlink => {
                let target = fs::read_link(&entry.host).at("read", &entry.host)?;
                symlink(target, &place).at("make", &place)?;
                set_time(&place, &entry.metadata)?;
            }
            // A device or pipe that a step made is nothing that a later step can count on.
            LayerKind::Special => {}
        }
    }
    for (place, entry) in folders.iter().rev() {
        let mode = Permissions::from_mode(entry.metadata.mode() & 0o7777);
        fs::set_permissions(place, mode).at("set the mode of", place)?;
        set_time(place, &entry.metadata)?;
    }
    Ok(())
}

fn set_time(place: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let time = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", place)
}

/// Lists all entries of a root that a layer would keep, parents before children.
fn stamps(root: &Path) -> Result<BTreeMap<Vec<u8>, Stamp>, FileError> {
    let mut stamps = BTreeMap::new();
    let mut folders: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        let place = root.join(OsStr::from_bytes(&folder));
        for entry in fs::read_dir(&place).at("list", &place)? {
            let entry = entry.at("list", &place)?;
            let name = entry.file_name();
            if folder.is_empty() && PASSING.iter().any(|passing| name == *passing) {
                continue;
            }
            let mut path = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            osier_store::fits(&path)?;
            let metadata = entry.metadata().at("read", &entry.path())?;
            let kept = metadata.is_dir() || metadata.is_file() || metadata.is_symlink();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            if kept {
                stamps.insert(path, Stamp::of(&metadata));
            }
        }
    }
    Ok(stamps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(stack: Vec<PathBuf>) -> Vec<String> {
        let entries = LayerStack::new(stack).walk(Path::new("")).unwrap();
        let line = |entry: LayerEntry| {
            let path = String::from_utf8(entry.path).unwrap();
            let what = match entry.kind {
                LayerKind::File => fs::read_to_string(&entry.host).unwrap(),
                LayerKind::Symlink => fs::read_link(&entry.host).unwrap().display().to_string(),
                LayerKind::Folder => format!("{:o}", entry.metadata.mode() & 0o7777),
                LayerKind::Special => "special".to_owned(),
            };
            format!("{path} {what}")
        };
        entries.into_iter().map(line).collect()
    }

    #[test]
    fn changes_become_a_layer_that_gives_the_same_view() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = base.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (lower, root, upper) = (make("lower"), make("root"), make("upper"));
        for (path, text) in [
            ("build/keep", "keep"),
            ("build/edit", "old"),
            ("build/gone", "x"),
            ("build/dir/a", "a"),
            ("build/swap/b", "b"),
            ("usr/lib/c", "c"),
        ] {
            let place = lower.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        let mut copied = CopiedRoot::new(&root, std::slice::from_ref(&lower)).unwrap();
        copied.remember().unwrap();
        // As a step would: with the old time put back, which must not hide the change.
        let time = fs::metadata(root.join("build/edit")).unwrap().modified().unwrap();
        fs::write(root.join("build/edit"), "new").unwrap();
        fs::File::options()
            .write(true)
            .open(root.join("build/edit"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::remove_file(root.join("build/gone")).unwrap();
        fs::remove_dir_all(root.join("build/dir")).unwrap();
        fs::remove_dir_all(root.join("build/swap")).unwrap();
        fs::create_dir(root.join("build/swap")).unwrap();
        fs::write(root.join("build/swap/n"), "n").unwrap();
        symlink("keep", root.join("build/link")).unwrap();
        fs::create_dir(root.join("output")).unwrap();
        fs::write(root.join("output/made"), "made").unwrap();
        fs::write(root.join("tmp/passing"), "x").unwrap();
        fs::set_permissions(root.join("usr/lib"), Permissions::from_mode(0o700)).unwrap();
        copied.take_changes(&upper).unwrap();
        assert_eq!(
            listing(vec![upper.clone(), lower]),
            [
                "build 755",
                "build/edit new",
                "build/keep keep",
                "build/link keep",
                "build/swap 755",
                "build/swap/n n",
                "output 755",
                "output/made made",
                "usr 755",
                "usr/lib 700",
                "usr/lib/c c",
            ]
        );
        assert!(!upper.join("build/keep").exists() && !upper.join("tmp").exists());
    }
}
