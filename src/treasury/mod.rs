//! Who may spend: a hold before a request's first attempt, and what was charged in its place at the end, exactly once.
//!
//! The bank says whether a request may spend: in this process (`budget::Book`), or with other replicas in a Redis
//! (`store::bank`). The ledger is what is durable: the hold before anything is sent, the record before the answer is over.

mod adjust;
mod fleet;
mod purse;
mod shown;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::budget::{Book, Budget, Demand, HoldId, Level, Refusal, Scope, Settled, Standing};
use crate::ledger::{HoldContext, HoldEntry, Line, RequestRecord};
use crate::store::bank;
use crate::store::ledger::{self, Ledger};
use crate::store::postgres::Progress;
use crate::telemetry::Metrics;
use crate::units::{Clock, NanoUsd, Now};

pub use crate::ledger::Closing;
pub use fleet::Heirs;
pub use purse::{Purse, Settling};
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
    bank: Bank,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// What the configuration names.
    stated: Mutex<HashSet<(Arc<str>, Scope)>>,
    /// How sending records elsewhere is getting on, where they are sent.
    sending: OnceLock<Arc<Progress>>,
}

/// Who says yes or no.
enum Bank {
    /// This process alone.
    Own(Mutex<Book>),
    /// With others.
    Shared(Arc<bank::Bank>),
}

