//! The most that a request can cost, so that it can be held before anyone is asked. Pure, exact, never below what `settle`
//! charges for an answer within the bounds that it is given.

use jiff::Timestamp;

use crate::pricing::PriceCard;
use crate::units::{NanoUsd, PicoUsd};

/// Bounds of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Prompt tokens at most.
    pub prompt: u64,
    /// Answer tokens at most, of all choices together.
    pub output: u64,
    /// Attempts at most, hedges among them; above zero.
    pub attempts: u32,
    /// Searches at most, each of which costs the fee of a request; one for whatever is no search.
    pub searches: u64,
    /// Whether an answer that broke off may be gone on with: its text is then part of the next one's prompt.
    pub resumes: bool,
}

/// Prices at their worst between two moments, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Worst {
    input: PicoUsd,
    output: PicoUsd,
    request: PicoUsd,
}

impl Bounds {
    /// The most that all attempts at `cards` can cost, whichever of them are asked, for a request that is processed between
    /// `from` and `until`: the dearest whole answer, and the prompt once more for each further attempt, since who is cancelled
    /// or breaks off bills that. Whole nano-dollars, rounded up, with one more for each attempt's own rounding.
    ///
    /// Prices are looked up at both ends: a window of prices shorter than a request may last would be overlooked.
    pub fn ceiling<'c>(
        &self,
        cards: impl IntoIterator<Item = &'c PriceCard>,
        from: Timestamp,
        until: Timestamp,
    ) -> NanoUsd {
        let (mut whole, mut further) = (PicoUsd::ZERO, PicoUsd::ZERO);
        for card in cards {
            let worst = self.worst(card, from, until);
            let prompt = times(worst.input, self.prompt) + times(worst.request, self.searches.max(1));
            whole = whole.max(prompt + times(worst.output, self.output));
            let read_again = if self.resumes { times(worst.input, self.output) } else { PicoUsd::ZERO };
            further = further.max(prompt + read_again);
        }
        let attempts = i128::from(self.attempts.max(1));
        let picos = whole.0.saturating_add(further.0.saturating_mul(attempts - 1));
        if picos == 0 {
            return NanoUsd::ZERO;
        }
        let nanos = picos.saturating_add(999).div_euclid(1_000).saturating_add(attempts);
        NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// How many answer tokens `amount` pays for, at the worst of `cards`; `None`: any number, the answer is free.
    pub fn output_within<'c>(
        &self,
        amount: NanoUsd,
        cards: impl IntoIterator<Item = &'c PriceCard> + Clone,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<u64> {
        let silent = Self { output: 0, ..*self }.ceiling(cards.clone(), from, until);
        // One card may be the dearest to write, and another to read again.
        let (mut write, mut read) = (PicoUsd::ZERO, PicoUsd::ZERO);
        for card in cards {
            let worst = self.worst(card, from, until);
            (write, read) = (write.max(worst.output), read.max(worst.input));
        }
        let again = if self.resumes { u64::from(self.attempts.max(1)) - 1 } else { 0 };
        let each = write.0.saturating_add(times(read, again).0);
        if each <= 0 {
            return None;
        }
        let left = i128::from(amount.0.saturating_sub(silent.0)).saturating_mul(1_000);
        Some(u64::try_from(left.div_euclid(each)).unwrap_or(0))
    }

    fn worst(&self, card: &PriceCard, from: Timestamp, until: Timestamp) -> Worst {
        let mut worst = Worst::default();
        let tiers = |at| {
            let above =
                card.at(at).overrides.iter().filter_map(|(condition, _)| condition.prompt_tokens_above);
            let within = above.map(|above| above.saturating_add(1)).filter(|first| *first <= self.prompt);
            // A prompt may turn out shorter than it may be, and a shorter one may be dearer.
            std::iter::once(0).chain(within).map(move |prompt| (prompt, at))
        };
        for (prompt, at) in tiers(from).chain(tiers(until)) {
            let rates = card.rates(prompt, at);
            let input =
                [Some(rates.input), rates.cached_input, rates.cache_write].into_iter().flatten().max();
            worst.input = worst.input.max(input.unwrap_or_default().times(1));
            worst.output = worst.output.max(rates.output.times(1));
            worst.request = worst.request.max(rates.request);
        }
        worst
    }
}

