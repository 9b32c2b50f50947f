//! A decision: the order of attempts, who was left out and why. One value for the log, `explain` and the admin page.

use std::time::Duration;

use smallvec::SmallVec;

use crate::units::PicoUsd;

pub use super::exclusion::Exclusion;
use super::learn::first_token::Reading;
use super::plan::Offer;
use super::route::RouteId;

/// A route that may serve, with what the choice rested on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what a ranking looks at; they exclude nothing of each other"
)]
pub struct Candidate {
    /// Which.
    pub route: RouteId,
    /// Expected cost of this request there, fee included; `None`: unpriced and allowed.
    pub cost_expected: Option<PicoUsd>,
    /// Predicted time to first token; `None`: never seen.
    pub ttft_expected: Option<Duration>,
    /// Prompt tokens that its cache should hold and is expected to bill as cached.
    pub cached_expected: u64,
    /// Chance of a first token in time, 0..1.
    pub in_time: f32,
    /// What choosing it is expected to cost the rest of the session, in USD.
    pub session_usd: f64,
    /// What it is ranked by: expected cost, lateness, session and queue together, in USD. Smaller is better.
    pub score_usd: f64,
    /// Chance that its first token is late even if another is asked after a quick failure, 0..1.
    pub late: f32,
    /// What it counts for each USD that lateness is priced at: its own lateness, and that of the session's later turns.
    pub(super) lateness: f32,
    /// Whether it is new, or was long unheard, and starts slowly.
    pub ramping: bool,
    /// Whether as many requests are there now as a new one is asked at once: it stands behind those that are known.
    pub waits: bool,
    /// What the ranking rests on.
    pub(super) offer: Offer,
    /// Place by lists that come before the score, if they count.
    pub(super) place: Place,
    /// Whether the conversation was served there so far: of equals it comes first.
    pub(super) stays: bool,
    /// Place among the eligible routes.
    pub(super) eligible: u16,
    /// Whether it is asked only because nothing else is left: its breaker is open, or the operator has to act first.
    /// Then it stands in `excluded` too, which says why and for how long.
    pub last_resort: bool,
}

impl Candidate {
    /// How much of the prompt it will have to read.
    pub fn reading(&self) -> Reading {
        let offer = &self.offer;
        let ahead = f64::from(offer.queued);
        Reading {
            hit: f64::from(offer.uncached_hit) - ahead,
            miss: f64::from(offer.uncached_miss) - ahead,
            chance: offer.hit,
            age_s: offer.held_age_s,
        }
    }

    /// Prompt tokens that it is expected to have to read.
    pub(super) fn uncached_expected(&self) -> f32 {
        self.offer.uncached_expected()
    }

    /// What it is put in order by before its score, the first first: whether it is a last resort, its place by lists that
    /// come before the score, whether it waits.
    pub(super) fn comes_before(&self) -> u64 {
        let Place { model, policy, wish, slower } = self.place;
        let flags = u64::from(slower) << 1 | u64::from(self.waits);
        u64::from(self.last_resort) << 42
            | u64::from(model) << 34
            | u64::from(policy) << 18
            | u64::from(wish) << 2
            | flags
    }

    /// One that costs `usd`, for tests.
    #[cfg(test)]
    pub(super) fn costing(route: RouteId, usd: f64) -> Self {
        Self {
            route,
            cost_expected: Some(PicoUsd(1)),
            ttft_expected: None,
            cached_expected: 0,
            in_time: 1.0,
            session_usd: 0.0,
            score_usd: usd,
            late: 0.0,
            lateness: 0.0,
            ramping: false,
            waits: false,
            offer: Offer { prompt_usd: usd, cold_usd: usd, ..Offer::default() },
            place: Place::default(),
            stays: false,
            eligible: route.0,
            last_resort: false,
        }
    }

    /// What its prompt is expected to cost; an estimate, nothing is charged by it.
    #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
    pub fn prompt_expected(&self) -> PicoUsd {
        PicoUsd((self.offer.prompt_usd * 1e12) as i128)
    }

    /// The same where nothing of it is cached.
    #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
    pub fn prompt_cold(&self) -> PicoUsd {
        PicoUsd(((self.offer.cold_usd - self.offer.answer_usd) * 1e12) as i128)
    }
}

/// Where a candidate stands by what comes before any score, the first in the first place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Of its model among those that the caller names.
    pub model: u8,
    /// By the policy's `routes`.
    pub policy: u16,
    /// By the caller's `provider.order`.
    pub wish: u16,
    /// Whether it is known to be slower than the caller prefers.
    pub slower: bool,
}

/// A route left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Excluded {
    /// Which.
    pub route: RouteId,
    /// Why.
    pub why: Exclusion,
}

/// A second route, asked if the first is still silent after a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// Which; when the time comes, the best one then is taken.
    pub route: RouteId,
    /// How long after the request came.
    pub after: Duration,
    /// Chance that it is asked, 0..1.
    pub chance: f32,
    /// Chance of a first token in time with it, 0..1.
    pub in_time: f32,
    /// As [`Candidate::lateness`], of the plan.
    pub(super) lateness: f32,
    /// What the plan is ranked by, in USD, as `Candidate::score_usd`.
    pub score_usd: f64,
}

/// In which way less was possible than the policy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Degraded {
    /// In none.
    #[default]
    No,
    /// No route is likely to be in time, or the promise has become too dear to keep: the best is asked all the same.
    Slo,
    /// Every route that would do is resting for its rate.
    Limited,
    /// The price ceiling leaves nobody.
    Price,
    /// Region, retention or quantisation leave nobody; they are never relaxed.
    Residency,
    /// Every breaker is open: the one that opens first is asked.
    Panic,
    /// Nobody can serve it for other reasons.
    NoRoute,
}

