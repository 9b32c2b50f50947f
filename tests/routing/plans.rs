//! What is chosen in some thousands of drawn situations, as one number: whoever makes a decision quicker must not make
//! another one. Whoever means to decide otherwise says so by a new number, which the test tells.

use std::time::Duration;

use tollway::pricing::{PriceCard, PriceEntry, Rates, Version};
use tollway::routing::choose::decide_into;
use tollway::routing::learn::first_token::{FirstTokenOutlook, STRUCK};
use tollway::routing::learn::pace::PaceOutlook;
use tollway::routing::learn::prefix::Held;
use tollway::routing::learn::queue_price::Behind;
use tollway::routing::learn::shape::{LOWEST, WIDTH};
use tollway::routing::outlook::CacheShares;
use tollway::routing::{
    Decision, HedgeAfter, Hedging, Learned, Objective, Policy, RequestFacts, Route, RouteId, RouteOutlook,
    Slo,
};
use tollway::units::{Mono, PicoUsd, TokenPrice};

use super::properties::NOW;

const MARKETS: u64 = 60;
const REQUESTS: u64 = 100;
/// All that is chosen, digested.
const CHOSEN: u64 = 0x5381_e2eb_8289_8ff5;

/// Numbers in an order that is no order (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "a draw")]
    fn small(&mut self, least: f64, most: f64) -> f32 {
        self.between(least, most) as f32
    }
}

fn route(dice: &mut Dice, at: usize) -> Route {
    let input = 30_000 + dice.below(700_000);
    let entry = PriceEntry { source: "t".into(), as_of: "2026-11".into(), confidence: "operator".into() };
    let rates = Rates {
        input: TokenPrice(input),
        cached_input: (!dice.once_in(3)).then(|| TokenPrice(input / (1 + dice.below(20)))),
        cache_write: None,
        output: TokenPrice(input * (1 + dice.below(5))),
        request: PicoUsd::ZERO,
    };
    let fee_ppm = if dice.once_in(5) { 55_000 } else { 0 };
    let local = dice.once_in(8);
    let price = (!dice.once_in(20)).then(|| PriceCard::new(Version::always(entry, rates), fee_ppm));
    Route { local, ..Route::named(&format!("p{}/m{at}", at % 5), "c", price) }
}

