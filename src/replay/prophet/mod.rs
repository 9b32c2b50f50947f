//! The prophet bound: what a trace must cost at least, whatever router serves it, even one that knows all draws of chance
//! beforehand.
//!
//! It is the value of a linear programme. Each request is served by one route, in time or late; at most so many are late;
//! routes take no more in a window than their limits let through, and a node of our own reads no more than it can. Where
//! a figure depends on what the router does, it is taken at its most favourable, so that the value stays below the spend
//! of every run:
//!
//! - An attempt may be sent at any time until the first token would be late, and meets the quickest level of that time
//!   (drift, hour and incidents). An attempt that is late may be sent until the request is given up
//!   ([`Rules::request_timeout_us`] and one silent attempt more).
//! - A route's cache holds all that any other request could have left there: an earlier one within the cache's lifetime
//!   of the latest moment at which its answer could begin, or a later one that comes before this one must be sent.
//!   Whether it is honoured, and in what units, is kept. A node's cache loses nothing to others.
//! - A bill is at the lowest price, and with the most favourable usage report, between the earliest and the latest end.
//! - A bucket is full when a window begins, has the highest limit of that window, an adaptive one grows from the trace's
//!   start, and the last request may leave it in debt. Windows count requests in time alone, but for the widest.
//! - A node reads at its best rate with nobody writing, writes as many answers as come, and orders its queue as it likes.
//!   Its power is paid whatever happens.
//! - Failed and second attempts and probes cost nothing and take nothing of any limit.
//!
//! The bound is that of routers that answer every request which any route would answer: one that gives up a request
//! saves its bill. So is that of routers that do not hold a request back for longer than a gateway waits.
//!
//! `offers` is what each route could do for a request, from `calm` (incidents and drift), `reuse` (caches) and `bills`
//! (prices); `limits` makes the `programme` of that, and `dual` values it.

mod bills;
mod calm;
mod dual;
mod limits;
mod offers;
mod programme;
mod reuse;

use super::run::Rules;
use super::scenario::{Scenario, SloClass};
use super::trace::Trace;

use offers::Foreseen;
use programme::Programme;

/// A lower bound on spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// What must be spent at least, power included, in USD; infinite where the promise cannot be kept.
    pub spend_usd: f64,
    /// Whether this is the programme's optimum; otherwise it is the best lower value that was found.
    pub exact: bool,
}

/// One world, foreseen: bounds at any number of attainments.
#[derive(Debug)]
pub struct Prophet {
    programme: Programme,
    power_usd: f64,
}

impl Prophet {
    /// Foresees the world of `scenario` for `trace` with the chance of `seed`, where first tokens are late as `slo` says.
    pub fn new(scenario: &Scenario, trace: &Trace, slo: SloClass, seed: u64) -> Self {
        let foreseen = Foreseen::new(scenario, trace, Rules::new(slo), seed);
        let hours = seconds(trace.span_us()) / 3_600.0;
        let power_usd = foreseen.world.node.as_ref().map_or(0.0, |node| node.power_usd_per_hour * hours);
        Self { programme: limits::programme(&foreseen), power_usd }
    }

    /// The bound with at least this share of first tokens in time, 0..1.
    pub fn bound(&self, attainment: f64) -> Bound {
        let value = dual::value(&self.programme, late_max(self.programme.choices.len(), attainment));
        // Power is counted in whole pico-dollars.
        Bound { spend_usd: value.usd + (self.power_usd - 1e-12).max(0.0), exact: value.exact }
    }
}

/// The least that any router must spend in this world for this share of first tokens in time.
pub fn bound(scenario: &Scenario, trace: &Trace, slo: SloClass, attainment: f64, seed: u64) -> Bound {
    Prophet::new(scenario, trace, slo, seed).bound(attainment)
}

/// How many of so many may be late.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count of requests"
)]
fn late_max(requests: usize, attainment: f64) -> usize {
    // A share that was itself a count divided by a count must give that count again.
    ((1.0 - attainment.clamp(0.0, 1.0)) * requests as f64 + 1e-6) as usize
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that is never negative")]
fn us(seconds: f64) -> u64 {
    (seconds * 1e6).max(0.0) as u64
}

#[cfg(test)]
mod tests;
