//! The production router under virtual time: the same decisions, pursuits and estimators that the gateway uses; and the
//! informed oracle, which differs in nothing but what it knows.

mod knowing;

use std::time::Duration;

use crate::replay::world::{Lucks, World};
use crate::routing::learn::breaker::State as Breaker;
use crate::routing::learn::dual::LatenessPrice;
use crate::routing::learn::first_token::{Prior, Reading};
use crate::routing::learn::hedge_spend::{HedgeSpend, PROBE_SHARE_PPM, Stake};
use crate::routing::learn::lengths::Lengths;
use crate::routing::learn::prefix::{Block, Ledger, Parts, tick};
use crate::routing::learn::queue_price::{Demanded, QueuePrice};
use crate::routing::learn::retries::RetryBudget;
use crate::routing::learn::route::{AttemptId, Failing, RouteMind};
use crate::routing::learn::sessions::Sessions;
use crate::routing::pursuit::Step;
use crate::routing::{Candidate, Decision, Observe, Policy, RouteId, RouteOutlook};
use crate::units::{Mono, Now, PicoUsd, Usage};

use super::{Loss, Move, Report, Router};
use knowing::State;

/// How old an outlook may be before evidence, or time alone, renews it.
const OUTLOOK_LASTS_US: u64 = 100_000;
const OUTLOOK_AGES_US: u64 = 250_000;
const OUTLOOK_RESTS_US: u64 = 2_000_000;
/// How far back the prefix ledger looks.
const HORIZON_S: u32 = 3_600;
/// A prompt of which this much was seen lately extends a session.
const EXTENDS: f64 = 0.5;
/// A route unheard for this long is probed, while its model has traffic.
const PROBE_AFTER_US: u64 = 15_000_000;
const PROBE_TRAFFIC_US: u64 = 600_000_000;

/// What the router goes by.
#[derive(Debug)]
pub enum Knows {
    /// What it has learnt.
    Learnt,
    /// What is so; λ stands still at so many USD.
    Truth(Lucks, f64),
}

/// The router.
#[derive(Debug)]
pub struct Ours<'a> {
    policies: &'a [Policy],
    knows: Knows,
    eligible: Vec<Vec<RouteId>>,
    minds: Vec<Shown>,
    outlooks: Vec<RouteOutlook>,
    ledger: Ledger,
    lengths: Lengths,
    sessions: Sessions,
    /// By policy and model.
    promises: Vec<LatenessPrice>,
    models: usize,
    queue: QueuePrice,
    retries: RetryBudget,
    hedged: HedgeSpend,
    probed: HedgeSpend,
    states: Vec<Option<Box<State>>>,
    #[expect(clippy::vec_box, reason = "their boxes are what is kept")]
    spare: Vec<Box<State>>,
    decision: Decision,
    blocks: Vec<Block>,
    began: Mono,
    wall: jiff::Timestamp,
    last_asked_us: u64,
    /// When it is told all that is so.
    told: Option<(u64, Lucks)>,
    /// Looks by name at which less was possible than wanted, and all.
    pub degraded: [u64; 2],
}

#[derive(Debug, Default)]
struct Shown {
    mind: RouteMind,
    at_us: u64,
    dirty: bool,
    urgent: bool,
    probed_us: u64,
}

fn mono(now_us: u64) -> Mono {
    Mono(now_us.saturating_mul(1_000))
}

/// Spreads a block's number over 64 bits, as a hash would.
const fn hash(block: u32) -> u64 {
    let mut x = (block as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 31)
}

