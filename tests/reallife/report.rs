//! The two accounts of the same trace side by side, and how far apart they may be.

use std::fmt;

use tollway::replay::scenario::{IncidentKind, Scenario};
use tollway::replay::tally::Tally;
use tollway::replay::trace::Trace;
use tollway::units::PicoUsd;
use tollway_test_support::Metrics;

use crate::callers::Seen;
use crate::market::{Bills, Prices};

/// How far the live spend may be from the simulated one, as a share, and attainment, in points.
const SPEND_OFF_MAX: f64 = 0.10;
const ATTAINMENT_OFF_MAX: f64 = 1.0;
/// How soon a route that went down, or slow, is left, in seconds.
const LEFT_DOWN_MAX_S: f64 = 10.0;
const LEFT_SLOW_MAX_S: f64 = 30.0;

/// What the simulator says and what the gateway did.
pub(crate) struct Compared {
    pub(crate) scenario: &'static Scenario,
    pub(crate) trace: &'static Trace,
    pub(crate) simulated: Tally,
    pub(crate) seen: Vec<Seen>,
    pub(crate) bills: Bills,
    pub(crate) prices: Vec<Prices>,
    /// By request: when a seller was first asked for it, and which route.
    pub(crate) firsts: Vec<Option<(u64, u16)>>,
    pub(crate) metrics: Metrics,
}

/// An incident that a share of the traffic was exposed to, and when that was over.
struct Left {
    route: String,
    slow: Option<f64>,
    seconds: Option<f64>,
    before: (usize, usize),
}

fn usd(amount: PicoUsd) -> f64 {
    amount.0 as f64 * 1e-12
}

impl Compared {
    fn errors(&self) -> impl Iterator<Item = (usize, &Seen)> {
        self.seen.iter().enumerate().filter(|(_, one)| one.status != 200)
    }

    fn in_time(&self, place: usize, seen: &Seen) -> bool {
        let slo = self.scenario.slo;
        let tokens = f64::from(self.trace.arrivals[place].prompt_tokens);
        seen.status == 200 && seen.took_us as f64 / 1e6 <= slo.ttft_s + slo.ttft_s_per_1k * tokens / 1e3
    }

    fn attainment(&self) -> f64 {
        let in_time = self.seen.iter().enumerate().filter(|(place, one)| self.in_time(*place, one)).count();
        in_time as f64 / self.seen.len() as f64
    }

    fn spend_usd(&self) -> f64 {
        usd(self.bills.spend())
    }

    fn hedges(&self, results: &[&str]) -> f64 {
        let count = |result| self.metrics.sum("tollway_hedges_total", &[("result", result)]);
        results.iter().map(|result| count(*result)).sum()
    }

    fn quantile_s(&self, share: f64) -> f64 {
        let mut times: Vec<u64> = self.seen.iter().map(|one| one.took_us).collect();
        times.sort_unstable();
        times[((times.len() as f64 * share) as usize).min(times.len() - 1)] as f64 / 1e6
    }

    /// How soon first attempts left routes that went down or slow; as the simulator counts it.
    fn left(&self) -> Vec<Left> {
        let begin = self.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let at = |share: f64| begin + (share * self.trace.span_us() as f64) as u64;
        let mut firsts: Vec<(u64, u16)> = self.firsts.iter().flatten().copied().collect();
        firsts.sort_unstable();
        let mut all = Vec::new();
        for incident in &self.scenario.incidents {
            let slow = match incident.kind {
                IncidentKind::Down => None,
                IncidentKind::Slow(times) if times >= 2.0 => Some(times),
                _ => continue,
            };
            let route =
                self.scenario.routes.iter().position(|one| *one.route.name == *incident.route).unwrap();
            let (from, to) = (at(incident.from), at(incident.to));
            let to_it = |one: &(u64, u16)| usize::from(one.1) == route;
            let within = |from: u64, to: u64| -> Vec<(u64, u16)> {
                firsts.iter().filter(|one| (from..to).contains(&one.0)).copied().collect()
            };
            let before = within(from.saturating_sub(120_000_000), from);
            let during = within(from, to);
            let left = (20..=during.len())
                .find(|end| during[end - 20..*end].iter().filter(|one| to_it(one)).count() <= 1);
            let last = left.and_then(|end| during[..end].iter().rposition(to_it));
            let seconds = left.map(|_| last.map_or(0.0, |at| (during[at].0 - from) as f64 / 1e6));
            let before = (before.iter().filter(|one| to_it(one)).count(), before.len());
            all.push(Left { route: incident.route.clone(), slow, seconds, before });
        }
        all
    }

