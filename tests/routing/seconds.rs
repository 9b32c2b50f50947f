//! Second routes for a silent first one: which are planned for, and which are not.

use std::time::Duration;

use tollway::routing::learn::queue_price::Behind;
use tollway::routing::{
    Decision, Hedging, Learned, Policy, RequestFacts, Route, RouteId, RouteOutlook, Slo, decide,
};
use tollway::units::TokenPrice;

use super::case::card;
use super::properties::NOW;
use super::seen::SeenCase;

fn policy(hedging: Hedging) -> Policy {
    let slo = Slo { ttft: Some(Duration::from_secs(2)), attainment: 0.95, ..Slo::default() };
    Policy { slo, hedging, ..Policy::named("p") }
}

fn route(name: &str, price: u64) -> Route {
    Route::named(name, "c", Some(card(TokenPrice(price), TokenPrice(price))))
}

fn decided(routes: &[Route], seen: &[RouteOutlook], policy: &Policy, learned: Learned) -> Decision {
    let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
    let facts = RequestFacts {
        model: "m",
        eligible: &eligible,
        prompt_tokens: 1_000,
        learned,
        may_hedge: true,
        ..RequestFacts::default()
    };
    decide(routes, policy, &facts, seen, NOW)
}

/// A cheap one that is often late, and as many quick and dear ones.
fn seen(quick: usize) -> Vec<RouteOutlook> {
    let outlook = |ttft| SeenCase::random(Some(ttft), None, 0.0, 0.0).outlook(1_000);
    let mut seen = vec![outlook((1_200, 0.45))];
    seen.extend(vec![outlook((300, 0.1)); quick]);
    seen
}

#[test]
fn none_is_planned_for_where_second_attempts_may_cost_nothing() {
    let free = || Route { local: true, ..route("own/m", 0) };
    let learned = Learned { lateness_usd: Some(0.05), mean_cost_usd: 5e-4, ..Learned::default() };
    let may = policy(Hedging::default());
    let must_not = policy(Hedging { max_extra_cost: 0.0, ..Hedging::default() });
    for routes in
        [[route("cheap/m", 200_000), route("dear/m", 9_000_000)], [route("cheap/m", 200_000), free()]]
    {
        let plans = |policy: &Policy, learned| decided(&routes, &seen(1), policy, learned).hedge.is_some();
        // The engine of our own has work enough not to be asked at first.
        let busy = Learned { behind: Behind::bearing(0.0, 1.2, 0.0), ..learned };
        assert!(plans(&may, busy), "{}", routes[1].name);
        assert!(!plans(&must_not, busy), "{}", routes[1].name);
    }
}

#[test]
fn who_is_planned_for_pays_for_its_queue() {
    // Two engines of our own with much to do, and a quick one that costs less than their time.
    let own = |name| Route { local: true, ..route(name, 0) };
    let routes = [route("cheap/m", 200_000), own("own/a"), own("own/b"), route("dear/m", 9_000_000)];
    let learned = Learned {
        lateness_usd: Some(0.05),
        mean_cost_usd: 5e-4,
        behind: Behind::bearing(0.0, 50.0, 0.0),
        ..Learned::default()
    };
    let decision = decided(&routes, &seen(3), &policy(Hedging::default()), learned);
    let hedge = decision.hedge.expect("the cheap one is often late");
    assert_eq!((decision.order[0].route, hedge.route), (RouteId(0), RouteId(3)));
}
