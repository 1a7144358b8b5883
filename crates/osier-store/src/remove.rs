//! Removing folders whatever their modes and however deep they are.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{FileError, IoContext};

/// Removes a file, or a folder and all in it, folders without permissions included.
///
/// Symbolic links are not followed. A path that is not there is fine.
pub fn remove_tree(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            fs::remove_file(path).at("remove", path)
        }
        Err(_) => remove_flat(path),
    }
}

/// Opens each folder up and moves its folders to the top before it is removed, so that neither modes
/// (overlay work folders have 000, steps make folders read-only) nor depth (a path has a limit, and so
/// have open files) are in the way.
fn remove_flat(top: &Path) -> Result<(), FileError> {
    let open_up = |folder: &Path| {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).at("open up", folder)
    };
    open_up(top)?;
    let mut waiting = vec![top.to_path_buf()];
    let mut number = 0u64;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let path = entry.path();
            if !entry.file_type().at("read", &path)?.is_dir() {
                fs::remove_file(&path).at("remove", &path)?;
                continue;
            }
            // A folder that is moved to another one is written itself.
            open_up(&path)?;
            if folder == top {
                waiting.push(path);
                continue;
            }
            let place = loop {
                let place = top.join(format!("moved-{number}"));
                number += 1;
                if fs::symlink_metadata(&place).is_err() {
                    break place;
                }
            };
            fs::rename(&path, &place).at("move", &path)?;
            waiting.push(place);
        }
        match fs::remove_dir(&folder) {
            // The top holds what was moved to it until the end.
            Err(_) if folder == top => {}
            result => result.at("remove", &folder)?,
        }
    }
    match fs::remove_dir(top) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", top),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_depth_are_no_obstacle() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir_all(top.join("locked/inner")).unwrap();
        fs::write(top.join("locked/inner/file"), "x").unwrap();
        fs::write(base.path().join("outside"), "stays").unwrap();
        std::os::unix::fs::symlink(base.path(), top.join("locked/link")).unwrap();
        for folder in ["locked/inner", "locked", ""] {
            fs::set_permissions(top.join(folder), fs::Permissions::from_mode(0o000)).unwrap();
        }
        // Both ways, since root is not held up by modes.
        remove_flat(&top).unwrap();
        assert!(!top.exists());
        // Deeper than a path may be long, and deeper than files may be open.
        let deep = base.path().join("deep");
        fs::create_dir(&deep).unwrap();
        for _ in 0..3000 {
            let above = base.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&deep, above.join("deep")).unwrap();
            fs::rename(&above, &deep).unwrap();
        }
        remove_tree(&deep).unwrap();
        assert!(!deep.exists());
        remove_tree(&deep).unwrap();
        remove_tree(&base.path().join("outside")).unwrap();
        assert!(base.path().read_dir().unwrap().next().is_none());
    }
}
