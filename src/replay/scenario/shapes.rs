//! How much the first tokens of hosted providers vary: eight distributions with median 1, fitted to measured calls.
//!
//! Fitted on 2026-11-25 to the time to first token of 1,014 calls to eight providers' 70B models in December 2023
//! (ray-project/llmperf-leaderboard, `raw_data/individual/*_70b.json`, commit 27aa9b6a, Apache-2.0): mixtures of lognormal
//! parts by expectation-maximisation, their number by the Bayesian information criterion. One place, one night, five calls
//! at a time: the shapes mean something, the levels nothing, and so the providers have letters here.

use std::f64::consts::SQRT_2;
use std::path::Path;
use std::sync::Arc;

use crate::replay::trace::{self, Header, Lines};

/// How many draws a fitted shape is laid out in: enough for its 99.8th percentile.
const DRAWS: u32 = 512;
/// Fewest draws from which a shape is taken.
const DRAWS_MIN: usize = 10;

/// A shape: parts of (weight, mean, spread) in the logarithm, cut off where the measurements ended.
struct Fitted {
    letter: &'static str,
    parts: &'static [(f64, f64, f64)],
    lowest: f64,
    highest: f64,
}

const FITTED: [Fitted; 8] = [
    Fitted {
        letter: "a",
        parts: &[(0.536, -0.075, 0.056), (0.284, 0.356, 0.045), (0.180, 0.390, 0.274)],
        lowest: -0.19,
        highest: 1.03,
    },
    Fitted {
        letter: "b",
        parts: &[(0.578, -0.012, 0.032), (0.422, 0.113, 0.228)],
        lowest: -0.30,
        highest: 0.62,
    },
    Fitted {
        letter: "c",
        parts: &[(0.314, -0.326, 0.067), (0.605, 0.048, 0.095), (0.081, 0.470, 0.111)],
        lowest: -0.48,
        highest: 0.62,
    },
    Fitted {
        letter: "d",
        parts: &[(0.273, -0.205, 0.030), (0.506, 0.007, 0.051), (0.221, 0.316, 0.066)],
        lowest: -0.25,
        highest: 0.50,
    },
    Fitted { letter: "e", parts: &[(1.0, 0.0, 0.119)], lowest: -0.22, highest: 0.23 },
    Fitted {
        letter: "f",
        parts: &[(0.735, -0.041, 0.088), (0.265, 0.471, 0.073)],
        lowest: -0.24,
        highest: 0.62,
    },
    // Cold starts: one call in five waits some ten times as long.
    Fitted {
        letter: "g",
        parts: &[(0.493, -0.077, 0.030), (0.308, 0.415, 0.030), (0.199, 2.224, 1.329)],
        lowest: -0.14,
        highest: 4.16,
    },
    Fitted {
        letter: "h",
        parts: &[(0.300, -0.163, 0.054), (0.700, 0.063, 0.112)],
        lowest: -0.31,
        highest: 0.36,
    },
];

/// Shapes by name: each ascending multipliers with median 1.
#[derive(Debug, Clone)]
pub struct Shapes {
    named: Vec<(Box<str>, Arc<[f32]>)>,
}

impl Shapes {
    /// The eight that this build carries, `a` to `h`.
    pub fn fitted() -> Self {
        Self { named: FITTED.iter().map(|shape| (shape.letter.into(), shape.draws())).collect() }
    }

    /// Shapes as measured: a CSV file with `provider`, `ttft_ms` and perhaps `error`, plain or gzipped. Its providers get
    /// the letters from `a` on in the order of their names, and keep their names besides.
    pub fn from_csv(path: &Path) -> Result<Self, trace::Error> {
        let mut lines = Lines::open(path)?;
        let first = lines.next()?.unwrap_or_default().to_owned();
        let header = Header::new(&first);
        let mut measured: std::collections::BTreeMap<String, Vec<f64>> = std::collections::BTreeMap::new();
        while let Some(line) = lines.next()? {
            let row = header.row(line);
            let failed = header.place("error").is_some() && row.text("error").is_ok_and(|error| error != "0");
            let read = row.text("provider").and_then(|name| Ok((name.to_owned(), row.number("ttft_ms")?)));
            match read {
                _ if failed => {}
                Ok((name, ttft_ms)) => measured.entry(name).or_default().push(ttft_ms),
                Err(fault) => return Err(lines.fault(fault)),
            }
        }
        let mut named = Vec::new();
        for (letter, (name, values)) in ('a'..='z').zip(measured) {
            if let Some(draws) = relative(values) {
                named.push((letter.to_string().into(), Arc::clone(&draws)));
                named.push((name.into(), draws));
            }
        }
        Ok(Self { named })
    }

