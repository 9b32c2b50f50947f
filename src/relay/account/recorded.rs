//! A closed account as the ledger keeps it: one record for each attempt.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::ledger::{AttemptRecord, Settlement, Source, components};
use crate::pricing::{PriceCard, PriceEntry};
use crate::treasury::Closing;
use crate::units::{Mono, NanoUsd, Now, Usage};
use crate::upstream::trial::{Fate, Lost};

use super::{Answered, Ended, Open};

impl Open {
    /// The end of the request, for its record.
    pub(super) fn closing(
        &self,
        ended: Ended,
        settlement: &Settlement,
        earlier: &[Settlement],
        lost: &[Lost],
        total: Duration,
        now: Now,
    ) -> Closing {
        let outcome = match ended {
            Ended::Well => "ok",
            Ended::CallerLeft => "cancelled",
            Ended::Broken(_) => "upstream_error",
        };
        let mut attempts = lost_attempts(lost, now);
        attempts.extend(self.parts.iter().zip(earlier).map(|(part, settled)| {
            attempt_record(Asked::of(&part.by), settled, "broken", part.reason, &part.by.generation, now)
        }));
        let (word, reason) = match ended {
            Ended::Well => ("ok", ""),
            Ended::CallerLeft => ("cancelled", ""),
            Ended::Broken(reason) => ("broken", reason),
        };
        attempts.push(attempt_record(
            Asked::of(&self.answered),
            settlement,
            word,
            reason,
            &self.answered.generation,
            now,
        ));
        let status = if ended == Ended::CallerLeft { 499 } else { 200 };
        Closing { ttft_ms: Some(whole_ms(self.ttft)), total_ms: whole_ms(total), status, outcome, attempts }
    }
}

/// Who was asked, and by which prices.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The provider's name.
    pub provider: &'a Arc<str>,
    /// `provider/upstream-model`.
    pub route: &'a Arc<str>,
    /// The checkpoint.
    pub checkpoint: &'a Arc<str>,
    /// Its prices as they were when it was asked.
    pub card: Option<&'a PriceCard>,
    /// The moment that prices go by.
    pub at: Timestamp,
    /// When it was asked.
    pub asked: Mono,
}

impl<'a> Asked<'a> {
    const fn of(by: &'a Answered) -> Self {
        Self {
            provider: &by.provider,
            route: &by.route,
            checkpoint: &by.checkpoint,
            card: by.card.as_ref(),
            at: by.at,
            asked: by.asked,
        }
    }
}

/// An attempt that brought an answer, or the beginning of one, as the ledger keeps it.
pub fn attempt_record(
    by: Asked<'_>,
    settlement: &Settlement,
    outcome: &'static str,
    reason: &str,
    generation: &str,
    now: Now,
) -> AttemptRecord {
    let is_stated = settlement.source == Source::Stated;
    let entry = by.card.filter(|_| !is_stated);
    let entry = entry.map(|card| card.entry_in_force(settlement.usage.prompt, by.at));
    let (price_source, price_as_of) = named(entry);
    let why = if let Source::Estimated(why) = settlement.source { why } else { "" };
    AttemptRecord {
        provider: Arc::clone(by.provider),
        route: Arc::clone(by.route),
        checkpoint: Arc::clone(by.checkpoint),
        usage: settlement.usage,
        source: settlement.source.name(),
        reason: if reason.is_empty() { why } else { reason }.into(),
        amount: settlement.cost().unwrap_or_default(),
        parts: settlement.charge.as_ref().map(components).unwrap_or_default(),
        unpriced: settlement.charge.is_none(),
        price_source,
        price_as_of,
        generation: generation.into(),
        asked: at(by.asked, now),
        outcome,
    }
}

/// Attempts that brought no answer, as the ledger keeps them.
pub fn lost_attempts(lost: &[Lost], now: Now) -> Vec<AttemptRecord> {
    let record = |one: &Lost| {
        let (outcome, reason) = match one.fate {
            Fate::Left => ("cancelled", "caller_left"),
            Fate::Beaten => ("cancelled", "hedge_loser"),
            Fate::Failed(reason) => ("failed", reason),
        };
        let amount = one.amount();
        let (price_source, price_as_of) = named(one.price.as_ref());
        AttemptRecord {
            provider: Arc::clone(&one.provider),
            route: Arc::clone(&one.route),
            checkpoint: Arc::clone(&one.checkpoint),
            usage: one.usage,
            source: if one.usage == Usage::default() { "none" } else { "estimated" },
            reason: reason.into(),
            amount,
            parts: [amount, NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO],
            unpriced: one.cost.is_none(),
            price_source,
            price_as_of,
            generation: Box::default(),
            asked: at(one.sent, now),
            outcome,
        }
    };
    lost.iter().map(record).collect()
}

fn named(entry: Option<&PriceEntry>) -> (Arc<str>, Arc<str>) {
    entry
        .map_or_else(|| ("".into(), "".into()), |entry| (Arc::clone(&entry.source), Arc::clone(&entry.as_of)))
}

/// The calendar's reading at `mono`.
fn at(mono: Mono, now: Now) -> Timestamp {
    let ago = SignedDuration::try_from(now.mono.since(mono)).unwrap_or_default();
    now.wall.checked_sub(ago).unwrap_or(now.wall)
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
