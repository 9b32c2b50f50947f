//! `tollway ledger verify`: every checksum, every sum.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Error, Fleet, Which};
use crate::cli::output::Output;
use crate::routing::explain::table::{Align, columns};
use crate::store::ledger::verify;
use crate::store::postgres::read::Replica;
use crate::units::NanoUsd;

/// Verify every row's checksum, and that records and balances agree. Exit status 1 where they do not
#[derive(Debug, Clone, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// Verifies.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, Error> {
    if args.which.fleet {
        return fleet(args);
    }
    let path = args.which.path()?;
    let found = verify::file(&path)?;
    let value = json!({
        "ledger": path, "requests": found.requests, "attempts": found.attempts, "holds": found.holds,
        "balances": found.balances, "amount_usd": found.amount.to_string(),
    });
    let text = format!(
        "{}: in order\n{} requests with {} attempts, {} USD; {} held; {} balances\n",
        path.display(),
        found.requests,
        found.attempts,
        found.amount,
        found.holds,
        found.balances
    );
    args.output.print(&value, |_| text, &mut anstream::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// The fleet's: whether every request has its attempts and adds up, and how far each replica has sent.
fn fleet(args: &VerifyArgs) -> Result<ExitCode, Error> {
    let Fleet { mut reader, runtime } = args.which.fleet()?;
    let replicas = runtime.block_on(reader.replicas())?;
    let shown = |one: &Replica| {
        json!({
            "replica": one.name, "requests": one.requests, "attempts": one.attempts, "amount_usd": one.amount.to_string(),
            "odd": one.odd, "place": one.place,
        })
    };
    let amount = NanoUsd(replicas.iter().fold(0, |sum: i64, one| sum.saturating_add(one.amount.0)));
    let odd: i64 = replicas.iter().map(|one| one.odd).sum();
    let value = json!({
        "replicas": replicas.iter().map(shown).collect::<Vec<_>>(), "amount_usd": amount.to_string(), "odd": odd,
    });
    let rows: Vec<[String; 5]> = replicas
        .iter()
        .map(|one| {
            let Replica { name, requests, attempts, amount, odd, .. } = one;
            [name.clone(), requests.to_string(), attempts.to_string(), amount.to_string(), odd.to_string()]
        })
        .collect();
    let (left, right) = (Align::Left, Align::Right);
    let head =
        [("REPLICA", left), ("REQUESTS", right), ("ATTEMPTS", right), ("AMOUNT USD", right), ("ODD", right)];
    let text = format!("{}\n{amount} USD; {odd} requests that do not add up\n", columns(head, &rows));
    args.output.print(&value, |_| text, &mut anstream::stdout())?;
    Ok(ExitCode::from(u8::from(odd > 0)))
}
