//! Files and folders of an output that their owner may not read, as mode 000 or 4111 says.
//!
//! Root reads them all the same, and an ordinary user does not. Before the layer of a step is kept its output is opened up
//! for its owner, and the mode that the step gave is noted beside the new one, in an extended attribute. A tree that is taken
//! from it has the mode that the step gave. Where a later step has set another mode, that one counts.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

use crate::{FileError, IoContext, fits};

/// Two numbers in octal: the mode that was given, and the mode that was put in its place.
const NOTE: &str = "user.osier.mode";

/// Opens a folder and all below it up for the owner. Nobody may be at work in it.
pub fn unlock(top: &Path) -> Result<(), FileError> {
    open_up(top, &fs::symlink_metadata(top).at("read", top)?)?;
    let mut waiting = vec![top.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let path = entry.path();
            fits(path.strip_prefix(top).unwrap_or(&path).as_os_str().as_bytes())?;
            let seen = entry.metadata().at("read", &path)?;
            open_up(&path, &seen)?;
            if seen.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

fn open_up(path: &Path, seen: &Metadata) -> Result<(), FileError> {
    let needed = match () {
        () if seen.is_dir() => 0o500,
        () if seen.is_file() => 0o400,
        () => return Ok(()),
    };
    let mode = seen.mode() & 0o7777;
    if mode & needed == needed {
        return Ok(());
    }
    let set = |mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)
    };
    // An attribute is written by whoever may write the file.
    set(0o700)?;
    let note = format!("{mode:o} {:o}", mode | needed);
    lsetxattr(path, NOTE, note.as_bytes(), XattrFlags::empty()).at("mark", path)?;
    set(mode | needed)
}

/// Gives the mode that a step has given to something.
pub(crate) fn given_mode(path: &Path, seen: &Metadata) -> u32 {
    let mode = seen.mode() & 0o7777;
    let mut note = [0u8; 16];
    let mut noted = || {
        let length = lgetxattr(path, NOTE, &mut note).ok()?;
        let (given, put) = std::str::from_utf8(note.get(..length)?).ok()?.split_once(' ')?;
        let number = |text: &str| u32::from_str_radix(text, 8).ok();
        (number(put)? == mode).then(|| number(given))?
    };
    noted().filter(|given| *given <= 0o7777).unwrap_or(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_noted_and_come_back_until_somebody_sets_others() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let top = base.path().join("output");
        fs::create_dir_all(top.join("closed/inner")).unwrap();
        fs::write(top.join("closed/inner/file"), "text").unwrap();
        fs::write(top.join("secret"), "text").unwrap();
        fs::write(top.join("plain"), "text").unwrap();
        std::os::unix::fs::symlink("nowhere", top.join("link")).unwrap();
        let modes = [
            ("closed/inner/file", 0o4111, 0o4511),
            ("closed/inner", 0o200, 0o700),
            ("closed", 0, 0o500),
            ("secret", 0, 0o400),
            ("plain", 0o644, 0o644),
        ];
        for (name, mode, _) in modes {
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for _ in 0..2 {
            unlock(&top).unwrap();
            for (name, given, put) in modes {
                let seen = fs::symlink_metadata(top.join(name)).unwrap();
                assert_eq!(seen.mode() & 0o7777, put, "{name}");
                assert_eq!(given_mode(&top.join(name), &seen), given, "{name}");
            }
        }
        fs::set_permissions(top.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let seen = fs::symlink_metadata(top.join("secret")).unwrap();
        assert_eq!(given_mode(&top.join("secret"), &seen), 0o600);
        crate::remove_tree(&top).unwrap();
    }
}
