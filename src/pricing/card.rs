//! A price card: one route's prices with their clock windows and prompt-length tiers, and what an answer costs by them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::units::{MoneyError, NanoUsd, PicoUsd, TokenPrice, Usage};

/// Which line of the price book a card came from; every charge can be traced to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceEntry {
    /// Where the price was read (`"DeepSeek API docs, Models & Pricing page"`, or `"tollway.yaml"` for an override).
    pub source: Arc<str>,
    /// The day, month or half-year on which it was read, as the book has it (`2026-11-15`, `2026-11`, `2026-H2`).
    pub as_of: Arc<str>,
    /// How sure the book is: `documented`, `recorded`, `third-party tracker`, `inferred` or `operator`.
    pub confidence: Arc<str>,
}

/// Prices that hold together at one moment for one prompt length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Plain prompt tokens.
    pub input: TokenPrice,
    /// Prompt tokens read from the provider's cache; without one they cost `input`.
    pub cached_input: Option<TokenPrice>,
    /// Prompt tokens written to the provider's cache; without one they cost `input`.
    pub cache_write: Option<TokenPrice>,
    /// Answer tokens, reasoning included.
    pub output: TokenPrice,
    /// A fee per request.
    pub request: PicoUsd,
}

/// When a card's other rates replace its base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// Prompt strictly longer than this, in tokens.
    pub prompt_tokens_above: Option<u64>,
    /// Windows in minutes of the UTC day, start inclusive, end exclusive; one may wrap midnight, and then the
    /// part after midnight belongs to the day on which the window began. Empty: any time.
    pub utc_minutes: Vec<(u16, u16)>,
    /// Weekdays as bits, Monday = 1. Zero: every day.
    pub weekdays: u8,
    /// Days (`2026-10-01`) on which the windows do not hold, such as public holidays.
    pub except_days: Vec<jiff::civil::Date>,
    /// The calendar that `except_days` stands for, in words (`Chinese public holidays`). Without its days the
    /// condition has no exception: the dearer price is assumed.
    pub except: Option<Arc<str>>,
    /// The book's line behind these rates, where it is another than the card's.
    pub entry: Option<PriceEntry>,
}

/// One route's prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceCard {
    /// The book's line behind it.
    pub entry: PriceEntry,
    /// Prices where no condition holds.
    pub base: Rates,
    /// Conditional prices; the last whose condition holds wins.
    pub overrides: Vec<(Condition, Rates)>,
    /// What the operator pays on top to hold credit with this provider, in parts per million (OpenRouter: 55,000).
    /// It counts when routes are compared, never in a recorded charge.
    pub fee_ppm: u32,
}

/// The cost of one answer, by what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// Plain prompt tokens.
    pub input: PicoUsd,
    /// Prompt tokens read from cache.
    pub cached_input: PicoUsd,
    /// Prompt tokens written to cache.
    pub cache_write: PicoUsd,
    /// Answer tokens.
    pub output: PicoUsd,
    /// Request fee, or the whole of a cost that the provider stated itself.
    pub request: PicoUsd,
}

impl Charge {
    /// A cost that the provider stated itself, whole.
    pub fn stated(cost: PicoUsd) -> Self {
        Self { request: cost, ..Self::default() }
    }

    /// The sum in pico-dollars.
    pub fn total(&self) -> PicoUsd {
        [self.input, self.cached_input, self.cache_write, self.output, self.request].into_iter().sum()
    }

    /// The sum as recorded: whole nano-dollars, half up.
    pub fn recorded(&self) -> NanoUsd {
        self.total().to_nanos()
    }
}

/// A cost as a provider wrote it in its answer (OpenRouter's `usage.cost`, in USD: `0.000554488`, `6.93e-06`).
pub fn stated_cost(text: &str) -> Result<PicoUsd, MoneyError> {
    let cost = PicoUsd::from_usd_text(text)?;
    if cost < PicoUsd::ZERO { Err(MoneyError::Negative(text.to_owned())) } else { Ok(cost) }
}

