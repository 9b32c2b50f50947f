//! One trace under one set of policies, or two: what each costs, how fast it is, and where traffic goes.

use serde::Serialize;

use crate::routing::{Policy, RequestFacts, RouteId, select};

use super::protocol::curve::{Curve, Point, Regret};
use super::protocol::judge::{Bound, Case, rules};
use super::protocol::measure::Measure;
use super::protocol::{Rival, queue, rivals};
use super::router::ours::{Knows, Ours};
use super::run;
use super::scenario::Scenario;
use super::tally::{Group, Tally};
use super::trace::Trace;
use super::world::World;

/// A set of policies under its name.
#[derive(Debug, Clone, Copy)]
pub struct Policies<'a> {
    /// What reports call it.
    pub name: &'a str,
    /// The policies, in order.
    pub policies: &'a [Policy],
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The requests.
    pub trace: &'a Trace,
    /// The market; its promise is what all are held to.
    pub scenario: &'a Scenario,
    /// The sets of policies: one, or two.
    pub sides: Vec<Policies<'a>>,
    /// Who may serve each of the trace's models; `&[]`: whoever sells a model of that name, or everybody. Baselines do not
    /// look at it.
    pub eligible: &'a [Vec<RouteId>],
    /// The target that the baselines' own choices are made for.
    pub attainment: f64,
    /// Seeds 1 to this.
    pub seeds: u64,
    /// Threads; 0: one a core.
    pub threads: usize,
    /// Whether the informed oracle runs, too.
    pub oracle: bool,
    /// Whether the baselines do.
    pub baselines: bool,
    /// The lower bound.
    pub bound: Option<Bound>,
}

/// Who served how much.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// A route, a model, or tags.
    pub name: String,
    /// Requests, the mean over seeds.
    pub requests: f64,
    /// What they cost, in USD.
    pub usd: f64,
    /// Share in time; `None`: not counted.
    pub attainment: Option<f64>,
}

/// One set of policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Means over the seeds.
    pub mean: Measure,
    /// Lowest and highest spend of a seed, in USD.
    pub spend_range_usd: (f64, f64),
    /// Against the oracle at equal attainment: the mean over seeds.
    pub regret: Option<Regret>,
    /// The lower bound at its attainment, in USD.
    pub bound_usd: Option<f64>,
    /// Requests that none of its policies decides, which are refused.
    pub undecided: u64,
    /// By route.
    pub routes: Vec<Share>,
    /// By model.
    pub models: Vec<Share>,
    /// By tags; empty where the trace has none.
    pub tags: Vec<Share>,
    /// When the worst minute of the first seed begins, in seconds from the trace's start.
    pub worst_minute_at_s: Option<f64>,
    /// Share in time by slot of time.
    pub attained_by_slot: Vec<Option<f64>>,
    /// Share of requests by slot of time, for each route.
    pub routes_by_slot: Vec<Vec<f64>>,
    /// Seconds to the first token at 0 %, 1 %, … 100 % of requests.
    pub ttft_quantiles_s: Vec<f64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The trace.
    pub trace: String,
    /// Its requests.
    pub requests: usize,
    /// Its length, in seconds.
    pub span_s: f64,
    /// The market.
    pub market: String,
    /// When a first token is late: seconds, and seconds more for each thousand prompt tokens.
    pub promise_s: (f64, f64),
    /// Seeds.
    pub seeds: u64,
    /// A slot's length, in seconds.
    pub slot_s: f64,
    /// The sets of policies.
    pub sides: Vec<Side>,
    /// What the oracle pays: means over the seeds.
    pub oracle: Option<Curve>,
    /// The baselines' means.
    pub baselines: Vec<Rival>,
}

/// Slots of time that a trace is cut into, and the shortest one.
const SLOTS: u64 = 120;
const SLOT_US_MIN: u64 = 60_000_000;

#[derive(Debug, Clone, Copy)]
enum Job {
    Side(usize, u64),
    Oracle(u64),
    Baselines(u64),
}

/// One run of ours.
struct Ran {
    tally: Tally,
    bound_usd: Option<f64>,
}

