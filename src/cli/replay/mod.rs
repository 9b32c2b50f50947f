//! `tollway replay`: what a trace would have cost, and how fast it would have been, under one set of policies or two.
//!
//! `market` is what is replayed, `text` what people read of it, `protocol` the report on routing, `progress` a line meanwhile.

mod market;
mod progress;
mod protocol;
mod text;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::Problems;
use crate::replay::compare;
use crate::replay::html;
use crate::replay::prophet;
use crate::replay::protocol::judge::Bound;
use crate::replay::scenario::SloClass;
use crate::replay::trace;

use super::output::Output;

/// The target where neither a policy nor the command line says one.
const ATTAINMENT: f64 = 0.95;
const SEEDS: u64 = 5;
/// The lower bound that is printed beside the oracle; `None`: none is computed.
const BOUND: Option<Bound> = Some(|scenario, trace, slo, attainment, seed| {
    Some(prophet::bound(scenario, trace, slo, attainment, seed).spend_usd).filter(|usd| usd.is_finite())
});

/// Replay a trace under one set of policies, or two: what it would have cost, and how fast it would have been
///
/// The router that serves runs in virtual time against a simulated market. TRACE is a public trace (CSV or JSON lines, plain or
/// gzipped), an access log of tollway's own, or `generate:chat`, `generate:prefixes`, `generate:agents` or `generate:day`,
/// with `:N` for so many requests. Of an access log, the market is what the log shows of the routes in the configuration.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(after_help = "Examples:\n  \
    tollway replay generate:chat\n  \
    tollway replay access.jsonl.gz --policies policies --against policies.new --html difference.html\n  \
    tollway replay azure_conv_2023.csv --scenario reference-hybrid --attainment 0.99 --baselines\n  \
    TRACES=traces tollway replay --protocol --report docs/routing-report.md\n\n\
    Scenarios that come along: reference, reference-calm, reference-hybrid, reference-hybrid-calm, reference-ascend,\n\
    market-b, market-b-hybrid, market-c; or a file (docs/replay.md).")]
