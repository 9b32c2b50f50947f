//! What one late first token is worth avoiding (λ, in USD), learnt so that the promised share comes in time.
//!
//! λ rises with each late request and falls a little with each that was in time: the multiplier of the constraint
//! P(in time) ≥ attainment. Its steps are small against its size, since spend is lowest when the same λ holds all along.

/// Steps of the logarithm: how far one late request moves it at first, and, over the root of the share that may be late,
/// once it has settled.
const STEP_FIRST: f64 = 0.25;
const STEP_SETTLED: f64 = 0.0067;
/// Requests after which it has settled half way.
const SETTLES: f64 = 300.0;
/// What is aimed at beyond the promise, as a share.
const MARGIN: f64 = 0.002;
/// Ceiling of λ, in mean costs of the cheapest candidate.
pub const CEILING: f64 = 50.0;
/// Start of λ in the same measure, times the share that may be late: the fewer may be late, the dearer each is.
const START: f64 = 0.15;
/// λ never falls below this many mean costs, or it would take a minute of late answers, each of which it takes for a good
/// bargain, to leave a cheap route that has become slow.
const FLOOR: f64 = 1.0;
/// Share of a new cost in the running mean.
const SMOOTHING: f64 = 0.01;

/// λ of one policy's promise for one model.
#[derive(Debug, Clone, Copy)]
pub struct LatenessPrice {
    /// λ over the mean cost, as a logarithm.
    log: f64,
    mean_cost_usd: f64,
    requests: f64,
    /// 1 while spend is on pace; 0: a late request may cost nothing to avoid.
    pressure: f64,
}

/// The share that may be late for a promised share in time, with a margin.
fn allowed(attainment: f32) -> f64 {
    (1.0 - f64::from(attainment) - MARGIN).max(0.0005)
}

/// Where λ starts for a promised share in time, in mean costs of the cheapest candidate.
pub fn start(attainment: f32) -> f64 {
    (START / allowed(attainment)).clamp(1.0, CEILING / 2.0)
}

impl LatenessPrice {
    /// λ before anything was learnt. `attainment` is the promised share in time.
    pub fn new(attainment: f32) -> Self {
        Self { log: start(attainment).ln(), mean_cost_usd: 0.0, requests: 0.0, pressure: 1.0 }
    }

    /// A decision was made whose cheapest candidate was expected to cost `usd`.
    pub fn decided(&mut self, usd: f64) {
        if !usd.is_finite() || usd < 0.0 {
            return;
        }
        let share = if self.mean_cost_usd == 0.0 { 1.0 } else { SMOOTHING };
        self.mean_cost_usd += share * (usd - self.mean_cost_usd);
    }

    /// A request ended; `late` if its first token did not come in time. `attainment` is the promised share.
    pub fn finished(&mut self, late: bool, attainment: f32) {
        self.requests += 1.0;
        let allowed = allowed(attainment);
        // Where few may be late, each that is tells more.
        let settled = STEP_SETTLED / allowed.sqrt();
        let step = settled + (STEP_FIRST - settled).max(0.0) * SETTLES / (SETTLES + self.requests);
        let miss = f64::from(u8::from(late));
        self.log = (self.log + step * (miss - allowed)).clamp(FLOOR.ln(), CEILING.ln());
    }

    /// Spend over its pace in a budget: 1 on pace; at a quarter over pace a late request is worth nothing.
    pub fn pressed(&mut self, spent_over_paced: f64) {
        self.pressure = 1.0 - ((spent_over_paced - 1.0) / 0.25).clamp(0.0, 1.0);
    }

    /// λ in USD; `None` before the first decision.
    pub fn usd(&self) -> Option<f64> {
        (self.mean_cost_usd > 0.0).then(|| self.log.exp().min(CEILING * self.pressure) * self.mean_cost_usd)
    }

    /// Running mean of the cheapest candidate's cost, in USD.
    pub const fn mean_cost_usd(&self) -> f64 {
        self.mean_cost_usd
    }

    /// Whether λ is at its ceiling: the promise cannot be kept.
    pub fn is_at_ceiling(&self) -> bool {
        self.requests > 0.0 && self.log >= CEILING.ln() - 1e-6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_settles_where_the_promise_is_just_kept() {
        let mut price = LatenessPrice::new(0.95);
        price.decided(1e-3);
        // A market in which a λ of eight mean costs keeps the promise, and less does not.
        let mut late_of_last = 0;
        for i in 0..20_000_u32 {
            let chance = 0.05 * (8e-3 / price.usd().unwrap());
            let late = f64::from(i.wrapping_mul(2_654_435_769)) / f64::from(u32::MAX) < chance;
            price.finished(late, 0.95);
            late_of_last += u32::from(late && i >= 10_000);
        }
        assert!((400..=560).contains(&late_of_last), "{late_of_last}");
    }

    #[test]
    fn pressure_takes_the_price_away() {
        let mut price = LatenessPrice::new(0.95);
        price.decided(1e-3);
        price.pressed(1.25);
        assert_eq!(price.usd(), Some(0.0));
    }
}
