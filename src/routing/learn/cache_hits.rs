//! How far a route's prompt cache keeps its word: the share of the tokens it should still hold that is billed as cached, by
//! how long ago the prefix was last served there.
//!
//! Two things are learnt apart, since they call for different evidence. For how long prefixes are kept: a posterior over
//! lifetimes, in which a find speaks for all that are longer than its age, and a miss for the shorter ones as far as it was not
//! to be expected anyway. And what share is found of what is still kept. So one row of misses after eight minutes says what to
//! expect after nine, and nothing of what to expect after one.

use std::sync::LazyLock;

use crate::routing::outlook::CacheShares;

/// Ages that are told apart, in seconds: the first end, and each so many times the one before.
const FIRST_S: f32 = 60.0;
const RATIO: f32 = 1.2;
const ENDS: usize = CacheShares::EDGES;
/// What is assumed to be found of what is still kept, and for how many reports.
const ASSUMED: f32 = 0.75;
const ASSUMED_REPORTS: f32 = 8.0;
/// Caches are assumed to keep for this long at least, in seconds; and what share of them longer than the last end.
const KEEPS_S: f32 = 60.0;
const KEEPS_ON: f32 = 0.33;
/// A report keeps its weight for about this many further ones.
const MEMORY: f32 = 150.0;
/// What is gone is found all the same this often: nothing is ever proved by one report.
const FOUND_GONE: f32 = 0.03;
/// Share of what is known of the time kept that each report gives up.
const FORGETS: f32 = 0.005;

/// The ends of the age buckets, and what is assumed of each: the chance that it is the last in which a prefix is kept.
static ENDS_S: LazyLock<[f32; ENDS]> = LazyLock::new(|| std::array::from_fn(end_s));
static ASSUMED_LAST: LazyLock<[f32; ENDS + 1]> = LazyLock::new(assumed);

/// Hit shares of one route.
#[derive(Debug, Clone)]
pub struct CacheHits {
    /// Shares found of what is still kept, and reports of such: sums that fade.
    found: f32,
    reports: f32,
    /// Chance, by age bucket, that it is the last in which a prefix is kept.
    last: [f32; ENDS + 1],
}

impl Default for CacheHits {
    fn default() -> Self {
        Self { found: ASSUMED * ASSUMED_REPORTS, reports: ASSUMED_REPORTS, last: *ASSUMED_LAST }
    }
}

/// The end of an age bucket, in seconds.
fn end_s(at: usize) -> f32 {
    FIRST_S * RATIO.powi(i32::try_from(at).unwrap_or(i32::MAX))
}

fn assumed() -> [f32; ENDS + 1] {
    let longest = (end_s(ENDS - 1) / KEEPS_S).ln();
    let kept = |from_s: f32| 1.0 - (1.0 - KEEPS_ON) * ((from_s / KEEPS_S).ln() / longest).clamp(0.0, 1.0);
    std::array::from_fn(|at| {
        let from = if at == 0 { 1.0 } else { kept(end_s(at - 1)) };
        if at < ENDS { from - kept(end_s(at)) } else { from }
    })
}

impl CacheHits {
    /// Of `expected` tokens that the route should have held since `age_s`, `cached` were billed as cached.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn reported(&mut self, age_s: f32, expected: u64, cached: u64) {
        if expected == 0 {
            return;
        }
        let share = (cached as f32 / expected as f32).min(1.0);
        let at = ENDS_S.iter().position(|end| age_s < *end).unwrap_or(ENDS);
        let honoured = self.honoured().clamp(0.02, 0.98);
        // A partial find speaks for both in its shares.
        let likelihood = |found: f32| (share * found.ln() + (1.0 - share) * (1.0 - found).ln()).exp();
        let (kept, gone) = (likelihood(honoured), likelihood(FOUND_GONE));
        let chance: f32 = self.last[at..].iter().sum();
        let known = chance * kept / (chance * kept + (1.0 - chance) * gone).max(1e-6);
        let keep = 1.0 - known / MEMORY;
        self.found = self.found * keep + known * share;
        self.reports = self.reports * keep + known;
        let mut sum = 0.0;
        for (bucket, weight) in self.last.iter_mut().enumerate() {
            *weight *= if bucket >= at { kept } else { gone };
            sum += *weight;
        }
        if at == 0 || sum <= 1e-12 {
            self.last.iter_mut().for_each(|weight| *weight /= sum.max(1e-12));
            return;
        }
        for (weight, assumed) in self.last.iter_mut().zip(*ASSUMED_LAST) {
            *weight = *weight / sum * (1.0 - FORGETS) + FORGETS * assumed;
        }
    }

    /// Share found of what is still kept.
    fn honoured(&self) -> f32 {
        self.found / self.reports
    }

    /// Expected share by age, never rising with it.
    pub fn shares(&self) -> CacheShares {
        let honoured = self.honoured();
        let mut shares = [0.0; ENDS + 1];
        let mut kept = 0.0;
        for (share, last) in shares.iter_mut().zip(self.last).rev() {
            kept += last;
            *share = honoured * kept;
        }
        CacheShares::of(ENDS_S.as_slice(), &shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learnt of a cache that keeps for `keeps_s` and is honoured in `of_ten` of ten cases, by `reports` reports.
    fn learnt(keeps_s: f32, of_ten: u32, ages_s: &[f32], reports: usize) -> CacheShares {
        let mut hits = CacheHits::default();
        for (i, age_s) in (0_u32..).zip(ages_s.iter().cycle().take(reports)) {
            let honoured = (i.wrapping_mul(2_654_435_769) >> 16) & 0xffff < 6_554 * of_ten;
            let cached = if honoured && *age_s < keeps_s { 1_000 } else { 0 };
            hits.reported(*age_s, 1_000, cached);
        }
        hits.shares()
    }

    #[test]
    fn a_time_out_is_learnt() {
        let shares = learnt(300.0, 10, &[30.0, 400.0], 120);
        assert!(shares.at(30.0) > 0.9 && shares.at(420.0) < 0.05, "{shares:?}");
        assert!(shares.at(4_000.0) <= shares.at(420.0), "{shares:?}");
    }

    #[test]
    fn it_is_told_from_a_cache_that_is_not_always_honoured() {
        let ages = [20.0, 100.0, 240.0, 500.0, 700.0, 1_500.0];
        let shares = learnt(600.0, 7, &ages, 240);
        for (age_s, truth) in [(20.0, 0.7), (240.0, 0.7), (500.0, 0.7), (700.0, 0.0), (1_500.0, 0.0)] {
            assert!((shares.at(age_s) - truth).abs() < 0.12, "{age_s}: {} {shares:?}", shares.at(age_s));
        }
    }

    #[test]
    fn a_find_speaks_for_younger_ones_and_a_miss_for_older_ones() {
        let before = CacheHits::default().shares();
        let found = learnt(1e6, 10, &[1_000.0], 4);
        assert!(found.at(900.0) > 0.7 && found.at(4_000.0) > before.at(4_000.0), "{found:?}");
        let missed = learnt(0.0, 10, &[1_000.0], 4);
        assert!(missed.at(4_000.0) < 0.05 && missed.at(70.0) > before.at(70.0) - 0.2, "{missed:?}");
    }

    #[test]
    fn one_that_keeps_longer_than_it_did_is_believed_again() {
        let mut hits = CacheHits::default();
        for (reports, cached) in [(100, 0), (60, 1_000)] {
            for _ in 0..reports {
                hits.reported(30.0, 1_000, 1_000);
                hits.reported(700.0, 1_000, cached);
            }
        }
        assert!(hits.shares().at(600.0) > 0.8, "{hits:?}");
    }
}
