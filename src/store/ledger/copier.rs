//! Copies SQLite's log into the file beside the writer, on a connection of its own, so that nobody waits for those syncs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::error::{Error, is_failed_sync};
use super::{Durability, schema};

/// The thread; dropped, it ends what it is at and goes.
pub(super) struct Copier {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    sync_failed: AtomicBool,
    at_it: AtomicBool,
    /// Bytes of the log that were in the file after the last copy.
    copied: AtomicU64,
}

impl Copier {
    pub(super) fn start(path: &Path, durability: Durability) -> Result<Self, Error> {
        let connection = schema::connect(path, durability)?;
        let page = schema::page_bytes(&connection).map_err(|error| Error::of(&error, path))?;
        let (ask, asked) = sync_channel::<()>(1);
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let work = move || {
            while asked.recv().is_ok() {
                // What the writer adds meanwhile, or someone still reads, is for the next time.
                let pages =
                    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2));
                match pages {
                    // None, as -1 or an error has it, are as many as before.
                    Ok(pages) if pages >= 0 => {
                        told.copied.store(pages.unsigned_abs() * page, Ordering::Relaxed);
                    }
                    Err(error) if is_failed_sync(&error) => told.sync_failed.store(true, Ordering::Release),
                    _ => {}
                }
                told.at_it.store(false, Ordering::Release);
            }
        };
        let thread = std::thread::Builder::new().name("ledger-log".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::io(path, &error))?;
        Ok(Self { ask: Some(ask), thread: Some(thread), shared })
    }

    /// Asks for a copy, unless one is under way.
    pub(super) fn ask(&self) {
        if let Some(ask) = &self.ask
            && !self.shared.at_it.swap(true, Ordering::AcqRel)
            && ask.try_send(()).is_err()
        {
            self.shared.at_it.store(false, Ordering::Release);
        }
    }

    /// How many bytes of the log are copied; `None` while it is at it.
    pub(super) fn copied(&self) -> Option<u64> {
        let is_idle = !self.shared.at_it.load(Ordering::Acquire);
        is_idle.then(|| self.shared.copied.load(Ordering::Relaxed))
    }

    /// The log has begun anew.
    pub(super) fn begun(&self) {
        self.shared.copied.store(0, Ordering::Relaxed);
    }

    /// Whether a sync failed since the last look.
    pub(super) fn failed(&self) -> bool {
        self.shared.sync_failed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
