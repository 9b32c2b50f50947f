//! The bound, held against the programme's exact optimum, against runs of real routers, and against bills made by hand.

use std::path::Path;
use std::time::Duration;

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome};

use super::programme::Choice;
use super::*;
use crate::replay::router::Router;
use crate::replay::router::baselines::{Baseline, Rule};
use crate::replay::router::ours::{Knows, Ours};
use crate::replay::run::run;
use crate::replay::scenario::{Shapes, load, read};
use crate::replay::tally::Tally;
use crate::replay::trace::{Arrival, Draw, Kind, Link, generate};
use crate::replay::world::World;
use crate::routing::{Fallback, Policy, Slo};

/// The optimum by a simplex; `None`: nobody can be late so seldom.
fn exact(programme: &Programme, late_max: usize) -> Option<f64> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut limits = vec![Vec::new(); programme.limits];
    let mut late = Vec::new();
    for choices in &programme.choices {
        let mut all = Vec::new();
        for choice in choices {
            // In thousandths of a dollar: the simplex has absolute tolerances.
            let share = problem.add_var(choice.cost * 1e3, (0.0, f64::INFINITY));
            all.push((share, 1.0));
            if choice.late {
                late.push((share, 1.0));
            }
            choice.takes.iter().for_each(|(limit, taken)| limits[*limit as usize].push((share, *taken)));
        }
        problem.add_constraint(&all, ComparisonOp::Eq, 1.0);
    }
    problem.add_constraint(&late, ComparisonOp::Le, f64::from(u32::try_from(late_max).unwrap()));
    for limit in &limits {
        problem.add_constraint(limit, ComparisonOp::Le, 1.0);
    }
    match problem.solve() {
        Ok(SolveOutcome::Solution(solution)) => Some(solution.objective() / 1e3),
        _ => None,
    }
}