impl Degraded {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::No, Self::Slo, Self::Limited, Self::Price, Self::Residency, Self::Panic, Self::NoRoute];

    /// A stable name for logs, metrics and records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Slo => "slo",
            Self::Limited => "limited",
            Self::Price => "price",
            Self::Residency => "residency",
            Self::Panic => "panic",
            Self::NoRoute => "no_route",
        }
    }
}

/// The outcome: whom to ask, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Attempts in order, best first.
    pub order: SmallVec<[Candidate; 8]>,
    /// Everyone else, and why; in panic mode also those that stand in `order` as a last resort.
    pub excluded: SmallVec<[Excluded; 8]>,
    /// When a second route is asked, and which.
    pub hedge: Option<Hedge>,
    /// What one late first token was worth avoiding (λ), in USD.
    pub lateness_usd: f64,
    /// Price of a second of our own engine's prefill work (ν), in USD.
    pub queue_usd_per_s: f64,
    /// When a first token is late, counted from the request's arrival; `None`: the policy promises nothing.
    pub limit: Option<Duration>,
    /// Whether less was possible than the policy wants.
    pub degraded: Degraded,
    /// Routes that the moment rules out; kept between decisions for its room alone.
    pub(super) held: SmallVec<[(Held, Candidate); 4]>,
    /// By what candidates are put in order; kept for its room alone.
    pub(super) ranks: SmallVec<[Rank; 8]>,
}

/// What a candidate is put in order by, and its place until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// What comes before the score, and below it the score, as one number.
    pub(super) key: u128,
    /// Its place.
    pub(super) at: u16,
}

impl Rank {
    /// Of the candidate at place `at`.
    pub(super) fn of(one: &Candidate, at: u16) -> Self {
        // In the order of `f64::total_cmp`: a negative number's bits count backwards.
        const SIGN: u64 = 1 << 63;
        let bits = one.score_usd.to_bits();
        let score = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        Self { key: u128::from(one.comes_before()) << 64 | u128::from(score), at }
    }

    /// What comes before the score ([`Candidate::comes_before`]).
    pub(super) const fn before(&self) -> u64 {
        (self.key >> 64) as u64
    }
}

/// Why a route that may serve is not asked now, and for how much longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    Breaker(Duration),
    Limited(Duration),
    /// Too much waits in the queue of our own engine.
    Queued,
    Operator(Duration),
}

impl Decision {
    /// Puts the candidates in the order of `ranks`, which names each place once.
    pub(super) fn arrange(&mut self) {
        let (order, ranks) = (self.order.as_mut_slice(), self.ranks.as_mut_slice());
        for start in 0..order.len().min(ranks.len()) {
            let first = order[start];
            let mut at = start;
            // Around the ring that ends where it began; what has its place names itself.
            loop {
                let from = usize::from(ranks[at].at);
                ranks[at].at = u16::try_from(at).unwrap_or(u16::MAX);
                if from == start {
                    order[at] = first;
                    break;
                }
                order[at] = order[from];
                at = from;
            }
        }
    }

    /// Empties it and keeps its room.
    pub fn clear(&mut self) {
        self.order.clear();
        self.excluded.clear();
        self.held.clear();
        self.ranks.clear();
        self.hedge = None;
        self.lateness_usd = 0.0;
        self.queue_usd_per_s = 0.0;
        self.limit = None;
        self.degraded = Degraded::No;
    }

    /// What λ is measured in, in USD: what this request would cost on the cheapest candidate, were no cache warm. Hardware
    /// of our own costs nothing more for one more request, and so is no measure.
    pub fn unit_usd(&self) -> Option<f64> {
        let costs = self.order.iter().filter(|one| one.cost_expected.is_some()).map(|one| one.offer.cold_usd);
        costs.filter(|cost| *cost > 0.0).min_by(f64::total_cmp)
    }

    /// Expected cost of the cheapest candidate that costs anything, in USD.
    pub fn cheapest_usd(&self) -> Option<f64> {
        let costs =
            self.order.iter().filter(|one| one.cost_expected.is_some()).map(|one| one.offer.cost_usd());
        costs.filter(|cost| *cost > 0.0).min_by(f64::total_cmp)
    }

    /// What whoever serves it best of those that cost anything is expected to cost, in USD, being late counted at λ.
    pub fn elsewhere_usd(&self) -> Option<f64> {
        let paid = self.order.iter().filter(|one| one.cost_expected.is_some() && one.offer.cost_usd() > 0.0);
        paid.map(|one| one.offer.cost_usd() + self.lateness_usd * f64::from(one.late)).min_by(f64::total_cmp)
    }

    /// Why `route` was left out, if it was.
    pub fn why_excluded(&self, route: RouteId) -> Option<&Exclusion> {
        self.excluded.iter().find(|excluded| excluded.route == route).map(|excluded| &excluded.why)
    }

    /// With nobody to ask: the shortest wait after which a provider that asked us to wait may be asked, by deciding
    /// again then. `None` where waiting would not help.
    pub fn wait_min(&self) -> Option<Duration> {
        let waits = self.excluded.iter().filter_map(|excluded| match excluded.why {
            Exclusion::RateLimited { remaining } => Some(remaining),
            // Load is measured over seconds: one second makes room.
            Exclusion::OverCap { .. } | Exclusion::Full { .. } | Exclusion::Queue { .. } => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        });
        if self.order.is_empty() { waits.min() } else { None }
    }
}
