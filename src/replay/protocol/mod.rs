//! The protocol by which routing is reported on: traces × markets × rates × targets × seeds, ours beside the informed
//! oracle, a lower bound and what others do.
//!
//! `judge` is one run of each, `curve` what the oracle pays for which attainment, `measure` the figures of a run, `failover`
//! how soon a failing route is left, `traces` what it all runs on, `queue` the cores that do it, `report` the page.

pub mod curve;
pub mod failover;
pub mod judge;
pub mod measure;
pub mod queue;
pub mod report;
pub mod traces;

use std::time::Duration;

use serde::Serialize;

use crate::replay::router::baselines::Rule;
use crate::replay::scenario::Scenario;
use crate::replay::trace::Trace;
use crate::units::Clock;

use curve::{Curve, Regret};
use failover::Failure;
use judge::{Bound, Case, policy};
use measure::Measure;

/// A market to report on.
#[derive(Debug, Clone)]
pub struct Market {
    /// The market.
    pub scenario: Scenario,
    /// The rates at which traces run, as multiples of their own.
    pub rates: Vec<f64>,
    /// At most so many seeds.
    pub seeds_max: u64,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The traces, each as many requests as are to be run.
    pub traces: Vec<Trace>,
    /// The markets.
    pub markets: Vec<Market>,
    /// The targets.
    pub attainments: Vec<f64>,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// A market without incidents in which routes are made to fail; `None`: failing over is not measured.
    pub failover_in: Option<Scenario>,
    /// Threads; 0: one a core.
    pub threads: usize,
    /// The lower bound beside the oracle.
    pub bound: Option<Bound>,
}

/// What one seed's world showed for one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// Ours.
    pub ours: Measure,
    /// Against the oracle at equal attainment.
    pub regret: Option<Regret>,
    /// The most that the oracle attains.
    pub oracle_best: f64,
    /// The oracle's spend for the target (or for its best), in USD.
    pub oracle_usd: f64,
    /// The worst minute of its cheapest run that attains the target.
    pub oracle_worst_minute: f64,
    /// Its worst minute where it attains just the target ([`Curve::worst_minute_at`]).
    pub oracle_worst_just: f64,
    /// The lower bound at our attainment, in USD.
    pub bound_usd: Option<f64>,
}

/// A baseline's means over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rival {
    /// Its name.
    pub name: &'static str,
    /// How many requests its own node may have in flight; `None`: there is no such node.
    pub local_most: Option<u32>,
    /// Its figures.
    pub mean: Measure,
}

/// One trace in one market at one rate, for one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Combination {
    /// The trace.
    pub trace: String,
    /// The market.
    pub market: String,
    /// Whether there is a node of our own.
    pub hybrid: bool,
    /// Whether anything goes wrong.
    pub incidents: bool,
    /// How many times the trace's own rate.
    pub rate: f64,
    /// The target.
    pub attainment: f64,
    /// By seed.
    pub seeds: Vec<Seen>,
    /// Every baseline with the node's share that suits it best.
    pub rivals: Vec<Rival>,
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Findings {
    /// By trace, market, rate and target.
    pub combinations: Vec<Combination>,
    /// Failures, by trace, target and seed.
    pub failures: Vec<Failure>,
    /// Requests a trace.
    pub requests: usize,
    /// How long it took.
    pub took: Duration,
    /// Requests that ours replayed, and the time on one core that it took.
    pub replayed: (u64, Duration),
}

/// A world: a trace at a rate in a market under a seed.
#[derive(Debug, Clone, Copy)]
enum Job {
    World { trace: usize, market: usize, rate: usize, seed: u64 },
    Failure { trace: usize, attainment: usize, seed: u64 },
}

enum Done {
    World(Box<OfWorld>),
    Failure(Vec<Failure>),
}

struct OfWorld {
    seen: Vec<Seen>,
    baselines: Vec<Measure>,
    took: Duration,
}

