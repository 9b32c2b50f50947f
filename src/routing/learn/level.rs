//! How slow a route is at the moment against its own habit: a filter over a grid of levels.
//!
//! The level is what all calls of a moment share: drift, a busy hour, an incident. It wanders slowly, returns to habit, and at
//! times jumps.
//! Each call, answered or not, says something of it through the likelihood of what was seen; without calls the filter
//! forgets by itself, so that old evidence is never taken for new.

/// Levels in the grid: a long prompt tells the level to a twentieth, and whether it is in time may hang on that.
pub const LEVELS: usize = 95;
const LOWEST: f32 = -1.2;
const STEP: f32 = 0.05;
/// The level that is no deviation from habit.
const HABIT: usize = 24;
/// Beyond so much of a deviation, in logarithms, it returns no quicker: that is no drift but an incident, which ends by a jump.
const DRIFTS: f32 = 0.5;
/// A stride of this many seconds moves a level by less than a step.
const STRIDE_S: f32 = 10.0;
const STRIDES_MAX: f32 = 64.0;

/// How a level moves.
#[derive(Debug, Clone, Copy)]
struct Habits {
    /// Variance of the wandering, in squared logarithms a second.
    wander: f32,
    /// Share of a deviation by which it returns to habit, a second.
    returns: f32,
    /// Jumps a second.
    jumps: f32,
}

/// Of others': a fifth up or down, within some twenty minutes, and an incident every hour or two. Were incidents thought more
/// frequent, whom nobody has asked for a minute would be held to be late more often than is ever promised not to be.
const OTHERS: Habits = Habits { wander: 7.0e-5, returns: 1.0 / 1_200.0, jumps: 1.0 / 6_000.0 };
/// Of hardware of our own: nobody else's load slows it.
const OWN: Habits = Habits { wander: 1.0e-5, returns: 0.0, jumps: 1.0 / 30_000.0 };
/// Share of jumps by which a level returns to habit.
const JUMPS_BACK: f32 = 0.5;

/// What is believed of a level: mean and standard deviation of its logarithm.
#[derive(Debug, Clone, Copy)]
pub struct Belief {
    /// The mean.
    pub log: f32,
    /// The standard deviation.
    pub sigma: f32,
}

/// Weights of the levels; they add up to 1.
#[derive(Debug, Clone)]
pub struct Level {
    weight: [f32; LEVELS],
    habits: Habits,
}

impl Default for Level {
    fn default() -> Self {
        Self { weight: habit(0.25), habits: OTHERS }
    }
}

/// The logarithm of a level.
#[expect(clippy::cast_precision_loss, reason = "a few dozen levels")]
pub fn log_of(index: usize) -> f32 {
    LOWEST + STEP * index as f32
}

/// How many steps a level is away from habit, as far as it returns by itself.
#[expect(clippy::cast_precision_loss, reason = "a few dozen levels")]
fn steps_back(index: usize) -> f32 {
    (index.abs_diff(HABIT) as f32).min(DRIFTS / STEP)
}

/// Weights around no deviation at all, with this spread.
fn habit(sigma: f32) -> [f32; LEVELS] {
    let mut weight: [f32; LEVELS] = std::array::from_fn(|index| {
        let z = log_of(index) / sigma;
        (-0.5 * z * z).exp()
    });
    let sum: f32 = weight.iter().sum();
    for weight in &mut weight {
        *weight /= sum;
    }
    weight
}

impl Level {
    /// The level of hardware of our own.
    pub fn own() -> Self {
        Self { habits: OWN, ..Self::default() }
    }

    /// Time has passed.
    pub fn pass(&mut self, seconds: f32) {
        if seconds <= 0.0 {
            return;
        }
        // Long gaps in few strides.
        let strides = (seconds / STRIDE_S).ceil().clamp(1.0, STRIDES_MAX);
        let stride = (seconds / strides).min(STRIDE_S);
        let aside = (self.habits.wander * stride / (2.0 * STEP * STEP)).min(0.25);
        let returned = stride * self.habits.returns;
        let mut left = strides;
        while left > 0.5 {
            let mut before = 0.0;
            for index in 0..LEVELS {
                let own = self.weight[index];
                let after = if index + 1 < LEVELS { self.weight[index + 1] } else { 0.0 };
                let edge = if index == 0 || index + 1 == LEVELS { 1.0 } else { 2.0 };
                let back = returned * steps_back(index);
                self.weight[index] = own * (1.0 - edge * aside - back) + aside * (before + after);
                if index > 0 && index <= HABIT {
                    self.weight[index] += before * returned * steps_back(index - 1);
                }
                if index >= HABIT && index + 1 < LEVELS {
                    self.weight[index] += after * returned * steps_back(index + 1);
                }
                before = own;
            }
            left -= 1.0;
        }
        let jumped = 1.0 - (-seconds * self.habits.jumps).exp();
        let (back, anywhere) = (jumped * JUMPS_BACK, jumped * (1.0 - JUMPS_BACK) / LEVELS_F);
        let usual = usual();
        for (weight, usual) in self.weight.iter_mut().zip(usual) {
            *weight = *weight * (1.0 - jumped) + back * usual + anywhere;
        }
    }

