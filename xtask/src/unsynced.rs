//! A disk that forgets: what a power cut may leave of a folder, worked out from which calls have synced what.
//!
//! It stands in for a real file system where none can be cut. Bytes that no fsync(2), fdatasync(2) or syncfs(2) has covered
//! since they were written are lost: whole files, or blocks of them. Names of new files can be lost as well. What was removed
//! stays removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::draw::Draw;
use crate::stop_at::Call;

const BLOCK: usize = 4096;

/// What is lost of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// All of it.
    Everything,
    /// Some files, and some names.
    Files,
    /// Some blocks of files.
    Blocks,
}

pub(crate) const LOSSES: [Loss; 3] = [Loss::Everything, Loss::Files, Loss::Blocks];

/// A file as it reached the disk.
#[derive(Debug, Clone)]
struct Synced {
    inode: u64,
    /// Numbers of inodes are used again.
    born: Option<SystemTime>,
    size: u64,
    modified: (i64, i64),
    /// Its bytes, of a file that is changed in place.
    bytes: Option<Vec<u8>>,
}

impl Synced {
    fn is_of(&self, metadata: &fs::Metadata) -> bool {
        (self.inode, self.born) == (metadata.ino(), metadata.created().ok())
    }

    fn is(&self, metadata: &fs::Metadata) -> bool {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        self.is_of(metadata) && (self.size, self.modified) == (metadata.len(), modified)
    }
}

/// A folder, and what of it is on the disk.
pub(crate) struct Disk {
    folder: PathBuf,
    synced: BTreeMap<PathBuf, Synced>,
}

impl Disk {
    /// A folder of which everything is on the disk.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut disk = Self { folder: folder.to_path_buf(), synced: BTreeMap::new() };
        disk.sync_all()?;
        Ok(disk)
    }

    /// Takes note of what a call brings to the disk.
    pub(crate) fn note(&mut self, call: &Call) -> Result<()> {
        match call {
            Call::SyncAll => self.sync_all(),
            Call::Sync(file) => self.sync(&file.clone()),
            _ => Ok(()),
        }
    }

    fn sync_all(&mut self) -> Result<()> {
        let files = files(&self.folder)?;
        self.synced.retain(|path, _| files.contains_key(path));
        for path in files.keys() {
            self.sync(path)?;
        }
        Ok(())
    }

    fn sync(&mut self, path: &Path) -> Result<()> {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        if !metadata.is_file() || !path.starts_with(&self.folder) {
            return Ok(());
        }
        let known = self.synced.get(path);
        // What was appended or written over within one tick of the clock looks as before.
        let in_place = is_changed_in_place(path);
        if !in_place && known.is_some_and(|known| known.is(&metadata)) {
            return Ok(());
        }
        let bytes = if in_place { fs::read(path).ok() } else { None };
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let (inode, born) = (metadata.ino(), metadata.created().ok());
        let synced = Synced { inode, born, size: metadata.len(), modified, bytes };
        self.synced.insert(path.to_path_buf(), synced);
        Ok(())
    }

    /// Cuts the power; gives how many files lost something.
    pub(crate) fn cut(&self, loss: Loss, draw: &mut Draw) -> Result<usize> {
        let inodes: BTreeMap<(u64, Option<SystemTime>), &Synced> =
            self.synced.values().map(|synced| ((synced.inode, synced.born), synced)).collect();
        let mut done = BTreeSet::new();
        let mut lost = 0;
        for (path, metadata) in files(&self.folder)? {
            // By another name its bytes are on the disk all the same.
            let at_place = self.synced.get(&path).filter(|synced| synced.is_of(&metadata));
            let by_inode = || inodes.get(&(metadata.ino(), metadata.created().ok()));
            let before = at_place.or_else(|| by_inode().copied());
            let untouched = before.is_some_and(|before| match &before.bytes {
                Some(bytes) => fs::read(&path).is_ok_and(|now| now == *bytes),
                None => before.is(&metadata),
            });
            if untouched || !done.insert(metadata.ino()) {
                continue;
            }
            let spared = loss != Loss::Everything && draw.below(3) == 0;
            if spared {
                continue;
            }
            lost += 1;
            if loss == Loss::Files && before.is_none() && draw.below(4) == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            lose(&path, &metadata, before, loss, draw)
                .with_context(|| format!("cannot lose bytes of {}", path.display()))?;
        }
        Ok(lost)
    }
}

