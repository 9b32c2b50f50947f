//! `tollway ledger export`: records as JSON lines, CSV, or FOCUS rows.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;

use super::{Error, When, Which, focus, rows};
use crate::ledger::RequestRecord;

/// Write records to standard output, in the order in which requests came; a gateway may be running
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway ledger export --from 2026-11-01 --to 2026-12-01 --format focus > november.csv\n  \
    tollway ledger export --format jsonl | jq 'select(.outcome == \"lost\")'")]
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
}

/// Exports.
pub(super) fn run(args: &ExportArgs) -> Result<ExitCode, Error> {
    let reader = args.which.open()?;
    let mut sink = Sink::new(args.format, BufWriter::with_capacity(1 << 16, io::stdout().lock()))?;
    let mut printed = Ok(());
    reader.each(args.when.span(), |record| {
        printed = sink.write(&record);
        printed.is_ok()
    })?;
    printed.and_then(|()| sink.finish())?;
    Ok(ExitCode::SUCCESS)
}

enum Sink<W: Write> {
    Jsonl(W),
    Rows(Box<csv::Writer<W>>, fn(&RequestRecord) -> Vec<Vec<String>>),
}

impl<W: Write> Sink<W> {
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
        }
    }

    fn write(&mut self, record: &RequestRecord) -> io::Result<()> {
        match self {
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, &rows::Request::of(record))?;
                to.write_all(b"\n")
            }
            Self::Rows(to, rows) => {
                rows(record).iter().try_for_each(|row| to.write_record(row)).map_err(io::Error::from)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut to) => to.flush(),
            Self::Rows(mut to, _) => to.flush(),
        }
    }
}
