//! The upper folder of a step: written without a program, in the form that overlays give to it, and let go of by its overlay.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use osier_store::{FileError, IoContext, LayerKind, LayerStack};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

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

/// Puts all that an overlay has written into a folder of the same name that no overlay has had.
///
/// The kernel gives up a mount some time after the last process in it has ended: it writes out the whole file system first. Until then it
/// takes the folder for one that is being written, and says so for every mount that has it as a layer. Nothing is written any more, but
/// waiting would cost a step more than all the rest of its sandbox.
pub(crate) fn take_from_overlay(upper: &Path, scratch: &Path) -> Result<(), FileError> {
    let mounted = scratch.join("mounted");
    fs::rename(upper, &mounted).at("rename", upper)?;
    let metadata = mounted.metadata().at("read", &mounted)?;
    // A step may have taken away any right, and an ordinary user moves no folder that cannot be written.
    set_mode(&mounted, 0o700)?;
    fs::create_dir(upper).at("make", upper)?;
    for entry in fs::read_dir(&mounted).at("list", &mounted)? {
        let entry = entry.at("list", &mounted)?;
        let (from, to) = (entry.path(), upper.join(entry.file_name()));
        let mode = entry.metadata().at("read", &from)?.mode() & 0o7777;
        let closed = mode & 0o200 == 0 && entry.file_type().at("read", &from)?.is_dir();
        if closed {
            set_mode(&from, mode | 0o700)?;
        }
        fs::rename(&from, &to).at("rename", &from)?;
        if closed {
            set_mode(&to, mode)?;
        }
    }
    set_mode(upper, metadata.mode() & 0o7777)?;
    let time = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, upper, &times, AtFlags::empty()).at("set the time of", upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a user namespace the kernel only complains.
    #[test]
    #[ignore = "needs root; `cargo xtask test` runs it"]
    fn what_a_live_overlay_wrote_can_be_a_layer_at_once() {
        use rustix::mount::{
            FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen,
        };
        let scratch = tempfile::tempdir().unwrap();
        let place = |name: &str| scratch.path().join(name);
        for name in ["low", "upper/build", "work", "other", "other-work"] {
            fs::create_dir_all(place(name)).unwrap();
        }
        // With an index the kernel refuses what it else complains of.
        let mount = |lower: &str, upper: &str, work: &str| {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            for (option, name) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
                fsconfig_set_string(&context, option, place(name).to_str().unwrap())?;
            }
            fsconfig_set_string(&context, "index", "on")?;
            fsconfig_set_flag(&context, "userxattr")?;
            fsconfig_create(&context)?;
            Ok::<_, rustix::io::Errno>(context)
        };
        let alive = mount("low", "upper", "work").unwrap_or_else(|error| {
            panic!(
                "no overlay can lie on {}: {error}; name another folder with TMPDIR",
                scratch.path().display()
            )
        });
        let busy = mount("upper", "other", "other-work").map(drop);
        assert_eq!(busy, Err(rustix::io::Errno::BUSY));
        take_from_overlay(&place("upper"), scratch.path()).unwrap();
        assert!(mount("upper", "other", "other-work").is_ok());
        drop(alive);
    }

    #[test]
    fn what_an_overlay_wrote_is_the_same_in_another_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let upper = scratch.path().join("upper");
        for folder in ["build/a", "closed", "secret"] {
            fs::create_dir_all(upper.join(folder)).unwrap();
        }
        fs::write(upper.join("build/a/file"), "x").unwrap();
        fs::write(upper.join("closed/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", upper.join("link")).unwrap();
        for (path, mode) in [("closed", 0o555), ("secret", 0), ("", 0o500)] {
            set_mode(&upper.join(path), mode).unwrap();
        }
        let about = |path: &str| {
            let found = upper.join(path).symlink_metadata().unwrap();
            (found.mode(), found.mtime(), found.mtime_nsec(), found.len())
        };
        let all = ["", "build", "build/a", "build/a/file", "closed", "secret", "link"];
        let before = (all.map(about), upper.metadata().unwrap().ino());
        take_from_overlay(&upper, scratch.path()).unwrap();
        assert_eq!(all.map(about), before.0);
        assert_ne!(upper.metadata().unwrap().ino(), before.1);
    }
}