/// Gives a file back what was synced of it, or nothing; of some blocks only where blocks are lost. Size and time of a file that
/// loses blocks are those of before.
fn lose(
    path: &Path,
    metadata: &fs::Metadata,
    before: Option<&Synced>,
    loss: Loss,
    draw: &mut Draw,
) -> Result<()> {
    let old = before.and_then(|before| before.bytes.clone()).unwrap_or_default();
    let file = fs::File::options().read(true).write(true).open(path)?;
    if loss != Loss::Blocks {
        // Of a log that grew the beginning is there.
        let size = before.map_or(0, |before| before.size.min(metadata.len()));
        file.set_len(if old.is_empty() { size } else { old.len() as u64 })?;
        file.write_all_at(&old, 0)?;
        return Ok(());
    }
    let size = usize::try_from(metadata.len())?;
    for at in (0..size).step_by(BLOCK) {
        if draw.below(2) == 0 {
            let end = size.min(at + BLOCK);
            let mut block = old.get(at..end.min(old.len())).unwrap_or_default().to_vec();
            block.resize(end - at, 0);
            file.write_all_at(&block, at as u64)?;
        }
    }
    Ok(file.set_modified(metadata.modified()?)?)
}

fn is_changed_in_place(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index.db"))
}

/// Lists the files below a folder.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, fs::Metadata>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        // What goes while this looks is gone.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_file() {
                files.insert(path, metadata);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_stays_and_the_rest_is_lost() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("unsynced-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let path = |name: &str| folder.join(name);
        let content = |byte: u8| vec![byte; 10 * BLOCK];
        let fill = |byte: u8| -> Result<Disk> {
            for name in ["old", "index.db"] {
                fs::write(path(name), content(byte))?;
            }
            let disk = Disk::new(&folder)?;
            Ok(disk)
        };
        for loss in LOSSES {
            let mut draw = Draw(7);
            let mut disk = fill(1)?;
            // Another file has the name that it is going to have.
            fs::write(path("renamed"), content(6))?;
            disk.note(&Call::SyncAll)?;
            fs::write(path("synced"), content(2))?;
            disk.note(&Call::Sync(path("synced")))?;
            fs::rename(path("synced"), path("renamed"))?;
            // More than a tick of the kernel's clock.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut changed = 0;
            for round in 0..8 {
                fs::write(path("new"), content(3))?;
                fs::write(path("index.db"), content(4))?;
                disk.cut(loss, &mut draw)?;
                assert_eq!(fs::read(path("old"))?, content(1), "{loss:?} {round}");
                assert_eq!(fs::read(path("renamed"))?, content(2), "{loss:?} {round}");
                let now = fs::read(path("index.db"))?;
                assert!(now.iter().all(|byte| [1, 4].contains(byte)), "{loss:?}");
                assert_eq!(now.len(), 10 * BLOCK);
                changed += usize::from(fs::read(path("new")).ok() != Some(content(3)));
            }
            assert!(changed >= if loss == Loss::Everything { 8 } else { 2 }, "{loss:?}: {changed}");
            fs::write(path("new"), content(5))?;
            disk.note(&Call::SyncAll)?;
            assert_eq!(disk.cut(Loss::Everything, &mut draw)?, 0);
            fs::remove_file(path("new"))?;
        }
        Ok(fs::remove_dir_all(&folder)?)
    }
}
