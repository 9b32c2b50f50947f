//! Answers to named requests in an SQLite file of their own, `once.db`: they outlive the process, and their time and the file's
//! bounds end them, the oldest first.
//!
//! One thread writes and reads. What is asked of every request, whether its name is known at all, is answered from memory. The
//! file is worth nothing but what it saves: one that is damaged is begun anew.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use tokio::sync::oneshot;

use crate::units::Clock;

use super::shelf::Done;

/// What all answers may take, in bytes.
const BYTES_MAX: u64 = 256 << 20;
/// Most answers.
const RECORDS_MAX: usize = 65_536;
/// Jobs that wait, and the bytes of answers among them; what comes beyond is not kept.
const JOBS_MAX: usize = 1_024;
const JOB_BYTES_MAX: u64 = 32 << 20;
/// Most jobs of one transaction.
const BATCH: usize = 64;
/// How often old answers are looked for where nothing else is to do.
const SWEEPS_EVERY: Duration = Duration::from_mins(1);
/// `tlwo`: marks the file as ours.
const APPLICATION: i64 = 0x746c_776f;
const FORMAT: i64 = 1;

type Name = [u8; 32];

/// The file.
pub struct File {
    jobs: SyncSender<Job>,
    waiting_bytes: Arc<AtomicU64>,
    index: Arc<Mutex<Index>>,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Where an answer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    id: i64,
    /// What the request's words are compared by.
    pub(super) print: [u8; 32],
    ends_ms: i64,
    bytes: u64,
}

/// All that is in the file, but for the answers.
#[derive(Default)]
struct Index {
    by_name: HashMap<Name, Found>,
    by_age: BTreeMap<i64, Name>,
    bytes: u64,
}

enum Job {
    Keep(Box<Keep>),
    Read(i64, oneshot::Sender<Option<Vec<u8>>>),
    Close,
}

struct Keep {
    name: Name,
    print: [u8; 32],
    value: Vec<u8>,
    ends_ms: i64,
    done: Done,
}

impl File {
    /// Opens the file at `path`, or makes it, and starts its thread. Blocks while it reads: a moment.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, std::io::Error> {
        let (connection, index) = opened_or_anew(path)?;
        let index = Arc::new(Mutex::new(index));
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let waiting_bytes = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            path: path.to_owned(),
            connection,
            index: Arc::clone(&index),
            waiting_bytes: Arc::clone(&waiting_bytes),
            clock: Arc::clone(&clock),
            has_failed: false,
        };
        let thread =
            std::thread::Builder::new().name("once".to_owned()).spawn(move || keeper.run(&waiting))?;
        Ok(Self { jobs, waiting_bytes, index, clock, thread: Mutex::new(Some(thread)) })
    }

    /// Where the answer of this name is, if its time is not over.
    pub(super) fn find(&self, name: &Name) -> Option<Found> {
        let found = *locked(&self.index).by_name.get(name)?;
        (now_ms(&*self.clock) < found.ends_ms).then_some(found)
    }

    /// The answer, if it has not gone meanwhile; `None`: too much waits for it to be read now.
    pub(super) async fn read(&self, found: Found) -> Option<Option<Vec<u8>>> {
        let (tell, told) = oneshot::channel();
        match self.jobs.try_send(Job::Read(found.id, tell)) {
            Ok(()) => Some(told.await.ok().flatten()),
            Err(TrySendError::Full(_)) => None,
            // Closed: nothing can be read any more.
            Err(TrySendError::Disconnected(_)) => Some(None),
        }
    }

    /// Keeps an answer in place of another of its name. `done` hears of it once it is committed, or could not be.
    pub(super) fn keep(&self, name: Name, print: [u8; 32], value: Vec<u8>, ttl: Duration, done: Done) {
        let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let ends_ms = now_ms(&*self.clock).saturating_add(ttl);
        let bytes = value.len() as u64;
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > JOB_BYTES_MAX {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return done(false);
        }
        let job = Job::Keep(Box::new(Keep { name, print, value, ends_ms, done }));
        if let Err(refused) = self.jobs.try_send(job) {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = refused;
            if let Job::Keep(keep) = job {
                (keep.done)(false);
            }
        }
    }

    /// Writes what waits and closes the file.
    pub(super) async fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (jobs, Some(thread)) = (self.jobs.clone(), thread) else { return };
        let closing = tokio::task::spawn_blocking(move || {
            let _ = jobs.send(Job::Close);
            thread.join()
        });
        let _ = closing.await;
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("answers", &locked(&self.index).by_name.len()).finish_non_exhaustive()
    }
}

/// What the thread has.
struct Keeper {
    path: PathBuf,
    connection: Connection,
    index: Arc<Mutex<Index>>,
    waiting_bytes: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    has_failed: bool,
}

