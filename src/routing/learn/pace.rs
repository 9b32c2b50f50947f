//! How fast a route writes once it has begun: seconds per answer token.

/// Shortest answer that says something of the pace, in tokens.
const TOKENS_MIN: u64 = 16;
/// Share of a new sample in the smoothed values.
const SMOOTHING: f32 = 0.1;
/// Assumed before anything was seen: 80 tokens a second.
pub const SECONDS_PER_TOKEN_ASSUMED: f32 = 0.0125;

/// Smoothed logarithm of the seconds per token, and its variance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    log: Option<(f32, f32)>,
}

impl Pace {
    /// An answer of `tokens` tokens was written in `seconds` after its first.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn seen(&mut self, tokens: u64, seconds: f32) {
        if tokens < TOKENS_MIN || seconds <= 0.0 || !seconds.is_finite() {
            return;
        }
        let sample = (seconds / (tokens - 1) as f32).ln();
        self.log = Some(match self.log {
            None => (sample, 0.04),
            Some((mean, variance)) => {
                let off = sample - mean;
                (mean + SMOOTHING * off, (1.0 - SMOOTHING) * (variance + SMOOTHING * off * off))
            }
        });
    }

    /// What a decision needs.
    pub fn outlook(&self) -> PaceOutlook {
        match self.log {
            None => PaceOutlook::default(),
            Some((mean, variance)) => PaceOutlook::of(mean.exp(), variance.sqrt()),
        }
    }
}

/// A route's pace as a decision reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceOutlook {
    /// Median seconds per answer token.
    pub seconds_per_token: f32,
    /// Spread of its logarithm.
    pub spread: f32,
    /// Whether anything was seen; else it is assumed.
    pub seen: bool,
    /// The logarithm of `seconds_per_token`.
    log: f32,
}

impl Default for PaceOutlook {
    fn default() -> Self {
        let mut assumed = Self::of(SECONDS_PER_TOKEN_ASSUMED, 0.3);
        assumed.seen = false;
        assumed
    }
}

impl PaceOutlook {
    /// One that was seen to take so many seconds for a token, with this spread of the logarithm.
    pub fn of(seconds_per_token: f32, spread: f32) -> Self {
        Self { seconds_per_token, spread, seen: true, log: seconds_per_token.ln() }
    }

    /// Chance that an answer is written slower than `tokens_per_second`.
    pub fn slower_than(&self, tokens_per_second: f32) -> f32 {
        self.slower_than_log(tokens_per_second.ln())
    }

    /// The same, of a rate by its logarithm: whoever asks of many routes takes that once. No answer is slower than nothing.
    pub fn slower_than_log(&self, log_rate: f32) -> f32 {
        if log_rate.is_nan() || log_rate == f32::NEG_INFINITY {
            return 0.0;
        }
        let z = (self.log + log_rate) / self.spread.max(0.02);
        // The logistic curve stands in for the normal one.
        1.0 / (1.0 + (-1.702 * z).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_is_learnt_and_odd_samples_do_no_harm() {
        let mut pace = Pace::default();
        for odd in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
            pace.seen(100, odd);
        }
        assert!(!pace.outlook().seen);
        (0..50).for_each(|_| pace.seen(101, 2.0));
        let outlook = pace.outlook();
        assert!((outlook.seconds_per_token - 0.02).abs() < 1e-4);
        assert!(outlook.slower_than(30.0) < 0.05 && outlook.slower_than(80.0) > 0.95);
    }
}
