//! The share of attempts that fail quickly: what happened in the last seconds, held against the route's long habit.

/// Half-life of the recent count, in seconds, and of the habit.
const RECENT_S: f64 = 30.0;
const HABIT_S: f64 = 3_600.0;
/// What is assumed of the habit, and for how many attempts.
const ASSUMED: f64 = 0.005;
const ASSUMED_ATTEMPTS: f64 = 30.0;
/// How many attempts the habit counts for against the recent ones.
const HABIT_ATTEMPTS: f64 = 4.0;

/// Failures and attempts, decayed at two speeds.
#[derive(Debug, Clone)]
pub struct Errors {
    recent: [f64; 2],
    habit: [f64; 2],
    at_s: f64,
}

impl Default for Errors {
    fn default() -> Self {
        Self { recent: [0.0; 2], habit: [ASSUMED * ASSUMED_ATTEMPTS, ASSUMED_ATTEMPTS], at_s: 0.0 }
    }
}

impl Errors {
    /// An attempt ended at `at_s`.
    pub fn counted(&mut self, at_s: f64, failed: bool) {
        self.pass(at_s);
        let failures = f64::from(u8::from(failed));
        for counts in [&mut self.recent, &mut self.habit] {
            counts[0] += failures;
            counts[1] += 1.0;
        }
    }

    /// The expected share that fails at `at_s`, 0..1.
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    pub fn share(&mut self, at_s: f64) -> f32 {
        self.pass(at_s);
        // A long outage is no habit: what lasts is capped, so that a route that is back is believed soon.
        let habit = (self.habit[0] / self.habit[1]).min(0.2);
        ((self.recent[0] + habit * HABIT_ATTEMPTS) / (self.recent[1] + HABIT_ATTEMPTS)) as f32
    }

    /// The share that failed lately, 0..1, whatever its habit.
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    pub fn recent_share(&self) -> f32 {
        // Both counts fade alike.
        (self.recent[0] / self.recent[1].max(f64::MIN_POSITIVE)) as f32
    }

    fn pass(&mut self, at_s: f64) {
        let passed = at_s - self.at_s;
        if passed <= 0.0 {
            return;
        }
        self.at_s = at_s;
        let keep = (-passed / RECENT_S).exp2();
        self.recent.iter_mut().for_each(|count| *count *= keep);
        let keep = (-passed / HABIT_S).exp2();
        let [failures, attempts] = &mut self.habit;
        *failures = *failures * keep + (1.0 - keep) * ASSUMED * ASSUMED_ATTEMPTS;
        *attempts = *attempts * keep + (1.0 - keep) * ASSUMED_ATTEMPTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_show_at_once_and_fade() {
        let mut errors = Errors::default();
        for second in 0..60_u8 {
            errors.counted(f64::from(second), false);
        }
        let calm = errors.share(60.0);
        (0..4).for_each(|_| errors.counted(60.0, true));
        let broken = errors.share(60.0);
        let later = errors.share(360.0);
        assert!(calm < 0.01 && broken > 0.08 && later < 0.05, "{calm} {broken} {later}");
    }
}
