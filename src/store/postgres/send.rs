//! Sends this replica's records, in the order in which they were written, in batches: at least once, and there once.
//!
//! Two marks say how far it has come. PostgreSQL's is written in the same transaction as the rows, so that it is never wrong; the
//! one in the ledger says which records need not be kept for it any more. Sending goes on from the lower one: a database that was
//! restored from an old copy, or put in another's place, gets what it lacks as far as the ledger still has it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use crate::store::ledger::outbox::Sent;
use crate::store::ledger::{self, Ledger};
use crate::units::Clock;

use super::rows::{Row, WRITE};
use super::{Address, Error, Link, schema};

/// Requests in one statement: a few hundred kilobytes.
const BATCH: u32 = 500;
/// Longest wait for a batch to be written.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often new records are looked for.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// After a failure it is tried again so late at first, twice as late each time, and no later than that.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// What is left when the gateway stops is sent in so long, or at the next start.
const LAST_MAX: Duration = Duration::from_secs(3);

/// How sending is getting on. Read while the task runs.
#[derive(Debug, Default)]
pub struct Progress {
    newest: AtomicI64,
    place: AtomicI64,
    connected: AtomicBool,
    failures: Mutex<Failures>,
}

/// What went wrong so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures {
    /// How often, by the word for it.
    pub counts: Vec<(&'static str, u64)>,
    /// When last, in seconds since 1970; 0: never.
    pub last: i64,
}

impl Progress {
    /// Records that are written here and not known to be there.
    pub fn behind(&self) -> u64 {
        let behind = self.newest.load(Ordering::Relaxed).saturating_sub(self.place.load(Ordering::Relaxed));
        u64::try_from(behind).unwrap_or(0)
    }

    /// Whether the database was last heard to work.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// What went wrong so far.
    pub fn failures(&self) -> Failures {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, word: &'static str, at: i64) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.last = at;
        match failures.counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => failures.counts.push((word, 1)),
        }
    }
}

/// Sends the records of one ledger.
pub struct Sender {
    ledger: Ledger,
    address: Address,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    /// Taken by whoever reads, who cannot be waited for in a task of the runtime's.
    reader: Option<ledger::Reader>,
    draw: RandomState,
}

impl Sender {
    /// Nothing is dialled yet.
    pub fn new(ledger: Ledger, address: Address, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, address, clock, progress: Arc::default(), reader: None, draw: RandomState::new() }
    }

    /// How it is getting on.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

/// Sends until `stop`, and then what is left, for a short while.
pub async fn run(mut sender: Sender, stop: CancellationToken) {
    let mut tries = 0_u32;
    loop {
        let Some(ended) = stop.run_until_cancelled(sender.connected(&mut tries)).await else { break };
        let Err(error) = ended else { continue };
        sender.progress.connected.store(false, Ordering::Relaxed);
        sender.progress.failed(error.word(), sender.clock.now().wall.as_second());
        if tries == 0 {
            tracing::warn!(%error, behind = sender.progress.behind(), "records are not sent to PostgreSQL; they wait in the ledger");
        }
        if let Err(error) = sender.look().await {
            tracing::debug!(%error, "the ledger cannot say how many records wait");
        }
        let wait = sender.wait(tries);
        tries = tries.saturating_add(1);
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    let last = Box::pin(async { sender.rest().await });
    match tokio::time::timeout(LAST_MAX, last).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::info!(%error, behind = sender.progress.behind(), "records are left to be sent at the next start");
        }
        Err(_) => {
            tracing::info!(
                behind = sender.progress.behind(),
                "records are left to be sent at the next start"
            );
        }
    }
}

impl Sender {
    /// One connection's life. Never ends well.
    async fn connected(&mut self, tries: &mut u32) -> Result<(), Error> {
        let (mut link, mut sent) = self.open().await?;
        loop {
            let more = self.send_one(&mut link, &mut sent).await?;
            // Only now: a database that lets us in and takes nothing is not tried twice a second for ever.
            if std::mem::take(tries) > 0 {
                tracing::info!(behind = self.progress.behind(), "PostgreSQL takes records again");
            }
            self.progress.connected.store(true, Ordering::Relaxed);
            if !more {
                tokio::time::sleep(LOOKS_EVERY).await;
                // So that a connection that went away is noticed before anybody needs it.
                link.driven(ANSWER_MAX, async |client| Ok(client.check_connection().await?)).await?;
            }
        }
    }

