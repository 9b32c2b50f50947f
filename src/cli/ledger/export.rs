//! `tollway ledger export`: records as JSON lines, CSV, FOCUS rows, or Parquet.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::Args;

use super::parquet::Parquet;
use super::{Error, When, Which, focus, rows};
use crate::ledger::RequestRecord;

/// Write records to standard output, in the order in which requests came; a gateway may be running
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway ledger export --from 2026-11-01 --to 2026-12-01 --format focus > november.csv\n  \
    tollway ledger export --format jsonl | jq 'select(.outcome == \"lost\")'\n  \
    tollway ledger export --fleet --format parquet > all.parquet")]
pub(super) struct ExportArgs {
    /// How a record looks
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A request a line, its attempts in it
    Jsonl,
    /// An attempt a row
    Csv,
    /// FOCUS 1.2, a part of a charge a row
    Focus,
    /// An attempt a row, in columns: a file, so redirect it to one
    Parquet,
}

/// Exports.
pub(super) fn run(args: &ExportArgs) -> Result<ExitCode, Error> {
    let mut source = args.which.source()?;
    if args.format == Format::Parquet && io::stdout().is_terminal() {
        return Err(Error::Usage("Parquet is not for a terminal: redirect it to a file".to_owned()));
    }
    let mut sink = Sink::new(args.format, BufWriter::with_capacity(1 << 16, io::stdout()))?;
    let mut printed = Ok(());
    source.each(args.when.span(), |record| {
        printed = sink.write(record);
        printed.is_ok()
    })?;
    printed.and_then(|()| sink.finish())?;
    Ok(ExitCode::SUCCESS)
}

enum Sink<W: Write + Send> {
    Jsonl(W),
    Rows(Box<csv::Writer<W>>, fn(&RequestRecord) -> Vec<Vec<String>>),
    Parquet(Box<Parquet<W>>),
}

impl<W: Write + Send> Sink<W> {
    fn new(format: Format, to: W) -> io::Result<Self> {
        let csv = |columns: &[&str], rows, to| -> io::Result<Self> {
            let mut writer = csv::Writer::from_writer(to);
            writer.write_record(columns).map_err(io::Error::from)?;
            Ok(Self::Rows(Box::new(writer), rows))
        };
        match format {
            Format::Jsonl => Ok(Self::Jsonl(to)),
            Format::Csv => csv(&rows::CSV, rows::csv, to),
            Format::Focus => csv(&focus::COLUMNS, focus::rows, to),
            Format::Parquet => Ok(Self::Parquet(Box::new(Parquet::new(to)?))),
        }
    }

    fn write(&mut self, record: RequestRecord) -> io::Result<()> {
        match self {
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, &rows::Request::of(&record))?;
                to.write_all(b"\n")
            }
            Self::Rows(to, rows) => {
                rows(&record).iter().try_for_each(|row| to.write_record(row)).map_err(io::Error::from)
            }
            Self::Parquet(to) => to.write(record),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut to) => to.flush(),
            Self::Rows(mut to, _) => to.flush(),
            Self::Parquet(to) => to.finish(),
        }
    }
}
