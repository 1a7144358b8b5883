//! The form of a layer: what an overlay mounted with `userxattr` writes into its upper folder and understands in those below.
//!
//! A character device 0:0 hides what lies below, and a folder with the attribute `user.overlay.opaque` shows nothing of the
//! layers below.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use crate::{FileError, IoContext};

const OPAQUE: &str = "user.overlay.opaque";

/// Says whether something hides what lies below it.
pub fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Hides what lies below a place.
pub fn whiteout(place: &Path) -> Result<(), FileError> {
    match rustix::fs::mknodat(CWD, place, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::EXIST) if place.symlink_metadata().is_ok_and(|found| is_whiteout(&found)) => {
            Ok(())
        }
        made => made.at("make", place),
    }
}

/// Says whether a folder shows nothing of what lies below it.
pub fn is_opaque(folder: &Path) -> bool {
    let mut value = [0u8; 4];
    matches!(rustix::fs::lgetxattr(folder, OPAQUE, &mut value), Ok(1) if value[0] == b'y')
}

/// Lets a folder show nothing of what lies below it.
pub fn make_opaque(folder: &Path) -> Result<(), FileError> {
    rustix::fs::lsetxattr(folder, OPAQUE, b"y", XattrFlags::empty()).at("mark", folder)
}

/// Lists what lies in a folder of one layer, whiteouts too, in the order of the names' bytes.
pub fn list(folder: &Path) -> Result<BTreeMap<OsString, Metadata>, FileError> {
    let mut names = BTreeMap::new();
    for entry in std::fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let metadata = entry.metadata().at("read", &entry.path())?;
        names.insert(entry.file_name(), metadata);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_read_back_and_nothing_else_is() {
        let base = tempfile::tempdir().unwrap();
        let [gone, file, folder] = ["gone", "file", "folder"].map(|name| base.path().join(name));
        whiteout(&gone).unwrap();
        std::fs::write(&file, "text").unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert!(!is_opaque(&folder) && !is_opaque(&file) && !is_opaque(&gone));
        make_opaque(&folder).unwrap();
        assert!(is_opaque(&folder));
        let hides = list(base.path()).unwrap();
        let hides = hides.iter().filter(|(_, metadata)| is_whiteout(metadata));
        assert_eq!(hides.map(|(name, _)| name).collect::<Vec<_>>(), ["gone"]);
        // It is hidden already.
        whiteout(&gone).unwrap();
        // Something is there, which is not hidden by saying so.
        whiteout(&file).unwrap_err();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    }
}
