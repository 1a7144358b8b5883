//! Small files that must be whole after a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{FileError, IoContext};

/// Writes a file beside its place, waits until it is on the disk, and renames it: whenever the power fails, the old bytes are there or
/// the new ones, and once this returns, the new ones.
pub fn write_durably(place: &Path, bytes: &[u8]) -> Result<(), FileError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{name}.{}.{number}", std::process::id()));
    let written = File::create(&beside).at("make", &beside).and_then(|mut file| {
        file.write_all(bytes).at("write", &beside)?;
        drop(file);
        settle(&beside, place)
    });
    if written.is_err() {
        // The first error says more.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Gives a file or folder that was written beside its place its name, once all of it is on the disk, and waits until the name is.
pub fn settle(beside: &Path, place: &Path) -> Result<(), FileError> {
    if beside.symlink_metadata().at("read", beside)?.is_dir() {
        flush_file_system(beside)?;
    } else {
        File::open(beside).and_then(|file| file.sync_all()).at("sync", beside)?;
    }
    fs::rename(beside, place).at("rename", place)?;
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// Waits until the names in a folder are on the disk.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let opened = File::open(folder).at("open", folder)?;
    match opened.sync_all() {
        // Some file systems cannot, and keep names as they please.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        result => result.at("sync", folder),
    }
}

/// Waits until everything written to the file system of a folder is on the disk.
pub fn flush_file_system(folder: &Path) -> Result<(), FileError> {
    let opened = File::open(folder).at("open", folder)?;
    rustix::fs::syncfs(&opened).at("sync", folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_bytes_are_there_and_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        for text in ["old", "new"] {
            write_durably(&place, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), text);
        }
        // A folder has the name: nothing is left beside it.
        fs::remove_file(&place).unwrap();
        fs::create_dir_all(place.join("in")).unwrap();
        write_durably(&place, b"text").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