impl PriceCard {
    /// The rates in force for a prompt of `prompt_tokens` at `at`.
    pub fn rates(&self, prompt_tokens: u64, at: Timestamp) -> &Rates {
        self.in_force(prompt_tokens, at).0
    }

    /// The rates in force, and the condition that put them there; `None`: the base.
    pub fn in_force(&self, prompt_tokens: u64, at: Timestamp) -> (&Rates, Option<&Condition>) {
        self.overrides
            .iter()
            .rev()
            .find(|(condition, _)| condition.holds(prompt_tokens, at))
            .map_or((&self.base, None), |(condition, rates)| (rates, Some(condition)))
    }

    /// The book's line behind the rates in force.
    pub fn entry_in_force(&self, prompt_tokens: u64, at: Timestamp) -> &PriceEntry {
        self.in_force(prompt_tokens, at)
            .1
            .and_then(|condition| condition.entry.as_ref())
            .unwrap_or(&self.entry)
    }

    /// What an answer with this usage costs when it is processed at `at`:
    /// `(prompt − cached − written) × input + cached × cached_input + written × cache_write + completion × output + request`.
    ///
    /// Providers price by the moment at which tokens are processed. `at` is the moment of the answer's first token
    /// (for an answer that is not streamed: its first byte), which lies at or just after the prompt's processing,
    /// the largest part of most bills. The whole answer is charged at that moment's rates.
    pub fn cost_of(&self, usage: &Usage, at: Timestamp) -> Charge {
        let usage = usage.clamped();
        let rates = self.rates(usage.prompt, at);
        Charge {
            input: rates.input.times(usage.uncached()),
            cached_input: rates.cached_input.unwrap_or(rates.input).times(usage.cached),
            cache_write: rates.cache_write.unwrap_or(rates.input).times(usage.cache_write),
            output: rates.output.times(usage.completion),
            request: rates.request,
        }
    }
}

impl Condition {
    /// Whether it holds for a prompt of this length at this moment.
    pub fn holds(&self, prompt_tokens: u64, at: Timestamp) -> bool {
        self.prompt_tokens_above.is_none_or(|limit| prompt_tokens > limit) && self.holds_at(at)
    }

    fn holds_at(&self, at: Timestamp) -> bool {
        if self.is_timeless() {
            return true;
        }
        let utc = jiff::tz::Offset::UTC.to_datetime(at);
        let today = utc.date();
        let minute = u16::from(utc.hour().unsigned_abs()) * 60 + u16::from(utc.minute().unsigned_abs());
        if self.utc_minutes.is_empty() {
            return self.holds_on(today);
        }
        self.utc_minutes.iter().any(|&(start, end)| {
            if start <= end {
                (start..end).contains(&minute) && self.holds_on(today)
            } else if minute >= start {
                self.holds_on(today)
            } else {
                minute < end && today.yesterday().is_ok_and(|began| self.holds_on(began))
            }
        })
    }

    /// Whether it depends on the clock at all.
    pub fn is_timeless(&self) -> bool {
        self.utc_minutes.is_empty() && self.weekdays == 0 && self.except_days.is_empty()
    }

