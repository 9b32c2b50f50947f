//! Limits that requests share: what a seller's buckets let through, and what a node can read, in windows of the trace.
//!
//! A window counts the requests that come within it and are served in time: whatever a router does, these are sent (or
//! read) between the window's beginning and a little after its end. How much after depends on the longest time that one of
//! them has; any such time may be chosen, if those that have longer are not counted. The widest window, the whole trace,
//! is there once more with late requests counted as well.

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

#[derive(Debug, Clone, Default)]
struct Window {
    /// How long after its arrival each request may be sent, or read to its end, and what it takes.
    all: Vec<(u64, f64)>,
    /// Those that have longer are not counted: they would make the window longer than they are worth.
    longest_us: u64,
    /// What it lets through of the others.
    size: f64,
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
    for row in &mut rows {
        row.size(foreseen);
    }
    let mut from = 0;
    let choices = trace.arrivals.iter().zip(ends).map(|(arrival, end)| {
        let own = offers.get(from..end).unwrap_or_default();
        from = end;
        let mut choices: Vec<Choice> = own
            .iter()
            .map(|offer| {
                let takes: SmallVec<[(u32, f64); 6]> = rows
                    .iter()
                    .filter(|row| row.counts_in(offer))
                    .filter_map(|row| {
                        let at = row.window_of(foreseen, arrival);
                        let window = row.windows.get(at)?;
                        let counts = row.has_us(foreseen, arrival, offer) <= window.longest_us;
                        let share = row.taken(foreseen, arrival, offer) / window.size;
                        Some((u32::try_from(row.first + at).ok()?, share)).filter(|_| counts)
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
        for length_us in lengths.chain([span + 1]).map(Some).chain([None]) {
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

    /// How long after its arrival it may be sent, or read to its end.
    fn has_us(&self, foreseen: &Foreseen<'_>, arrival: &Arrival, offer: &Offer) -> u64 {
        match (self.counts, offer.late) {
            (Counts::Reading, false) => foreseen.in_time_us(arrival),
            (Counts::Reading, true) => foreseen.waits_us(arrival),
            _ => offer.sent_within_us,
        }
    }

    fn note(&mut self, foreseen: &Foreseen<'_>, arrival: &Arrival, offer: &Offer) {
        let one = (self.has_us(foreseen, arrival, offer), self.taken(foreseen, arrival, offer));
        let at = self.window_of(foreseen, arrival);
        if let Some(window) = self.windows.get_mut(at) {
            window.all.push(one);
        }
    }

    /// Says how much each window lets through at most, of whom that is least.
    fn size(&mut self, foreseen: &Foreseen<'_>) {
        let length_us = self.length_us.unwrap_or(foreseen.trace.span_us());
        let mut windows = std::mem::take(&mut self.windows);
        let mut from_us = foreseen.begin_us;
        for window in &mut windows {
            let mut all = std::mem::take(&mut window.all);
            all.sort_unstable_by_key(|one| one.0);
            let (mut load, mut most, mut fullest) = (0.0, 0.0_f64, -1.0);
            for (at, (has_us, taken)) in all.iter().enumerate() {
                load += taken;
                most = most.max(*taken);
                // Those that have equally long are counted together, and the trace as a whole counts all.
                let next = all.get(at + 1).map(|one| one.0);
                if next == Some(*has_us) || (next.is_some() && self.length_us.is_none()) {
                    continue;
                }
                let to_us = from_us + length_us + has_us;
                let size = if self.counts == Counts::Reading {
                    reading_s(foreseen, from_us, to_us)
                } else {
                    self.let_through(foreseen, most, from_us, to_us)
                };
                let size = (size * (1.0 + SLACK)).max(SLACK);
                if load / size > fullest {
                    fullest = load / size;
                    (window.longest_us, window.size) = (*has_us, size);
                }
            }
            from_us += length_us;
        }
        self.windows = windows;
    }

    /// What a bucket that is full at first lets through, and the debt that its last request may leave.
    fn let_through(&self, foreseen: &Foreseen<'_>, most: f64, from_us: u64, to_us: u64) -> f64 {
        let Some(seller) = foreseen.world.sellers.get(self.route) else { return f64::INFINITY };
        let limits = &seller.market.limits;
        let spans = foreseen.spans(self.route).iter();
        let cut = spans
            .filter(|span| span.from_us <= to_us && span.to_us >= from_us)
            .map(|span| span.cut)
            .fold(0.0, f64::max);
        let grown = if limits.adaptive { GROWS.powf(seconds(to_us) / 60.0).min(GROWN_MAX) } else { 1.0 };
        let debt = (most - self.per_s * limits.burst_s * ENOUGH).max(0.0);
        self.per_s * cut * grown * (seconds(to_us - from_us) + limits.burst_s) + debt
    }
}

/// The time in which a node is there.
fn reading_s(foreseen: &Foreseen<'_>, from_us: u64, to_us: u64) -> f64 {
    let Some(node) = &foreseen.world.node else { return f64::INFINITY };
    let away = node.away_us().map(|(from, to)| to.min(to_us).saturating_sub(from.max(from_us)));
    seconds((to_us - from_us).saturating_sub(away.max().unwrap_or(0)))
}
