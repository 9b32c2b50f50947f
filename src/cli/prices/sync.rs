//! `tollway prices sync`: asks the providers that publish their prices, and keeps what changed, dated.

mod fetch;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output::Output;
use crate::config::{Provider, Snapshot};
use crate::pricing::sync::{Offer, Outcome, record};
use crate::pricing::{Book, book};
use crate::units::{Clock as _, SystemClock};

use super::history::{self, Held};
use super::list::Prices;
use super::{Error, Known};
use fetch::{Fetched, Fetcher};

/// Fetch the prices of your routes from the providers that publish them (OpenRouter, Together)
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Prices are kept with their history in <state_dir>/prices.json; a running gateway takes them up by itself.\n\
    A price of 0, or one more than ten times dearer or cheaper than before, is refused and named.\n\n\
    Exit status: 0 where every provider answered and every price was taken, 1 otherwise, 2 where the configuration is wrong.\n\n\
    Examples:\n  \
    tollway prices sync\n  \
    tollway prices sync --provider together --accept together/openai/gpt-oss-20b --output json"
)]
pub struct SyncArgs {
    /// Only this provider
    #[arg(long)]
    pub provider: Option<String>,
    /// Take this route's price although it jumped; may be given again
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub accept: Vec<String>,
    /// Say what would change, and keep nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    pub output: Output,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The moment from which new prices hold.
    pub at: String,
    /// The history; `None`: nothing was written.
    pub file: Option<String>,
    /// Who was asked.
    pub asked: Vec<Asked>,
}

/// What came of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Its name in the configuration.
    pub provider: String,
    /// Why it gave no prices; what was known stays.
    pub error: Option<String>,
    /// How many prices are as they were.
    pub confirmed: usize,
    /// Prices that are new, or others than before.
    pub changed: Vec<Changed>,
    /// Prices that were not taken, and why.
    pub refused: Vec<Refused>,
    /// Models of the configuration that it does not list.
    pub unlisted: Vec<String>,
}

/// A price that is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The provider's id of the model.
    pub model_id: String,
    /// What was known; `None`: nothing.
    pub before: Option<Prices>,
    /// What holds from now on.
    pub after: Prices,
}

/// A price that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The provider's id of the model.
    pub model_id: String,
    /// Why.
    pub why: String,
}

/// Fetches and keeps.
pub(super) fn run(args: &SyncArgs) -> Result<ExitCode, Error> {
    let mut known = Known::read(args.config.as_ref())?;
    let asked = to_ask(&known.snapshot, args)?;
    let held = Held::take(&known.snapshot.settings.state_dir)?;
    // Read again under the lock: another run may have written in between.
    known.documents.read_synced(&known.snapshot.settings.state_dir);
    let before = known.documents.synced_book().map_err(history::Error::Broken)?;
    let now = SystemClock::new().now().wall;
    // Whole seconds read better; rounded down, so that the new price is in force at once.
    let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let fetched = runtime.block_on(Fetcher::new(&known.snapshot).all(&known.snapshot, &asked));
    let mut after = before.clone();
    let asked: Vec<Asked> = fetched
        .into_iter()
        .map(|(provider, fetched)| taken(&known.snapshot, provider, fetched, &mut after, args, at))
        .collect();
    let write = after != before && !args.dry_run;
    if write {
        held.write(&after)?;
    }
    let file = write.then(|| held.file().display().to_string());
    let report = Report { at: at.to_string(), file, asked };
    args.output.print(&report, Report::to_text, &mut anstream::stdout())?;
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}

