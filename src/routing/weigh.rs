//! What a candidate is weighed by: its expected cost, its chance of being in time, the rest of the session, the objective.

use crate::pricing::Rates;
use crate::units::PicoUsd;

use super::cost::{self, Expected, ExpectedTokens};
use super::decision::{Candidate, Place};
use super::facts::RequestFacts;
use super::learn::prefix::Held;
use super::outlook::{Counted, RouteOutlook};
use super::plan::{self, Offer};
use super::policy::{Objective, Policy};
use super::route::{Route, RouteId};
use super::wishes;

/// What latencies are measured against where the policy has no `slo.ttft`, in seconds.
const TARGET_S: f64 = 1.0;
/// The time per token that `throughput` measures against, in seconds.
const TOKEN_TARGET_S: f64 = 0.02;
/// Stands for the cost of a route without a price, in USD: dearer than any.
const UNPRICED_USD: f64 = 1e6;
/// How long after a turn the next one of its session is expected, in seconds.
const SOON_S: f32 = 30.0;
/// A route that has brought fewer first tokens than this is new, and starts slowly.
pub const RAMP_HEARD: u32 = 8;
/// And an engine of our own: its first answer tells how fast the hardware is, within a factor of a hundred.
const OWN_RAMP_HEARD: u32 = 1;
/// A prompt of so many times another's length tells what that one would take.
const AS_LONG: f32 = 0.5;

/// What is the same for all candidates of a decision.
pub(super) struct Asked<'a> {
    policy: &'a Policy,
    facts: &'a RequestFacts<'a>,
    /// Seconds left until a first token is late.
    left_s: f32,
    /// Expected length of the answer, in tokens.
    output: u64,
    /// The logarithm of the tokens a second that the policy wants.
    log_rate: Option<f32>,
    /// The place of the route that the conversation stays with, where no cache is known to hold anything of the prompt.
    stays: Option<(usize, Held)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(policy: &'a Policy, facts: &'a RequestFacts<'a>, left_s: f32) -> Self {
        // A caller's word that this is the same conversation counts in money alone: what a first token takes is foretold,
        // and learnt, by what is known of the prompt itself.
        let known = || facts.held.iter().any(|held| held.tokens > 0);
        let stays = facts.wants.session.filter(|_| !known());
        let log_rate = policy.slo.tokens_per_second.map(f32::ln);
        Self { policy, facts, left_s, output: cost::output_tokens(policy, facts), log_rate, stays }
    }
}

/// `route`, the `place`th eligible one, as a candidate: all that its score rests on but the price of lateness.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts and shares for a ranking"
)]
pub(super) fn weigh(
    id: RouteId,
    place: usize,
    route: &Route,
    rates: Option<&Rates>,
    seen: &RouteOutlook,
    asked: &Asked<'_>,
) -> Candidate {
    let &Asked { policy, facts, left_s, output, .. } = asked;
    let prompt = facts.prompt_tokens;
    let held = facts.held.get(place).copied().unwrap_or_default();
    let held_tokens = u64::from(held.tokens).min(prompt);
    let hit = if held_tokens == 0 { 0.0 } else { seen.cache_hits.at(held.age_s) };
    let stays = asked.stays.filter(|(stays, _)| *stays == place).map(|(_, held)| held);
    let cached = match stays {
        Some(held) => (u64::from(held.tokens).min(prompt) as f32 * seen.cache_hits.at(held.age_s)) as u64,
        None => (held_tokens as f32 * hit) as u64,
    };
    let billed =
        if seen.counts == Counted::default() { prompt } else { (prompt as f32 * seen.counts.0) as u64 };
    let tokens =
        ExpectedTokens { uncached: billed.saturating_sub(cached), cached: cached.min(billed), output };
    let price = route.price.as_ref().zip(rates);
    let expected = price.map(|(card, rates)| cost::expected(card, rates, tokens));
    let cold = if cached == 0 {
        expected
    } else {
        let cold = |(card, rates)| cost::expected_prompt(card, rates, billed, 0);
        expected.zip(price.map(cold)).map(|(expected, prompt)| Expected { prompt, ..expected })
    };
    let queued = seen.queued_tokens;
    let mut offer = Offer {
        prompt_usd: expected.map_or(UNPRICED_USD, |expected| usd(expected.prompt)),
        answer_usd: expected.map_or(0.0, |expected| usd(expected.answer)),
        cold_usd: cold.map_or(UNPRICED_USD, |expected| usd(expected.total())),
        other_usd: 0.0,
        queue_usd: 0.0,
        error: seen.error.clamp(0.0, 1.0),
        hit,
        uncached_hit: (prompt - held_tokens) as f32 + queued,
        uncached_miss: prompt as f32 + queued,
        held_age_s: held.age_s,
        queued,
        slow: asked.log_rate.map_or(0.0, |log_rate| seen.pace.slower_than_log(log_rate)),
        cold_within: 0.0,
        in_time: 0.0,
        hoped: 0.0,
    };
    offer.cold_within = seen.first_token.within(left_s, offer.uncached_miss);
    offer.in_time = (1.0 - offer.error) * offer.within_of(offer.cold_within, seen, left_s);
    // One at a time finds out: while a prompt as long is being read there, whoever comes need not gamble.
    let is_tried = seen.waiting_tokens > AS_LONG * offer.uncached_miss;
    if policy.slo.ttft.is_some() && !is_tried && offer.is_doubtful(seen) {
        offer.hoped = (1.0 - offer.error) * offer.hopeful(seen, left_s) - offer.in_time;
    }
    let uncached = offer.uncached_expected();
    if route.local {
        // Work of our own is paid in queue, not in money.
        let read_s = seen.first_token.token_s();
        let work_s = f64::from(read_s * (uncached - queued).max(0.0));
        offer.queue_usd = facts.learned.behind.usd(f64::from(read_s * queued), work_s);
    }
    let typical_s = seen.first_token.typical_s(uncached);
    let in_policy = if policy.in_order { policy.place_of(route).unwrap_or(usize::MAX) } else { 0 };
    let small = |place: usize| u16::try_from(place).unwrap_or(u16::MAX);
    Candidate {
        route: id,
        cost_expected: expected.map(|expected: Expected| expected.total()),
        ttft_expected: (seen.heard > 0).then(|| plan::duration(typical_s)),
        cached_expected: cached,
        in_time: offer.in_time,
        session_usd: 0.0,
        score_usd: 0.0,
        late: 1.0,
        lateness: 0.0,
        ramping: seen.heard < if route.local { OWN_RAMP_HEARD } else { RAMP_HEARD },
        waits: false,
        offer,
        place: Place {
            model: facts.model_place(place),
            policy: small(in_policy),
            wish: if facts.wants.order.is_empty() { 0 } else { small(wishes::place_in_order(route, facts)) },
            slower: wishes::is_slower(seen, uncached, facts),
        },
        stays: stays.is_some(),
        eligible: small(place),
        last_resort: false,
    }
}

