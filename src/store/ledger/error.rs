//! What can go wrong with the ledger, in a form that every waiting request can be told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why something was not written, or the ledger not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too much waits to be written: the disk does not keep up, or stands still.
    #[error("the ledger does not keep up: {0} entries wait to be written")]
    Busy(usize),
    /// No room on the disk. What was refused can be tried again; records wait in memory until there is room.
    #[error("the ledger's disk is full: {0}")]
    Full(Arc<str>),
    /// The disk failed. As for a full one, unless it was an fsync that failed: then nothing is written until a restart, since
    /// nobody knows what of the last moments is on the disk.
    #[error("the ledger cannot be written: {0}")]
    Io(Arc<str>),
    /// The record waits in memory, and its hold is on the disk: should the process die now, the whole hold is charged.
    #[error("not yet on the disk: {0}")]
    NotYet(Arc<str>),
    /// The file is not what was written to it.
    #[error(
        "the ledger {path} is damaged: {what}; look at it with `tollway ledger verify`, put a copy back, or go on without what is \
         lost: `tollway ledger repair`"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not hold.
        what: Arc<str>,
    },
    /// Another process writes there.
    #[error("another tollway is writing to the ledger {0}")]
    Held(PathBuf),
    /// There is no ledger to read.
    #[error("there is no ledger {0}")]
    Absent(PathBuf),
    /// Written by a version that knows more.
    #[error("the ledger {path} has format {format}, and this version of tollway knows {known}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says.
        format: i64,
        /// What is understood.
        known: i64,
    },
    /// It was closed.
    #[error("the ledger is closed")]
    Closed,
    /// What a closure of a caller's asked of the database failed.
    #[error("{0}")]
    Query(Arc<str>),
}

impl Error {
    /// What a failed reading or writing means.
    pub(super) fn of(error: &rusqlite::Error, path: &Path) -> Self {
        use rusqlite::ErrorCode::{
            DatabaseCorrupt, DiskFull, NotADatabase, OutOfMemory, ReadOnly, SystemIoFailure,
        };
        let text: Arc<str> = error.to_string().into();
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::Full(text),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged { path: path.to_owned(), what: text },
            Some(SystemIoFailure | ReadOnly | OutOfMemory) => Self::Io(text),
            _ => Self::Query(text),
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<Arc<str>>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }

    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let text: Arc<str> = format!("{}: {error}", path.display()).into();
        if error.kind() == std::io::ErrorKind::StorageFull { Self::Full(text) } else { Self::Io(text) }
    }
}

/// Whether it was an fsync that failed. The kernel may have dropped what it could not write, and says so only once.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    matches!(error, rusqlite::Error::SqliteFailure(failure, _)
        if [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&failure.extended_code))
}