enum Done {
    Side(Box<Ran>),
    Oracle(Curve),
    Baselines(Vec<Measure>),
}

/// Runs `plan`; `progress` hears how many jobs are done, of how many.
pub fn run(plan: &Plan<'_>, progress: &(dyn Fn(usize, usize) + Sync)) -> Comparison {
    let case =
        Case { scenario: plan.scenario, trace: plan.trace, slo: plan.scenario.slo, eligible: plan.eligible };
    let seeds = 1..=plan.seeds;
    let mut jobs: Vec<Job> = Vec::new();
    if plan.oracle {
        jobs.extend(seeds.clone().map(Job::Oracle));
    }
    if plan.baselines {
        jobs.extend(seeds.clone().map(Job::Baselines));
    }
    for side in 0..plan.sides.len() {
        jobs.extend(seeds.clone().map(|seed| Job::Side(side, seed)));
    }
    let work = |job: &Job| match *job {
        Job::Side(side, seed) => {
            let policies = plan.sides.get(side).map_or(&[][..], |side| side.policies);
            Done::Side(Box::new(ran(plan, &case, policies, seed)))
        }
        Job::Oracle(seed) => Done::Oracle(case.oracle(seed)),
        Job::Baselines(seed) => {
            let all = case.baselines().into_iter();
            Done::Baselines(all.map(|(rule, most)| Measure::of(&case.baseline(rule, most, seed))).collect())
        }
    };
    let results = queue::map(&jobs, plan.threads, work, progress);
    let (mut curves, mut baselines) = (Vec::new(), Vec::new());
    let mut tallies: Vec<Vec<Ran>> = plan.sides.iter().map(|_| Vec::new()).collect();
    for (job, done) in jobs.iter().zip(results) {
        match (done, job) {
            (Done::Oracle(curve), _) => curves.push(curve),
            (Done::Baselines(all), _) => baselines.push(all),
            (Done::Side(seen), Job::Side(side, _)) => tallies[*side].push(*seen),
            (Done::Side(_), _) => {}
        }
    }
    let slot_us = (plan.trace.span_us() / SLOTS).max(SLOT_US_MIN);
    let sides = plan.sides.iter().zip(&tallies);
    let sides = sides.map(|(policies, tallies)| side(plan, policies, tallies, &curves, slot_us));
    Comparison {
        trace: plan.trace.name.clone(),
        requests: plan.trace.arrivals.len(),
        span_s: seconds(plan.trace.span_us()),
        market: plan.scenario.name.clone(),
        promise_s: (plan.scenario.slo.ttft_s, plan.scenario.slo.ttft_s_per_1k),
        seeds: plan.seeds,
        slot_s: seconds(slot_us),
        sides: sides.collect(),
        oracle: plan.oracle.then(|| mean_curve(&curves)),
        baselines: if plan.baselines {
            let all: Vec<&[Measure]> = baselines.iter().map(Vec::as_slice).collect();
            rivals(plan.scenario, &all, plan.attainment)
        } else {
            Vec::new()
        },
    }
}

fn ran(plan: &Plan<'_>, case: &Case<'_>, policies: &[Policy], seed: u64) -> Ran {
    let mut world = World::new(case.scenario, case.trace, seed);
    let mut router =
        Ours::new(&world, policies, Knows::Learnt, case.scenario.begins).with_eligible(case.eligible);
    let tally = run::run(&mut world, case.scenario, rules(case.slo, policies), &mut router);
    let bound = plan.bound;
    let bound_usd =
        bound.and_then(|bound| bound(case.scenario, case.trace, case.slo, tally.attainment(), seed));
    Ran { tally, bound_usd }
}

