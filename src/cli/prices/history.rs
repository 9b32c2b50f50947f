//! The file in which fetched prices are kept: one writer at a time, and never half a file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::load::{SYNCED_BYTES_MAX, SYNCED_FILE};
use crate::pricing::Book;

/// Why the history was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("another `tollway prices sync` is at work in {0}")]
    Busy(PathBuf),
    #[error("{0}; move it away to begin a new history")]
    Broken(String),
    #[error(
        "the history of fetched prices would be longer than {SYNCED_BYTES_MAX} bytes; move {0} away to begin a new one"
    )]
    TooLong(PathBuf),
    #[error("cannot keep the fetched prices in {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The right to change the history, until it is dropped.
pub(super) struct Held {
    folder: PathBuf,
    _lock: File,
}

impl Held {
    /// Takes it, making the folder where there is none.
    pub(super) fn take(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("prices.lock");
        let failed = |source| Error::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where the history is.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(SYNCED_FILE)
    }

    /// Puts `history` in the old one's place, by a rename, once all of it is on the disk.
    pub(super) fn write(&self, history: &Book) -> Result<(), Error> {
        let (path, text) = (self.file(), history.to_json());
        if text.len() as u64 > SYNCED_BYTES_MAX {
            return Err(Error::TooLong(path));
        }
        let new = self.folder.join(".prices.json.new");
        let written = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|source| Error::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_at_a_time_and_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("data");
        let held = Held::take(&state).unwrap();
        assert!(matches!(Held::take(&state), Err(Error::Busy(_))));
        held.write(Book::shipped()).unwrap();
        held.write(Book::shipped()).unwrap();
        assert_eq!(fs::read_to_string(held.file()).unwrap(), Book::shipped().to_json());
        drop(held);
        assert!(Held::take(&state).is_ok());
        let mut names: Vec<_> =
            fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["prices.json", "prices.lock"]);
    }
}
