//! A seller: first tokens with noise, drift and incidents, token buckets, a prompt cache, failures.

use crate::replay::chance::{Purpose, normal, uniform};
use crate::replay::scenario::{Incident, IncidentKind, MarketRoute, Scenario};
use crate::replay::trace::{Arrival, Link, Trace};

use super::{Dealt, Fate, kept, uncached};

/// Spacing of the drift's path, in microseconds.
pub(crate) const DRIFT_STEP_US: u64 = 5_000_000;
const DAY_S: f64 = 86_400.0;

/// One seller and its state.
#[derive(Debug)]
pub struct Seller {
    /// What it is like.
    pub market: MarketRoute,
    place: u64,
    incidents: Vec<Incident>,
    begin_us: u64,
    span_us: u64,
    /// The logarithm of its drift, every `DRIFT_STEP_US` from the beginning.
    drift: Vec<f32>,
    day_second: f64,
    /// When each block was last used, in milliseconds + 1; 0: never.
    blocks: Vec<u32>,
    buckets: [Bucket; 4],
}

/// A token bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    per_s: Option<f64>,
    level: f64,
    at_us: u64,
    /// What an adaptive limit has grown or shrunk to, as a factor.
    grown: f64,
    /// Time of the last use.
    used_us: u64,
}

impl Bucket {
    fn new(per_s: Option<f64>, burst_s: f64) -> Self {
        Self { per_s, level: per_s.unwrap_or(0.0) * burst_s, at_us: 0, grown: 1.0, used_us: 0 }
    }

