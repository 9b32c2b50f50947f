//! `tollway prices list`: the price book, with the operator's own prices in it, as it stands at a moment.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Location, Problems, Snapshots};
use crate::pricing::{Book, Condition, PriceCard, Rates};
use crate::routing::Routes;
use crate::routing::explain::table::{Align, columns};
use crate::units::{Clock, SystemClock, TokenPrice};

use super::output::Output;

/// Look at the price book
#[derive(Debug, Clone, Args)]
pub struct PricesArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    List(ListArgs),
}

/// List the prices in force, in USD per million tokens, with their dates and sources
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  \
    tollway prices list --model deepseek-v4-pro\n  \
    tollway prices list --provider openrouter --at 2026-11-24T02:00:00Z --output json")]
pub struct ListArgs {
    /// Only this provider
    #[arg(long)]
    pub provider: Option<String>,
    /// Only models whose id or checkpoint contains this
    #[arg(long)]
    pub model: Option<String>,
    /// Prices at this moment instead of now
    #[arg(long, value_name = "TIMESTAMP")]
    pub at: Option<Timestamp>,
    /// For a prompt of this length, where the price depends on it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub prompt_tokens: u64,
    /// The configuration file, whose own prices stand in place of the book's
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    pub output: Output,
}

/// One offer. Prices are decimal text, USD per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The provider.
    pub provider: String,
    /// The id the provider wants to hear.
    pub model_id: String,
    /// The weights behind it.
    pub checkpoint: String,
    /// Prices in force.
    #[serde(flatten)]
    pub price: Prices,
    /// Why these and not the base prices.
    pub because: Option<String>,
    /// Prices at other times, or for other prompts.
    pub otherwise: Vec<Otherwise>,
    /// What the operator pays on top to hold credit there, in parts per million.
    pub fee_ppm: u32,
    /// When the price was read.
    pub as_of: String,
    /// How sure it is.
    pub confidence: String,
    /// Where it was read.
    pub source: String,
    /// What to know about it.
    pub note: Option<String>,
}

/// Prices that hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prices {
    /// Plain prompt tokens.
    pub input: String,
    /// Prompt tokens from the provider's cache; `None`: they cost `input`.
    pub cached_input: Option<String>,
    /// Prompt tokens written to it; `None`: they cost `input`.
    pub cache_write: Option<String>,
    /// Answer tokens.
    pub output: String,
}

/// Prices that are not in force, and when they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Otherwise {
    /// When.
    pub when: String,
    /// What then.
    #[serde(flatten)]
    pub price: Prices,
}

/// Why nothing was listed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Configuration(Problems),
    #[error("no price matches; `tollway prices list` without filters shows all")]
    Nothing,
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Lists. 0: listed; 1: nothing matches; 2: the configuration is wrong.
pub fn run(args: &PricesArgs) -> ExitCode {
    let Verb::List(args) = &args.verb;
    match list(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even the error cannot be printed, the exit code is all there is.
            let _ = writeln!(anstream::stderr(), "tollway prices: {error}");
            ExitCode::from(if matches!(error, Error::Configuration(_)) { 2 } else { 1 })
        }
    }
}

fn list(args: &ListArgs) -> Result<(), Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let location = Location::new(args.config.clone(), None);
    let snapshots = Snapshots::open(location, Arc::clone(&clock)).map_err(Error::Configuration)?;
    let at = args.at.unwrap_or_else(|| clock.now().wall);
    let lines = lines(Book::shipped(), &snapshots.load().routes, args, at);
    if lines.is_empty() {
        return Err(Error::Nothing);
    }
    args.output.print(&lines, |lines| text(lines), &mut anstream::stdout())?;
    Ok(())
}

/// The book's offers, with the configuration's prices and holidays where it has the same offer; then its other routes.
pub fn lines(book: &Book, routes: &Routes, args: &ListArgs, at: Timestamp) -> Vec<Line> {
    let line = |provider: &str, model_id: &str, checkpoint: &str, card: &PriceCard, note: Option<&str>| {
        Line::new((provider, model_id, checkpoint), card, note, args.prompt_tokens, at)
    };
    let mut lines: Vec<Line> = book
        .rows
        .iter()
        .map(|row| line(&row.provider, &row.model_id, &row.checkpoint, &row.card, row.note.as_deref()))
        .collect();
    for route in routes {
        let Some(card) = &route.price else { continue };
        let own = line(&route.provider, &route.upstream_model, &route.checkpoint, card, None);
        match lines.iter_mut().find(|line| own.is_for_same(line)) {
            Some(shipped) => {
                // What the book says about an offer is not about the operator's price for it.
                let is_of_book = (&own.source, &own.as_of) == (&shipped.source, &shipped.as_of);
                let note = if is_of_book { shipped.note.take() } else { None };
                *shipped = Line { note, ..own };
            }
            None => lines.push(own),
        }
    }
    lines.retain(|line| line.matches(args));
    lines
}

