//! The file of the index: an SQLite database that several processes use at once.
//!
//! It is in WAL mode with `synchronous = NORMAL`: a commit is one write at the end of `index.db-wal` and no
//! fsync. SQLite syncs that file before it moves pages from it to `index.db`, and reads of it only what its
//! checksums cover, so that after a power cut the database is whole and holds all commits up to some moment,
//! and none later. The pages themselves have no checksums: each row brings its own, see [`crate::index`].
//!
//! The file is never mapped into memory: one that is cut short would end the process by a signal.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::ffi::{self, ErrorCode};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;

use crate::durable::settle;
use crate::{FileError, IoContext, remove_tree};

/// Says that the file is osier's, in its header (`osir`).
const APPLICATION: i32 = 0x6f73_6972;

/// The version of the tables.
const VERSION: i32 = 1;

/// Says whether a file is a database that osier has made, whatever is left of it behind its first page.
pub(crate) fn is_osiers(path: &Path) -> bool {
    // "The Database Header" of SQLite's file format: the text at 0, the application's number at 68, big-endian.
    let mut header = [0; 72];
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let read =
        is_file && File::open(path).is_ok_and(|mut file| file.read_exact(&mut header).is_ok());
    read && header.starts_with(b"SQLite format 3\0") && header.ends_with(&APPLICATION.to_be_bytes())
}

const TABLES: &str = "
    CREATE TABLE boot(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL,
        synced INTEGER NOT NULL, sum INTEGER NOT NULL);
    CREATE TABLE record(key BLOB NOT NULL, kind TEXT NOT NULL, sub BLOB NOT NULL, value TEXT NOT NULL,
        boot INTEGER NOT NULL, number INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY(key, kind, sub)) WITHOUT ROWID;
    CREATE INDEX recent ON record(boot, number);
";

/// How long a process waits for another one's commit.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest path that SQLite takes, with room for its endings.
const LONGEST: usize = 490;

/// Why the database could not be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// What lies there is no whole database of osier's.
    Damaged,
    /// The disk is full, say.
    File(FileError),
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) connection: Connection,
    path: PathBuf,
    /// Device and inode of the file.
    identity: Option<(u64, u64)>,
    /// Whether it can be written.
    pub(crate) writable: bool,
}

/// The files that belong to a database: itself, and what SQLite puts beside it.
pub(crate) fn files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    })
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Keeps two processes from making, or setting aside, the same database at once.
fn lock_folder(path: &Path, operation: FlockOperation) -> Result<File, FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let opened = File::open(folder).at("open", folder)?;
    while let Err(errno) = rustix::fs::flock(&opened, operation) {
        if errno != rustix::io::Errno::INTR {
            return Err(errno).at("lock", folder);
        }
    }
    Ok(opened)
}

impl Database {
    /// Opens the database for reading and writing, and makes it where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Trouble> {
        if path.as_os_str().len() > LONGEST {
            let long =
                format!("a store's path can have at most {} bytes", LONGEST - "/index.db".len());
            return Err(Trouble::File(FileError {
                action: "open",
                path: path.to_path_buf(),
                source: io::Error::new(io::ErrorKind::InvalidFilename, long),
            }));
        }
        let mut held = lock_folder(path, FlockOperation::LockShared)?;
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            drop(held);
            held = lock_folder(path, FlockOperation::LockExclusive)?;
            // Another process may have made it meanwhile.
            if !path.is_file() {
                make(path)?;
            }
        }
        for file in files(path) {
            let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
            if !metadata.is_file() {
                return Err(Trouble::Damaged);
            }
            let mode = metadata.permissions().mode();
            if mode & 0o600 != 0o600 {
                let usable = fs::Permissions::from_mode(mode & 0o7777 | 0o600);
                fs::set_permissions(&file, usable).at("set the mode of", &file)?;
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags);
        let connection = connection.map_err(|error| trouble(path, "open", &error, true))?;
        let database =
            Self { connection, path: path.to_path_buf(), identity: identity(path), writable: true };
        drop(held);
        database.set_up()?;
        Ok(database)
    }

    /// Opens the database of a store that can only be read, or cannot be written now; nothing where there is none.
    pub(crate) fn open_to_read(path: &Path) -> Result<Option<Self>, Trouble> {
        let [own, wal, shm, _] = files(path);
        let own = match fs::symlink_metadata(&own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.at("read", path)?,
        };
        if !own.is_file() {
            return Err(Trouble::Damaged);
        }
        // What a process that was killed has left in the log is read with it, where that can be. Else the file
        // is read as if nobody wrote to it.
        let has = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let ways: &[&str] =
            if has(&wal) && has(&shm) { &["mode=ro", "immutable=1"] } else { &["immutable=1"] };
        let mut last = Trouble::Damaged;
        for way in ways {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let escaped: String = path
                .as_os_str()
                .as_bytes()
                .iter()
                .map(|byte| match byte {
                    b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
                    byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
                    byte => format!("%{byte:02X}"),
                })
                .collect();
            let uri = format!("file:{escaped}?{way}");
            let opened = Connection::open_with_flags(uri, flags)
                .map_err(|error| trouble(path, "open", &error, false))
                .and_then(|connection| {
                    let database = Self {
                        connection,
                        path: path.to_path_buf(),
                        identity: identity(path),
                        writable: false,
                    };
                    database.set_up().map(|()| database)
                });
            match opened {
                Ok(database) => return Ok(Some(database)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn set_up(&self) -> Result<(), Trouble> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get(0));
        let look = || {
            self.connection.busy_timeout(PATIENCE)?;
            // Nothing in a damaged or foreign file runs.
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            self.connection.execute_batch(
                "PRAGMA mmap_size = 0; PRAGMA cache_size = -16384; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
            )?;
            let found: (i32, i32) = (number("application_id")?, number("user_version")?);
            if found != (APPLICATION, VERSION) {
                return Ok(false);
            }
            if self.writable {
                let journal: String = self.connection.pragma_update_and_check(
                    None,
                    "journal_mode",
                    "wal",
                    |row| row.get(0),
                )?;
                if journal != "wal" {
                    return Ok(false);
                }
                self.connection.pragma_update(None, "synchronous", "NORMAL")?;
            }
            Ok(true)
        };
        match look() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Trouble::Damaged),
            Err(error) => Err(trouble(&self.path, "open", &error, self.writable)),
        }
    }

    /// Says whether the file that is open is still the one of that name.
    pub(crate) fn is_in_place(&self) -> bool {
        self.identity == identity(&self.path)
    }

    /// Makes sense of an error.
    pub(crate) fn trouble(&self, action: &'static str, error: &rusqlite::Error) -> Trouble {
        trouble(&self.path, action, error, self.writable)
    }
}

