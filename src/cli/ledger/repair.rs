//! `tollway ledger repair`: a new ledger of all that still bears its checksum.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Error, Which};
use crate::cli::output::Output;
use crate::store::ledger::repair;
use crate::units::{Clock as _, SystemClock};

/// Go on without what is damaged: copies every row that bears its checksum into a new ledger and keeps the old files
///
/// The gateway must not be running. Where one of the two still tells more, a balance is what it was, or what its records
/// add up to: whichever is more.
#[derive(Debug, Clone, Args)]
pub(super) struct RepairArgs {
    #[command(flatten)]
    which: Which,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// Repairs.
pub(super) fn run(args: &RepairArgs) -> Result<ExitCode, Error> {
    let path = args.which.path()?;
    let mark = SystemClock::new().now().wall.strftime("%Y%m%dT%H%M%SZ").to_string();
    let done = repair::repair(&path, &mark)?;
    let value = json!({
        "ledger": path, "kept_as": done.kept_as, "requests": done.kept.requests, "requests_expected": done.expected,
        "holds": done.kept.holds, "balances": done.kept.balances, "balances_raised": done.raised,
        "amount_usd": done.kept.amount.to_string(),
    });
    let expected = done.expected.map_or_else(|| "nobody knows how many".to_owned(), |rows| rows.to_string());
    let text = format!(
        "{}: {} requests of {expected}, {} holds and {} balances are in the new ledger; {} balances were raised to what their \
         records add up to\nthe old files are kept as {}\n",
        path.display(),
        done.kept.requests,
        done.kept.holds,
        done.kept.balances,
        done.raised,
        done.kept_as.display()
    );
    args.output.print(&value, |_| text, &mut anstream::stdout())?;
    Ok(ExitCode::SUCCESS)
}
