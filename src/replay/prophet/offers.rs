//! What each route could do for a request at best, with every draw known: what that costs, and what it takes of the
//! route's limits. Whatever is not known, because it depends on what the router does, is taken at its most favourable.

use crate::replay::chance::{Purpose, normal, uniform};
use crate::replay::run::Rules;
use crate::replay::scenario::{MarketRoute, Scenario};
use crate::replay::trace::{Arrival, Trace};
use crate::replay::world::{Node, World};

use super::bills::Bills;
use super::calm::{Span, level_min, spans};
use super::reuse::Reuse;
use super::us;

/// One route's best for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Offer {
    /// Place among the routes; the node stands behind the sellers.
    pub(super) route: usize,
    /// Whether the first token may be late.
    pub(super) late: bool,
    /// Lowest bill, in USD.
    pub(super) cost_usd: f64,
    /// Fewest prompt tokens that are not cached.
    pub(super) uncached: f64,
    /// When it must be sent at the latest, in microseconds after its arrival.
    pub(super) sent_within_us: u64,
}

/// A world and all that is known of it beforehand.
#[derive(Debug)]
pub(super) struct Foreseen<'a> {
    pub(super) world: World<'a>,
    pub(super) trace: &'a Trace,
    pub(super) begin_us: u64,
    rules: Rules,
    spans: Vec<Vec<Span>>,
    bills: Bills,
    reuse: Reuse,
    seed: u64,
}

/// What chance has dealt to a request on a route, as the seller draws it.
struct Luck {
    honoured: bool,
    error: f64,
    noise: f64,
    tokens_per_s: f64,
    stall_s: f64,
}

/// When a request that is being looked at may be answered.
#[derive(Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "the unit comes last")]
struct Deadline {
    /// It comes,
    from_us: u64,
    /// and its first token is late after this.
    until_us: u64,
    /// Last moment at which anyone asks for it.
    asked_by_us: u64,
    /// How long an attempt may be silent.
    silent_us: u64,
}

impl<'a> Foreseen<'a> {
    pub(super) fn new(scenario: &Scenario, trace: &'a Trace, rules: Rules, seed: u64) -> Self {
        let mut world = World::new(scenario, trace, seed);
        let begin_us = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let bills = Bills::new(&mut world, scenario);
        let reuse = Reuse::new(trace, |arrival| {
            let deadline = deadline(rules, arrival);
            deadline.asked_by_us + deadline.silent_us
        });
        let spans = world.sellers.iter().map(|seller| spans(seller, scenario, trace)).collect();
        Self { world, trace, begin_us, rules, spans, bills, reuse, seed }
    }

    /// How long after its arrival an answer may begin that is late, at the longest, in microseconds.
    pub(super) fn waits_us(&self, arrival: &Arrival) -> u64 {
        let deadline = deadline(self.rules, arrival);
        deadline.asked_by_us + deadline.silent_us - arrival.at_us
    }

    /// How long after its arrival a first token is in time, in microseconds.
    pub(super) fn in_time_us(&self, arrival: &Arrival) -> u64 {
        deadline(self.rules, arrival).until_us - arrival.at_us
    }

    /// The spans of the seller at `route`.
    pub(super) fn spans(&self, route: usize) -> &[Span] {
        self.spans.get(route).map_or(&[], Vec::as_slice)
    }

    /// What all routes could do for the request at `place`, in time and late.
    pub(super) fn offers(&self, place: usize, into: &mut Vec<Offer>) {
        let Some(arrival) = self.trace.arrivals.get(place) else { return };
        let deadline = deadline(self.rules, arrival);
        for (route, seller) in self.world.sellers.iter().enumerate() {
            let luck = self.luck(&seller.market, place, route);
            into.extend(self.in_time(arrival, route, &luck, deadline));
            into.extend(self.late(arrival, route, &luck, deadline));
        }
        if let Some(node) = &self.world.node {
            self.at_node(arrival, node, deadline, into);
        }
    }