    fn pass(&mut self, now_us: u64, burst_s: f64, cut: f64, adaptive: bool) {
        let Some(per_s) = self.per_s else { return };
        let passed = micros(now_us.saturating_sub(self.at_us));
        self.at_us = now_us;
        if adaptive {
            let idle = micros(now_us.saturating_sub(self.used_us)) > 60.0;
            let rate: f64 = if idle { 1.0 / 1.1 } else { 1.1 };
            self.grown = (self.grown * rate.powf(passed / 60.0)).clamp(0.5, 4.0);
        }
        let rate = per_s * cut * self.grown;
        self.level = (self.level + rate * passed).min(rate * burst_s);
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
pub(super) fn micros(us: u64) -> f64 {
    us as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is never negative")]
pub(super) fn us(seconds: f64) -> u64 {
    (seconds * 1e6).max(0.0) as u64
}

impl Seller {
    /// A seller at rest.
    pub fn new(
        market: &MarketRoute,
        place: usize,
        scenario: &Scenario,
        trace: &Trace,
        span_us: u64,
        seed: u64,
    ) -> Self {
        let begin_us = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let place = place as u64;
        let limits = market.limits;
        let bucket = |per_s| Bucket::new(per_s, limits.burst_s);
        let seconds = scenario.begins.as_second().rem_euclid(86_400);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
        let day_second = seconds as f64;
        Self {
            incidents: scenario
                .incidents
                .iter()
                .filter(|one| *one.route == *market.route.name)
                .cloned()
                .collect(),
            drift: drift(market, place, span_us, seed),
            blocks: vec![0; usize::try_from(trace.blocks).unwrap_or(0)],
            buckets: [
                bucket(limits.uncached_per_s),
                bucket(limits.prompt_per_s),
                bucket(limits.output_per_s),
                bucket(limits.requests_per_s),
            ],
            market: market.clone(),
            place,
            begin_us,
            span_us,
            day_second,
        }
    }

    fn share(&self, now_us: u64) -> f64 {
        micros(now_us.saturating_sub(self.begin_us)) / micros(self.span_us)
    }

    /// Incidents in force.
    pub(crate) fn now(&self, now_us: u64) -> impl Iterator<Item = IncidentKind> + '_ {
        let share = self.share(now_us);
        self.incidents.iter().filter(move |one| one.from <= share && share < one.to).map(|one| one.kind)
    }

    /// Whether nothing works.
    pub(super) fn is_down(&self, now_us: u64) -> bool {
        self.now(now_us).any(|kind| matches!(kind, IncidentKind::Down | IncidentKind::Restart))
    }

    /// When the outage under way is over.
    pub(super) fn down_until_us(&self, now_us: u64) -> u64 {
        let share = self.share(now_us);
        let ends = self.incidents.iter().filter(|one| one.from <= share && share < one.to);
        let end = ends.filter(|one| one.kind == IncidentKind::Down).map(|one| one.to).fold(share, f64::max);
        self.begin_us + us(end * micros(self.span_us)) + 1
    }

    /// How many times its usual time a first token takes: drift, day and slowness together.
    pub(crate) fn level(&self, now_us: u64) -> f64 {
        let first = &self.market.first_token;
        let steps = now_us.saturating_sub(self.begin_us) / DRIFT_STEP_US;
        let into = micros(now_us.saturating_sub(self.begin_us) % DRIFT_STEP_US) / micros(DRIFT_STEP_US);
        let at = |step: u64| {
            let place = usize::try_from(step).unwrap_or(usize::MAX).min(self.drift.len().saturating_sub(1));
            self.drift.get(place).copied().map_or(0.0, f64::from)
        };
        let drift = at(steps) * (1.0 - into) + at(steps + 1) * into;
        let second = self.day_second + micros(now_us.saturating_sub(self.begin_us));
        // Busiest in the afternoon.
        let day = (std::f64::consts::TAU * (second / DAY_S - 14.0 / 24.0)).cos();
        let slow = self.now(now_us).fold(1.0, |slow, kind| match kind {
            IncidentKind::Slow(times) => slow * times,
            _ => slow,
        });
        drift.exp() * (1.0 + first.day_amplitude * day) * slow
    }

    /// How much of its limits is left.
    pub(super) fn cut(&self, now_us: u64) -> f64 {
        self.now(now_us).fold(1.0, |cut, kind| match kind {
            IncidentKind::LimitCut(left) => cut * left,
            _ => cut,
        })
    }

    /// Tokens of the prompt in its cache.
    pub(super) fn cached(&self, links: &[Link], now_us: u64) -> u32 {
        let Some(cache) = self.market.cache else { return 0 };
        let at_ms = now_us / 1_000;
        let ttl_ms = us(cache.ttl_s) / 1_000;
        let alive = |block: u32| {
            let last = self.blocks.get(block as usize).copied().unwrap_or(0);
            last > 0 && at_ms.saturating_sub(u64::from(last) - 1) <= ttl_ms
        };
        let tokens = kept(links, alive);
        tokens - tokens % cache.granularity_tokens.max(1)
    }

    /// Whether its buckets would take so much now.
    pub(super) fn takes(&self, arrival: &Arrival, uncached: f64, now_us: u64) -> bool {
        let (burst_s, cut, adaptive) =
            (self.market.limits.burst_s, self.cut(now_us), self.market.limits.adaptive);
        self.buckets.iter().zip(asks(arrival, uncached)).all(|(bucket, asked)| {
            let mut bucket = *bucket;
            bucket.pass(now_us, burst_s, cut, adaptive);
            bucket.per_s.is_none() || bucket.level >= asked.min(bucket.per_s.unwrap_or(0.0) * burst_s * 0.5)
        })
    }

    fn take(&mut self, arrival: &Arrival, uncached: f64, now_us: u64) -> bool {
        if !self.takes(arrival, uncached, now_us) {
            return false;
        }
        let (burst_s, cut, adaptive) =
            (self.market.limits.burst_s, self.cut(now_us), self.market.limits.adaptive);
        for (bucket, asked) in self.buckets.iter_mut().zip(asks(arrival, uncached)) {
            bucket.pass(now_us, burst_s, cut, adaptive);
            bucket.level -= asked;
            bucket.used_us = now_us;
        }
        true
    }

    pub(super) fn ask(
        &mut self,
        arrival: &Arrival,
        links: &[Link],
        request: u64,
        now_us: u64,
        seed: u64,
    ) -> Dealt {
        let draw = |purpose| uniform(seed, request, self.place, purpose);
        let bell = |purpose| normal(seed, request, self.place, purpose);
        let honoured = self.market.cache.is_some_and(|cache| draw(Purpose::Cache) < cache.honoured);
        let cached = if honoured { self.cached(links, now_us) } else { 0 };
        let uncached = uncached(arrival, cached);
        let mut dealt = Dealt { fate: Fate::Silent, cached, usage_factor: 1.0 };
        let (errors, limits) = (self.market.errors, self.market.limits);
        let quick = Fate::Failed { at_us: now_us + us(errors.quick_s) };
        if self.is_down(now_us) {
            dealt.fate = if draw(Purpose::ErrorKind) < 0.5 { quick } else { Fate::Silent };
            return dealt;
        }
        let first = self.market.first_token.clone();
        let (error, kind) = (draw(Purpose::Error), draw(Purpose::ErrorKind));
        let index = place_of(draw(Purpose::Noise), first.noise.len());
        let mut noise = first.noise.get(index).copied().map_or(1.0, f64::from);
        noise *= (bell(Purpose::NoiseFactor) * first.noise_sigma).exp();
        if draw(Purpose::Tail) < first.tail_share {
            noise *= first.tail_factor * (0.85 + 0.3 * draw(Purpose::TailFactor));
        }
        let pace = self.market.pace;
        let mut rate = pace.tokens_per_s * (bell(Purpose::Pace) * pace.noise_sigma).exp();
        let stalls = draw(Purpose::Stall) < pace.stall_share;
        if !self.take(arrival, uncached, now_us) {
            let retry_after_us = limits.says_retry_after.then_some(1_000_000);
            dealt.fate = Fate::Refused { at_us: now_us + us(limits.refusal_s), retry_after_us };
            return dealt;
        }
        if error < errors.share {
            dealt.fate = if kind < errors.quick_share { quick } else { Fate::Silent };
            return dealt;
        }
        let level = self.level(now_us);
        let time_s = first.rtt_s + (first.base_s * noise + uncached / first.prefill_tokens_per_s) * level;
        let first_us = now_us + us(time_s);
        for kind in self.now(now_us) {
            match kind {
                IncidentKind::ErrorInside(share) if error < share + errors.share => {
                    dealt.fate = Fate::Failed { at_us: first_us };
                    return dealt;
                }
                IncidentKind::SlowStream(share) => rate *= share,
                IncidentKind::WrongUsage(factor) => dealt.usage_factor *= factor,
                _ => {}
            }
        }
        let mut write_s = f64::from(arrival.output_tokens) / rate.max(0.1);
        if stalls {
            write_s += pace.stall_s;
        }
        dealt.fate = Fate::Answered { first_us, end_us: first_us + us(write_s) };
        dealt
    }

    pub(super) fn keep(&mut self, links: &[Link], now_us: u64) {
        if self.market.cache.is_none() {
            return;
        }
        let stamp = u32::try_from(now_us / 1_000 + 1).unwrap_or(u32::MAX);
        for link in links {
            if let Some(last) = self.blocks.get_mut(link.block as usize) {
                *last = stamp;
            }
        }
    }
}

/// What a request asks of the four buckets.
fn asks(arrival: &Arrival, uncached: f64) -> [f64; 4] {
    [uncached, f64::from(arrival.prompt_tokens), f64::from(arrival.output_tokens), 1.0]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short list"
)]
fn place_of(share: f64, length: usize) -> usize {
    ((share * length as f64) as usize).min(length.saturating_sub(1))
}

/// The path of an Ornstein-Uhlenbeck process, exact in its steps.
fn drift(market: &MarketRoute, place: u64, span_us: u64, seed: u64) -> Vec<f32> {
    let first = &market.first_token;
    let keep = (-micros(DRIFT_STEP_US) / first.drift_relaxation_s.max(1e-3)).exp();
    let spread = first.drift_sigma * (1.0 - keep * keep).sqrt();
    let mut log = first.drift_sigma * normal(seed, 0, place, Purpose::Drift);
    (0..span_us / DRIFT_STEP_US + 200)
        .map(|step| {
            log = log * keep + spread * normal(seed, step + 1, place, Purpose::Drift);
            #[expect(clippy::cast_possible_truncation, reason = "a logarithm near 0")]
            let log = log as f32;
            log
        })
        .collect()
}
