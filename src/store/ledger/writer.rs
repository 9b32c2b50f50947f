//! The one thread that writes: takes all that waits, makes one transaction of it, and answers once that is on the disk.
//!
//! When a transaction fails nothing of it is in the file. Its holds are refused, and so is every further one until a write
//! succeeds; its records are kept in memory, one at most for each hold that stands in the file, and written first when there
//! is room again. A failed fsync is never followed by another try: what it was for may be lost, and a second fsync would not
//! say so. Then all is refused until a restart reads the file anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::units::{Clock, Mono};

use super::books::{Books, Statements};
use super::copier::Copier;
use super::error::{Error, is_failed_sync};
use super::log::{Log, Step};
use super::queue::{Op, Queue, Reply, Then};
use super::witness::Witness;
use super::{Durability, Figures, retention, schema};

/// Entries in one transaction at most: what one more adds to everybody's wait is little, and memory stays small.
const BATCH_MAX: usize = 4096;
/// How often a ledger that could not be written is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Idle for so long, the log is copied into the file, so that little is left to lose or to read at the next start.
const IDLE: Duration = Duration::from_secs(1);
/// How often old records are looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What the thread and the handles share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) path: PathBuf,
    /// Why nothing can be written; `None` while all is well.
    pub(super) trouble: arc_swap::ArcSwapOption<Error>,
    pub(super) written: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) live: AtomicU64,
    pub(super) kept_back: AtomicU64,
    pub(super) unwritten: AtomicU64,
}

impl Shared {
    pub(super) fn figures(&self) -> Figures {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Figures {
            waiting: self.queue.pending() as u64,
            held: of(&self.live),
            settled: of(&self.written),
            commits: of(&self.commits),
            kept_back: of(&self.kept_back),
            unwritten: of(&self.unwritten),
        }
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) books: Books,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retention: Option<Duration>,
    /// Records and releases of a transaction that failed.
    pub(super) backlog: Vec<Op>,
    /// Whether no more is tried.
    pub(super) gave_up: bool,
    pub(super) swept: Option<Mono>,
    pub(super) copier: Copier,
    pub(super) log: Log,
    pub(super) witness: Witness,
    pub(super) durability: Durability,
}

impl Writer {
    /// Works until the ledger is closed and all is written.
    pub(super) fn run(mut self) {
        while !self.shared.queue.is_over() {
            let troubled = self.trouble().is_some();
            if troubled {
                // What comes meanwhile is answered with the next try: at most so late.
                std::thread::sleep(AGAIN);
            }
            let ops = self.shared.queue.take(if troubled { Duration::ZERO } else { IDLE });
            let count = ops.len();
            if troubled {
                self.try_again();
            }
            if count == 0 {
                self.idle();
            }
            self.work(ops);
            self.shared.queue.done(count);
            self.shared.live.store(self.books.live() as u64, Ordering::Relaxed);
            self.shared.kept_back.store(self.backlog.len() as u64, Ordering::Relaxed);
        }
        self.try_again();
        self.shared.unwritten.fetch_add(self.backlog.len() as u64, Ordering::Relaxed);
        self.checkpoint("TRUNCATE");
    }

    fn trouble(&self) -> Option<Arc<Error>> {
        self.shared.trouble.load_full()
    }

    fn work(&mut self, ops: Vec<Op>) {
        let mut group = Vec::new();
        for op in ops {
            match op {
                Op::Hold(..) | Op::Settle(..) | Op::Release(..) => {
                    group.push(op);
                    if group.len() >= BATCH_MAX {
                        self.write(std::mem::take(&mut group));
                    }
                }
                other => {
                    self.write(std::mem::take(&mut group));
                    self.alone(other);
                }
            }
        }
        self.write(group);
        self.sweep_if_due();
        match self.copier.copied().map_or(Step::Nothing, |copied| self.log.step(copied)) {
            Step::Nothing => {}
            Step::Copy => self.copier.ask(),
            Step::BeginAnew => self.checkpoint("RESTART"),
        }
        if self.copier.failed() {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
            self.failed(&rusqlite::Error::SqliteFailure(code, None));
        }
    }

