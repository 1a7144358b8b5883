//! What several targets share.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A scratch folder of this process: to make one for every input would be most of the work.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a scratch folder can be made")).path()
}

/// Writes a file into the scratch folder.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    let parent = path.parent().unwrap_or(folder());
    std::fs::create_dir_all(parent).expect("the scratch folder can be written");
    std::fs::write(&path, bytes).expect("the scratch folder can be written");
    path
}

/// Lets a folder be made in the scratch folder and filled, removes it, and looks whether anything was written beside it.
pub fn in_new_folder(fill: impl FnOnce(&Path)) {
    let count = || std::fs::read_dir(folder()).expect("the scratch folder can be listed").count();
    let (before, into) = (count(), folder().join("into"));
    std::fs::create_dir(&into).expect("the scratch folder can be written");
    fill(&into);
    osier_store::remove_tree(&into).expect("what was made can be removed");
    assert_eq!(count(), before, "something was written outside the folder");
}

/// Puts the sums of tar headers right, so that what was changed in one is read.
pub fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for header in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// So many bytes must stay free on the scratch folder's disk that no input takes more than some 64 MiB of it.
pub fn reserve() -> u64 {
    let disk = rustix::fs::statvfs(folder()).expect("the scratch folder's disk can be looked at");
    (disk.f_bavail * disk.f_frsize).saturating_sub(64 << 20)
}
