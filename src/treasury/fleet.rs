//! A treasury among others: what a former life of this replica, or a dead one, left held is charged by exactly one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::budget::HoldId;
use crate::ledger::{HoldContext, HoldEntry};
use crate::store::bank::{self, InheritedHold};
use crate::store::ledger::{self, Ledger, Recovered};
use crate::telemetry::Metrics;
use crate::units::{Clock, NanoUsd, RequestId};

use super::{Bank, Treasury, since};

/// Inheritances that wait to be charged.
const WAITING_MAX: usize = 1_024;
/// How far back a record is looked for: a hold is inherited soon after its replica died.
const LOOK_BACK: i64 = 7 * 86_400;

/// What this replica has to charge for others, and for its former self.
pub struct Heirs {
    treasury: Arc<Treasury>,
    bank: Arc<bank::Bank>,
    unsettled: HashMap<HoldId, HoldEntry>,
}

impl Treasury {
    /// A treasury that shares `bank`. `recovered` is what a former life of this replica left held: what another replica has
    /// charged meanwhile is let go, all else is charged here.
    pub async fn shared(
        ledger: Ledger,
        recovered: Recovered,
        bank: bank::Bank,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Heirs), ledger::Error> {
        let mut unsettled: HashMap<HoldId, HoldEntry> =
            recovered.unsettled.into_iter().map(|entry| (entry.id, entry)).collect();
        let ids: Vec<HoldId> = unsettled.keys().copied().collect();
        match bank.reclaim(&ids).await {
            Ok(taken) => {
                for id in taken {
                    unsettled.remove(&id);
                    ledger.release(id).await?;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Redis cannot say who charges what this replica left held: it does so itself");
            }
        }
        for entry in unsettled.values() {
            let (record, lines) = entry.clone().lost();
            tracing::warn!(
                request = %record.id,
                amount_usd = %record.amount,
                "the gateway died before this request was settled: it is charged all that was held"
            );
            ledger.settle(record, lines).await?;
        }
        for (line, spent) in ledger.balances(since(&*clock)).await? {
            bank.load(&line, spent);
        }
        let bank = Arc::new(bank);
        let bank_of = Bank::Shared(Arc::clone(&bank));
        let treasury = Arc::new(Self::new(bank_of, ledger, metrics, clock));
        let heirs = Heirs { treasury: Arc::clone(&treasury), bank, unsettled };
        Ok((treasury, heirs))
    }
}

impl Heirs {
    /// Keeps the bank in touch with Redis, and charges what it hands out, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (given, mut inherited) = mpsc::channel(WAITING_MAX);
        let keeping = bank::run(Arc::clone(&self.bank), given, stop);
        let charging = async {
            while let Some(hold) = inherited.recv().await {
                self.charge(hold).await;
            }
        };
        tokio::join!(keeping, charging);
    }

    async fn charge(&self, hold: InheritedHold) {
        let InheritedHold { id, amount, lines } = hold;
        // What this replica had written before it told Redis is in its totals already.
        let written = self.unsettled.contains_key(&id) || self.is_recorded(id).await;
        if written {
            drop(self.bank.settle(id, NanoUsd::ZERO, 0));
            return;
        }
        tracing::warn!(hold = format!("{:032x}", id.0), amount_usd = %amount, "a replica died: what it held is charged here");
        let context = stranger(self.treasury.clock.now().wall, id);
        let (record, lines) = HoldEntry { id, amount, lines, context }.lost();
        self.treasury.settle(record, lines, 0).await;
    }

    async fn is_recorded(&self, id: HoldId) -> bool {
        let from = self.treasury.clock.now().wall.as_second().saturating_sub(LOOK_BACK);
        loop {
            match self.treasury.ledger.has_record(id, from).await {
                Ok(known) => return known,
                Err(error) => {
                    // Charged twice would be wrong, and so would not at all: it waits until the ledger can say.
                    tracing::error!(%error, "the ledger cannot say whether an inherited hold is charged");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// All that is known of a request of another replica's.
fn stranger(now: Timestamp, id: HoldId) -> HoldContext {
    let none = || Arc::from("");
    HoldContext {
        id: RequestId::from_bits(id.0),
        key: none(),
        user: none(),
        team: none(),
        organisation: none(),
        policy: none(),
        tags: Vec::new(),
        model: "".into(),
        endpoint: "unknown",
        stream: false,
        began: now,
        provider: none(),
        route: none(),
        checkpoint: none(),
    }
}
