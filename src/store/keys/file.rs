//! Keys in a SQLite file of their own, `keys.db`, in WAL mode: readers never wait for a writer, and `PRAGMA data_version`
//! tells another process's change for the price of one look into shared memory. The pepper is a file beside it.
//!
//! Each change is on the disk before anybody is told of it (`synchronous = FULL`): a revocation must not be lost by a power
//! cut, and changes are rare.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::keys::{Bytes32, Pepper, Stored};

use super::{Error, records, secret_file};

/// The format of the file.
const FORMAT: i64 = 1;
/// Longest wait for another process's change.
const BUSY_MAX: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
    INSERT OR IGNORE INTO meta VALUES ('version', 0);
";

/// The open file.
pub(super) struct File {
    path: PathBuf,
    pepper: Pepper,
    open: Mutex<Open>,
}

struct Open {
    connection: Connection,
    /// SQLite's own count of others' changes, when all was last read.
    seen: Option<i64>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl File {
    /// Opens the keys in that folder; makes them if there are none.
    pub(super) fn open(state_dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(state_dir).map_err(|error| Error::Io { path: state_dir.to_owned(), error })?;
        let pepper = Pepper(Bytes32(secret_file::kept(&state_dir.join("keys.pepper"))?));
        let path = state_dir.join("keys.db");
        // SQLite gives the files beside it the same rights.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map_err(|error| Error::Io { path: path.clone(), error })?;
        let connection = prepared(&path, &pepper).map_err(|error| match error {
            Fault::Sqlite(error) => Error::File { path: path.clone(), error },
            Fault::Refused(what) => Error::Refused(format!("{}: {what}", path.display())),
        })?;
        Ok(Self { path, pepper, open: Mutex::new(Open { connection, seen: None }) })
    }

    pub(super) fn pepper(&self) -> Pepper {
        self.pepper
    }

    pub(super) fn read(&self) -> Result<Stored, Error> {
        self.with(|open| {
            // Before the keys, so that a change amid the reading is seen as one.
            let seen = data_version(&open.connection)?;
            let reading = open.connection.transaction()?;
            let version =
                reading.query_row("SELECT value FROM meta WHERE name = 'version'", [], |row| row.get(0))?;
            let rows: Vec<(String, String)> = reading
                .prepare_cached("SELECT name, record FROM keys")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            reading.commit()?;
            open.seen = Some(seen);
            let records = records(rows.iter().map(|(name, record)| (name.as_str(), record.as_str())));
            Ok(Stored { version, pepper: self.pepper, records })
        })
    }

    pub(super) fn changed(&self) -> Result<Option<Stored>, Error> {
        let is_same = self.with(|open| Ok(open.seen == Some(data_version(&open.connection)?)))?;
        if is_same { Ok(None) } else { self.read().map(Some) }
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<String>, Error> {
        self.with(|open| {
            let mut statement = open.connection.prepare_cached("SELECT record FROM keys WHERE name = ?1")?;
            statement.query_row([name], |row| row.get(0)).optional()
        })
    }

    pub(super) fn swap(&self, name: &str, before: Option<&str>, after: Option<&str>) -> Result<bool, Error> {
        self.with(|open| {
            let change = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = match (before, after) {
                (None, None) => 0,
                (None, Some(after)) => {
                    change.execute("INSERT OR IGNORE INTO keys VALUES (?1, ?2)", params![name, after])?
                }
                (Some(before), Some(after)) => change.execute(
                    "UPDATE keys SET record = ?3 WHERE name = ?1 AND record = ?2",
                    params![name, before, after],
                )?,
                (Some(before), None) => change
                    .execute("DELETE FROM keys WHERE name = ?1 AND record = ?2", params![name, before])?,
            };
            if changed > 0 {
                change.execute("UPDATE meta SET value = value + 1 WHERE name = 'version'", [])?;
            }
            change.commit()?;
            Ok(changed > 0)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, rusqlite::Error>) -> Result<T, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut open).map_err(|error| Error::File { path: self.path.clone(), error })
    }
}

enum Fault {
    Sqlite(rusqlite::Error),
    Refused(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn prepared(path: &Path, pepper: &Pepper) -> Result<Connection, Fault> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format > FORMAT {
        let what = format!("has format {format}, and this version knows {FORMAT}: a newer Tollway made it");
        return Err(Fault::Refused(what));
    }
    let making = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    making.execute_batch(SCHEMA)?;
    making.pragma_update(None, "user_version", FORMAT)?;
    making.execute("INSERT OR IGNORE INTO meta VALUES ('pepper', ?1)", [pepper.name()])?;
    let named: String =
        making.query_row("SELECT value FROM meta WHERE name = 'pepper'", [], |row| row.get(0))?;
    if named != pepper.name() {
        let what = "its keys were hashed with another keys.pepper than the one beside it: put that back";
        return Err(Fault::Refused(what.to_owned()));
    }
    making.commit()?;
    Ok(connection)
}

fn data_version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record(name: &str) -> String {
        let ask = crate::keys::Ask { name: Some(name.to_owned()), ..Default::default() };
        let text = crate::keys::KeyText::of(&[1; 32]);
        let pepper = Pepper(Bytes32([1; 32]));
        let record = ask.record(&[0; 8], &text, &pepper, jiff::Timestamp::UNIX_EPOCH).unwrap();
        serde_json::to_string(&record).unwrap()
    }

    #[test]
    fn one_process_sees_what_another_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, other) = (File::open(folder.path()).unwrap(), File::open(folder.path()).unwrap());
        assert!(mine.changed().unwrap().is_some_and(|all| all.records.is_empty()), "never read yet");
        assert!(mine.changed().unwrap().is_none());
        assert!(other.swap("a", None, Some(&record("a"))).unwrap());
        let all = mine.changed().unwrap().unwrap();
        assert_eq!((all.version, all.records.len()), (1, 1));
        assert!(mine.changed().unwrap().is_none());
        assert!(!mine.swap("a", None, Some(&record("a"))).unwrap(), "it is there already");
        assert!(!mine.swap("a", Some("something else"), None).unwrap());
        let raw = mine.get("a").unwrap().unwrap();
        assert!(mine.swap("a", Some(&raw), None).unwrap());
        assert_eq!(mine.get("a").unwrap(), None);
        assert!(mine.read().unwrap().version == 2 && other.changed().unwrap().is_some());
    }

    #[test]
    fn r50_files_are_their_owners_and_a_blank_pepper_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pepper = File::open(folder.path()).unwrap().pepper();
        for name in ["keys.db", "keys.pepper"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(File::open(folder.path()).unwrap().pepper(), pepper, "made once");
        let path = folder.path().join("keys.pepper");
        for blank in ["", "\n", &"0".repeat(63), "not a pepper"] {
            fs::write(&path, blank).unwrap();
            assert!(matches!(File::open(folder.path()), Err(Error::Refused(_))), "{blank:?}");
        }
        fs::write(&path, "0".repeat(64)).unwrap();
        let said = File::open(folder.path()).unwrap_err().to_string();
        assert!(said.contains("another keys.pepper"), "{said}");
    }

    #[test]
    fn what_is_no_record_lets_nobody_in_and_a_newer_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(folder.path()).unwrap();
        for (name, odd) in [("a", "nonsense"), ("b", &*record("c")), ("d", "{}")] {
            assert!(file.swap(name, None, Some(odd)).unwrap());
        }
        assert_eq!(file.read().unwrap().records, []);
        file.with(|open| open.connection.pragma_update(None, "user_version", FORMAT + 1)).unwrap();
        assert!(matches!(File::open(folder.path()), Err(Error::Refused(_))));
    }
}
