//! The index under damage, at once with others, and in other boots of the machine.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::database::files;

fn key(byte: u8) -> Key {
    Key([byte; 32])
}

fn sync(index: &mut Index) {
    let mark = index.mark().unwrap().unwrap();
    index.append_sync(mark).unwrap();
}

fn open(path: &Path, boot: &str, writable: bool) -> Index {
    Index::open(path, &path.with_file_name("aside"), boot, writable).unwrap()
}

#[test]
fn records_survive_and_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut one = open(&path, "boot-a", true);
    let mut two = open(&path, "boot-a", true);
    let outputs = vec![("main".to_owned(), Digest([9; 32]))];
    one.append(Record::Layer(key(1), Vec::new())).unwrap();
    one.append(Record::Outputs(key(2), outputs.clone())).unwrap();
    two.append(Record::File(key(3), Digest([8; 32]), 77)).unwrap();
    two.refresh().unwrap();
    assert!(two.has_layer(&key(1)));
    assert_eq!(two.outputs(&key(2)), Some(outputs));
    one.append(Record::Forget(key(1))).unwrap();
    two.refresh().unwrap();
    assert!(!two.has_layer(&key(1)));
    let again = open(&path, "boot-a", false);
    assert_eq!(again.file(&key(3)), Some((Digest([8; 32]), 77)));
}

#[test]
fn a_layer_on_others_is_there_while_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    index.append(Record::Layer(key(1), Vec::new())).unwrap();
    index.append(Record::Layer(key(2), vec![key(1)])).unwrap();
    index.append(Record::Reusable(key(9), key(1), key(8))).unwrap();
    index.append(Record::Reusable(key(9), key(2), key(7))).unwrap();
    index.append(Record::Reused(key(2))).unwrap();
    let mut again = open(&path, "boot-a", true);
    assert_eq!(again.layer(&key(2)), Some(vec![key(2), key(1)]));
    let reusable: Vec<_> = again.reusable(&key(9)).collect();
    assert_eq!(reusable, [(key(2), key(7)), (key(1), key(8))]);
    assert!(again.is_reused(&key(2)) && !again.is_reused(&key(1)));
    again.append(Record::Forget(key(1))).unwrap();
    assert_eq!(again.layer(&key(2)), None);
    assert!(!again.has_layer(&key(2)));
}

#[test]
fn unsynced_records_of_another_boot_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    index.append(Record::Layer(key(1), Vec::new())).unwrap();
    sync(&mut index);
    index.append(Record::Layer(key(2), Vec::new())).unwrap();
    let later = open(&path, "boot-b", true);
    assert!(later.has_layer(&key(1)));
    assert!(!later.has_layer(&key(2)));
}

#[test]
fn what_was_forgotten_stays_forgotten_and_can_be_recorded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    index.append(Record::Layer(key(1), Vec::new())).unwrap();
    sync(&mut index);
    // Not synced before the machine stopped, but what it stands for may be.
    index.append(Record::Forget(key(1))).unwrap();
    let mut later = open(&path, "boot-b", true);
    assert!(!later.has_layer(&key(1)));
    later.append(Record::Layer(key(1), Vec::new())).unwrap();
    assert!(open(&path, "boot-b", true).has_layer(&key(1)));
}

#[test]
fn what_is_recorded_while_the_disk_writes_is_not_covered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut one = open(&path, "boot-a", true);
    let mut two = open(&path, "boot-a", true);
    one.append(Record::Layer(key(1), Vec::new())).unwrap();
    let mark = one.mark().unwrap().unwrap();
    two.append(Record::Layer(key(2), Vec::new())).unwrap();
    one.append(Record::Root(key(3))).unwrap();
    one.append_sync(mark).unwrap();
    let later = open(&path, "boot-b", true);
    assert!(later.has_layer(&key(1)) && !later.has_layer(&key(2)) && !later.has_root(&key(3)));
    // Another process sees what is left to be synced, and does it.
    sync(&mut open(&path, "boot-a", true));
    assert_eq!(one.mark().unwrap(), None);
    let later = open(&path, "boot-b", true);
    assert!(later.has_layer(&key(2)) && later.has_root(&key(3)));
}

