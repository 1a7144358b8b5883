//! Writing into the layer of a step that runs no program, in the form that overlays give to the upper one.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use osier_store::{FileError, IoContext, LayerKind, LayerStack};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// One time for all files of a step, so that make does not take a file for older than what is made from it only because
/// it was written first.
#[derive(Clone)]
pub(crate) struct Moment(Timestamps);

impl Moment {
    pub(crate) fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or_default(),
            tv_nsec: now.subsec_nanos().into(),
        };
        Self(Timestamps { last_access: now, last_modification: now })
    }

    /// Gives it to a file or link.
    pub(crate) fn stamp(&self, place: &Path) -> Result<(), FileError> {
        rustix::fs::utimensat(CWD, place, &self.0, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", place)
    }
}

pub(crate) fn set_mode(place: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).at("set the mode of", place)
}

pub(crate) fn make_folder(place: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new().mode(0o700).create(place).at("make", place)?;
    set_mode(place, mode | 0o700)
}

/// Makes the folders above a path like those below.
pub(crate) fn make_parents(below: &LayerStack, upper: &Path, path: &Path) -> Result<(), FileError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.pop();
    for folder in above.into_iter().rev() {
        let place = upper.join(folder);
        if !place.is_dir() {
            let like = below.find(folder)?.filter(|entry| entry.kind == LayerKind::Folder);
            make_folder(&place, like.map_or(0o755, |entry| entry.metadata.mode() & 0o7777))?;
        }
    }
    Ok(())
}

/// Hides what lies below.
pub(crate) fn whiteout(place: &Path) -> Result<(), FileError> {
    match rustix::fs::mknodat(CWD, place, FileType::CharacterDevice, Mode::empty(), 0) {
        // It is hidden already.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        made => made.at("make", place),
    }
}
