//! What lies where the store has a file of its own and is none: it is moved out of the way, kept and told.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use crate::{FileError, IoContext, Store};

impl Store {
    /// Sees to it that a file of the store's own can be written or replaced at a path.
    ///
    /// What else lies there, a folder or a link say, is moved to `aside/`; a file whose mode forbids its owner to use it is
    /// opened up; the folder above is made where it is missing.
    pub fn clear(&self, path: &Path) -> Result<(), FileError> {
        match fs::symlink_metadata(path) {
            Ok(seen) if seen.is_file() => {
                let mode = seen.permissions().mode();
                if mode & 0o600 == 0o600 {
                    return Ok(());
                }
                let usable = fs::Permissions::from_mode(mode & 0o7777 | 0o600);
                fs::set_permissions(path, usable).at("set the mode of", path)
            }
            Ok(_) => self.keep_aside(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(folder) => fs::create_dir_all(folder).at("make", folder),
                None => Ok(()),
            },
            Err(error) => Err(error).at("read", path),
        }
    }

    /// Moves what is no file to `aside/`.
    fn keep_aside(&self, path: &Path) -> Result<(), FileError> {
        // Another process that saw the same may have put a good file there meanwhile.
        let root = File::open(self.root()).at("open", self.root())?;
        rustix::fs::flock(&root, FlockOperation::LockExclusive).at("lock", self.root())?;
        if fs::symlink_metadata(path).is_ok_and(|seen| seen.is_file()) {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", now.as_nanos()));
        let aside = self.root().join("aside").join(name);
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved.at("move away", path)?,
        }
        self.note_damage(format!(
            "{} should be a file of the store; what was there is now {}",
            path.display(),
            aside.display()
        ));
        Ok(())
    }
}
