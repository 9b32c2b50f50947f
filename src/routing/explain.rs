//! A decision in words and figures: one value for `tollway explain`, the admin page and the message of a refusal.
//!
//! Money and prices are decimal text, so that nothing is lost on the way through JSON.

mod sentence;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::pricing::PriceEntry;
use crate::units::Now;

use super::decision::{Candidate, Decision};
use super::facts::RequestFacts;
use super::policy::{Objective, Policy};
use super::route::{Route, RouteId, Routes};
use super::{choose, cost};

/// Why a request goes where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The decision in one line.
    pub sentence: String,
    /// The model as the caller wrote it.
    pub model: String,
    /// The policy that decided.
    pub policy: String,
    /// `cost`, `latency`, `throughput` or `balanced`.
    pub objective: String,
    /// The moment whose prices are in force.
    pub at: String,
    /// Prompt length in tokens, estimated.
    pub prompt_tokens: u64,
    /// Answer length in tokens that the expected cost assumes.
    pub output_tokens_assumed: u64,
    /// Who is asked, in order.
    pub candidates: Vec<Offer>,
    /// Who is not, and why.
    pub excluded: Vec<LeftOut>,
}

/// A route that may serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// `provider/upstream-model`.
    pub route: String,
    /// The weights behind it.
    pub checkpoint: String,
    /// Prices in force; `None`: not known, and the policy allows that.
    pub price: Option<PriceInForce>,
    /// What this request is expected to cost there, fee included, in USD.
    pub cost_usd_expected: Option<String>,
    /// Predicted time to first token in milliseconds; `None`: never seen.
    pub ttft_ms_expected: Option<u64>,
    /// Asked only because nothing else is left.
    pub last_resort: bool,
}

/// Prices that hold for this prompt at this moment, in USD per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceInForce {
    /// Plain prompt tokens.
    pub input: String,
    /// Prompt tokens from the provider's cache.
    pub cached_input: Option<String>,
    /// Answer tokens.
    pub output: String,
    /// Why these and not the base prices (`Mon-Fri 01:00-04:00 UTC`).
    pub because: Option<String>,
    /// The first moment at which they hold; `None`: always.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// What the operator pays on top to hold credit there, in parts per million.
    pub fee_ppm: u32,
    /// Where the price was read.
    pub source: String,
    /// When.
    pub as_of: String,
    /// How sure the book is.
    pub confidence: String,
}

/// A route left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `provider/upstream-model`.
    pub route: String,
    /// A stable name of the reason (`price_over`).
    pub code: String,
    /// The reason in words, with the fix.
    pub why: String,
}

impl Explanation {
    /// Explains `decision`, which was made from these facts at `now`.
    pub fn new(
        routes: &Routes,
        policy: &Policy,
        decision: &Decision,
        facts: &RequestFacts<'_>,
        now: Now,
    ) -> Self {
        let offers = decision.order.iter().filter_map(|candidate| {
            Some(Offer::new(route_of(routes, candidate.route)?, candidate, facts, now))
        });
        let excluded = decision.excluded.iter().filter_map(|excluded| {
            Some(LeftOut {
                route: route_of(routes, excluded.route)?.name.to_string(),
                code: excluded.why.code().to_owned(),
                why: excluded.why.to_string(),
            })
        });
        let (candidates, excluded): (Vec<Offer>, Vec<LeftOut>) = (offers.collect(), excluded.collect());
        Self {
            sentence: sentence::of(policy, facts, &candidates, &excluded),
            model: facts.model.to_owned(),
            policy: policy.name.to_string(),
            objective: choose::objective(policy, facts).name().to_owned(),
            at: jiff::Timestamp::from_second(now.wall.as_second()).unwrap_or(now.wall).to_string(),
            prompt_tokens: facts.prompt_tokens,
            output_tokens_assumed: cost::output_tokens(policy, facts),
            candidates,
            excluded,
        }
    }
}

impl Objective {
    /// Its name in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Balanced => "balanced",
        }
    }
}

impl Offer {
    fn new(route: &Route, candidate: &Candidate, facts: &RequestFacts<'_>, now: Now) -> Self {
        Self {
            route: route.name.to_string(),
            checkpoint: route.checkpoint.to_string(),
            price: PriceInForce::new(route, facts.prompt_tokens, now),
            cost_usd_expected: candidate.cost_expected.map(|cost| cost.to_nanos().to_string()),
            ttft_ms_expected: candidate
                .ttft_expected
                .map(|ttft| u64::try_from(ttft.as_millis()).unwrap_or(u64::MAX)),
            last_resort: candidate.last_resort,
        }
    }
}

impl PriceInForce {
    /// The prices of `route` for a prompt of this length, if it has any.
    pub fn new(route: &Route, prompt_tokens: u64, now: Now) -> Option<Self> {
        let card = route.price.as_ref()?;
        let (rates, condition) = card.in_force(prompt_tokens, now.wall);
        let valid_from = card.at(now.wall).valid_from;
        let assumed = valid_from.filter(|_| card.is_assumed(now.wall));
        let assumed = assumed.map(|from| format!("assumed: the first known price is from {from}"));
        let because: Vec<String> = condition.map(ToString::to_string).into_iter().chain(assumed).collect();
        let PriceEntry { source, as_of, confidence } = card.entry_in_force(prompt_tokens, now.wall);
        Some(Self {
            input: rates.input.to_string(),
            cached_input: rates.cached_input.map(|price| price.to_string()),
            output: rates.output.to_string(),
            because: (!because.is_empty()).then(|| because.join("; ")),
            valid_from: valid_from.map(|from| from.to_string()),
            fee_ppm: card.fee_ppm,
            source: source.to_string(),
            as_of: as_of.to_string(),
            confidence: confidence.to_string(),
        })
    }
}

/// Dollars without trailing zeros (`0.00021`), for running text.
fn short_usd(text: &str) -> &str {
    let short = text.trim_end_matches('0');
    short.strip_suffix('.').unwrap_or(short)
}

fn route_of(routes: &Routes, id: RouteId) -> Option<&Route> {
    routes.get(usize::from(id.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::NanoUsd;

    #[test]
    fn running_text_has_no_trailing_zeros() {
        for (nanos, text) in [(210_000, "0.00021"), (1_000_000_000, "1"), (0, "0"), (10_000_000_000, "10")] {
            assert_eq!(short_usd(&NanoUsd(nanos).to_string()), text);
        }
    }
}
