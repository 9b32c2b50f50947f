//! What holds for every decision, whatever the routes, the policy and the moment.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tollway::pricing::PriceCard;
use tollway::routing::{
    Candidate, Capabilities, Constraints, Decision, Endpoint, Fallback, Glob, Matcher, Objective,
    Observation, Observe, Policy, RequestFacts, Retention, Route, RouteId, Slo, decide, select,
};
use tollway::units::{Mono, Now, PicoUsd, TokenPrice};

use super::case::card;

const NOW: Now = Now { mono: Mono(60_000_000_000), wall: jiff::Timestamp::UNIX_EPOCH };

/// Observations by route id.
#[derive(Debug, Clone)]
struct Table(Vec<Observation>);

impl Observe for Table {
    fn of(&self, route: RouteId) -> Observation {
        self.0[usize::from(route.0)]
    }
}

fn price_card() -> impl Strategy<Value = PriceCard> {
    (1..2_000_000_u64, 1..4_000_000_u64, prop::sample::select(vec![0, 55_000])).prop_map(
        |(input, output, fee_ppm)| {
            let mut card = card(TokenPrice(input), TokenPrice(output));
            card.fee_ppm = fee_ppm;
            card
        },
    )
}

fn route() -> impl Strategy<Value = (Option<PriceCard>, Option<&'static str>, Option<u64>, bool, u8)> {
    (
        prop::option::weighted(0.9, price_card()),
        prop::option::of(prop::sample::select(vec!["us", "eu", "cn"])),
        prop::option::of(500..5_000_u64),
        prop::bool::weighted(0.1),
        0..4_u8,
    )
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::vec(route(), 0..20).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(index, (price, region, context_tokens, pin_only, provider))| Route {
                provider: format!("p{provider}").into(),
                upstream_model: format!("m{index}").into(),
                name: format!("p{provider}/m{index}").into(),
                checkpoint: "c".into(),
                context_tokens,
                region: region.map(Into::into),
                retention: Retention::Unknown,
                quantization: None,
                capabilities: Capabilities::ALL,
                price,
                local: false,
                pin_only,
            })
            .collect()
    })
}

fn observation() -> impl Strategy<Value = Observation> {
    let until = || prop::option::weighted(0.3, (0..120_000_000_000_u64).prop_map(Mono));
    (
        prop::option::of((1..5_000_u64).prop_map(Duration::from_millis)),
        prop::option::of(1.0..400.0_f32),
        0.0..1.0_f32,
        (until(), until(), until()),
    )
        .prop_map(
            |(ttft, tokens_per_second, error_rate, (open_until, limited_until, disabled_until))| {
                Observation { ttft, tokens_per_second, error_rate, open_until, limited_until, disabled_until }
            },
        )
}

fn policy() -> impl Strategy<Value = Policy> {
    let objectives = [Objective::Cost, Objective::Latency, Objective::Throughput, Objective::Balanced];
    (
        prop::sample::select(objectives.to_vec()),
        prop::sample::subsequence(vec!["p0", "p1", "p2*", "*"], 0..=3),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(500_000..2_000_000_u64),
        prop::sample::subsequence(vec!["us", "eu"], 0..=2),
    )
        .prop_map(|(objective, routes, in_order, allow_unpriced, input_max, regions)| Policy {
            name: "p".into(),
            matcher: Matcher::default(),
            routes: routes.into_iter().map(|name| Glob(name.into())).collect(),
            objective,
            in_order,
            slo: Slo::default(),
            constraints: Constraints {
                input_price_max: input_max.map(TokenPrice),
                regions: regions.into_iter().map(Into::into).collect(),
                ..Constraints::default()
            },
            fallback: Fallback::default(),
            allow_unpriced,
            output_tokens_assumed: 500,
            price_age_max: None,
        })
}

fn ids(decision: &Decision, last_resort: bool) -> Vec<RouteId> {
    let chosen = decision.order.iter().filter(|candidate| candidate.last_resort == last_resort);
    chosen.map(|candidate| candidate.route).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_keeps_its_promises(
        routes in routes(),
        seen in prop::collection::vec(observation(), 20),
        policy in policy(),
        prompt_tokens in 0..4_000_u64,
        output_tokens_max in prop::option::of(1..1_000_u64),
    ) {
        let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
        let facts = RequestFacts {
            model: "m", eligible: &eligible, prompt_tokens, output_tokens_max, ..RequestFacts::default()
        };
        let seen = Table(seen);
        let decision = decide(&routes, &policy, &facts, &seen, NOW);
        everyone_is_asked_or_left_out_once(&decision, &eligible)?;
        hard_limits_hold(&decision, &routes, &policy, &facts)?;
        for id in ids(&decision, false) {
            let seen = seen.of(id);
            let held = [seen.open_until, seen.limited_until, seen.disabled_until];
            prop_assert!(held.iter().all(|until| until.is_none_or(|until| until <= NOW.mono)));
        }
        if ids(&decision, true).is_empty() {
            for pair in decision.order.windows(2) {
                let place = |at: usize| policy.place_of(&routes[usize::from(pair[at].route.0)]);
                prop_assert!(!policy.in_order || place(0) <= place(1));
                if !policy.in_order || place(0) == place(1) {
                    not_worse(policy.objective, (&pair[0], &seen), (&pair[1], &seen))?;
                }
            }
        }
        prop_assert_eq!(decide(&routes, &policy, &facts, &seen, NOW), decision);
    }

    #[test]
    fn the_first_policy_that_matches_decides(patterns in prop::collection::vec("[ab*]{0,3}", 0..6), model in "[ab]{0,3}") {
        let policies: Vec<Policy> = patterns
            .iter()
            .map(|pattern| Policy {
                name: pattern.as_str().into(),
                matcher: Matcher { models: vec![Glob(pattern.as_str().into())], ..Matcher::default() },
                routes: Vec::new(),
                objective: Objective::Cost,
                in_order: false,
                slo: Slo::default(),
                constraints: Constraints::default(),
                fallback: Fallback::default(),
                allow_unpriced: false,
                output_tokens_assumed: 500,
                price_age_max: None,
            })
            .collect();
        let facts = RequestFacts { model: &model, endpoint: Endpoint::Chat, ..RequestFacts::default() };
        let first = patterns.iter().position(|pattern| fits(pattern.as_bytes(), model.as_bytes()));
        prop_assert_eq!(select(&policies, &facts), first);
    }
}