/// The usable providers that publish their prices, by their place in the snapshot.
fn to_ask(snapshot: &Snapshot, args: &SyncArgs) -> Result<Vec<usize>, Error> {
    let publishes = |(place, provider): (usize, &Provider)| {
        (fetch::publishes(provider.kind) && provider.usable.is_ok()).then_some(place)
    };
    let all: Vec<usize> = snapshot.providers.iter().enumerate().filter_map(publishes).collect();
    let name = |place: &usize| snapshot.providers.get(*place).map_or("", |provider| &*provider.name);
    let asked: Vec<usize> = all
        .iter()
        .copied()
        .filter(|place| args.provider.as_ref().is_none_or(|only| only == name(place)))
        .collect();
    if let Some(only) = args.provider.as_ref().filter(|_| asked.is_empty()) {
        let names: Vec<&str> = all.iter().map(name).collect();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        return Err(Error::Provider(only.clone(), names));
    }
    let is_asked = |route: &str| {
        snapshot
            .routes
            .iter()
            .zip(&snapshot.route_provider)
            .any(|(known, place)| *known.name == *route && asked.contains(&usize::from(*place)))
    };
    if let Some(stray) = args.accept.iter().find(|route| !is_asked(route)) {
        return Err(Error::Accept(stray.clone()));
    }
    Ok(asked)
}

/// Puts what one provider said into `history`.
fn taken(
    snapshot: &Snapshot,
    provider: &Provider,
    fetched: Fetched,
    history: &mut Book,
    args: &SyncArgs,
    at: Timestamp,
) -> Asked {
    let mut asked = Asked {
        provider: provider.name.to_string(),
        error: fetched.error,
        confirmed: 0,
        changed: Vec::new(),
        refused: Vec::new(),
        unlisted: fetched.unlisted,
    };
    for (route, quote) in fetched.quotes {
        let Some(route) = snapshot.route(route) else { continue };
        let model_id = route.upstream_model.to_string();
        let shipped = Book::shipped().find(provider.kind.name(), &model_id).map(|row| &row.card);
        let synced = history.find(&provider.name, &model_id).map(|row| &row.card);
        let known = book::joined(shipped, synced, 0);
        let offer = Offer {
            provider: &provider.name,
            model_id: &model_id,
            checkpoint: &route.checkpoint,
            known: known.as_ref(),
            source: &fetched.source,
            accept_jump: args.accept.iter().any(|name| **name == *route.name),
        };
        match record(history, &offer, &quote, at) {
            Outcome::Confirmed => asked.confirmed += 1,
            Outcome::New(after) => {
                asked.changed.push(Changed { model_id, before: None, after: Prices::new(&after) });
            }
            Outcome::Changed(before, after) => {
                let before = Some(Prices::new(&before));
                asked.changed.push(Changed { model_id, before, after: Prices::new(&after) });
            }
            Outcome::Refused(why) => asked.refused.push(Refused { model_id, why: why.to_string() }),
        }
    }
    asked
}

impl Report {
    /// Whether everybody answered and every price was taken.
    pub fn is_clean(&self) -> bool {
        self.asked.iter().all(|asked| asked.error.is_none() && asked.refused.is_empty())
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for asked in &self.asked {
            let Asked { provider, confirmed, changed, refused, unlisted, .. } = asked;
            let _ = writeln!(
                text,
                "{provider}: {} changed, {confirmed} as before, {} refused, {} not listed",
                changed.len(),
                refused.len(),
                unlisted.len()
            );
            if let Some(error) = &asked.error {
                let _ = writeln!(text, "  failed: {error}; what was known stays");
            }
            for Changed { model_id, before, after } in changed {
                let before = before.as_ref().map_or_else(|| "none".to_owned(), Prices::short);
                let _ = writeln!(text, "  {model_id}: {before} -> {}", after.short());
            }
            for Refused { model_id, why } in refused {
                let _ = writeln!(text, "  {model_id}: refused: {why}");
            }
            for model_id in unlisted {
                let _ = writeln!(text, "  {model_id}: not listed; what was known stays");
            }
        }
        if self.asked.is_empty() {
            text.push_str("no usable provider publishes its prices: only openrouter and together do\n");
        }
        let _ = match &self.file {
            Some(file) => writeln!(text, "kept in {file}, valid from {}", self.at),
            None => writeln!(text, "nothing was written"),
        };
        text
    }
}
