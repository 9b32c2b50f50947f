//! What a request is expected to cost on a route, for comparing routes before anyone is asked.

use crate::pricing::{PriceCard, Rates};
use crate::units::PicoUsd;

use super::facts::RequestFacts;
use super::policy::Policy;

/// An expected cost, by what is paid once the prompt is read and what is paid for the answer. Fees are in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The prompt and the fee per request.
    pub prompt: PicoUsd,
    /// The answer.
    pub answer: PicoUsd,
}

impl Expected {
    /// Both.
    pub fn total(&self) -> PicoUsd {
        self.prompt + self.answer
    }
}

/// Tokens that a request is expected to be billed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpectedTokens {
    /// Prompt tokens at the plain price.
    pub uncached: u64,
    /// Prompt tokens from the route's cache.
    pub cached: u64,
    /// Answer tokens.
    pub output: u64,
}

/// Expected cost of `tokens` at `rates`, with what the operator pays on top to hold credit there.
pub fn expected(card: &PriceCard, rates: &Rates, tokens: ExpectedTokens) -> Expected {
    let answer = rates.output.times(tokens.output);
    Expected {
        prompt: expected_prompt(card, rates, tokens.uncached, tokens.cached),
        answer: answer + answer.times_ppm(card.fee_ppm),
    }
}

/// The prompt's part of that, of so many tokens.
pub fn expected_prompt(card: &PriceCard, rates: &Rates, uncached: u64, cached: u64) -> PicoUsd {
    let cached_price = rates.cached_input.unwrap_or(rates.input);
    let prompt = rates.input.times(uncached) + cached_price.times(cached) + rates.request;
    prompt + prompt.times_ppm(card.fee_ppm)
}

/// How long the answer is taken to be: as learnt, else the policy's assumption; the caller's bound where that is lower.
pub fn output_tokens(policy: &Policy, facts: &RequestFacts<'_>) -> u64 {
    if !facts.endpoint.writes() {
        return 0;
    }
    let usual = facts.learned.output_tokens.unwrap_or(policy.output_tokens_assumed);
    facts.output_tokens_max.map_or(usual, |most| most.min(usual))
}