    /// Chance of something seen, by its likelihood at each level (which is told as to [`Self::weigh`]).
    pub fn chance(&self, likelihood: impl Fn(f32) -> f32) -> f32 {
        let levels = self.weight.iter().zip(quicker()).filter(|(weight, _)| **weight > 1e-3);
        levels.map(|(weight, quicker)| weight * likelihood(*quicker)).sum()
    }

    /// Weighs every level by the likelihood of something seen. A level is told by how many times quicker the route is at it
    /// than out of habit.
    pub fn weigh(&mut self, likelihood: impl Fn(f32) -> f32) {
        let mut sum = 0.0;
        for (weight, quicker) in self.weight.iter_mut().zip(quicker()) {
            // Levels that carry nothing are not worth a logarithm.
            if *weight > 1e-7 {
                *weight *= likelihood(*quicker);
                sum += *weight;
            } else {
                *weight = 0.0;
            }
        }
        if sum > 1e-30 && sum.is_finite() {
            self.weight.iter_mut().for_each(|weight| *weight /= sum);
        } else {
            self.weight = *usual();
        }
    }

    /// What the levels are measured against has moved: all of them by `by`, in logarithms.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "held inside the grid"
    )]
    pub fn shift(&mut self, by: f32) {
        let old = self.weight;
        self.weight = [0.0; LEVELS];
        for (index, weight) in old.into_iter().enumerate() {
            let at = (index as f32 + by / STEP).clamp(0.0, LEVELS_F - 1.0);
            let (lower, into) = (at as usize, at.fract());
            self.weight[lower] += weight * (1.0 - into);
            self.weight[(lower + 1).min(LEVELS - 1)] += weight * into;
        }
    }

    /// Mean of the logarithm.
    pub fn mean_log(&self) -> f32 {
        self.weight.iter().enumerate().map(|(index, weight)| weight * log_of(index)).sum()
    }

    /// Its mean and spread.
    pub fn belief(&self) -> Belief {
        let log = self.mean_log();
        let square = |(index, weight): (usize, &f32)| weight * (log_of(index) - log).powi(2);
        Belief { log, sigma: self.weight.iter().enumerate().map(square).sum::<f32>().sqrt() }
    }

    /// The levels as a few points (logarithm, weight): neighbours are taken together, and what carries next to nothing.
    pub fn points(&self) -> impl Iterator<Item = (f32, f32)> + '_ {
        let mut index = 0;
        std::iter::from_fn(move || {
            let (mut log, mut weight) = (0.0, 0.0);
            // A point is two levels wide, or as wide as it takes to carry two hundredths.
            let from = index;
            while index < LEVELS && (weight < 0.02 || index - from < 2) {
                let own = self.weight[index];
                log += own * log_of(index);
                weight += own;
                index += 1;
            }
            (weight > 0.0).then(|| (log / weight, weight))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen levels")]
const LEVELS_F: f32 = LEVELS as f32;

/// How many times quicker than out of habit a route is, by level.
fn quicker() -> &'static [f32; LEVELS] {
    static QUICKER: std::sync::LazyLock<[f32; LEVELS]> =
        std::sync::LazyLock::new(|| std::array::from_fn(|index| (-log_of(index)).exp()));
    &QUICKER
}

fn usual() -> &'static [f32; LEVELS] {
    static USUAL: std::sync::LazyLock<[f32; LEVELS]> = std::sync::LazyLock::new(|| habit(0.25));
    &USUAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_at(log: f32) -> impl Fn(f32) -> f32 {
        move |quicker: f32| {
            let z = (log + quicker.ln()) / 0.35;
            (-0.5 * z * z).exp() + 0.01
        }
    }

    #[test]
    fn it_follows_a_jump_within_a_few_calls_and_forgets_without_any() {
        let mut level = Level::default();
        for _ in 0..50 {
            level.pass(1.0);
            level.weigh(seen_at(0.0));
        }
        assert!(level.mean_log().abs() < 0.1);
        let mut calls = 0;
        while level.mean_log() < 1.2 {
            level.pass(1.0);
            level.weigh(seen_at(1.6));
            calls += 1;
            assert!(calls < 10, "{}", level.mean_log());
        }
        assert!(calls > 1, "one odd call proves nothing");
        for _ in 0..100 {
            level.pass(60.0);
        }
        let sum: f32 = level.weight.iter().sum();
        assert!((sum - 1.0).abs() < 1e-3);
        assert!(level.mean_log() < 1.2);
        let before = level.mean_log();
        level.shift(0.25);
        assert!((level.mean_log() - before - 0.25).abs() < 0.02);
    }
}