    fn luck(&self, market: &MarketRoute, place: usize, route: usize) -> Luck {
        let draw = |purpose| uniform(self.seed, place as u64, route as u64, purpose);
        let bell = |purpose| normal(self.seed, place as u64, route as u64, purpose);
        let first = &market.first_token;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a short list"
        )]
        let index = (draw(Purpose::Noise) * first.noise.len() as f64) as usize;
        let shape = first.noise.get(index.min(first.noise.len().saturating_sub(1)));
        let mut noise = shape.copied().map_or(1.0, f64::from);
        noise *= (bell(Purpose::NoiseFactor) * first.noise_sigma).exp();
        if draw(Purpose::Tail) < first.tail_share {
            noise *= first.tail_factor * (0.85 + 0.3 * draw(Purpose::TailFactor));
        }
        let speed = market.pace;
        let stalls = draw(Purpose::Stall) < speed.stall_share;
        Luck {
            honoured: market.cache.is_some_and(|cache| draw(Purpose::Cache) < cache.honoured),
            error: draw(Purpose::Error),
            noise,
            tokens_per_s: speed.tokens_per_s * (bell(Purpose::Pace) * speed.noise_sigma).exp(),
            stall_s: if stalls { speed.stall_s } else { 0.0 },
        }
    }

    /// The spans between two moments in which an attempt with this luck is answered.
    fn answering(&self, route: usize, luck: &Luck, from_us: u64, to_us: u64) -> impl Iterator<Item = &Span> {
        let share = self.world.sellers.get(route).map_or(1.0, |seller| seller.market.errors.share);
        let error = luck.error;
        self.spans(route)
            .iter()
            .filter(move |span| span.from_us <= to_us && span.to_us >= from_us)
            .filter(move |span| error >= share && !span.fails(error, share))
    }

    /// Tokens of the prompt that are billed and read as cached if it is sent by `sent_by_us`.
    fn cached(&self, arrival: &Arrival, market: &MarketRoute, luck: &Luck, sent_by_us: u64) -> u32 {
        let Some(cache) = market.cache.filter(|_| luck.honoured) else { return 0 };
        let tokens = self.reuse.tokens(self.trace, arrival, us(cache.ttl_s), sent_by_us);
        tokens - tokens % cache.granularity_tokens.max(1)
    }

    fn in_time(&self, arrival: &Arrival, route: usize, luck: &Luck, deadline: Deadline) -> Option<Offer> {
        let seller = self.world.sellers.get(route)?;
        let first = &seller.market.first_token;
        let (begin, until) = (deadline.from_us, deadline.until_us);
        let mut best: Option<Offer> = None;
        for span in self.answering(route, luck, begin, until) {
            let (from, to) = (span.from_us.max(begin), span.to_us.min(until));
            let level = level_min(seller, span, self.begin_us, from, to);
            // The latest moment to be sent with all of the prompt cached says who could have warmed the cache.
            let fixed_us = us(first.rtt_s + first.base_s * luck.noise * level);
            let Some(sent_by) = until.checked_sub(fixed_us).map(|by| by.min(to)).filter(|by| *by >= from)
            else {
                continue;
            };
            let cached = self.cached(arrival, &seller.market, luck, sent_by);
            let uncached = f64::from(arrival.prompt_tokens.saturating_sub(cached));
            let takes_us =
                us(first.rtt_s + (first.base_s * luck.noise + uncached / first.prefill_tokens_per_s) * level);
            let Some(sent_by) = until.checked_sub(takes_us).map(|by| by.min(to)).filter(|by| *by >= from)
            else {
                continue;
            };
            let write_us = span.write_us(arrival, luck.tokens_per_s, luck.stall_s);
            let over = (from + takes_us + write_us, until + write_us);
            let cost_usd = self.bills.least_usd(route, arrival, cached, span.usage, over);
            let offer =
                Offer { route, late: false, cost_usd, uncached, sent_within_us: sent_by - arrival.at_us };
            best = Some(best.map_or(offer, |known| known.or(offer)));
        }
        best
    }

    fn late(&self, arrival: &Arrival, route: usize, luck: &Luck, deadline: Deadline) -> Option<Offer> {
        let seller = self.world.sellers.get(route)?;
        let (begin, by) = (deadline.from_us, deadline.asked_by_us);
        let mut best: Option<Offer> = None;
        for span in self.answering(route, luck, begin, by) {
            let (from, to) = (span.from_us.max(begin), span.to_us.min(by));
            let cached = self.cached(arrival, &seller.market, luck, to);
            let uncached = f64::from(arrival.prompt_tokens.saturating_sub(cached));
            let write_us = span.write_us(arrival, luck.tokens_per_s, luck.stall_s);
            let over = (from + write_us, to + deadline.silent_us + write_us);
            let cost_usd = self.bills.least_usd(route, arrival, cached, span.usage, over);
            let offer = Offer { route, late: true, cost_usd, uncached, sent_within_us: to - arrival.at_us };
            best = Some(best.map_or(offer, |known| known.or(offer)));
        }
        best
    }

    fn at_node(&self, arrival: &Arrival, node: &Node, deadline: Deadline, into: &mut Vec<Offer>) {
        let route = self.world.sellers.len();
        let reads = |sent_by_us| {
            let cached = self.reuse.tokens(self.trace, arrival, node.ttl_us(), sent_by_us);
            let uncached = f64::from(arrival.prompt_tokens.saturating_sub(cached));
            (cached, uncached, us(uncached / node.prefill_per_s + READ_S))
        };
        // However many write at once, each has its share of what the node writes.
        let slowest = (node.decode_per_s / f64::from(node.active_max.max(1)) / 8.0).max(0.1);
        let write_us = us(f64::from(arrival.output_tokens) / slowest);
        let mut from = deadline.from_us;
        while let Some(back) = node.away_until_us(from).filter(|back| *back > from) {
            from = back;
        }
        let (cached, uncached, read_us) = reads(deadline.until_us);
        if from + read_us <= deadline.until_us {
            let over = (from, deadline.until_us + write_us);
            into.push(Offer {
                route,
                late: false,
                cost_usd: self.bills.least_usd(route, arrival, cached, 1.0, over),
                uncached,
                sent_within_us: deadline.until_us - read_us - arrival.at_us,
            });
        }
        let asked_by = deadline.asked_by_us;
        if from <= asked_by {
            let (cached, uncached, _) = reads(asked_by);
            let over = (from, asked_by + deadline.silent_us + write_us);
            into.push(Offer {
                route,
                late: true,
                cost_usd: self.bills.least_usd(route, arrival, cached, 1.0, over),
                uncached,
                sent_within_us: asked_by - arrival.at_us,
            });
        }
    }
}

