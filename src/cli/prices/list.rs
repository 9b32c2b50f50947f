//! `tollway prices list`: the price book, with the operator's own prices in it, as it stands at a moment.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output::Output;
use crate::pricing::{Book, BookRow, Condition, PriceCard, Rates};
use crate::routing::Routes;
use crate::routing::explain::table::{Align, columns};
use crate::units::{Clock as _, SystemClock, TokenPrice};

use super::{Error, Known, moment};

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
    /// Prices at this day (UTC) or moment instead of now
    #[arg(long, value_name = "TIMESTAMP", value_parser = moment)]
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
    /// The first moment at which it holds; `None`: always.
    pub valid_from: Option<String>,
    /// Whether that moment lies ahead: no earlier price is known, so the first one stands in.
    pub assumed: bool,
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

/// Lists. 0: listed; 1: nothing matches; 2: the configuration is wrong.
pub(super) fn run(args: &ListArgs) -> Result<ExitCode, Error> {
    let known = Known::read(args.config.as_ref())?;
    let at = args.at.unwrap_or_else(|| SystemClock::new().now().wall);
    let lines = lines(&known.book, &known.snapshot.routes, args, at);
    if lines.is_empty() {
        return Err(Error::Nothing);
    }
    args.output.print(&lines, |lines| text(lines), &mut anstream::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// The book's offers, with the configuration's prices and holidays where it has the same offer; then its other routes.
pub fn lines(book: &Book, routes: &Routes, args: &ListArgs, at: Timestamp) -> Vec<Line> {
    let line = |name: (&str, &str, &str), card: &PriceCard, note: Option<&str>| {
        Line::new(name, card, note, args.prompt_tokens, at)
    };
    let of_row = |row: &BookRow| {
        let name = (&*row.provider, &*row.model_id, &*row.checkpoint);
        line(name, &book.card_of(row), row.note.as_deref())
    };
    let mut lines: Vec<Line> = book.rows.iter().map(of_row).collect();
    for route in routes {
        let Some(card) = &route.price else { continue };
        let own = line((&route.provider, &route.upstream_model, &route.checkpoint), card, None);
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
        let version = card.at(at);
        let (rates, condition) = version.in_force(prompt_tokens, at);
        let entry = card.entry_in_force(prompt_tokens, at);
        let base =
            condition.map(|_| Otherwise { when: "otherwise".to_owned(), price: Prices::new(&version.base) });
        let others =
            version.overrides.iter().filter(|(other, _)| Some(other) != condition).map(|(other, rates)| {
                Otherwise { when: named(other, rates, &version.base), price: Prices::new(rates) }
            });
        Self {
            provider: provider.to_owned(),
            model_id: model_id.to_owned(),
            checkpoint: checkpoint.to_owned(),
            price: Prices::new(rates),
            because: condition.map(|condition| named(condition, rates, &version.base)),
            otherwise: others.chain(base).collect(),
            fee_ppm: card.fee_ppm,
            valid_from: version.valid_from.map(|from| from.to_string()),
            assumed: card.is_assumed(at),
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
        let first = self.valid_from.iter().filter(|_| self.assumed);
        let assumed = first.map(|from| format!("assumed: the first known price is from {from}"));
        now.chain(others).chain(assumed).collect::<Vec<_>>().join("; ")
    }
}

impl Prices {
    pub(super) fn new(rates: &Rates) -> Self {
        let text = |price: TokenPrice| price.to_string();
        Self {
            input: text(rates.input),
            cached_input: rates.cached_input.map(text),
            cache_write: rates.cache_write.map(text),
            output: text(rates.output),
        }
    }

    pub(super) fn short(&self) -> String {
        format!("{}/{}/{}", self.input, self.cached_input.as_deref().unwrap_or("-"), self.output)
    }
}

/// The condition in words, a clock's windows called by what they are: `peak Mon-Fri 01:00-04:00 UTC`.
pub(super) fn named(condition: &Condition, rates: &Rates, base: &Rates) -> String {
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
