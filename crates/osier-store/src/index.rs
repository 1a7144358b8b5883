//! Which keys are done, and with which outputs.
//!
//! An embedded database, [`crate::database`], because a look-up has to cost the same beside ten records and
//! beside ten million. Each record is a row under its key, with the boot of the machine in which it was
//! written and a number that grows in that boot. It counts when it was written in this boot, or when all up
//! to its number is known to have reached the disk: [`Index::append_sync`] notes that number, which was the
//! last one before the file system was synced. What was recorded but perhaps never reached the disk before
//! the machine stopped is forgotten.
//!
//! Each row has a sum over all that it says, the key included: one that a failing disk has changed does not
//! count. A database that is damaged as such is set aside, an empty one goes on, and what it told is built or
//! found again. `docs/design/0013-index.md` has the reasons.

mod remembered;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};

use crate::database::{Database, Trouble, set_aside};
use crate::measure::free_bytes;
use crate::record::{
    AREA, BLOB, Entry, FILE, LAYER, OUTPUTS, REMEMBERED, REUSABLE, REUSED, ROOT, SEEN, TOOK, file,
    keys, outputs,
};
use crate::{Digest, FileError, Hasher, IoContext, Key, Record};

pub use remembered::Remembered;

/// Most earlier runs of a step that are remembered, to go on from one of them, and most goals.
const RUNS: i64 = 64;

/// Bytes of disk that are kept for gc on a full disk.
pub(crate) const RESERVE: u64 = 1 << 20;

/// Sums up fields of which each but the last has a known length or an end.
fn sum(fields: &[&[u8]]) -> i64 {
    let mut hasher = Hasher::default();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let digest = hasher.finish().0.0;
    i64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

fn row_sum(key: &[u8], kind: &str, sub: &[u8], value: &str, boot: i64, number: i64) -> i64 {
    let (boot, number) = (boot.to_le_bytes(), number.to_le_bytes());
    sum(&[key, kind.as_bytes(), sub, value.as_bytes(), &boot, &number])
}

impl Entry {
    fn write(&self, connection: &rusqlite::Connection, boot: &mut Boot) -> rusqlite::Result<()> {
        boot.last += 1;
        let Self { key, kind, sub, value } = self;
        let sum = row_sum(&key.0, kind, sub, value, boot.id, boot.last);
        let text = "INSERT OR REPLACE INTO record VALUES(?, ?, ?, ?, ?, ?, ?)";
        let fields = params![key.0, kind, sub, value, boot.id, boot.last, sum];
        connection.prepare_cached(text)?.execute(fields)?;
        if matches!(*kind, REUSABLE | REMEMBERED) {
            keep_latest(connection, key, kind)
        } else {
            Ok(())
        }
    }
}

/// Removes all but the latest rows of a key and kind.
fn keep_latest(connection: &rusqlite::Connection, key: &Key, kind: &str) -> rusqlite::Result<()> {
    let text = "DELETE FROM record WHERE key = ?1 AND kind = ?2 AND sub IN (
        SELECT sub FROM record WHERE key = ?1 AND kind = ?2
        ORDER BY boot DESC, number DESC LIMIT -1 OFFSET ?3)";
    connection.prepare_cached(text)?.execute(params![key.0, kind, RUNS]).map(drop)
}

/// Removes rows; says whether one of a result was among them.
fn remove(connection: &rusqlite::Connection, key: &Key, kinds: &[&str]) -> rusqlite::Result<bool> {
    let mut statement =
        connection.prepare_cached("DELETE FROM record WHERE key = ? AND kind = ?")?;
    let mut result = false;
    for kind in kinds {
        let removed = statement.execute(params![key.0, kind])?;
        result |= removed > 0 && remembered::is_of_result(kind);
    }
    Ok(result)
}

/// A boot of the machine in which something was recorded.
#[derive(Debug, Clone)]
struct Boot {
    id: i64,
    name: String,
    /// The last number that was given out.
    last: i64,
    /// All up to this number is known to have reached the disk.
    synced: i64,
}

impl Boot {
    const COLUMNS: &str = "id, name, last, synced, sum";

    fn sum(&self) -> i64 {
        let [id, last, synced] = [self.id, self.last, self.synced].map(i64::to_le_bytes);
        sum(&[&id, self.name.as_bytes(), &last, &synced])
    }

