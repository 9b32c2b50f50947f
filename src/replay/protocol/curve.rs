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
}
