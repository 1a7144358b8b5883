//! Putting files into a folder that may be a person's, and never in the place of what is theirs.
//!
//! What osier has put there is listed in the folder, in the file `.osier-delivered`: a digest and a name on each line.
//! A file that is there under a listed name with a listed digest is osier's, and is replaced. Any other is the person's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use osier_store::{Digest, IoContext, Store};

use crate::beside::{self, Beside};
use crate::engine::unread;
use crate::report::problem::{Code, Outcome, Problem};

const LIST: &str = ".osier-delivered";

/// What stands in the place of a digest for the logs of boots, which are written while they grow.
const LOGS: &str = "serial*.log";

/// A folder that files are delivered to.
pub(crate) struct Delivery {
    folder: PathBuf,
    /// Digest and name of what osier has put there.
    known: Vec<(String, String)>,
}

impl Delivery {
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder).at("make", folder)?;
        let list = folder.join(LIST);
        let known = match fs::read_to_string(&list) {
            Ok(text) => text.lines().filter_map(|line| line.split_once("  ")).map(owned).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).at("read", &list).map_err(Problem::from),
        };
        Ok(Self { folder: folder.to_path_buf(), known })
    }

    /// Copies a blob to a name in the folder; nothing is written where the bytes are there already.
    pub(crate) fn put(&mut self, store: &Store, digest: &Digest, name: &str) -> Outcome<PathBuf> {
        let place = self.folder.join(name);
        let wanted = digest.to_string();
        let found = content(&place)?;
        if found.as_ref() == Some(&wanted) {
            // Whoever put it there may have been killed before the disk had it.
            let file = File::open(&place).at("open", &place)?;
            file.sync_all().at("sync", &place)?;
            Beside::sweep(&place)?;
            return Ok(place);
        }
        if let Some(found) = &found {
            self.expect(found, name, &place)?;
        }
        // Before the file itself, so that it is never there unlisted.
        self.known.retain(|(digest, known)| known != name || Some(digest) == found.as_ref());
        self.note(wanted, name)?;
        copy(store, digest, &place)?;
        Ok(place)
    }

    /// Says that the logs of a boot will be written there.
    pub(crate) fn expect_logs(&mut self) -> Outcome<()> {
        let is_known = self.known.iter().any(|(_, name)| name == LOGS);
        for entry in fs::read_dir(&self.folder).at("list", &self.folder)? {
            let entry = entry.at("list", &self.folder)?;
            let (place, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_log = name.starts_with("serial") && name.ends_with(".log");
            let is_own = is_known && entry.file_type().at("read", &place)?.is_file();
            if is_log && !is_own {
                return Err(foreign(&place, "a file that osier did not put there"));
            }
        }
        if is_known { Ok(()) } else { self.note("-".to_owned(), LOGS) }
    }

    fn note(&mut self, digest: String, name: &str) -> Outcome<()> {
        self.known.push((digest, name.to_owned()));
        let lines = self.known.iter().map(|(digest, name)| format!("{digest}  {name}\n"));
        Ok(beside::write(&self.folder.join(LIST), lines.collect::<String>())?)
    }

    /// Makes sure that what is at a place is something that osier has put there.
    fn expect(&self, found: &str, name: &str, place: &Path) -> Outcome<()> {
        if self.known.iter().any(|(digest, known)| digest == found && known == name) {
            return Ok(());
        }
        Err(foreign(place, "a file that osier did not put there, or that was changed since"))
    }
}

fn owned((digest, name): (&str, &str)) -> (String, String) {
    (digest.to_owned(), name.to_owned())
}

fn foreign(place: &Path, what: &str) -> Problem {
    Problem::of(Code::Usage, format!("{} is {what}", place.display()))
        .hint("move it away, or name another folder with --out")
}

/// Gives the digest of a file; nothing where nothing is.
fn content(place: &Path) -> Outcome<Option<String>> {
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", place).map_err(Problem::from),
        Ok(seen) if seen.is_file() => {
            let mut file = File::open(place).at("open", place)?;
            Ok(Some(Digest::of_reader(&mut file).at("read", place)?.0.to_string()))
        }
        Ok(seen) if seen.is_dir() => Err(foreign(place, "a folder")),
        Ok(seen) if seen.is_symlink() => Err(foreign(place, "a symbolic link")),
        Ok(_) => Err(foreign(place, "a device, pipe or socket")),
    }
}

/// Puts a blob at a path outside the store, by copy.
fn copy(store: &Store, digest: &Digest, place: &Path) -> Outcome<()> {
    let blob = store.blob_path(digest);
    let size = store.verify_blob(digest).map_err(|error| unread(store, error))?;
    let beside = Beside::file(place)?;
    let copied = crate::beside::copy_with_holes(&blob, beside.path()).at("copy", &blob)?;
    if copied != size {
        let message = format!("{} changed while it was copied", blob.display());
        return Err(Problem::of(Code::File, message));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(beside.path(), mode).at("set the mode of", beside.path())?;
    Ok(beside.keep()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_replaced_and_what_was_not_stays() {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("store"), "boot").unwrap();
        let [one, two] = [b"one", b"two"].map(|bytes| store.put_bytes(bytes).unwrap());
        let out = base.path().join("out");
        let put = |digest, name: &str| Delivery::open(&out)?.put(&store, digest, name);
        let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        put(&one, "image").unwrap();
        // The second time nothing is written.
        for _ in 0..2 {
            fs::write(out.join(".image.osier-half"), "as a kill leaves it").unwrap();
            put(&two, "image").unwrap();
            assert!(!out.join(".image.osier-half").exists());
        }
        assert_eq!(text("image"), "two");
        assert_eq!(text(LIST).lines().count(), 2);

        fs::write(out.join("image"), "mine").unwrap();
        fs::write(out.join("notes"), "mine").unwrap();
        // The same bytes are no harm, and so they stay a person's.
        fs::write(out.join("same"), "one").unwrap();
        put(&one, "same").unwrap();
        fs::create_dir(out.join("folder")).unwrap();
        std::os::unix::fs::symlink("notes", out.join("link")).unwrap();
        for name in ["image", "notes", "folder", "link"] {
            let problem = put(&one, name).unwrap_err();
            assert_eq!(problem.code, Code::Usage, "{name}: {}", problem.message);
        }
        assert_eq!(put(&two, "same").unwrap_err().code, Code::Usage);
        assert_eq!(["image", "notes", "same"].map(text), ["mine", "mine", "one"]);
        assert!(out.join("link").is_symlink() && out.join("folder").is_dir());
    }

    #[test]
    fn logs_of_boots_do_not_replace_a_persons() {
        let base = tempfile::tempdir().unwrap();
        let log = base.path().join("serial-2.log");
        fs::write(&log, "mine").unwrap();
        let expect = || Delivery::open(base.path())?.expect_logs();
        assert_eq!(expect().unwrap_err().code, Code::Usage);
        fs::remove_file(&log).unwrap();
        expect().unwrap();
        fs::write(&log, "of a boot").unwrap();
        expect().unwrap();
    }
}
