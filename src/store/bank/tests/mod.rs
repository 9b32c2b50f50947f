//! The bank against a real Redis: three replicas in one process, each with its own bank, and a wire between them and Redis that
//! can be cut or laid to another.
#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::print_stderr,
    reason = "tests: real time is measured, and what they start ends with them"
)]

mod admission;
mod death;
mod known;
mod loss;
mod odd;
mod outages;
mod same;
mod twice;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::budget::{
    Budget, Calendar, Demand, HoldId, OnStoreLoss, Period, Refusal, Scope, ScopeKind, Standing, WhenSpent,
    Why,
};
use crate::units::{Clock, NanoUsd, SystemClock};

use super::{Bank, InheritedHold, Options, State, run};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One replica.
struct Replica {
    bank: Arc<Bank>,
    clock: Arc<SystemClock>,
    inherited: mpsc::Receiver<InheritedHold>,
    stop: Option<DropGuard>,
    /// The task that keeps its bank.
    keeping: tokio::task::JoinHandle<()>,
}

impl Replica {
    fn beside(url: &str, name: &str, tweak: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(url, name);
        options.opens = Duration::from_millis(300);
        options.beat = Duration::from_millis(100);
        // A busy machine is not what is tested.
        options.patience = Duration::from_secs(2);
        tweak(&mut options);
        let clock = Arc::new(SystemClock::new());
        let bank = Arc::new(Bank::new(options, Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
        let (sender, inherited) = mpsc::channel(1_000);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(run(Arc::clone(&bank), sender, stop.clone()));
        Self { bank, clock, inherited, stop: Some(stop.drop_guard()), keeping }
    }

    async fn open(url: &str, name: &str, tweak: impl FnOnce(&mut Options)) -> Self {
        let replica = Self::beside(url, name, tweak);
        replica.opened().await;
        replica
    }

    async fn opened(&self) {
        let opened = tokio::time::timeout(PATIENCE, self.bank.opened()).await;
        opened.unwrap_or_else(|_| panic!("never open: {:?}", self.bank.state()));
    }

    async fn admit(&self, demand: &Demand) -> Result<Standing, Refusal> {
        let demand = Demand { on_loss: self.bank.options.on_loss, ..demand.clone() };
        self.bank.admit(&demand, self.clock.now()).await
    }

    /// Waits until the state is one of these.
    async fn until(&self, states: &[State]) {
        until(&format!("{states:?}"), || states.contains(&self.bank.state().0)).await;
    }

    /// Waits until all that was settled has been told.
    async fn told(&self) {
        until("all is told", || {
            let inner = self.bank.inner();
            inner.state == State::Open && inner.account.changes.is_empty()
        })
        .await;
        // What is taken off the list may still be on its way.
        let beat = self.bank.inner().sequence;
        until("a beat later", || self.bank.inner().sequence > beat + 1).await;
    }

    /// Its process dies: nothing more is said, not even goodbye.
    fn die(self) -> Arc<Bank> {
        self.keeping.abort();
        self.bank.inner().link = None;
        std::mem::forget(self.stop);
        self.bank
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn budget(id: &str, limit: i64) -> Arc<Budget> {
    Arc::new(Budget {
        id: id.into(),
        scope: Scope { kind: ScopeKind::Team, name: "search".into() },
        limit: NanoUsd(limit),
        calendar: Calendar::utc(Period::Month),
        hard: true,
        when_spent: WhenSpent::Reject,
    })
}

fn demand(budget: &Arc<Budget>, hold: i64) -> Demand {
    Demand {
        id: HoldId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64 | 7),
        hold: NanoUsd(hold),
        tokens: 0,
        budgets: vec![Arc::clone(budget)],
        rates: Vec::new(),
        places: Vec::new(),
        on_loss: OnStoreLoss::default(),
    }
}

/// What all have spent and hold, as Redis says it now.
async fn level(replica: &Replica, budget: &Arc<Budget>) -> (i64, i64) {
    // A demand that no budget can hold is refused with the figures.
    let probe = demand(budget, i64::MAX / 4);
    loop {
        match replica.admit(&probe).await.unwrap_err().why {
            Why::Budget { spent, held, .. } => return (spent.0, held.0),
            Why::StoreLost => tokio::time::sleep(Duration::from_millis(5)).await,
            other => panic!("{other:?}"),
        }
    }
}
