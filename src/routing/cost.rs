//! What a request is expected to cost on a route, for comparing routes before anyone is asked.

use crate::pricing::{PriceCard, Rates};
use crate::units::PicoUsd;

use super::facts::{Endpoint, RequestFacts};
use super::policy::Policy;

/// Expected cost: the whole prompt at the plain input price, the answer as long as it is assumed to be, the request
/// fee, and what the operator pays on top to hold credit there.
pub fn expected(card: &PriceCard, rates: &Rates, policy: &Policy, facts: &RequestFacts<'_>) -> PicoUsd {
    let tokens = rates.input.times(facts.prompt_tokens)
        + rates.output.times(output_tokens(policy, facts))
        + rates.request;
    tokens + tokens.times_ppm(card.fee_ppm)
}

/// How long the answer is taken to be: the policy's assumption, or the caller's bound where that is lower.
pub fn output_tokens(policy: &Policy, facts: &RequestFacts<'_>) -> u64 {
    match facts.endpoint {
        Endpoint::Embeddings => 0,
        Endpoint::Chat | Endpoint::Completions => facts
            .output_tokens_max
            .map_or(policy.output_tokens_assumed, |max| max.min(policy.output_tokens_assumed)),
    }
}
