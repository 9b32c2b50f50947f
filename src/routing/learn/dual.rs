//! What one late first token is worth avoiding (λ, in USD), so that the promised share comes in time.
//!
//! λ is the multiplier of the constraint P(in time) ≥ attainment, and spend is lowest when the same λ holds all along. So it is
//! not felt for by counting misses, which takes thousands of requests where one in a hundred may be late, but foretold:
//! every decision says how likely each candidate is to be late, hence what would be chosen, and be late, at any λ. The
//! running means of that at a row of λs are a curve; λ is where it meets the share that may be late.
//!
//! Counted misses correct the curve: all of it is multiplied by late ones that came over those foretold. And what has come late
//! beyond its share is made good over the next [`MADE_GOOD`] requests: slowly, since most of it is luck, which the bias has
//! taken for a fault already, and what is bought in a hurry is dear.

use crate::routing::decision::{Candidate, Decision};

/// What is aimed at beyond the promise, in standard deviations of what luck makes of the share that is late over
/// [`MADE_GOOD`] requests.
const MARGIN: f64 = 2.0;
/// Ceiling of λ, in mean costs of the cheapest candidate: where cheap routes are seldom late but then by all means, as with
/// long prompts that a cache lost, the last share of a promise is kept by others at many times their price.
const CEILING: f64 = 200.0;
/// λ where latency is all that counts, in the same measure.
pub const URGENT: f64 = 50.0;
/// Most that λ is before anything was decided.
const START_MOST: f64 = 25.0;
/// λ before anything was decided, in the same measure, times the share that may be late: the fewer may be late, the dearer
/// each is.
const START: f64 = 0.15;
/// λ never falls below this many mean costs, or it would take a minute of late answers, each of which it takes for a good
/// bargain, to leave a cheap route that has become slow.
const FLOOR: f64 = 1.0;
/// Each λ of the curve is so many times the one below it; together they reach from floor to ceiling.
const RATIO: f64 = 1.25;
const LEVELS: usize = 25;
/// Where not even the ceiling keeps the promise, λ is that which comes within this share of what may be late to the best
/// there is: the last bit of it is the dearest.
const REACH: f64 = 0.15;
/// Requests that the curve remembers: busy hours and quiet ones are to share one λ, and a change of the market shows in what
/// comes late long before the curve has followed it.
const CURVE_MEMORY: f64 = 6_000.0;
/// Requests that sums of late ones remember.
const MEMORY: f64 = 2_000.0;
/// Late requests, foretold and come, that are assumed before any: the curve is believed until it has often been wrong.
const BELIEVED: f64 = 3.0;
/// Requests over which what came late beyond its share is remembered and made good, and how far that may lower and raise the
/// share.
const MADE_GOOD: f64 = 10_000.0;
const SHARE_LEAST: f64 = 0.4;
const SHARE_MOST: f64 = 1.25;

/// λ of one policy's promise for one model.
#[derive(Debug, Clone, Copy)]
pub struct LatenessPrice {
    attainment: f32,
    mean_cost_usd: f64,
    decided: f64,
    /// The curve: λ is `RATIO` to the power of `from` and upwards, each with the share that would be late.
    from: i32,
    curve: [f32; LEVELS],
    /// Late requests as foretold of the plans that were chosen, and as they came. Sums that fade.
    foretold: f64,
    late: f64,
    /// Late requests beyond those that were allowed. A sum that fades over [`MADE_GOOD`].
    owed: f64,
    /// λ in USD.
    usd: f64,
    out_of_reach: bool,
    /// 1 while spend is on pace; 0: a late request may cost nothing to avoid.
    pressure: f64,
}

/// The share that may be late for a promised share in time, with a margin.
fn allowed(attainment: f32) -> f64 {
    let promised = 1.0 - f64::from(attainment);
    (promised - MARGIN * (promised * f64::from(attainment) / MADE_GOOD).sqrt()).max(0.0005)
}

/// λ before anything was decided for a promised share in time, in mean costs of the cheapest candidate.
pub fn start(attainment: f32) -> f64 {
    (START / allowed(attainment)).clamp(1.0, START_MOST)
}

impl LatenessPrice {
    /// λ before anything was learnt. `attainment` is the promised share in time.
    pub const fn new(attainment: f32) -> Self {
        Self {
            attainment,
            mean_cost_usd: 0.0,
            decided: 0.0,
            from: 0,
            curve: [0.0; LEVELS],
            foretold: 0.0,
            late: 0.0,
            owed: 0.0,
            usd: 0.0,
            out_of_reach: false,
            pressure: 1.0,
        }
    }

