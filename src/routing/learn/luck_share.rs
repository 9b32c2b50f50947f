//! How much of a call's luck strikes the part of its time in which its prompt is read.
//!
//! First tokens come off what was expected of them by luck. Short prompts show how much of that there is; with long ones, the
//! part that does not depend on the prompt accounts for little of the time, and what they are off beyond it is the share that
//! strikes the prompt's part:
//!
//! ```text
//! off(long) ÷ off(short) = b + φ·(1 − b),   b = base ÷ (base + prefill)
//! ```
//!
//! A line or a level that is not known well yet makes long prompts come off by more: they count as luck until it is.

/// Of a time, at least this share is the base's with a short prompt, and at most that with a long one.
const SHORT: f64 = 0.6;
const LONG: f64 = 0.4;
/// How far short prompts are assumed to come off, as a share of their time, and for how many samples.
const OFF_ASSUMED: f64 = 0.3;
const SHORT_ASSUMED: f64 = 10.0;
/// For how many long prompts what is assumed of the share counts.
const LONG_ASSUMED: f64 = 6.0;
/// Samples of each that are remembered.
const SHORT_MEMORY: f64 = 100.0;
const LONG_MEMORY: f64 = 60.0;
/// One call in the tail is no proof: what a short prompt counts for at most, and a long one, in usual lucks of short ones.
const SHORT_MOST: f64 = 1.0;
const LONG_MOST: f64 = 1.5;
/// The share's bounds: some luck is always left.
const LEAST: f64 = 0.03;
const MOST: f64 = 0.5;

/// The share of one route.
#[derive(Debug, Clone, Copy)]
pub struct LuckShare {
    /// Sums that fade: of samples and of how far they were off, by their base alone.
    short: [f64; 2],
    /// The same of what the base leaves of long ones.
    long: [f64; 2],
}

impl LuckShare {
    /// A share that is assumed.
    pub const fn new(assumed: f64) -> Self {
        Self {
            short: [SHORT_ASSUMED, SHORT_ASSUMED * OFF_ASSUMED],
            long: [LONG_ASSUMED, LONG_ASSUMED * assumed],
        }
    }

    /// A call whose time was the base's by the share `base` came `off` what was expected, as a share of that.
    pub fn seen(&mut self, base: f64, off: f64) {
        if base > SHORT {
            add(&mut self.short, SHORT_MEMORY, [1.0, (off / base).min(SHORT_MOST)]);
        } else if base < LONG {
            let usual = self.short[1] / self.short[0];
            let beyond = (off / usual.max(1e-3)).min(LONG_MOST) - base;
            add(&mut self.long, LONG_MEMORY, [1.0 - base, beyond]);
        }
    }

    /// Share of luck that strikes the prompt's part.
    pub fn of_prefill(&self) -> f64 {
        (self.long[1] / self.long[0]).clamp(LEAST, MOST)
    }
}

fn add(sums: &mut [f64; 2], memory: f64, sample: [f64; 2]) {
    for (sum, one) in sums.iter_mut().zip(sample) {
        *sum = *sum * (1.0 - 1.0 / memory) + one;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_learnt_from_what_long_prompts_are_off() {
        for truth in [0.05, 0.2, 0.4] {
            let mut share = LuckShare::new(0.25);
            // How far short prompts are off has nothing to do with it.
            for usual in [0.1, 0.5] {
                for i in 0..1_800_u16 {
                    let luck = usual * f64::from(i / 3 % 21) / 10.0;
                    let base = if i % 3 == 0 { 0.9 } else { 0.15 };
                    share.seen(base, luck * (base + truth * (1.0 - base)));
                }
                assert!((share.of_prefill() - truth).abs() < 0.06, "{truth} {usual}: {share:?}");
            }
        }
    }

    #[test]
    fn nothing_is_learnt_of_what_lies_between() {
        let mut share = LuckShare::new(0.25);
        share.seen(0.5, 3.0);
        assert!((share.of_prefill() - 0.25).abs() < 1e-9);
    }
}
