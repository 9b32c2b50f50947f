//! One set of policies against another.

use tollway::replay::compare::{Comparison, Plan, Policies, run};
use tollway::replay::protocol::judge::policy;
use tollway::replay::trace::{Kind, generate};
use tollway::routing::{Glob, Objective, Policy};

use crate::scenario;

/// The promise of the market at 95 %, against what else is given.
pub(crate) fn compared(other: &[Policy], seeds: u64, threads: usize) -> Comparison {
    let (trace, market) = (generate(Kind::Chat, 1, 400), scenario("reference"));
    let promise = [policy(market.slo, 0.95)];
    let plan = Plan {
        trace: &trace,
        scenario: &market,
        sides: vec![
            Policies { name: "promise", policies: &promise },
            Policies { name: "other <&\">", policies: other },
        ],
        eligible: &[],
        attainment: 0.95,
        seeds,
        threads,
        oracle: true,
        baselines: true,
        bound: None,
    };
    run(&plan, &|_, _| {})
}

pub(crate) fn quickest() -> Vec<Policy> {
    let market = scenario("reference");
    vec![Policy { objective: Objective::Latency, ..policy(market.slo, 0.99) }]
}

#[test]
fn two_policies_differ_in_cost_and_promptness() {
    let seen = compared(&quickest(), 2, 0);
    let [promise, quickest] = seen.sides.as_slice() else { panic!("two sides") };
    assert!(quickest.mean.spend_usd > promise.mean.spend_usd * 1.2);
    assert!(quickest.mean.ttft_s[0] < promise.mean.ttft_s[0]);
    for side in &seen.sides {
        let served: f64 = side.routes.iter().map(|route| route.requests).sum();
        assert!((served - 400.0).abs() < 1e-6, "every request is served by somebody");
        let usd: f64 = side.routes.iter().map(|route| route.usd).sum();
        assert!((usd - side.mean.answers_usd).abs() < 1e-9);
        assert!(side.regret.is_some() && side.undecided == 0);
        assert_eq!(side.ttft_quantiles_s.len(), 101);
        for slot in 0..side.attained_by_slot.len() {
            let shares: f64 = side.routes_by_slot.iter().map(|route| route[slot]).sum();
            assert!((shares - 1.0).abs() < 1e-9, "in slot {slot} the shares make {shares}");
        }
    }
    assert_eq!(seen.baselines.len(), 8);
    assert_eq!(seen, compared(&self::quickest(), 2, 1), "threads make no difference");
}

#[test]
fn a_policy_that_names_one_route_keeps_to_it() {
    let market = scenario("reference");
    let only = Policy { routes: vec![Glob("toge".into())], ..policy(market.slo, 0.95) };
    let seen = compared(&[only], 1, 0);
    let busy: Vec<&str> =
        seen.sides[1].routes.iter().filter(|route| route.requests > 0.0).map(|route| &*route.name).collect();
    assert_eq!(busy, ["toge"]);
}

#[test]
fn requests_that_no_policy_decides_are_counted() {
    let market = scenario("reference");
    let mut other = policy(market.slo, 0.95);
    other.matcher.models = vec![Glob("another-*".into())];
    let seen = compared(&[other], 1, 0);
    assert_eq!((seen.sides[0].undecided, seen.sides[1].undecided), (0, 400));
    assert!((seen.sides[1].mean.errors - 400.0).abs() < 1e-9);
}
