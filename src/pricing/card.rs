//! A price card: one route's prices with their clock windows and prompt-length tiers, and what an answer costs by them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::units::{NanoUsd, PicoUsd, TokenPrice, Usage};

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
    /// Windows in minutes of the UTC day, start inclusive, end exclusive; one may wrap midnight. Empty: any time.
    pub utc_minutes: Vec<(u16, u16)>,
    /// Weekdays as bits, Monday = 1. Zero: every day.
    pub weekdays: u8,
    /// Days (`2026-10-01`) on which the windows do not hold, such as public holidays.
    pub except_days: Vec<jiff::civil::Date>,
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
    /// The sum in pico-dollars.
    pub fn total(&self) -> PicoUsd {
        [self.input, self.cached_input, self.cache_write, self.output, self.request].into_iter().sum()
    }

    /// The sum as recorded: whole nano-dollars, half up.
    pub fn recorded(&self) -> NanoUsd {
        self.total().to_nanos()
    }
}

impl PriceCard {
    /// The rates in force for a prompt of `prompt_tokens` at `at`.
    pub fn rates(&self, prompt_tokens: u64, at: Timestamp) -> &Rates {
        self.overrides
            .iter()
            .rev()
            .find(|(condition, _)| condition.holds(prompt_tokens, at))
            .map_or(&self.base, |(_, rates)| rates)
    }

    /// What an answer with this usage costs when it is processed at `at`:
    /// `(prompt − cached − written) × input + cached × cached_input + written × cache_write + completion × output + request`.
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
        if self.prompt_tokens_above.is_some_and(|limit| prompt_tokens <= limit) {
            return false;
        }
        if self.utc_minutes.is_empty() && self.weekdays == 0 && self.except_days.is_empty() {
            return true;
        }
        let utc = jiff::tz::Offset::UTC.to_datetime(at);
        let minute = u16::from(utc.hour().unsigned_abs()) * 60 + u16::from(utc.minute().unsigned_abs());
        let weekday_bit = 1_u8 << utc.weekday().to_monday_zero_offset();
        let in_window = self.utc_minutes.is_empty()
            || self.utc_minutes.iter().any(|&(start, end)| {
                if start <= end { (start..end).contains(&minute) } else { minute >= start || minute < end }
            });
        in_window
            && (self.weekdays == 0 || self.weekdays & weekday_bit != 0)
            && !self.except_days.contains(&utc.date())
    }
}