/// Makes an empty database beside its place and puts it there when all of it is on the disk.
fn make(path: &Path) -> Result<(), Trouble> {
    // What was left beside a database that is gone does not belong to this one.
    if files(path).iter().any(|file| fs::symlink_metadata(file).is_ok()) {
        return Err(Trouble::Damaged);
    }
    let beside = path.with_extension("new");
    for file in files(&beside) {
        remove_tree(&file)?;
    }
    let filled = Connection::open(&beside).and_then(|connection| {
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch(&format!(
            "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    });
    filled.map_err(|error| match trouble(&beside, "make", &error, true) {
        // It was empty a moment ago: whatever it is, it is no damage of an earlier time.
        Trouble::Damaged => Trouble::File(FileError {
            action: "make",
            path: path.to_path_buf(),
            source: io::Error::other(error.to_string()),
        }),
        trouble => trouble,
    })?;
    Ok(settle(&beside, path)?)
}

/// Moves a damaged database into a folder, unless another process has put a good one in its place meanwhile.
///
/// `opened` is what was found to be damaged, where it could be opened at all. Gives where its files lie now.
pub(crate) fn set_aside(
    path: &Path,
    opened: Option<Database>,
    folder: &Path,
) -> Result<Vec<PathBuf>, FileError> {
    let _held = lock_folder(path, FlockOperation::LockExclusive)?;
    if opened.as_ref().is_some_and(|database| !database.is_in_place()) {
        return Ok(Vec::new());
    }
    // Closed before it is moved, since SQLite removes by name what it has put beside it.
    drop(opened);
    fs::create_dir_all(folder).at("make", folder)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut moved = Vec::new();
    for file in files(path) {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", now.as_nanos()));
        let aside = folder.join(name);
        match fs::rename(&file, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => {
                result.at("set aside", &file)?;
                moved.push(aside);
            }
        }
    }
    Ok(moved)
}

/// Makes sense of an error of SQLite's.
fn trouble(path: &Path, action: &'static str, error: &rusqlite::Error, writable: bool) -> Trouble {
    let file = |source| Trouble::File(FileError { action, path: path.to_path_buf(), source });
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        // A row of another shape than ours.
        return Trouble::Damaged;
    };
    match code.code {
        ErrorCode::DiskFull => file(io::ErrorKind::StorageFull.into()),
        ErrorCode::ReadOnly => file(io::ErrorKind::ReadOnlyFilesystem.into()),
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            file(io::ErrorKind::PermissionDenied.into())
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            let source = "another osier process has held it for a minute";
            file(io::Error::new(io::ErrorKind::ResourceBusy, source))
        }
        ErrorCode::OutOfMemory => file(io::ErrorKind::OutOfMemory.into()),
        _ if code.extended_code == ffi::SQLITE_IOERR_SHORT_READ => Trouble::Damaged,
        // SQLite does not tell what the kernel said; a file in the same folder does.
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => match probe(path) {
            Err(source) if writable => file(source),
            _ if code.code == ErrorCode::CannotOpen && writable => Trouble::Damaged,
            _ => file(io::Error::other(error.to_string())),
        },
        // The last three: a table is missing, or rows contradict one another.
        ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::TypeMismatch
        | ErrorCode::SchemaChanged
        | ErrorCode::Unknown
        | ErrorCode::ConstraintViolation => Trouble::Damaged,
        _ => file(io::Error::other(error.to_string())),
    }
}

/// Tries to write as much as SQLite needs to begin.
fn probe(path: &Path) -> io::Result<()> {
    let beside = path.with_extension(format!("probe-{}", std::process::id()));
    let tried = fs::write(&beside, [0; 64 << 10]);
    let _ = fs::remove_file(&beside);
    tried
}
