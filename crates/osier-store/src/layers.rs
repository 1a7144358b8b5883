//! Reading a stack of layers as the step saw it, without mounting it. What a layer looks like is in [`overlay`](crate::overlay).

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::overlay::{is_opaque, is_whiteout};
use crate::{FileError, IoContext};

/// Most bytes of a path in a tree that osier reads: with the store's own path in front it has to be one that the kernel
/// takes (4,095 bytes), whatever the store is called.
pub const LONGEST_PATH: usize = 3072;

/// A stack of layers, the top one first.
#[derive(Debug, Clone)]
pub struct LayerStack {
    layers: Vec<PathBuf>,
}

/// What kind of thing stands at a path of the merged view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}

/// One entry of the merged view.
#[derive(Debug, Clone)]
pub struct LayerEntry {
    /// The path below the folder that was walked, without a leading slash.
    pub path: Vec<u8>,
    /// Where it lies on this machine.
    pub host: PathBuf,
    /// What it is.
    pub kind: LayerKind,
    /// Its metadata, of the entry itself.
    pub metadata: Metadata,
}

fn kind(metadata: &Metadata) -> LayerKind {
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        LayerKind::Folder
    } else if file_type.is_file() {
        LayerKind::File
    } else if file_type.is_symlink() {
        LayerKind::Symlink
    } else {
        LayerKind::Special
    }
}

impl LayerStack {
    /// Takes the folders of a stack, the top one first.
    pub fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// Finds the file or folder that a step would see at a path, symbolic links not followed.
    pub fn find(&self, path: &Path) -> Result<Option<LayerEntry>, FileError> {
        let mut folders = self.layers.clone();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let name = part.as_os_str();
            let Some((entry, below)) = look_up(&folders, name.as_bytes())? else { return Ok(None) };
            if parts.peek().is_none() {
                return Ok(Some(LayerEntry {
                    path: path.as_os_str().as_bytes().to_vec(),
                    ..entry
                }));
            }
            if entry.kind != LayerKind::Folder {
                return Ok(None);
            }
            folders = below;
        }
        Ok(None)
    }

    /// Lists everything below a folder, parents before children, in the order of the names' bytes.
    ///
    /// A folder that is not there gives an empty list.
    pub fn walk(&self, folder: &Path) -> Result<Vec<LayerEntry>, FileError> {
        let mut folders = self.layers.clone();
        for part in folder.components() {
            match look_up(&folders, part.as_os_str().as_bytes())? {
                Some((entry, below)) if entry.kind == LayerKind::Folder => folders = below,
                _ => return Ok(Vec::new()),
            }
        }
        merge(&folders)
    }
}

/// Looks one name up in the folders of a stack; gives the entry and the folders that make it up.
fn look_up(
    folders: &[PathBuf],
    name: &[u8],
) -> Result<Option<(LayerEntry, Vec<PathBuf>)>, FileError> {
    let mut found: Option<LayerEntry> = None;
    let mut below = Vec::new();
    for folder in folders {
        let host = folder.join(std::ffi::OsStr::from_bytes(name));
        let metadata = match std::fs::symlink_metadata(&host) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if is_opaque(folder) {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error).at("read", &host),
        };
        if is_whiteout(&metadata) {
            break;
        }
        let kind = kind(&metadata);
        if found.is_some() && kind != LayerKind::Folder {
            break;
        }
        let opaque = is_opaque(folder) || (kind == LayerKind::Folder && is_opaque(&host));
        below.push(host.clone());
        found.get_or_insert(LayerEntry { path: name.to_vec(), host, kind, metadata });
        if kind != LayerKind::Folder || opaque {
            break;
        }
    }
    Ok(found.map(|entry| (entry, below)))
}

/// Entries of a merged folder that are still to be visited, each with the folders that make it up.
type Waiting = std::vec::IntoIter<(LayerEntry, Vec<PathBuf>)>;

