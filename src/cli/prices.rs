//! `tollway prices`: the price book as it stands, what changed in it, and what providers publish now.

pub mod diff;
mod history;
pub mod list;
pub mod sync;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::config::{Documents, Location, Problems, Snapshot, watch};
use crate::pricing::Book;

/// Look at the price book
#[derive(Debug, Clone, Args)]
pub struct PricesArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    List(list::ListArgs),
    Diff(diff::DiffArgs),
    Sync(sync::SyncArgs),
}

/// Why a verb did not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Configuration(Problems),
    #[error("no price matches; `tollway prices list` without filters shows all")]
    Nothing,
    #[error("there is no provider {0:?} that publishes its prices; tollway can ask: {1}")]
    Provider(String, String),
    #[error("--accept {0:?} names no route that was asked for; write it as provider/model-id")]
    Accept(String),
    #[error(transparent)]
    History(#[from] history::Error),
    #[error("cannot print: {0}")]
    Print(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

/// Does what the verb says. 0: done, and for `diff`: nothing differs. 1: nothing matches, something differs, or a price
/// could not be had. 2: the configuration is wrong.
pub fn run(args: &PricesArgs) -> ExitCode {
    let done = match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Sync(args) => sync::run(args),
    };
    done.unwrap_or_else(|error| {
        // Where even the error cannot be printed, the exit code is all there is.
        let _ = writeln!(anstream::stderr(), "tollway prices: {error}");
        let is_usage = matches!(error, Error::Configuration(_) | Error::Provider(..) | Error::Accept(_));
        ExitCode::from(if is_usage { 2 } else { 1 })
    })
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Print(error)
    }
}

/// What is known of prices here and now.
struct Known {
    documents: Documents,
    snapshot: Snapshot,
    /// The shipped book with what was fetched since.
    book: Book,
}

impl Known {
    fn read(config: Option<&PathBuf>) -> Result<Self, Error> {
        let (documents, compiled) = watch::read(&Location::new(config.cloned(), None));
        let snapshot = compiled.map_err(Error::Configuration)?;
        let synced = documents.synced_book().unwrap_or_else(|problem| {
            let _ = writeln!(anstream::stderr(), "warning: {problem}; the shipped prices are shown");
            Book::default()
        });
        let book = Book::shipped().clone().with_synced(synced);
        Ok(Self { documents, snapshot, book })
    }
}

/// A moment on the command line.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    crate::pricing::moment(text)
        .ok_or_else(|| "write a day such as 2026-10-01, or a moment such as 2026-10-01T08:00:00Z".to_owned())
}