fn side(plan: &Plan<'_>, policies: &Policies<'_>, runs: &[Ran], curves: &[Curve], slot_us: u64) -> Side {
    let measures: Vec<Measure> = runs.iter().map(|ran| Measure::of(&ran.tally)).collect();
    let spends = || measures.iter().map(|measure| measure.spend_usd);
    let regrets: Vec<Regret> = measures
        .iter()
        .zip(curves)
        .filter_map(|(measure, curve)| curve.regret(measure.attainment, measure.spend_usd))
        .collect();
    let bounds: Vec<f64> = runs.iter().filter_map(|ran| ran.bound_usd).collect();
    let mean = |values: &[f64]| {
        #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
        let count = values.len() as f64;
        (count > 0.0).then(|| values.iter().sum::<f64>() / count)
    };
    let shares: Vec<f64> = regrets.iter().map(|regret| regret.share).collect();
    let beyond = regrets.iter().any(|regret| regret.beyond);
    let routes = names(plan.scenario);
    let tallies = || runs.iter().map(|ran| &ran.tally);
    let has_tags = plan.trace.tags.len() > 1;
    Side {
        name: policies.name.to_owned(),
        mean: Measure::mean(&measures),
        spend_range_usd: (spends().fold(f64::MAX, f64::min), spends().fold(0.0, f64::max)),
        regret: mean(&shares).map(|share| Regret { share, beyond }),
        bound_usd: mean(&bounds),
        undecided: undecided(plan.trace, policies.policies),
        routes: routes.iter().enumerate().map(|(place, name)| by_route(name, place, tallies())).collect(),
        models: shares_of(
            plan.trace.models.iter().map(ToString::to_string),
            tallies().map(|tally| &*tally.by_model),
        ),
        tags: if has_tags {
            shares_of(
                plan.trace.tags.iter().map(|tags| tags_text(tags)),
                tallies().map(|tally| &*tally.by_tags),
            )
        } else {
            Vec::new()
        },
        worst_minute_at_s: tallies().next().and_then(worst_minute_at),
        attained_by_slot: attained(runs, slot_us),
        routes_by_slot: served(runs, slot_us, routes.len()),
        ttft_quantiles_s: quantiles(runs),
    }
}

fn names(scenario: &Scenario) -> Vec<String> {
    let sellers = scenario.routes.iter().map(|market| market.route.name.to_string());
    sellers.chain(scenario.local.iter().map(|node| node.route.name.to_string())).collect()
}

fn tags_text(tags: &[(Box<str>, Box<str>)]) -> String {
    let all: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if all.is_empty() { "no tags".to_owned() } else { all.join(" ") }
}

/// Requests that no policy decides.
fn undecided(trace: &Trace, policies: &[Policy]) -> u64 {
    let decided = |arrival: &&super::trace::Arrival| {
        let tags = trace.tags.get(arrival.tags as usize).into_iter().flatten();
        let tags: Vec<(&str, &str)> = tags.map(|(name, value)| (&**name, &**value)).collect();
        let facts = RequestFacts {
            model: trace.models.get(usize::from(arrival.model)).map_or("", |name| name),
            key: trace.keys.get(arrival.key as usize).map_or("", |name| name),
            team: "default",
            tags: &tags,
            ..RequestFacts::default()
        };
        select(policies, &facts).is_none()
    };
    trace.arrivals.iter().filter(decided).count() as u64
}

#[expect(clippy::cast_precision_loss, reason = "figures for a report")]
fn by_route<'t>(name: &str, place: usize, tallies: impl Iterator<Item = &'t Tally>) -> Share {
    let (mut requests, mut usd, mut count) = (0.0, 0.0, 0.0);
    for served in tallies.filter_map(|tally| tally.served.get(place)) {
        requests += served.0 as f64;
        usd += served.1.0 as f64 * 1e-12;
        count += 1.0;
    }
    let count = f64::max(count, 1.0);
    Share { name: name.to_owned(), requests: requests / count, usd: usd / count, attainment: None }
}

#[expect(clippy::cast_precision_loss, reason = "figures for a report")]
fn shares_of<'t>(
    names: impl Iterator<Item = String>,
    groups: impl Iterator<Item = &'t [Group]>,
) -> Vec<Share> {
    let all: Vec<&[Group]> = groups.collect();
    let count = all.len().max(1) as f64;
    let share = |(place, name): (usize, String)| {
        let (mut requests, mut in_time, mut usd) = (0.0, 0.0, 0.0);
        for group in all.iter().filter_map(|groups| groups.get(place)) {
            requests += group.requests as f64;
            in_time += group.in_time as f64;
            usd += group.cost.0 as f64 * 1e-12;
        }
        Share {
            name,
            requests: requests / count,
            usd: usd / count,
            attainment: (requests > 0.0).then(|| in_time / requests),
        }
    };
    names.enumerate().map(share).filter(|share| share.requests > 0.0).collect()
}

