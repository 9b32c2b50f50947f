//! One run: a router against a world, event by event, in whole microseconds, the same for the same seed.

mod books;
mod own_node;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::routing::RouteId;

use super::router::{Loss, Move, Router};
use super::scenario::{IncidentKind, Scenario, SloClass};
use super::tally::Tally;
use super::trace::Trace;
use super::world::{Dealt, Fate, World};

use books::Books;
pub(super) use books::bill;

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
    books: Books<'w>,
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
    let mut run = Run {
        scenario,
        rules,
        events: BinaryHeap::new(),
        order: 0,
        attempts: std::collections::HashMap::default(),
        numbered: 0,
        requests: vec![Request::default(); trace.arrivals.len()],
        books: Books::open(world, scenario),
        now_us: 0,
        left: trace.arrivals.len(),
        world,
    };
    run.begin();
    run.go(router);
    run.books.close(run.world)
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
            Event::Restart => self.restart(router),
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
        self.books.asked(route, second, self.requests[place].first.is_none(), now);
        let request = &mut self.requests[place];
        if let Some(slot) = request.ids.iter_mut().find(|slot| **slot == 0) {
            *slot = id;
        }
        request.running += 1;
        request.hedged |= second;
        request.first.get_or_insert(route.0);
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
        } else if loss == Loss::Abandoned || (loss == Loss::Silent && attempt.fate != Fate::Silent) {
            self.books.cancelled(self.world, &attempt, self.now_us);
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
        let limit_s = self.limit_s(place);
        let in_time = self.books.first_token(self.world, place, route, limit_s, self.now_us);
        router.finished(self.world, place, !in_time, self.now_us);
    }

    fn over(&mut self, router: &mut dyn Router, id: u64) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let (place, route) = (attempt.place, attempt.route);
        self.requests[place].running = self.requests[place].running.saturating_sub(1);
        let report = self.books.answered(self.world, &attempt, self.now_us);
        if self.world.node_id() == Some(route) {
            self.node_is_freer();
        }
        router.ended(self.world, place, route, id, &report, self.now_us);
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
                self.books.probed(self.world, attempt.route, self.now_us);
                self.attempts.remove(&id);
                router.probed(attempt.route, id, Ok(()), self.now_us);
            }
        }
    }
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
