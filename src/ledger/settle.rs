//! What an answer cost: from reported usage and the price card it was admitted under. When in doubt, charge. Pure.

use jiff::Timestamp;

use crate::pricing::{Charge, PriceCard};
use crate::units::{NanoUsd, PicoUsd, Reported, Usage};

/// What a charge rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Usage as the provider reported it, priced by the card.
    Reported,
    /// The provider stated the cost itself.
    Stated,
    /// Our own count, for this reason (`no_usage`, `odd_usage`, `zero_usage`, `cut`).
    Estimated(&'static str),
}

impl Source {
    /// The word in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Stated => "stated",
            Self::Estimated(_) => "estimated",
        }
    }
}

/// The outcome: tokens and money of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The counts charged.
    pub usage: Usage,
    /// The cost by what it was for; `None`: nobody knows a price.
    pub charge: Option<Charge>,
    /// What it rests on.
    pub source: Source,
}

impl Settlement {
    /// The cost as recorded, rounded half up once.
    pub fn cost(&self) -> Option<NanoUsd> {
        self.charge.map(|charge| charge.recorded())
    }
}

/// A charge by what it was for, in whole nano-dollars that add up to what is recorded to the last one: each part rounded
/// down, and what that leaves over added to the largest. In the order input, cache read, cache write, output, request.
pub fn components(charge: &Charge) -> [NanoUsd; 5] {
    let exact = [charge.input, charge.cached_input, charge.cache_write, charge.output, charge.request];
    let mut parts = exact.map(|part| i64::try_from(part.0.div_euclid(1000)).unwrap_or(i64::MAX));
    let left_over = charge.recorded().0 - parts.iter().sum::<i64>();
    if let Some(largest) = parts.iter_mut().max() {
        *largest += left_over;
    }
    parts.map(NanoUsd)
}

/// Settles an answer that was processed at `at`. `counted` is our own count, used where the report is missing or absurd;
/// `whole` is false for an answer that was cut before its report could come.
pub fn settle(
    card: Option<&PriceCard>,
    reported: Option<&Reported>,
    counted: Usage,
    whole: bool,
    at: Timestamp,
) -> Settlement {
    let by_card = |usage: &Usage| card.map(|card| card.cost_of(usage, at));
    let Some(report) = reported else {
        let reason = if whole { "no_usage" } else { "cut" };
        return Settlement { usage: counted, charge: by_card(&counted), source: Source::Estimated(reason) };
    };
    if let Some(stated) = report.cost {
        let charge = Charge { request: stated, ..Charge::default() };
        return Settlement { usage: report.usage, charge: Some(charge), source: Source::Stated };
    }
    // Who bills searches need not count tokens; the fee is one for each.
    let by_card = |usage: &Usage| {
        let mut charge = by_card(usage)?;
        let searches = i128::from(report.searches.max(1));
        charge.request = PicoUsd(charge.request.0.saturating_mul(searches));
        Some(charge)
    };
    let silent = (report.usage.prompt == 0 && report.searches == 0)
        || (report.usage.completion == 0 && counted.completion > 0);
    if report.odd || silent {
        // Whatever was credible stands; what was not is counted by us. The larger of the two is charged.
        let usage = Usage {
            prompt: report.usage.prompt.max(if report.usage.prompt == 0 { counted.prompt } else { 0 }),
            completion: report.usage.completion.max(if report.usage.completion == 0 {
                counted.completion
            } else {
                0
            }),
            ..report.usage
        };
        let reason = if report.odd { "odd_usage" } else { "zero_usage" };
        return Settlement { usage, charge: by_card(&usage), source: Source::Estimated(reason) };
    }
    Settlement { usage: report.usage, charge: by_card(&report.usage), source: Source::Reported }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::{PriceEntry, Rates, Version};
    use crate::units::TokenPrice;

    fn card() -> PriceCard {
        let entry =
            PriceEntry { source: "test".into(), as_of: "2026-11-01".into(), confidence: "operator".into() };
        let base = Rates {
            input: TokenPrice(140_000),
            cached_input: Some(TokenPrice(28_000)),
            cache_write: None,
            output: TokenPrice(280_000),
            request: PicoUsd::ZERO,
        };
        PriceCard::new(Version::always(entry, base), 0)
    }

    fn settled(reported: Option<Reported>, counted: Usage) -> Settlement {
        settle(Some(&card()), reported.as_ref(), counted, true, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_report_is_charged_by_the_card() {
        let usage = Usage { prompt: 1000, cached: 600, completion: 10, ..Usage::default() };
        let settlement = settled(Some(Reported { usage, ..Reported::default() }), Usage::default());
        // 400 × 140,000 + 600 × 28,000 + 10 × 280,000 pico-dollars.
        assert_eq!(settlement.cost(), Some(NanoUsd(75_600)));
        assert_eq!(settlement.source, Source::Reported);
    }

    #[test]
    fn components_add_up_to_what_is_recorded() {
        let charge = Charge {
            input: PicoUsd(999),
            cached_input: PicoUsd(999),
            output: PicoUsd(12_999),
            ..Charge::default()
        };
        let parts = components(&charge);
        assert_eq!(parts.map(|part| part.0), [0, 0, 0, 15, 0]);
        assert_eq!(charge.recorded(), NanoUsd(15));
    }

    #[test]
    fn a_stated_cost_is_the_truth() {
        let reported = Reported {
            usage: Usage { prompt: 5, ..Usage::default() },
            cost: Some(PicoUsd(6_930_000)),
            ..Reported::default()
        };
        let settlement = settled(Some(reported), Usage::default());
        assert_eq!((settlement.cost(), settlement.source), (Some(NanoUsd(6_930)), Source::Stated));
    }

    #[test]
    fn missing_odd_and_zero_reports_never_come_free() {
        let counted = Usage { prompt: 10, completion: 4, ..Usage::default() };
        let missing = settled(None, counted);
        let zero = settled(Some(Reported::default()), counted);
        let odd = settled(Some(Reported { odd: true, ..Reported::default() }), counted);
        for settlement in [missing, zero, odd] {
            assert_eq!(settlement.usage, counted);
            assert_eq!(settlement.cost(), Some(NanoUsd(2_520)));
            assert!(matches!(settlement.source, Source::Estimated(_)));
        }
    }

    #[test]
    fn r33_without_a_card_the_cost_is_unknown_and_not_zero() {
        let settlement = settle(None, None, Usage::default(), true, Timestamp::UNIX_EPOCH);
        assert_eq!(settlement.cost(), None);
    }
}
