//! First tokens against prompt lengths: a line that outliers do not bend, and what is left around it.

use std::sync::Arc;

use crate::replay::scenario::shapes::relative;
use crate::replay::trace::Draw;

/// How many pairs of samples the slope is read from.
const PAIRS: usize = 20_000;
/// Least difference of two prompts that says something about the slope, in tokens.
const APART: f64 = 256.0;
/// A slope no smaller than a million tokens a second, and a base no smaller than 5 ms.
const S_PER_TOKEN_MIN: f64 = 1e-6;
const BASE_S_MIN: f64 = 0.005;
/// How many draws a noise keeps at most.
const DRAWS_MAX: usize = 512;

/// One timed answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at_us: u64,
    /// Prompt tokens that did not come from the cache.
    pub(super) uncached: f64,
    pub(super) ttft_s: f64,
}

/// Time to first token = base + uncached tokens x slope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) base_s: f64,
    pub(super) s_per_token: f64,
}

impl Line {
    /// The median slope of many pairs (Theil and Sen), and the median of what that leaves.
    pub(super) fn through(samples: &[Sample]) -> Self {
        let mut draw = Draw::new(0, 30);
        let mut slopes: Vec<f64> = Vec::with_capacity(PAIRS);
        for _ in 0..PAIRS {
            let pair = (
                samples.get(draw.below(samples.len().max(1))),
                samples.get(draw.below(samples.len().max(1))),
            );
            let (Some(one), Some(other)) = pair else { break };
            let apart = other.uncached - one.uncached;
            if apart.abs() >= APART {
                slopes.push((other.ttft_s - one.ttft_s) / apart);
            }
        }
        let s_per_token = median(&mut slopes).unwrap_or(0.0).max(S_PER_TOKEN_MIN);
        let mut rest: Vec<f64> =
            samples.iter().map(|sample| sample.ttft_s - sample.uncached * s_per_token).collect();
        let base_s = median(&mut rest).unwrap_or(1.0).max(BASE_S_MIN);
        Self { base_s, s_per_token }
    }

    pub(super) fn at(self, uncached: f64) -> f64 {
        self.base_s + uncached * self.s_per_token
    }

    /// What the base was multiplied by, where it shows: in prompts that the slope does not drown. In longer ones, the whole
    /// time against the whole line.
    pub(super) fn noise(self, samples: &[Sample]) -> Arc<[f32]> {
        let values = samples.iter().map(|sample| {
            let prefill_s = sample.uncached * self.s_per_token;
            if prefill_s <= self.base_s {
                ((sample.ttft_s - prefill_s) / self.base_s).max(0.1)
            } else {
                sample.ttft_s / self.at(sample.uncached)
            }
        });
        let all = relative(values.collect()).unwrap_or_else(|| Arc::from([1.0_f32]));
        if all.len() <= DRAWS_MAX {
            return all;
        }
        // The value in the middle of each of as many equal parts.
        (0..DRAWS_MAX)
            .filter_map(|part| all.get((2 * part + 1) * all.len() / (2 * DRAWS_MAX)).copied())
            .collect()
    }
}

/// The middle value; `values` are sorted by it.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_stands_outliers_and_the_noise_keeps_them() {
        let mut draw = Draw::new(1, 1);
        let samples: Vec<Sample> = (0..600)
            .map(|at| {
                let uncached = 200.0 + 8000.0 * draw.uniform();
                let factor = if at % 20 == 0 { 8.0 } else { (0.1 * draw.normal()).exp() };
                Sample { at_us: at, uncached, ttft_s: 0.6 * factor + uncached / 20_000.0 }
            })
            .collect();
        let line = Line::through(&samples);
        assert!((line.base_s / 0.6 - 1.0).abs() < 0.08, "{line:?}");
        assert!((line.s_per_token * 20_000.0 - 1.0).abs() < 0.08, "{line:?}");
        let noise = line.noise(&samples);
        assert_eq!(noise.len(), 512);
        assert!(noise.is_sorted() && (noise[256] - 1.0).abs() < 0.02);
        assert!(noise[500] > 3.0 && noise[470] < 1.5, "{} {}", noise[500], noise[470]);
    }

    #[test]
    fn prompts_of_one_length_say_nothing_about_the_slope() {
        let samples = [Sample { at_us: 0, uncached: 100.0, ttft_s: 0.5 }; 30];
        let line = Line::through(&samples);
        assert!((line.at(100.0) - 0.5).abs() < 1e-3 && line.s_per_token <= S_PER_TOKEN_MIN);
    }
}
