//! `tollway ledger reconcile`: what a provider says it charged, against what the ledger has.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Error, When, Which};
use crate::cli::output::Output;
use crate::routing::explain::table::{Align, columns};
use crate::units::{NanoUsd, PicoUsd};

/// Differences that are shown.
const SHOWN: usize = 20;

/// Hold the ledger against a provider's invoice or usage export (CSV), by its names for answers, or by day and model
///
/// The first line names the columns. Known names: for the answer `generation_id`, `generation`; for the day `date`, `day`,
/// `created_at`, `timestamp`; for the model `model`, `model_permaslug`, `model_id`; for the cost in USD `cost`, `cost_usd`,
/// `cost_total`, `amount`, `amount_usd`, `total`, `usage`. Others are mapped by --columns.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway ledger reconcile --invoice openrouter-activity.csv --provider openrouter --from 2026-11-01 --to 2026-12-01\n  \
    tollway ledger reconcile --invoice bill.csv --columns day=Tag,model=Modell,cost=Betrag --tolerance 0.5")]
pub(super) struct ReconcileArgs {
    /// The provider's file
    #[arg(long, value_name = "FILE")]
    invoice: PathBuf,
    /// Only attempts at this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// What the file calls its columns, as generation=…, day=…, model=…, cost=…
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = mapping)]
    columns: Vec<(String, String)>,
    /// Exit with status 1 where the drift is more than so many per cent of the invoice
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    tolerance: Option<PicoUsd>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    which: Which,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((what @ ("generation" | "day" | "model" | "cost"), column)) => {
            Ok((what.to_owned(), column.to_owned()))
        }
        _ => Err("write generation=…, day=…, model=… or cost=…".to_owned()),
    }
}

/// Parts of 10⁻¹² of a per cent, exactly as written.
fn percent(text: &str) -> Result<PicoUsd, String> {
    let parsed = PicoUsd::from_usd_text(text).ok().filter(|percent| percent.0 >= 0);
    parsed.ok_or_else(|| "write a number of per cent such as 0.5".to_owned())
}

/// What both sides say of one answer, or of one model on one day; pico-dollars, since invoices are finer than the ledger.
#[derive(Debug, Clone, Copy, Default)]
struct Sides {
    theirs: Option<PicoUsd>,
    ours: Option<PicoUsd>,
}

impl Sides {
    fn drift(self) -> i128 {
        self.theirs.unwrap_or_default().0 - self.ours.unwrap_or_default().0
    }
}

#[derive(Debug, Serialize)]
struct Report {
    by: &'static str,
    matched: usize,
    only_theirs: usize,
    only_ours: usize,
    theirs_usd: String,
    ours_usd: String,
    drift_usd: String,
    drift_percent: Option<String>,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    name: String,
    theirs_usd: Option<String>,
    ours_usd: Option<String>,
    drift_usd: String,
}

/// Reconciles. 0: done; 1: drifted beyond what is tolerated; 2: wrong usage.
pub(super) fn run(args: &ReconcileArgs) -> Result<ExitCode, Error> {
    let (found, mut sides) = invoice(&args.invoice, &args.columns)?;
    let mut source = args.which.source()?;
    source.each(args.when.span(), |record| {
        for attempt in &record.attempts {
            if args.provider.as_deref().is_some_and(|provider| provider != &*attempt.provider) {
                continue;
            }
            let model = attempt.route.split_once('/').map_or(&*attempt.route, |(_, model)| model);
            let name = found.name(&attempt.generation, &day(attempt.asked), model);
            if name.is_empty() && attempt.amount == NanoUsd::ZERO {
                continue;
            }
            let ours = &mut sides.entry(name).or_default().ours;
            *ours = Some(ours.unwrap_or_default() + PicoUsd(i128::from(attempt.amount.0) * 1000));
        }
        true
    })?;
    let total =
        |side: fn(&Sides) -> Option<PicoUsd>| sides.values().filter_map(side).map(|usd| usd.0).sum::<i128>();
    let (theirs, ours) = (total(|sides| sides.theirs), total(|sides| sides.ours));
    let report = report(found.by(), &sides, theirs, ours);
    args.output.print(&report, text, &mut anstream::stdout())?;
    let beyond = args.tolerance.is_some_and(|percent| {
        (theirs - ours).unsigned_abs().saturating_mul(100 * 1_000_000_000_000)
            > percent.0.unsigned_abs().saturating_mul(theirs.unsigned_abs())
    });
    Ok(ExitCode::from(u8::from(beyond)))
}

/// Which columns the invoice has.
#[derive(Debug, Clone, Copy)]
struct Found {
    generation: Option<usize>,
    day: Option<usize>,
    model: Option<usize>,
    cost: usize,
}

impl Found {
    fn by(self) -> &'static str {
        match (self.generation, self.day, self.model) {
            (Some(_), ..) => "generation",
            (None, Some(_), Some(_)) => "day and model",
            (None, Some(_), None) => "day",
            (None, None, Some(_)) => "model",
            (None, None, None) => "total",
        }
    }

    /// What an answer is called on both sides.
    fn name(self, generation: &str, day: &str, model: &str) -> String {
        match (self.generation, self.day, self.model) {
            (Some(_), ..) => generation.to_owned(),
            (None, Some(_), Some(_)) => format!("{day} {model}"),
            (None, Some(_), None) => day.to_owned(),
            (None, None, Some(_)) => model.to_owned(),
            (None, None, None) => "all".to_owned(),
        }
    }
}

