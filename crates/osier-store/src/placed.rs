//! Folders that are put in place whole: layers, build environments, areas.
//!
//! Each counts by a record in the index, which says how lstat(2) showed it. At its first use in a process it is compared with that; an area,
//! whose content has a digest, is also read at its first use in each boot of the machine, and one use in [`SHARE`] otherwise.
//! What is not as it was recorded counts as not there: it is made again, and what lay there is set aside. That includes a copy of a store: what
//! lstat does not show, the attributes by which overlayfs knows what was removed, is lost by many ways to copy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::locked::unlock;
use crate::seen::{Changes, seen};
use crate::store::single_names_are_no_groups;
use crate::{
    BlobError, Digest, FileError, Index, IoContext, Key, LayerStack, Record, Store, Tree, TreeNode,
    remove_tree,
};

/// Of so many areas that a process uses, one is read again, whenever it was read before.
const SHARE: u8 = 32;

impl Store {
    /// Puts the layer of a step in place and records it, on the layers of an earlier build that it went on from. `label`
    /// tells a person whose it is.
    ///
    /// Where another process was faster, its layer stays. Gives the layers that the one in place lies on.
    pub fn put_layer(
        &self,
        key: &Key,
        made: &Path,
        on: Vec<Key>,
        label: &str,
    ) -> Result<Vec<Key>, FileError> {
        let looks = seen(made, Changes::NotOfFiles)?;
        // One that is there and was changed does not stay.
        self.is_layer_sound(key);
        // The record that makes it count comes last.
        let records = [Record::Seen(*key, looks, label.to_owned()), Record::Layer(*key, on)];
        self.put_folder(key, made, &self.layer_path(key), &records, &|index| index.has_layer(key))?;
        let layers = self.index().layer(key).unwrap_or_default();
        Ok(layers.into_iter().skip(1).collect())
    }

    /// Puts an unpacked build environment in place and records it, as [`Store::put_layer`] does.
    pub fn put_root(&self, key: &Key, made: &Path) -> Result<(), FileError> {
        let looks = seen(made, Changes::NotOfFiles)?;
        self.is_root_sound(key);
        let label = "the build environment".to_owned();
        let records = [Record::Seen(*key, looks, label), Record::Root(*key)];
        self.put_folder(key, made, &self.root_path(key), &records, &|index| index.has_root(key))
    }

    fn put_folder(
        &self,
        key: &Key,
        made: &Path,
        place: &Path,
        records: &[Record],
        is_recorded: &dyn Fn(&Index) -> bool,
    ) -> Result<(), FileError> {
        self.lease()?;
        // Under the gate nobody can come between the folder and its record: a folder without one is left
        // over from a process that was killed, and nobody uses it.
        let gate = self.gate_exclusive()?;
        let mut index = self.index();
        index.refresh()?;
        let recorded = is_recorded(&index);
        if recorded && place.is_dir() && self.looks_sound(key) != Some(false) {
            return Ok(());
        }
        let left = if recorded {
            // For good, before anything else lies there: the old record may be synced, and must not speak for the new folder.
            index.append_durably(&[Record::Gone(*key)])?;
            // Another process may have it mounted.
            self.move_aside(place)?;
            None
        } else {
            self.move_to_trash(place)?
        };
        fs::rename(made, place).at("rename", made)?;
        index.append_all(records)?;
        drop((index, gate));
        self.looked().insert(*key, true);
        left.map_or(Ok(()), |left| remove_tree(&left))
    }

    /// Keeps a damaged folder to be looked at, until gc takes it.
    pub(crate) fn move_aside(&self, place: &Path) -> Result<(), FileError> {
        let Some(trash) = self.move_to_trash(place)? else { return Ok(()) };
        let aside = self.root().join("aside");
        fs::create_dir_all(&aside).at("make", &aside)?;
        let name = trash.file_name().unwrap_or_default();
        fs::rename(&trash, aside.join(name)).at("set aside", &trash)
    }

