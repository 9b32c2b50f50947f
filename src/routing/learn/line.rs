//! What a first token takes at the usual level, by the uncached tokens of its prompt: `base + per_token · u`, in seconds. Learnt by
//! recursive least squares (Plackett 1950) with fading weights, each sample weighed by the inverse of its variance (Aitken 1936):
//! luck strikes a long prompt's time less, in proportion, than a short one's, so that a long prompt tells ten times as much.

use super::prior::Prior;

/// The time for each token is held as if by prompts of this many tokens.
const LONG: f64 = 12_000.0;
/// The least that a first token is thought to take, and each uncached token. Of hardware of our own, to which there is no way to
/// go, next to nothing: were short prompts thought slower than they are, the level would make up for it, at long ones' cost.
const LEAST_S: [f64; 2] = [0.05, 0.005e-3];
const OWN_LEAST_S: [f64; 2] = [0.002, 0.000_1e-3];
/// How much short prompts' times differ, as a share.
const LUCK_SIGMA: f64 = 0.4;
/// How well the level is known, as a share, unless it is told.
pub(super) const LEVEL_SIGMA: f64 = 0.1;
/// The level is never taken to be known better than so.
const LEVEL_SIGMA_LEAST: f64 = 0.03;
/// The variance of what is counted as one sample, as a share: a short prompt's time.
const ONE: f64 = LUCK_SIGMA * LUCK_SIGMA + LEVEL_SIGMA * LEVEL_SIGMA;
/// How much calls differ, as a share, where the line's own uncertainty is told.
const DOUBT_SIGMA: f64 = 0.3;

/// The line of one route.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Information matrix and vector of the regression on (1, u).
    matrix: [f64; 3],
    vector: [f64; 2],
    base_s: f64,
    per_token_s: f64,
    least_s: [f64; 2],
}

impl Line {
    /// What is assumed of a route at first.
    pub(super) fn new(prior: &Prior) -> Self {
        // Each number is held by itself, so that short prompts that are quicker than was thought do not make long ones slower.
        let mut this = Self {
            matrix: [0.0; 3],
            vector: [0.0; 2],
            base_s: prior.base_s,
            per_token_s: prior.per_token_s,
            least_s: if prior.queues { OWN_LEAST_S } else { LEAST_S },
        };
        this.hold(prior.samples / 2.0, LONG);
        this
    }

    /// Holds both numbers as they are, each by so many samples: the base by ones without a prompt, the time for each token by
    /// prompts of `long` tokens.
    fn hold(&mut self, samples: f64, long: f64) {
        let long_s = self.usual_s(long);
        self.matrix = [samples / (self.base_s * self.base_s), 0.0, samples * long * long / (long_s * long_s)];
        self.vector = [self.matrix[0] * self.base_s, self.matrix[2] * self.per_token_s];
    }

    /// Seconds for a short prompt.
    pub(super) const fn base_s(&self) -> f64 {
        self.base_s
    }

    /// Seconds for each uncached token.
    pub(super) const fn per_token_s(&self) -> f64 {
        self.per_token_s
    }

    /// Seconds for a prompt.
    pub(super) fn usual_s(&self, uncached: f64) -> f64 {
        self.base_s + self.per_token_s * uncached
    }

    /// Everything known keeps this share of its weight.
    pub(super) fn fade(&mut self, keep: f64) {
        for entry in self.matrix.iter_mut().chain(&mut self.vector) {
            *entry *= keep;
        }
    }

    /// A prompt of `uncached` tokens took `time_s` at the usual level, which is known to the share `level_sigma`. It is weighed as
    /// one of `scale_s`, of which luck strikes `struck` in full.
    pub(super) fn add(&mut self, uncached: f64, time_s: f64, scale_s: f64, struck: f64, level_sigma: f64) {
        let variance = (LUCK_SIGMA * struck).powi(2) + level_sigma.max(LEVEL_SIGMA_LEAST).powi(2);
        let weight = ONE / variance / (scale_s * scale_s);
        self.matrix[0] += weight;
        self.matrix[1] += weight * uncached;
        self.matrix[2] += weight * uncached * uncached;
        self.vector[0] += weight * time_s;
        self.vector[1] += weight * uncached * time_s;
        self.solve();
    }