/// What a further turn of the session would cost on a route that was chosen for this one, and its chance of being late.
#[expect(clippy::cast_precision_loss, reason = "token counts for a ranking")]
pub(super) fn warm_turn(
    offer: &Offer,
    rates: Option<&Rates>,
    seen: &RouteOutlook,
    prompt: u64,
    limit_s: f32,
    left_s: f32,
) -> (f64, f32) {
    let hit = seen.cache_hits.at(SOON_S);
    let Some(rates) = rates else { return (UNPRICED_USD, 1.0) };
    let cached_share = rates.cached_input.map_or(1.0, |cached| cached.0 as f64 / rates.input.0.max(1) as f64);
    let cold = (offer.cold_usd - offer.answer_usd).max(0.0);
    let warm = cold * (cached_share * f64::from(hit) + 1.0 - f64::from(hit));
    let turn = Offer {
        hit,
        uncached_hit: (prompt as f32 * 0.02).max(256.0).min(prompt as f32),
        uncached_miss: prompt as f32,
        ..*offer
    };
    let answers = if turn.is_doubtful(seen) {
        turn.hopeful(seen, limit_s)
    } else if turn.is_cold_as(offer) && limit_s.to_bits() == left_s.to_bits() {
        turn.within_of(offer.cold_within, seen, limit_s)
    } else {
        turn.within(seen, limit_s)
    };
    let late = 1.0 - (1.0 - offer.error) * answers;
    (warm + offer.answer_usd, late)
}

/// What the objective adds to a candidate's score.
pub(super) fn urge(
    objective: Objective,
    offer: &Offer,
    seen: &RouteOutlook,
    policy: &Policy,
    lateness_usd: f64,
) -> f64 {
    if objective == Objective::Cost {
        return 0.0;
    }
    let uncached = offer.uncached_expected();
    // Errors make a route slower: another attempt follows.
    let works = f64::from(1.0 - offer.error).max(0.1);
    let target_s = policy.slo.ttft.map_or(TARGET_S, |ttft| ttft.as_secs_f64()).max(1e-3);
    let wait = f64::from(seen.first_token.typical_s(uncached)) / works / target_s;
    match objective {
        Objective::Cost => 0.0,
        Objective::Balanced => offer.cost_usd() * wait,
        Objective::Latency => lateness_usd * wait,
        Objective::Throughput => {
            lateness_usd * f64::from(seen.pace.seconds_per_token) / works / TOKEN_TARGET_S
        }
    }
}

/// USD for a ranking; no charge rests on it.
#[expect(clippy::cast_precision_loss, reason = "a ranking needs no last digit")]
pub fn usd(amount: PicoUsd) -> f64 {
    match i64::try_from(amount.0) {
        Ok(small) => small as f64 * 1e-12,
        Err(_) => wide_usd(amount),
    }
}

/// The same for more than nine million dollars: out of the way, since conversions of 128 bits are calls.
#[cold]
#[inline(never)]
#[expect(clippy::cast_precision_loss, reason = "a ranking needs no last digit")]
fn wide_usd(amount: PicoUsd) -> f64 {
    amount.0 as f64 * 1e-12
}
