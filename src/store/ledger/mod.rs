//! The ledger on one machine: an SQLite file with one writer. Holds are on the disk before anything is sent, records before
//! an answer is over, and each record with the sums of the budgets it counts in.
//!
//! `queue` is what waits, `writer` the thread that writes it, `books` one transaction, `log` and `copier` look after SQLite's log. `row` has the checksums, `verify` looks
//! whether all still bear theirs, `wal` does so for SQLite's log, `repair` goes on without what does not. `read` is for those
//! who only look, while a gateway writes.
//!
//! Why SQLite: an embedded ledger must live through every crash at every moment, and SQLite's handling of that is the best
//! tested there is; the file can be read with tools that everybody has.

mod books;
mod columns;
mod copier;
mod error;
mod log;
pub mod outbox;
mod queue;
pub mod read;
pub mod repair;
mod retention;
mod row;
mod schema;
#[cfg(test)]
mod tests;
mod totals;
pub mod verify;
mod wal;
mod witness;
mod writer;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::budget::HoldId;
use crate::ledger::{HoldEntry, Line, RequestRecord};
use crate::units::{Clock, NanoUsd, SystemClock};

pub use error::Error;
pub use read::Reader;
pub use verify::Verified;

pub(super) use columns::{count, moment, nanos, request_id, whole, word};

use books::{Books, Statements};
use columns::HoldRow;
use copier::Copier;
use queue::{Op, Queue};
use witness::Witness;
use writer::{Shared, Writer};

/// What a resolved write has lived through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives the death of the process (kill -9, a panic). A power cut can cost the last seconds.
    #[default]
    Process,
    /// Survives a power cut: each transaction is synced to the disk.
    Power,
}

/// How a ledger is kept.
#[derive(Clone)]
pub struct LedgerOptions {
    /// What a resolved write has lived through.
    pub durability: Durability,
    /// Entries that may wait to be written; with more, holds are refused.
    pub queue_max: usize,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// Whether holds of a process that died are charged in full at the opening. Otherwise they come back in
    /// `Recovered::unsettled`, still held, and each must be settled or released.
    pub charge_lost: bool,
    /// With so many more bytes in SQLite's log it is copied into the file, beside the writer; at four times as many it begins
    /// anew, for which the writer stops a moment.
    pub log_bytes: u64,
    /// Whether records are sent elsewhere: then none is deleted that was not.
    pub sent_elsewhere: bool,
    /// For retention alone.
    pub clock: Arc<dyn Clock>,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            queue_max: 16_384,
            retention: None,
            charge_lost: true,
            log_bytes: 16 << 20,
            sent_elsewhere: false,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// What was found at the opening.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Requests of a process that died: now records with the outcome `lost`, charged their full hold.
    pub lost: Vec<(RequestRecord, Vec<Line>)>,
    /// The same where they are not to be charged yet (`LedgerOptions::charge_lost`).
    pub unsettled: Vec<HoldEntry>,
}

/// How the writer is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Entries that wait to be written.
    pub waiting: u64,
    /// Requests that are held in the file.
    pub held: u64,
    /// Requests settled since the opening.
    pub settled: u64,
    /// Transactions since the opening.
    pub commits: u64,
    /// Records in memory for want of room on the disk; each has its hold in the file.
    pub kept_back: u64,
    /// Records that were not written at all: without a hold while nothing could be written.
    pub unwritten: u64,
}

/// A handle on the ledger; clones are of the same one.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Handle>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path()).field("figures", &self.figures()).finish()
    }
}

