//! A new route that is cheaper than a known one, as requests come faster than it answers: how many go there.

use tollway::routing::learn::first_token::Reading;
use tollway::routing::learn::route::{AttemptId, RouteMind};
use tollway::routing::{Policy, RequestFacts, Route, RouteId, RouteOutlook, decide};
use tollway::units::{Mono, Now, TokenPrice};

use super::case::card;

fn policy() -> Policy {
    Policy::named("cheap")
}

/// A market of two: the first is known and dear.
struct Market {
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

    fn pass(&mut self, ms: u64) {
        self.now = Mono(self.now.0 + ms * 1_000_000);
    }

    /// Of so many requests, a millisecond apart, those that go to the new one.
    fn asked(&mut self, requests: usize) -> usize {
        let before = self.silent.len();
        for _ in 0..requests {
            self.pass(1);
            let outlooks: [RouteOutlook; 2] =
                std::array::from_fn(|at| self.minds[at].outlook(self.now, false));
            let eligible = [RouteId(0), RouteId(1)];
            let facts = RequestFacts { eligible: &eligible, prompt_tokens: 1_000, ..RequestFacts::default() };
            let now = Now { mono: self.now, wall: jiff::Timestamp::UNIX_EPOCH };
            let decision = decide(&self.routes, &policy(), &facts, &outlooks[..], now);
            let first = decision.order[0].route;
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
            self.minds[1].answered(self.now, id, false, true);
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
