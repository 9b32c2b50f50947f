//! The file: its tables, how a connection is set up, and how a new ledger comes to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::Error;
use super::{Durability, wal};

/// `tlwl`: marks the file as a ledger of tollway's.
const APPLICATION: i64 = 0x746c_776c;
/// The format that is written here.
pub(super) const FORMAT: i64 = 1;

/// How long the writer waits for someone else's lock; nobody else writes, but a reader who comes first after a crash reads the
/// log under one.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// Each table's letter begins what its checksums are of.
pub(super) const REQUESTS: u8 = b'r';
pub(super) const ATTEMPTS: u8 = b'a';
pub(super) const HOLDS: u8 = b'h';
pub(super) const SPENT: u8 = b's';
pub(super) const LEDGER: u8 = b'l';

const TABLES: &str = "
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1), replica TEXT NOT NULL, commits INTEGER NOT NULL, swept_ns INTEGER NOT NULL,
    requests INTEGER NOT NULL, requests_sum BLOB NOT NULL, attempts INTEGER NOT NULL, attempts_sum BLOB NOT NULL,
    holds INTEGER NOT NULL, holds_sum BLOB NOT NULL, spent INTEGER NOT NULL, spent_sum BLOB NOT NULL, checksum BLOB NOT NULL
);
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY, hold BLOB NOT NULL, began_ns INTEGER NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL,
    user TEXT NOT NULL, team TEXT NOT NULL, organisation TEXT NOT NULL, policy TEXT NOT NULL, tags TEXT NOT NULL,
    model TEXT NOT NULL, endpoint TEXT NOT NULL, stream INTEGER NOT NULL, ttft_ms INTEGER, total_ms INTEGER NOT NULL,
    status INTEGER NOT NULL, outcome TEXT NOT NULL, amount_nanos INTEGER NOT NULL, saved_nanos INTEGER NOT NULL,
    attempts INTEGER NOT NULL, lines TEXT NOT NULL, checksum BLOB NOT NULL
);
CREATE UNIQUE INDEX requests_began ON requests (began_ns, hold);
CREATE TABLE attempts (
    seq INTEGER NOT NULL, n INTEGER NOT NULL, provider TEXT NOT NULL, route TEXT NOT NULL, checkpoint TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,
    amount_nanos INTEGER NOT NULL, input_nanos INTEGER NOT NULL, cache_read_nanos INTEGER NOT NULL,
    cache_write_nanos INTEGER NOT NULL, output_nanos INTEGER NOT NULL, request_nanos INTEGER NOT NULL,
    unpriced INTEGER NOT NULL, price_source TEXT NOT NULL, price_as_of TEXT NOT NULL, generation TEXT NOT NULL,
    asked_ns INTEGER NOT NULL, outcome TEXT NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (seq, n)
) WITHOUT ROWID;
CREATE TABLE holds (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL, amount_nanos INTEGER NOT NULL, lines TEXT NOT NULL, context TEXT NOT NULL,
    checksum BLOB NOT NULL
);
CREATE TABLE spent (
    id INTEGER PRIMARY KEY, budget TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, window_start INTEGER NOT NULL,
    window_end INTEGER NOT NULL, amount_nanos INTEGER NOT NULL, checksum BLOB NOT NULL
);
CREATE UNIQUE INDEX spent_line ON spent (budget, kind, name, window_start);
CREATE TABLE probe (filler BLOB);
";

/// The file beside the ledger whose lock its writer holds.
pub(super) fn lock_file(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

/// `path` with something behind its name, as SQLite names its write-ahead log.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Opens the ledger for its one writer, making it where there is none; `known`: there should be one.
pub(super) fn writing(path: &Path, durability: Durability, known: bool) -> Result<Connection, Error> {
    // An empty file is not a new ledger but an old one that lost everything: new ones are made elsewhere and moved here whole.
    if !path.try_exists().map_err(|error| Error::io(path, &error))? {
        if known {
            let what = format!("it is gone; to begin anew remove {} too", lock_file(path).display());
            return Err(Error::damaged(path, what));
        }
        create(path)?;
    }
    wal::check(path)?;
    connect(path, durability)
}

/// Opens a ledger that is there to be written.
pub(super) fn connect(path: &Path, durability: Durability) -> Result<Connection, Error> {
    let failed = |error: rusqlite::Error| Error::of(&error, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    check_format(&connection, path)?;
    set_up(&connection, durability).map_err(failed)?;
    Ok(connection)
}

/// Opens it to be read while a gateway may be writing.
pub(super) fn reading(path: &Path) -> Result<Connection, Error> {
    if !path.is_file() {
        return Err(Error::Absent(path.to_owned()));
    }
    let failed = |error: rusqlite::Error| Error::of(&error, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    check_format(&connection, path)?;
    Ok(connection)
}

fn set_up(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    debug_assert_eq!(mode, "wal");
    // NORMAL syncs the log before it is copied into the file, so that a power cut loses the last moments and damages nothing.
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    connection.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0; \
         PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; \
         PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;"
    ))
}

/// How long its pages are.
pub(super) fn page_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let bytes: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(u64::from(bytes))
}

/// A whole new ledger, under its name only once it is on the disk.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let io = |error: std::io::Error| Error::io(path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(io)?;
    }
    let new = beside(path, ".new");
    for end in [".new", ".new-wal", ".new-shm", ".new-journal"] {
        match fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let made = || -> rusqlite::Result<()> {
        let connection = Connection::open(&new)?;
        connection.execute_batch(&format!(
            "PRAGMA synchronous = EXTRA; BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; \
             PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
        super::totals::begin(&connection)
    };
    made().map_err(|error| Error::of(&error, path))?;
    fs::rename(&new, path).map_err(io)?;
    if let Some(folder) = folder {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    }
    Ok(())
}

fn check_format(connection: &Connection, path: &Path) -> Result<(), Error> {
    let number = |pragma: &str| {
        connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(|error| Error::of(&error, path))
    };
    if number("PRAGMA application_id")? != APPLICATION {
        return Err(Error::damaged(path, "its head is not that of a ledger"));
    }
    match number("PRAGMA user_version")? {
        FORMAT => Ok(()),
        format => Err(Error::Format { path: path.to_owned(), format, known: FORMAT }),
    }
}