    /// The shape called `name`.
    pub fn find(&self, name: &str) -> Option<Arc<[f32]>> {
        self.named.iter().find(|(known, _)| **known == *name).map(|(_, draws)| Arc::clone(draws))
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| &**name)
    }
}

/// Measurements as multiples of their median, ascending; `None`: too few, or not times at all.
#[expect(clippy::cast_possible_truncation, reason = "a multiplier needs no more than a float's 24 bits")]
pub(crate) fn relative(mut values: Vec<f64>) -> Option<Arc<[f32]>> {
    values.retain(|value| value.is_finite() && *value > 0.0);
    values.sort_by(f64::total_cmp);
    let median = *values.get(values.len() / 2)?;
    (values.len() >= DRAWS_MIN).then(|| values.iter().map(|value| (value / median) as f32).collect())
}

impl Fitted {
    /// The quantiles in the middle of as many equal parts, relative to the median.
    #[expect(clippy::cast_possible_truncation, reason = "a multiplier needs no more than a float's 24 bits")]
    fn draws(&self) -> Arc<[f32]> {
        let median = self.quantile(0.5);
        let shares = (0..DRAWS).map(|at| (f64::from(at) + 0.5) / f64::from(DRAWS));
        shares
            .map(|share| (self.quantile(share).clamp(self.lowest, self.highest) - median).exp() as f32)
            .collect()
    }

    /// By halving: the distribution function rises everywhere.
    fn quantile(&self, share: f64) -> f64 {
        let (mut low, mut high) = (self.lowest - 1.0, self.highest + 1.0);
        for _ in 0..48 {
            let middle = f64::midpoint(low, high);
            if self.below(middle) < share { low = middle } else { high = middle }
        }
        low
    }

    /// The share of calls whose logarithm is below `x`.
    fn below(&self, x: f64) -> f64 {
        self.parts.iter().map(|(weight, mean, spread)| weight * normal_below((x - mean) / spread)).sum()
    }
}

/// The share of the standard normal distribution below `z`, to seven digits (Abramowitz and Stegun 7.1.26).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - series * (-x * x).exp();
    f64::midpoint(1.0, erf.copysign(z))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(draws: &[f32], share: f64) -> f32 {
        draws[((draws.len() as f64 * share) as usize).min(draws.len() - 1)]
    }

    #[test]
    fn fitted_shapes_have_median_one_and_the_measured_quantiles() {
        let shapes = Shapes::fitted();
        assert_eq!(shapes.names().collect::<String>(), "abcdefgh");
        // p10, p90 and p99 as measured, relative to the median.
        for (name, low, high, highest) in [
            ("a", 0.86, 1.51, 2.29),
            ("b", 0.93, 1.26, 1.77),
            ("c", 0.70, 1.25, 1.85),
            ("d", 0.80, 1.35, 1.62),
            ("e", 0.79, 1.08, 1.21),
            ("f", 0.88, 1.68, 1.80),
            ("g", 0.85, 10.38, 55.81),
            ("h", 0.80, 1.16, 1.38),
        ] {
            let draws = shapes.find(name).unwrap();
            assert!(draws.is_sorted() && draws.len() == 512, "{name}");
            assert!((at(&draws, 0.5) - 1.0).abs() < 0.01, "{name}");
            for (share, measured) in [(0.1, low), (0.9, high), (0.99, highest)] {
                let fitted = at(&draws, share);
                assert!(
                    (fitted / measured - 1.0).abs() < 0.15,
                    "{name} at {share}: {fitted}, not {measured}"
                );
            }
        }
    }

    #[test]
    fn measured_shapes_are_relative_to_their_median() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let mut text = "provider,ttft_ms,error\n".to_owned();
        for at in 0..20 {
            text += &format!("zoe,{},0\nadam,{},0\n", 100 + at, 1000 + 10 * at);
        }
        text += "adam,99999,1\nfew,5,0\n";
        std::fs::write(&path, text).unwrap();
        let shapes = Shapes::from_csv(&path).unwrap();
        assert_eq!(shapes.names().collect::<Vec<_>>(), ["a", "adam", "c", "zoe"]);
        let adam = shapes.find("a").unwrap();
        assert_eq!((adam.len(), adam[10]), (20, 1.0));
        assert!((adam[19] - 1190.0 / 1100.0).abs() < 1e-6);
    }

    #[test]
    fn the_normal_distribution_is_itself() {
        for (z, share) in [(0.0, 0.5), (1.0, 0.841_345), (-1.959_964, 0.025), (3.0, 0.998_650)] {
            assert!((normal_below(z) - share).abs() < 1e-5, "{z}");
        }
    }
}