    /// Forgets all but the base, and takes the rest of `time_s` for the prompt's: hardware may be a hundred times slower than was
    /// thought, and so may models, but each call takes much the same time beside.
    pub(super) fn guess_again(&mut self, uncached: f64, time_s: f64) {
        self.base_s = self.base_s.min(0.5 * time_s);
        self.per_token_s = ((time_s - self.base_s) / uncached.max(1.0)).max(self.least_s[1]);
        self.hold(1.0, uncached.max(1.0));
    }

    fn solve(&mut self) {
        let [m0, m1, m2] = self.matrix;
        let [base_least_s, token_least_s] = self.least_s;
        let determinant = m0 * m2 - m1 * m1;
        if determinant > 1e-9 * m0 * m2 {
            self.base_s = (self.vector[0] * m2 - self.vector[1] * m1) / determinant;
            self.per_token_s = (m0 * self.vector[1] - m1 * self.vector[0]) / determinant;
        }
        if self.per_token_s < token_least_s {
            self.per_token_s = token_least_s;
            self.base_s = (self.vector[0] - self.per_token_s * m1) / m0;
        }
        if self.base_s < base_least_s {
            self.base_s = base_least_s;
            self.per_token_s = ((self.vector[1] - self.base_s * m1) / m2).max(token_least_s);
        }
    }

    /// How far what is expected of a prompt may be off, as a share of it: one standard deviation.
    pub(super) fn sigma(&self, uncached: f64) -> f64 {
        let [whole, cross, square] = self.inverse();
        (ONE * (whole + uncached * (cross + uncached * square))).max(0.0).sqrt() / self.usual_s(uncached)
    }

    /// The inverse of the information matrix: the variance of the line, by powers of the tokens.
    #[expect(clippy::cast_possible_truncation, reason = "squares of seconds")]
    pub(super) fn doubt(&self) -> [f32; 3] {
        self.inverse().map(|entry| (DOUBT_SIGMA * DOUBT_SIGMA * entry) as f32)
    }

    fn inverse(&self) -> [f64; 3] {
        let [m0, m1, m2] = self.matrix;
        let determinant = (m0 * m2 - m1 * m1).max(1e-12 * m0 * m2);
        [m2 / determinant, -2.0 * m1 / determinant, m0 / determinant]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_prompt_tells_what_a_token_takes() {
        let mut line = Line::new(&Prior::default());
        // Thrice as long as was assumed, and of a time of nine seconds luck can have struck but the base's.
        let (tokens, time_s) = (100_000.0, 9.0);
        line.fade(0.6);
        line.add(tokens, time_s, time_s, 0.1 + 0.25 * 0.9, LEVEL_SIGMA);
        assert!(line.usual_s(tokens) > 7.0, "{line:?}");
        let [_, _, square] = line.doubt();
        assert!(f64::from(square).sqrt() * tokens < 0.2 * time_s, "{line:?}");
    }

    #[test]
    fn short_prompts_tell_less_of_the_base_than_long_ones_of_a_token() {
        let taught = |tokens: f64, struck: f64| {
            let mut line = Line::new(&Prior::default());
            (0..4).for_each(|_| {
                line.add(tokens, 2.0 * line.usual_s(tokens), line.usual_s(tokens), struck, LEVEL_SIGMA);
            });
            line.usual_s(tokens) / Line::new(&Prior::default()).usual_s(tokens)
        };
        let (short, long) = (taught(10.0, 1.0), taught(200_000.0, 0.3));
        assert!(long > 1.8 && short < long, "{short} {long}");
    }

    #[test]
    fn hardware_that_is_a_hundred_times_slower_than_was_thought_shows_at_once() {
        let mut line = Line::new(&Prior::OWN);
        let truth = |tokens: f64| 0.05 + 2e-3 * tokens;
        line.guess_again(400.0, truth(400.0));
        for tokens in [40.0, 900.0, 400.0] {
            line.add(tokens, truth(tokens), line.usual_s(tokens), 1.0, LEVEL_SIGMA);
        }
        for tokens in [100.0, 1_000.0, 8_000.0] {
            assert!((line.usual_s(tokens) / truth(tokens)).ln().abs() < 0.1, "{tokens}: {line:?}");
        }
    }
}
