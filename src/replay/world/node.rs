//! A node of our own: prompts are read one after the other, answers written side by side; its prefix cache holds so many
//! tokens, least recently used out first.

use std::collections::VecDeque;

use crate::replay::scenario::{IncidentKind, LocalNode, Scenario};
use crate::replay::trace::{Arrival, Link, Trace};

use super::seller::{micros, us};
use super::{Dealt, Fate, kept, uncached};

/// Share of the trace's uncached prompt tokens that a node without a stated size can read at its mean rate.
const CARRIES: f64 = 0.6;
/// Longest that a node without a stated size takes over one of the longest tenth of prompts, in seconds.
const PROMPT_S: f64 = 2.0;

/// The node and its state.
#[derive(Debug)]
pub struct Node {
    /// Uncached prompt tokens a second with nobody writing.
    pub prefill_per_s: f64,
    /// Answer tokens a second of one stream, and of all together.
    pub stream_per_s: f64,
    /// As above.
    pub decode_per_s: f64,
    /// Answers at once.
    pub active_max: u32,
    /// What its power costs, in USD an hour.
    pub power_usd_per_hour: f64,
    /// Share of a whole node that this is.
    pub share: f64,
    /// Answers being written.
    pub active: u32,
    queue: VecDeque<Ticket>,
    /// When the prompt being read is done.
    busy_until_us: Option<u64>,
    current: Option<Ticket>,
    cache: Cache,
    restarts: Vec<(u64, u64)>,
}

/// A request at the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ticket {
    /// The request's place in the trace.
    pub place: usize,
    /// Its uncached prompt tokens.
    pub uncached: f64,
}

#[derive(Debug)]
struct Cache {
    ttl_us: u64,
    tokens_max: u64,
    tokens: u64,
    last_us: Vec<u64>,
    size: Vec<u32>,
    order: VecDeque<(u32, u64)>,
}

impl Cache {
    fn touch(&mut self, links: &[Link], now_us: u64) {
        let mut from = 0;
        for link in links {
            let block = link.block as usize;
            let (Some(last), Some(size)) = (self.last_us.get_mut(block), self.size.get_mut(block)) else {
                continue;
            };
            if *last == 0 {
                *size = link.tokens_end - from;
                self.tokens += u64::from(*size);
            }
            *last = now_us + 1;
            self.order.push_back((link.block, now_us + 1));
            from = link.tokens_end;
        }
        while self.tokens > self.tokens_max
            && let Some((block, at)) = self.order.pop_front()
        {
            let block = block as usize;
            // A block used since stands further back in the order, too.
            if let (Some(last), Some(size)) = (self.last_us.get_mut(block), self.size.get(block))
                && *last == at
            {
                *last = 0;
                self.tokens -= u64::from(*size);
            }
        }
    }

    fn holds(&self, block: u32, now_us: u64) -> bool {
        let last = self.last_us.get(block as usize).copied().unwrap_or(0);
        last > 0 && now_us.saturating_sub(last - 1) <= self.ttl_us
    }
}