    /// A request was decided, its first attempt.
    #[expect(clippy::cast_possible_truncation, reason = "an exponent of a few dozen, a share")]
    pub fn decided(&mut self, decision: &Decision) {
        let Some(unit_usd) = decision.unit_usd().filter(|usd| usd.is_finite()) else { return };
        self.decided += 1.0;
        let share = (1.0 / self.decided).max(1.0 / CURVE_MEMORY);
        self.mean_cost_usd += share * (unit_usd - self.mean_cost_usd);
        let from = (self.mean_cost_usd * FLOOR).max(f64::MIN_POSITIVE).log(RATIO).floor() as i32;
        if self.decided > 1.0 {
            self.shift(from.saturating_sub(self.from));
        }
        self.from = from;
        for (known, late) in self.curve.iter_mut().zip(foretell(decision, from)) {
            *known += share as f32 * (late - *known);
        }
        let chosen = match (&decision.hedge, decision.order.first()) {
            (Some(hedge), _) => 1.0 - hedge.in_time,
            (None, Some(first)) => first.late,
            (None, None) => 1.0,
        };
        self.foretold = self.foretold * (1.0 - 1.0 / MEMORY) + f64::from(chosen);
        self.settle();
    }

    /// Moves the curve's λs: up where costs have grown.
    fn shift(&mut self, by: i32) {
        for _ in 0..usize::try_from(by.unsigned_abs()).unwrap_or(LEVELS).min(LEVELS) {
            if by > 0 {
                self.curve.copy_within(1.., 0);
            } else {
                self.curve.copy_within(..LEVELS - 1, 1);
            }
        }
    }

    /// A request ended; `late` if its first token did not come in time. `attainment` is the promised share.
    pub fn finished(&mut self, late: bool, attainment: f32) {
        self.attainment = attainment;
        self.late = self.late * (1.0 - 1.0 / MEMORY) + f64::from(u8::from(late));
        self.owed = self.owed * (1.0 - 1.0 / MADE_GOOD) + f64::from(u8::from(late)) - allowed(attainment);
        self.settle();
    }

    /// Finds λ on the curve.
    fn settle(&mut self) {
        let promised = allowed(self.attainment);
        let allowed = (promised - self.owed / MADE_GOOD).clamp(promised * SHARE_LEAST, promised * SHARE_MOST);
        let bias = (self.late + BELIEVED) / (self.foretold + BELIEVED);
        let least = self.curve.iter().copied().fold(1.0, f32::min);
        self.out_of_reach = f64::from(least) * bias > promised;
        let allowed = allowed.max(f64::from(least) * bias + REACH * allowed);
        let mut level = f64::from(self.from);
        let mut more = None;
        for late in self.curve {
            let late = f64::from(late) * bias;
            if late <= allowed {
                // Between two levels, as far as the share is between theirs.
                level -= more.map_or(0.0, |more: f64| (allowed - late) / (more - late).max(1e-12));
                break;
            }
            more = Some(late);
            level += 1.0;
        }
        self.usd = (level * RATIO.ln()).exp().max(FLOOR * self.mean_cost_usd);
    }

    /// Spend over its pace in a budget: 1 on pace; at a quarter over pace a late request is worth nothing.
    pub fn pressed(&mut self, spent_over_paced: f64) {
        self.pressure = 1.0 - ((spent_over_paced - 1.0) / 0.25).clamp(0.0, 1.0);
    }

    /// λ in USD; `None` before the first decision.
    pub fn usd(&self) -> Option<f64> {
        (self.decided > 0.0).then(|| self.usd.min(CEILING * self.pressure * self.mean_cost_usd))
    }

    /// Running mean of the cheapest candidate's cost, in USD.
    pub const fn mean_cost_usd(&self) -> f64 {
        self.mean_cost_usd
    }

    /// Whether not even the ceiling of λ keeps the promise.
    pub const fn is_out_of_reach(&self) -> bool {
        self.out_of_reach
    }
}

/// The chance of being late of what would be chosen at each λ of the curve that begins at `from`.
fn foretell(decision: &Decision, from: i32) -> [f32; LEVELS] {
    let mut lates = [1.0; LEVELS];
    // Who had to stand back, as new or by the policy's order, would have at any λ.
    let first = decision.order.first();
    let stands_back =
        |one: &Candidate| first.is_some_and(|first| (one.waits, one.place) != (first.waits, first.place));
    let mut usd = RATIO.powi(from);
    for late in &mut lates {
        let mut best = f64::INFINITY;
        let dearer = usd - decision.lateness_usd;
        for one in decision.order.iter().filter(|one| !stands_back(one)) {
            let score = one.score_usd + dearer * f64::from(one.lateness);
            if score < best {
                (best, *late) = (score, one.late);
            }
        }
        if let Some(hedge) = &decision.hedge
            && hedge.score_usd + dearer * f64::from(hedge.lateness) < best
        {
            *late = 1.0 - hedge.in_time;
        }
        usd *= RATIO;
    }
    lates
}

#[cfg(test)]
mod tests {
    use crate::routing::route::RouteId;