/// The last one to go lets the writer end once all is written.
struct Handle {
    shared: Arc<Shared>,
    replica: Box<str>,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it; settles what a dead process left; starts the writer's thread. Blocks while it
    /// reads: a moment, for a file of any size.
    pub fn open(path: &Path, options: LedgerOptions) -> Result<(Self, Recovered), Error> {
        let LedgerOptions { durability, queue_max, retention, charge_lost, log_bytes, sent_elsewhere, clock } =
            options;
        let witness = Witness::take(path)?;
        let mut connection = schema::writing(path, durability, witness.knows_of_one())?;
        let log = log::Log::follow(&mut connection, log_bytes).map_err(|error| Error::of(&error, path))?;
        verify::at_start(&connection, path)?;
        outbox::prepare(&connection, sent_elsewhere).map_err(|error| Error::of(&error, path))?;
        let mut found = Vec::new();
        let mut books = Books::load(&connection, path, |hold| found.push(hold))?;
        witness.compare(path, books.totals.commits)?;
        let recovered = if charge_lost {
            let lost: Vec<_> = found.into_iter().map(HoldEntry::lost).collect();
            charge(&connection, &mut books, &lost).map_err(|error| Error::of(&error, path))?;
            Recovered { lost, ..Recovered::default() }
        } else {
            Recovered { unsettled: found, ..Recovered::default() }
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(queue_max),
            path: path.to_owned(),
            trouble: arc_swap::ArcSwapOption::empty(),
            written: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            live: AtomicU64::new(books.live() as u64),
            kept_back: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
        });
        let replica = books.totals.replica.as_str().into();
        let writer = Writer {
            shared: Arc::clone(&shared),
            connection,
            books,
            clock,
            retention,
            backlog: Vec::new(),
            gave_up: false,
            swept: None,
            copier: Copier::start(path, durability)?,
            log,
            witness,
            durability,
        };
        writer.witness.note(writer.books.totals.commits, durability);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let closing = Closing(Arc::clone(&writer.shared));
                writer.run();
                drop(closing);
            })
            .map_err(|error| Error::io(path, &error))?;
        let thread = std::sync::Mutex::new(Some(thread));
        Ok((Self { shared: Arc::new(Handle { shared, replica, thread }) }, recovered))
    }

    /// This replica's name: 16 hexadecimal digits, made with the file and kept in it.
    pub fn replica(&self) -> &str {
        &self.shared.replica
    }

    /// Makes a hold durable: once this resolves, the request is charged whatever happens, at the full hold if need be. Under
    /// an id that is held already, amount and lines are replaced (a stream that needs more, or gives back).
    ///
    /// Refused at once while the disk is full or failing (`Full`, `Io`) and while too much waits (`Busy`).
    ///
    /// Cancel safety: dropped before it resolves, the hold is released again.
    pub fn hold(&self, entry: &HoldEntry) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (reply, told) = oneshot::channel();
        let pushed = match self.shared.shared.trouble.load_full() {
            Some(trouble) => Err((*trouble).clone()),
            None => self.shared.shared.queue.push_hold(HoldRow::of(entry), Some(reply)),
        };
        Holding { told: pushed.map(|()| told), release: Some((entry.id, self.clone())) }
    }

    /// Writes a record, adds its amount to the balances of `lines`, and ends its hold, in one transaction. Settling the same
    /// hold again changes nothing. It may be settled without a hold in this file (another replica's, or one of nothing).
    ///
    /// `NotYet`: the disk is full or failing; the record is in memory and will be written, its hold is in the file.
    ///
    /// Cancel safety: the record is written all the same.
    pub fn settle(
        &self,
        record: RequestRecord,
        lines: Vec<Line>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (reply, told) = oneshot::channel();
        self.ask(Op::Settle(Box::new(record), lines, Some(reply), None), told)
    }

    /// The same, and `then` is called by the writer as soon as the record is in the file, before anybody hears of it: also where
    /// that took several tries, and never if it does not come there. `then` must not block.
    pub fn settle_then(
        &self,
        record: RequestRecord,
        lines: Vec<Line>,
        then: Box<dyn FnOnce() + Send>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (reply, told) = oneshot::channel();
        self.ask(Op::Settle(Box::new(record), lines, Some(reply), Some(then)), told)
    }

    /// The same for a `Drop`, where nobody can wait. Never blocks and loses nothing: it is one more entry in the writer's list,
    /// which takes one for each hold beyond its bound.
    pub fn settle_detached(&self, record: RequestRecord, lines: Vec<Line>) {
        let request = record.id.clone();
        if self.shared.shared.queue.push(Op::Settle(Box::new(record), lines, None, None)).is_err() {
            tracing::error!(%request, "settled after the ledger was closed: the next start charges its hold");
        }
    }

    /// Ends a hold of which nothing was used, without a record.
    pub fn release(&self, hold: HoldId) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (reply, told) = oneshot::channel();
        self.ask(Op::Release(hold, Some(reply), None), told)
    }

    /// The same for a `Drop`: `then` is called by the writer once no such hold stands in the file. It must not block.
    pub fn release_then(&self, hold: HoldId, then: impl FnOnce() + Send + 'static) {
        // Closed, the next start finds the hold and charges it.
        let _ = self.shared.shared.queue.push(Op::Release(hold, None, Some(Box::new(then))));
    }

    /// What was spent on each line so far; zero for one that is not known.
    pub async fn spent(&self, lines: Vec<Line>) -> Result<Vec<NanoUsd>, Error> {
        let path = self.shared.shared.path.clone();
        self.run(move |connection| Ok(read_spent(connection, &path, &lines))).await?
    }

    /// Every balance whose window ends after `since` (seconds since 1970), for the start.
    pub async fn balances(&self, since: i64) -> Result<Vec<(Line, NanoUsd)>, Error> {
        let path = self.shared.shared.path.clone();
        self.run(move |connection| Ok(verify::balances_since(connection, &path, since))).await?
    }

    /// Whether a request that came after `since` (seconds since 1970) has a record under this hold.
    pub async fn has_record(&self, hold: HoldId, since: i64) -> Result<bool, Error> {
        let from = since.saturating_mul(1_000_000_000);
        self.run(move |connection| {
            connection
                .prepare_cached("SELECT 1 FROM requests WHERE began_ns >= ? AND hold = ? LIMIT 1")?
                .exists((from, &hold.0.to_be_bytes()[..]))
        })
        .await
    }

    /// Whether the record of this hold, of a request that came at `began`, is there, and the balances that it counts in.
    pub async fn lines_of(&self, hold: HoldId, began: jiff::Timestamp) -> Result<Option<Vec<Line>>, Error> {
        let began = nanos(began);
        self.run(move |connection| verify::lines_of(connection, hold, began)).await
    }

    /// Runs `work` on the writer's connection, in a transaction of its own: committed if it returns `Ok`. For small tables of
    /// other modules' own (`keys`); the ledger's tables are not to be written so. Blocks the writer while it runs.
    ///
    /// Cancel safety: once called it runs all the same.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, told) = oneshot::channel();
        let closure: queue::Closure = Box::new(move |connection| {
            let (done, result) = match work(connection) {
                Ok(value) => (Ok(()), Some(value)),
                Err(error) => (Err(error), None),
            };
            let tell: queue::Told = Box::new(move |error| {
                let answer = match (error, result) {
                    (None, Some(value)) => Ok(value),
                    (error, _) => Err(error.unwrap_or(Error::Closed)),
                };
                let _ = reply.send(answer);
            });
            (done, tell)
        });
        let pushed = self.shared.shared.queue.push(Op::Run(closure));
        async move {
            pushed?;
            told.await.unwrap_or(Err(Error::Closed))
        }
    }

    /// Deletes a batch of records that are older than the retention, now. The writer does so by itself about once a minute.
    pub fn sweep(&self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (reply, told) = oneshot::channel();
        self.ask(Op::Sweep(Some(reply)), told)
    }

    /// Why nothing can be written at present; `None`: all is well.
    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.shared.shared.trouble.load_full()
    }

    /// How the writer is getting on.
    pub fn figures(&self) -> Figures {
        self.shared.shared.figures()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.shared.shared.path
    }

    /// Writes all that waits, closes the file and gives up the right to write it. What comes later is refused.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, told) = oneshot::channel();
        let closed = self.ask(Op::Close(Some(reply)), told).await;
        let thread = self.shared.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It is about to end.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        closed
    }

    fn ask(
        &self,
        op: Op,
        told: oneshot::Receiver<Result<(), Error>>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let pushed = self.shared.shared.queue.push(op);
        async move {
            pushed?;
            told.await.unwrap_or(Err(Error::Closed))
        }
    }
}

