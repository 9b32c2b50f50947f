//! Limits that requests share: what a seller's buckets let through, and what a node can read, in windows of the trace.
//!
//! A window counts the requests that come within it and are served in time: whatever a router does, these are sent (or
//! read) between the window's beginning and a little after its end. The widest window, the whole trace, counts late ones
//! as well.

use smallvec::SmallVec;

use crate::replay::trace::Arrival;

use super::offers::{Foreseen, Offer, READ_S};
use super::programme::{Choice, Programme};
use super::seconds;

/// Lengths of windows over sellers, and over a node, in seconds.
const SELLER_S: [u64; 3] = [10, 30, 240];
const NODE_S: [u64; 4] = [4, 15, 60, 600];
/// An adaptive limit grows by this a minute, to so many times its size at most.
const GROWS: f64 = 1.1;
const GROWN_MAX: f64 = 4.0;
/// A bucket lets through any request while it holds this share of its burst.
const ENOUGH: f64 = 0.5;
/// What rounding may hide of a limit.
const SLACK: f64 = 1e-9;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Uncached,
    Prompt,
    Output,
    Requests,
    /// Seconds of reading.
    Reading,
}

/// Windows of one length over one route, of one thing counted.
#[derive(Debug)]
struct Row {
    route: usize,
    counts: Counts,
    /// A bucket's rate, per second.
    per_s: f64,
    /// `None`: the whole trace, late requests included.
    length_us: Option<u64>,
    windows: Vec<Window>,
    /// The number of its first window.
    first: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// How long after the window's end its last request may be sent or read.
    after_us: u64,
    /// The most that one request takes.
    most: f64,
}

/// The programme of all requests.
pub(super) fn programme(foreseen: &Foreseen<'_>) -> Programme {
    let mut rows = rows(foreseen);
    let trace = foreseen.trace;
    let mut offers = Vec::new();
    let mut ends = Vec::with_capacity(trace.arrivals.len());
    for (place, arrival) in trace.arrivals.iter().enumerate() {
        let from = offers.len();
        foreseen.offers(place, &mut offers);
        for offer in offers.get(from..).unwrap_or_default() {
            for row in rows.iter_mut().filter(|row| row.counts_in(offer)) {
                row.note(foreseen, arrival, offer);
            }
        }
        ends.push(offers.len());
    }
    let limits = rows.last().map_or(0, |row| row.first + row.windows.len());
    let sizes: Vec<Vec<f64>> = rows.iter().map(|row| row.sizes(foreseen)).collect();
    let mut from = 0;
    let choices = trace.arrivals.iter().zip(ends).map(|(arrival, end)| {
        let own = offers.get(from..end).unwrap_or_default();
        from = end;
        let mut choices: Vec<Choice> = own
            .iter()
            .map(|offer| {
                let takes: SmallVec<[(u32, f64); 6]> = rows
                    .iter()
                    .zip(&sizes)
                    .filter(|(row, _)| row.counts_in(offer))
                    .filter_map(|(row, sizes)| {
                        let window = row.window_of(foreseen, arrival);
                        let limit = u32::try_from(row.first + window).ok()?;
                        Some((limit, row.taken(foreseen, arrival, offer) / sizes.get(window)?))
                    })
                    .collect();
                Choice { cost: offer.cost_usd, late: offer.late, takes }
            })
            .collect();
        if choices.is_empty() {
            // Nobody ever answers it: it is late, and costs nothing.
            choices.push(Choice { cost: 0.0, late: true, takes: SmallVec::new() });
        }
        choices
    });
    let mut programme = Programme { choices: choices.collect(), limits };
    programme.prune();
    programme
}

fn rows(foreseen: &Foreseen<'_>) -> Vec<Row> {
    let span = foreseen.trace.span_us();
    let mut rows = Vec::new();
    let mut first = 0;
    let mut add = |route, counts, per_s, lengths: &[u64]| {
        let lengths = lengths.iter().map(|length_s| length_s * 1_000_000).filter(|length| *length < span);
        for length_us in lengths.map(Some).chain([None]) {
            let count = length_us.map_or(1, |length| usize::try_from(span / length + 1).unwrap_or(1));
            rows.push(Row {
                route,
                counts,
                per_s,
                length_us,
                windows: vec![Window::default(); count],
                first,
            });
            first += count;
        }
    };
    for (route, seller) in foreseen.world.sellers.iter().enumerate() {
        let limits = &seller.market.limits;
        let all = [
            (Counts::Uncached, limits.uncached_per_s),
            (Counts::Prompt, limits.prompt_per_s),
            (Counts::Output, limits.output_per_s),
            (Counts::Requests, limits.requests_per_s),
        ];
        for (counts, per_s) in all {
            if let Some(per_s) = per_s {
                add(route, counts, per_s, &SELLER_S);
            }
        }
    }
    if foreseen.world.node.is_some() {
        add(foreseen.world.sellers.len(), Counts::Reading, 1.0, &NODE_S);
    }
    rows
}

