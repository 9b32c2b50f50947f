//! When a first token comes, as a decision reads it: tables made by `first_token`, asked a few dozen times a decision.

use super::first_token::FirstToken;
use super::shape::{BINS, WIDTH, bins, centre, place, split};

/// Shares struck by luck for which a table is made; between them it is interpolated.
pub const STRUCK: [f32; 4] = [1.0, 0.55, 0.25, 0.1];

/// When the first token comes, as a decision reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstTokenOutlook {
    /// Seconds for a short prompt at the usual level.
    pub base_s: f32,
    /// Seconds for each uncached prompt token at the usual level.
    pub per_token_s: f32,
    /// Share of luck that strikes the prompt's part.
    pub prefill_luck: f32,
    /// The level now: 1 is usual, 2 twice as slow.
    pub level: f32,
    /// Variance of what is expected of a call, by powers of its tokens: s², s² a token, s² a token².
    pub doubt: [f32; 3],
    /// Chance of a first token by the edges of luck's bins, for each share struck.
    pub within: [[f32; BINS + 1]; STRUCK.len()],
}

impl Default for FirstTokenOutlook {
    fn default() -> Self {
        static UNSEEN: std::sync::LazyLock<FirstTokenOutlook> =
            std::sync::LazyLock::new(|| FirstToken::default().outlook(0.0, std::iter::empty()));
        UNSEEN.clone()
    }
}

impl FirstTokenOutlook {
    /// Expected seconds to the first token at the usual level, whatever silence there is now.
    pub fn usual_s(&self, uncached: f32) -> f32 {
        self.base_s + self.per_token_s * uncached
    }

    /// Seconds for each uncached prompt token, at the level now.
    pub fn token_s(&self) -> f32 {
        self.per_token_s * self.level
    }

    /// Expected seconds to the first token, were luck at its median.
    pub fn typical_s(&self, uncached: f32) -> f32 {
        self.level * (self.base_s + self.per_token_s * uncached)
    }

    /// Chance that the first token of a prompt with `uncached` tokens comes within `seconds`, if it does not fail.
    pub fn within(&self, seconds: f32, uncached: f32) -> f32 {
        if seconds <= 0.0 {
            return 0.0;
        }
        let prefill = self.per_token_s * uncached;
        let expected = self.base_s + prefill;
        let struck_s = self.base_s + self.prefill_luck * prefill;
        let luck = 1.0 + (seconds / self.level - expected) / struck_s;
        if luck <= 0.06 {
            return 0.0;
        }
        let (bin, into) = place(fast_ln(luck));
        let read = |row: &[f32; BINS + 1]| row[bin] + (row[bin + 1] - row[bin]) * into;
        let upper =
            usize::from(struck_s <= STRUCK[1] * expected) + usize::from(struck_s <= STRUCK[2] * expected);
        let [high, low] = [STRUCK[upper], STRUCK[upper + 1]];
        let mix = ((high * expected - struck_s) / ((high - low) * expected)).clamp(0.0, 1.0);
        let (first, second) = (read(&self.within[upper]), read(&self.within[upper + 1]));
        first + (second - first) * mix
    }

    /// How far what is expected may be off, as a share of it: one standard deviation.
    pub fn doubt(&self, uncached: f32) -> f32 {
        self.variance(uncached).max(0.0).sqrt() / self.usual_s(uncached)
    }

    /// Whether that is more than `usual`.
    pub fn is_doubted(&self, uncached: f32, usual: f32) -> bool {
        let bearable_s = usual * self.usual_s(uncached);
        self.variance(uncached) > bearable_s * bearable_s
    }

    fn variance(&self, uncached: f32) -> f32 {
        let [whole, cross, square] = self.doubt;
        whole + uncached * (cross + uncached * square)
    }

    /// Seconds within which the first token comes with this chance; infinite where it is not reached.
    pub fn quantile_s(&self, chance: f32, uncached: f32) -> f32 {
        let prefill = self.per_token_s * uncached;
        let expected = self.base_s + prefill;
        let struck = (self.base_s + self.prefill_luck * prefill) / expected;
        let upper = usize::from(struck <= STRUCK[1]) + usize::from(struck <= STRUCK[2]);
        let [high, low] = [STRUCK[upper], STRUCK[upper + 1]];
        let row = usize::from((high - struck) / (high - low) > 0.5) + upper;
        let row = &self.within[row];
        let Some(edge) = row.iter().position(|share| *share >= chance) else { return f32::INFINITY };
        let (above, below) = (row[edge], if edge == 0 { 0.0 } else { row[edge - 1] });
        let into = if above > below { (chance - below) / (above - below) } else { 1.0 };
        let previous = edges()[edge.saturating_sub(1)];
        let luck = previous + (edges()[edge] - previous) * into;
        self.level * expected * (1.0 + struck * (luck - 1.0))
    }
}

