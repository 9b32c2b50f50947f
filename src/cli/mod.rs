//! The command line: a verb a file. Results go to standard output, talk to standard error.

mod check;
mod engine;
mod engine_host;
pub mod explain;
mod http_get;
mod keys;
mod ledger;
mod output;
pub mod prices;
mod replay;
mod report;
mod schema;
mod serve;
mod stores;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A cost-aware LLM gateway: one OpenAI-compatible base URL, routed by price and latency under YAML policies.
#[derive(Debug, Parser)]
#[command(name = "tollway", version, about, max_term_width = 110)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Args),
    Check(check::Args),
    Explain(explain::ExplainArgs),
    Prices(prices::PricesArgs),
    Replay(replay::ReplayArgs),
    Ledger(ledger::LedgerArgs),
    Report(report::ReportArgs),
    Schema(schema::Args),
    Keys(keys::KeysArgs),
    Engine(engine::EngineArgs),
}

/// Reads the command line and does what it says. 0: done, 1: a check failed, 2: wrong usage.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "engine-worker") {
        // The local engine's process, which is nobody's to type.
        return local_engine::worker_main(words);
    }
    match Line::parse().verb {
        Verb::Serve(args) => serve::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Prices(args) => prices::run(&args),
        Verb::Replay(args) => replay::run(&args),
        Verb::Keys(args) => keys::run(&args),
        Verb::Ledger(args) => ledger::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Schema(args) => schema::run(&args),
        // Standard output is gone only where nobody reads it.
        Verb::Engine(args) => engine::run(&args, &mut std::io::stdout()).unwrap_or(ExitCode::FAILURE),
    }
}