/// What the node needs for every prompt besides its tokens, in seconds, less a microsecond for its rounding.
pub(super) const READ_S: f64 = 0.02 - 1e-6;

impl Offer {
    /// The best of both in each respect.
    fn or(self, other: Self) -> Self {
        Self {
            cost_usd: self.cost_usd.min(other.cost_usd),
            uncached: self.uncached.min(other.uncached),
            sent_within_us: self.sent_within_us.max(other.sent_within_us),
            ..self
        }
    }
}

fn deadline(rules: Rules, arrival: &Arrival) -> Deadline {
    let limit_s = rules.slo.ttft_s + rules.slo.ttft_s_per_1k * f64::from(arrival.prompt_tokens) / 1_000.0;
    let silent_us = rules.first_token_timeout_us.max(us(limit_s * 10.0));
    Deadline {
        from_us: arrival.at_us,
        // A microsecond more than the limit is rounded away nowhere else.
        until_us: arrival.at_us + us(limit_s) + 1,
        asked_by_us: arrival.at_us + rules.request_timeout_us + silent_us,
        silent_us,
    }
}

impl Span {
    fn write_us(&self, arrival: &Arrival, tokens_per_s: f64, stall_s: f64) -> u64 {
        us(f64::from(arrival.output_tokens) / (tokens_per_s * self.stream).max(0.1) + stall_s)
    }
}