/// The tables of an outlook in the making: each level that there may be adds to them by its weight.
pub(super) struct Tables {
    rows: [[f32; BINS + 1]; STRUCK.len()],
    /// How many of them will be read.
    read: usize,
}

impl Tables {
    /// Empty ones, for calls of which luck strikes no less than `struck`.
    pub(super) fn up_to(struck: f32) -> Self {
        let read = 2 + usize::from(struck <= STRUCK[1]) + usize::from(struck <= STRUCK[2]);
        Self { rows: [[0.0; BINS + 1]; STRUCK.len()], read }
    }

    /// Adds a level that is `log` below the tables' own, in logarithms, under which luck's chances are `cumulative`.
    pub(super) fn add(&mut self, cumulative: &[f32; BINS + 1], log: f32, weight: f32) {
        let scale = log.exp();
        for (row, struck) in self.rows.iter_mut().zip(STRUCK).take(self.read) {
            let mut places = [0.0; BINS + 1];
            // The time at an edge of the table, at the table's level, is this much luck at that level:
            // 1 + ((1 + struck·(luck − 1))·scale − 1) ÷ struck.
            let shift = (scale - 1.0) * (1.0 / struck - 1.0);
            // In two steps, the first of which the compiler turns into one for several edges at a time.
            for (at, edge) in places.iter_mut().zip(edges()) {
                *at = bins(fast_ln((scale * edge + shift).max(0.06)));
            }
            for (slot, at) in row.iter_mut().zip(places) {
                let (bin, into) = split(at);
                *slot += weight * (cumulative[bin] + (cumulative[bin + 1] - cumulative[bin]) * into);
            }
        }
    }

    pub(super) const fn done(self) -> [[f32; BINS + 1]; STRUCK.len()] {
        self.rows
    }
}

/// exp of the bins' lower edges.
pub(super) fn edges() -> &'static [f32; BINS + 1] {
    static EDGES: std::sync::LazyLock<[f32; BINS + 1]> =
        std::sync::LazyLock::new(|| std::array::from_fn(|edge| (centre(edge) - WIDTH / 2.0).exp()));
    &EDGES
}

/// The natural logarithm to about four digits, for a finite number above 0: its exponent and a polynomial of the rest.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "an exponent of eight bits")]
pub(super) fn fast_ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let rest = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    // Minimax of ln on [1, 2).
    let polynomial = -1.741_793_9
        + rest * (2.821_202_6 + rest * (-1.469_956_8 + rest * (0.447_179_55 - rest * 0.056_570_85)));
    polynomial + exponent as f32 * std::f32::consts::LN_2
}

#[cfg(test)]
mod tests {
    use crate::routing::learn::shape::Shape;

    use super::*;

    #[test]
    fn the_fast_logarithm_is_near() {
        for step in 1..4_000_u16 {
            let x = f32::from(step) * 0.01;
            assert!((fast_ln(x) - x.ln()).abs() < 2e-4, "{x}");
        }
    }

    #[test]
    fn tables_that_are_left_out_are_never_read() {
        let cumulative = Shape::default().cumulative();
        for prefill_luck in [0.05, 0.1, 0.2, 0.25, 0.251, 0.4, 0.55, 0.551, 0.9, 1.0] {
            let made = |struck: f32| {
                let mut tables = Tables::up_to(struck);
                tables.add(&cumulative, 0.1, 0.6);
                tables.add(&cumulative, -0.2, 0.4);
                let (base_s, per_token_s) = (0.4, 5e-5);
                let within = tables.done();
                FirstTokenOutlook { base_s, per_token_s, prefill_luck, level: 1.2, doubt: [0.0; 3], within }
            };
            let (all, some) = (made(0.0), made(prefill_luck));
            for tokens in [0.0, 100.0, 5_000.0, 50_000.0, 1e6, 1e9] {
                for share in [0.3, 0.8, 1.0, 1.3, 4.0] {
                    let seconds = share * all.typical_s(tokens);
                    let (one, other) = (all.within(seconds, tokens), some.within(seconds, tokens));
                    assert!((one - other).abs() < 1e-5, "{prefill_luck} {tokens} {seconds}: {one} {other}");
                    let (one, other) =
                        (all.quantile_s(0.2 * share, tokens), some.quantile_s(0.2 * share, tokens));
                    assert!((one / other - 1.0).abs() < 1e-5, "{one} {other}");
                }
            }
        }
    }
}