/// How a route looks. Its table is made of fractions, so that it is the same on every machine.
fn outlook(dice: &mut Dice, local: bool) -> RouteOutlook {
    let (spread, never) = (dice.small(0.1, 0.6), dice.small(0.0, 0.03));
    let edges: [f32; 65] = std::array::from_fn(|edge| {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let z = (LOWEST + edge as f32 * WIDTH) / spread;
        (1.0 - never) * (0.5 + 0.5 * z / (1.0 + z * z).sqrt())
    });
    let plain = RouteOutlook::default();
    let doubtful = dice.once_in(4);
    let until = |dice: &mut Dice| dice.once_in(25).then(|| Mono(NOW.mono.0 + 1_000 * dice.below(5_000_000)));
    RouteOutlook {
        first_token: FirstTokenOutlook {
            base_s: dice.small(0.1, 2.0),
            per_token_s: dice.small(0.005e-3, 0.15e-3),
            prefill_luck: 0.25,
            level: if dice.once_in(6) { dice.small(1.5, 5.0) } else { dice.small(0.8, 1.2) },
            doubt: if doubtful { [0.01, -1e-6, dice.small(0.0, 4e-9)] } else { [1e-4, 0.0, 1e-14] },
            within: [edges; STRUCK.len()],
        },
        error: if dice.once_in(6) { dice.small(0.0, 0.6) } else { dice.small(0.0, 0.02) },
        pace: PaceOutlook::of(dice.small(0.004, 0.06), 0.15),
        cache_hits: CacheShares::even(dice.small(0.3, 1.0)),
        heard: u32::try_from(dice.below(40)).unwrap(),
        waiting: u32::try_from(dice.below(6)).unwrap(),
        rate: dice.small(0.0, 30_000.0),
        cap: dice.once_in(10).then(|| dice.small(0.0, 40_000.0)),
        queued_tokens: if local { dice.small(0.0, 30_000.0) } else { 0.0 },
        open_until: until(dice),
        limited_until: until(dice),
        disabled_until: until(dice),
        ..plain
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let objectives = [
        Objective::Cost,
        Objective::Cost,
        Objective::Cost,
        Objective::Balanced,
        Objective::Latency,
        Objective::Throughput,
    ];
    let after = match dice.below(6) {
        0 => HedgeAfter::Quantile(0.9),
        1 => HedgeAfter::Silence(Duration::from_millis(dice.below(1_500))),
        _ => HedgeAfter::Worth,
    };
    Policy {
        objective: objectives[usize::try_from(dice.below(6)).unwrap()],
        slo: Slo {
            ttft: (!dice.once_in(6)).then(|| Duration::from_millis(400 + dice.below(3_000))),
            ttft_per_1k: Duration::from_millis(dice.below(120)),
            tokens_per_second: dice.once_in(2).then_some(30.0),
            attainment: 0.99,
        },
        hedging: Hedging { after, ..Hedging::default() },
        allow_unpriced: dice.once_in(4),
        ..Policy::named("p")
    }
}

fn learned(dice: &mut Dice) -> Learned {
    let mean_cost_usd = dice.between(1e-4, 3e-3);
    Learned {
        lateness_usd: (!dice.once_in(8)).then(|| mean_cost_usd * dice.between(1.0, 50.0)),
        mean_cost_usd,
        output_tokens: Some(dice.below(1_500)),
        session_rest: if dice.once_in(2) { dice.small(0.0, 8.0) } else { 0.0 },
        hedge_room_usd: dice.once_in(2).then(|| dice.between(0.0, 2e-3)),
        behind: Behind::bearing(dice.between(0.0, 3.0), dice.between(0.0, 2e-3), dice.between(0.0, 1.0)),
        ..Learned::default()
    }
}

#[test]
fn the_same_is_chosen_as_ever() {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut note = |value: u64| digest = (digest ^ value).wrapping_mul(0x0100_0000_01b3);
    let (mut hedged, mut left_out) = (0, 0);
    let mut decision = Decision::default();
    for market in 0..MARKETS {
        let dice = &mut Dice(market);
        let count = [3, 8, 16, 16, 24, 64][usize::try_from(market % 6).unwrap()];
        let routes: Vec<Route> = (0..count).map(|at| route(dice, at)).collect();
        let seen: Vec<RouteOutlook> = routes.iter().map(|route| outlook(dice, route.local)).collect();
        let eligible: Vec<RouteId> = (0..).take(count).map(RouteId).collect();
        let policy = policy(dice);
        for _ in 0..REQUESTS {
            let prompt_tokens = if dice.once_in(3) { dice.below(60_000) } else { dice.below(4_000) };
            let held: Vec<Held> = (0..count)
                .map(|_| match dice.below(2) {
                    0 => Held::default(),
                    _ => Held {
                        tokens: u32::try_from(dice.below(prompt_tokens + 200)).unwrap(),
                        age_s: dice.small(0.0, 400.0),
                    },
                })
                .collect();
            let tried = [RouteId(0)];
            let again = dice.once_in(5);
            let facts = RequestFacts {
                model: "m",
                eligible: &eligible,
                prompt_tokens,
                held: if dice.once_in(3) { &[] } else { &held },
                learned: learned(dice),
                waited: if again { Duration::from_millis(dice.below(3_000)) } else { Duration::ZERO },
                tried: if again { &tried } else { &[] },
                may_hedge: !dice.once_in(8),
                ..RequestFacts::default()
            };
            decide_into(&mut decision, &routes, &policy, &facts, &seen[..], NOW);
            decision.order.iter().for_each(|one| note(one.route.0.into()));
            if let Some(hedge) = decision.hedge {
                hedged += 1;
                note(1_000 + u64::from(hedge.route.0));
            }
            left_out += decision.excluded.len();
            note(decision.excluded.iter().map(|one| 1 + u64::from(one.route.0)).sum());
        }
    }
    assert!(hedged > 1_000 && left_out > 1_000, "{hedged} plans with a second route, {left_out} left out");
    assert_eq!(digest, CHOSEN, "what is chosen is other than it was: now {digest:#018x}");
}