    /// Reads a row. A damaged one would make records count that must not: the whole is given up then.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let boot =
            Self { id: row.get(0)?, name: row.get(1)?, last: row.get(2)?, synced: row.get(3)? };
        if row.get::<_, i64>(4)? == boot.sum() { Ok(boot) } else { Err(damaged()) }
    }

    fn write(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let text = "INSERT OR REPLACE INTO boot(id, name, last, synced, sum) VALUES(?, ?, ?, ?, ?)";
        let fields = params![self.id, self.name, self.last, self.synced, self.sum()];
        connection.prepare_cached(text)?.execute(fields).map(drop)
    }
}

fn damaged() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

/// What a row says that is whole and counts.
struct Found<'r> {
    key: Key,
    kind: &'r str,
    sub: &'r [u8],
    value: &'r str,
    /// Whether it was written in this boot.
    own: bool,
}

/// All records, and the file that they are in.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    /// Where a damaged database is moved.
    aside: PathBuf,
    boot: String,
    writable: bool,
    /// Nothing where there is none that can be read.
    database: RefCell<Option<Database>>,
    /// Boots that were looked up: whether it is this one, and up to which number it was synced.
    boots: RefCell<HashMap<i64, (bool, i64)>>,
    /// Where damaged databases were moved, until somebody asks.
    moved: RefCell<Vec<PathBuf>>,
    /// Whether the database is read as it was at one moment.
    looking: Cell<bool>,
    /// Whether the disk is so full that the database must not grow.
    tight: bool,
}

impl Index {
    /// Opens the index at `path`, and makes it where it is not there. `boot` names this boot of the machine.
    ///
    /// An index that is `writable` and damaged is moved below `aside`, see [`Index::take_moved`]. One that is not and
    /// cannot be read is an empty one.
    pub fn open(path: &Path, aside: &Path, boot: &str, writable: bool) -> Result<Self, FileError> {
        let index = Self {
            path: path.to_path_buf(),
            aside: aside.to_path_buf(),
            boot: boot.to_owned(),
            writable,
            database: RefCell::new(None),
            boots: RefCell::default(),
            moved: RefCell::default(),
            looking: Cell::new(false),
            tight: false,
        };
        index.connect()?;
        Ok(index)
    }

    /// Names this boot of the machine.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Opens the database, and sets a damaged one aside.
    fn connect(&self) -> Result<(), FileError> {
        self.boots.borrow_mut().clear();
        self.looking.set(false);
        if !self.writable {
            *self.database.borrow_mut() = Database::open_to_read(&self.path).unwrap_or_default();
            return Ok(());
        }
        let mut opened = Database::open(&self.path);
        if matches!(opened, Err(Trouble::Damaged)) {
            self.move_away(None)?;
            opened = Database::open(&self.path);
        }
        let database = match opened {
            Ok(database) => Some(database),
            // What is there can still be looked up, and gc can make room.
            Err(Trouble::File(error)) if error.is_disk_full() => {
                Database::open_to_read(&self.path).unwrap_or_default()
            }
            Err(Trouble::File(error)) => return Err(error),
            Err(Trouble::Damaged) => return Err(self.unusable()),
        };
        *self.database.borrow_mut() = database;
        self.keep_reserve();
        Ok(())
    }

    /// Sees to it that some bytes of disk are kept for [`Index::use_reserve`].
    fn keep_reserve(&self) {
        let (path, folder) = (self.reserve(), self.path.parent().unwrap_or(Path::new("/")));
        let has_room = || free_bytes(folder).is_ok_and(|free| free > 64 * RESERVE);
        if !self.tight && fs::symlink_metadata(&path).is_err() && has_room() {
            // Without it a full disk is harder to clear, nothing else.
            let _ = fs::write(&path, vec![0; usize::try_from(RESERVE).unwrap_or(0)]);
        }
    }

    fn reserve(&self) -> PathBuf {
        self.path.with_extension("reserve")
    }

