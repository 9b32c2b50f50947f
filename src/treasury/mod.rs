//! Who may spend: a hold before a request's first attempt, and what was charged in its place at the end, exactly once.
//!
//! The bank says whether a request may spend: in this process (`budget::Book`), or with other replicas in a Redis
//! (`store::bank`). The ledger is what is durable: the hold before anything is sent, the record before the answer is over.

mod purse;
mod shown;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::budget::{Book, Budget, Demand, HoldId, Refusal, Standing};
use crate::ledger::{HoldContext, HoldEntry, Line, RequestRecord};
use crate::store::ledger::{self, Ledger};
use crate::telemetry::Metrics;
use crate::units::{Clock, NanoUsd, Now};

pub use purse::{Closing, Purse, Settling};
pub use shown::shown_name;

/// Why a request may not spend. Nothing was taken of anything.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// A budget or a limit does not hold it.
    #[error("refused: {0:?}")]
    Refused(Box<Refusal>),
    /// Its hold could not be written.
    #[error("the ledger: {0}")]
    Ledger(#[from] ledger::Error),
}

/// The bank and the ledger.
pub struct Treasury {
    book: Mutex<Book>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Treasury {
    /// A treasury that goes on from what `ledger` has of the windows that are not over.
    pub async fn open(
        ledger: Ledger,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ledger::Error> {
        let mut book = Book::default();
        for (line, spent) in ledger.balances(clock.now().wall.as_second()).await? {
            book.load(&line.budget, &line.scope, line.window, spent);
        }
        Ok(Self { book: Mutex::new(book), ledger, metrics, clock })
    }

    /// Holds what `demand` asks for, all of it or nothing. The hold is durable once this returns.
    ///
    /// Cancel safety: dropped, nothing is held.
    pub async fn admit(
        self: &Arc<Self>,
        demand: Demand,
        context: HoldContext,
    ) -> Result<(Purse, Standing), Denied> {
        let now = self.clock.now();
        let standing =
            self.book().admit(&demand, now).map_err(|refusal| Denied::Refused(Box::new(refusal)))?;
        let lines: Vec<Line> = demand.budgets.iter().map(|budget| line(budget, now)).collect();
        let entry = HoldEntry { id: demand.id, amount: demand.hold, lines, context };
        let admitting = Admitting { treasury: Some(self), entry: &entry };
        self.ledger.hold(&entry).await?;
        admitting.admitted();
        Ok((Purse::new(Arc::clone(self), entry, demand.tokens), standing))
    }

    /// Records a request that cost nothing, since its answer was kept from one that cost `saved`. Ready once that is durable.
    pub fn record_saved(
        &self,
        id: HoldId,
        context: HoldContext,
        total: Duration,
        saved: NanoUsd,
    ) -> Settling {
        let ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        let closing =
            Closing { ttft_ms: Some(ms), total_ms: ms, status: 200, outcome: "ok", attempts: Vec::new() };
        let record = RequestRecord { saved, ..closing.record(id, context) };
        self.write(record, Vec::new())
    }

    /// Every budget as it stands, for the metrics.
    pub fn tell(&self) {
        let levels = self.book().levels(self.clock.now()).into_iter();
        self.metrics.budget_levels(shown::shown(levels));
    }

    /// The budgets that the configuration states, in place of those that it stated before: they are shown before anything is
    /// spent of them.
    pub fn know(&self, budgets: &[Arc<Budget>]) {
        self.book().know_only(budgets);
    }

    /// Writes all that waits. What is settled later is charged at the next start.
    pub async fn close(&self) {
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the ledger was not closed as it should: the next start charges what is open");
        }
    }

    fn settle(&self, record: RequestRecord, lines: Vec<Line>, tokens: u64) -> Settling {
        let settled = self.book().settle(record.hold, record.amount, tokens, self.clock.now());
        for crossed in settled.crossed {
            tracing::warn!(
                budget = %crossed.budget.id,
                scope = %crossed.budget.scope,
                percent = crossed.percent,
                limit_usd = %crossed.budget.limit,
                "so much of a budget is spent"
            );
        }
        self.write(record, lines)
    }

    fn write(&self, record: RequestRecord, lines: Vec<Line>) -> Settling {
        let (written, metrics) = (self.ledger.settle(record, lines), Arc::clone(&self.metrics));
        Settling::of(async move {
            if let Err(error) = written.await {
                metrics.ledger_error();
                tracing::error!(%error, "a record could not be written when it was due");
            }
        })
    }

    fn give_back(&self, entry: &HoldEntry) {
        self.book().settle(entry.id, NanoUsd::ZERO, 0, self.clock.now());
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic while it was held can have left one request's hold, which is charged for too much rather than too little.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Treasury {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Treasury").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// A hold that is not durable yet.
struct Admitting<'a> {
    treasury: Option<&'a Arc<Treasury>>,
    entry: &'a HoldEntry,
}

impl Admitting<'_> {
    fn admitted(mut self) {
        self.treasury = None;
    }
}

impl Drop for Admitting<'_> {
    fn drop(&mut self) {
        if let Some(treasury) = self.treasury {
            treasury.give_back(self.entry);
        }
    }
}

fn line(budget: &crate::budget::Budget, now: Now) -> Line {
    Line {
        budget: Arc::clone(&budget.id),
        scope: budget.scope.clone(),
        window: budget.calendar.window(now.wall),
    }
}
