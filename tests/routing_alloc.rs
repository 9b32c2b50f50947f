//! A decision takes no memory once it has room: counted by an allocator, in a binary of its own.
#![allow(clippy::unwrap_used, reason = "tests: what cannot go on should stop")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tollway::pricing::{PriceCard, PriceEntry, Rates, Version};
use tollway::routing::choose::decide_into;
use tollway::routing::explain::{Origin, Record};
use tollway::routing::learn::first_token::Reading;
use tollway::routing::learn::prefix::Held;
use tollway::routing::learn::queue_price::Behind;
use tollway::routing::learn::route::{AttemptId, RouteMind};
use tollway::routing::{
    Constraints, Decision, Degraded, Learned, Objective, Policy, RequestFacts, Route, RouteId, RouteOutlook,
    Slo,
};
use tollway::units::{Mono, Now, PicoUsd, TokenPrice};
use tollway_test_support::alloc::{Counting, allocations};

#[global_allocator]
static COUNTING: Counting = Counting;

const NOW: Now = Now { mono: Mono(1_000_000_000_000), wall: jiff::Timestamp::UNIX_EPOCH };

fn route(at: u16) -> Route {
    let input = TokenPrice(100_000 + u64::from(at) * 100_000);
    let entry = PriceEntry { source: "t".into(), as_of: "2026-11".into(), confidence: "operator".into() };
    let rates = Rates {
        input,
        cached_input: Some(TokenPrice(input.0 / 10)),
        cache_write: None,
        output: TokenPrice(input.0 * 3),
        request: PicoUsd::ZERO,
    };
    Route {
        // Some are left out, for several reasons.
        region: (at % 5 != 4).then(|| "us".into()),
        local: at == 3,
        ..Route::named(&format!("p{at}/m"), "c", Some(PriceCard::new(Version::always(entry, rates), 0)))
    }
}

/// A mind that has heard a hundred answers; dearer routes are quicker.
fn outlook(at: u16) -> RouteOutlook {
    let mut mind = RouteMind::default();
    for call in 0..100_u64 {
        let began = Mono(call * 1_000_000_000);
        mind.began(began, AttemptId(call), Reading::of(900.0));
        let ms = 600 / (1 + u64::from(at) / 2) + call % 7 * 60;
        mind.answered(began.plus(Duration::from_millis(ms)), AttemptId(call), false, true);
        mind.ended(Some((200, 2.0)));
    }
    mind.outlook(Mono(100_000_000_000), false)
}

fn policy(objective: Objective, ttft: Option<Duration>) -> Policy {
    Policy {
        objective,
        slo: Slo {
            ttft,
            ttft_per_1k: Duration::from_millis(50),
            tokens_per_second: Some(30.0),
            attainment: 0.99,
        },
        constraints: Constraints { regions: vec![Arc::from("us")], ..Constraints::default() },
        ..Policy::named("p")
    }
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn a_decision_allocates_nothing_once_warmed() {
    for count in [4, 16, 64] {
        let routes: Vec<Route> = (0..count).map(route).collect();
        let seen: Vec<RouteOutlook> = (0..count).map(outlook).collect();
        let eligible: Vec<RouteId> = (0..count).map(RouteId).collect();
        let held = vec![Held { tokens: 800, age_s: 20.0 }; usize::from(count)];
        let learned = Learned {
            lateness_usd: Some(0.004),
            mean_cost_usd: 0.001,
            output_tokens: Some(200),
            session_rest: 2.0,
            behind: Behind::bearing(0.0, 0.001, 0.0),
            ..Learned::default()
        };
        let facts = RequestFacts {
            model: "m",
            eligible: &eligible,
            prompt_tokens: 1_000,
            held: &held,
            learned,
            may_hedge: true,
            ..RequestFacts::default()
        };
        let none_left = RequestFacts { tried: &eligible, ..facts };
        let policies = [
            policy(Objective::Cost, Some(Duration::from_millis(900))),
            policy(Objective::Latency, Some(Duration::from_millis(900))),
            policy(Objective::Balanced, None),
            policy(Objective::Throughput, None),
        ];
        let mut decision = Decision::default();
        let mut hedged = false;
        let mut decide_all = || {
            for policy in &policies {
                decide_into(&mut decision, &routes, policy, &none_left, &seen[..], NOW);
                assert_eq!(decision.degraded, Degraded::NoRoute);
                decide_into(&mut decision, &routes, policy, &facts, &seen[..], NOW);
                assert!(!decision.order.is_empty());
                hedged |= decision.hedge.is_some();
            }
        };
        decide_all();
        assert_eq!(allocations(decide_all), 0, "{count} candidates");
        assert!(hedged, "plans with a second route were among them");
    }
}

/// A line of fixed room, as the log's buffer has it.
struct Line {
    length: usize,
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.length += text.len();
        Ok(())
    }
}

#[test]
fn a_record_and_its_line_allocate_nothing() {
    let routes: Vec<Route> = (0..16).map(route).collect();
    let seen: Vec<RouteOutlook> = (0..16).map(outlook).collect();
    let eligible: Vec<RouteId> = (0..16).map(RouteId).collect();
    let facts = RequestFacts {
        model: "m",
        eligible: &eligible,
        prompt_tokens: 1_000,
        may_hedge: true,
        ..RequestFacts::default()
    };
    let policy = policy(Objective::Cost, Some(Duration::from_millis(900)));
    let mut decision = Decision::default();
    decide_into(&mut decision, &routes, &policy, &facts, &seen[..], NOW);
    let mut line = Line { length: 0 };
    let recorded = allocations(|| {
        let record =
            Record::new("req_1", Origin { generation: 1, policy: 0 }, &policy, &decision, &facts, NOW);
        record.write_line(&routes, &mut line).unwrap();
        writeln!(line).unwrap();
    });
    assert_eq!(recorded, 0);
    assert!(line.length > 40, "{}", line.length);
}
