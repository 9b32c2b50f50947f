//! What holds for every decision, whatever the routes, the policy and the moment.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tollway::pricing::PriceCard;
use tollway::routing::choose::decide_into;
use tollway::routing::learn::prefix::Held;
use tollway::routing::learn::queue_price::Behind;
use tollway::routing::weigh::usd;
use tollway::routing::{
    Constraints, Decision, Endpoint, Glob, HedgeAfter, Hedging, Learned, Matcher, Mode, Objective, Policy,
    RequestFacts, Route, RouteId, RouteOutlook, Slo, decide, select, shadows,
};
use tollway::units::{Mono, Now, TokenPrice};

use super::case::card;
use super::seen::SeenCase;

pub(crate) const NOW: Now = Now { mono: Mono(60_000_000_000), wall: jiff::Timestamp::UNIX_EPOCH };

fn price_card() -> impl Strategy<Value = PriceCard> {
    (1..2_000_000_u64, 1..4_000_000_u64, prop::sample::select(vec![0, 55_000])).prop_map(
        |(input, output, fee_ppm)| {
            let mut card = card(TokenPrice(input), TokenPrice(output));
            card.fee_ppm = fee_ppm;
            card
        },
    )
}

type AnyRoute = (Option<PriceCard>, Option<&'static str>, Option<u64>, bool, u8, bool);

fn route() -> impl Strategy<Value = AnyRoute> {
    (
        prop::option::weighted(0.9, price_card()),
        prop::option::of(prop::sample::select(vec!["us", "eu", "cn"])),
        prop::option::of(500..5_000_u64),
        prop::bool::weighted(0.1),
        0..4_u8,
        prop::bool::weighted(0.2),
    )
}

pub(crate) fn routes() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::vec(route(), 0..20).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(index, (price, region, context_tokens, pin_only, provider, local))| Route {
                context_tokens,
                region: region.map(Into::into),
                pin_only,
                local,
                ..Route::named(&format!("p{provider}/m{index}"), "c", price)
            })
            .collect()
    })
}

/// Variances by powers of the tokens, of lines of which more or less is known.
fn doubt() -> impl Strategy<Value = [f32; 3]> {
    (0.0..0.5_f32, -1e-5..1e-5_f32, 0.0..1e-8_f32).prop_map(|(whole, cross, square)| [whole, cross, square])
}

pub(crate) fn outlook() -> impl Strategy<Value = (RouteOutlook, Held)> {
    let until = || prop::option::weighted(0.2, (0..120_000_000_000_u64).prop_map(Mono));
    (
        prop::option::weighted(0.8, (20..5_000_u64, 0.02..0.6_f64)),
        prop::option::of(1.0..400.0_f32),
        prop_oneof![Just(0.0_f32), Just(1.0), 0.0..1.0_f32],
        (until(), until(), until()),
        (0..5_000_u32, 0.0..5_000.0_f32, 0.0..=1.0_f32, 0..60_u32, 0..12_u32),
        (prop::option::weighted(0.2, 0.0..9e3_f32), 0.0..9e3_f32, 0.0..50_000.0_f32),
        prop_oneof![Just([0.0_f32; 3]), doubt()],
    )
        .prop_map(
            |(
                ttft,
                rate,
                error,
                (open, limited, disabled),
                (held, age_s, share, heard, waiting),
                (cap, asked, queued),
                doubt,
            )| {
                let mut seen = SeenCase::random(ttft, rate, error, share).outlook(1_000);
                seen.first_token.doubt = doubt;
                let outlook = RouteOutlook {
                    open_until: open,
                    limited_until: limited,
                    disabled_until: disabled,
                    heard,
                    waiting,
                    cap,
                    rate: asked,
                    queued_tokens: queued,
                    ..seen
                };
                (outlook, Held { tokens: held, age_s })
            },
        )
}