/// Lists all that folders show together. No recursion: how deep a tree is must cost no stack.
fn merge(folders: &[PathBuf]) -> Result<Vec<LayerEntry>, FileError> {
    let mut entries = Vec::new();
    let mut levels: Vec<Waiting> = vec![merge_one(folders, &[])?];
    while let Some(level) = levels.last_mut() {
        let Some((entry, below)) = level.next() else {
            levels.pop();
            continue;
        };
        if entry.kind == LayerKind::Folder {
            levels.push(merge_one(&below, &entry.path)?);
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Lists what folders show together directly in them, in the order of the names' bytes.
fn merge_one(folders: &[PathBuf], prefix: &[u8]) -> Result<Waiting, FileError> {
    // For each name: the entry that is seen, the folders that make it up, and whether it is settled.
    let mut names: BTreeMap<Vec<u8>, (Option<LayerEntry>, Vec<PathBuf>, bool)> = BTreeMap::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder).at("list", folder)? {
            let entry = entry.at("list", folder)?;
            let name = entry.file_name().into_vec();
            let slot = names.entry(name.clone()).or_insert((None, Vec::new(), false));
            if slot.2 {
                continue;
            }
            let mut path = prefix.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            fits(&path)?;
            let host = entry.path();
            let metadata = entry.metadata().at("read", &host)?;
            let kind = kind(&metadata);
            if is_whiteout(&metadata) || (slot.0.is_some() && kind != LayerKind::Folder) {
                slot.2 = true;
                continue;
            }
            slot.2 = kind != LayerKind::Folder || (folders.len() > 1 && is_opaque(&host));
            slot.1.push(host.clone());
            slot.0.get_or_insert(LayerEntry { path, host, kind, metadata });
        }
        if folders.len() > 1 && is_opaque(folder) {
            break;
        }
    }
    let seen = names.into_values().filter_map(|(entry, below, _)| Some((entry?, below)));
    Ok(seen.collect::<Vec<_>>().into_iter())
}

/// Makes sure that a path below a folder of the store is not too long to be used with the store's own in front of it.
pub fn fits(path: &[u8]) -> Result<(), FileError> {
    if path.len() <= LONGEST_PATH {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&path[..60]).into_owned();
    let message =
        format!("its path has {} bytes, but at most {LONGEST_PATH} are possible", path.len());
    let source = std::io::Error::new(std::io::ErrorKind::InvalidFilename, message);
    Err(FileError { action: "use", path: PathBuf::from(format!("{shown}…")), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn paths(entries: &[LayerEntry]) -> Vec<String> {
        entries.iter().map(|entry| String::from_utf8(entry.path.clone()).unwrap()).collect()
    }

    #[test]
    fn upper_entries_hide_lower_ones() {
        let base = tempfile::tempdir().unwrap();
        let (top, bottom) = (base.path().join("top"), base.path().join("bottom"));
        fs::create_dir_all(bottom.join("out/dir")).unwrap();
        fs::write(bottom.join("out/dir/old"), "1").unwrap();
        fs::write(bottom.join("out/same"), "lower").unwrap();
        fs::write(bottom.join("out/was-file"), "x").unwrap();
        fs::create_dir_all(top.join("out/dir")).unwrap();
        fs::write(top.join("out/same"), "upper").unwrap();
        fs::write(top.join("out/dir/new"), "2").unwrap();
        fs::create_dir(top.join("out/was-file")).unwrap();
        let stack = LayerStack::new(vec![top.clone(), bottom.clone()]);
        let entries = stack.walk(Path::new("out")).unwrap();
        assert_eq!(paths(&entries), ["dir", "dir/new", "dir/old", "same", "was-file"]);
        assert_eq!(fs::read_to_string(&entries[3].host).unwrap(), "upper");
        let found = stack.find(Path::new("out/dir/old")).unwrap().unwrap();
        assert_eq!(fs::read_to_string(found.host).unwrap(), "1");
        assert!(stack.find(Path::new("out/none")).unwrap().is_none());
        assert!(stack.find(Path::new("out/same/below")).unwrap().is_none());
        assert!(stack.walk(Path::new("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn opaque_folders_show_nothing_below() {
        let base = tempfile::tempdir().unwrap();
        let (top, bottom) = (base.path().join("top"), base.path().join("bottom"));
        fs::create_dir_all(bottom.join("out/dir")).unwrap();
        fs::write(bottom.join("out/dir/old"), "1").unwrap();
        fs::create_dir_all(top.join("out/dir")).unwrap();
        let folder = top.join("out/dir");
        crate::overlay::make_opaque(&folder).unwrap();
        let stack = LayerStack::new(vec![top, bottom]);
        assert_eq!(paths(&stack.walk(Path::new("out")).unwrap()), ["dir"]);
        assert!(stack.find(Path::new("out/dir/old")).unwrap().is_none());
    }

    #[test]
    fn depth_costs_no_stack_and_a_path_that_is_too_long_is_named() {
        let base = tempfile::tempdir().unwrap();
        let layer = base.path().join("layer");
        fs::create_dir(&layer).unwrap();
        // From the inside, since the kernel takes no path that is as long.
        let deepen = |count: usize| {
            for _ in 0..count {
                let above = base.path().join("above");
                fs::create_dir(&above).unwrap();
                fs::rename(&layer, above.join("d")).unwrap();
                fs::rename(&above, &layer).unwrap();
            }
        };
        deepen(LONGEST_PATH / 2);
        let walk = || {
            let stack = LayerStack::new(vec![layer.clone()]);
            // A stack of a few frames.
            let walk = move || stack.walk(Path::new(""));
            let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(walk);
            thread.unwrap().join().unwrap()
        };
        let entries = walk().unwrap();
        assert_eq!(entries.len(), LONGEST_PATH / 2);
        assert_eq!(entries.last().unwrap().path.len(), LONGEST_PATH - 1);
        deepen(1);
        let error = walk().unwrap_err();
        assert!(error.is_too_long(), "{error}");
        assert!(
            error.to_string().contains("its path has 3073 bytes, but at most 3072 are possible"),
            "{error}"
        );
        crate::remove_tree(&layer).unwrap();
    }
}