#[test]
fn what_is_gone_is_recorded_anew_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    let (digest, seen) = (Digest([4; 32]), Digest([5; 32]));
    let outputs = vec![("main".to_owned(), digest)];
    index.append(Record::Seen(key(1), seen, "a:build".into())).unwrap();
    index.append(Record::Layer(key(1), Vec::new())).unwrap();
    index.append(Record::Outputs(key(1), outputs)).unwrap();
    index.append(Record::Area(digest, seen)).unwrap();
    index.append(Record::Blobs(vec![digest, seen])).unwrap();
    assert_eq!(index.area(&digest), Some((seen, true)));
    sync(&mut index);
    index.append(Record::Gone(key(1))).unwrap();
    index.append(Record::Layer(key(1), Vec::new())).unwrap();
    let later = open(&path, "boot-b", true);
    // The layer that was synced is gone, and the one in its place may never have reached the disk.
    assert!(!later.has_layer(&key(1)) && later.seen(&key(1)).is_none());
    assert!(later.outputs(&key(1)).is_some());
    assert_eq!(later.area(&digest), Some((seen, false)));
    assert!(later.has_blob(&digest) && later.has_blob(&seen));
    let forget = Record::Forget(Key(digest.0));
    assert!(index.knows(&forget) && !index.knows(&Record::Gone(Key(seen.0))));
    index.append(forget.clone()).unwrap();
    assert!(!index.knows(&forget));
    let later = open(&path, "boot-b", true);
    assert_eq!(later.area(&digest), None);
    assert!(!later.has_blob(&digest) && later.has_blob(&seen));
}

#[test]
fn the_latest_runs_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = open(&folder.path().join("index.db"), "boot-a", true);
    for number in 0..=100 {
        index.append(Record::Reusable(key(200), key(number), key(201))).unwrap();
    }
    let known: Vec<Key> = index.reusable(&key(200)).map(|(run, _)| run).collect();
    let latest: Vec<Key> = (37..=100).rev().map(key).collect();
    assert_eq!(known, latest);
    index.append(Record::Reusable(key(200), key(50), key(202))).unwrap();
    assert_eq!(index.reusable(&key(200)).next(), Some((key(50), key(202))));
}

#[test]
fn times_and_files_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    index.append(Record::Took(key(1), 2.5, 4.0)).unwrap();
    index.append(Record::Took(key(1), 3.5, 4.0)).unwrap();
    index.append(Record::File(key(1), Digest([2; 32]), 7)).unwrap();
    index.append(Record::Outputs(key(2), vec![("main".into(), Digest([3; 32]))])).unwrap();
    let before = index.last();
    index.forget(&[key(1)]).unwrap();
    let read = open(&path, "boot-a", false);
    assert_eq!((read.took(&key(1)), read.file(&key(1))), (Some((3.5, 4.0)), None));
    assert_eq!(read.results().collect::<Vec<_>>(), [(key(2), vec![Digest([3; 32])])]);
    index.append(Record::File(key(4), Digest([5; 32]), 7)).unwrap();
    assert_eq!(index.results_after(before), [(key(4), vec![Digest([5; 32])])]);
}

/// An index of forty layers and results, closed, and its path.
fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("index.db");
    let mut index = open(&path, "boot-a", true);
    for number in 0..40 {
        index.append(Record::Layer(key(number), Vec::new())).unwrap();
        let outputs = vec![("main".to_owned(), Digest([number; 32]))];
        index.append(Record::Outputs(key(number), outputs)).unwrap();
    }
    sync(&mut index);
    path
}

/// Counts the results of [`filled`] that are there; none may be another than it was.
fn count(index: &Index) -> usize {
    let right = |number: &u8| {
        let outputs = index.outputs(&key(*number));
        if let Some(outputs) = &outputs {
            assert_eq!(*outputs, [("main".to_owned(), Digest([*number; 32]))]);
        }
        outputs.is_some()
    };
    (0..40).filter(right).count()
}

#[test]
fn a_flipped_bit_makes_records_not_count_and_none_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let good = fs::read(&path).unwrap();
    let (mut lost, mut whole) = (0, 0);
    for at in (0..good.len()).step_by(61) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        for file in files(&path) {
            let _ = fs::remove_file(file);
        }
        fs::write(&path, &bad).unwrap();
        // Read in another boot, so that the row of the boot matters as well.
        let mut index = open(&path, "boot-b", true);
        let there = count(&index);
        lost += 40 - there;
        whole += usize::from(there == 40);
        index.append(Record::Layer(key(100), Vec::new())).unwrap();
        assert!(open(&path, "boot-b", true).has_layer(&key(100)), "{at}");
    }
    assert!(lost > 0 && whole > 0, "{lost} {whole}");
}