fn invoice(path: &Path, mapped: &[(String, String)]) -> Result<(Found, BTreeMap<String, Sides>), Error> {
    let failed = |what: String| Error::Invoice(path.to_owned(), what);
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(file);
    let header = reader.headers().map_err(|error| failed(error.to_string()))?.clone();
    let column = |what: &str, usual: &[&str]| {
        let named = mapped.iter().find(|(mapped, _)| mapped == what).map(|(_, name)| name.as_str());
        let is_it = |title: &str| match named {
            Some(name) => title == name,
            None => usual.contains(&title.to_ascii_lowercase().as_str()),
        };
        let at = header.iter().position(|title| is_it(title.trim_start_matches('\u{feff}')));
        match (named, at) {
            (Some(name), None) => Err(failed(format!("it has no column {name:?}"))),
            (_, at) => Ok(at),
        }
    };
    let costs = ["cost", "cost_usd", "cost_total", "amount", "amount_usd", "total", "usage"];
    let found = Found {
        generation: column("generation", &["generation_id", "generation"])?,
        day: column("day", &["date", "day", "created_at", "timestamp"])?,
        model: column("model", &["model", "model_permaslug", "model_id"])?,
        cost: column("cost", &costs)?.ok_or_else(|| {
            failed("no column is known to hold its costs; name it: --columns cost=…".to_owned())
        })?,
    };
    let mut sides: BTreeMap<String, Sides> = BTreeMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| failed(error.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or_default();
        let cost = cell(Some(found.cost)).trim_start_matches('$');
        let cost = if cost.is_empty() { "0" } else { cost };
        let cost = PicoUsd::from_usd_text(cost).map_err(|error| failed(format!("line {line}: {error}")))?;
        let day = cell(found.day);
        let day = day.get(..10).unwrap_or(day);
        let theirs =
            &mut sides.entry(found.name(cell(found.generation), day, cell(found.model))).or_default().theirs;
        *theirs = Some(theirs.unwrap_or_default() + cost);
    }
    Ok((found, sides))
}

fn day(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).date().to_string()
}

fn report(by: &'static str, sides: &BTreeMap<String, Sides>, theirs: i128, ours: i128) -> Report {
    let mut differences: Vec<(&String, &Sides)> =
        sides.iter().filter(|(_, sides)| sides.drift() != 0).collect();
    differences.sort_by_key(|(_, sides)| std::cmp::Reverse(sides.drift().unsigned_abs()));
    let count = |which: fn(&Sides) -> bool| sides.values().filter(|sides| which(sides)).count();
    let drift = theirs - ours;
    Report {
        by,
        matched: count(|sides| sides.theirs.is_some() && sides.ours.is_some()),
        only_theirs: count(|sides| sides.ours.is_none()),
        only_ours: count(|sides| sides.theirs.is_none()),
        theirs_usd: usd(theirs),
        ours_usd: usd(ours),
        drift_usd: usd(drift),
        drift_percent: (theirs != 0).then(|| {
            let parts = drift.saturating_mul(1_000_000) / theirs;
            let sign = if parts < 0 { "-" } else { "" };
            format!("{sign}{}.{:04}", parts.unsigned_abs() / 10_000, parts.unsigned_abs() % 10_000)
        }),
        differences: differences
            .into_iter()
            .take(SHOWN)
            .map(|(name, sides)| Difference {
                name: if name.is_empty() { "(no name)".to_owned() } else { name.clone() },
                theirs_usd: sides.theirs.map(|amount| usd(amount.0)),
                ours_usd: sides.ours.map(|amount| usd(amount.0)),
                drift_usd: usd(sides.drift()),
            })
            .collect(),
    }
}

/// Pico-dollars as dollars, exactly.
fn usd(pico: i128) -> String {
    let sign = if pico < 0 { "-" } else { "" };
    let magnitude = pico.unsigned_abs();
    format!("{sign}{}.{:012}", magnitude / 1_000_000_000_000, magnitude % 1_000_000_000_000)
}

fn text(report: &Report) -> String {
    let Report { by, matched, only_theirs, only_ours, theirs_usd, ours_usd, drift_usd, .. } = report;
    let percent = report.drift_percent.as_ref().map(|percent| format!(" ({percent} %)")).unwrap_or_default();
    let mut text = format!(
        "by {by}: {matched} on both sides, {only_theirs} only on the invoice, {only_ours} only in the ledger\n\
         invoice {theirs_usd} USD, ledger {ours_usd} USD, drift {drift_usd} USD{percent}\n"
    );
    if !report.differences.is_empty() {
        let cell = |usd: &Option<String>| usd.clone().unwrap_or_else(|| "-".to_owned());
        let rows: Vec<[String; 4]> = report
            .differences
            .iter()
            .map(|line| {
                [line.name.clone(), cell(&line.theirs_usd), cell(&line.ours_usd), line.drift_usd.clone()]
            })
            .collect();
        let (left, right) = (Align::Left, Align::Right);
        text.push('\n');
        text.push_str(&columns(
            [("LARGEST", left), ("INVOICE", right), ("LEDGER", right), ("DRIFT", right)],
            &rows,
        ));
    }
    text
}
