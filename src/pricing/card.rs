//! A price card: one route's prices with their clock windows, prompt-length tiers and history, and what an answer costs by
//! them. Reading one allocates nothing: routing asks every candidate's card in every decision.

use std::sync::Arc;

use jiff::Timestamp;

use crate::units::{MoneyError, NanoUsd, PicoUsd, TokenPrice, Usage};

use super::condition::Condition;

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

/// Prices that hold from one moment on, until a later version's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first moment at which it holds; `None`: as far back as anyone asks.
    pub valid_from: Option<Timestamp>,
    /// The book's line behind it.
    pub entry: PriceEntry,
    /// Prices where no condition holds.
    pub base: Rates,
    /// Conditional prices; the last whose condition holds wins.
    pub overrides: Vec<(Condition, Rates)>,
}

/// One route's prices, with those that were before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceCard {
    /// The version with the earliest `valid_from`. It stands here by itself so that a card without history, which most
    /// are, is read without a look at the heap.
    first: Version,
    /// The others, by `valid_from`, which each of them has.
    later: Vec<Version>,
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

impl Version {
    /// Prices without history, as an operator or a test states them.
    pub fn always(entry: PriceEntry, base: Rates) -> Self {
        Self { valid_from: None, entry, base, overrides: Vec::new() }
    }

    /// The rates in force for a prompt of `prompt_tokens` at `at`, and the condition that put them there; `None`: the base.
    pub fn in_force(&self, prompt_tokens: u64, at: Timestamp) -> (&Rates, Option<&Condition>) {
        self.overrides
            .iter()
            .rev()
            .find(|(condition, _)| condition.holds(prompt_tokens, at))
            .map_or((&self.base, None), |(condition, rates)| (rates, Some(condition)))
    }

    /// Whether the prices are the same, whenever and wherever they were read.
    pub fn same_prices(&self, other: &Self) -> bool {
        let same_when = |(a, _): &&(Condition, Rates), (b, _): &&(Condition, Rates)| a.same_times(b);
        self.base == other.base
            && self.overrides.len() == other.overrides.len()
            && self.overrides.iter().zip(&other.overrides).all(|(a, b)| same_when(&a, &b) && a.1 == b.1)
    }
}

impl PriceCard {
    /// A card with one version.
    pub fn new(first: Version, fee_ppm: u32) -> Self {
        Self { first, later: Vec::new(), fee_ppm }
    }

    /// Adds a version to the history. `false`, and nothing is added, where one begins at that very moment.
    #[must_use]
    pub fn add(&mut self, version: Version) -> bool {
        let from = version.valid_from;
        match from.cmp(&self.first.valid_from) {
            std::cmp::Ordering::Equal => false,
            std::cmp::Ordering::Less => {
                self.later.insert(0, std::mem::replace(&mut self.first, version));
                true
            }
            std::cmp::Ordering::Greater => {
                match self.later.binary_search_by(|known| known.valid_from.cmp(&from)) {
                    Ok(_) => false,
                    Err(place) => {
                        self.later.insert(place, version);
                        true
                    }
                }
            }
        }
    }

    /// This card until `other` begins, and `other` from then on.
    #[must_use]
    pub fn followed_by(&self, other: &Self) -> Self {
        let begins = other.first.valid_from;
        let mut kept = self.versions().filter(|version| version.valid_from < begins);
        let Some(first) = kept.next() else { return other.clone() };
        Self {
            first: first.clone(),
            later: kept.chain(other.versions()).cloned().collect(),
            fee_ppm: other.fee_ppm,
        }
    }

