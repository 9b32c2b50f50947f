//! One run each of the routers that a report compares, in the same world.

use std::time::Duration;

use crate::replay::router::baselines::{Baseline, Rule};
use crate::replay::router::ours::{Knows, Ours};
use crate::replay::run::{Rules, run};
use crate::replay::scenario::{Scenario, SloClass};
use crate::replay::tally::Tally;
use crate::replay::trace::Trace;
use crate::replay::world::World;
use crate::routing::{Fallback, Policy, RouteId, Slo};
use crate::units::Usage;

use super::curve::{Curve, Point};

/// How many prices of lateness the oracle is run with.
pub const ORACLE_RUNS: u32 = 12;
/// The lowest and the highest of them, as multiples of a request's mean cost.
const ORACLE_FROM: f64 = 0.03;
const ORACLE_TO: f64 = 200.0;
/// How many requests the baselines' own node may have in flight: each is tried.
pub const LOCAL_MOST: [u32; 4] = [1, 2, 4, 8];

/// A true lower bound on the spend of any router that attains `attainment`, in USD; `None`: none is known.
pub type Bound = fn(&Scenario, &Trace, SloClass, f64, u64) -> Option<f64>;

/// A market, a trace and a promise.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The market.
    pub scenario: &'a Scenario,
    /// The requests.
    pub trace: &'a Trace,
    /// When a first token is late.
    pub slo: SloClass,
    /// Who may serve each of the trace's models; `&[]`: whoever sells a model of that name, or everybody.
    pub eligible: &'a [Vec<RouteId>],
}

/// The policy that stands for a promise alone: whoever is cheapest, of all there are.
pub fn policy(slo: SloClass, attainment: f64) -> Policy {
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    let attainment = attainment as f32;
    Policy {
        slo: Slo {
            ttft: Some(Duration::from_secs_f64(slo.ttft_s)),
            ttft_per_1k: Duration::from_secs_f64(slo.ttft_s_per_1k),
            tokens_per_second: None,
            attainment,
        },
        fallback: Fallback { attempts: 6, ..Fallback::default() },
        output_tokens_assumed: 300,
        ..Policy::named("promise")
    }
}

/// How a run under `policies` is held: a silent attempt is given up when the most patient of them would.
pub fn rules(slo: SloClass, policies: &[Policy]) -> Rules {
    let usual = Rules::new(slo);
    let patience = policies.iter().map(|policy| policy.fallback.first_token_timeout).max();
    let patience = patience.and_then(|longest| u64::try_from(longest.as_micros()).ok());
    Rules { first_token_timeout_us: patience.unwrap_or(usual.first_token_timeout_us), ..usual }
}

impl Case<'_> {
    /// The router that serves, under `policies`.
    pub fn ours(&self, policies: &[Policy], seed: u64) -> Tally {
        let mut world = World::new(self.scenario, self.trace, seed);
        let mut router =
            Ours::new(&world, policies, Knows::Learnt, self.scenario.begins).with_eligible(self.eligible);
        run(&mut world, self.scenario, rules(self.slo, policies), &mut router)
    }

    /// The router that serves, which is told from `at_us` on what is so: what it then does is right in its place.
    pub fn told(&self, policies: &[Policy], seed: u64, at_us: u64) -> Tally {
        let mut world = World::new(self.scenario, self.trace, seed);
        let lucks = world.lucks();
        let mut router = Ours::new(&world, policies, Knows::Learnt, self.scenario.begins)
            .with_eligible(self.eligible)
            .told_from(at_us, lucks);
        run(&mut world, self.scenario, rules(self.slo, policies), &mut router)
    }

    /// A baseline, with a node of our own serving while fewer than `local_most` requests are there.
    pub fn baseline(&self, rule: Rule, local_most: Option<u32>, seed: u64) -> Tally {
        let mut world = World::new(self.scenario, self.trace, seed);
        let mut router = Baseline::new(&world, rule, self.slo, local_most, seed);
        run(&mut world, self.scenario, Rules::new(self.slo), &mut router)
    }

    /// The baselines there are in this market.
    pub fn baselines(&self) -> Vec<(Rule, Option<u32>)> {
        let most: Vec<Option<u32>> =
            if self.scenario.local.is_some() { LOCAL_MOST.map(Some).into() } else { vec![None] };
        Rule::ALL.into_iter().flat_map(|rule| most.iter().map(move |most| (rule, *most))).collect()
    }

    /// The informed oracle's curve.
    pub fn oracle(&self, seed: u64) -> Curve {
        let mean = self.mean_cost_usd();
        // The promise itself plays no part: the price of lateness stands still.
        let policies = [policy(self.slo, 0.99)];
        let steps = f64::from(ORACLE_RUNS - 1);
        let points = (0..ORACLE_RUNS).map(|step| {
            let lateness_usd = mean * ORACLE_FROM * (ORACLE_TO / ORACLE_FROM).powf(f64::from(step) / steps);
            let mut world = World::new(self.scenario, self.trace, seed);
            let knows = Knows::Truth(world.lucks(), lateness_usd);
            let mut router =
                Ours::new(&world, &policies, knows, self.scenario.begins).with_eligible(self.eligible);
            let tally = run(&mut world, self.scenario, Rules::new(self.slo), &mut router);
            Point {
                lateness_usd,
                attainment: tally.attainment(),
                usd: tally.spend_usd(),
                worst_minute: tally.worst_minute().unwrap_or(1.0),
            }
        });
        Curve::new(points.collect())
    }

    /// What a request of this trace costs at the median seller's prices, half of its prompt cached: the scale of the
    /// oracle's prices of lateness.
    #[expect(clippy::cast_precision_loss, reason = "a scale")]
    fn mean_cost_usd(&self) -> f64 {
        let arrivals = &self.trace.arrivals;
        let count = arrivals.len().max(1) as u64;
        let prompt = arrivals.iter().map(|one| u64::from(one.prompt_tokens)).sum::<u64>() / count;
        let completion = arrivals.iter().map(|one| u64::from(one.output_tokens)).sum::<u64>() / count;
        let usage = Usage { prompt, cached: prompt / 2, completion, ..Usage::default() };
        let cards = self.scenario.routes.iter().filter_map(|market| market.route.price.as_ref());
        let mut costs: Vec<i128> =
            cards.map(|card| card.cost_of(&usage, self.scenario.begins).total().0).collect();
        costs.sort_unstable();
        costs.get(costs.len() / 2).map_or(1e-4, |pico| (*pico as f64 * 1e-12).max(1e-9))
    }
}