    fn looked(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<Key, bool>> {
        self.looked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn looks_sound(&self, key: &Key) -> Option<bool> {
        self.looked().get(key).copied()
    }

    /// Tells what was found damaged since the last time, in words.
    pub fn damages(&self) -> Vec<String> {
        if let Some(place) = self.index().take_moved().first() {
            let place = place.display();
            self.note_damage(format!(
                "the store's index was damaged and is now {place}; osier finds or builds again what it listed"
            ));
        }
        std::mem::take(&mut self.damages.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn note_damage(&self, message: String) {
        self.damages.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message);
    }

    /// Says whether a recorded layer looks as it did when it was put in place. One that does not is as good as not there.
    ///
    /// It is looked at once in a process. Nothing is known of layers that earlier versions recorded.
    pub fn is_layer_sound(&self, key: &Key) -> bool {
        self.is_seen_sound(key, &self.layer_path(key), ["the layer of", "was"])
    }

    pub(crate) fn is_root_sound(&self, key: &Key) -> bool {
        self.is_seen_sound(key, &self.root_path(key), ["the files of", "were"])
    }

    fn is_seen_sound(&self, key: &Key, place: &Path, [what, verb]: [&str; 2]) -> bool {
        if let Some(sound) = self.looks_sound(key) {
            return sound;
        }
        let known =
            self.index().seen(key).map(|(looks, label)| (looks, label.replace('\u{a0}', " ")));
        let Some((looks, label)) = known else { return true };
        let sound = seen(place, Changes::NotOfFiles).is_ok_and(|now| now == looks);
        if !sound && place.is_dir() {
            self.note_damage(format!(
                "{what} {label} {verb} changed or copied in the store, and will be made again"
            ));
        }
        self.looked().insert(*key, sound);
        sound
    }

    /// Lays a tree out as files, once, and gives the folder. It stays until this process ends.
    ///
    /// Every blob is verified on the way. All times are set to `time`, in seconds since 1970.
    pub fn area(&self, digest: &Digest, time: i64) -> Result<PathBuf, BlobError> {
        let place = self.root().join("areas").join(digest.to_string());
        if self.keep(&place)? && self.is_area_sound(digest, &place)? {
            return Ok(place);
        }
        let scratch = self.scratch("area")?;
        let base = scratch.path().join("area");
        self.lay_out(digest, &base, time)?;
        unlock(&base)?;
        let looks = seen(&base, Changes::OfAll)?;
        let records = [Record::Area(*digest, looks)];
        self.put_folder(&Key(digest.0), &base, &place, &records, &|index| {
            index.area(digest).is_some()
        })?;
        Ok(place)
    }

    fn is_area_sound(&self, digest: &Digest, place: &Path) -> Result<bool, BlobError> {
        if let Some(sound) = self.looks_sound(&Key(digest.0)) {
            return Ok(sound);
        }
        let known = {
            let mut index = self.index();
            index.refresh()?;
            index.area(digest)
        };
        let Some((looks, read)) = known else { return Ok(false) };
        let mut sound = seen(place, Changes::OfAll).is_ok_and(|now| now == looks);
        if sound && (!read || self.is_in_share(digest)?) {
            sound = self.is_laid_out(digest, place)?;
            if sound && !read && self.is_writable() {
                self.index().append(Record::Area(*digest, looks))?;
            }
        }
        if !sound {
            self.note_damage(format!(
                "the files laid out of {digest} were changed or copied in the store, and will be laid out again"
            ));
        }
        self.looked().insert(Key(digest.0), sound);
        Ok(sound)
    }

    /// Draws by lot whether this process reads an area that was read in this boot.
    fn is_in_share(&self, digest: &Digest) -> Result<bool, FileError> {
        let drawn = Digest::of(format!("{} {digest}", self.lease()?.name).as_bytes());
        Ok(drawn.0[0].is_multiple_of(SHARE))
    }

    /// Reads a folder and says whether it holds a tree, and nothing else.
    pub(crate) fn is_laid_out(&self, digest: &Digest, place: &Path) -> Result<bool, BlobError> {
        let wanted = single_names_are_no_groups(&self.tree(digest)?);
        let layers = LayerStack::new(vec![place.to_path_buf()]);
        // Whatever cannot be read there was not laid out.
        let found = self.read_tree(&layers, Path::new(""), &mut |_, _| Ok(()));
        Ok(found.is_ok_and(|found| found.digest() == wanted.digest()))
    }

    /// Reads all files of a tree, so that whatever is damaged of it is set aside at once.
    fn verify_files(&self, tree: &Tree) -> Result<(), BlobError> {
        let mut first = Ok(());
        let mut read = BTreeSet::new();
        for (_, node) in tree.iter() {
            let TreeNode::File { content, .. } = node else { continue };
            if read.insert(*content)
                && let Err(error) = self.verify_blob(content)
                && first.is_ok()
            {
                first = Err(error);
            }
        }
        first
    }

    /// Lays a tree out as files in a folder that is not there yet; the files are copies.
    ///
    /// Every blob is verified on the way. All times are set to `time`, in seconds since 1970.
    pub fn lay_out(&self, digest: &Digest, base: &Path, time: i64) -> Result<(), BlobError> {
        let tree = self.tree(digest)?;
        self.verify_files(&tree)?;
        fs::create_dir(base).at("make", base)?;
        let mut groups: std::collections::BTreeMap<u32, PathBuf> = Default::default();
        let mut folders = vec![(base.to_path_buf(), 0o755)];
        for (path, node) in tree.iter() {
            use std::os::unix::ffi::OsStrExt as _;
            let host = base.join(std::ffi::OsStr::from_bytes(path));
            match node {
                TreeNode::Folder { mode } => {
                    fs::create_dir(&host).at("make", &host)?;
                    folders.push((host, *mode));
                    continue;
                }
                TreeNode::Symlink { target } => {
                    let target = std::ffi::OsStr::from_bytes(target);
                    std::os::unix::fs::symlink(target, &host).at("link", &host)?;
                }
                TreeNode::File { mode, content, hard_link, .. } => {
                    if let Some(first) = hard_link.and_then(|group| groups.get(&group)) {
                        fs::hard_link(first, &host).at("link", &host)?;
                    } else {
                        // A copy, so that modes and times of one blob can differ from tree to tree.
                        let blob = self.blob_path(content);
                        fs::copy(&blob, &host).at("copy", &blob)?;
                        fs::set_permissions(&host, fs::Permissions::from_mode(*mode))
                            .at("set the mode of", &host)?;
                        if let Some(group) = hard_link {
                            groups.insert(*group, host.clone());
                        }
                    }
                }
            }
            set_time(&host, time)?;
        }
        // Children first, since a read-only folder takes no more entries.
        for (folder, mode) in folders.iter().rev() {
            fs::set_permissions(folder, fs::Permissions::from_mode(*mode))
                .at("set the mode of", folder)?;
            set_time(folder, time)?;
        }
        Ok(())
    }
}

/// Sets the times of one path, of a symbolic link itself.
fn set_time(path: &Path, seconds: i64) -> Result<(), FileError> {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("set the time of", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(folder: &tempfile::TempDir, boot: &str) -> Store {
        Store::open(&folder.path().join("store"), boot).unwrap()
    }

    /// Makes the layer of a step that installs a few things.
    fn step(store: &Store, key: u8) -> Key {
        let scratch = store.scratch("step").unwrap();
        let made = scratch.path().join("upper");
        fs::create_dir_all(made.join("output/include/side")).unwrap();
        fs::write(made.join("output/include/a.h"), "header").unwrap();
        fs::write(made.join("output/include/side/b.h"), "another").unwrap();
        std::os::unix::fs::symlink("a.h", made.join("output/include/link.h")).unwrap();
        let key = Key([key; 32]);
        store.put_layer(&key, &made, Vec::new(), "a:build").unwrap();
        key
    }

    fn tree(store: &Store) -> Digest {
        let layers = LayerStack::new(vec![store.layer_path(&step(store, 1))]);
        let tree = store.take_tree(&layers, Path::new("output")).unwrap();
        store.put_tree(&tree).unwrap()
    }

    type Damage = (&'static str, fn(&Path));

    /// What can become of `include`.
    const DAMAGES: [Damage; 8] = [
        ("truncated", |at| fs::write(at.join("a.h"), "").unwrap()),
        ("appended to", |at| fs::write(at.join("a.h"), "header and more").unwrap()),
        ("flipped", |at| fs::write(at.join("a.h"), "hebder").unwrap()),
        ("a file lost", |at| fs::remove_file(at.join("side/b.h")).unwrap()),
        ("a folder lost", |at| fs::remove_dir_all(at.join("side")).unwrap()),
        ("a file added", |at| fs::write(at.join("side/c.h"), "c").unwrap()),
        ("a mode", |at| {
            fs::set_permissions(at.join("a.h"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("everything lost", |at| fs::remove_dir_all(at).unwrap()),
    ];

    #[test]
    fn a_damaged_area_is_laid_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let digest = tree(&open(&folder, "boot"));
        for (what, damage) in DAMAGES {
            let area = open(&folder, "boot").area(&digest, 1).unwrap();
            let again = open(&folder, "boot");
            assert_eq!(again.area(&digest, 1).unwrap(), area);
            assert!(again.damages().is_empty());
            std::thread::sleep(std::time::Duration::from_millis(10));
            damage(&area.join("include"));
            let store = open(&folder, "boot");
            assert_eq!(store.area(&digest, 1).unwrap(), area);
            assert!(store.is_laid_out(&digest, &area).unwrap(), "{what}");
            assert_eq!(store.damages().len(), 1, "{what}");
        }
        let aside = fs::read_dir(folder.path().join("store/aside")).unwrap().count();
        assert_eq!(aside, DAMAGES.len());
    }

    #[test]
    fn an_area_of_an_earlier_boot_counts_if_it_was_synced_and_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot-a");
        let digest = tree(&store);
        store.sync().unwrap();
        let area = store.area(&digest, 1).unwrap();
        // What a power cut makes of it.
        fs::write(area.join("include/a.h"), "").unwrap();
        let store = open(&folder, "boot-b");
        store.area(&digest, 1).unwrap();
        assert!(store.is_laid_out(&digest, &area).unwrap());
        assert!(store.damages().is_empty(), "it never counted");
        store.sync().unwrap();
        // Bits that flipped on the disk, which lstat does not show.
        fs::write(area.join("include/a.h"), "hebder").unwrap();
        let looks = seen(&area, Changes::OfAll).unwrap();
        store.index().append(Record::Area(digest, looks)).unwrap();
        store.sync().unwrap();
        let store = open(&folder, "boot-c");
        store.area(&digest, 1).unwrap();
        assert!(store.is_laid_out(&digest, &area).unwrap());
        assert_eq!(store.damages().len(), 1);
        drop(store);
        let store = open(&folder, "boot-c");
        store.area(&digest, 1).unwrap();
        assert_eq!(store.index().area(&digest).map(|(_, read)| read), Some(true));
    }

    #[test]
    fn areas_are_read_again_at_the_stated_rate() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot");
        let drawn = (0..3200u32)
            .filter(|number| store.is_in_share(&Digest::of(&number.to_le_bytes())).unwrap())
            .count();
        assert!((60..140).contains(&drawn), "{drawn} of 3200");
    }

    #[test]
    fn a_damaged_layer_or_environment_counts_as_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = Key([9; 32]);
        for (what, damage) in DAMAGES {
            let store = open(&folder, "boot");
            let key = step(&store, 1);
            let scratch = store.scratch("root").unwrap();
            let made = scratch.path().join("root");
            fs::create_dir_all(made.join("include/side")).unwrap();
            fs::write(made.join("include/a.h"), "header").unwrap();
            fs::write(made.join("include/side/b.h"), "another").unwrap();
            store.put_root(&root, &made).unwrap();
            let store = open(&folder, "boot");
            assert!(store.is_layer_sound(&key) && store.has_root(&root).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(10));
            damage(&store.layer_path(&key).join("output/include"));
            damage(&store.root_path(&root).join("include"));
            let store = open(&folder, "boot");
            assert!(!store.is_layer_sound(&key) && !store.has_root(&root).unwrap(), "{what}");
            let told = store.damages();
            assert!(told[0].contains("the layer of a:build") && told.len() == 2, "{told:?}");
            // Made again, it takes the place of the damaged one.
            step(&store, 1);
            assert!(store.is_layer_sound(&key));
            assert!(open(&folder, "boot").is_layer_sound(&key));
        }
    }

    #[test]
    fn a_synced_record_does_not_speak_for_a_folder_put_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, "boot-a");
        let key = step(&store, 1);
        let outputs = vec![("main".to_owned(), Digest([4; 32]))];
        store.index().append(Record::Outputs(key, outputs)).unwrap();
        store.sync().unwrap();
        remove_tree(&store.layer_path(&key)).unwrap();
        step(&store, 1);
        assert!(store.index().has_layer(&key));
        let later = open(&folder, "boot-b");
        assert!(!later.index().has_layer(&key) && later.index().outputs(&key).is_some());
    }

    #[test]
    fn a_blob_with_a_further_name_leaves_its_layer_sound() {
        let folder = tempfile::tempdir().unwrap();
        let digest = tree(&open(&folder, "boot"));
        let store = open(&folder, "boot");
        assert!(store.tree(&digest).is_ok() && store.is_layer_sound(&Key([1; 32])));
    }
}
