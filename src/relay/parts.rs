//! An answer in several parts, each by another route: what each part cost, and what the whole answer comes to.

use std::io::Write as _;
use std::sync::Arc;

use crate::ledger::{Settlement, Source, settle};
use crate::telemetry::Series;
use crate::units::{NanoUsd, Reported, Usage};

use super::account::Answered;

/// A part of an answer that broke off, and was gone on with by another route.
pub(super) struct Part {
    pub(super) by: Answered,
    pub(super) series: Arc<Series>,
    pub(super) reported: Option<Reported>,
    pub(super) counted: Usage,
    /// How it ended.
    pub(super) reason: &'static str,
}

/// What an answer comes to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bill {
    /// What all parts cost; `None`: nobody knows a price.
    pub cost: Option<NanoUsd>,
    /// The prompt as the first part had it, and all parts' answer.
    pub usage: Usage,
    /// Whether any of it is our own count.
    pub estimated: bool,
}

impl Bill {
    fn of(settlement: &Settlement) -> Self {
        Self {
            cost: settlement.cost(),
            usage: settlement.usage,
            estimated: matches!(settlement.source, Source::Estimated(_)),
        }
    }

    /// With what attempts without an answer cost.
    pub(super) fn with_lost(self, lost: NanoUsd) -> Self {
        Self { cost: self.cost.map(|cost| NanoUsd(cost.0.saturating_add(lost.0))), ..self }
    }

    /// All parts together; each is rounded once, as it is recorded.
    pub(super) fn of_all<'s>(settlements: impl IntoIterator<Item = &'s Settlement>) -> Self {
        let mut bills = settlements.into_iter().map(Self::of);
        let first = bills.next().unwrap_or_default();
        bills.fold(first, |all, one| Self {
            cost: all.cost.zip(one.cost).map(|(a, b)| NanoUsd(a.0.saturating_add(b.0))),
            usage: Usage {
                completion: all.usage.completion.saturating_add(one.usage.completion),
                reasoning: all.usage.reasoning.saturating_add(one.usage.reasoning),
                ..all.usage
            },
            estimated: all.estimated || one.estimated,
        })
    }
}

/// What each of `parts` costs. A part that broke off has no report as a rule; the one that went on from it reports a prompt
/// that ends with the text so far, which tells its length better than our own estimate. `last` is that report.
pub(super) fn settled(parts: &[Part], last: Option<&Reported>) -> Vec<Settlement> {
    let mut prompt = last.filter(|report| !report.odd).map_or(0, |report| report.usage.prompt);
    let mut settlements: Vec<Settlement> = Vec::with_capacity(parts.len() + 1);
    for part in parts.iter().rev() {
        prompt = prompt.saturating_sub(part.counted.completion);
        let known = if prompt > 0 { prompt } else { part.counted.prompt };
        let counted = Usage { prompt: known, ..part.counted };
        let card = part.by.card.as_ref();
        settlements.push(settle(card, part.reported.as_ref(), counted, false, part.by.at));
    }
    settlements.reverse();
    settlements
}

/// Appends the parts that broke off and were gone on with.
pub(super) fn parts_into(line: &mut Vec<u8>, parts: &[Part], settlements: &[Settlement]) {
    for (index, (part, settlement)) in parts.iter().zip(settlements).enumerate() {
        let Usage { prompt, completion, .. } = settlement.usage;
        // Writing into memory cannot fail.
        let _ = write!(
            line,
            "{}{{\"route\":\"{}\",\"reason\":\"{}\",\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
             \"usage\":\"{}\"",
            if index == 0 { ",\"resumed\":[" } else { "," },
            part.by.route,
            part.reason,
            settlement.source.name(),
        );
        if let Some(cost) = settlement.cost() {
            let _ = write!(line, ",\"cost_usd\":{cost}");
        }
        line.push(b'}');
    }
    if !parts.is_empty() {
        line.push(b']');
    }
}
