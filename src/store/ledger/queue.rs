//! What waits to be written: one list under a short lock, which the writer takes whole.
//!
//! New holds are refused once `bound` entries wait. What ends a hold is always taken, since there is at most one such entry for
//! each hold that was admitted: so the list is bounded by `bound` and by the requests in flight, and nobody ever waits for room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::budget::HoldId;
use crate::ledger::{Line, RequestRecord};

use super::columns::HoldRow;
use super::error::Error;

/// Where the answer goes; nobody asks for one after a `Drop`.
pub(super) type Reply = Option<oneshot::Sender<Result<(), Error>>>;
/// Called once what ends a hold is on the disk, and never if it does not come there: then the next start charges the hold.
pub(super) type Then = Option<Box<dyn FnOnce() + Send>>;
/// Tells the caller of `run` how it went.
pub(super) type Told = Box<dyn FnOnce(Option<Error>) + Send>;
/// A caller's closure: whether it went well, and who is to be told once that is on the disk.
pub(super) type Closure = Box<dyn FnOnce(&Connection) -> (Result<(), rusqlite::Error>, Told) + Send>;

/// Something for the writer to do.
pub(super) enum Op {
    Hold(HoldRow, Reply),
    Settle(Box<RequestRecord>, Vec<Line>, Reply, Then),
    Release(HoldId, Reply, Then),
    Run(Closure),
    Sweep(Reply),
    Close(Reply),
}

/// The list.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    woken: Condvar,
    /// Entries that are waiting or being written.
    pending: AtomicUsize,
    bound: usize,
}

#[derive(Default)]
struct Waiting {
    ops: Vec<Op>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bound: usize) -> Self {
        Self { waiting: Mutex::default(), woken: Condvar::new(), pending: AtomicUsize::new(0), bound }
    }

    /// Entries that are waiting or being written.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Adds a hold, unless too much waits.
    pub(super) fn push_hold(&self, hold: HoldRow, reply: Reply) -> Result<(), Error> {
        let pending = self.pending();
        if pending >= self.bound {
            return Err(Error::Busy(pending));
        }
        self.push(Op::Hold(hold, reply))
    }

    /// Adds anything else.
    pub(super) fn push(&self, op: Op) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Closed);
        }
        self.pending.fetch_add(1, Ordering::Relaxed);
        waiting.ops.push(op);
        // The writer looks before it sleeps, so only a list that was empty can have it asleep.
        if waiting.ops.len() == 1 {
            self.woken.notify_one();
        }
        Ok(())
    }

    /// All that waits; nothing if nothing came for so long.
    pub(super) fn take(&self, for_at_most: Duration) -> Vec<Op> {
        let waiting = self.lock();
        let (mut waiting, _) = self
            .woken
            .wait_timeout_while(waiting, for_at_most, |waiting| waiting.ops.is_empty() && !waiting.closed)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiting.ops)
    }

    /// So many are dealt with.
    pub(super) fn done(&self, entries: usize) {
        self.pending.fetch_sub(entries, Ordering::Relaxed);
    }

    /// Nothing more is taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.woken.notify_one();
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.ops.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
