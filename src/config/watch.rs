//! The snapshot in force, and how it changes: the files are read again when they change, compiled whole, and swapped in.
//!
//! People change files in many ways: a rename over the old one, truncate and write, a swapped symbolic link, delete and put
//! back. So what is watched is not a file but what reading all of them gives: the system's notices only make it quicker.
//! A reading counts once two in a row agree, so that a file half written is never taken.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, Watcher as _};
use tokio::sync::Notify;

use crate::pricing::book::Book;

use super::compile::{compile, state_dir};
use super::environment::Machine;
use super::load::{Documents, Found, Location};
use super::problem::Problems;
use super::snapshot::Snapshot;

/// How often the files are read without any notice: notices can be lost, and some file systems give none.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Two readings this far apart must agree.
const SETTLE: Duration = Duration::from_millis(200);

/// How long a notice waits for those that come with it.
const FLOCK: Duration = Duration::from_millis(50);

/// The snapshot in force. Clones share it.
#[derive(Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

struct Shared {
    location: Location,
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    /// What was there when the snapshot in force was compiled.
    found: ArcSwap<Found>,
    /// What was compiled last, taken or not.
    documents: Mutex<Documents>,
    /// Why the last reading was not taken, while that is so.
    problem: ArcSwap<Option<String>>,
}

