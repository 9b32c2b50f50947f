//! What reading a request's prompt costs at a route: as it is expected, fees included, and as it will be billed.

use crate::routing::Route;
use crate::routing::cost::{self, ExpectedTokens};
use crate::routing::decision::Candidate;
use crate::units::{PicoUsd, Usage};

use super::fallback::{Errand, Upstreams};

impl Upstreams {
    /// What reading the prompt is expected to cost at `route`.
    pub(super) fn prompt_cost(
        &self,
        errand: &Errand<'_>,
        route: &Route,
        candidate: &Candidate,
    ) -> Option<PicoUsd> {
        let card = route.price.as_ref()?;
        let prompt = errand.facts.prompt_tokens;
        let cached = candidate.cached_expected.min(prompt);
        let tokens = ExpectedTokens { uncached: prompt - cached, cached, output: 0 };
        Some(cost::expected(card, card.rates(prompt, self.clock.now().wall), tokens).prompt)
    }

    /// What reading the prompt will be billed at `route`, and how much of it from its cache.
    pub(super) fn prompt_charge(
        &self,
        errand: &Errand<'_>,
        route: &Route,
        candidate: &Candidate,
    ) -> (Usage, Option<PicoUsd>) {
        let prompt = errand.facts.prompt_tokens;
        let usage = Usage { prompt, cached: candidate.cached_expected.min(prompt), ..Usage::default() };
        let card = route.price.as_ref();
        (usage, card.map(|card| card.cost_of(&usage, self.clock.now().wall).total()))
    }
}
