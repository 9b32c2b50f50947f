//! Chance in a replay: every draw is a hash of what it is for, so that two policies see the same world whatever they do in
//! which order, and bad luck is not rerolled by asking again.

/// What a draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Which of the measured first-token shapes.
    Noise = 1,
    /// The further lognormal factor.
    NoiseFactor,
    /// Whether the call is in the tail.
    Tail,
    /// How far in the tail.
    TailFactor,
    /// Whether the attempt fails.
    Error,
    /// In which way.
    ErrorKind,
    /// Whether the cache is honoured.
    Cache,
    /// The pace of the answer.
    Pace,
    /// Whether the answer stalls.
    Stall,
    /// The drift of a route's level.
    Drift,
    /// A baseline's own draw.
    Baseline = 12,
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number from 0 to below 1 for `purpose` of `request` on `route`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are all a float holds")]
pub fn uniform(seed: u64, request: u64, route: u64, purpose: Purpose) -> f64 {
    let bits =
        mix(mix(mix(seed ^ 0x51_7c_c1).wrapping_add(request)).wrapping_add(route << 8 | purpose as u64));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A draw of the standard normal distribution (Box and Muller's way).
pub fn normal(seed: u64, request: u64, route: u64, purpose: Purpose) -> f64 {
    let one = uniform(seed, request, route, purpose).max(1e-12);
    let two = uniform(seed ^ 0xa5a5, request, route, purpose);
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_normal_and_the_same_again() {
        let draws: Vec<f64> = (0..20_000).map(|i| uniform(7, i, 3, Purpose::Tail)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01);
        let normals: Vec<f64> = (0..20_000).map(|i| normal(7, i, 3, Purpose::Pace)).collect();
        let variance = normals.iter().map(|z| z * z).sum::<f64>() / 20_000.0;
        assert!((variance - 1.0).abs() < 0.04);
        assert_eq!(uniform(7, 5, 3, Purpose::Tail).to_bits(), draws[5].to_bits());
    }
}
