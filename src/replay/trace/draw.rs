//! Chance from a seed, for traces: the same seed gives the same trace on every machine and in every version.
//!
//! Ours, because a trace that is named in a report by its seed must not change when a dependency does.

use std::f64::consts::TAU;

/// A stream of draws (`SplitMix64`: one 64-bit state, equidistributed, as good as a trace needs).
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of `seed` for one `purpose`; streams of different purposes have nothing in common.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut draw = Self(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        draw.bits();
        draw
    }

    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform over (0, 1), never 0 nor 1.
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit")]
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Standard normal (Box and Muller; one of the pair, so that a draw leaves no state behind).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// A whole number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.bits()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Puts `items` into an order of chance.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut draw = Draw::new(1, 2);
        let first = [draw.bits(), draw.bits()];
        let mut again = Draw::new(1, 2);
        assert_eq!(first, [again.bits(), again.bits()]);
        assert_ne!(first[0], Draw::new(1, 3).bits());
        assert_ne!(first[0], Draw::new(2, 2).bits());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut draw = Draw::new(7, 0);
        let n = 40_000;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform: Vec<f64> = (0..n).map(|_| draw.uniform()).collect();
        assert!((mean(&uniform) - 0.5).abs() < 0.01);
        let normal: Vec<f64> = (0..n).map(|_| draw.normal()).collect();
        assert!(mean(&normal).abs() < 0.02);
        let squares: Vec<f64> = normal.iter().map(|x| x * x).collect();
        assert!((mean(&squares) - 1.0).abs() < 0.03);
        let mut seen = [0; 5];
        (0..n).for_each(|_| seen[draw.below(5)] += 1);
        assert!(seen.iter().all(|count| (7_500..8_500).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Draw::new(3, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
