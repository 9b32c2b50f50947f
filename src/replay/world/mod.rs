//! The world that answers: sellers (`seller`) and a node of our own (`node`), with their incidents, deterministic by seed.
//!
//! A router sees of it only what a gateway would: first tokens, failures, refusals, usage. The informed oracle alone looks
//! behind (`truth`).

mod node;
mod seller;
mod truth;

pub use node::{Node, Ticket};
pub(crate) use seller::DRIFT_STEP_US;
pub use seller::Seller;
pub use truth::Lucks;

use crate::pricing::PriceCard;
use crate::routing::{Route, RouteId};
use crate::units::TokenPrice;

use super::scenario::{IncidentKind, Scenario};
use super::trace::{Arrival, Link, Trace};

/// What becomes of an attempt that nobody cancels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// Refused for its rate at `at_us`; asked to wait so long, if it says.
    Refused {
        /// When.
        at_us: u64,
        /// `retry-after` in microseconds.
        retry_after_us: Option<u64>,
    },
    /// Failed at `at_us`.
    Failed {
        /// When.
        at_us: u64,
    },
    /// Never a word.
    Silent,
    /// First token at `first_us`, the end at `end_us`.
    Answered {
        /// When it begins.
        first_us: u64,
        /// When it ends.
        end_us: u64,
    },
    /// Taken by the node, which says later when it begins.
    Queued,
}

/// What an attempt is billed for, and what it does to the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dealt {
    /// What becomes of it.
    pub fate: Fate,
    /// Prompt tokens that are billed as cached.
    pub cached: u32,
    /// How many times the prompt the usage report says.
    pub usage_factor: f64,
}

/// A market and its state.
#[derive(Debug)]
pub struct World<'a> {
    /// The requests.
    pub trace: &'a Trace,
    /// Sellers, by route; then the node, if there is one.
    pub sellers: Vec<Seller>,
    /// The node of our own.
    pub node: Option<Node>,
    /// What the router knows of each route, prices as in force.
    pub routes: Vec<Route>,
    seed: u64,
}

impl<'a> World<'a> {
    /// The world of `scenario` for `trace`. `span_us` is the trace's length, of which incidents' times are shares.
    pub fn new(scenario: &Scenario, trace: &'a Trace, seed: u64) -> Self {
        let span_us = trace.span_us().max(1);
        let sellers: Vec<Seller> = scenario
            .routes
            .iter()
            .enumerate()
            .map(|(place, market)| Seller::new(market, place, scenario, trace, span_us, seed))
            .collect();
        let mut routes: Vec<Route> = scenario.routes.iter().map(|market| market.route.clone()).collect();
        let node = scenario.local.as_ref().map(|local| {
            routes.push(local.route.clone());
            Node::new(local, scenario, trace, span_us)
        });
        Self { trace, sellers, node, routes, seed }
    }

    /// The node's place among the routes.
    pub fn node_id(&self) -> Option<RouteId> {
        let place = u16::try_from(self.sellers.len()).unwrap_or(u16::MAX);
        self.node.as_ref().map(|_| RouteId(place))
    }

    /// Sets the prices in force at `now_us`.
    pub fn set_prices(&mut self, scenario: &Scenario, now_us: u64) {
        let share = self.share_of(now_us);
        for (market, route) in scenario.routes.iter().zip(&mut self.routes) {
            let factor = scenario
                .incidents
                .iter()
                .filter(|incident| *incident.route == *market.route.name)
                .filter(|incident| incident.from <= share && share < incident.to)
                .fold(1.0, |factor, incident| match incident.kind {
                    IncidentKind::Price(times) => factor * times,
                    _ => factor,
                });
            route.price = market.route.price.as_ref().map(|card| scaled(card, factor));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of the trace")]
    fn share_of(&self, now_us: u64) -> f64 {
        let first = self.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        now_us.saturating_sub(first) as f64 / self.trace.span_us().max(1) as f64
    }

    /// The request at `place` is sent to `route`.
    pub fn ask(&mut self, place: usize, route: RouteId, now_us: u64) -> Dealt {
        let Some(arrival) = self.trace.arrivals.get(place) else {
            return Dealt { fate: Fate::Silent, cached: 0, usage_factor: 1.0 };
        };
        let links = self.trace.links_of(arrival);
        let request = place as u64;
        if let Some(seller) = self.sellers.get_mut(usize::from(route.0)) {
            return seller.ask(arrival, links, request, now_us, self.seed);
        }
        self.node.as_mut().map_or(Dealt { fate: Fate::Silent, cached: 0, usage_factor: 1.0 }, |node| {
            node.ask(arrival, links, place, now_us)
        })
    }

    /// A probe is sent to `route`: a few tokens that nobody waits for.
    pub fn probe(&mut self, route: RouteId, number: u64, now_us: u64) -> Fate {
        let arrival = Arrival {
            at_us: now_us,
            prompt_tokens: super::router::PROBE_TOKENS,
            output_tokens: 1,
            output_tokens_max: 1,
            key: 0,
            tags: 0,
            model: 0,
            links_from: 0,
            links: 0,
        };
        // Its luck is its own, apart from every request's.
        let request = number | 1 << 48;
        let seller = self.sellers.get_mut(usize::from(route.0));
        seller.map_or(Fate::Silent, |seller| seller.ask(&arrival, &[], request, now_us, self.seed).fate)
    }

    /// Its first token came: from now on its prefix is in the route's cache.
    pub fn began(&mut self, place: usize, route: RouteId, now_us: u64) {
        let Some(arrival) = self.trace.arrivals.get(place) else { return };
        let links = self.trace.links_of(arrival);
        if let Some(seller) = self.sellers.get_mut(usize::from(route.0)) {
            seller.keep(links, now_us);
        } else if let Some(node) = self.node.as_mut() {
            node.keep(links, now_us);
        }
    }
}

/// A card whose every price is so many times as high, to a whole pico-dollar.
fn scaled(card: &PriceCard, factor: f64) -> PriceCard {
    if (factor - 1.0).abs() < 1e-9 {
        return card.clone();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "prices of a made-up market"
    )]
    let times = |price: TokenPrice| TokenPrice((price.0 as f64 * factor).round() as u64);
    let mut versions = card.versions().map(|version| {
        let mut version = version.clone();
        for rates in
            std::iter::once(&mut version.base).chain(version.overrides.iter_mut().map(|(_, rates)| rates))
        {
            rates.input = times(rates.input);
            rates.output = times(rates.output);
            rates.cached_input = rates.cached_input.map(times);
            rates.cache_write = rates.cache_write.map(times);
        }
        version
    });
    let Some(first) = versions.next() else { return card.clone() };
    let mut dearer = PriceCard::new(first, card.fee_ppm);
    // Each begins when the one it was made from does, so none is refused.
    versions.all(|version| dearer.add(version));
    dearer
}

/// How much of a prompt is in a cache of which `last_us` says when a block was last used.
fn kept(links: &[Link], alive: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, links.len());
    let mut tokens = 0;
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(link) = links.get(middle) else { break };
        if alive(link.block) {
            tokens = link.tokens_end;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    tokens
}

/// A prompt's tokens less those cached.
fn uncached(arrival: &Arrival, cached: u32) -> f64 {
    f64::from(arrival.prompt_tokens.saturating_sub(cached))
}