    /// Panics if any caller saw an error.
    pub(crate) fn no_errors(&self) {
        let errors: Vec<String> = self
            .errors()
            .map(|(place, one)| format!("request {place}: {} {}", one.status, one.error))
            .collect();
        assert!(errors.is_empty(), "{} errors reached callers:\n{}", errors.len(), errors.join("\n"));
    }

    /// Panics if the two are further apart than they may be.
    pub(crate) fn as_simulated(&self) {
        let off = self.spend_usd() / self.simulated.spend_usd() - 1.0;
        assert!(off.abs() <= SPEND_OFF_MAX, "spend is {:+.1} % off", off * 100.0);
        let points = (self.attainment() - self.simulated.attainment()) * 100.0;
        assert!(points.abs() <= ATTAINMENT_OFF_MAX, "attainment is {points:+.2} points off");
        for one in self.left() {
            let most = if one.slow.is_some() { LEFT_SLOW_MAX_S } else { LEFT_DOWN_MAX_S };
            let seconds = one.seconds.unwrap_or(f64::INFINITY);
            let mattered = one.before.0 * 10 >= one.before.1;
            assert!(!mattered || seconds <= most, "{} was left after {seconds:.1} s", one.route);
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sim, bills) = (&self.simulated, &self.bills);
        let requests = self.seen.len() as f64;
        let [p50, p95, p99] = sim.quantiles([0.5, 0.95, 0.99]);
        writeln!(
            f,
            "| {} requests in {:.0} s | simulated | live |",
            requests,
            self.trace.span_us() as f64 / 1e6
        )?;
        writeln!(f, "| --- | ---: | ---: |")?;
        let mut row = |name: &str, one: f64, other: f64, digits: usize| {
            writeln!(f, "| {name} | {one:.digits$} | {other:.digits$} |")
        };
        row("spend, USD", sim.spend_usd(), self.spend_usd(), 5)?;
        row("of it answers", usd(sim.answers), usd(bills.written()), 5)?;
        row("of it cancelled attempts", usd(sim.wasted), usd(bills.wasted()), 5)?;
        row("of it probes", usd(sim.probes), usd(bills.probes), 5)?;
        row("in time, %", sim.attainment() * 100.0, self.attainment() * 100.0, 2)?;
        row("first token p50, s", p50, self.quantile_s(0.5), 3)?;
        row("first token p95, s", p95, self.quantile_s(0.95), 3)?;
        row("first token p99, s", p99, self.quantile_s(0.99), 3)?;
        row("attempts a request", sim.attempts as f64 / requests, bills.attempts as f64 / requests, 3)?;
        row("second attempts", sim.hedges as f64, self.hedges(&["won", "lost", "failed"]), 0)?;
        row("errors at callers", sim.errors as f64, self.errors().count() as f64, 0)?;
        for (at, route) in self.scenario.routes.iter().enumerate() {
            row(
                &format!("served by {}", route.route.name),
                sim.served[at].0 as f64,
                bills.served[at] as f64,
                0,
            )?;
        }
        let said = |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), |s| format!("{s:.1} s"));
        for (live, sim) in self.left().iter().zip(&sim.failovers) {
            let kind = live.slow.map_or_else(|| "down".to_owned(), |times| format!("×{times} slower"));
            let (there, all) = live.before;
            writeln!(
                f,
                "| {} {kind}, left after ({there} of {all} before) | {} | {} |",
                live.route,
                said(sim.seconds),
                said(live.seconds)
            )?;
        }
        let Bills { probes_sent, refused, failed, .. } = bills;
        let unpaid = self.hedges(&["refused_budget"]);
        write!(
            f,
            "{probes_sent} probes, {refused} attempts refused, {failed} failed at once; {unpaid} second attempts not paid for"
        )
    }
}
