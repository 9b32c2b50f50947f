//! What others do, as they document it: each looks at one dimension, and goes on to its next choice after an error.

use std::collections::VecDeque;

use crate::replay::chance::{Purpose, uniform};
use crate::replay::scenario::SloClass;
use crate::replay::world::World;
use crate::routing::{Route, RouteId};

use super::{Loss, Move, Report, Router};

/// A way of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Each in turn.
    RoundRobin,
    /// The lowest list price.
    Cheapest,
    /// `LiteLLM`'s cost-based routing: the lowest price among those not cooling down (5 s after a 429, or with more than half
    /// of a minute's calls failed).
    LiteLlmCost,
    /// `LiteLLM`'s latency-based routing: the lowest mean of the last ten first-token times, with the same cooling down.
    LiteLlmLatency,
    /// OpenRouter's documented default: chance in proportion to 1 ÷ price², those with a fault in the last 30 s at the end.
    OpenRouter,
    /// The same, a conversation staying where it was for ten idle minutes.
    OpenRouterSticky,
    /// Helicone's power of two choices on the peak-sensitive moving mean (decay 30 s, start 250 ms), out at more than a
    /// tenth of errors in a minute.
    PowerOfTwo,
    /// The cheapest whose 90th percentile of five minutes meets the limit.
    CheapestUnderP90,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Cheapest,
        Self::LiteLlmCost,
        Self::LiteLlmLatency,
        Self::OpenRouter,
        Self::OpenRouterSticky,
        Self::PowerOfTwo,
        Self::CheapestUnderP90,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::Cheapest => "cheapest list price",
            Self::LiteLlmCost => "LiteLLM cost",
            Self::LiteLlmLatency => "LiteLLM latency",
            Self::OpenRouter => "OpenRouter 1/p²",
            Self::OpenRouterSticky => "OpenRouter 1/p², sticky",
            Self::PowerOfTwo => "P2C peak-EWMA",
            Self::CheapestUnderP90 => "cheapest under p90",
        }
    }
}

/// Answer length that list prices are weighed with, in tokens.
const OUTPUT_ASSUMED: f64 = 300.0;
const MINUTE_US: u64 = 60_000_000;

/// A baseline.
#[derive(Debug)]
pub struct Baseline {
    rule: Rule,
    slo: SloClass,
    local_in_flight_max: Option<u32>,
    seed: u64,
    turn: usize,
    routes: Vec<Seen>,
    requests: Vec<Asked>,
    sticky: std::collections::HashMap<u64, (RouteId, u64)>,
    local_in_flight: u32,
}

#[derive(Debug, Default)]
struct Seen {
    /// (time, first token in seconds; infinite for a failure) of the last five minutes.
    times: VecDeque<(u64, f64)>,
    cooling_until_us: u64,
    faulted_us: Option<u64>,
    peak: f64,
    peak_us: u64,
    in_flight: u32,
}

#[derive(Debug, Clone, Default)]
struct Asked {
    tried: smallvec::SmallVec<[u16; 8]>,
    since_us: u64,
}

impl Baseline {
    /// A router by `rule`; with a node of our own it serves while fewer than `local_in_flight_max` requests are there.
    pub fn new(
        world: &World<'_>,
        rule: Rule,
        slo: SloClass,
        local_in_flight_max: Option<u32>,
        seed: u64,
    ) -> Self {
        Self {
            rule,
            slo,
            local_in_flight_max,
            seed,
            turn: 0,
            routes: world.routes.iter().map(|_| Seen { peak: 0.25, ..Seen::default() }).collect(),
            requests: vec![Asked::default(); world.trace.arrivals.len()],
            sticky: std::collections::HashMap::new(),
            local_in_flight: 0,
        }
    }

