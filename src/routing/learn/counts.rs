//! How a route counts: prompt tokens that it reported over those that its prompts were taken to have. Who counts twice as many
//! is twice as dear, whatever the price list says.

/// What is assumed: so many tokens, counted as they were taken to be.
const ASSUMED_TOKENS: f64 = 2_000.0;
/// A report keeps its weight for about this many further ones.
const MEMORY: f64 = 30.0;
/// Where counts differ by less than this share, the fault may as well be our estimate's.
const USUAL: f32 = 0.15;

/// Tokens reported and expected, both fading.
#[derive(Debug, Clone)]
pub struct Counts {
    reported: f64,
    expected: f64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { reported: ASSUMED_TOKENS, expected: ASSUMED_TOKENS }
    }
}

impl Counts {
    /// A prompt that was taken to have `expected` tokens was reported to have `reported`.
    #[expect(clippy::cast_precision_loss, reason = "token counts")]
    pub fn reported(&mut self, expected: u64, reported: u64) {
        if expected == 0 || reported == 0 {
            return;
        }
        let keep = 1.0 - 1.0 / MEMORY;
        self.expected = self.expected * keep + expected as f64;
        self.reported = self.reported * keep + reported as f64;
    }

    /// Tokens that the route counts for one of ours; 1 unless it is clearly another number.
    #[expect(clippy::cast_possible_truncation, reason = "a ratio")]
    pub fn share(&self) -> f32 {
        let share = (self.reported / self.expected) as f32;
        if (share - 1.0).abs() < USUAL { 1.0 } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_counts_double_is_found_out_and_forgiven() {
        let mut counts = Counts::default();
        (0..100).for_each(|_| counts.reported(1_000, 1_000));
        let one = |counts: &Counts| (counts.share() - 1.0).abs() < f32::EPSILON;
        assert!(one(&counts), "{counts:?}");
        (0..60).for_each(|_| counts.reported(1_000, 2_000));
        assert!((1.8..=2.0).contains(&counts.share()), "{counts:?}");
        (0..100).for_each(|_| counts.reported(1_000, 1_000));
        assert!(one(&counts), "{counts:?}");
    }

    #[test]
    fn estimates_that_scatter_are_no_fault_of_the_route() {
        let mut counts = Counts::default();
        for i in 0..500_u64 {
            // Between 0.6 and 1.4 of what was expected, in no order.
            counts.reported(1_000, 600 + (i * 337) % 801);
            assert!((counts.share() - 1.0).abs() < f32::EPSILON, "{i}: {counts:?}");
        }
        counts.reported(1_000, 0);
        counts.reported(0, 1_000);
        assert!((counts.share() - 1.0).abs() < f32::EPSILON, "nothing was said");
    }
}