/// Runs `plan`; `progress` hears how many jobs are done, of how many. `clock` says how long it took, and nothing else.
pub fn run(plan: &Plan, clock: &(dyn Clock + Sync), progress: &(dyn Fn(usize, usize) + Sync)) -> Findings {
    let began = clock.now().mono;
    let mut rates: Vec<f64> = plan.markets.iter().flat_map(|market| market.rates.iter().copied()).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let scaled: Vec<Vec<Trace>> = plan
        .traces
        .iter()
        .map(|trace| rates.iter().map(|rate| trace.clone().scaled(*rate)).collect())
        .collect();
    let steady: Vec<Trace> = plan.traces.iter().cloned().map(failover::at_three_a_second).collect();
    let jobs = jobs(plan, &rates);
    let results =
        queue::map(
            &jobs,
            plan.threads,
            |job| match *job {
                Job::World { trace, market, rate, seed } => {
                    let case = Case {
                        scenario: &plan.markets[market].scenario,
                        trace: &scaled[trace][rate],
                        slo: traces::promise(&plan.traces[trace]),
                        eligible: &[],
                    };
                    Done::World(Box::new(world(plan, &case, clock, seed)))
                }
                Job::Failure { trace, attainment, seed } => {
                    let slo = traces::promise(&plan.traces[trace]);
                    let target = plan.attainments[attainment];
                    Done::Failure(plan.failover_in.as_ref().map_or_else(Vec::new, |calm| {
                        failover::measure(calm, &steady[trace], slo, target, seed)
                    }))
                }
            },
            progress,
        );
    let mut findings = gather(plan, &rates, &jobs, results);
    findings.took = clock.now().mono.since(began);
    findings
}

fn jobs(plan: &Plan, rates: &[f64]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (trace, _) in plan.traces.iter().enumerate() {
        for (market, offer) in plan.markets.iter().enumerate() {
            for (rate, _) in rates.iter().enumerate().filter(|(_, rate)| offer.rates.contains(rate)) {
                let seeds = 1..=plan.seeds.min(offer.seeds_max);
                jobs.extend(seeds.map(|seed| Job::World { trace, market, rate, seed }));
            }
        }
        if plan.failover_in.is_some() {
            for (attainment, _) in plan.attainments.iter().enumerate() {
                jobs.extend((1..=plan.seeds).map(|seed| Job::Failure { trace, attainment, seed }));
            }
        }
    }
    jobs
}

fn world(plan: &Plan, case: &Case<'_>, clock: &dyn Clock, seed: u64) -> OfWorld {
    let oracle = case.oracle(seed);
    let began = clock.now().mono;
    let ours: Vec<Measure> = plan
        .attainments
        .iter()
        .map(|target| Measure::of(&case.ours(&[policy(case.slo, *target)], seed)))
        .collect();
    let took = clock.now().mono.since(began);
    let by_target = ours
        .into_iter()
        .zip(&plan.attainments)
        .map(|(ours, target)| of_target(plan, case, &oracle, ours, *target, seed));
    let baselines =
        case.baselines().into_iter().map(|(rule, most)| Measure::of(&case.baseline(rule, most, seed)));
    OfWorld { seen: by_target.collect(), baselines: baselines.collect(), took }
}

fn of_target(plan: &Plan, case: &Case<'_>, oracle: &Curve, ours: Measure, target: f64, seed: u64) -> Seen {
    let meets = oracle.meets(target);
    Seen {
        regret: oracle.regret(ours.attainment, ours.spend_usd),
        oracle_best: oracle.best(),
        oracle_usd: oracle.usd_at(target).map_or(0.0, |(usd, _)| usd),
        oracle_worst_minute: meets.map_or(1.0, |point| point.worst_minute),
        oracle_worst_just: oracle.worst_minute_at(target).unwrap_or(1.0),
        bound_usd: plan
            .bound
            .and_then(|bound| bound(case.scenario, case.trace, case.slo, ours.attainment, seed)),
        ours,
    }
}

