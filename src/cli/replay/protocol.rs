//! `tollway replay --protocol`: the report on routing, on every trace and market there is.

use std::fmt::Write as _;

use crate::replay::protocol::{self, Findings, Market, Plan, report, traces};
use crate::replay::scenario::{self, Scenario};
use crate::units::{Clock as _, SystemClock};

use super::progress::Progress;
use super::{Error, ReplayArgs, market};

/// Rates at which the reference markets are run.
const RATES: [f64; 3] = [0.5, 1.0, 3.0];
const ATTAINMENTS: [f64; 2] = [0.95, 0.99];
/// Requests a trace where nothing else is said.
const REQUESTS: usize = 6_000;
const SEEDS: u64 = 5;
/// The reference markets, and others at fewer rates and seeds: what is tuned to the one market shows there.
const REFERENCE: [&str; 4] = ["reference-calm", "reference", "reference-hybrid-calm", "reference-hybrid"];
const OTHERS: [&str; 3] = ["market-b", "market-b-hybrid", "market-c"];
const SEEDS_OF_OTHERS: u64 = 2;

/// Runs the protocol and gives what it found and the page about it.
pub(super) fn run(args: &ReplayArgs) -> Result<(Findings, String), Error> {
    let requests = args.requests.unwrap_or(REQUESTS);
    let traces = match (&args.trace, &args.traces) {
        (Some(trace), _) => vec![market::trace(trace, Some(requests))?],
        (None, Some(folder)) => traces::in_folder(folder, requests)?,
        (None, None) => traces::generated(requests),
    };
    let plan = Plan {
        traces,
        markets: markets(args)?,
        attainments: args.attainment.map_or_else(|| ATTAINMENTS.to_vec(), |one| vec![one]),
        seeds: args.seeds.unwrap_or(SEEDS),
        failover_in: Some(shipped("reference-calm")?),
        threads: args.threads,
        bound: super::BOUND,
    };
    let (progress, clock) = (Progress::new(), SystemClock::new());
    let findings = protocol::run(&plan, &clock, &|done, all| progress.say(done, all));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let made = report::Made {
        command: &command(args, requests),
        day: &clock.now().wall.strftime("%Y-%m-%d").to_string(),
        machine: &format!("{cores} cores of {}", std::env::consts::ARCH),
    };
    let page = report::page(&plan, &findings, &made);
    Ok((findings, page))
}

fn markets(args: &ReplayArgs) -> Result<Vec<Market>, Error> {
    let rates = args.rate.map_or_else(|| RATES.to_vec(), |one| vec![one]);
    if !args.scenario.is_empty() {
        let given = args.scenario.iter().map(|file| {
            Ok(Market { scenario: market::scenario(file)?, rates: rates.clone(), seeds_max: u64::MAX })
        });
        return given.collect();
    }
    let reference = REFERENCE
        .into_iter()
        .map(|name| Ok(Market { scenario: shipped(name)?, rates: rates.clone(), seeds_max: u64::MAX }));
    let once = args.rate.unwrap_or(1.0);
    let others = OTHERS
        .into_iter()
        .map(|name| Ok(Market { scenario: shipped(name)?, rates: vec![once], seeds_max: SEEDS_OF_OTHERS }));
    reference.chain(others).collect()
}

pub(super) fn shipped(name: &str) -> Result<Scenario, Error> {
    let found = scenario::shipped(name).ok_or_else(|| Error::NoScenario(name.to_owned()))?;
    found.map_err(Error::Scenario)
}

/// What to type for the same report; the folder of traces is each machine's own.
fn command(args: &ReplayArgs, requests: usize) -> String {
    let mut words =
        format!("tollway replay --protocol --requests {requests} --seeds {}", args.seeds.unwrap_or(SEEDS));
    if args.trace.is_none() && args.traces.is_some() {
        words.insert_str(0, "TRACES=… ");
    }
    for (name, value) in [("attainment", args.attainment), ("rate", args.rate)] {
        if let Some(value) = value {
            let _ = write!(words, " --{name} {value}");
        }
    }
    for file in &args.scenario {
        let _ = write!(words, " --scenario {}", file.display());
    }
    words
}