    /// All that is there now, over a connection of its own.
    async fn rest(&mut self) -> Result<(), Error> {
        self.look().await?;
        if self.progress.behind() == 0 {
            return Ok(());
        }
        let (mut link, mut sent) = self.open().await?;
        while self.send_one(&mut link, &mut sent).await? {}
        Ok(())
    }

    /// A connection, with the tables there, and the mark from which it goes on.
    async fn open(&mut self) -> Result<(Link, Sent), Error> {
        let here = self.ledger.sent().await?;
        self.progress.place.store(here.place, Ordering::Relaxed);
        let mut link = Link::open(&self.address).await?;
        let replica = self.ledger.replica();
        let (target, there) = link
            .driven(ANSWER_MAX, async |client| {
                let target = schema::prepare(client).await?;
                Ok((target, schema::place(client, replica).await?))
            })
            .await?;
        let place = if here.target == target { here.place.min(there) } else { 0 };
        if here.target == target && there < here.place {
            tracing::warn!(
                from = place,
                to = here.place,
                "PostgreSQL has lost records: they are sent again, as far as they are kept"
            );
        }
        self.progress.place.store(place, Ordering::Relaxed);
        self.look().await?;
        Ok((link, Sent { target, place }))
    }

    /// Sends one batch. Whether there was any.
    async fn send_one(&mut self, link: &mut Link, sent: &mut Sent) -> Result<bool, Error> {
        let place = sent.place;
        let (records, newest) =
            self.read(move |reader| Ok((reader.written_after(place, BATCH)?, reader.newest()?))).await?;
        self.progress.newest.store(newest, Ordering::Relaxed);
        let Some((last, _)) = records.last() else { return Ok(false) };
        let place = *last;
        let rows: Vec<Row> = records.iter().map(|(seq, record)| Row::of(*seq, record)).collect();
        let batch = serde_json::to_string(&rows).map_err(|error| Error::Odd(error.to_string()))?;
        drop((records, rows));
        let replica = self.ledger.replica();
        link.driven(ANSWER_MAX, async |client| write(client, replica, &batch, place).await).await?;
        sent.place = place;
        self.progress.place.store(place, Ordering::Relaxed);
        self.ledger.note_sent(sent.clone()).await?;
        Ok(true)
    }

    /// How many records there are by now.
    async fn look(&mut self) -> Result<(), Error> {
        let newest = self.read(ledger::Reader::newest).await?;
        self.progress.newest.store(newest, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the ledger, away from the runtime's threads.
    async fn read<T: Send + 'static>(
        &mut self,
        what: impl FnOnce(&ledger::Reader) -> Result<T, ledger::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.ledger.reader()?,
        };
        let reading = tokio::task::spawn_blocking(move || (what(&reader), reader));
        let (found, reader) = reading.await.map_err(|error| Error::Odd(error.to_string()))?;
        self.reader = Some(reader);
        Ok(found?)
    }

    /// Between half and the whole of a time that doubles, so that replicas do not come back all at once.
    fn wait(&self, tries: u32) -> Duration {
        let whole = AGAIN.saturating_mul(1 << tries.min(16)).min(AGAIN_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "sixteen bits")]
        let share = u32::from(self.draw.hash_one((tries, self.clock.now().mono.0)) as u16);
        whole / 2 + whole / 2 * share / u32::from(u16::MAX)
    }
}

async fn write(client: &Client, replica: &str, batch: &str, place: i64) -> Result<(), Error> {
    let of: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&replica, Type::TEXT), (&batch, Type::TEXT), (&place, Type::INT8)];
    client.execute_typed(WRITE, &of).await?;
    Ok(())
}
