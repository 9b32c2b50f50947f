//! How soon traffic leaves a route that fails: the route that serves most of a calm trace goes down, or becomes three
//! times as slow, at three requests a second.

use serde::Serialize;

use crate::replay::scenario::{Incident, IncidentKind, Scenario, SloClass};
use crate::replay::trace::Trace;

use super::judge::{Case, policy};

/// Requests a second.
const RATE: f64 = 3.0;
/// When it begins and ends, as shares of the trace.
const FROM: f64 = 0.4;
const TO: f64 = 0.6;
/// How many times as slow.
const SLOW: f64 = 3.0;

/// How one incident was met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The trace.
    pub trace: String,
    /// The target.
    pub attainment: f64,
    /// The world's seed.
    pub seed: u64,
    /// The route that failed, which had served most.
    pub route: String,
    /// Whether it went down; else it became slow.
    pub down: bool,
    /// Seconds until at most a twentieth of first attempts went there; `None`: they went on going there.
    pub seconds: Option<f64>,
    /// First attempts that went there until then.
    pub exposed: u64,
    /// The same, had the router been told of it as it began: as long as that goes on asking the route, it is right to.
    pub told_seconds: Option<f64>,
    /// Errors that callers saw.
    pub errors: u64,
}

impl Failure {
    /// Seconds for which the route went on being asked though a router that is told would have left it; endless if that left it
    /// at all and ours did not. `None`: neither left it.
    pub fn longer_than_told(&self) -> Option<f64> {
        match (self.seconds, self.told_seconds) {
            (Some(ours), Some(told)) => Some((ours - told).max(0.0)),
            (Some(_), None) => Some(0.0),
            (None, Some(_)) => Some(f64::INFINITY),
            (None, None) => None,
        }
    }
}

/// `trace` at three requests a second.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub fn at_three_a_second(trace: Trace) -> Trace {
    let span_s = trace.span_us().max(1) as f64 / 1e6;
    let rate = trace.arrivals.len() as f64 / span_s;
    trace.scaled(RATE / rate)
}

/// Lets the busiest route of `calm` fail, in both ways.
pub fn measure(calm: &Scenario, trace: &Trace, slo: SloClass, attainment: f64, seed: u64) -> Vec<Failure> {
    let policies = [policy(slo, attainment)];
    let before = Case { scenario: calm, trace, slo, eligible: &[] }.ours(&policies, seed);
    let busiest = before.served.iter().enumerate().max_by_key(|(_, (requests, _))| *requests);
    let Some(market) = busiest.and_then(|(place, _)| calm.routes.get(place)) else { return Vec::new() };
    let route = market.route.name.to_string();
    let kinds = [IncidentKind::Down, IncidentKind::Slow(SLOW)];
    let failures = kinds.into_iter().map(|kind| {
        let incidents = vec![Incident { route: route.clone(), from: FROM, to: TO, kind }];
        let scenario = Scenario { incidents, ..calm.clone() };
        let case = Case { scenario: &scenario, trace, slo, eligible: &[] };
        let tally = case.ours(&policies, seed);
        let met = tally.failovers.first();
        let told = met.map(|met| case.told(&policies, seed, met.began_us));
        let told = told.as_ref().and_then(|told| told.failovers.first());
        Failure {
            trace: trace.name.clone(),
            attainment,
            seed,
            route: route.clone(),
            down: kind == IncidentKind::Down,
            seconds: met.and_then(|met| met.seconds),
            exposed: met.map_or(0, |met| met.exposed),
            told_seconds: told.and_then(|met| met.seconds),
            errors: tally.errors,
        }
    });
    failures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_is_the_measure_of_what_was_too_long() {
        let failure = |seconds, told_seconds| Failure {
            trace: "one".to_owned(),
            attainment: 0.95,
            seed: 1,
            route: "first".to_owned(),
            down: false,
            seconds,
            exposed: 0,
            told_seconds,
            errors: 0,
        };
        for (ours, told, longer) in [
            (Some(9.0), Some(4.0), Some(5.0)),
            (Some(9.0), Some(40.0), Some(0.0)),
            (Some(9.0), None, Some(0.0)),
            (None, Some(4.0), Some(f64::INFINITY)),
            (None, None, None),
        ] {
            assert_eq!(failure(ours, told).longer_than_told(), longer, "{ours:?} {told:?}");
        }
    }
}