impl Snapshots {
    /// Reads and compiles the configuration at `location`.
    pub fn open(location: Location) -> Result<Self, Problems> {
        let (documents, compiled) = read(&location);
        let mut snapshot = compiled?;
        snapshot.generation = 1;
        let shared = Shared {
            location,
            current: ArcSwap::from_pointee(snapshot),
            generation: AtomicU64::new(1),
            found: ArcSwap::from_pointee(documents.found),
            documents: Mutex::new(documents),
            problem: ArcSwap::from_pointee(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Why the last reading was not taken, while that is so.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.load().as_ref().clone()
    }

    /// Reads the files now and puts what they say in force; otherwise everything stays as it was.
    pub fn reload(&self) -> Result<Arc<Snapshot>, Problems> {
        let mut documents = self.shared.location.read();
        documents.read_synced(&self.load().settings.state_dir);
        self.take(documents)
    }

    fn take(&self, documents: Documents) -> Result<Arc<Snapshot>, Problems> {
        let shared = &self.shared;
        // One reload at a time: the generation must say which came last.
        let mut last = shared.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = documents.lacks(**shared.found.load());
        let compiled = if gone.is_empty() { Ok(()) } else { Err(gone) };
        let compiled =
            compiled.and_then(|()| compile(&documents, &machine(&documents.folder), Book::shipped()));
        if compiled.is_ok() {
            shared.found.store(Arc::new(documents.found));
        }
        *last = documents;
        match compiled {
            Ok(mut snapshot) => {
                snapshot.generation = shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
                keep_what_needs_a_restart(&mut snapshot, &shared.current.load());
                let snapshot = Arc::new(snapshot);
                shared.current.store(Arc::clone(&snapshot));
                shared.problem.store(Arc::new(None));
                Ok(snapshot)
            }
            Err(problems) => {
                shared.problem.store(Arc::new(Some(problems.to_string())));
                Err(problems)
            }
        }
    }

    /// Follows the files for ever, telling `heard` of each change that was taken or refused. Dropping the future ends it.
    pub async fn follow(&self, heard: impl Fn(Result<Arc<Snapshot>, Problems>) + Send) {
        let woken = Arc::new(Notify::new());
        // Without notices (no inotify left, an odd file system) reading now and then does it all.
        let _watcher = watcher(&self.shared.location, &woken);
        loop {
            let _ = tokio::time::timeout(READ_EVERY, woken.notified()).await;
            // Notices come in flocks; one reading answers all of them.
            tokio::time::sleep(FLOCK).await;
            if let Some(documents) = self.changed().await {
                heard(self.take(documents));
            }
        }
    }

    /// What the files say now, if that is new and has settled.
    async fn changed(&self) -> Option<Documents> {
        let mut documents = self.read().await;
        if documents == *self.shared.documents.lock().unwrap_or_else(PoisonError::into_inner) {
            return None;
        }
        loop {
            tokio::time::sleep(SETTLE).await;
            let again = self.read().await;
            if again == documents {
                return Some(documents);
            }
            documents = again;
        }
    }

    async fn read(&self) -> Documents {
        let location = self.shared.location.clone();
        let state_dir = self.load().settings.state_dir.clone();
        // A reader that panics reads as nothing new.
        let read = tokio::task::spawn_blocking(move || {
            let mut documents = location.read();
            documents.read_synced(&state_dir);
            documents
        })
        .await;
        read.unwrap_or_else(|_| self.shared.documents.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What the files at `location` say and mean: what `serve` starts with and `check` judges.
pub fn read(location: &Location) -> (Documents, Result<Snapshot, Problems>) {
    let mut documents = location.read();
    let machine = machine(&documents.folder);
    documents.read_synced(&state_dir(&documents, &machine));
    let compiled = compile(&documents, &machine, Book::shipped());
    (documents, compiled)
}

fn machine(folder: &Path) -> Machine {
    Machine { folder: folder.to_owned() }
}

/// Sockets and folders are taken up at the start; a reload that changes them says so and keeps the old ones.
fn keep_what_needs_a_restart(new: &mut Snapshot, old: &Snapshot) {
    let (new, old) = (&mut new.settings, &old.settings);
    let keep = |what: &str, changed: bool| {
        if changed {
            tracing::warn!(
                what,
                "this setting takes effect at the next start; the old value stays in force until then"
            );
        }
    };
    keep("listen", new.listen != old.listen);
    keep("workers", new.workers != old.workers);
    keep("admin.listen", new.admin.listen != old.admin.listen);
    keep("tls", new.tls != old.tls);
    keep("state_dir", new.state_dir != old.state_dir);
    keep("ledger", new.ledger != old.ledger);
    keep("limits.in_flight_max", new.limits.in_flight_max != old.limits.in_flight_max);
    keep("limits.header_bytes_max", new.limits.header_bytes_max != old.limits.header_bytes_max);
    keep("limits.drain", new.limits.drain != old.limits.drain);
    keep("limits.stall_timeout", new.limits.stall_timeout != old.limits.stall_timeout);
    keep("limits.send_buffer_bytes", new.limits.send_buffer_bytes != old.limits.send_buffer_bytes);
    keep("log", new.log != old.log);
    keep("local_engine", new.local_engine != old.local_engine);
    new.listen = old.listen;
    new.workers = old.workers;
    new.admin.listen = old.admin.listen;
    new.tls.clone_from(&old.tls);
    new.state_dir.clone_from(&old.state_dir);
    new.ledger.clone_from(&old.ledger);
    new.limits.in_flight_max = old.limits.in_flight_max;
    new.limits.header_bytes_max = old.limits.header_bytes_max;
    new.limits.drain = old.limits.drain;
    new.limits.stall_timeout = old.limits.stall_timeout;
    new.limits.send_buffer_bytes = old.limits.send_buffer_bytes;
    new.log.clone_from(&old.log);
    new.local_engine.clone_from(&old.local_engine);
}

/// Notices from the folders that hold the files: a watched file would be lost with a rename over it.
fn watcher(location: &Location, woken: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let wake = Arc::clone(woken);
    let notice = move |event: notify::Result<notify::Event>| {
        // Reading is reported too, our own with it: waking on that would read without end.
        let is_reading = |kind: &EventKind| matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| is_reading(&event.kind)) {
            wake.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(notice).ok()?;
    let folders: [PathBuf; 2] = [location.folder(), location.policies.clone()];
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, notify::RecursiveMode::NonRecursive) {
            tracing::debug!(%error, folder = %folder.display(), "no notices of changes here; it is read every second instead");
        }
    }
    Some(watcher)
}