fn learned() -> impl Strategy<Value = Learned> {
    (
        prop::option::weighted(0.8, 0.0..0.1_f64),
        prop_oneof![Just(0.0), 1e-6..0.01_f64],
        any::<bool>(),
        prop::option::of(0..4_000_u64),
        prop_oneof![Just(0.0_f32), 0.0..20.0_f32],
        prop::option::of(prop_oneof![Just(0.0), 1e-6..0.01_f64]),
        behind(),
    )
        .prop_map(
            |(
                lateness_usd,
                mean_cost_usd,
                out_of_reach,
                output_tokens,
                session_rest,
                hedge_room_usd,
                behind,
            )| {
                Learned {
                    lateness_usd,
                    mean_cost_usd,
                    out_of_reach,
                    output_tokens,
                    session_rest,
                    hedge_room_usd,
                    behind,
                }
            },
        )
}

fn behind() -> impl Strategy<Value = Behind> {
    let some = (0.0..0.02_f64, prop_oneof![Just(0.0), 0.0..5.0_f64], 0.0..=1.0_f64);
    let some = some.prop_map(|(usd, bears_s, share)| Behind::bearing(bears_s, usd, share));
    prop_oneof![Just(Behind::default()), some]
}

fn hedging() -> impl Strategy<Value = Hedging> {
    let after = prop_oneof![
        2 => Just(HedgeAfter::Worth),
        1 => (0.5..0.99_f32).prop_map(HedgeAfter::Quantile),
        1 => (0..2_000_u64).prop_map(|ms| HedgeAfter::Silence(Duration::from_millis(ms))),
    ];
    let cost = prop_oneof![1 => Just(0.0_f32), 4 => 0.01..0.5_f32];
    (prop::bool::weighted(0.8), after, cost).prop_map(|(on, after, max_extra_cost)| Hedging {
        on,
        after,
        max_extra_cost,
    })
}

fn slo() -> impl Strategy<Value = Slo> {
    (
        prop::option::weighted(0.7, (50..3_000_u64).prop_map(Duration::from_millis)),
        (0..200_u64).prop_map(Duration::from_millis),
        prop::option::of(1.0..300.0_f32),
    )
        .prop_map(|(ttft, ttft_per_1k, tokens_per_second)| Slo {
            ttft,
            ttft_per_1k,
            tokens_per_second,
            attainment: 0.95,
        })
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let objectives = [Objective::Cost, Objective::Latency, Objective::Throughput, Objective::Balanced];
    (
        prop::sample::select(objectives.to_vec()),
        prop::sample::subsequence(vec!["p0", "p1", "p2*", "*"], 0..=3),
        (prop::bool::weighted(0.3), any::<bool>()),
        prop::option::weighted(0.3, 500_000..2_000_000_u64),
        prop::sample::subsequence(vec!["us", "eu"], 0..=2),
        (slo(), hedging()),
    )
        .prop_map(
            |(objective, routes, (in_order, allow_unpriced), input_max, regions, (slo, hedging))| Policy {
                routes: routes.into_iter().map(|name| Glob(name.into())).collect(),
                objective,
                in_order,
                slo,
                constraints: Constraints {
                    input_price_max: input_max.map(TokenPrice),
                    regions: regions.into_iter().map(Into::into).collect(),
                    ..Constraints::default()
                },
                hedging,
                allow_unpriced,
                ..plain("p")
            },
        )
}

