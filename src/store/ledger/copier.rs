//! Copies SQLite's log into the file beside the writer, on a connection of its own, so that nobody waits for those syncs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::error::{Error, is_failed_sync};
use super::{Durability, schema};

/// The thread; dropped, it ends what it is at and goes.
pub(super) struct Copier {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    sync_failed: Arc<AtomicBool>,
}

impl Copier {
    pub(super) fn start(path: &Path, durability: Durability) -> Result<Self, Error> {
        let connection = schema::connect(path, durability)?;
        let (ask, asked) = sync_channel::<()>(1);
        let sync_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&sync_failed);
        let work = move || {
            while asked.recv().is_ok() {
                // What the writer adds meanwhile, or someone still reads, is for the next time.
                let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                if copied.is_err_and(|error| is_failed_sync(&error)) {
                    failed.store(true, Ordering::Release);
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledger-log".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::io(path, &error))?;
        Ok(Self { ask: Some(ask), thread: Some(thread), sync_failed })
    }

    /// Asks for a copy, unless one is asked for already.
    pub(super) fn ask(&self) {
        if let Some(ask) = &self.ask {
            let _ = ask.try_send(());
        }
    }

    /// Whether a sync failed since the last look.
    pub(super) fn failed(&self) -> bool {
        self.sync_failed.swap(false, Ordering::AcqRel)
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
