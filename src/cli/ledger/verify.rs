//! `tollway ledger verify`: every checksum, every sum.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Error, Which};
use crate::cli::output::Output;
use crate::store::ledger::verify;

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