impl Treasury {
    /// A treasury of this process alone, which goes on from what `ledger` has of the windows that are not over.
    pub async fn alone(
        ledger: Ledger,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ledger::Error> {
        let mut book = Book::default();
        for (line, spent) in ledger.balances(since(&*clock)).await? {
            book.load(&line.budget, &line.scope, line.window, spent);
        }
        Ok(Self::new(Bank::Own(Mutex::new(book)), ledger, metrics, clock))
    }

    fn new(bank: Bank, ledger: Ledger, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { bank, ledger, metrics, clock, stated: Mutex::default(), sending: OnceLock::new() }
    }

    /// Records are sent elsewhere as well, and `progress` says how that is getting on.
    pub fn sends(&self, progress: Arc<Progress>) {
        let _ = self.sending.set(progress);
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
        let admitted = match &self.bank {
            // Who counts for nothing need not ask anybody.
            _ if demand.counts_for_nothing() => Ok(Standing::default()),
            Bank::Own(book) => locked(book).admit(&demand, now),
            Bank::Shared(bank) => bank.admit(&demand, now).await,
        };
        let standing = admitted.map_err(|refusal| Denied::Refused(Box::new(refusal)))?;
        let admitting = Admitting { treasury: Some(self), hold: demand.id };
        let lines = match &self.bank {
            Bank::Own(_) => demand.budgets.iter().map(|budget| line(budget, now)).collect(),
            Bank::Shared(bank) => bank.lines(demand.id),
        };
        let entry = HoldEntry { id: demand.id, amount: demand.hold, lines, context };
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

    /// The budgets that the configuration states, in place of those that it stated before: they are shown before anything is
    /// spent of them.
    pub fn know(&self, budgets: &[Arc<Budget>]) {
        let now = self.clock.now();
        match &self.bank {
            Bank::Own(book) => locked(book).know_only(budgets),
            Bank::Shared(bank) => bank.know_only(budgets, now),
        }
        let stated = budgets.iter().map(|budget| (Arc::clone(&budget.id), budget.scope.clone())).collect();
        *self.stated.lock().unwrap_or_else(PoisonError::into_inner) = stated;
    }

    /// Every budget as it stands.
    pub fn levels(&self) -> Vec<Level> {
        let now = self.clock.now();
        match &self.bank {
            Bank::Own(book) => locked(book).levels(now),
            Bank::Shared(bank) => bank.levels(now),
        }
    }

    /// Sets the metrics of budgets and of the ledger to what is so now.
    pub fn tell(&self) {
        let figures = self.ledger.figures();
        let trouble = self.ledger.trouble().is_some();
        self.metrics.ledger_levels(figures.waiting, figures.held, figures.unwritten, trouble);
        if let Some(progress) = self.sending.get() {
            let failures = progress.failures();
            self.metrics.ledger_sending(
                progress.behind(),
                progress.is_connected(),
                &failures.counts,
                failures.last,
            );
        }
        let stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stated = |budget: &Budget| stated.contains(&(Arc::clone(&budget.id), budget.scope.clone()));
        self.metrics.budget_levels(shown::shown(self.levels(), is_stated));
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes all that waits. What is settled later is charged at the next start.
    pub async fn close(&self) {
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the ledger was not closed as it should: the next start charges what is open");
        }
    }

    fn settle(&self, record: RequestRecord, lines: Vec<Line>, tokens: u64) -> Settling {
        let (hold, amount) = (record.hold, record.amount);
        match &self.bank {
            // It dies with the ledger's writer: who comes first is no matter.
            Bank::Own(book) => {
                warn_of(locked(book).settle(hold, amount, tokens, self.clock.now()));
                self.write(record, lines)
            }
            // Others go on without this process: told before the ledger has it, they would know of less than the next start
            // charges, which is all that was held.
            Bank::Shared(bank) => {
                let bank = Arc::clone(bank);
                let then = Box::new(move || warn_of(bank.settle(hold, amount, tokens)));
                self.written(self.ledger.settle_then(record, lines, then))
            }
        }
    }

    /// A hold comes to nothing before its ledger knew of it.
    fn dismiss(&self, hold: HoldId) {
        match &self.bank {
            Bank::Own(book) => warn_of(locked(book).settle(hold, NanoUsd::ZERO, 0, self.clock.now())),
            // The file may have it yet, and is rid of it first.
            Bank::Shared(bank) => {
                let bank = Arc::clone(bank);
                self.ledger.release_then(hold, move || warn_of(bank.settle(hold, NanoUsd::ZERO, 0)));
            }
        }
    }

    fn write(&self, record: RequestRecord, lines: Vec<Line>) -> Settling {
        self.written(self.ledger.settle(record, lines))
    }

    fn written(&self, written: impl Future<Output = Result<(), ledger::Error>> + Send + 'static) -> Settling {
        let metrics = Arc::clone(&self.metrics);
        Settling::of(async move {
            if let Err(error) = written.await {
                metrics.ledger_error();
                tracing::error!(%error, "a record could not be written when it was due");
            }
        })
    }

    async fn grow(&self, hold: HoldId, extra: NanoUsd) -> bool {
        match &self.bank {
            Bank::Own(book) => locked(book).grow(hold, extra),
            Bank::Shared(bank) => bank.grow(hold, extra, self.clock.now()).await,
        }
    }

    fn shrink(&self, hold: HoldId, amount: NanoUsd) {
        match &self.bank {
            Bank::Own(book) => locked(book).shrink(hold, amount),
            Bank::Shared(bank) => bank.shrink(hold, amount),
        }
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
    hold: HoldId,
}

impl Admitting<'_> {
    fn admitted(mut self) {
        self.treasury = None;
    }
}

impl Drop for Admitting<'_> {
    fn drop(&mut self) {
        if let Some(treasury) = self.treasury {
            treasury.dismiss(self.hold);
        }
    }
}

/// Says which thresholds of budgets were passed.
fn warn_of(settled: Settled) {
    for crossed in settled.crossed {
        tracing::warn!(
            budget = %crossed.budget.id,
            scope = %crossed.budget.scope,
            percent = crossed.percent,
            limit_usd = %crossed.budget.limit,
            "so much of a budget is spent"
        );
    }
}

fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic while it was held can have left one request's hold, which is charged for too much rather than too little.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Balances of windows that ended before this second count no more: the longest period rolls over a year.
fn since(clock: &dyn Clock) -> i64 {
    const YEAR: i64 = 366 * 86_400;
    clock.now().wall.as_second() - YEAR
}

fn line(budget: &Budget, now: Now) -> Line {
    Line {
        budget: Arc::clone(&budget.id),
        scope: budget.scope.clone(),
        window: budget.calendar.window(now.wall),
    }
}
