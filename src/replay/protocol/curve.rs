//! What the informed oracle pays for which attainment, and how far above that a router is.

use serde::Serialize;

/// One run of the oracle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The price of a late first token that it went by, in USD.
    pub lateness_usd: f64,
    /// Share in time.
    pub attainment: f64,
    /// Spend, in USD.
    pub usd: f64,
    /// Its worst minute.
    pub worst_minute: f64,
}

/// The oracle's spend by attainment.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Curve {
    /// Its runs, by the price of lateness.
    pub points: Vec<Point>,
    /// Where mixing two runs pays: the lower convex hull of (attainment, spend), from the cheapest point to the best.
    pub hull: Vec<(f64, f64)>,
}

/// How a spend compares with the oracle's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Regret {
    /// Spend ÷ the oracle's at the same attainment − 1.
    pub share: f64,
    /// The oracle never attained as much: it is compared where it attains most.
    pub beyond: bool,
}

impl Curve {
    /// The curve through these runs.
    pub fn new(points: Vec<Point>) -> Self {
        let mut sorted: Vec<(f64, f64)> = points.iter().map(|point| (point.attainment, point.usd)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut hull: Vec<(f64, f64)> = Vec::new();
        for point in sorted {
            // Of equal attainment only the cheapest counts.
            if hull.last().is_some_and(|last| point.0 <= last.0) {
                continue;
            }
            // What costs as much or more and attains less is no choice.
            while hull.last().is_some_and(|last| last.1 >= point.1) {
                hull.pop();
            }
            while let [.., a, b] = hull.as_slice() {
                if (b.1 - a.1) * (point.0 - a.0) < (point.1 - a.1) * (b.0 - a.0) {
                    break;
                }
                hull.pop();
            }
            hull.push(point);
        }
        Self { points, hull }
    }

    /// The most that the oracle attains.
    pub fn best(&self) -> f64 {
        self.hull.last().map_or(0.0, |point| point.0)
    }

    /// What the oracle pays to attain at least this much, and whether it cannot (then: what its best costs).
    pub fn usd_at(&self, attainment: f64) -> Option<(f64, bool)> {
        let (first, last) = (self.hull.first()?, self.hull.last()?);
        if attainment <= first.0 {
            return Some((first.1, false));
        }
        let pair = self.hull.windows(2).find_map(|pair| match pair {
            [a, b] if a.0 <= attainment && attainment <= b.0 => Some((a, b)),
            _ => None,
        });
        Some(match pair {
            Some((a, b)) => (a.1 + (b.1 - a.1) * (attainment - a.0) / (b.0 - a.0), false),
            None => (last.1, true),
        })
    }

    /// How far above the oracle's a spend at this attainment is.
    pub fn regret(&self, attainment: f64, usd: f64) -> Option<Regret> {
        let (oracle, beyond) = self.usd_at(attainment)?;
        (oracle > 0.0).then(|| Regret { share: usd / oracle - 1.0, beyond })
    }

    /// The cheapest run that attains this much, else the one that attains most.
    pub fn meets(&self, attainment: f64) -> Option<&Point> {
        let enough = self.points.iter().filter(|point| point.attainment >= attainment);
        enough
            .min_by(|a, b| a.usd.total_cmp(&b.usd))
            .or_else(|| self.points.iter().max_by(|a, b| a.attainment.total_cmp(&b.attainment)))
    }

    /// Its worst minute where it attains just this much: of the cheapest run that attains it and of the one that comes next to it
    /// from below, each in its share. The cheapest alone attains more, for there is not a run for each price.
    pub fn worst_minute_at(&self, attainment: f64) -> Option<f64> {
        let above = self.meets(attainment)?;
        let less = self.points.iter().filter(|point| point.attainment < attainment.min(above.attainment));
        Some(match less.max_by(|a, b| a.attainment.total_cmp(&b.attainment)) {
            Some(below) if above.attainment > attainment => {
                let share = (attainment - below.attainment) / (above.attainment - below.attainment);
                below.worst_minute + share * (above.worst_minute - below.worst_minute)
            }
            _ => above.worst_minute,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worst_minute_is_that_of_two_runs_mixed_to_attain_as_much() {
        let run = |attainment, usd, worst_minute| Point { lateness_usd: usd, attainment, usd, worst_minute };
        let curve = Curve::new(vec![run(0.90, 1.0, 0.5), run(0.98, 2.0, 0.7), run(0.995, 4.0, 0.9)]);
        let at = |attainment| curve.worst_minute_at(attainment).expect("there are runs");
        assert!((at(0.99) - (0.7 + 0.2 * 2.0 / 3.0)).abs() < 1e-12, "{}", at(0.99));
        for (attainment, alone) in [(0.80, 0.5), (0.98, 0.7), (0.995, 0.9), (0.999, 0.9)] {
            assert!((at(attainment) - alone).abs() < 1e-12, "{attainment}: {}", at(attainment));
        }
        assert_eq!(Curve::default().worst_minute_at(0.99), None);
    }
}