    /// Gives up the bytes that were kept, so that on a full disk gc can note what it is about to remove.
    pub(crate) fn use_reserve(&mut self) -> Result<(), FileError> {
        let path = self.reserve();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at("remove", &path);
            }
            _ => {}
        }
        self.tight = true;
        self.refresh()
    }

    fn unusable(&self) -> FileError {
        let source = std::io::Error::other("it is damaged and could not be replaced");
        FileError { action: "use", path: self.path.clone(), source }
    }

    fn move_away(&self, opened: Option<Database>) -> Result<(), FileError> {
        let moved = set_aside(&self.path, opened, &self.aside)?;
        self.moved.borrow_mut().extend(moved);
        Ok(())
    }

    /// Gives what damaged databases were moved to since the last time: files, or what else was in their place.
    pub fn take_moved(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.moved.borrow_mut())
    }

    /// Takes note that the database could not do something; afterwards it can be tried again where this gives nothing.
    fn recover(&self, action: &'static str, error: &rusqlite::Error) -> Result<(), FileError> {
        let slot = self.database.borrow_mut().take();
        let Some(database) = slot else { return Err(self.unusable()) };
        match database.trouble(action, error) {
            Trouble::File(error) => {
                *self.database.borrow_mut() = Some(database);
                Err(error)
            }
            Trouble::Damaged if !self.writable => Ok(()),
            Trouble::Damaged => {
                self.move_away(Some(database))?;
                self.connect()
            }
        }
    }

    /// Takes note of what other processes have recorded, and begins to read the index as it is now: what is looked up
    /// belongs together and costs less. [`Index::refresh`], or to write, ends it.
    pub fn begin_look(&mut self) -> Result<(), FileError> {
        self.refresh()?;
        if let Some(database) = &*self.database.borrow()
            && database.connection.execute_batch("BEGIN").is_ok()
        {
            self.looking.set(true);
        }
        Ok(())
    }

    /// Ends what [`Index::begin_look`] has begun.
    pub fn end_look(&mut self) {
        if self.looking.replace(false)
            && let Some(database) = &*self.database.borrow()
        {
            // Nothing was written, and nothing can fail that matters.
            let _ = database.connection.execute_batch("COMMIT");
        }
    }

    /// Takes note of what other processes have recorded since, and whether one of them has set the database aside.
    pub fn refresh(&mut self) -> Result<(), FileError> {
        self.end_look();
        let in_place = match &*self.database.borrow() {
            Some(database) => database.is_in_place() && (database.writable || !self.writable),
            None => !self.writable,
        };
        if in_place { Ok(()) } else { self.connect() }
    }

    /// Looks something up. What cannot be read is not there.
    fn ask<T>(&self, ask: impl Fn(&Database) -> rusqlite::Result<Option<T>>) -> Option<T> {
        let answer = self.database.borrow().as_ref().map(&ask)?;
        answer.unwrap_or_else(|error| {
            // Set aside if that is it; else whoever writes will be told.
            let _ = self.recover("read", &error);
            None
        })
    }

    /// Gives the text of a row, if it is whole and counts. The columns are those of [`Index::COLUMNS`].
    fn text<'r>(
        &self,
        database: &Database,
        row: &'r Row<'_>,
    ) -> rusqlite::Result<Option<Found<'r>>> {
        let bytes = |at| match row.get_ref(at) {
            Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => Some(bytes),
            _ => None,
        };
        let text = |at| bytes(at).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = |at| match row.get_ref(at) {
            Ok(ValueRef::Integer(number)) => Some(number),
            _ => None,
        };
        let fields = (bytes(0), text(1), bytes(2), text(3), number(4), number(5), number(6));
        let (Some(key), Some(kind), Some(sub), Some(value), Some(boot), Some(at), Some(sum)) =
            fields
        else {
            return Ok(None);
        };
        let whole = sum == row_sum(key, kind, sub, value, boot, at);
        let (Ok(key), true) = (key.try_into().map(Key), whole) else { return Ok(None) };
        let (own, synced) = self.boot_of(database, boot)?;
        Ok((own || at <= synced).then_some(Found { key, kind, sub, value, own }))
    }

    const COLUMNS: &str = "key, kind, sub, value, boot, number, sum";

    /// Says of a boot whether it is this one, and up to which number it was synced.
    fn boot_of(&self, database: &Database, id: i64) -> rusqlite::Result<(bool, i64)> {
        if let Some(known) = self.boots.borrow().get(&id) {
            return Ok(*known);
        }
        let text = format!("SELECT {} FROM boot WHERE id = ?", Boot::COLUMNS);
        let mut statement = database.connection.prepare_cached(&text)?;
        let boot = statement.query_row([id], Boot::read).optional()?;
        let known = boot.map_or((false, 0), |boot| (boot.name == self.boot, boot.synced));
        self.boots.borrow_mut().insert(id, known);
        Ok(known)
    }

    /// Looks up the one row of a key and kind.
    fn one<T>(&self, key: &Key, kind: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.found(key, kind, |found| read(found.value))
    }

    fn found<T>(&self, key: &Key, kind: &str, read: impl Fn(&Found<'_>) -> Option<T>) -> Option<T> {
        self.ask(|database| {
            let columns = Self::COLUMNS;
            let text =
                format!("SELECT {columns} FROM record WHERE key = ? AND kind = ? AND sub = x''");
            let mut statement = database.connection.prepare_cached(&text)?;
            let mut rows = statement.query(params![key.0, kind])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let found = self.text(database, row)?;
            Ok(found.filter(|found| found.key == *key).and_then(|found| read(&found)))
        })
    }

    /// Looks up many rows: those that a query gives, which names the columns.
    fn many<T>(
        &self,
        rest: &str,
        fields: &[&dyn rusqlite::ToSql],
        read: impl Fn(&Found<'_>) -> Option<T>,
    ) -> Vec<T> {
        let found = self.ask(|database| {
            let text = format!("SELECT {} FROM record {rest}", Self::COLUMNS);
            let mut statement = database.connection.prepare_cached(&text)?;
            let mut rows = statement.query(fields)?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(row) = self.text(database, row)? {
                    found.extend(read(&row));
                }
            }
            Ok(Some(found))
        });
        found.unwrap_or_default()
    }

    /// Records something.
    pub fn append(&mut self, record: Record) -> Result<(), FileError> {
        self.append_all(&[record])
    }

    /// Records several things at once: all of them, or none.
    pub fn append_all(&mut self, records: &[Record]) -> Result<(), FileError> {
        if records.iter().all(|it| it.removes().is_none() && it.entries().is_empty()) {
            return Ok(());
        }
        self.write(|index, connection| {
            let mut boot = index.this_boot(connection)?;
            let before = boot.last;
            let mut changed = false;
            for record in records {
                if let Some((key, kinds)) = record.removes() {
                    changed |= remove(connection, key, kinds)?;
                }
                for entry in record.entries() {
                    changed |= remembered::replaces(connection, &entry)?;
                    entry.write(connection, &mut boot)?;
                }
            }
            if changed {
                remembered::forget(connection, &mut boot)?;
            }
            if boot.last == before { Ok(()) } else { boot.write(connection) }
        })
    }

    /// Records things, and waits until that is on the disk: what [`Record::Gone`] and [`Record::Forget`] speak of can be removed
    /// then, and does not come back should the machine stop.
    pub fn append_durably(&mut self, records: &[Record]) -> Result<(), FileError> {
        // So many at a time that a nearly full disk has room for them.
        for records in records.chunks(16) {
            self.durably(true);
            let done = self.append_all(records);
            self.durably(false);
            done?;
        }
        Ok(())
    }

    /// Forgets what is recorded under these keys, as [`Index::append_durably`] does.
    pub fn forget(&mut self, keys: &[Key]) -> Result<(), FileError> {
        self.append_durably(&keys.iter().copied().map(Record::Forget).collect::<Vec<_>>())
    }

    /// Waits until all that was recorded is on the disk.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.durably(true);
        let done = self.write(|index, connection| index.this_boot(connection)?.write(connection));
        self.durably(false);
        done
    }

    /// Whether a commit waits until it is on the disk.
    fn durably(&mut self, durably: bool) {
        self.end_look();
        if let Some(database) = &*self.database.borrow() {
            let value = if durably { "FULL" } else { "NORMAL" };
            let _ = database.connection.pragma_update(None, "synchronous", value);
        }
    }

    /// Reads, or thinks up, the row of this boot.
    fn this_boot(&self, connection: &rusqlite::Connection) -> rusqlite::Result<Boot> {
        let text = format!("SELECT {} FROM boot WHERE name = ?", Boot::COLUMNS);
        let mut statement = connection.prepare_cached(&text)?;
        if let Some(boot) = statement.query_row([&self.boot], Boot::read).optional()? {
            return Ok(boot);
        }
        let text = "SELECT coalesce(max(id), 0) + 1 FROM boot";
        let id = connection.prepare_cached(text)?.query_row([], |row| row.get(0))?;
        Ok(Boot { id, name: self.boot.clone(), last: 0, synced: 0 })
    }

    /// Does something in one transaction.
    fn write(
        &mut self,
        write: impl Fn(&Self, &rusqlite::Connection) -> rusqlite::Result<()>,
    ) -> Result<(), FileError> {
        let path = self.path.clone();
        let at = |source| FileError { action: "write", path: path.clone(), source };
        if !self.writable {
            return Err(at(std::io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        self.end_look();
        let written = |index: &Self| {
            let mut slot = index.database.borrow_mut();
            let database = slot.as_mut().filter(|database| database.writable);
            // It could not be opened for writing on a full disk, and still cannot.
            let Some(database) = database else {
                return Err(None);
            };
            let begun =
                database.connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let done = begun.and_then(|transaction| {
                write(index, &transaction)?;
                transaction.commit()
            });
            if index.tight {
                // So that the log begins anew instead of growing. Others may be reading: then later.
                let _ = database.connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
            }
            done.map_err(Some)
        };
        for _ in 0..2 {
            match written(self) {
                Ok(()) => return Ok(()),
                Err(Some(error)) => self.recover("write", &error)?,
                Err(None) => self.connect()?,
            }
        }
        written(self).map_err(|error| match error {
            None => at(std::io::ErrorKind::StorageFull.into()),
            Some(error) => at(std::io::Error::other(error.to_string())),
        })
    }

    /// Reads the row of this boot.
    fn own_boot(&self) -> Option<Boot> {
        self.ask(|database| {
            let text = format!("SELECT {} FROM boot WHERE name = ?", Boot::COLUMNS);
            let mut statement = database.connection.prepare_cached(&text)?;
            statement.query_row([&self.boot], Boot::read).optional()
        })
    }

    /// Gives the mark up to which [`Index::append_sync`] may say that records have reached the disk, once the file
    /// system was synced after this call; nothing where all of this boot's records, those of other processes included,
    /// have reached it.
    pub fn mark(&mut self) -> Result<Option<i64>, FileError> {
        self.refresh()?;
        Ok(self.own_boot().filter(|boot| boot.last > boot.synced).map(|boot| boot.last))
    }

    /// Records that what was recorded in this boot up to [`Index::mark`] has reached the disk.
    ///
    /// The caller must have synced the file system since it took the mark.
    pub fn append_sync(&mut self, mark: i64) -> Result<(), FileError> {
        self.write(|index, connection| {
            let boot = index.this_boot(connection)?;
            if boot.synced >= mark || boot.last < mark {
                return Ok(());
            }
            Boot { synced: mark, ..boot }.write(connection)
        })
    }

    /// Closes the database for good.
    pub(crate) fn close(&mut self) {
        self.end_look();
        self.writable = false;
        *self.database.borrow_mut() = None;
    }

    /// Says whether the layer of a step is recorded, and all that it lies on beside the steps below.
    pub fn has_layer(&self, key: &Key) -> bool {
        self.layer(key).is_some()
    }

    /// Gives the layers that make up a step's, the topmost first: its own, then those it went on from.
    pub fn layer(&self, key: &Key) -> Option<Vec<Key>> {
        let on = self.one(key, LAYER, keys)?;
        let there = |key: &Key| self.one(key, LAYER, |_| Some(())).is_some();
        on.iter().all(there).then(|| std::iter::once(*key).chain(on).collect())
    }

    /// Gives the steps that one can go on from, the latest first, each with the key of the step below it.
    pub fn reusable(&self, class: &Key) -> impl Iterator<Item = (Key, Key)> + use<> {
        let rest = "WHERE key = ? AND kind = ? ORDER BY boot DESC, number DESC";
        let read = |found: &Found<'_>| {
            let key = found.sub.try_into().ok().filter(|_| found.key == *class)?;
            Some((Key(key), found.value.parse().ok()?))
        };
        self.many(rest, &[&class.0, &REUSABLE], read).into_iter()
    }

    /// Says whether the outputs under a key come from an earlier build's objects and are not confirmed.
    pub fn is_reused(&self, key: &Key) -> bool {
        self.one(key, REUSED, |_| Some(())).is_some()
    }

    /// Says whether an unpacked build environment is recorded.
    pub fn has_root(&self, key: &Key) -> bool {
        self.one(key, ROOT, |_| Some(())).is_some()
    }

    /// Gives what [`Index::outputs`] and [`Index::is_reused`] do, for the cost of one of them.
    pub fn result(&self, key: &Key) -> Option<(Vec<(String, Digest)>, bool)> {
        // The range is one stretch of the table; few rows of other kinds lie in it.
        let rest = "WHERE key = ? AND kind >= ? AND kind <= ?";
        let read = |found: &Found<'_>| match found.kind {
            _ if found.key != *key || !found.sub.is_empty() => None,
            OUTPUTS => Some(outputs(found.value)),
            REUSED => Some(None),
            _ => None,
        };
        let rows = self.many(rest, &[&key.0, &OUTPUTS, &REUSED], read);
        let reused = rows.iter().any(Option::is_none);
        Some((rows.into_iter().flatten().next()?, reused))
    }

    /// Gives the outputs of the component whose last step has this key.
    pub fn outputs(&self, key: &Key) -> Option<Vec<(String, Digest)>> {
        self.one(key, OUTPUTS, outputs)
    }

    /// Gives the file made under this key, and its size.
    pub fn file(&self, key: &Key) -> Option<(Digest, u64)> {
        self.one(key, FILE, file)
    }

    /// Gives the seconds that a step took the last time, and those of CPU time.
    pub fn took(&self, key: &Key) -> Option<(f64, f64)> {
        self.one(key, TOOK, |text| {
            let (wall, cpu) = text.split_once(' ')?;
            Some((wall.parse().ok()?, cpu.parse().ok()?))
        })
    }

    /// Gives the keys of all recorded layers, in the order in which they were recorded. Reads all records.
    pub fn layer_keys(&self) -> impl Iterator<Item = Key> + use<> {
        self.many("WHERE kind = ? ORDER BY boot, number", &[&LAYER], |found| Some(found.key))
            .into_iter()
    }

    /// Gives all recorded results: the key, and the digests it leads to. Reads all records.
    pub fn results(&self) -> impl Iterator<Item = (Key, Vec<Digest>)> + use<> {
        self.results_where("").into_iter()
    }

    /// Gives the number of this boot's last record, whoever wrote it: what [`Index::results_after`] goes by.
    pub(crate) fn last(&self) -> i64 {
        self.own_boot().map_or(0, |boot| boot.last)
    }

    /// Gives the results that were recorded in this boot after its record of a number.
    pub(crate) fn results_after(&self, last: i64) -> Vec<(Key, Vec<Digest>)> {
        let Some(boot) = self.own_boot() else { return Vec::new() };
        self.results_where(&format!("AND boot = {} AND number > {last}", boot.id))
    }

    fn results_where(&self, more: &str) -> Vec<(Key, Vec<Digest>)> {
        let read = |found: &Found<'_>| {
            let digests = match outputs(found.value) {
                Some(outputs) => outputs.into_iter().map(|(_, digest)| digest).collect(),
                None => vec![file(found.value)?.0],
            };
            Some((found.key, digests))
        };
        self.many(&format!("WHERE kind IN (?, ?) {more}"), &[&OUTPUTS, &FILE], read)
    }

    /// Gives how an area looked when it was laid out or last read whole, and whether that was in this boot.
    pub fn area(&self, digest: &Digest) -> Option<(Digest, bool)> {
        self.found(&Key(digest.0), AREA, |found| Some((found.value.parse().ok()?, found.own)))
    }

    /// Gives how a layer or environment looked when it was put in place, and what it belongs to.
    pub fn seen(&self, key: &Key) -> Option<(Digest, String)> {
        self.one(key, SEEN, |text| {
            let (seen, label) = text.split_once(' ')?;
            Some((seen.parse().ok()?, label.to_owned()))
        })
    }

    /// Says whether the bytes of a digest are recorded as whole.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.one(&Key(digest.0), BLOB, |_| Some(())).is_some()
    }

    /// Says whether there is anything for a [`Record::Gone`] or [`Record::Forget`] to take away.
    pub fn knows(&self, record: &Record) -> bool {
        let Some((key, kinds)) = record.removes() else { return false };
        let kind = self.many("WHERE key = ?", &[&key.0], |_| Some(()));
        !kind.is_empty() && kinds.iter().any(|kind| self.one(key, kind, |_| Some(())).is_some())
    }
}

#[cfg(test)]
mod tests;