fn gather(plan: &Plan, rates: &[f64], jobs: &[Job], results: Vec<Done>) -> Findings {
    let mut findings = Findings {
        combinations: Vec::new(),
        failures: Vec::new(),
        requests: plan.traces.iter().map(|trace| trace.arrivals.len()).max().unwrap_or(0),
        took: Duration::ZERO,
        replayed: (0, Duration::ZERO),
    };
    // A world's seeds stand one after the other.
    let mut group: Vec<OfWorld> = Vec::new();
    let mut results = jobs.iter().zip(results).peekable();
    while let Some((job, done)) = results.next() {
        match (done, *job) {
            (Done::Failure(failures), _) => findings.failures.extend(failures),
            (Done::World(one), Job::World { trace, market, rate, .. }) => {
                findings.replayed.0 += (plan.traces[trace].arrivals.len() * plan.attainments.len()) as u64;
                findings.replayed.1 += one.took;
                group.push(*one);
                let goes_on = matches!(results.peek(), Some((Job::World { trace: t, market: m, rate: r, .. }, _))
                    if (*t, *m, *r) == (trace, market, rate));
                if !goes_on {
                    let worlds = std::mem::take(&mut group);
                    let name = &plan.traces[trace].name;
                    findings.combinations.extend(combinations(
                        plan,
                        name,
                        &plan.markets[market].scenario,
                        rates[rate],
                        &worlds,
                    ));
                }
            }
            (Done::World(_), Job::Failure { .. }) => {}
        }
    }
    findings
}

fn combinations(
    plan: &Plan,
    trace: &str,
    scenario: &Scenario,
    rate: f64,
    worlds: &[OfWorld],
) -> Vec<Combination> {
    let baselines: Vec<&[Measure]> = worlds.iter().map(|world| world.baselines.as_slice()).collect();
    let of = plan.attainments.iter().enumerate().map(|(place, target)| Combination {
        trace: trace.to_owned(),
        market: scenario.name.clone(),
        hybrid: scenario.local.is_some(),
        incidents: !scenario.incidents.is_empty(),
        rate,
        attainment: *target,
        seeds: worlds.iter().filter_map(|world| world.seen.get(place).cloned()).collect(),
        rivals: rivals(scenario, &baselines, *target),
    });
    of.collect()
}

/// Each baseline with the node's share that suits it best: the cheapest that attains the target, else the best.
pub fn rivals(scenario: &Scenario, worlds: &[&[Measure]], target: f64) -> Vec<Rival> {
    let shares = if scenario.local.is_some() { judge::LOCAL_MOST.len() } else { 1 };
    let best = Rule::ALL.into_iter().enumerate().filter_map(|(at, rule)| {
        let all = (0..shares).map(|share| Rival {
            name: rule.name(),
            local_most: scenario.local.is_some().then(|| judge::LOCAL_MOST[share]),
            mean: Measure::mean(worlds.iter().filter_map(|world| world.get(at * shares + share))),
        });
        all.reduce(|best, other| {
            let (enough, other_enough) = (best.mean.attainment >= target, other.mean.attainment >= target);
            let wins = match (enough, other_enough) {
                (true, true) => other.mean.spend_usd < best.mean.spend_usd,
                (false, false) => other.mean.attainment > best.mean.attainment,
                (_, wins) => wins,
            };
            if wins { other } else { best }
        })
    });
    best.collect()
}

impl Combination {
    /// Our mean figures.
    pub fn ours(&self) -> Measure {
        Measure::mean(self.seeds.iter().map(|seen| &seen.ours))
    }

    /// The mean regret, and whether any seed attained more than the oracle ever does.
    pub fn regret(&self) -> Option<(f64, bool)> {
        let all: Vec<Regret> = self.seeds.iter().filter_map(|seen| seen.regret).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
        let count = all.len() as f64;
        let beyond = all.iter().any(|regret| regret.beyond);
        (count > 0.0).then(|| (all.iter().map(|regret| regret.share).sum::<f64>() / count, beyond))
    }

    /// The cheapest baseline that attains as much as we do.
    pub fn best_rival(&self) -> Option<&Rival> {
        let ours = self.ours().attainment;
        let enough = self.rivals.iter().filter(|rival| rival.mean.attainment >= ours);
        enough.min_by(|a, b| a.mean.spend_usd.total_cmp(&b.mean.spend_usd))
    }

    /// The mean over seeds of a figure of theirs.
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    pub fn mean_of(&self, figure: impl Fn(&Seen) -> f64) -> f64 {
        self.seeds.iter().map(figure).sum::<f64>() / self.seeds.len().max(1) as f64
    }

    /// Whether the oracle reaches the target under every seed.
    pub fn oracle_reaches(&self) -> bool {
        self.seeds.iter().all(|seen| seen.oracle_best >= self.attainment)
    }
}