/// The lines for a terminal.
fn text(lines: &[Line]) -> String {
    use Align::{Left, Right};
    let dash = |price: &Option<String>| price.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 9]> = lines
        .iter()
        .map(|line| {
            [
                line.provider.clone(),
                line.model_id.clone(),
                line.checkpoint.clone(),
                line.price.input.clone(),
                dash(&line.price.cached_input),
                line.price.output.clone(),
                line.as_of.clone(),
                line.confidence.clone(),
                line.conditions(),
            ]
        })
        .collect();
    let heading = [
        ("provider", Left),
        ("model id", Left),
        ("checkpoint", Left),
        ("input", Right),
        ("cached", Right),
        ("output", Right),
        ("as of", Left),
        ("confidence", Left),
        ("in force, and otherwise", Left),
    ];
    let mut sources: Vec<&str> = lines.iter().map(|line| line.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let sources: Vec<String> = sources.into_iter().map(|source| format!("  {source}\n")).collect();
    format!(
        "{}\nUSD per million tokens; input / cached / output. Read from:\n{}",
        columns(heading, &rows),
        sources.concat()
    )
}

impl Line {
    fn new(
        (provider, model_id, checkpoint): (&str, &str, &str),
        card: &PriceCard,
        note: Option<&str>,
        prompt_tokens: u64,
        at: Timestamp,
    ) -> Self {
        let (rates, condition) = card.in_force(prompt_tokens, at);
        let entry = card.entry_in_force(prompt_tokens, at);
        let base =
            condition.map(|_| Otherwise { when: "otherwise".to_owned(), price: Prices::new(&card.base) });
        let others =
            card.overrides.iter().filter(|(other, _)| Some(other) != condition).map(|(other, rates)| {
                Otherwise { when: named(other, rates, &card.base), price: Prices::new(rates) }
            });
        Self {
            provider: provider.to_owned(),
            model_id: model_id.to_owned(),
            checkpoint: checkpoint.to_owned(),
            price: Prices::new(rates),
            because: condition.map(|condition| named(condition, rates, &card.base)),
            otherwise: others.chain(base).collect(),
            fee_ppm: card.fee_ppm,
            as_of: entry.as_of.to_string(),
            confidence: entry.confidence.to_string(),
            source: entry.source.to_string(),
            note: note.map(str::to_owned),
        }
    }

    fn is_for_same(&self, other: &Self) -> bool {
        (&self.provider, &self.model_id) == (&other.provider, &other.model_id)
    }

    fn matches(&self, args: &ListArgs) -> bool {
        let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        args.provider.as_ref().is_none_or(|provider| self.provider.eq_ignore_ascii_case(provider))
            && args
                .model
                .as_ref()
                .is_none_or(|model| holds(&self.model_id, model) || holds(&self.checkpoint, model))
    }

    fn conditions(&self) -> String {
        let now = self.because.iter().map(|words| format!("now {words}"));
        let others = self.otherwise.iter().map(|other| format!("{} {}", other.price.short(), other.when));
        now.chain(others).collect::<Vec<_>>().join("; ")
    }
}

impl Prices {
    fn new(rates: &Rates) -> Self {
        let text = |price: TokenPrice| price.to_string();
        Self {
            input: text(rates.input),
            cached_input: rates.cached_input.map(text),
            cache_write: rates.cache_write.map(text),
            output: text(rates.output),
        }
    }

    fn short(&self) -> String {
        format!("{}/{}/{}", self.input, self.cached_input.as_deref().unwrap_or("-"), self.output)
    }
}

/// The condition in words, a clock's windows called by what they are: `peak Mon-Fri 01:00-04:00 UTC`.
fn named(condition: &Condition, rates: &Rates, base: &Rates) -> String {
    let by_clock = !condition.utc_minutes.is_empty() || condition.weekdays != 0;
    let name = match rates.input.cmp(&base.input) {
        std::cmp::Ordering::Greater if by_clock => "peak ",
        std::cmp::Ordering::Less if by_clock => "off-peak ",
        _ => "",
    };
    format!("{name}{condition}")
}

#[cfg(test)]
mod tests;