#[test]
fn what_is_no_database_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let good = fs::read(&path).unwrap();
    type Change<'c> = &'c dyn Fn(&Path);
    let changes: &[(&str, usize, Change<'_>)] = &[
        ("nothing", 0, &|_| {}),
        ("an empty file", 1, &|path| fs::write(path, "").unwrap()),
        ("garbage", 1, &|path| fs::write(path, vec![b'x'; 10_000]).unwrap()),
        ("a short file", 1, &|path| fs::write(path, &good[..5000]).unwrap()),
        ("another program's database", 1, &|path| {
            let other = rusqlite::Connection::open(path).unwrap();
            other.execute_batch("CREATE TABLE record(key); PRAGMA user_version = 1").unwrap();
        }),
        ("a folder", 1, &|path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("a person's"), "x").unwrap();
        }),
        ("a link that leads nowhere", 1, &|path| symlink("nowhere", path).unwrap()),
        ("a link to another", 1, &|path| {
            fs::write(path.with_extension("other"), &good).unwrap();
            symlink(path.with_extension("other"), path).unwrap();
        }),
    ];
    for ending in ["", "-wal", "-shm", "-journal"] {
        for (what, moved, change) in changes {
            let what = format!("{what} in the place of index.db{ending}");
            let mut place = path.clone().into_os_string();
            place.push(ending);
            for file in files(&path) {
                crate::remove_tree(&file).unwrap();
            }
            fs::write(&path, &good).unwrap();
            crate::remove_tree(Path::new(&place)).unwrap();
            change(Path::new(&place));
            let mut index = open(&path, "boot-a", true);
            count(&index);
            index.append(Record::Layer(key(100), Vec::new())).unwrap();
            let set_aside = index.take_moved();
            if ending.is_empty() {
                assert_eq!(set_aside.len(), *moved, "{what}");
            }
            for place in set_aside {
                assert!(fs::symlink_metadata(place).is_ok(), "{what}");
            }
            drop(index);
            let mut again = open(&path, "boot-a", true);
            assert!(again.has_layer(&key(100)) && again.take_moved().is_empty(), "{what}");
            again.append(Record::Forget(key(100))).unwrap();
            assert!(!path.with_file_name("nowhere").exists(), "{what}");
        }
    }
    let aside: Vec<PathBuf> = fs::read_dir(folder.path().join("aside"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("a person's"))
        .collect();
    assert!(aside.iter().any(|path| path.exists()), "what a person put there is kept");
}

#[test]
fn a_file_without_permissions_is_opened_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut index = open(&path, "boot-a", true);
    assert_eq!(count(&index), 40);
    index.append(Record::Layer(key(100), Vec::new())).unwrap();
}

#[test]
fn damage_that_shows_while_it_is_open_is_set_aside_and_others_follow() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let (mut one, mut two) = (open(&path, "boot-a", true), open(&path, "boot-a", true));
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0x55; usize::try_from(size).unwrap()]).unwrap();
    assert_eq!(one.outputs(&key(1)), None);
    one.append(Record::Layer(key(100), Vec::new())).unwrap();
    assert!(one.take_moved()[0].to_string_lossy().contains("aside/index.db."));
    two.refresh().unwrap();
    assert!(two.has_layer(&key(100)) && two.take_moved().is_empty());
    two.append(Record::Layer(key(101), Vec::new())).unwrap();
    assert!(one.has_layer(&key(101)));
    // Removed by hand: made anew.
    fs::remove_file(&path).unwrap();
    one.refresh().unwrap();
    one.append(Record::Layer(key(102), Vec::new())).unwrap();
    two.refresh().unwrap();
    assert!(two.has_layer(&key(102)) && !two.has_layer(&key(100)));
}