impl<'a> Ours<'a> {
    /// A router that decides by `policies` in `world`, whose trace begins at `wall`.
    pub fn new(world: &World<'_>, policies: &'a [Policy], knows: Knows, wall: jiff::Timestamp) -> Self {
        let routes = world.routes.len();
        let models = world.trace.models.len().max(1);
        let eligible = (0..models)
            .map(|model| {
                let name = world.trace.models.get(model).map_or("", |name| name);
                let serves = |route: &crate::routing::Route| name.is_empty() || *route.checkpoint == *name;
                let named: Vec<RouteId> =
                    ids(world).filter(|id| serves(&world.routes[usize::from(id.0)])).collect();
                // A market of one model sells it under any name.
                if named.is_empty() { ids(world).collect() } else { named }
            })
            .collect();
        let blocks = usize::try_from(world.trace.blocks).unwrap_or(0).clamp(64, 1 << 20);
        Self {
            policies,
            eligible,
            minds: (0..routes)
                .map(|at| {
                    let own = world.node_id().is_some_and(|node| usize::from(node.0) == at);
                    let prior = if own { Prior::OWN } else { Prior::default() };
                    Shown { mind: RouteMind::new(prior), ..Shown::default() }
                })
                .collect(),
            outlooks: vec![RouteOutlook::default(); routes],
            ledger: Ledger::new(blocks * 2),
            lengths: Lengths::default(),
            sessions: Sessions::default(),
            promises: policies
                .iter()
                .flat_map(|policy| vec![LatenessPrice::new(policy.slo.attainment); models])
                .collect(),
            models,
            queue: QueuePrice::default(),
            retries: RetryBudget::default(),
            hedged: HedgeSpend::default(),
            probed: HedgeSpend::default(),
            states: (0..world.trace.arrivals.len()).map(|_| None).collect(),
            spare: Vec::new(),
            decision: Decision::default(),
            blocks: Vec::new(),
            began: mono(world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us)),
            wall,
            knows,
            last_asked_us: 0,
            told: None,
            degraded: [0; 2],
        }
    }

    /// Says who may serve each of the trace's models, where their names do not.
    #[must_use]
    pub fn with_eligible(mut self, eligible: &[Vec<RouteId>]) -> Self {
        for (own, given) in self.eligible.iter_mut().zip(eligible) {
            own.clone_from(given);
        }
        self
    }

    /// From `at_us` on it knows what is so, whatever it has learnt; λ stands still then.
    #[must_use]
    pub fn told_from(self, at_us: u64, lucks: Lucks) -> Self {
        Self { told: Some((at_us, lucks)), ..self }
    }

    fn now(&self, now_us: u64) -> Now {
        let passed = mono(now_us).since(self.began);
        let wall = jiff::SignedDuration::try_from(passed).ok().and_then(|by| self.wall.checked_add(by).ok());
        Now { mono: mono(now_us), wall: wall.unwrap_or(self.wall) }
    }

    /// A request that is still silent at its limit is late, whatever comes: that need not be waited for.
    fn count_late(&mut self, state: &mut State, now_us: u64) {
        let Some(policy) = self.policies.get(state.policy) else { return };
        if !state.late && state.pursuit.is_late(mono(now_us)) {
            state.late = true;
            self.promises[state.policy * self.models + state.facts.model]
                .finished(true, policy.slo.attainment);
        }
    }

    /// Whether an extra attempt has a credit.
    fn may_retry(&mut self, candidate: &Candidate, now_us: u64) -> bool {
        let (now, mind) = (mono(now_us), self.minds.get(usize::from(candidate.route.0)));
        mind.is_some_and(|shown| shown.mind.is_known_good(now))
            || self.retries.withdraw_to_go_on(now, candidate.last_resort)
    }

    fn mind(&mut self, route: RouteId, urgent: bool) -> Option<&mut RouteMind> {
        let shown = self.minds.get_mut(usize::from(route.0))?;
        shown.dirty = true;
        shown.urgent |= urgent;
        Some(&mut shown.mind)
    }
}

fn ids(world: &World<'_>) -> impl Iterator<Item = RouteId> + use<> {
    (0..u16::try_from(world.routes.len()).unwrap_or(u16::MAX)).map(RouteId)
}