/// Globs as they are defined, without cleverness.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|taken| fits(rest, &text[taken..])),
        Some((wanted, rest)) => {
            text.split_first().is_some_and(|(found, tail)| found == wanted && fits(rest, tail))
        }
    }
}

/// A last resort is both asked and left out.
fn everyone_is_asked_or_left_out_once(decision: &Decision, eligible: &[RouteId]) -> TestCaseResult {
    let (asked, resorts) = (ids(decision, false), ids(decision, true));
    let left_out: Vec<RouteId> = decision.excluded.iter().map(|excluded| excluded.route).collect();
    let mut everyone: Vec<RouteId> = asked.iter().chain(&left_out).copied().collect();
    everyone.sort_unstable();
    prop_assert_eq!(&everyone, &eligible);
    prop_assert!(resorts.iter().all(|id| left_out.contains(id)));
    prop_assert!(asked.is_empty() || resorts.is_empty());
    Ok(())
}

/// For whoever is asked, the last resort included.
fn hard_limits_hold(
    decision: &Decision,
    routes: &[Route],
    policy: &Policy,
    facts: &RequestFacts<'_>,
) -> TestCaseResult {
    let limits = &policy.constraints;
    let tokens = facts.prompt_tokens + facts.output_tokens_max.unwrap_or(0);
    for candidate in &decision.order {
        let route = &routes[usize::from(candidate.route.0)];
        let input = route.price.as_ref().map(|card| card.rates(0, jiff::Timestamp::UNIX_EPOCH).input);
        prop_assert!(!route.pin_only);
        prop_assert!(policy.place_of(route).is_some());
        prop_assert!(input.is_some() || policy.allow_unpriced && limits.input_price_max.is_none());
        prop_assert!(limits.input_price_max.is_none_or(|max| input.is_some_and(|price| price <= max)));
        prop_assert!(
            limits.regions.is_empty() || route.region.as_ref().is_some_and(|r| limits.regions.contains(r))
        );
        prop_assert!(route.context_tokens.is_none_or(|max| tokens <= max));
    }
    Ok(())
}

/// Recomputed in floats, so with a little slack where the decision counts in whole nanoseconds.
fn not_worse(
    objective: Objective,
    first: (&Candidate, &Table),
    next: (&Candidate, &Table),
) -> TestCaseResult {
    const SLACK: f64 = 1.0 + 1e-6;
    let errors = |seen: &Observation| 1.0 - f64::from(seen.error_rate).min(0.9);
    let wait = |(one, table): (&Candidate, &Table)| {
        let seen = table.of(one.route);
        seen.ttft.map_or(0.5, |ttft| ttft.as_secs_f64()) / errors(&seen)
    };
    let rate = |(one, table): (&Candidate, &Table)| {
        let seen = table.of(one.route);
        seen.tokens_per_second.map_or(80.0, f64::from) * errors(&seen)
    };
    let (cost, next_cost) = (first.0.cost_expected, next.0.cost_expected);
    match objective {
        Objective::Latency => prop_assert!(wait(first) <= wait(next) * SLACK),
        Objective::Throughput => prop_assert!(rate(first) * SLACK >= rate(next)),
        Objective::Cost | Objective::Balanced => {
            // A price that is not known comes last.
            prop_assert!(cost.is_some() || next_cost.is_none());
            if let Some((cost, next_cost)) = cost.zip(next_cost) {
                if objective == Objective::Cost {
                    prop_assert!(cost <= next_cost);
                } else {
                    #[expect(clippy::cast_precision_loss, reason = "pico-dollars here are far below 2^53")]
                    let scaled = |cost: PicoUsd, wait: f64| cost.0 as f64 * (1.0 + wait);
                    prop_assert!(scaled(cost, wait(first)) <= scaled(next_cost, wait(next)) * SLACK + 2.0);
                }
            }
        }
    }
    Ok(())
}