#[test]
fn of_a_log_that_is_cut_off_the_first_records_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    for number in 0..40 {
        index.append(Record::Layer(key(number), Vec::new())).unwrap();
    }
    // As they lie there when the process is killed.
    let [own, wal, ..] = files(&path).map(|file| fs::read(file).unwrap_or_default());
    assert!(wal.len() > 100_000);
    let copy = folder.path().join("copy").join("index.db");
    fs::create_dir(copy.parent().unwrap()).unwrap();
    let mut counts = Vec::new();
    for length in (0..=wal.len()).step_by(7001).chain([wal.len()]) {
        for file in files(&copy) {
            let _ = fs::remove_file(file);
        }
        fs::write(&copy, &own).unwrap();
        fs::write(&files(&copy)[1], &wal[..length]).unwrap();
        let index = open(&copy, "boot-a", true);
        let there: Vec<bool> = (0..40).map(|number| index.has_layer(&key(number))).collect();
        let first = there.iter().take_while(|there| **there).count();
        assert!(there[first..].iter().all(|there| !there), "{length}: {there:?}");
        assert!(index.take_moved().is_empty());
        counts.push(first);
    }
    assert!(counts.is_sorted() && counts.last() == Some(&40), "{counts:?}");
}

#[test]
fn a_store_that_can_only_be_read_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let mut index = open(&path, "boot-a", false);
    assert_eq!(count(&index), 40);
    assert!(index.append(Record::Forget(key(1))).unwrap_err().is_forbidden());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is written beside it");
    // What a killed process has left is read with it.
    let mut writer = open(&path, "boot-a", true);
    writer.append(Record::Layer(key(100), Vec::new())).unwrap();
    assert!(open(&path, "boot-a", false).has_layer(&key(100)));
    drop(writer);
    fs::write(&path, "garbage").unwrap();
    assert_eq!(count(&open(&path, "boot-a", false)), 0);
    assert_eq!(fs::read(&path).unwrap(), b"garbage");
    fs::remove_file(&path).unwrap();
    assert_eq!(count(&open(&path, "boot-a", false)), 0);
}

#[test]
fn several_threads_and_indexes_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                let mut index = open(path, "boot-a", true);
                for number in 0..50 {
                    let key = key(writer * 50 + number);
                    index.append(Record::Layer(key, Vec::new())).unwrap();
                    index.begin_look().unwrap();
                    assert!(index.has_layer(&key));
                }
            });
        }
    });
    let mut index = open(&path, "boot-a", true);
    assert_eq!(index.layer_keys().count(), 200);
    assert_eq!(index.mark().unwrap(), Some(200));
}

#[test]
fn a_path_that_is_too_long_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(250)).join("e".repeat(250));
    fs::create_dir_all(&deep).unwrap();
    let error = Index::open(&deep.join("index.db"), &deep, "boot", true).unwrap_err().to_string();
    assert!(error.contains("at most"), "{error}");
}

/// `cargo xtask fuzz` starts from this.
#[test]
#[ignore = "writes files to the folder that OSIER_SEEDS names"]
fn seeds_of_stored() {
    let folder = PathBuf::from(std::env::var_os("OSIER_SEEDS").unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("index.db");
    let mut index = open(&path, "boot", true);
    let digest = Digest([9; 32]);
    for record in [
        Record::Layer(key(1), Vec::new()),
        Record::Layer(key(2), vec![key(1)]),
        Record::Reusable(key(3), key(1), key(2)),
        Record::Reused(key(2)),
        Record::Outputs(key(4), vec![("main".to_owned(), digest)]),
        Record::File(key(5), digest, 77),
        Record::Root(key(6)),
        Record::Took(key(7), 1.5, 2.5),
        Record::Area(digest, Digest([8; 32])),
        Record::Seen(key(1), digest, "a:build".to_owned()),
        Record::Blobs(vec![digest]),
    ] {
        index.append(record).unwrap();
    }
    sync(&mut index);
    drop(index);
    std::fs::copy(&path, folder.join("index.db")).unwrap();
}

#[test]
fn results_are_remembered_together_until_one_of_them_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    let mut other = open(&path, "boot-a", true);
    let outputs =
        |byte| vec![("main".to_owned(), Digest([byte; 32])), ("dev".to_owned(), Digest([9; 32]))];
    let (name, strange) = (Digest([7; 32]), Digest([8; 32]));
    let all = [(key(1), (outputs(1), false)), (key(2), (outputs(2), true))].into();
    index.append(Record::Reused(key(2))).unwrap();
    for number in [1, 2, 3] {
        index.append(Record::Outputs(key(number), outputs(number))).unwrap();
    }
    let changes: [(&str, bool, &[Record]); 8] = [
        ("a new result", true, &[Record::Reused(key(4)), Record::Outputs(key(4), outputs(4))]),
        (
            "a layer comes and goes",
            true,
            &[Record::Layer(key(1), Vec::new()), Record::Gone(key(1))],
        ),
        ("a blob that is no result", true, &[Record::Forget(key(77))]),
        ("a result goes", false, &[Record::Forget(key(3))]),
        ("a result comes back", true, &[Record::Outputs(key(3), outputs(3))]),
        ("a result is another one", false, &[Record::Outputs(key(1), outputs(5))]),
        ("it comes from earlier objects", false, &[Record::Reused(key(1))]),
        ("several at once", false, &[Record::Took(key(1), 1.0, 1.0), Record::Forget(key(2))]),
    ];
    for (what, stays, records) in changes {
        let looked = index.remembered(&name);
        index.remember(&name, &looked, &all).unwrap();
        index.remember(&strange, &looked, &HashMap::new()).unwrap();
        other.refresh().unwrap();
        assert_eq!(other.remembered(&name).results, all, "{what}");
        other.append_all(records).unwrap();
        index.refresh().unwrap();
        let left = index.remembered(&name).results;
        assert_eq!(left, if stays { all.clone() } else { HashMap::new() }, "{what}");
    }
}

