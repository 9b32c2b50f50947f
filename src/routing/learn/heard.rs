//! How likely a first token is at each level, as evidence of the level, and of how much of luck strikes prompts.

use super::first_token_outlook::fast_ln;
use super::reading::Reading;
use super::shape::{BINS, place};

/// A likelihood never falls below this share of an even one: one odd call is not proof.
const EVEN: f32 = 0.005;
/// Less luck than that is no luck but a time that cannot be.
const LEAST_LUCK: f32 = 0.06;
/// How far what is expected may be off, in standard deviations, and the chance of it: the three points and weights by which an
/// integral over a normal distribution is exact up to the fifth power (Gauss and Hermite's).
const OFF: [(f64, f64); 3] =
    [(0.0, 2.0 / 3.0), (-1.732_050_807_568_877_2, 1.0 / 6.0), (1.732_050_807_568_877_2, 1.0 / 6.0)];
/// Less doubt than that, as a share, is none.
const NO_DOUBT: f64 = 0.02;

/// The ways in which a first token may have come about: whether the cache held, and what was expected of it in truth.
pub(super) type Cases = [Case; 2 * OFF.len()];

/// One way in which a prompt may have been read before its first token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// The time over what was expected of it at the usual level.
    ratio: f32,
    /// The part of the time that luck strikes in full.
    struck: f32,
    /// Its chance, over what was expected.
    weight: f32,
}

/// The part of a time that luck strikes in full: 1 for a short prompt, less for a long one.
#[expect(clippy::cast_possible_truncation, reason = "a share")]
pub(super) fn struck(luck: f64, base_s: f64, prefill_s: f64) -> f32 {
    ((base_s + luck * prefill_s) / (base_s + prefill_s)) as f32
}

/// The ways in which a first token may have come about that took `time_s`, of a route that takes `[base_s, per_token_s]`, give or
/// take the share `doubt`, and where the share `luck` of luck strikes the prompt's part.
#[expect(clippy::cast_possible_truncation, reason = "ratios of seconds")]
pub(super) fn cases(
    reading: Reading,
    time_s: f64,
    [base_s, per_token_s]: [f64; 2],
    luck: f64,
    doubt: f64,
) -> Cases {
    let read = reading.cases();
    std::array::from_fn(|at| {
        let ((uncached, chance), (sigmas, share)) = (read[at % 2], OFF[at / 2]);
        // What does not matter is not weighed three times.
        let share = match (doubt > NO_DOUBT, sigmas == 0.0) {
            (true, _) => share,
            (false, central) => f64::from(u8::from(central)),
        };
        let prefill_s = per_token_s * uncached;
        let expected_s = (base_s + prefill_s) * (sigmas * doubt).exp();
        Case {
            ratio: (time_s / expected_s) as f32,
            struck: struck(luck, base_s, prefill_s),
            weight: (share / expected_s) as f32 * chance,
        }
    })
}

/// Density of the time at a level that is so many times `quicker` than usual, where luck has this `density` by bin.
pub(super) fn likelihood(cases: &Cases, density: &[f32; BINS], quicker: f32) -> f32 {
    let one = |case: &Case| {
        let luck = 1.0 + (case.ratio * quicker - 1.0) / case.struck;
        if luck < LEAST_LUCK {
            return EVEN * 0.02 * case.weight;
        }
        let (bin, _) = place(fast_ln(luck));
        // The density of the time itself: luck's density over luck, level and what was expected.
        (density[bin] + EVEN) * quicker / luck / case.struck * case.weight
    };
    cases.iter().filter(|case| case.weight > 0.0).map(one).sum()
}
