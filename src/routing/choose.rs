//! The decision: who may serve, best first, and why the others may not.
//!
//! Order: with `in_order` the place in the policy's `routes`; then the caller's own `provider.order`; then the objective:
//!
//! | objective | least of | ties |
//! |---|---|---|
//! | cost | expected cost, fee included; a route without a price comes last | time to first token |
//! | latency | time to first token ÷ (1 − error rate) | expected cost |
//! | throughput | time per token ÷ (1 − error rate) | expected cost |
//! | balanced | expected cost × (1 + time to first token ÷ target), target = `slo.ttft` or 1 s | time to first token |
//!
//! What is still equal goes by name, so that the same facts give the same order.

use std::cmp::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::units::{Now, PicoUsd};

use super::decision::{Candidate, Decision, Excluded, Exclusion};
use super::facts::{Observation, Observe, RequestFacts};
use super::policy::{Objective, Policy};
use super::route::{Route, RouteId, Routes};
use super::{cost, filter, latency};

/// What `balanced` measures the first token against where the policy has no `slo.ttft`.
const TTFT_TARGET: Duration = Duration::from_secs(1);

/// Decides one request. Allocates nothing for up to eight eligible routes, takes no lock, asks no clock.
///
/// Where the moment rules out everyone (breakers, pauses, the operator's faults), panic mode: the routes with an open
/// breaker come back as a last resort, soonest to return first. Routes whose provider asked for a pause never do:
/// `Decision::wait_min` says when to decide again. Routes that wait for the operator do only if they are all there is.
pub fn decide(
    routes: &Routes,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    observations: &impl Observe,
    now: Now,
) -> Decision {
    let mut decision = Decision::default();
    let mut ranked: SmallVec<[Ranked<'_>; 8]> = SmallVec::new();
    let mut held: SmallVec<[(Held, Ranked<'_>); 8]> = SmallVec::new();
    for &id in facts.eligible {
        // Eligible ids come from the same snapshot as the table, so there is a route for each.
        let Some(route) = routes.get(usize::from(id.0)) else { continue };
        let rates = route.price.as_ref().map(|card| card.rates(facts.prompt_tokens, now.wall));
        if let Some(why) = filter::lasting(route, rates, policy, facts) {
            decision.excluded.push(Excluded { route: id, why });
            continue;
        }
        let seen = observations.of(id);
        let cost =
            route.price.as_ref().zip(rates).map(|(card, rates)| cost::expected(card, rates, policy, facts));
        let one = Ranked::new(id, route, cost, &seen, policy, facts);
        match filter::passing(&seen, now.mono) {
            None => ranked.push(one),
            Some(why) => {
                held.extend(Held::from_exclusion(&why).map(|held| (held, one)));
                decision.excluded.push(Excluded { route: id, why });
            }
        }
    }
    if ranked.is_empty() {
        ranked.extend(last_resort(held));
    } else {
        ranked.sort_unstable_by(Ranked::compare);
    }
    decision.order.extend(ranked.iter().map(|one| one.candidate));
    decision
}

/// The objective in force: the caller's own, else the policy's.
pub fn objective(policy: &Policy, facts: &RequestFacts<'_>) -> Objective {
    facts.wants.objective.unwrap_or(policy.objective)
}

/// A candidate and what it is sorted by; smaller is better.
#[derive(Clone, Copy)]
struct Ranked<'a> {
    candidate: Candidate,
    place: usize,
    wanted: usize,
    score: i128,
    tie: i128,
    name: &'a str,
}

impl<'a> Ranked<'a> {
    fn new(
        id: RouteId,
        route: &'a Route,
        cost: Option<PicoUsd>,
        seen: &Observation,
        policy: &Policy,
        facts: &RequestFacts<'_>,
    ) -> Self {
        // A price that is not known is never taken for a low one.
        let money = cost.map_or(i128::MAX, |cost| cost.0);
        let wait = nanos(latency::first_token(seen));
        let (score, tie) = match objective(policy, facts) {
            Objective::Cost => (money, wait),
            Objective::Latency => (wait, money),
            Objective::Throughput => (nanos(latency::per_token(seen)), money),
            Objective::Balanced => {
                let target = nanos(policy.slo.ttft.unwrap_or(TTFT_TARGET)).max(1);
                let scaled = |cost: PicoUsd| cost.0.saturating_mul(target.saturating_add(wait)) / target;
                (cost.map_or(i128::MAX, scaled), wait)
            }
        };
        let order = facts.wants.order;
        Self {
            candidate: Candidate {
                route: id,
                cost_expected: cost,
                ttft_expected: seen.ttft,
                last_resort: false,
            },
            place: if policy.in_order { policy.place_of(route).unwrap_or(usize::MAX) } else { 0 },
            wanted: order.iter().position(|name| filter::is_named(name, route)).unwrap_or(order.len()),
            score,
            tie,
            name: &route.name,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (one.place, one.wanted, one.score, one.tie);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.name.cmp(other.name))
            .then_with(|| self.candidate.route.cmp(&other.candidate.route))
    }
}

/// Why a route that may serve is not asked now, and for how much longer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Breaker(Duration),
    Limited(Duration),
    Operator(Duration),
}

impl Held {
    fn from_exclusion(why: &Exclusion) -> Option<Self> {
        match why {
            Exclusion::BreakerOpen { remaining } => Some(Self::Breaker(*remaining)),
            Exclusion::RateLimited { remaining } => Some(Self::Limited(*remaining)),
            Exclusion::Disabled { remaining } => Some(Self::Operator(*remaining)),
            _ => None,
        }
    }
}

/// Of the routes that the moment rules out, those to ask all the same, soonest to return first.
fn last_resort(mut held: SmallVec<[(Held, Ranked<'_>); 8]>) -> impl Iterator<Item = Ranked<'_>> {
    let any = |test: fn(&Held) -> bool| held.iter().any(|(why, _)| test(why));
    let chosen: fn(&Held) -> bool = if any(|why| matches!(why, Held::Breaker(_))) {
        |why| matches!(why, Held::Breaker(_))
    } else if any(|why| matches!(why, Held::Limited(_))) {
        |_| false
    } else {
        |_| true
    };
    held.retain(|(why, _)| chosen(why));
    held.sort_unstable_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.compare(b)));
    held.into_iter().map(|(_, mut ranked)| {
        ranked.candidate.last_resort = true;
        ranked
    })
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}