#[test]
fn what_changes_while_results_are_looked_up_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let (mut index, mut other) = (open(&path, "boot-a", true), open(&path, "boot-a", true));
    let (name, outputs) = (Digest([7; 32]), vec![("main".to_owned(), Digest([9; 32]))]);
    index.append(Record::Outputs(key(1), outputs.clone())).unwrap();
    let looked = index.remembered(&name);
    other.append(Record::Forget(key(1))).unwrap();
    index.remember(&name, &looked, &[(key(1), (outputs, false))].into()).unwrap();
    assert_eq!(index.remembered(&name).results, HashMap::new());
}

#[test]
fn what_is_remembered_counts_as_records_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path, "boot-a", true);
    let (name, outputs) = (Digest([7; 32]), vec![("main".to_owned(), Digest([9; 32]))]);
    let all: HashMap<_, _> = [(key(1), (outputs.clone(), false))].into();
    index.append(Record::Outputs(key(1), outputs)).unwrap();
    // So that the generation has a row.
    index.append(Record::Forget(key(1))).unwrap();
    let looked = index.remembered(&name);
    index.remember(&name, &looked, &all).unwrap();
    assert_eq!(open(&path, "boot-b", true).remembered(&name).results, HashMap::new());
    sync(&mut index);
    assert_eq!(open(&path, "boot-b", true).remembered(&name).results, all);
    // The generation counts in whatever boot it was written: what a cut has not taken back has happened.
    index.append(Record::Outputs(key(2), Vec::new())).unwrap();
    index.append(Record::Forget(key(2))).unwrap();
    assert_eq!(open(&path, "boot-b", true).remembered(&name).results, HashMap::new());
    drop(index);
    // A damaged one lets nothing count, and what is remembered after it does.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE record SET value = '1' WHERE kind = 'generation'", []).unwrap();
    let mut index = open(&path, "boot-a", true);
    let looked = index.remembered(&name);
    index.remember(&name, &looked, &all).unwrap();
    assert_eq!(index.remembered(&name).results, HashMap::new());
    index.append(Record::Outputs(key(2), Vec::new())).unwrap();
    index.append(Record::Forget(key(2))).unwrap();
    let looked = index.remembered(&name);
    index.remember(&name, &looked, &all).unwrap();
    assert_eq!(index.remembered(&name).results, all);
    drop(index);
    // One that is lost does neither, nor does what was remembered before.
    raw.execute("DELETE FROM record WHERE kind = 'generation'", []).unwrap();
    let mut index = open(&path, "boot-a", true);
    let looked = index.remembered(&name);
    assert_eq!(looked.results, HashMap::new());
    index.remember(&Digest([8; 32]), &looked, &all).unwrap();
    assert_eq!(index.remembered(&Digest([8; 32])).results, all);
    assert_eq!(index.remembered(&name).results, HashMap::new());
}