fn shipped(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name);
    load(&path, &Shapes::fitted()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn policy(slo: SloClass) -> Policy {
    Policy {
        slo: Slo {
            ttft: Some(Duration::from_secs_f64(slo.ttft_s)),
            ttft_per_1k: Duration::from_secs_f64(slo.ttft_s_per_1k),
            attainment: 0.99,
            ..Slo::default()
        },
        fallback: Fallback { attempts: 8, ..Fallback::default() },
        ..Policy::named("promise")
    }
}

fn tally<R: Router>(
    scenario: &Scenario,
    trace: &Trace,
    seed: u64,
    make: impl FnOnce(&World<'_>) -> R,
) -> Tally {
    let mut world = World::new(scenario, trace, seed);
    let mut router = make(&world);
    run(&mut world, scenario, Rules::new(scenario.slo), &mut router)
}

/// Whether the bound at what a run attained is below what it spent. Runs that gave a request up are let off.
fn holds(prophet: &Prophet, tally: &Tally, who: &str) -> bool {
    if tally.errors > 0 {
        return false;
    }
    let bound = prophet.bound(tally.attainment());
    let spent = tally.spend_usd();
    assert!(bound.spend_usd <= spent * (1.0 + 1e-9), "{who}: {} > {spent}", bound.spend_usd);
    // Where much may be late, a node of our own serves nearly all, for nothing.
    true
}

#[test]
fn no_run_spends_less() {
    let mut held = 0;
    let markets = [
        ("reference.yaml", Kind::Chat),
        ("reference-calm.yaml", Kind::Prefixes),
        ("reference-hybrid.yaml", Kind::Prefixes),
        ("reference-hybrid-calm.yaml", Kind::Agents),
        ("market-b.yaml", Kind::Agents),
        ("market-b-hybrid.yaml", Kind::Chat),
        ("market-c.yaml", Kind::Day),
        ("reference.yaml", Kind::Prefixes),
    ];
    for (name, kind) in markets {
        let scenario = shipped(name);
        for seed in 1..=3 {
            // Thrice as fast as usual for some, so that limits bind.
            let rate = if seed == 3 { 6.0 } else { 1.0 };
            let trace = generate(kind, seed, 300).scaled(rate);
            let prophet = Prophet::new(&scenario, &trace, scenario.slo, seed);
            let policies = [policy(scenario.slo)];
            for rule in Rule::ALL {
                let local = scenario.local.as_ref().map(|_| 2);
                let tally = tally(&scenario, &trace, seed, |world| {
                    Baseline::new(world, rule, scenario.slo, local, seed)
                });
                held += usize::from(holds(&prophet, &tally, &format!("{} in {name}, {seed}", rule.name())));
            }
            for lateness_usd in [0.0, 1e-4, 1e-2] {
                let tally = tally(&scenario, &trace, seed, |world| {
                    let knows = Knows::Truth(world.lucks(), lateness_usd);
                    Ours::new(world, &policies, knows, scenario.begins)
                });
                held += usize::from(holds(&prophet, &tally, &format!("oracle in {name}, {seed}")));
            }
        }
    }
    assert!(held > 200, "only {held} runs answered all");
}

#[test]
fn the_dual_is_just_below_the_optimum() {
    let mut tight = 0;
    for (name, kind, rate) in [
        ("reference.yaml", Kind::Chat, 8.0),
        ("reference-hybrid.yaml", Kind::Prefixes, 3.0),
        ("market-b.yaml", Kind::Chat, 4.0),
        ("market-b-hybrid.yaml", Kind::Prefixes, 1.0),
    ] {
        let scenario = shipped(name);
        let trace = generate(kind, 5, 120).scaled(rate);
        let prophet = Prophet::new(&scenario, &trace, scenario.slo, 5);
        for late_max in [1, 6, 30] {
            let value = dual::value(&prophet.programme, late_max);
            let Some(optimum) = exact(&prophet.programme, late_max) else {
                continue;
            };
            assert!(value.usd <= optimum * (1.0 + 1e-6) + 1e-9, "{name}: {value:?} above {optimum}");
            assert!(value.usd >= optimum * 0.96, "{name}: {value:?} far below {optimum}");
            if value.exact {
                assert!((value.usd - optimum).abs() <= 1e-6 * optimum, "{name}: {value:?} is not {optimum}");
            }
            tight += usize::from(prophet.programme.limits > 0);
        }
    }
    assert!(tight >= 6, "limits bind in {tight} cases only");
}

#[test]
fn the_dual_is_just_below_the_optimum_of_programmes_of_chance() {
    let mut solved = 0;
    for seed in 0..30 {
        let mut draw = Draw::new(seed, 77);
        let (requests, limits) = (30 + draw.below(40), 1 + draw.below(8));
        let mut programme = Programme { choices: Vec::new(), limits };
        for _ in 0..requests {
            let mut choices =
                vec![Choice { cost: 5.0 + draw.uniform(), late: false, takes: smallvec::smallvec![] }];
            for _ in 0..4 {
                let one = u32::try_from(draw.below(limits)).unwrap();
                let mut takes = smallvec::smallvec![(one, 0.02 + 0.3 * draw.uniform())];
                if one > 0 {
                    takes.push((one - 1, 0.3 * draw.uniform()));
                }
                let (cost, late) = (0.2 + 4.0 * draw.uniform(), draw.uniform() < 0.3);
                choices.push(Choice { cost, late, takes });
            }
            choices.push(Choice { cost: draw.uniform(), late: true, takes: smallvec::smallvec![] });
            programme.choices.push(choices);
        }
        let late_max = draw.below(10);
        let before = exact(&programme, late_max).unwrap();
        programme.prune();
        let optimum = exact(&programme, late_max).unwrap();
        assert!((before - optimum).abs() < 1e-6 * before, "{seed}: pruned from {before} to {optimum}");
        let value = dual::value(&programme, late_max);
        assert!(value.usd <= optimum * (1.0 + 1e-6), "{seed}: {value:?} above {optimum}");
        assert!(value.usd >= optimum * 0.97, "{seed}: {value:?} far below {optimum}");
        solved += 1;
    }
    assert_eq!(solved, 30);
}

#[test]
fn more_in_time_never_costs_less() {
    for name in ["reference.yaml", "reference-hybrid.yaml", "market-b.yaml"] {
        let scenario = shipped(name);
        let trace = generate(Kind::Prefixes, 2, 300);
        let prophet = Prophet::new(&scenario, &trace, scenario.slo, 2);
        let bounds = [0.0, 0.5, 0.9, 0.95, 0.97, 0.99, 1.0].map(|share| prophet.bound(share).spend_usd);
        // A dual value may lie a little below its optimum, and then below a neighbour's.
        assert!(bounds.windows(2).all(|two| two[1] >= two[0] * 0.995), "{name}: {bounds:?}");
        assert!(bounds[5] > bounds[0], "{name}: {bounds:?}");
    }
}

/// Two sellers without any chance: one cheap and slow, one dear and quick.
const PLAIN: &str = "\
begins: 2026-11-16T08:00:00Z
slo: {ttft: 1s, ttft_per_1k: 0ms}
defaults:
  first_token: {rtt: 0ms, noise_sigma: 0, tail_share: 0, drift_sigma: 0, day_amplitude: 0}
  pace: {noise_sigma: 0, stall_share: 0}
  errors: {share: 0}
routes:
  - name: cheap
    price: {input: 1, cached_input: 0.1, output: 2}
    first_token: {base: 500ms, prefill_tokens_per_second: 1000, noise: [1]}
    pace: {tokens_per_second: 100}
    cache: {ttl: 60s, honoured: 1, granularity_tokens: 100}
  - name: dear
    price: {input: 10, output: 20}
    first_token: {base: 100ms, prefill_tokens_per_second: 100000, noise: [1]}
    pace: {tokens_per_second: 100}
";

fn plain(more: &str) -> Scenario {
    read(&format!("{PLAIN}{more}"), "plain.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// Requests of so many prompt tokens and 100 answer tokens, a second apart.
fn asking(prompts: &[u32]) -> Trace {
    let arrivals = prompts.iter().zip(0..).map(|(prompt, second)| Arrival {
        at_us: second * 1_000_000,
        prompt_tokens: *prompt,
        output_tokens: 100,
        output_tokens_max: 0,
        key: 0,
        tags: 0,
        model: 0,
        links_from: 0,
        links: 0,
    });
    Trace { arrivals: arrivals.collect(), ..Trace::default() }
}

fn costs(scenario: &Scenario, trace: &Trace, attainment: f64, expected_usd: f64) {
    let bound = bound(scenario, trace, scenario.slo, attainment, 1);
    let off = (bound.spend_usd - expected_usd).abs();
    assert!(off <= 2e-9 * expected_usd.max(1e-3), "{bound:?}, not {expected_usd}");
}

#[test]
fn bills_made_by_hand() {
    // 400 tokens take the cheap one 0.9 s, 600 take it 1.1 s: those go to the dear one, but for one that may be late.
    let trace = asking(&[400, 600, 700, 400]);
    let market = plain("");
    let (cheap_400, cheap_700) = (400e-6 + 200e-6, 700e-6 + 200e-6);
    let (dear_600, dear_700) = (6000e-6 + 2000e-6, 7000e-6 + 2000e-6);
    costs(&market, &trace, 1.0, 2.0 * cheap_400 + dear_600 + dear_700);
    costs(&market, &trace, 0.75, 2.0 * cheap_400 + dear_600 + cheap_700);
    // Of 4.9 times a quarter late, four quarters are whole requests; nobody is late by halves.
    costs(&market, &trace, 0.51, 2.0 * cheap_400 + dear_600 + cheap_700);
    // While the cheap one is down there is no choice, unless lateness lets one wait.
    let down = plain("incidents: [{route: cheap, from: 0, to: 0.1, down: true}]");
    let dear_400 = 4000e-6 + 2000e-6;
    costs(&down, &trace, 1.0, dear_400 + dear_600 + dear_700 + cheap_400);
    // Cheap again before the first answer is over.
    let halved = plain("incidents: [{route: cheap, from: 0.5, to: 0.7, price: 0.5}]");
    costs(&halved, &trace, 1.0, 1.5 * cheap_400 + dear_600 + dear_700);
}

#[test]
fn nobody_keeps_a_promise_that_no_route_can_keep() {
    let trace = asking(&[400, 200_000, 400]);
    let market = plain("");
    assert!(bound(&market, &trace, market.slo, 1.0, 1).spend_usd.is_infinite());
    costs(&market, &trace, 0.6, 2.0 * 600e-6 + 200_200e-6);
}

#[test]
fn a_warm_cache_is_foreseen() {
    // Both have 300 tokens in common, in units of 100; the second is 1 s later, and in time only if they are cached.
    let mut trace = asking(&[400, 700]);
    trace.links = vec![Link { block: 0, tokens_end: 350 }, Link { block: 0, tokens_end: 350 }];
    trace.blocks = 1;
    for (arrival, from) in trace.arrivals.iter_mut().zip(0..) {
        (arrival.links_from, arrival.links) = (from, 1);
    }
    let market = plain("");
    costs(&market, &trace, 1.0, 600e-6 + (400e-6 + 30e-6 + 200e-6));
    // An hour later it is gone.
    trace.arrivals[1].at_us = 3_600_000_000;
    costs(&market, &trace, 1.0, 600e-6 + (7000e-6 + 2000e-6));
}

#[test]
fn limits_send_requests_elsewhere() {
    // The cheap one lets through 100 prompt tokens a second and 1 s of burst: within a second and the 0.1 s for which the
    // last may be held back, 210, besides what the last may owe.
    let limited = PLAIN
        .replace("  - name: dear", "    limits: {prompt_tokens_per_second: 100, burst: 1s}\n  - name: dear");
    let market = read(&limited, "limited.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    let mut trace = asking(&[400, 400, 400, 400, 400]);
    for (arrival, at) in trace.arrivals.iter_mut().zip(0..) {
        arrival.at_us = at * 250_000;
    }
    let through = 100.0 * (1.0 + 0.100_001 + 1.0) + (400.0 - 50.0);
    let (cheap, dear) = (400e-6 + 200e-6, 4000e-6 + 2000e-6);
    let served = through / 400.0;
    let prophet = Prophet::new(&market, &trace, market.slo, 1);
    let optimum = exact(&prophet.programme, 0).unwrap();
    let bound = prophet.bound(1.0).spend_usd;
    let expected = served * cheap + (5.0 - served) * dear;
    assert!((optimum - expected).abs() < 1e-5 * expected, "{optimum}, not {expected}");
    assert!(bound <= optimum * (1.0 + 1e-6) && bound > optimum * 0.99, "{bound}, not {optimum}");
}