    /// One transaction, and its answers.
    fn write(&mut self, group: Vec<Op>) {
        if group.is_empty() {
            return;
        }
        if let Some(trouble) = self.trouble() {
            self.keep(group, &trouble);
            return;
        }
        match self.transaction(&group) {
            Ok(written) => {
                self.shared.written.fetch_add(written, Ordering::Relaxed);
                for op in group {
                    let (reply, then) = waiting_for(op);
                    go_on(then);
                    answer(reply, Ok(()));
                }
            }
            Err(error) => {
                let error = self.failed(&error);
                self.keep(group, &error);
            }
        }
    }

    /// Everything in it or nothing. How many records were new.
    fn transaction(&mut self, group: &[Op]) -> rusqlite::Result<u64> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut statements = Statements::new(&self.connection);
        let mut written = 0;
        for op in group {
            match op {
                Op::Hold(hold, _) => self.books.hold(&mut statements, hold)?,
                Op::Settle(record, lines, ..) => {
                    written += u64::from(self.books.settle(&mut statements, record, lines)?);
                }
                Op::Release(hold, ..) => self.books.release(&mut statements, *hold)?,
                Op::Run(_) | Op::Sweep(_) | Op::Close(_) => {}
            }
        }
        self.books.finish(&mut statements, &self.connection)?;
        drop(statements);
        self.commit()?;
        Ok(written)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        #[cfg(test)]
        super::tests::fault(&self.shared.path)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.witness.note(self.books.totals.commits, self.durability);
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// After a failed transaction: back to what is in the file.
    fn failed(&mut self, error: &rusqlite::Error) -> Arc<Error> {
        let path = &self.shared.path;
        let cause = Error::of(error, path);
        let mut give_up = is_failed_sync(error) || matches!(cause, Error::Damaged { .. });
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            give_up = true;
        }
        match Books::load(&self.connection, path, |_| ()) {
            Ok(books) => self.books = books,
            Err(_) => give_up = true,
        }
        if give_up && !std::mem::replace(&mut self.gave_up, true) {
            tracing::error!(%cause, "the ledger cannot be trusted any more: nothing is admitted until a restart");
        } else if self.trouble().is_none() {
            tracing::error!(%cause, "the ledger cannot be written: no request that costs money is admitted until it can be");
        }
        let cause = Arc::new(cause);
        self.shared.trouble.store(Some(Arc::clone(&cause)));
        cause
    }

    /// Refuses holds, and keeps what ends holds that are in the file.
    fn keep(&mut self, group: Vec<Op>, trouble: &Error) {
        for op in group {
            match op {
                Op::Settle(record, lines, reply, then)
                    if !self.gave_up && self.books.is_live(record.hold) =>
                {
                    answer(reply, Err(Error::NotYet(trouble.to_string().into())));
                    let is_there = |op: &Op| matches!(op, Op::Settle(there, ..) if there.hold == record.hold);
                    if !self.backlog.iter().any(is_there) {
                        self.backlog.push(Op::Settle(record, lines, None, then));
                    }
                }
                Op::Release(hold, reply, then) if !self.gave_up && self.books.is_live(hold) => {
                    answer(reply, Err(Error::NotYet(trouble.to_string().into())));
                    self.backlog.push(Op::Release(hold, None, then));
                }
                // It never came there, and so nothing stands in the way.
                Op::Release(_, reply, then) if !self.gave_up => {
                    go_on(then);
                    answer(reply, Err(trouble.clone()));
                }
                Op::Settle(record, _, reply, _) => {
                    tracing::error!(request = %record.id, amount = %record.amount, "a record was not written");
                    self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
                    answer(reply, Err(trouble.clone()));
                }
                other => answer(waiting_for(other).0, Err(trouble.clone())),
            }
        }
    }

    /// Whether it can be written again: what was kept back first, in a transaction that needs room.
    fn try_again(&mut self) {
        if self.gave_up || self.trouble().is_none() {
            return;
        }
        let backlog = std::mem::take(&mut self.backlog);
        let tried = self.probe().and_then(|()| self.transaction(&backlog));
        match tried {
            Ok(written) => {
                self.shared.written.fetch_add(written, Ordering::Relaxed);
                self.shared.trouble.store(None);
                tracing::info!(
                    records = backlog.len(),
                    "the ledger can be written again, and what was kept back is"
                );
                for op in backlog {
                    go_on(waiting_for(op).1);
                }
            }
            Err(error) => {
                self.failed(&error);
                self.backlog = backlog;
            }
        }
    }

    /// Asks for some room and gives it back, so that a file which merely had a gap does not count as one with room.
    fn probe(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "BEGIN IMMEDIATE; DELETE FROM probe; INSERT INTO probe VALUES (zeroblob(65536)); COMMIT; DELETE FROM probe;",
        )
    }

    /// What has a transaction of its own.
    fn alone(&mut self, op: Op) {
        match op {
            // Whoever waits for it is told that the ledger is closed.
            Op::Run(_) if self.gave_up => {}
            Op::Run(closure) => {
                let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
                let (ran, told) = closure(&self.connection);
                let done = begun.and(ran).map_err(|error| (error, false)).and_then(|()| {
                    let mut statements = Statements::new(&self.connection);
                    self.books.finish(&mut statements, &self.connection).map_err(|error| (error, true))?;
                    drop(statements);
                    self.commit().map_err(|error| (error, true))
                });
                told(done.err().map(|(error, ours)| {
                    if ours {
                        return (*self.failed(&error)).clone();
                    }
                    let _ = self.connection.execute_batch("ROLLBACK");
                    Error::of(&error, &self.shared.path)
                }));
            }
            Op::Sweep(reply) => {
                let swept = self.sweep();
                answer(reply, swept);
            }
            Op::Close(reply) => {
                self.try_again();
                self.checkpoint("TRUNCATE");
                self.shared.queue.close();
                let left = self.backlog.len();
                let why = format!("{left} records could not be written; their holds are charged in full");
                answer(reply, if left == 0 { Ok(()) } else { Err(Error::NotYet(why.into())) });
            }
            Op::Hold(..) | Op::Settle(..) | Op::Release(..) => {}
        }
    }

    fn sweep_if_due(&mut self) {
        let now = self.clock.now().mono;
        if self.retention.is_some() && self.swept.is_none_or(|last| now.since(last) >= SWEEP_EVERY) {
            match self.sweep() {
                // A small batch at a time; the next comes with the next wake.
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "old records were not deleted"),
            }
        }
    }

    /// Deletes one small batch of what is too old. Notes the time once nothing more is.
    fn sweep(&mut self) -> Result<(), Error> {
        let (Some(retention), None) = (self.retention, self.trouble()) else { return Ok(()) };
        let now = self.clock.now();
        match retention::sweep(&self.connection, &mut self.books, now.wall, retention) {
            Ok(deleted) => {
                self.witness.note(self.books.totals.commits, self.durability);
                if deleted == 0 {
                    self.swept = Some(now.mono);
                }
                Ok(())
            }
            Err(error) => Err((*self.failed(&error)).clone()),
        }
    }

    fn idle(&mut self) {
        self.sweep_if_due();
        let log = std::fs::metadata(schema::beside(&self.shared.path, "-wal"));
        if log.is_ok_and(|log| log.len() > 0) {
            self.checkpoint("TRUNCATE");
        }
    }

    /// Copies the rest of the log into the file and begins it anew, as far as nobody is reading there; `TRUNCATE` empties its
    /// file, too.
    fn checkpoint(&mut self, how: &str) {
        if self.gave_up {
            return;
        }
        // Who reads is not waited for: what cannot be copied now can be later.
        let _ = self.connection.busy_timeout(Duration::ZERO);
        let checkpoint = self
            .connection
            .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| row.get::<_, i64>(0));
        let _ = self.connection.busy_timeout(schema::BUSY);
        match checkpoint {
            Ok(0) => {
                self.log.begun();
                self.copier.begun();
            }
            // Someone reads what it has.
            Ok(_) => {}
            Err(error) if is_failed_sync(&error) => {
                self.failed(&error);
            }
            // The copier is at it.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            Err(error) => tracing::warn!(%error, "the ledger's log was not copied into its file"),
        }
    }
}

/// Who waits for it, and what is to be done then.
fn waiting_for(op: Op) -> (Reply, Then) {
    match op {
        Op::Settle(_, _, reply, then) | Op::Release(_, reply, then) => (reply, then),
        Op::Hold(_, reply) | Op::Sweep(reply) | Op::Close(reply) => (reply, None),
        Op::Run(_) => (None, None),
    }
}

fn go_on(then: Then) {
    if let Some(then) = then {
        then();
    }
}

/// Nobody may be waiting any more.
fn answer(reply: Reply, with: Result<(), Error>) {
    if let Some(reply) = reply {
        let _ = reply.send(with);
    }
}