fn times(each: PicoUsd, tokens: u64) -> PicoUsd {
    PicoUsd(each.0.saturating_mul(i128::from(tokens)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::settle;
    use crate::pricing::{Condition, PriceEntry, Rates, Version};
    use crate::units::{Reported, TokenPrice, Usage};

    fn card(input: u64, cached: u64, written: u64, output: u64, request: i128) -> PriceCard {
        let entry =
            PriceEntry { source: "t".into(), as_of: "2026-11-01".into(), confidence: "operator".into() };
        let rates = Rates {
            input: TokenPrice(input),
            cached_input: Some(TokenPrice(cached)),
            cache_write: Some(TokenPrice(written)),
            output: TokenPrice(output),
            request: PicoUsd(request),
        };
        PriceCard::new(Version::always(entry, rates), 0)
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    proptest! {
        #[test]
        fn no_answer_within_its_bounds_costs_more(
            prices in prop::collection::vec((0_u64..5_000_000, 0_u64..5_000_000, 0_u64..5_000_000, 0_u64..9_000_000, 0_i128..9_000_000), 1..4),
            prompt in 0_u64..200_000,
            output in 0_u64..50_000,
            lost in 0_usize..4,
            shares in (0.0_f64..=1.0, 0.0_f64..=1.0, 0.0_f64..=1.0, 0.0_f64..=1.0),
        ) {
            let cards: Vec<_> = prices.iter().map(|p| card(p.0, p.1, p.2, p.3, p.4)).collect();
            let attempts = u32::try_from(lost).unwrap() + 1;
            let bounds = Bounds { prompt, output, attempts, searches: 1, resumes: false };
            let held = bounds.ceiling(&cards, AT, AT);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a draw")]
            let of = |whole: u64, share: f64| (whole as f64 * share) as u64;
            let read = of(prompt, shares.0);
            let cached = of(read, shares.1);
            let usage = Usage {
                prompt: read,
                cached,
                cache_write: of(read - cached, shares.2),
                completion: of(output, shares.3),
                ..Usage::default()
            };
            let report = Reported { usage, ..Reported::default() };
            for answered in &cards {
                let mut cost = settle(Some(answered), Some(&report), usage, true, AT).cost().unwrap().0;
                for at in 0..lost {
                    let asked = &cards[at % cards.len()];
                    let prompt_alone = Usage { completion: 0, ..usage };
                    cost += asked.cost_of(&prompt_alone, AT).recorded().0;
                }
                prop_assert!(cost <= held.0, "{cost} > {}", held.0);
            }
        }

        #[test]
        fn what_an_amount_pays_for_costs_no_more(amount in 0_i64..1_000_000_000, prompt in 0_u64..10_000, attempts in 1_u32..4, resumes: bool) {
            let cards = [card(140_000, 28_000, 140_000, 280_000, 5), card(100_000, 10_000, 100_000, 400_000, 0)];
            let bounds = Bounds { prompt, output: 0, attempts, searches: 1, resumes };
            let least = bounds.ceiling(&cards, AT, AT);
            prop_assume!(amount >= least.0);
            let output = bounds.output_within(NanoUsd(amount), &cards, AT, AT).unwrap();
            let held = Bounds { output, ..bounds }.ceiling(&cards, AT, AT);
            prop_assert!(held.0 <= amount, "{} > {amount}", held.0);
        }
    }

    #[test]
    fn a_dearer_tier_between_and_the_fee_of_each_search_are_held_too() {
        let above = |tokens, input: u64| {
            let condition = Condition { prompt_tokens_above: Some(tokens), ..Condition::default() };
            let Rates { output, request, cached_input, cache_write, .. } = card(0, 0, 0, 0, 0).at(AT).base;
            (condition, Rates { input: TokenPrice(input), output, request, cached_input, cache_write })
        };
        let version = Version {
            overrides: vec![above(1_000, 5_000), above(10_000, 10)],
            ..card(100, 0, 0, 0, 0).at(AT).clone()
        };
        let tiers = PriceCard::new(version, 0);
        let bounds = Bounds { prompt: 20_000, output: 0, attempts: 1, searches: 1, resumes: false };
        let middle = Usage { prompt: 9_000, ..Usage::default() };
        let held = bounds.ceiling([&tiers], AT, AT);
        let charged = tiers.cost_of(&middle, AT).recorded();
        assert!(charged <= held, "{charged} > {held}");

        let fee = card(0, 0, 0, 0, 7_000_000);
        let bounds = Bounds { searches: 3, ..bounds };
        let report = Reported { searches: 3, ..Reported::default() };
        let charged = settle(Some(&fee), Some(&report), Usage::default(), true, AT).cost().unwrap();
        let held = bounds.ceiling([&fee], AT, AT);
        assert!(charged.0 == 21_000 && charged <= held, "{charged} > {held}");
    }
}