impl Row {
    fn counts_in(&self, offer: &Offer) -> bool {
        self.route == offer.route && (!offer.late || self.length_us.is_none())
    }

    fn window_of(&self, foreseen: &Foreseen<'_>, arrival: &Arrival) -> usize {
        let into = arrival.at_us.saturating_sub(foreseen.begin_us);
        self.length_us.map_or(0, |length| usize::try_from(into / length).unwrap_or(usize::MAX))
    }

    /// What an offer takes of the limit.
    fn taken(&self, foreseen: &Foreseen<'_>, arrival: &Arrival, offer: &Offer) -> f64 {
        match self.counts {
            Counts::Uncached => offer.uncached,
            Counts::Prompt => f64::from(arrival.prompt_tokens),
            Counts::Output => f64::from(arrival.output_tokens),
            Counts::Requests => 1.0,
            Counts::Reading => {
                let rate = foreseen.world.node.as_ref().map_or(f64::INFINITY, |node| node.prefill_per_s);
                offer.uncached / rate + READ_S
            }
        }
    }

    fn note(&mut self, foreseen: &Foreseen<'_>, arrival: &Arrival, offer: &Offer) {
        let (taken, at) = (self.taken(foreseen, arrival, offer), self.window_of(foreseen, arrival));
        let after_us = match (self.counts, offer.late) {
            (Counts::Reading, false) => foreseen.in_time_us(arrival),
            (Counts::Reading, true) => foreseen.waits_us(arrival),
            _ => offer.sent_within_us,
        };
        if let Some(window) = self.windows.get_mut(at) {
            window.after_us = window.after_us.max(after_us);
            window.most = window.most.max(taken);
        }
    }

    /// How much each window lets through at most.
    fn sizes(&self, foreseen: &Foreseen<'_>) -> Vec<f64> {
        let length_us = self.length_us.unwrap_or(foreseen.trace.span_us());
        let mut from_us = foreseen.begin_us;
        let mut sizes = Vec::with_capacity(self.windows.len());
        for window in &self.windows {
            let to_us = from_us + length_us + window.after_us;
            let size = if self.counts == Counts::Reading {
                self.reading_s(foreseen, from_us, to_us)
            } else {
                self.let_through(foreseen, window, from_us, to_us)
            };
            sizes.push((size * (1.0 + SLACK)).max(SLACK));
            from_us += length_us;
        }
        sizes
    }

    /// What a bucket that is full at first lets through, and the debt that its last request may leave.
    fn let_through(&self, foreseen: &Foreseen<'_>, window: &Window, from_us: u64, to_us: u64) -> f64 {
        let Some(seller) = foreseen.world.sellers.get(self.route) else { return f64::INFINITY };
        let limits = &seller.market.limits;
        let spans = foreseen.spans(self.route).iter();
        let cut = spans
            .filter(|span| span.from_us <= to_us && span.to_us >= from_us)
            .map(|span| span.cut)
            .fold(0.0, f64::max);
        let grown = if limits.adaptive { GROWS.powf(seconds(to_us) / 60.0).min(GROWN_MAX) } else { 1.0 };
        let debt = (window.most - self.per_s * limits.burst_s * ENOUGH).max(0.0);
        self.per_s * cut * grown * (seconds(to_us - from_us) + limits.burst_s) + debt
    }

    /// The time in which a node is there.
    fn reading_s(&self, foreseen: &Foreseen<'_>, from_us: u64, to_us: u64) -> f64 {
        let Some(node) = &foreseen.world.node else { return f64::INFINITY };
        let away = node.away_us().map(|(from, to)| to.min(to_us).saturating_sub(from.max(from_us)));
        seconds((to_us - from_us).saturating_sub(away.max().unwrap_or(0)))
    }
}