    use super::*;

    /// A choice between cheap and mostly late, and dear and mostly in time: at `lateness_usd`.
    fn decision(lateness_usd: f64, cheap_late: f32, dear_late: f32) -> Decision {
        let candidate = |route: u16, usd: f64, late: f32| Candidate {
            in_time: 1.0 - late,
            score_usd: usd + lateness_usd * f64::from(late),
            late,
            lateness: late,
            ..Candidate::costing(RouteId(route), usd)
        };
        let mut order = [candidate(0, 1e-3, cheap_late), candidate(1, 2e-3, dear_late)];
        if order[1].score_usd < order[0].score_usd {
            order.swap(0, 1);
        }
        Decision { order: order.into_iter().collect(), lateness_usd, ..Decision::default() }
    }

    /// Runs a market in which λ of one to ten mean costs divides requests: which came late.
    /// What is foretold is off by `bias`.
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    fn run(attainment: f32, bias: f32, requests: u32, seed: u32) -> Vec<bool> {
        let mut price = LatenessPrice::new(attainment);
        let market = (0..requests).map(|i| {
            let i = i.wrapping_add(seed * 7_919);
            let spread = |by: u32| f64::from(i.wrapping_mul(by) >> 8) / f64::from(1_u32 << 24);
            // Requests differ in how late the cheap one is.
            let cheap = 0.1 + 0.5 * spread(2_654_435_769);
            let lateness_usd = price.usd().unwrap_or(1e-3);
            let foretold = decision(lateness_usd, cheap as f32 * bias, 0.01 * bias);
            price.decided(&foretold);
            let chance = if foretold.order[0].route == RouteId(0) { cheap } else { 0.01 };
            let late = spread(1_597_334_677) < chance;
            price.finished(late, attainment);
            late
        });
        market.collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    fn share_late(ended: &[bool]) -> f64 {
        ended.iter().map(|late| f64::from(u8::from(*late))).sum::<f64>() / ended.len() as f64
    }

    #[test]
    fn it_settles_where_the_promise_is_just_kept() {
        for bias in [0.7, 1.0, 1.4] {
            for attainment in [0.80, 0.95] {
                let late = share_late(&run(attainment, bias, 20_000, 0)[10_000..]);
                let promised = 1.0 - f64::from(attainment);
                assert!((promised * 0.85..=promised).contains(&late), "{attainment} {bias}: {late}");
            }
        }
    }

    #[test]
    fn it_lets_no_more_come_late_while_its_memory_fills() {
        for attainment in [0.80, 0.95] {
            let runs: Vec<f64> =
                (0..20).map(|seed| share_late(&run(attainment, 1.0, 4_000, seed)[1_000..])).collect();
            let late = runs.iter().sum::<f64>() / 20.0;
            let promised = 1.0 - f64::from(attainment);
            assert!((promised * 0.85..=promised).contains(&late), "{attainment}: {late}");
        }
    }

    #[test]
    fn one_decision_tells_where_to_begin() {
        let mut price = LatenessPrice::new(0.95);
        price.decided(&decision(1e-3, 0.5, 0.01));
        // 1 ÷ 0.49 mean costs are what the dear one is worth.
        let usd = price.usd().unwrap();
        assert!((1.4e-3..=3.1e-3).contains(&usd), "{usd}");
    }

    #[test]
    fn costs_that_grow_move_the_curve_along() {
        let mut price = LatenessPrice::new(0.9);
        let mut scaled = |times: f64, count: u32| {
            for _ in 0..count {
                let lateness_usd = price.usd().unwrap_or(1e-3);
                let mut decision = decision(lateness_usd / times, 0.5, 0.01);
                decision.lateness_usd = lateness_usd;
                for one in &mut decision.order {
                    one.score_usd *= times;
                    one.offer.cold_usd *= times;
                }
                price.decided(&decision);
                price.finished(false, 0.9);
            }
            price.usd().unwrap()
        };
        let before = scaled(1.0, 3_000);
        let after = scaled(20.0, 30_000);
        assert!((10.0..=30.0).contains(&(after / before)), "{before} {after}");
    }

    #[test]
    fn out_of_reach_is_said() {
        let mut price = LatenessPrice::new(0.99);
        for _ in 0..200 {
            price.decided(&decision(1e-3, 0.5, 0.3));
            price.finished(true, 0.99);
        }
        assert!(price.is_out_of_reach());
        // The dear one is as good as it gets, and enough makes sure of it.
        assert!(price.usd().unwrap() > 1e-3 / 0.2);
    }

    #[test]
    fn pressure_takes_the_price_away() {
        let mut price = LatenessPrice::new(0.95);
        price.decided(&decision(1e-3, 0.5, 0.01));
        price.pressed(1.25);
        assert_eq!(price.usd(), Some(0.0));
    }
}