/// A hold on its way to the disk. Dropped before it is known to be there, it is taken back.
struct Holding {
    told: Result<oneshot::Receiver<Result<(), Error>>, Error>,
    release: Option<(HoldId, Ledger)>,
}

impl Future for Holding {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.told {
            Ok(told) => match Pin::new(told).poll(context) {
                Poll::Ready(answer) => answer.unwrap_or(Err(Error::Closed)),
                Poll::Pending => return Poll::Pending,
            },
            Err(error) => Err(error.clone()),
        };
        self.release = None;
        Poll::Ready(answer)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let (Ok(_), Some((hold, ledger))) = (&self.told, self.release.take()) {
            // The list keeps the order: whatever becomes of the hold, this comes after it.
            let _ = ledger.shared.shared.queue.push(Op::Release(hold, None, None));
        }
    }
}

/// Whatever ends the writer, nobody waits for it any more.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.close();
        drop(self.0.queue.take(Duration::ZERO));
    }
}

/// Charges what a dead process left.
fn charge(
    connection: &Connection,
    books: &mut Books,
    lost: &[(RequestRecord, Vec<Line>)],
) -> rusqlite::Result<()> {
    for batch in lost.chunks(4096) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut statements = Statements::new(connection);
        for (record, lines) in batch {
            books.settle(&mut statements, record, lines)?;
        }
        books.finish(&mut statements, connection)?;
        drop(statements);
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}

fn read_spent(connection: &Connection, path: &Path, lines: &[Line]) -> Result<Vec<NanoUsd>, Error> {
    lines.iter().map(|line| verify::spent(connection, path, line)).collect()
}
