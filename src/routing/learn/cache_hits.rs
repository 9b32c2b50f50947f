//! How far a route's prompt cache keeps its word: the share of the tokens it should still hold that is billed as cached, by
//! how long ago the prefix was last served there. Time-outs of caches are learnt so, and need not be known.

/// Ends of the age buckets, in seconds; the last has none.
pub const AGES_S: [f32; 4] = [60.0, 300.0, 900.0, 3_600.0];
/// Buckets.
pub const BUCKETS: usize = AGES_S.len() + 1;

/// What is assumed by age, and for how many reports.
const ASSUMED: [f32; BUCKETS] = [0.75, 0.75, 0.60, 0.35, 0.25];
const ASSUMED_REPORTS: f32 = 8.0;
/// A report keeps its weight for about this many further ones.
const MEMORY: f32 = 150.0;

/// Hit shares of one route.
#[derive(Debug, Clone)]
pub struct CacheHits {
    hits: [f32; BUCKETS],
    reports: [f32; BUCKETS],
}

impl Default for CacheHits {
    fn default() -> Self {
        Self { hits: ASSUMED.map(|share| share * ASSUMED_REPORTS), reports: [ASSUMED_REPORTS; BUCKETS] }
    }
}

/// The bucket of an age.
pub fn bucket(age_s: f32) -> usize {
    AGES_S.iter().position(|end| age_s < *end).unwrap_or(AGES_S.len())
}

impl CacheHits {
    /// Of `expected` tokens that the route should have held since `age_s`, `cached` were billed as cached.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn reported(&mut self, age_s: f32, expected: u64, cached: u64) {
        if expected == 0 {
            return;
        }
        let share = (cached as f32 / expected as f32).min(1.0);
        let at = bucket(age_s);
        let keep = 1.0 - 1.0 / MEMORY;
        self.hits[at] = self.hits[at] * keep + share;
        self.reports[at] = self.reports[at] * keep + 1.0;
    }

    /// Expected share by age bucket, never rising with age.
    pub fn shares(&self) -> [f32; BUCKETS] {
        let mut least = 1.0_f32;
        std::array::from_fn(|at| {
            least = least.min(self.hits[at] / self.reports[at]);
            least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_is_learnt() {
        let mut hits = CacheHits::default();
        for _ in 0..60 {
            hits.reported(30.0, 1_000, 950);
            hits.reported(400.0, 1_000, 0);
        }
        let shares = hits.shares();
        assert!(shares[0] > 0.9 && shares[2] < 0.12 && shares[4] <= shares[2], "{shares:?}");
    }
}
