//! How much of a call's luck strikes the part of its time in which its prompt is read.
//!
//! Several shares are held possible. Each first token of a long prompt speaks for those under which it was likely, whatever the
//! level: a time is `level · (base · luck + prefill · (1 + φ·(luck − 1)))`, and where φ is small, long prompts come as the level
//! says, nearly to the second. How well the level is known is weighed along, so that a level that is off does not pass for luck.

/// The shares that are held possible: some luck is always left.
pub const SHARES: [f64; 5] = [0.03, 0.08, 0.16, 0.30, 0.50];
/// Spread of what is assumed of the share, in logarithms.
const ASSUMED_SIGMA: f64 = 1.2;
/// Samples that are remembered.
const MEMORY: f32 = 100.0;
/// One call in the tail is no proof: a share is this likely at least, against the likeliest.
const LEAST_LIKELY: f32 = 1e-3;
/// A time of which the base is more than this share tells nothing of the prompt's.
const TELLS: f64 = 0.6;

/// What is held of the share of one route.
#[derive(Debug, Clone, Copy)]
pub struct LuckShare {
    /// Logarithm of the chance of each of [`SHARES`], but for what all have in common.
    log_chance: [f32; SHARES.len()],
}

impl LuckShare {
    /// A share that is assumed.
    #[expect(clippy::cast_possible_truncation, reason = "logarithms")]
    pub fn new(assumed: f64) -> Self {
        Self {
            log_chance: SHARES.map(|share| (-0.5 * ((share / assumed).ln() / ASSUMED_SIGMA).powi(2)) as f32),
        }
    }

    /// Whether a time of which the base is the share `base` tells something.
    pub fn is_told_by(base: f64) -> bool {
        base < TELLS
    }

    /// A time was seen that is so likely by each of [`SHARES`].
    pub fn seen(&mut self, likely: [f32; SHARES.len()]) {
        let most = likely.into_iter().fold(f32::MIN_POSITIVE, f32::max);
        for (log, likely) in self.log_chance.iter_mut().zip(likely) {
            *log = *log * (1.0 - 1.0 / MEMORY) + (likely / most).max(LEAST_LIKELY).ln();
        }
        let highest = self.log_chance.into_iter().fold(f32::MIN, f32::max);
        self.log_chance.iter_mut().for_each(|log| *log -= highest);
    }

    /// Share of luck that strikes the prompt's part.
    pub fn of_prefill(&self) -> f64 {
        let chances = self.log_chance.map(|log| f64::from(log.exp()));
        let mean: f64 = chances.iter().zip(SHARES).map(|(chance, share)| chance * share).sum();
        mean / chances.iter().sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_assumed_at_first_and_then_goes_by_what_was_likely() {
        let mut share = LuckShare::new(0.25);
        assert!((share.of_prefill() - 0.25).abs() < 0.05, "{share:?}");
        share.seen([0.0; SHARES.len()]);
        assert!((share.of_prefill() - 0.25).abs() < 0.05, "what fits none of them says nothing: {share:?}");
        for _ in 0..50 {
            share.seen([0.2, 0.8, 0.5, 0.1, 0.1]);
        }
        assert!((share.of_prefill() - 0.08).abs() < 0.01, "{share:?}");
        share.seen([0.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(share.of_prefill() < 0.1, "one call is no proof: {share:?}");
        for _ in 0..300 {
            share.seen([0.0, 0.1, 0.2, 0.4, 0.9]);
        }
        assert!(share.of_prefill() > 0.45, "what was long ago is forgotten: {share:?}");
    }
}