impl Keeper {
    fn run(mut self, waiting: &Receiver<Job>) {
        loop {
            let mut closes = false;
            let mut keeps = Vec::new();
            let mut next = match waiting.recv_timeout(SWEEPS_EVERY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(job) = next {
                match job {
                    Job::Keep(keep) => keeps.push(*keep),
                    Job::Read(id, tell) => {
                        let _ = tell.send(self.read(id));
                    }
                    Job::Close => closes = true,
                }
                next = if keeps.len() < BATCH { waiting.try_recv().ok() } else { None };
            }
            self.write(keeps);
            if closes {
                return;
            }
        }
    }

    fn read(&mut self, id: i64) -> Option<Vec<u8>> {
        let read = self
            .connection
            .prepare_cached("SELECT value FROM once WHERE id = ?")
            .and_then(|mut select| select.query_row([id], |row| row.get(0)).optional());
        match read {
            Ok(value) => value,
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn write(&mut self, keeps: Vec<Keep>) {
        let now = now_ms(&*self.clock);
        let due = locked(&self.index).due(now, &keeps);
        if keeps.is_empty() && due.is_empty() {
            return;
        }
        let written = self.transaction(&keeps, &due);
        match &written {
            Ok(ids) => {
                self.has_failed = false;
                let mut index = locked(&self.index);
                for id in due {
                    index.forget(id);
                }
                for (keep, id) in keeps.iter().zip(ids) {
                    let bytes = keep.value.len() as u64;
                    index.put(keep.name, Found { id: *id, print: keep.print, ends_ms: keep.ends_ms, bytes });
                }
            }
            Err(error) => self.failed(error),
        }
        for keep in keeps {
            self.waiting_bytes.fetch_sub(keep.value.len() as u64, Ordering::Relaxed);
            (keep.done)(written.is_ok());
        }
    }

    fn transaction(&mut self, keeps: &[Keep], due: &[i64]) -> rusqlite::Result<Vec<i64>> {
        let transaction = self.connection.transaction()?;
        let mut ids = Vec::with_capacity(keeps.len());
        {
            let mut delete = transaction.prepare_cached("DELETE FROM once WHERE id = ?")?;
            for id in due {
                delete.execute([id])?;
            }
            // Whatever else had the name makes room, under another id.
            let mut replace = transaction.prepare_cached(
                "INSERT OR REPLACE INTO once (name, print, ends_ms, value) VALUES (?, ?, ?, ?)",
            )?;
            for keep in keeps {
                ids.push(replace.insert(params![
                    &keep.name[..],
                    &keep.print[..],
                    keep.ends_ms,
                    keep.value
                ])?);
            }
        }
        transaction.commit()?;
        Ok(ids)
    }

    fn failed(&mut self, error: &rusqlite::Error) {
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::error!(%error, path = %self.path.display(), "answers to named requests cannot be kept");
        }
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            && let Ok((connection, index)) = begin_anew(&self.path)
        {
            self.connection = connection;
            *locked(&self.index) = index;
        }
    }
}

impl Index {
    fn put(&mut self, name: Name, found: Found) {
        if let Some(before) = self.by_name.insert(name, found) {
            self.by_age.remove(&before.id);
            self.bytes = self.bytes.saturating_sub(before.bytes);
        }
        self.by_age.insert(found.id, name);
        self.bytes += found.bytes;
    }

    fn forget(&mut self, id: i64) {
        let Some(name) = self.by_age.remove(&id) else { return };
        if let Some(found) = self.by_name.remove(&name) {
            self.bytes = self.bytes.saturating_sub(found.bytes);
        }
    }

    /// Which must go, the oldest first: their time is over, or `keeps` need their room.
    fn due(&self, now: i64, keeps: &[Keep]) -> Vec<i64> {
        let mut bytes = self.bytes + keeps.iter().map(|keep| keep.value.len() as u64).sum::<u64>();
        let mut records = self.by_name.len() + keeps.len();
        let mut due = Vec::new();
        for (id, name) in &self.by_age {
            let Some(found) = self.by_name.get(name) else { continue };
            let fits = bytes <= BYTES_MAX && records <= RECORDS_MAX;
            if (fits && found.ends_ms > now) || due.len() == RECORDS_MAX {
                break;
            }
            bytes = bytes.saturating_sub(found.bytes);
            records -= 1;
            due.push(*id);
        }
        due
    }
}

fn opened_or_anew(path: &Path) -> Result<(Connection, Index), std::io::Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    match opened(path) {
        Ok(both) => Ok(both),
        Err(Fault::Io(error)) => Err(error),
        Err(Fault::Sqlite(error)) => {
            tracing::warn!(%error, path = %path.display(), "kept answers cannot be read: the file is begun anew");
            begin_anew(path)
        }
    }
}

fn begin_anew(path: &Path) -> Result<(Connection, Index), std::io::Error> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    opened(path).map_err(|fault| match fault {
        Fault::Io(error) => error,
        Fault::Sqlite(error) => std::io::Error::other(error),
    })
}

enum Fault {
    Io(std::io::Error),
    Sqlite(rusqlite::Error),
}

fn opened(path: &Path) -> Result<(Connection, Index), Fault> {
    // SQLite gives the files beside it the same rights.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(Fault::Io)?;
    read_all(path).map_err(Fault::Sqlite)
}

fn read_all(path: &Path) -> rusqlite::Result<(Connection, Index)> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let tables: i64 = number("SELECT count(*) FROM sqlite_schema")?;
    let marks = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    if tables > 0 && marks != (APPLICATION, FORMAT) {
        // Taken for damage: what another version has kept is of no use to this one.
        return Err(rusqlite::Error::InvalidQuery);
    }
    // What has been deleted is overwritten: it was somebody's answer.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; \
         PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -4096; \
         PRAGMA journal_size_limit = 8388608; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; \
         CREATE TABLE IF NOT EXISTS once (id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, \
         print BLOB NOT NULL, ends_ms INTEGER NOT NULL, value BLOB NOT NULL) STRICT;"
    ))?;
    let mut index = Index::default();
    {
        let mut all = connection.prepare("SELECT id, name, print, ends_ms, length(value) FROM once")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let bytes = u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0);
            let found = Found { id: row.get(0)?, print: row.get(2)?, ends_ms: row.get(3)?, bytes };
            index.put(row.get(1)?, found);
        }
    }
    Ok((connection, index))
}

fn now_ms(clock: &dyn Clock) -> i64 {
    clock.now().wall.as_millisecond()
}

fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    // Nothing panics while it is held.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
