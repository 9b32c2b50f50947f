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
