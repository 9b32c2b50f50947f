//! A seller's day cut into spans in which the same incidents are in force, and its quickest level within one.

use crate::replay::scenario::{IncidentKind, Scenario};
use crate::replay::trace::Trace;
use crate::replay::world::{DRIFT_STEP_US, Seller};

/// How much wider a span is taken than it is on either side: incidents begin and end at rounded shares of a trace.
const WIDER_US: u64 = 3;
/// Between two moments at which the level is looked at, it bends by less than this share.
const BEND: f64 = 1e-6;

/// A time in which nothing about a seller changes but its drift.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    /// How many times the prompt a usage report says.
    pub(super) usage: f64,
    /// How much of its pace streams have.
    pub(super) stream: f64,
    /// How much of its limits is left.
    pub(super) cut: f64,
    down: bool,
    /// Shares of attempts that are answered with an error inside.
    inside: Vec<f64>,
}

impl Span {
    /// Whether an attempt with this draw, on a route with this share of errors, fails here.
    pub(super) fn fails(&self, error: f64, share: f64) -> bool {
        self.down || self.inside.iter().any(|inside| error < inside + share)
    }
}

/// Places in time at which `moments`, shares of the trace, cut it; from the beginning of time to its end.
pub(super) fn cuts(trace: &Trace, shares: impl Iterator<Item = f64>) -> Vec<(u64, u64)> {
    let begin_us = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
    let span = trace.span_us().max(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a trace")]
    let mut moments: Vec<u64> = shares.map(|share| begin_us + (span * share).max(0.0) as u64).collect();
    moments.sort_unstable();
    moments.dedup();
    let ends = moments.iter().copied().chain([u64::MAX]);
    let begins = [0].into_iter().chain(moments.iter().copied());
    begins.zip(ends).collect()
}

/// A moment well inside of a span.
pub(super) fn inside((from_us, to_us): (u64, u64)) -> u64 {
    if to_us == u64::MAX { from_us + 1_000_000 } else { u64::midpoint(from_us, to_us) }
}

/// The span as wide as rounding could make it.
pub(super) fn widened((from_us, to_us): (u64, u64)) -> (u64, u64) {
    (from_us.saturating_sub(WIDER_US), to_us.saturating_add(WIDER_US))
}

/// The spans of `seller`.
pub(super) fn spans(seller: &Seller, scenario: &Scenario, trace: &Trace) -> Vec<Span> {
    let own = scenario.incidents.iter().filter(|one| *one.route == *seller.market.route.name);
    let cuts = cuts(trace, own.flat_map(|one| [one.from, one.to]));
    cuts.into_iter()
        .map(|cut| {
            let (from_us, to_us) = widened(cut);
            let mut span =
                Span { from_us, to_us, usage: 1.0, stream: 1.0, cut: 1.0, down: false, inside: Vec::new() };
            for kind in seller.now(inside(cut)) {
                match kind {
                    IncidentKind::Down | IncidentKind::Restart => span.down = true,
                    IncidentKind::LimitCut(left) => span.cut *= left,
                    IncidentKind::WrongUsage(times) => span.usage *= times,
                    IncidentKind::SlowStream(share) => span.stream *= share,
                    IncidentKind::ErrorInside(share) => span.inside.push(share),
                    IncidentKind::Slow(_) | IncidentKind::Price(_) => {}
                }
            }
            span
        })
        .collect()
}

/// The lowest level of `seller` between two moments of `span`.
pub(super) fn level_min(seller: &Seller, span: &Span, begin_us: u64, from_us: u64, to_us: u64) -> f64 {
    // Within its span: at a cut, the level of the neighbour is no level of this one.
    let from = from_us.max(span.from_us.saturating_add(2 * WIDER_US * u64::from(span.from_us > 0)));
    let to = to_us.min(span.to_us.saturating_sub(2 * WIDER_US));
    let (from, to) = (from.min(to), to.max(from));
    let steps = from.saturating_sub(begin_us) / DRIFT_STEP_US + 1;
    let mut least = seller.level(from).min(seller.level(to));
    let mut at = begin_us + steps * DRIFT_STEP_US;
    while at < to {
        least = least.min(seller.level(at));
        at += DRIFT_STEP_US;
    }
    least * (1.0 - BEND)
}
