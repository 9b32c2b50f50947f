//! What a run counts and what its sellers bill: answers, cancelled attempts, probes, power, and first tokens in time or late.

use crate::replay::failover::failovers;
use crate::replay::router::{PROBE_TOKENS, Report};
use crate::replay::scenario::Scenario;
use crate::replay::tally::{FirstTokenOf, Group, Tally};
use crate::replay::trace::Arrival;
use crate::replay::world::World;
use crate::routing::{Route, RouteId};
use crate::units::{PicoUsd, Usage};

use super::{Attempt, seconds_of};

/// The books of one run.
pub(super) struct Books<'s> {
    scenario: &'s Scenario,
    tally: Tally,
    /// First attempts: when, and at which route.
    firsts: Vec<(u64, u16)>,
}

impl<'s> Books<'s> {
    /// Books without an entry, for a run through `world`, which is that of `scenario`.
    pub(super) fn open(world: &World<'_>, scenario: &'s Scenario) -> Self {
        let trace = world.trace;
        let first_token = |arrival: &Arrival| FirstTokenOf {
            at_us: arrival.at_us,
            took_us: u32::MAX,
            prompt_tokens: arrival.prompt_tokens,
            in_time: false,
            served_by: None,
        };
        let tally = Tally {
            requests: trace.arrivals.len() as u64,
            first_tokens: trace.arrivals.iter().map(first_token).collect(),
            served: vec![(0, PicoUsd::ZERO); world.routes.len()],
            by_tags: vec![Group::default(); trace.tags.len().max(1)],
            by_model: vec![Group::default(); trace.models.len().max(1)],
            ..Tally::default()
        };
        Self { scenario, tally, firsts: Vec::with_capacity(trace.arrivals.len()) }
    }

    /// An attempt began, a `second` one beside a silent one or not; `first` if it is its request's first.
    pub(super) fn asked(&mut self, route: RouteId, second: bool, first: bool, now_us: u64) {
        self.tally.attempts += 1;
        self.tally.hedges += u64::from(second);
        if first {
            self.firsts.push((now_us, route.0));
        }
    }

    /// An attempt at a seller was cancelled after its prompt had been read: the prompt is billed as far as this seller does
    /// so.
    pub(super) fn cancelled(&mut self, world: &World<'_>, attempt: &Attempt, now_us: u64) {
        let Some(arrival) = world.trace.arrivals.get(attempt.place) else { return };
        let usage = usage(attempt, arrival.prompt_tokens, 0);
        let whole = self.bill_of(world, attempt.route, &usage, now_us);
        let seller = self.scenario.routes.get(usize::from(attempt.route.0));
        let share = seller.map_or(0.0, |one| one.cancelled_prompt_billed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
        let billed = whole.times_ppm((share.clamp(0.0, 1.0) * 1e6) as u32);
        self.tally.wasted += billed;
    }

    /// A request's first token came from `route`, or never will. Returns whether it came within `limit_s`.
    pub(super) fn first_token(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: Option<RouteId>,
        limit_s: f64,
        now_us: u64,
    ) -> bool {
        let Some(arrival) = world.trace.arrivals.get(place) else { return false };
        let took = now_us.saturating_sub(arrival.at_us);
        let in_time = route.is_some() && seconds_of(took) <= limit_s;
        let tally = &mut self.tally;
        if let Some(one) = tally.first_tokens.get_mut(place) {
            one.in_time = in_time;
            one.served_by = route;
            if route.is_some() {
                one.took_us = u32::try_from(took).unwrap_or(u32::MAX - 1);
            }
        }
        tally.errors += u64::from(route.is_none());
        tally.in_time += u64::from(in_time);
        tally.local_late += u64::from(route.is_some() && route == world.node_id() && !in_time);
        for group in groups(tally, arrival) {
            group.requests += 1;
            group.in_time += u64::from(in_time);
        }
        in_time
    }

    /// An answer is over and billed. Returns what its seller reports of it.
    pub(super) fn answered(&mut self, world: &World<'_>, attempt: &Attempt, now_us: u64) -> Report {
        let arrival = world.trace.arrivals[attempt.place];
        let usage = usage(attempt, arrival.prompt_tokens, arrival.output_tokens);
        let cost = self.bill_of(world, attempt.route, &usage, now_us);
        let tally = &mut self.tally;
        tally.answers += cost;
        if let Some(served) = tally.served.get_mut(usize::from(attempt.route.0)) {
            served.0 += 1;
            served.1 += cost;
        }
        groups(tally, &arrival).for_each(|group| group.cost += cost);
        Report {
            prompt_tokens: usage.prompt,
            cached_tokens: usage.cached,
            output_tokens: usage.completion,
            wrote_us: now_us.saturating_sub(attempt.first_us),
        }
    }

    /// A probe was answered.
    pub(super) fn probed(&mut self, world: &World<'_>, route: RouteId, now_us: u64) {
        let usage = Usage { prompt: u64::from(PROBE_TOKENS), completion: 1, ..Usage::default() };
        self.tally.probes += self.bill_of(world, route, &usage, now_us);
    }

    /// The run is over.
    pub(super) fn close(mut self, world: &World<'_>) -> Tally {
        let hours = seconds_of(world.trace.span_us()) / 3_600.0;
        let usd = world.node.as_ref().map_or(0.0, |node| node.power_usd_per_hour * hours);
        #[expect(clippy::cast_possible_truncation, reason = "a cost of the scenario's")]
        let pico = (usd * 1e12) as i128;
        self.tally.power = PicoUsd(pico);
        self.tally.failovers = failovers(world, self.scenario, &self.firsts);
        self.tally
    }

    fn bill_of(&self, world: &World<'_>, route: RouteId, usage: &Usage, now_us: u64) -> PicoUsd {
        let begin = world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let passed = i64::try_from(now_us.saturating_sub(begin)).unwrap_or(i64::MAX);
        let begins = self.scenario.begins;
        let wall = begins.checked_add(jiff::SignedDuration::from_micros(passed)).unwrap_or(begins);
        world.routes.get(usize::from(route.0)).map_or(PicoUsd::ZERO, |route| bill(route, usage, wall))
    }
}

/// The groups that a request is counted with.
fn groups<'t>(tally: &'t mut Tally, arrival: &Arrival) -> impl Iterator<Item = &'t mut Group> {
    let by_tags = tally.by_tags.get_mut(arrival.tags as usize);
    by_tags.into_iter().chain(tally.by_model.get_mut(usize::from(arrival.model)))
}

fn usage(attempt: &Attempt, prompt: u32, output: u32) -> Usage {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a token count")]
    let reported = (f64::from(prompt) * attempt.usage_factor) as u64;
    Usage {
        prompt: reported,
        cached: u64::from(attempt.cached).min(reported),
        completion: u64::from(output),
        ..Usage::default()
    }
}

/// What the seller bills, and what holding credit there costs on top.
pub(in crate::replay) fn bill(route: &Route, usage: &Usage, at: jiff::Timestamp) -> PicoUsd {
    route.price.as_ref().map_or(PicoUsd::ZERO, |card| {
        let total = card.cost_of(usage, at).total();
        total + total.times_ppm(card.fee_ppm)
    })
}