/// When the minute with the most late requests begins, in seconds from the first request.
fn worst_minute_at(tally: &Tally) -> Option<f64> {
    let list = &tally.first_tokens;
    let begin = list.first()?.at_us;
    let (mut from, mut late, mut worst) = (0, 0_usize, None::<(f64, u64)>);
    for (to, one) in list.iter().enumerate() {
        late += usize::from(!one.in_time);
        while one.at_us.saturating_sub(list[from].at_us) > 60_000_000 {
            late -= usize::from(!list[from].in_time);
            from += 1;
        }
        let count = to + 1 - from;
        #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
        let share = late as f64 / count as f64;
        if count >= 30 && worst.is_none_or(|(known, _)| share > known) {
            worst = Some((share, list[from].at_us));
        }
    }
    worst.filter(|(share, _)| *share > 0.0).map(|(_, at)| seconds(at - begin))
}

fn slot_of(at_us: u64, begin_us: u64, slot_us: u64) -> usize {
    usize::try_from(at_us.saturating_sub(begin_us) / slot_us).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "shares for a chart")]
fn attained(runs: &[Ran], slot_us: u64) -> Vec<Option<f64>> {
    let mut slots: Vec<(u64, u64)> = Vec::new();
    for Ran { tally, .. } in runs {
        let begin = tally.first_tokens.first().map_or(0, |one| one.at_us);
        for one in &tally.first_tokens {
            let slot = slot_of(one.at_us, begin, slot_us);
            if slots.len() <= slot {
                slots.resize(slot + 1, (0, 0));
            }
            slots[slot].0 += 1;
            slots[slot].1 += u64::from(one.in_time);
        }
    }
    slots.iter().map(|(all, in_time)| (*all > 0).then(|| *in_time as f64 / *all as f64)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shares for a chart")]
fn served(runs: &[Ran], slot_us: u64, routes: usize) -> Vec<Vec<f64>> {
    let mut slots: Vec<Vec<u64>> = Vec::new();
    for Ran { tally, .. } in runs {
        let begin = tally.first_tokens.first().map_or(0, |one| one.at_us);
        for one in &tally.first_tokens {
            let slot = slot_of(one.at_us, begin, slot_us);
            if slots.len() <= slot {
                slots.resize(slot + 1, vec![0; routes]);
            }
            if let Some(count) = one.served_by.and_then(|route| slots[slot].get_mut(usize::from(route.0))) {
                *count += 1;
            }
        }
    }
    let share = |route: usize| {
        let of = slots.iter().map(|slot| slot[route] as f64 / slot.iter().sum::<u64>().max(1) as f64);
        of.collect()
    };
    (0..routes).map(share).collect()
}

fn quantiles(runs: &[Ran]) -> Vec<f64> {
    let mut times: Vec<u32> =
        runs.iter().flat_map(|ran| ran.tally.first_tokens.iter().map(|one| one.took_us)).collect();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    (0..=100).filter_map(|percent| times.get(last * percent / 100)).map(|us| f64::from(*us) / 1e6).collect()
}

fn mean_curve(curves: &[Curve]) -> Curve {
    let runs = curves.first().map_or(0, |curve| curve.points.len());
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    let count = curves.len().max(1) as f64;
    let mean = |at: usize| {
        let of = |figure: fn(&Point) -> f64| {
            curves.iter().filter_map(|curve| curve.points.get(at)).map(figure).sum::<f64>() / count
        };
        Point {
            lateness_usd: of(|point| point.lateness_usd),
            attainment: of(|point| point.attainment),
            usd: of(|point| point.usd),
            worst_minute: of(|point| point.worst_minute),
        }
    };
    Curve::new((0..runs).map(mean).collect())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
