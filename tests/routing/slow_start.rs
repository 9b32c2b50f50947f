//! A new route that is cheaper than a known one, as requests come faster than it answers: how many go there; an engine of our own of
//! which nothing was heard; and a route that nobody knows to be quick enough for long prompts.

use std::time::Duration;

use tollway::routing::learn::first_token::{Prior, Reading};
use tollway::routing::learn::route::{AttemptId, RouteMind};
use tollway::routing::{Decision, Policy, RequestFacts, Route, RouteId, RouteOutlook, Slo, decide};
use tollway::units::{Mono, Now, TokenPrice};

use super::case::card;

fn policy() -> Policy {
    Policy::named("cheap")
}

/// A market of two: the first is known and dear.
struct Market {
    policy: Policy,
    routes: [Route; 2],
    minds: [RouteMind; 2],
    now: Mono,
    attempts: u64,
    /// Those at the new one that have brought nothing yet.
    silent: Vec<AttemptId>,
}

impl Market {
    fn new() -> Self {
        let route = |name, usd: u64| {
            Route::named(name, "c", Some(card(TokenPrice(usd * 1_000_000), TokenPrice(usd * 1_000_000))))
        };
        let mut market = Self {
            policy: policy(),
            routes: [route("known/m", 2), route("new/m", 1)],
            minds: [RouteMind::default(), RouteMind::default()],
            now: Mono(1_000_000_000),
            attempts: 0,
            silent: Vec::new(),
        };
        for id in 1_000..1_050 {
            market.minds[0].began(market.now, AttemptId(id), Reading::of(1_000.0));
            market.pass(400);
            market.minds[0].answered(market.now, AttemptId(id), false, true);
            market.minds[0].ended(None);
        }
        market
    }

    /// What is decided of a request now.
    fn decide(&mut self) -> Decision {
        let outlooks: [RouteOutlook; 2] =
            std::array::from_fn(|at| self.minds[at].outlook(self.now, self.routes[at].local));
        let eligible = [RouteId(0), RouteId(1)];
        let facts = RequestFacts { eligible: &eligible, prompt_tokens: 1_000, ..RequestFacts::default() };
        let now = Now { mono: self.now, wall: jiff::Timestamp::UNIX_EPOCH };
        decide(&self.routes, &self.policy, &facts, &outlooks[..], now)
    }

    fn pass(&mut self, ms: u64) {
        self.now = Mono(self.now.0 + ms * 1_000_000);
    }

    /// Of so many requests, a millisecond apart, those that go to the new one.
    fn asked(&mut self, requests: usize) -> usize {
        let before = self.silent.len();
        for _ in 0..requests {
            self.pass(1);
            let first = self.decide().order[0].route;
            let id = AttemptId(self.attempts);
            self.attempts += 1;
            self.minds[usize::from(first.0)].began(self.now, id, Reading::of(1_000.0));
            if first == RouteId(1) {
                self.silent.push(id);
            } else {
                self.minds[0].answered(self.now, id, false, false);
                self.minds[0].ended(None);
            }
        }
        self.silent.len() - before
    }

    /// All that the new one was asked is answered, and being written.
    fn answer(&mut self) {
        self.pass(200);
        for id in std::mem::take(&mut self.silent) {
            self.minds[1].answered(self.now, id, self.routes[1].local, true);
        }
    }
}

#[test]
fn a_new_route_is_asked_one_and_then_one_more_for_each_that_it_answers_until_it_is_known() {
    let mut market = Market::new();
    let mut asked = [0; 4];
    for times in &mut asked {
        *times = market.asked(40);
        market.answer();
    }
    assert_eq!(asked, [1, 2, 4, 8]);
    assert_eq!(market.asked(40), 40, "it is known now");
}

#[test]
fn an_engine_of_our_own_is_asked_one_until_it_has_answered() {
    let mut market = Market::new();
    market.routes[1].local = true;
    market.minds[1] = RouteMind::new(Prior::OWN);
    assert_eq!(market.asked(40), 1);
    market.answer();
    assert_eq!(market.asked(40), 40);
}

#[test]
fn whether_a_route_is_quick_with_long_prompts_is_found_out_by_one_at_a_time() {
    let mut market = Market::new();
    market.policy.slo = Slo { ttft: Some(Duration::from_secs(3)), ..Slo::default() };
    let now = Now { mono: market.now, wall: jiff::Timestamp::UNIX_EPOCH };
    let score = |waiting_tokens: f32| {
        // Nothing is known of prompts there but what is assumed: four seconds for one of this length.
        let outlook = RouteOutlook { heard: 100, waiting: 1, waiting_tokens, ..RouteOutlook::default() };
        let eligible = [RouteId(0)];
        let facts = RequestFacts { eligible: &eligible, prompt_tokens: 100_000, ..RequestFacts::default() };
        decide(&market.routes, &market.policy, &facts, &[outlook][..], now).order[0].score_usd
    };
    let hopes = score(0.0);
    assert!((score(20_000.0) / hopes - 1.0).abs() < 1e-9, "a short one tells nothing of it");
    assert!(score(90_000.0) > 1.1 * hopes, "one of that length is under way: {} {hopes}", score(90_000.0));
}