    fn pick(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Option<RouteId> {
        let tried = self.requests.get(place)?.tried.clone();
        let node = world.node_id();
        let free: Vec<RouteId> = (0..u16::try_from(world.routes.len()).unwrap_or(u16::MAX))
            .map(RouteId)
            .filter(|id| Some(*id) != node && !tried.contains(&id.0))
            .collect();
        if let Some(node) = node
            && !tried.contains(&node.0)
            && self.local_in_flight_max.is_some_and(|most| self.local_in_flight < most)
        {
            return Some(node);
        }
        let arrival = world.trace.arrivals.get(place)?;
        let prompt = f64::from(arrival.prompt_tokens);
        let price = |id: &RouteId| list_price(&world.routes[usize::from(id.0)], prompt);
        let cool = |seen: &Self, id: &RouteId| seen.routes[usize::from(id.0)].cooling_until_us <= now_us;
        let by_price = |list: &[RouteId]| {
            list.iter()
                .copied()
                .min_by(|a, b| price(a).partial_cmp(&price(b)).unwrap_or(std::cmp::Ordering::Equal))
        };
        let awake: Vec<RouteId> = free.iter().copied().filter(|id| cool(self, id)).collect();
        let awake = if awake.is_empty() { free.clone() } else { awake };
        let draw = |salt: usize| {
            uniform(self.seed ^ 0xba5e, place as u64, (salt + tried.len() * 17) as u64, Purpose::Baseline)
        };
        match self.rule {
            Rule::RoundRobin => {
                self.turn = self.turn.wrapping_add(1);
                awake.get(self.turn % awake.len().max(1)).copied()
            }
            Rule::Cheapest => by_price(&free),
            Rule::LiteLlmCost => by_price(&awake),
            Rule::LiteLlmLatency => {
                let mean = |id: &RouteId| {
                    let times = &self.routes[usize::from(id.0)].times;
                    let last: Vec<f64> = times
                        .iter()
                        .rev()
                        .filter(|one| one.1.is_finite())
                        .take(10)
                        .map(|one| one.1)
                        .collect();
                    #[expect(clippy::cast_precision_loss, reason = "ten at most")]
                    let count = last.len().max(1) as f64;
                    last.iter().sum::<f64>() / count
                };
                awake
                    .iter()
                    .copied()
                    .min_by(|a, b| mean(a).partial_cmp(&mean(b)).unwrap_or(std::cmp::Ordering::Equal))
            }
            Rule::OpenRouter | Rule::OpenRouterSticky => {
                let recent = |id: &RouteId| {
                    self.routes[usize::from(id.0)]
                        .faulted_us
                        .is_some_and(|at| now_us.saturating_sub(at) < 30_000_000)
                };
                let well: Vec<RouteId> = free.iter().copied().filter(|id| !recent(id)).collect();
                let well = if well.is_empty() { free.clone() } else { well };
                if self.rule == Rule::OpenRouterSticky
                    && let Some((route, at)) = self.sticky.get(&conversation(world, place))
                    && now_us.saturating_sub(*at) < 10 * MINUTE_US
                    && well.contains(route)
                {
                    return Some(*route);
                }
                let weight = |id: &RouteId| 1.0 / price(id).powi(2);
                let mut left = draw(0) * well.iter().map(weight).sum::<f64>();
                well.iter().copied().find(|id| {
                    left -= weight(id);
                    left <= 0.0
                })
            }
            Rule::PowerOfTwo => {
                let healthy: Vec<RouteId> =
                    free.iter().copied().filter(|id| !self.errs(*id, now_us)).collect();
                let healthy = if healthy.is_empty() { free.clone() } else { healthy };
                let one = healthy.get(index(draw(1), healthy.len())).copied()?;
                let other = healthy.get(index(draw(2), healthy.len())).copied()?;
                let load = |id: RouteId| {
                    let seen = &self.routes[usize::from(id.0)];
                    seen.peak * f64::from(seen.in_flight + 1)
                };
                Some(if load(one) <= load(other) { one } else { other })
            }
            Rule::CheapestUnderP90 => {
                let limit = self.slo.ttft_s + self.slo.ttft_s_per_1k * prompt / 1_000.0;
                let meets = |id: &RouteId| self.p90(*id, now_us).is_none_or(|time| time <= limit);
                let quick: Vec<RouteId> = awake.iter().copied().filter(|id| meets(id)).collect();
                by_price(if quick.is_empty() { &awake } else { &quick })
            }
        }
    }

    /// More than a tenth of the last minute's calls failed, of twenty at least.
    fn errs(&self, id: RouteId, now_us: u64) -> bool {
        let recent = self.routes[usize::from(id.0)]
            .times
            .iter()
            .filter(|one| now_us.saturating_sub(one.0) < MINUTE_US);
        let (all, failed) = recent
            .fold((0_u32, 0_u32), |(all, failed), one| (all + 1, failed + u32::from(one.1.is_infinite())));
        all >= 20 && f64::from(failed) > 0.1 * f64::from(all)
    }

    fn p90(&self, id: RouteId, now_us: u64) -> Option<f64> {
        let recent = self.routes[usize::from(id.0)].times.iter().rev().take(128);
        let mut times: Vec<f64> =
            recent.filter(|one| now_us.saturating_sub(one.0) < 5 * MINUTE_US).map(|one| one.1).collect();
        times.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        times.get(times.len() * 9 / 10).copied()
    }

    fn time(&mut self, route: RouteId, now_us: u64, time_s: f64) {
        let seen = &mut self.routes[usize::from(route.0)];
        seen.times.push_back((now_us, time_s));
        if seen.times.len() > 512 {
            seen.times.pop_front();
        }
        if time_s.is_finite() {
            #[expect(clippy::cast_precision_loss, reason = "microseconds")]
            let keep = (-(now_us.saturating_sub(seen.peak_us) as f64) / 30e6).exp();
            seen.peak = if time_s > seen.peak { time_s } else { seen.peak * keep + time_s * (1.0 - keep) };
            seen.peak_us = now_us;
        }
    }

    fn gone(&mut self, world: &World<'_>, route: RouteId) {
        let seen = &mut self.routes[usize::from(route.0)];
        seen.in_flight = seen.in_flight.saturating_sub(1);
        if world.node_id() == Some(route) {
            self.local_in_flight = self.local_in_flight.saturating_sub(1);
        }
    }
}

/// List price of a request in USD, no cache assumed.
#[expect(clippy::cast_precision_loss, reason = "prices for a ranking")]
fn list_price(route: &Route, prompt: f64) -> f64 {
    route.price.as_ref().map_or(f64::MAX, |card| {
        let rates = card.versions().last().map(|version| version.base);
        rates.map_or(f64::MAX, |rates| {
            (rates.input.0 as f64 * prompt + rates.output.0 as f64 * OUTPUT_ASSUMED) * 1e-12
        })
    })
}

/// What a conversation is known by: its opening, else who asks.
fn conversation(world: &World<'_>, place: usize) -> u64 {
    world.trace.arrivals.get(place).map_or(0, |arrival| {
        let opening = world.trace.links_of(arrival).first().map(|link| u64::from(link.block));
        opening.unwrap_or(u64::from(arrival.key) | 1 << 40)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short list"
)]
fn index(share: f64, length: usize) -> usize {
    ((share * length as f64) as usize).min(length.saturating_sub(1))
}

impl Router for Baseline {
    fn open(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move {
        self.pick(world, place, now_us).map_or(Move::GiveUp, Move::Ask)
    }

    fn look_at_us(&self, _place: usize) -> Option<u64> {
        None
    }

    fn look(&mut self, _world: &World<'_>, _place: usize, _now_us: u64) -> Move {
        Move::Wait
    }

    fn asked(&mut self, world: &World<'_>, place: usize, route: RouteId, _attempt: u64, now_us: u64) {
        if let Some(asked) = self.requests.get_mut(place) {
            asked.tried.push(route.0);
            asked.since_us = now_us;
        }
        self.routes[usize::from(route.0)].in_flight += 1;
        if world.node_id() == Some(route) {
            self.local_in_flight += 1;
        }
    }

    fn began(&mut self, world: &World<'_>, place: usize, route: RouteId, _attempt: u64, now_us: u64) {
        let since = self.requests.get(place).map_or(now_us, |asked| asked.since_us);
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        self.time(route, now_us, now_us.saturating_sub(since) as f64 / 1e6);
        if self.rule == Rule::OpenRouterSticky {
            self.sticky.insert(conversation(world, place), (route, now_us));
        }
    }

    fn lost(
        &mut self,
        world: &World<'_>,
        _place: usize,
        route: RouteId,
        _attempt: u64,
        loss: Loss,
        now_us: u64,
    ) {
        self.gone(world, route);
        match loss {
            Loss::Refused(_) => self.routes[usize::from(route.0)].cooling_until_us = now_us + 5_000_000,
            Loss::Failed | Loss::Silent => {
                self.time(route, now_us, f64::INFINITY);
                let seen = &mut self.routes[usize::from(route.0)];
                seen.faulted_us = Some(now_us);
                let recent = seen.times.iter().filter(|one| now_us.saturating_sub(one.0) < MINUTE_US);
                let (all, failed) = recent
                    .fold((0, 0), |(all, failed), one| (all + 1, failed + u32::from(one.1.is_infinite())));
                if failed * 2 > all {
                    seen.cooling_until_us = now_us + 5_000_000;
                }
            }
            Loss::Abandoned => {}
        }
    }

    fn ended(
        &mut self,
        world: &World<'_>,
        _place: usize,
        route: RouteId,
        _attempt: u64,
        _report: &Report,
        _now_us: u64,
    ) {
        self.gone(world, route);
    }

    fn finished(&mut self, _world: &World<'_>, _place: usize, _late: bool, _now_us: u64) {}
}