    fn holds_on(&self, day: jiff::civil::Date) -> bool {
        let bit = 1_u8 << day.weekday().to_monday_zero_offset();
        (self.weekdays == 0 || self.weekdays & bit != 0) && !self.except_days.contains(&day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn rates(input: u64) -> Rates {
        Rates {
            input: TokenPrice(input),
            cached_input: None,
            cache_write: None,
            output: TokenPrice(2 * input),
            request: PicoUsd::ZERO,
        }
    }

    fn card(overrides: Vec<(Condition, Rates)>) -> PriceCard {
        let entry = PriceEntry { source: "s".into(), as_of: "2026-11".into(), confidence: "operator".into() };
        PriceCard { entry, base: rates(1), overrides, fee_ppm: 0 }
    }

    const WEEKDAYS_ONLY: u8 = 0b001_1111;

    #[test]
    fn after_midnight_a_window_belongs_to_the_day_it_began() {
        let night = Condition {
            utc_minutes: vec![(22 * 60, 2 * 60)],
            weekdays: WEEKDAYS_ONLY,
            except_days: vec!["2026-11-26".parse().unwrap()],
            ..Condition::default()
        };
        for (moment, holds) in [
            ("2026-11-23T21:59:59Z", false), // Monday
            ("2026-11-23T22:00:00Z", true),
            ("2026-11-24T01:59:59Z", true),
            ("2026-11-24T02:00:00Z", false),
            ("2026-11-23T01:00:00Z", false), // Monday, but the window began on Sunday
            ("2026-11-27T23:00:00Z", true),  // Friday
            ("2026-11-28T01:00:00Z", true),  // Saturday, but the window began on Friday
            ("2026-11-28T23:00:00Z", false), // Saturday
            ("2026-11-26T23:00:00Z", false), // the excepted Thursday
            ("2026-11-27T01:00:00Z", false), // still its night
            ("2026-11-26T01:00:00Z", true),  // the night of Wednesday
        ] {
            assert_eq!(night.holds(0, at(moment)), holds, "{moment}");
        }
    }

    #[test]
    fn weekdays_without_windows_hold_all_day() {
        let weekend = Condition { weekdays: !WEEKDAYS_ONLY & 0x7f, ..Condition::default() };
        assert!(weekend.holds(0, at("2026-11-28T00:00:00Z")) && weekend.holds(0, at("2026-11-29T23:59:59Z")));
        assert!(!weekend.holds(0, at("2026-11-30T00:00:00Z")));
        let day = Condition { utc_minutes: vec![(0, 1440)], ..Condition::default() };
        assert!(day.holds(0, at("2026-11-30T23:59:59Z")));
    }

    #[test]
    fn the_last_condition_that_holds_wins() {
        let long = Condition { prompt_tokens_above: Some(256_000), ..Condition::default() };
        let night = Condition { utc_minutes: vec![(22 * 60, 2 * 60)], ..Condition::default() };
        let card = card(vec![(long, rates(3)), (night, rates(2))]);
        let (day, late) = (at("2026-11-24T12:00:00Z"), at("2026-11-24T23:00:00Z"));
        let input = |tokens, moment| card.rates(tokens, moment).input.0;
        assert_eq!(
            [input(256_000, day), input(256_001, day), input(256_000, late), input(256_001, late)],
            [1, 3, 2, 2]
        );
    }

    #[test]
    fn without_a_cache_price_every_prompt_token_costs_the_input_price() {
        let usage = Usage { prompt: 10, cached: 4, cache_write: 3, completion: 5, reasoning: 5 };
        let charge = card(Vec::new()).cost_of(&usage, at("2026-11-24T12:00:00Z"));
        assert_eq!(
            charge,
            Charge {
                input: PicoUsd(3),
                cached_input: PicoUsd(4),
                cache_write: PicoUsd(3),
                output: PicoUsd(10),
                request: PicoUsd::ZERO,
            }
        );
        assert_eq!(charge.total(), PicoUsd(20));
    }

    #[test]
    fn absurd_usage_saturates_instead_of_wrapping() {
        let usage = Usage { prompt: u64::MAX, completion: u64::MAX, ..Usage::default() };
        let mut dear = card(Vec::new());
        dear.base = Rates { output: TokenPrice(u64::MAX), ..rates(u64::MAX / 2) };
        assert_eq!(dear.cost_of(&usage, Timestamp::UNIX_EPOCH).recorded(), NanoUsd(i64::MAX));
    }

    #[test]
    fn a_stated_cost_is_exact() {
        assert_eq!(Charge::stated(stated_cost("0.000554488").unwrap()).recorded(), NanoUsd(554_488));
        assert_eq!(stated_cost("6.93e-06").unwrap().to_nanos(), NanoUsd(6_930));
        assert_eq!(stated_cost("0").unwrap(), PicoUsd::ZERO);
        assert!(stated_cost("-0.1").is_err() && stated_cost("NaN").is_err());
    }
}