    /// All versions, the earliest first.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.first).chain(&self.later)
    }

    pub(super) fn versions_mut(&mut self) -> impl Iterator<Item = &mut Version> {
        std::iter::once(&mut self.first).chain(&mut self.later)
    }

    /// The version in force at `at`: of those that had begun the latest. Before the first of them began, that one is
    /// assumed, and [`PriceCard::is_assumed`] says so.
    pub fn at(&self, at: Timestamp) -> &Version {
        let begun = |version: &&Version| version.valid_from.is_some_and(|from| from <= at);
        self.later.iter().rev().find(begun).unwrap_or(&self.first)
    }

    /// Whether no price is known for `at`, so that the first known one, of later, stands in.
    pub fn is_assumed(&self, at: Timestamp) -> bool {
        self.first.valid_from.is_some_and(|from| at < from)
    }

    /// The rates in force for a prompt of `prompt_tokens` at `at`.
    pub fn rates(&self, prompt_tokens: u64, at: Timestamp) -> &Rates {
        self.in_force(prompt_tokens, at).0
    }

    /// The rates in force, and the condition that put them there; `None`: the base.
    pub fn in_force(&self, prompt_tokens: u64, at: Timestamp) -> (&Rates, Option<&Condition>) {
        self.at(at).in_force(prompt_tokens, at)
    }

    /// The book's line behind the rates in force.
    pub fn entry_in_force(&self, prompt_tokens: u64, at: Timestamp) -> &PriceEntry {
        let version = self.at(at);
        let condition = version.in_force(prompt_tokens, at).1;
        condition.and_then(|condition| condition.entry.as_ref()).unwrap_or(&version.entry)
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
        PriceCard::new(Version { overrides, ..Version::always(entry, rates(1)) }, 0)
    }

    fn from(moment: &str, input: u64) -> Version {
        let entry =
            PriceEntry { source: "s".into(), as_of: moment[..10].into(), confidence: "fetched".into() };
        Version { valid_from: Some(at(moment)), ..Version::always(entry, rates(input)) }
    }

    const YEAR_END: &str = "2026-12-31T00:00:00Z";

    #[test]
    fn a_moment_is_priced_by_the_version_then_in_force() {
        let mut card = card(Vec::new());
        // In any order.
        assert!(card.add(from("2026-11-03T00:00:00Z", 3)) && card.add(from("2026-10-20T12:00:00Z", 2)));
        assert!(!card.add(from("2026-11-03T00:00:00Z", 4)), "two prices from one moment on");
        let input = |moment| card.rates(0, at(moment)).input.0;
        assert_eq!(
            [
                input("1970-01-01T00:00:00Z"),
                input("2026-10-20T11:59:59Z"),
                input("2026-10-20T12:00:00Z"),
                input("2026-11-02T23:59:59Z"),
                input("2026-11-03T00:00:00Z"),
                input(YEAR_END),
            ],
            [1, 1, 2, 2, 3, 3]
        );
        assert_eq!(&*card.entry_in_force(0, at("2026-10-21T00:00:00Z")).as_of, "2026-10-20");
        assert!(!card.is_assumed(at("1970-01-01T00:00:00Z")));
    }

    #[test]
    fn before_the_first_known_price_that_one_is_assumed() {
        let mut card = PriceCard::new(from("2026-11-03T00:00:00Z", 3), 0);
        assert!(card.add(from("2026-10-20T00:00:00Z", 2)));
        let early = at("2026-10-19T23:59:59Z");
        assert_eq!((card.rates(0, early).input.0, card.is_assumed(early)), (2, true));
        assert!(!card.is_assumed(at("2026-10-20T00:00:00Z")));
    }

    #[test]
    fn another_cards_history_takes_over_where_it_begins() {
        let mut book = card(Vec::new());
        assert!(book.add(from("2026-11-03T00:00:00Z", 2)) && book.add(from("2026-11-20T00:00:00Z", 3)));
        let contract = PriceCard::new(from("2026-11-10T00:00:00Z", 9), 7);
        let both = book.followed_by(&contract);
        let inputs: Vec<u64> = both.versions().map(|version| version.base.input.0).collect();
        assert_eq!((inputs, both.fee_ppm), (vec![1, 2, 9], 7));
        let whole = card(Vec::new());
        assert_eq!(book.followed_by(&whole), whole, "one without a beginning takes over altogether");
    }

    #[test]
    fn an_answer_of_last_month_costs_what_it_cost_then() {
        let mut card = card(Vec::new());
        assert!(card.add(from("2026-11-03T00:00:00Z", 5)));
        let usage = Usage { prompt: 100, completion: 10, ..Usage::default() };
        let cost = |moment| card.cost_of(&usage, at(moment)).total();
        assert_eq!((cost("2026-10-25T10:00:00Z"), cost(YEAR_END)), (PicoUsd(120), PicoUsd(600)));
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
        dear.first.base = Rates { output: TokenPrice(u64::MAX), ..rates(u64::MAX / 2) };
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
