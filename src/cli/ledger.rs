//! `tollway ledger`: the record of every request, for those who look at it from outside.

mod export;
mod focus;
mod parquet;
mod reconcile;
mod repair;
mod rows;
mod source;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::config::{Location, Problems, watch};
use crate::store::ledger::{self, Reader, read::Span};
use crate::store::postgres;

pub(super) use source::{Fleet, Source};

/// Look at the ledger: export it, hold it against a provider's invoice, verify it
#[derive(Debug, Clone, Args)]
pub(super) struct LedgerArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    Export(export::ExportArgs),
    Reconcile(reconcile::ReconcileArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
}

/// Which ledger.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Which {
    /// The ledger's file [default: the configuration's]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The configuration file [default: tollway.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the PostgreSQL that the configuration's `ledger` names, which has the records of every replica
    #[arg(long, conflicts_with = "ledger")]
    fleet: bool,
}

/// Which requests.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct When {
    /// Requests from this day (UTC) or moment on
    #[arg(long, value_name = "TIMESTAMP", value_parser = super::prices::moment)]
    from: Option<Timestamp>,
    /// Requests before this day (UTC) or moment
    #[arg(long, value_name = "TIMESTAMP", value_parser = super::prices::moment)]
    to: Option<Timestamp>,
}

impl When {
    pub(super) fn span(&self) -> Span {
        Span { from: self.from, to: self.to }
    }
}

/// Why a verb did not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Configuration(Problems),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(transparent)]
    Fleet(#[from] postgres::Error),
    #[error("cannot read the invoice {0}: {1}")]
    Invoice(PathBuf, String),
    #[error("{0}")]
    Usage(String),
    #[error("cannot print: {0}")]
    Print(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Print(error)
    }
}

impl Which {
    pub(super) fn path(&self) -> Result<PathBuf, Error> {
        if let Some(path) = &self.ledger {
            return Ok(path.clone());
        }
        let (_, compiled) = watch::read(&Location::new(self.config.clone(), None));
        Ok(compiled.map_err(Error::Configuration)?.settings.ledger.path)
    }

    pub(super) fn open(&self) -> Result<Reader, Error> {
        Ok(Reader::open(&self.path()?)?)
    }
}

/// Does what the verb says. 0: done, and nothing is wrong. 1: damage, a drift beyond what is tolerated, or no ledger. 2: wrong
/// usage or configuration.
pub(super) fn run(args: &LedgerArgs) -> ExitCode {
    let done = match &args.verb {
        Verb::Export(args) => export::run(args),
        Verb::Reconcile(args) => reconcile::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Repair(args) => repair::run(args),
    };
    told("tollway ledger", done)
}

/// Says what went wrong.
pub(super) fn told(verb: &str, done: Result<ExitCode, Error>) -> ExitCode {
    done.unwrap_or_else(|error| {
        if matches!(&error, Error::Print(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read has seen enough.
            return ExitCode::SUCCESS;
        }
        // Where even the error cannot be printed, the exit code is all there is.
        let _ = writeln!(anstream::stderr(), "{verb}: {error}");
        ExitCode::from(if matches!(error, Error::Configuration(_) | Error::Usage(_)) { 2 } else { 1 })
    })
}