pub(super) struct ReplayArgs {
    /// The trace, or `generate:KIND[:N]`
    #[arg(value_name = "TRACE", required_unless_present = "protocol")]
    trace: Option<String>,
    /// Policies: a folder or a file [default: with an access log those in force, else the market's promise alone]
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// Other policies to compare them with
    #[arg(long, value_name = "PATH", conflicts_with = "protocol")]
    against: Option<PathBuf>,
    /// The configuration file whose routes an access log is about
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The market: a file, or the name of one that comes along; with --protocol it may be given again
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Share of first tokens that is to be in time, where no policy says another [default: 0.95; protocol: 0.95 and 0.99]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    attainment: Option<f64>,
    /// When a first token is late, in place of the market's or the policy's own limit
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    ttft: Option<f64>,
    /// What each thousand prompt tokens adds to that
    #[arg(long, value_name = "SECONDS", value_parser = not_negative, requires = "ttft")]
    ttft_per_1k: Option<f64>,
    /// How many times as fast the requests come [default: 1; protocol: 0.5, 1 and 3]
    #[arg(long, value_name = "TIMES", value_parser = positive)]
    rate: Option<f64>,
    /// How many worlds of chance [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// At most so many requests of a trace [default: all; protocol: 6000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    requests: Option<usize>,
    /// Threads to run on [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Show what others' ways of choosing would have done
    #[arg(long)]
    baselines: bool,
    /// Show the whole curve of the informed oracle
    #[arg(long)]
    oracle: bool,
    /// Leave out the oracle and the bound, which take most of the time
    #[arg(long, conflicts_with_all = ["oracle", "protocol"])]
    quick: bool,
    /// Write a page with charts, which needs nothing but itself
    #[arg(long, value_name = "FILE", conflicts_with = "protocol")]
    html: Option<PathBuf>,
    /// Run the protocol of the routing report: all traces, markets, rates and targets
    #[arg(long, conflicts_with_all = ["policies", "config", "ttft", "baselines", "oracle"])]
    protocol: bool,
    /// Where to write the protocol's report [default: standard output]
    #[arg(long, value_name = "FILE", requires = "protocol")]
    report: Option<PathBuf>,
    /// A folder of traces for the protocol [default: generated ones]
    #[arg(long, env = "TRACES", value_name = "DIR")]
    traces: Option<PathBuf>,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl ReplayArgs {
    /// The promise on the command line.
    fn promise(&self) -> Option<SloClass> {
        let ttft_s = self.ttft?;
        Some(SloClass { ttft_s, ttft_s_per_1k: self.ttft_per_1k.unwrap_or(0.0) })
    }
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("a trace is needed: a file, or generate:chat")]
    NoTrace,
    #[error(
        "{0:?} cannot be generated; write generate:chat, generate:prefixes, generate:agents or generate:day, with :N for so many requests"
    )]
    Generate(String),
    #[error(transparent)]
    Trace(#[from] trace::Error),
    #[error("there is no scenario {0:?}; those that come along are: {names}", names = names())]
    NoScenario(String),
    #[error("one market is enough here: give --scenario once")]
    ManyScenarios,
    #[error("{0}")]
    Scenario(Problems),
    #[error("{0}")]
    Configuration(Problems),
    #[error("{path}: no policies: {1}", path = .0.display())]
    Policies(PathBuf, String),
    #[error(
        "the log does not show a market: of {asked} routes that were asked, the configuration lacks {unknown}, and the others \
         were asked too rarely; give --config for the configuration of that time, or --scenario for a market"
    )]
    NoMarket { asked: usize, unknown: usize },
    #[error("{path}: cannot be written: {1}", path = .0.display())]
    Write(PathBuf, io::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

fn names() -> String {
    crate::replay::scenario::names().collect::<Vec<_>>().join(", ")
}

/// Replays, and prints what came of it. 0: done; 1: it could not be read or written; 2: what was asked for makes no sense.
pub(super) fn run(args: &ReplayArgs) -> ExitCode {
    let done = if args.protocol { report(args) } else { replay(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even the error cannot be printed, the exit code is all there is.
            let _ = writeln!(anstream::stderr(), "tollway replay: {error}");
            let is_usage = matches!(
                error,
                Error::NoTrace
                    | Error::Generate(_)
                    | Error::NoScenario(_)
                    | Error::ManyScenarios
                    | Error::Scenario(_)
                    | Error::Configuration(_)
                    | Error::Policies(..)
            );
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}

fn report(args: &ReplayArgs) -> Result<(), Error> {
    let (findings, page) = protocol::run(args)?;
    if let Some(path) = &args.report {
        write(path, &page)?;
    }
    if let (Output::Human, Some(path)) = (args.output, &args.report) {
        let took = crate::replay::protocol::report::span(findings.took.as_secs_f64());
        return Ok(writeln!(anstream::stdout(), "{}: written in {took}", path.display())?);
    }
    let all = serde_json::json!({
        "combinations": findings.combinations,
        "failures": findings.failures,
        "requests": findings.requests,
        "took_s": findings.took.as_secs_f64(),
    });
    Ok(args.output.print(&all, |_| page, &mut anstream::stdout())?)
}

fn replay(args: &ReplayArgs) -> Result<(), Error> {
    let matter = market::read(args)?;
    let progress = progress::Progress::new();
    let plan = compare::Plan {
        trace: &matter.trace,
        scenario: &matter.scenario,
        sides: std::iter::once(&matter.policies)
            .chain(&matter.against)
            .map(|named| compare::Policies { name: &named.name, policies: &named.policies })
            .collect(),
        eligible: &matter.eligible,
        attainment: args.attainment.unwrap_or(ATTAINMENT),
        seeds: args.seeds.unwrap_or(SEEDS),
        threads: args.threads,
        oracle: !args.quick,
        // Others' ways take any route for any model.
        baselines: matter.eligible.is_empty() && (args.baselines || args.html.is_some()),
        bound: if args.quick { None } else { BOUND },
    };
    let comparison = compare::run(&plan, &|done, all| progress.say(done, all));
    if let Some(path) = &args.html {
        write(path, &html::page(&comparison))?;
    }
    args.output.print(
        &comparison,
        |comparison| text::of(comparison, &matter.notes, args.oracle, args.baselines),
        &mut anstream::stdout(),
    )?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| Error::Write(path.to_owned(), error))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.5..1.0).contains(share));
    share.ok_or_else(|| "write a share from 0.5 to below 1, such as 0.95".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "write a number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "write a number from 0 up".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "write a whole number from 1 up".to_owned())
}