impl Router for Ours<'_> {
    fn open(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move {
        let Some(mut state) = self.state(world, place, now_us) else { return Move::GiveUp };
        self.last_asked_us = now_us;
        if let Some((_, lucks)) = self.told.take_if(|(at_us, _)| now_us >= *at_us) {
            let lateness_usd = self.promises.first().and_then(LatenessPrice::usd);
            self.knows = Knows::Truth(lucks, lateness_usd.unwrap_or_default());
        }
        self.refresh(world, place, now_us);
        self.decide(world, &state, now_us);
        let first = state.pursuit.tried().is_empty();
        if first {
            let promise = &mut self.promises[state.policy * self.models + state.facts.model];
            promise.decided(&self.decision);
            if let Some(node) = world.node_id() {
                let at = self.eligible[state.facts.model].iter().position(|id| *id == node);
                let held = at.and_then(|at| state.held.get(at)).copied().unwrap_or_default();
                let seen = &self.outlooks[usize::from(node.0)];
                let limit = state.pursuit.limit();
                if let Some(demanded) = Demanded::of(&self.decision, limit, state.facts.prompt, held, seen) {
                    let here = self.decision.order.first().is_some_and(|first| first.route == node);
                    self.queue.decided(mono(now_us), demanded, here);
                }
            }
            self.degraded[1] += 1;
            self.degraded[0] += u64::from(self.decision.degraded == crate::routing::Degraded::Slo);
        }
        let step = state.pursuit.open(&self.decision, mono(now_us));
        let next = match step {
            Step::Ask(candidate) if first || self.may_retry(&candidate, now_us) => {
                state.chosen = Some(candidate);
                Move::Ask(candidate.route)
            }
            Step::Ask(_) | Step::GiveUp => Move::GiveUp,
            Step::Pause(until) => Move::Pause(until.0 / 1_000),
            Step::Wait => Move::Wait,
        };
        self.states[place] = Some(state);
        next
    }

    fn look_at_us(&self, place: usize) -> Option<u64> {
        let state = self.states.get(place)?.as_ref()?;
        state.pursuit.look_at().map(|at| at.0.div_ceil(1_000))
    }

    fn look(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move {
        let Some(mut state) = self.states.get_mut(place).and_then(Option::take) else { return Move::Wait };
        self.count_late(&mut state, now_us);
        self.refresh(world, place, now_us);
        self.decide(world, &state, now_us);
        let silent = state.pursuit.running().first().map(|running| running.candidate);
        let seen = silent.map(|one| self.outlooks[..].outlook(0, one.route));
        let step = seen.map_or(Step::Wait, |seen| state.pursuit.silence(&self.decision, seen, mono(now_us)));
        let share_ppm = self.policies.get(state.policy).map_or(0, |policy| policy.hedging.share_ppm());
        let next = match step {
            Step::Ask(candidate) => {
                let second = candidate.prompt_expected();
                let at_stake = silent.map_or_else(Stake::default, |silent| Stake::new(&silent, second));
                let whole = candidate.cost_expected.unwrap_or_default();
                let now = mono(now_us);
                if self.hedged.take(now, at_stake.most(), whole, share_ppm) {
                    if self.retries.withdraw(now) {
                        (state.chosen, state.stake) = (Some(candidate), at_stake);
                        Move::Ask(candidate.route)
                    } else {
                        self.hedged.settle(at_stake.most(), PicoUsd::ZERO);
                        Move::Wait
                    }
                } else {
                    Move::Wait
                }
            }
            _ => Move::Wait,
        };
        self.states[place] = Some(state);
        next
    }

    fn asked(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64) {
        let Some(mut state) = self.states.get_mut(place).and_then(Option::take) else { return };
        if let Some(candidate) = state.chosen.take() {
            state.pursuit.asked(candidate, &self.decision, mono(now_us));
            if let Some(mind) = self.mind(route, true) {
                mind.began(mono(now_us), AttemptId(attempt), candidate.reading());
            }
        }
        self.states[place] = Some(state);
        let _ = world;
    }

    fn began(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64) {
        let queues = world.node_id() == Some(route);
        self.retries.answered(mono(now_us));
        if let Some(mind) = self.mind(route, false) {
            mind.answered(mono(now_us), AttemptId(attempt), queues, true);
        }
        if let (Knows::Learnt, Some(arrival)) = (&self.knows, world.trace.arrivals.get(place)) {
            let (mut parts, mut from) = (Parts::default(), 0);
            for link in world.trace.links_of(arrival) {
                let before = self.ledger.touch(hash(link.block), route, tick(mono(now_us)));
                parts.push(before, link.tokens_end.saturating_sub(from));
                from = link.tokens_end;
            }
            if queues && let Some(mind) = self.mind(route, false) {
                mind.read(mono(now_us), &parts);
            }
        }
    }

    fn lost(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        loss: Loss,
        now_us: u64,
    ) {
        let queues = world.node_id() == Some(route);
        let (now, id) = (mono(now_us), AttemptId(attempt));
        if let Some(mind) = self.mind(route, !matches!(loss, Loss::Abandoned)) {
            learn(mind, now, id, loss, queues);
        }
        if let Some(state) = self.states.get_mut(place).and_then(Option::as_mut) {
            if matches!(loss, Loss::Abandoned) {
                self.hedged.settle(state.stake.most(), state.stake.lost(route));
            }
            state.pursuit.lost(route);
        }
    }

    fn ended(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        report: &Report,
        now_us: u64,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let wrote_s = report.wrote_us as f32 / 1e6;
        let Some(state) = self.states.get_mut(place).and_then(Option::take) else { return };
        self.lengths.seen(state.facts.asker, report.output_tokens);
        let eligible = &self.eligible[state.facts.model];
        let held = eligible.iter().position(|id| *id == route).and_then(|at| state.held.get(at)).copied();
        if let Some(mind) = self.mind(route, false) {
            mind.ended(Some((report.output_tokens, wrote_s)));
            mind.counted(state.facts.prompt, report.prompt_tokens);
            mind.billed(
                mono(now_us),
                AttemptId(attempt),
                held.unwrap_or_default(),
                report.prompt_tokens,
                report.cached_tokens,
            );
        }
        let usage = Usage {
            prompt: report.prompt_tokens,
            cached: report.cached_tokens,
            completion: report.output_tokens,
            ..Usage::default()
        };
        let wall = self.now(now_us).wall;
        let card = world.routes.get(usize::from(route.0)).and_then(|route| route.price.as_ref());
        let cost = card.map(|card| card.cost_of(&usage, wall).total()).unwrap_or_default();
        self.hedged.spent(mono(now_us), cost);
        self.probed.spent(mono(now_us), cost);
        if self.spare.len() < 256 {
            self.spare.push(state);
        }
    }

    fn finished(&mut self, world: &World<'_>, place: usize, late: bool, _now_us: u64) {
        let Some(state) = self.states.get(place).and_then(Option::as_ref) else { return };
        let Some(policy) = self.policies.get(state.policy) else { return };
        if !state.late {
            self.promises[state.policy * self.models + state.facts.model]
                .finished(late, policy.slo.attainment);
        }
        let _ = world;
    }

    fn probe(&mut self, world: &World<'_>, now_us: u64) -> Option<RouteId> {
        if !matches!(self.knows, Knows::Learnt)
            || !self.policies.iter().any(|policy| policy.probe)
            || now_us.saturating_sub(self.last_asked_us) > PROBE_TRAFFIC_US
        {
            return None;
        }
        let node = world.node_id();
        let wall = self.now(now_us).wall;
        for (at, shown) in self.minds.iter_mut().enumerate() {
            let id = RouteId(u16::try_from(at).unwrap_or(u16::MAX));
            let heard_us = shown.mind.heard_at().map_or(0, |at| at.0 / 1_000);
            if node == Some(id) || shown.probed_us == now_us || !shown.mind.may_be_probed(mono(now_us)) {
                continue;
            }
            let half_open = shown.mind.breaker_state(mono(now_us)) == Breaker::HalfOpen;
            let introduced = !half_open && shown.mind.introduces();
            let quiet = now_us.saturating_sub(heard_us.max(shown.probed_us)) > PROBE_AFTER_US;
            if !half_open && !introduced && !quiet {
                continue;
            }
            shown.probed_us = now_us;
            let usage = Usage { prompt: u64::from(super::PROBE_TOKENS), completion: 1, ..Usage::default() };
            let card = world.routes.get(at).and_then(|route| route.price.as_ref());
            let cost = card.map(|card| card.cost_of(&usage, wall).total()).unwrap_or_default();
            if half_open || introduced || self.probed.take(mono(now_us), cost, cost, PROBE_SHARE_PPM) {
                return Some(id);
            }
        }
        None
    }

    fn probing(&mut self, route: RouteId, attempt: u64, now_us: u64) {
        if let Some(mind) = self.mind(route, false) {
            mind.began(mono(now_us), AttemptId(attempt), Reading::of(f64::from(super::PROBE_TOKENS)));
        }
    }

    fn probed(&mut self, route: RouteId, attempt: u64, outcome: Result<(), Loss>, now_us: u64) {
        let (now, id) = (mono(now_us), AttemptId(attempt));
        let Some(mind) = self.mind(route, true) else { return };
        match outcome {
            Ok(()) => {
                mind.answered(now, id, false, true);
                mind.ended(None);
            }
            Err(loss) => learn(mind, now, id, loss, false),
        }
    }

    fn repriced(&mut self, _world: &World<'_>) {}
}

fn learn(mind: &mut RouteMind, now: Mono, id: AttemptId, loss: Loss, queues: bool) {
    match loss {
        Loss::Failed => drop(mind.failed(now, id, Failing::Failure, None, queues)),
        Loss::Silent => drop(mind.failed(now, id, Failing::Silence, None, queues)),
        Loss::Refused(wait) => {
            mind.failed(now, id, Failing::Limited, wait.map(Duration::from_micros), queues);
        }
        Loss::Abandoned => mind.abandoned(now, id, queues),
    }
}