impl Node {
    /// A node at rest.
    pub fn new(local: &LocalNode, scenario: &Scenario, trace: &Trace, span_us: u64) -> Self {
        let share = local.share.unwrap_or_else(|| share_for(local, trace, span_us));
        let begin = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let blocks = usize::try_from(trace.blocks).unwrap_or(0);
        let at = |share: f64| begin + us(share * micros(span_us));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a node's size"
        )]
        let (active_max, tokens_max) = (
            ((f64::from(local.active_max) * share).ceil() as u32).max(4),
            (local.cache_tokens as f64 * share.clamp(0.1, 1.0)) as u64,
        );
        Self {
            prefill_per_s: local.prefill_tokens_per_s * share,
            stream_per_s: local.stream_tokens_per_s,
            decode_per_s: (local.decode_tokens_per_s * share).max(local.stream_tokens_per_s),
            active_max,
            power_usd_per_hour: local.power_usd_per_hour * share,
            share,
            active: 0,
            queue: VecDeque::new(),
            busy_until_us: None,
            current: None,
            cache: Cache {
                ttl_us: us(local.cache_ttl_s),
                tokens_max,
                tokens: 0,
                last_us: vec![0; blocks],
                size: vec![0; blocks],
                order: VecDeque::new(),
            },
            restarts: scenario
                .incidents
                .iter()
                .filter(|one| *one.route == *local.route.name)
                .filter(|one| matches!(one.kind, IncidentKind::Restart | IncidentKind::Down))
                .map(|one| (at(one.from), at(one.to)))
                .collect(),
        }
    }

    pub(super) fn is_away(&self, now_us: u64) -> bool {
        self.restarts.iter().any(|(from, to)| (*from..*to).contains(&now_us))
    }

    pub(crate) fn away_until_us(&self, now_us: u64) -> Option<u64> {
        self.restarts.iter().find(|(from, to)| (*from..*to).contains(&now_us)).map(|(_, to)| *to)
    }

    /// When it is away: from, to.
    pub(crate) fn away_us(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.restarts.iter().copied()
    }

    /// How long a block lives in its cache, in microseconds.
    pub(crate) fn ttl_us(&self) -> u64 {
        self.cache.ttl_us
    }

    /// The beginnings of its restarts.
    pub fn restarts_us(&self) -> impl Iterator<Item = u64> + '_ {
        self.restarts.iter().map(|(from, _)| *from)
    }

    /// Everything is gone: returns who was waiting or being read.
    pub fn restart(&mut self) -> Vec<Ticket> {
        let mut lost: Vec<Ticket> = self.queue.drain(..).collect();
        lost.extend(self.current.take());
        self.busy_until_us = None;
        self.active = 0;
        self.cache.last_us.fill(0);
        self.cache.order.clear();
        self.cache.tokens = 0;
        lost
    }

    pub(super) fn cached(&self, links: &[Link], now_us: u64) -> u32 {
        kept(links, |block| self.cache.holds(block, now_us))
    }

    pub(super) fn ask(&mut self, arrival: &Arrival, links: &[Link], place: usize, now_us: u64) -> Dealt {
        let cached = self.cached(links, now_us);
        let mut dealt = Dealt { fate: Fate::Queued, cached, usage_factor: 1.0 };
        if self.is_away(now_us) || self.active >= self.active_max {
            dealt.fate = Fate::Failed { at_us: now_us + 5_000 };
            return dealt;
        }
        self.queue.push_back(Ticket { place, uncached: uncached(arrival, cached) });
        dealt
    }

    /// Begins to read the next prompt, if none is being read; says when it will be done.
    pub fn next(&mut self, now_us: u64) -> Option<u64> {
        if self.busy_until_us.is_some() {
            return None;
        }
        let ticket = self.queue.pop_front()?;
        let load = (f64::from(self.active) * self.stream_per_s / self.decode_per_s).min(1.0);
        let read_s = ticket.uncached / (self.prefill_per_s * (1.0 - 0.5 * load)) + 0.02;
        let until = now_us + us(read_s);
        self.busy_until_us = Some(until);
        self.current = Some(ticket);
        Some(until)
    }

    /// The prompt being read is done: its request, and when its answer will be written.
    pub fn done(&mut self, now_us: u64, output_tokens: impl Fn(usize) -> u32) -> Option<(usize, u64)> {
        if self.busy_until_us != Some(now_us) {
            return None;
        }
        self.busy_until_us = None;
        let ticket = self.current.take()?;
        self.active += 1;
        let rate = self.stream_per_s.min(self.decode_per_s / f64::from(self.active));
        Some((ticket.place, now_us + us(f64::from(output_tokens(ticket.place)) / rate)))
    }

    /// A request is taken back before its first token. One whose prompt is being read is read to its end in vain.
    pub fn cancel(&mut self, place: usize) {
        self.queue.retain(|ticket| ticket.place != place);
    }

    /// Seconds of reading that are ahead of a new request, at `now_us`.
    pub(super) fn queued_s(&self, now_us: u64) -> f64 {
        let reading = self.busy_until_us.map_or(0.0, |until| micros(until.saturating_sub(now_us)));
        reading + self.queue.iter().map(|ticket| ticket.uncached).sum::<f64>() / self.prefill_per_s
    }

    pub(super) fn keep(&mut self, links: &[Link], now_us: u64) {
        self.cache.touch(links, now_us);
    }
}

/// The share of a node that can read so much of the trace's new prompt tokens at the mean rate.
fn share_for(local: &LocalNode, trace: &Trace, span_us: u64) -> f64 {
    let mut seen = vec![false; usize::try_from(trace.blocks).unwrap_or(0)];
    let mut new = 0.0;
    for arrival in &trace.arrivals {
        let links = trace.links_of(arrival);
        let known = kept(links, |block| seen.get(block as usize).copied().unwrap_or(false));
        new += uncached(arrival, known);
        for link in links {
            if let Some(seen) = seen.get_mut(link.block as usize) {
                *seen = true;
            }
        }
    }
    // A node that takes minutes over one prompt is no node for this trace.
    let mut sizes: Vec<u32> = trace.arrivals.iter().map(|arrival| arrival.prompt_tokens).collect();
    sizes.sort_unstable();
    let long = sizes.get(sizes.len() * 9 / 10).copied().map_or(0.0, f64::from);
    let rate = (CARRIES * new / micros(span_us)).max(long / PROMPT_S);
    (rate / local.prefill_tokens_per_s).clamp(1e-4, 8.0)
}
