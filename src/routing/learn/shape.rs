//! The shape of first-token times: a histogram of the logarithm of a time over its expectation, once the level is taken out.

/// Bins of the logarithm, and one more for "late or never".
pub const BINS: usize = 64;
/// Where the first bin begins, and how wide each is.
pub const LOWEST: f32 = -2.5;
/// As above.
pub const WIDTH: f32 = 6.0 / 64.0;

/// Weight of what is assumed before anything was seen, in samples.
const PRIOR: f32 = 10.0;
/// Spread of the assumed lognormal, and the share of calls assumed to be late or never.
const PRIOR_SIGMA: f32 = 0.40;
const PRIOR_LATE: f32 = 0.01;
/// A sample's weight is kept for about this many further samples.
const MEMORY: f32 = 1_500.0;

/// A decayed histogram with prior.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Weight by bin; the last is "late or never".
    weight: [f32; BINS + 1],
    total: f32,
}

impl Default for Shape {
    fn default() -> Self {
        let mut weight = [0.0; BINS + 1];
        let mut sum = 0.0;
        for (bin, slot) in weight.iter_mut().take(BINS).enumerate() {
            let z = centre(bin) / PRIOR_SIGMA;
            *slot = (-0.5 * z * z).exp();
            sum += *slot;
        }
        for slot in weight.iter_mut().take(BINS) {
            *slot *= PRIOR * (1.0 - PRIOR_LATE) / sum;
        }
        weight[BINS] = PRIOR * PRIOR_LATE;
        Self { weight, total: PRIOR }
    }
}

/// The middle of a bin.
#[expect(clippy::cast_precision_loss, reason = "a few dozen bins")]
pub fn centre(bin: usize) -> f32 {
    LOWEST + (bin as f32 + 0.5) * WIDTH
}

/// The bin of `z` and how far into it, 0..1; beyond the ends the nearest.
pub fn place(z: f32) -> (usize, f32) {
    split(bins(z))
}

/// How many bins `z` is above the lowest edge, held within the table.
pub fn bins(z: f32) -> f32 {
    ((z - LOWEST) / WIDTH).clamp(0.0, BINS_F)
}

/// The bin, and how far into it, of so many bins above the lowest edge.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held between 0 and the number of bins"
)]
pub fn split(bins: f32) -> (usize, f32) {
    let bin = (bins as usize).min(BINS - 1);
    (bin, bins - bin_start(bin))
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen bins")]
const fn bin_start(bin: usize) -> f32 {
    bin as f32
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen bins")]
const BINS_F: f32 = BINS as f32;

impl Shape {
    /// A call whose logarithm was `z`, which counts for so much of one.
    pub fn seen(&mut self, z: f32, counts: f32) {
        self.fade(counts);
        if z >= LOWEST + 6.0 {
            self.weight[BINS] += counts;
        } else {
            // Spread over the neighbours, so that few samples still make a smooth curve.
            let (bin, into) = place(z);
            let side = [0.30 * counts * (1.0 - into), 0.30 * counts * into];
            self.weight[bin.saturating_sub(1)] += side[0];
            self.weight[bin] += 0.70 * counts;
            self.weight[(bin + 1).min(BINS - 1)] += side[1];
        }
        self.total += counts;
    }

    /// A call that was given up at `z`, which counts for so much of one: that weight goes to where it may still have ended
    /// (Kaplan and Meier's way).
    pub fn censored(&mut self, z: f32, counts: f32) {
        let above = self.above(z);
        if above <= 1e-6 {
            self.never(counts);
            return;
        }
        let (bin, into) = place(z);
        self.fade(counts);
        let gain = counts / (above * self.total);
        for (at, slot) in self.weight.iter_mut().enumerate() {
            let share = match at.cmp(&bin) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 1.0 - into,
                std::cmp::Ordering::Greater => 1.0,
            };
            *slot += *slot * share * gain;
        }
        self.total += counts;
    }

    /// A call that was never answered.
    fn never(&mut self, counts: f32) {
        self.fade(counts);
        self.weight[BINS] += counts;
        self.total += counts;
    }

    /// Share of calls beyond `z`.
    pub fn above(&self, z: f32) -> f32 {
        let (bin, into) = place(z);
        let rest: f32 = self.weight[bin + 1..].iter().sum();
        (rest + self.weight[bin] * (1.0 - into)) / self.total
    }

    /// Share of calls up to the end of each bin; the last entry is below 1 by what is late or never.
    pub fn cumulative(&self) -> [f32; BINS + 1] {
        let mut sums = [0.0; BINS + 1];
        let mut sum = 0.0;
        for (bin, weight) in self.weight.iter().take(BINS).enumerate() {
            sum += weight;
            sums[bin + 1] = sum / self.total;
        }
        sums
    }

    /// Density by bin.
    pub fn density(&self) -> [f32; BINS] {
        let scale = 1.0 / (self.total * WIDTH);
        std::array::from_fn(|bin| self.weight[bin] * scale)
    }

    /// Density by bin of a luck that is even, without a tail: a lognormal with this spread.
    pub fn even(sigma: f32) -> [f32; BINS] {
        let scale = 1.0 / (sigma * std::f32::consts::TAU.sqrt());
        std::array::from_fn(|bin| {
            let z = centre(bin) / sigma;
            (-0.5 * z * z).exp() * scale
        })
    }

    fn fade(&mut self, counts: f32) {
        let keep = 1.0 - counts / MEMORY;
        for weight in &mut self.weight {
            *weight *= keep;
        }
        self.total *= keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let mut shape = Shape::default();
        for step in 0..500_u16 {
            shape.seen(f32::from(step % 40) * 0.05 - 1.0, 1.0);
            shape.censored(0.5, 1.0);
        }
        shape.never(1.0);
        let sums = shape.cumulative();
        assert!(sums.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6));
        let late = shape.weight[BINS] / shape.total;
        assert!((sums[BINS] + late - 1.0).abs() < 1e-3, "{} {late}", sums[BINS]);
        assert!((shape.above(0.0) - (1.0 - sums[place(0.0).0])).abs() < 0.1);
    }

    #[test]
    fn a_call_given_up_counts_as_one_that_took_longer() {
        let (mut seen, mut given_up) = (Shape::default(), Shape::default());
        for _ in 0..200 {
            seen.seen(0.0, 1.0);
            given_up.seen(0.0, 1.0);
            given_up.censored(0.3, 1.0);
        }
        assert!(given_up.above(0.2) > seen.above(0.2) + 0.2);
    }
}