/// A policy that takes everything and wants it cheap.
fn plain(name: &str) -> Policy {
    Policy::named(name)
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
        seen in prop::collection::vec(outlook(), 20),
        policy in policy(),
        learned in learned(),
        prompt_tokens in 0..4_000_u64,
        output_tokens_max in prop::option::of(1..1_000_u64),
        (may_hedge, waited_ms, tried) in (any::<bool>(), 0..2_000_u64, 0..3_u16),
    ) {
        let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
        let (seen, held): (Vec<RouteOutlook>, Vec<Held>) = seen.into_iter().unzip();
        let tried: Vec<RouteId> = (0..tried).map(RouteId).collect();
        let facts = RequestFacts {
            model: "m",
            eligible: &eligible,
            prompt_tokens,
            output_tokens_max,
            held: &held,
            learned,
            waited: Duration::from_millis(waited_ms),
            tried: &tried,
            may_hedge,
            ..RequestFacts::default()
        };
        let decision = decide(&routes, &policy, &facts, &seen[..], NOW);
        everyone_is_asked_or_left_out_once(&decision, &eligible, &tried)?;
        hard_limits_hold(&decision, &routes, &policy, &facts)?;
        every_figure_is_a_number(&decision)?;
        for id in ids(&decision, false) {
            let seen = &seen[usize::from(id.0)];
            let held = [seen.open_until, seen.limited_until, seen.disabled_until];
            prop_assert!(held.iter().all(|until| until.is_none_or(|until| until <= NOW.mono)));
            prop_assert!(seen.cap.is_none_or(|cap| seen.rate <= cap));
        }
        if ids(&decision, true).is_empty() {
            the_order_is_by_score(&decision, &routes, &policy, &seen)?;
        } else {
            prop_assert!(decision.hedge.is_none());
        }
        a_hedge_names_another(&decision, &policy, &facts)?;
        prop_assert_eq!(&decide(&routes, &policy, &facts, &seen[..], NOW), &decision);
        // Room that held quite another decision makes no difference.
        let everyone = RequestFacts { model: "other", eligible: &eligible, ..RequestFacts::default() };
        let mut room = decide(&routes, &plain("other"), &everyone, &seen[..], NOW);
        decide_into(&mut room, &routes, &policy, &facts, &seen[..], NOW);
        prop_assert_eq!(room.hedge, decision.hedge);
        prop_assert_eq!(&room.order, &decision.order);
        prop_assert_eq!(&room.excluded, &decision.excluded);
        prop_assert_eq!(room.degraded, decision.degraded);
        prop_assert_eq!(room.limit, decision.limit);
    }

    #[test]
    fn the_first_policy_that_acts_and_matches_decides_and_shadows_only_watch(
        written in prop::collection::vec(("[ab*]{0,3}", any::<bool>()), 0..6),
        model in "[ab]{0,3}",
    ) {
        let policies: Vec<Policy> = written
            .iter()
            .map(|(pattern, watches)| Policy {
                matcher: Matcher { models: vec![Glob(pattern.as_str().into())], ..Matcher::default() },
                mode: if *watches { Mode::Shadow } else { Mode::Live },
                ..plain(pattern)
            })
            .collect();
        let facts = RequestFacts { model: &model, endpoint: Endpoint::Chat, ..RequestFacts::default() };
        let matches = |pattern: &str| fits(pattern.as_bytes(), model.as_bytes());
        let first = written.iter().position(|(pattern, watches)| !watches && matches(pattern));
        prop_assert_eq!(select(&policies, &facts), first);
        let watching: Vec<&str> = shadows(&policies, &facts).map(|(_, policy)| &*policy.name).collect();
        let expected: Vec<&str> = written
            .iter()
            .filter(|(pattern, watches)| *watches && matches(pattern))
            .map(|(pattern, _)| pattern.as_str())
            .collect();
        prop_assert_eq!(watching, expected);
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

/// A last resort is both asked and left out; one that was tried is neither.
pub(crate) fn everyone_is_asked_or_left_out_once(
    decision: &Decision,
    eligible: &[RouteId],
    tried: &[RouteId],
) -> TestCaseResult {
    let (asked, resorts) = (ids(decision, false), ids(decision, true));
    let left_out: Vec<RouteId> = decision.excluded.iter().map(|excluded| excluded.route).collect();
    let mut everyone: Vec<RouteId> = asked.iter().chain(&left_out).copied().collect();
    everyone.sort_unstable();
    let expected: Vec<RouteId> = eligible.iter().copied().filter(|id| !tried.contains(id)).collect();
    prop_assert_eq!(&everyone, &expected);
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

/// By the policy's list if it counts, then those that need not wait for what a new one answers, then by score; a plan with a second route may put its
/// first one before all of its rank.
fn the_order_is_by_score(
    decision: &Decision,
    routes: &[Route],
    policy: &Policy,
    seen: &[RouteOutlook],
) -> TestCaseResult {
    // Who is known and late all the same is no reason for others to wait.
    let known = decision.order.iter().any(|one| !one.ramping && one.in_time >= 0.5);
    let rank = |at: usize| {
        let one = &decision.order[at];
        let place = if policy.in_order { policy.place_of(&routes[usize::from(one.route.0)]) } else { None };
        let seen = &seen[usize::from(one.route.0)];
        (place, known && one.ramping && seen.waiting > seen.heard)
    };
    let after_first = usize::from(decision.hedge.is_some());
    for at in 1..decision.order.len() {
        prop_assert!(rank(at - 1) <= rank(at));
        let (before, this) = (&decision.order[at - 1], &decision.order[at]);
        if rank(at - 1) == rank(at) && at > after_first {
            prop_assert!(before.score_usd <= this.score_usd);
        }
        if let Some(hedge) = decision.hedge.filter(|_| rank(0) == rank(at)) {
            prop_assert!(hedge.score_usd <= this.score_usd);
        }
        // What is not known to cost little is never taken for cheap.
        prop_assert!(
            before.cost_expected.is_some()
                || this.cost_expected.is_none()
                || rank(at - 1) < rank(at)
                || at == after_first
        );
    }
    Ok(())
}

fn a_hedge_names_another(decision: &Decision, policy: &Policy, facts: &RequestFacts<'_>) -> TestCaseResult {
    let Some(hedge) = decision.hedge else { return Ok(()) };
    prop_assert!(facts.may_hedge && policy.hedging.on && policy.slo.ttft.is_some());
    prop_assert!(policy.hedging.max_extra_cost > 0.0, "it would be refused for its cost");
    let second = decision.order.iter().find(|one| one.route == hedge.route).expect("it is a candidate");
    if let Some(room_usd) = facts.learned.hedge_room_usd {
        let usd = usd(second.prompt_expected()) * f64::from(hedge.chance);
        prop_assert!(usd <= room_usd + 1e-11, "{usd} {room_usd}");
    }
    let first = &decision.order[0];
    prop_assert!(hedge.route != first.route);
    prop_assert!(decision.order.iter().any(|one| one.route == hedge.route && !one.last_resort));
    prop_assert!(hedge.in_time >= first.in_time - 1e-6 && hedge.in_time <= 1.0);
    prop_assert!((0.0..=1.0).contains(&hedge.chance));
    prop_assert!(hedge.score_usd <= first.score_usd);
    let limit = decision.limit.expect("a promise");
    let left = if facts.waited < limit { limit } else { facts.waited + limit };
    prop_assert!(hedge.after > facts.waited && hedge.after < left);
    if let HedgeAfter::Silence(least) = policy.hedging.after {
        prop_assert!(hedge.after + Duration::from_micros(10) >= least);
    }
    Ok(())
}

pub(crate) fn every_figure_is_a_number(decision: &Decision) -> TestCaseResult {
    prop_assert!(decision.lateness_usd.is_finite() && decision.lateness_usd >= 0.0);
    for one in &decision.order {
        prop_assert!((0.0..=1.0).contains(&one.in_time), "{}", one.in_time);
        // How fast an answer is written has no part in when it begins.
        prop_assert!(
            one.late >= -1e-6 && one.late <= 1.0 - one.in_time + 1e-6,
            "{} {}",
            one.late,
            one.in_time
        );
        prop_assert!(one.score_usd.is_finite() && one.score_usd >= 0.0, "{}", one.score_usd);
        prop_assert!(one.session_usd.is_finite() && one.session_usd >= 0.0, "{}", one.session_usd);
        prop_assert!(one.ttft_expected.is_none_or(|ttft| ttft < Duration::MAX));
    }
    Ok(())
}
