//! One run: a router against a world, event by event, in whole microseconds, the same for the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::routing::{Route, RouteId};
use crate::units::{PicoUsd, Usage};

use super::failover;
use super::router::{Loss, Move, PROBE_TOKENS, Report, Router};
use super::scenario::{IncidentKind, Scenario, SloClass};
use super::tally::{FirstTokenOf, Group, Tally};
use super::trace::Trace;
use super::world::{Dealt, Fate, World};

/// How a run is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// When a first token is late.
    pub slo: SloClass,
    /// When an attempt that is silent is given up at the soonest, in microseconds; prompts that may take longer are given
    /// ten times their limit.
    pub first_token_timeout_us: u64,
    /// When a request that is not answered is given up, in microseconds.
    pub request_timeout_us: u64,
}

impl Rules {
    /// Rules with this promise and usual time-outs.
    pub const fn new(slo: SloClass) -> Self {
        Self { slo, first_token_timeout_us: 30_000_000, request_timeout_us: 300_000_000 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Prices may have changed.
    Reprice,
    /// The node's restart begins.
    Restart,
    /// The node has read a prompt.
    Read,
    /// An attempt's fate.
    Came(u64),
    /// An attempt was silent for too long.
    TimedOut(u64),
    /// An answer is over.
    Over(u64),
    /// A request is to be looked at.
    Look(usize),
    /// A request's pause is over.
    Resume(usize),
    /// Whether a route wants a probe.
    Probe,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    place: usize,
    route: RouteId,
    cached: u32,
    usage_factor: f64,
    fate: Fate,
    first_us: u64,
    over: bool,
}

const PROBE: usize = usize::MAX;
/// How often the gateway looks for routes to probe.
const PROBES_EVERY_US: u64 = 500_000;

#[derive(Debug, Clone, Copy, Default)]
struct Request {
    running: u16,
    ids: [u64; 2],
    answered: bool,
    done: bool,
    hedged: bool,
    first: Option<u16>,
}

struct Run<'w, 't> {
    world: &'w mut World<'t>,
    scenario: &'w Scenario,
    rules: Rules,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    attempts: std::collections::HashMap<u64, Attempt, std::hash::BuildHasherDefault<Plain>>,
    numbered: u64,
    requests: Vec<Request>,
    tally: Tally,
    firsts: Vec<(u64, u16)>,
    now_us: u64,
    left: usize,
}

/// Attempts are numbered one by one: the number is hash enough.
#[derive(Default)]
struct Plain(u64);

impl std::hash::Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Runs `router` through `world`, which is that of `scenario`.
pub fn run(world: &mut World<'_>, scenario: &Scenario, rules: Rules, router: &mut dyn Router) -> Tally {
    let trace: &Trace = world.trace;
    let sellers = world.routes.len();
    let mut run = Run {
        scenario,
        rules,
        events: BinaryHeap::new(),
        order: 0,
        attempts: std::collections::HashMap::default(),
        numbered: 0,
        requests: vec![Request::default(); trace.arrivals.len()],
        tally: Tally {
            requests: trace.arrivals.len() as u64,
            first_tokens: trace
                .arrivals
                .iter()
                .map(|arrival| FirstTokenOf {
                    at_us: arrival.at_us,
                    took_us: u32::MAX,
                    prompt_tokens: arrival.prompt_tokens,
                    in_time: false,
                })
                .collect(),
            served: vec![(0, PicoUsd::ZERO); sellers],
            by_tags: vec![Group::default(); trace.tags.len().max(1)],
            by_model: vec![Group::default(); trace.models.len().max(1)],
            ..Tally::default()
        },
        firsts: Vec::with_capacity(trace.arrivals.len()),
        now_us: 0,
        left: trace.arrivals.len(),
        world,
    };
    run.begin();
    run.go(router);
    run.power();
    run.tally.failovers = failover::failovers(run.world, scenario, &run.firsts);
    run.tally
}

impl Run<'_, '_> {
    fn begin(&mut self) {
        let first = self.world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let span = self.world.trace.span_us();
        self.world.set_prices(self.scenario, first);
        for incident in &self.scenario.incidents {
            if matches!(incident.kind, IncidentKind::Price(_)) {
                for share in [incident.from, incident.to] {
                    let at = first + scaled(span, share) + 1;
                    self.push(at, Event::Reprice);
                }
            }
        }
        let restarts: Vec<u64> = self.world.node.iter().flat_map(super::world::Node::restarts_us).collect();
        for at in restarts {
            self.push(at, Event::Restart);
        }
        self.push(first + PROBES_EVERY_US, Event::Probe);
    }

    fn push(&mut self, at_us: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at_us, self.order, event)));
    }

    fn go(&mut self, router: &mut dyn Router) {
        let trace = self.world.trace;
        let mut next = 0;
        loop {
            let arrival = trace.arrivals.get(next).map(|arrival| arrival.at_us);
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            match (arrival, event) {
                (Some(arrives), event) if event.is_none_or(|at| arrives <= at) => {
                    self.now_us = arrives;
                    let place = next;
                    next += 1;
                    let step = router.open(self.world, place, arrives);
                    self.follow(router, place, step);
                }
                (_, Some(_)) => {
                    let Some(Reverse((at, _, event))) = self.events.pop() else { break };
                    self.now_us = at;
                    self.take(router, event);
                }
                (_, None) => break,
            }
            if next == trace.arrivals.len() && self.left == 0 && self.attempts.is_empty() {
                break;
            }
        }
    }

    fn take(&mut self, router: &mut dyn Router, event: Event) {
        let now = self.now_us;
        match event {
            Event::Reprice => {
                self.world.set_prices(self.scenario, now);
                router.repriced(self.world);
            }
            Event::Restart => {
                let lost = self.world.node.as_mut().map(super::world::Node::restart).unwrap_or_default();
                for ticket in lost {
                    self.lose_at_node(router, ticket.place);
                }
            }
            Event::Read => self.read(router),
            Event::Came(id) => self.came(router, id),
            Event::TimedOut(id) => {
                if self.attempts.get(&id).is_some_and(|attempt| attempt.first_us == 0 && !attempt.over) {
                    self.lose(router, id, Loss::Silent);
                }
            }
            Event::Over(id) => self.over(router, id),
            Event::Look(place) => self.look(router, place),
            Event::Resume(place) => {
                if !self.requests[place].done
                    && !self.requests[place].answered
                    && self.requests[place].running == 0
                {
                    let step = router.open(self.world, place, now);
                    self.follow(router, place, step);
                }
            }
            Event::Probe => {
                while let Some(route) = router.probe(self.world, now) {
                    self.probe(router, route);
                }
                if self.left > 0 {
                    self.push(now + PROBES_EVERY_US, Event::Probe);
                }
            }
        }
    }

    fn follow(&mut self, router: &mut dyn Router, place: usize, step: Move) {
        match step {
            Move::Ask(route) => self.ask(router, place, route, false),
            Move::Pause(until) => self.push(until.max(self.now_us + 1_000), Event::Resume(place)),
            Move::Wait => {}
            Move::GiveUp => {
                if self.requests[place].running == 0 {
                    self.finish(router, place, None);
                }
            }
        }
    }

    fn ask(&mut self, router: &mut dyn Router, place: usize, route: RouteId, second: bool) {
        let now = self.now_us;
        self.numbered += 1;
        let id = self.numbered;
        router.asked(self.world, place, route, id, now);
        let Dealt { fate, cached, usage_factor } = self.world.ask(place, route, now);
        let limit_us = self.limit_s(place) * 1e6;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time-out")]
        let timeout = self.rules.first_token_timeout_us.max((limit_us * 10.0) as u64);
        self.tally.attempts += 1;
        self.tally.hedges += u64::from(second);
        let request = &mut self.requests[place];
        if let Some(slot) = request.ids.iter_mut().find(|slot| **slot == 0) {
            *slot = id;
        }
        request.running += 1;
        request.hedged |= second;
        if request.first.is_none() {
            request.first = Some(route.0);
            self.firsts.push((now, route.0));
        }
        self.attempts
            .insert(id, Attempt { place, route, cached, usage_factor, fate, first_us: 0, over: false });
        match fate {
            Fate::Refused { at_us, .. } | Fate::Failed { at_us } => self.push(at_us, Event::Came(id)),
            Fate::Answered { first_us, .. } if first_us < now + timeout => {
                self.push(first_us, Event::Came(id));
            }
            Fate::Answered { .. } | Fate::Silent => {
                self.push(now + timeout, Event::TimedOut(id));
            }
            Fate::Queued => {
                self.push(now + timeout, Event::TimedOut(id));
                self.read_next();
            }
        }
        if let Some(at) = router.look_at_us(place) {
            self.push(at.max(now), Event::Look(place));
        }
    }

    /// When the request's first token is late, in seconds.
    fn limit_s(&self, place: usize) -> f64 {
        let tokens =
            self.world.trace.arrivals.get(place).map_or(0.0, |arrival| f64::from(arrival.prompt_tokens));
        self.rules.slo.ttft_s + self.rules.slo.ttft_s_per_1k * tokens / 1_000.0
    }

    fn read_next(&mut self) {
        if let Some(until) = self.world.node.as_mut().and_then(|node| node.next(self.now_us)) {
            self.push(until, Event::Read);
        }
    }

    fn read(&mut self, router: &mut dyn Router) {
        let now = self.now_us;
        let trace = self.world.trace;
        let done = self
            .world
            .node
            .as_mut()
            .and_then(|node| node.done(now, |place| trace.arrivals[place].output_tokens));
        if let Some((place, end_us)) = done {
            match self.attempt_at_node(place) {
                Some(id) => {
                    if let Some(attempt) = self.attempts.get_mut(&id) {
                        attempt.fate = Fate::Answered { first_us: now, end_us };
                    }
                    self.came(router, id);
                }
                // It was taken back while its prompt was being read.
                None => {
                    if let Some(node) = self.world.node.as_mut() {
                        node.active = node.active.saturating_sub(1);
                    }
                }
            }
        }
        self.read_next();
    }

    fn attempt_at_node(&self, place: usize) -> Option<u64> {
        let node = self.world.node_id()?;
        self.requests.get(place)?.ids.into_iter().find(|id| {
            let attempt = self.attempts.get(id);
            attempt.is_some_and(|attempt| attempt.route == node && attempt.first_us == 0)
        })
    }

    fn lose_at_node(&mut self, router: &mut dyn Router, place: usize) {
        if let Some(id) = self.attempt_at_node(place) {
            self.lose(router, id, Loss::Failed);
        }
    }

    fn came(&mut self, router: &mut dyn Router, id: u64) {
        let now = self.now_us;
        let Some(attempt) = self.attempts.get(&id).copied().filter(|attempt| !attempt.over) else { return };
        if attempt.place == PROBE {
            self.probe_came(router, id, &attempt);
            return;
        }
        match attempt.fate {
            Fate::Refused { retry_after_us, .. } => self.lose(router, id, Loss::Refused(retry_after_us)),
            Fate::Failed { .. } => self.lose(router, id, Loss::Failed),
            Fate::Silent | Fate::Queued => {}
            Fate::Answered { end_us, .. } => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    attempt.first_us = now;
                }
                let place = attempt.place;
                self.requests[place].answered = true;
                self.world.began(place, attempt.route, now);
                router.began(self.world, place, attempt.route, id, now);
                self.abandon_others(router, place, id);
                self.finish(router, place, Some(attempt.route));
                self.push(end_us.max(now), Event::Over(id));
            }
        }
    }

    fn abandon_others(&mut self, router: &mut dyn Router, place: usize, winner: u64) {
        if self.requests[place].running < 2 {
            return;
        }
        for id in self.requests[place].ids {
            if id != 0 && id != winner {
                self.lose(router, id, Loss::Abandoned);
            }
        }
    }

    /// An attempt is over without an answer.
    fn lose(&mut self, router: &mut dyn Router, id: u64, loss: Loss) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let (place, route) = (attempt.place, attempt.route);
        if place == PROBE {
            router.probed(route, id, Err(loss), self.now_us);
            return;
        }
        if self.world.node_id() == Some(route) {
            if let Some(node) = self.world.node.as_mut() {
                node.cancel(place);
            }
        } else if matches!(loss, Loss::Abandoned | Loss::Silent) && !matches!(attempt.fate, Fate::Silent) {
            // Its prompt was read, and is billed as far as this seller does so.
            self.tally.wasted += self.prompt_bill(&attempt);
        } else if matches!(loss, Loss::Abandoned) {
            self.tally.wasted += self.prompt_bill(&attempt);
        }
        let request = &mut self.requests[place];
        request.running -= 1;
        request.ids.iter_mut().filter(|slot| **slot == id).for_each(|slot| *slot = 0);
        router.lost(self.world, place, route, id, loss, self.now_us);
        if loss == Loss::Abandoned || self.requests[place].answered {
            return;
        }
        let late = self.now_us.saturating_sub(self.world.trace.arrivals[place].at_us)
            >= self.rules.request_timeout_us;
        if self.requests[place].running > 0 {
            self.look(router, place);
        } else if late {
            self.finish(router, place, None);
        } else {
            let step = router.open(self.world, place, self.now_us);
            self.follow(router, place, step);
        }
    }

    fn look(&mut self, router: &mut dyn Router, place: usize) {
        let request = self.requests[place];
        if request.answered || request.done || request.running != 1 {
            return;
        }
        // A look that was put off since is not due yet.
        if router.look_at_us(place).is_none_or(|at| at > self.now_us) {
            if let Some(at) = router.look_at_us(place) {
                self.push(at, Event::Look(place));
            }
            return;
        }
        match router.look(self.world, place, self.now_us) {
            Move::Ask(route) => self.ask(router, place, route, true),
            _ => {
                if let Some(at) = router.look_at_us(place) {
                    self.push(at.max(self.now_us + 1_000), Event::Look(place));
                }
            }
        }
    }

    /// A request's first token is there, or never will be.
    fn finish(&mut self, router: &mut dyn Router, place: usize, route: Option<RouteId>) {
        if self.requests[place].done {
            return;
        }
        self.requests[place].done = true;
        self.left -= 1;
        let arrival = &self.world.trace.arrivals[place];
        let took = self.now_us.saturating_sub(arrival.at_us);
        let limit_s = self.limit_s(place);
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let in_time = route.is_some() && took as f64 / 1e6 <= limit_s;
        let one = &mut self.tally.first_tokens[place];
        one.in_time = in_time;
        if route.is_some() {
            one.took_us = u32::try_from(took).unwrap_or(u32::MAX - 1);
        } else {
            self.tally.errors += 1;
        }
        self.tally.in_time += u64::from(in_time);
        let groups = [
            self.tally.by_tags.get_mut(arrival.tags as usize),
            self.tally.by_model.get_mut(usize::from(arrival.model)),
        ];
        for group in groups.into_iter().flatten() {
            group.requests += 1;
            group.in_time += u64::from(in_time);
        }
        if route.is_some() && route == self.world.node_id() && !in_time {
            self.tally.local_late += 1;
        }
        router.finished(self.world, place, !in_time, self.now_us);
    }

    fn over(&mut self, router: &mut dyn Router, id: u64) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let (place, route) = (attempt.place, attempt.route);
        self.requests[place].running = self.requests[place].running.saturating_sub(1);
        let arrival = self.world.trace.arrivals[place];
        let usage = usage(&attempt, arrival.prompt_tokens, arrival.output_tokens);
        let cost = bill(&self.world.routes[usize::from(route.0)], &usage, self.wall());
        self.tally.answers += cost;
        let served = &mut self.tally.served[usize::from(route.0)];
        served.0 += 1;
        served.1 += cost;
        if let Some(group) = self.tally.by_tags.get_mut(arrival.tags as usize) {
            group.cost += cost;
        }
        if let Some(group) = self.tally.by_model.get_mut(usize::from(arrival.model)) {
            group.cost += cost;
        }
        if self.world.node_id() == Some(route)
            && let Some(node) = self.world.node.as_mut()
        {
            node.active = node.active.saturating_sub(1);
        }
        let report = Report {
            prompt_tokens: usage.prompt,
            cached_tokens: usage.cached,
            output_tokens: usage.completion,
            wrote_us: self.now_us.saturating_sub(attempt.first_us),
        };
        router.ended(self.world, place, route, id, &report, self.now_us);
    }

    fn prompt_bill(&self, attempt: &Attempt) -> PicoUsd {
        let prompt = self.world.trace.arrivals[attempt.place].prompt_tokens;
        let usage = usage(attempt, prompt, 0);
        let whole = bill(&self.world.routes[usize::from(attempt.route.0)], &usage, self.wall());
        let share = self
            .scenario
            .routes
            .get(usize::from(attempt.route.0))
            .map_or(0.0, |one| one.cancelled_prompt_billed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
        whole.times_ppm((share.clamp(0.0, 1.0) * 1e6) as u32)
    }

    fn probe(&mut self, router: &mut dyn Router, route: RouteId) {
        let now = self.now_us;
        self.numbered += 1;
        let id = self.numbered;
        router.probing(route, id, now);
        let fate = self.world.probe(route, id, now);
        self.attempts.insert(
            id,
            Attempt { place: PROBE, route, cached: 0, usage_factor: 1.0, fate, first_us: 0, over: false },
        );
        let at = match fate {
            Fate::Refused { at_us, .. } | Fate::Failed { at_us } => at_us,
            Fate::Answered { first_us, .. } => first_us,
            Fate::Silent | Fate::Queued => u64::MAX,
        };
        let given_up = now + self.rules.first_token_timeout_us;
        if at < given_up { self.push(at, Event::Came(id)) } else { self.push(given_up, Event::TimedOut(id)) }
    }

    fn probe_came(&mut self, router: &mut dyn Router, id: u64, attempt: &Attempt) {
        match attempt.fate {
            Fate::Refused { retry_after_us, .. } => self.lose(router, id, Loss::Refused(retry_after_us)),
            Fate::Failed { .. } => self.lose(router, id, Loss::Failed),
            _ => {
                let usage = Usage { prompt: u64::from(PROBE_TOKENS), completion: 1, ..Usage::default() };
                self.tally.probes +=
                    bill(&self.world.routes[usize::from(attempt.route.0)], &usage, self.wall());
                self.attempts.remove(&id);
                router.probed(attempt.route, id, Ok(()), self.now_us);
            }
        }
    }

    /// The calendar's moment.
    fn wall(&self) -> jiff::Timestamp {
        let begin = self.world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let passed = i64::try_from(self.now_us.saturating_sub(begin)).unwrap_or(i64::MAX);
        let begins = self.scenario.begins;
        begins.checked_add(jiff::SignedDuration::from_micros(passed)).unwrap_or(begins)
    }

    fn power(&mut self) {
        let hours = seconds_of(self.world.trace.span_us()) / 3_600.0;
        let usd = self.world.node.as_ref().map_or(0.0, |node| node.power_usd_per_hour * hours);
        #[expect(clippy::cast_possible_truncation, reason = "a cost of the scenario's")]
        let pico = (usd * 1e12) as i128;
        self.tally.power = PicoUsd(pico);
    }
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
pub(super) fn bill(route: &Route, usage: &Usage, at: jiff::Timestamp) -> PicoUsd {
    route.price.as_ref().map_or(PicoUsd::ZERO, |card| {
        let total = card.cost_of(usage, at).total();
        total + total.times_ppm(card.fee_ppm)
    })
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
pub(super) fn seconds_of(us: u64) -> f64 {
    us as f64 / 1e6
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a trace"
)]
pub(super) fn scaled(span: u64, share: f64) -> u64 {
    (span as f64 * share).max(0.0) as u64
}
