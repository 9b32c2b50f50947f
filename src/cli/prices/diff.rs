//! `tollway prices diff`: what changed between two moments, or what stands otherwise here than in the shipped book.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::output::Output;
use crate::pricing::{Book, BookRow, PriceCard, Version};
use crate::routing::Routes;
use crate::routing::explain::table::{Align, columns};
use crate::units::{Clock as _, SystemClock};

use super::list::{Prices, named};
use super::{Error, Known, moment};

/// Show which prices differ: between two moments, or from the shipped book
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Without --from, what was fetched and what the operator typed is compared with the shipped book.\n\n\
    Exit status: 0 where nothing differs, 1 where something does, 2 where the configuration is wrong.\n\n\
    Examples:\n  \
    tollway prices diff\n  \
    tollway prices diff --from 2026-11-01 --to 2026-12-01 --output json"
)]
pub struct DiffArgs {
    /// From the prices at this day (UTC) or moment
    #[arg(long, value_name = "DATE", value_parser = moment)]
    pub from: Option<Timestamp>,
    /// To those at this one instead of now
    #[arg(long, value_name = "DATE", value_parser = moment, requires = "from")]
    pub to: Option<Timestamp>,
    /// Only this provider
    #[arg(long)]
    pub provider: Option<String>,
    /// Only models whose id contains this
    #[arg(long)]
    pub model: Option<String>,
    /// The configuration file, whose own prices and fetched prices count
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    pub output: Output,
}

/// One price that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The provider.
    pub provider: String,
    /// The id the provider wants to hear.
    pub model_id: String,
    /// The condition under which it holds; `None`: the base.
    pub when: Option<String>,
    /// What it was; `None`: there was none.
    pub before: Option<Prices>,
    /// What it is; `None`: there is none.
    pub after: Option<Prices>,
    /// The first moment at which the new one holds; `None`: always.
    pub valid_from: Option<String>,
    /// When the new one was read.
    pub as_of: String,
    /// How sure it is.
    pub confidence: String,
    /// Where it was read.
    pub source: String,
}

/// Compares. 0: nothing differs; 1: something does.
pub(super) fn run(args: &DiffArgs) -> Result<ExitCode, Error> {
    let known = Known::read(args.config.as_ref())?;
    let now = SystemClock::new().now().wall;
    let changes = changes(&known.book, &known.snapshot.routes, args, now);
    args.output.print(&changes, |changes| text(changes), &mut anstream::stdout())?;
    Ok(ExitCode::from(u8::from(!changes.is_empty())))
}

/// What differs, in the order of the book, then of the routes that only the configuration has.
pub fn changes(book: &Book, routes: &Routes, args: &DiffArgs, now: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |provider: &str, model_id: &str, shipped: Option<&PriceCard>, here: &PriceCard| {
        let to = args.to.unwrap_or(now);
        let before = args.from.map_or_else(|| shipped.map(|card| card.at(to)), |from| Some(here.at(from)));
        changes.extend(between((provider, model_id), before, here.at(to)));
    };
    let of_row = |row: &&BookRow| {
        let own = routes
            .iter()
            .find(|route| *route.provider == *row.provider && *route.upstream_model == *row.model_id);
        own.and_then(|route| route.price.clone()).unwrap_or_else(|| book.card_of(row))
    };
    for row in &book.rows {
        compare(&row.provider, &row.model_id, Some(&row.card), &of_row(&row));
    }
    for route in routes.iter().filter(|route| !route.local) {
        let (provider, model_id) = (&*route.provider, &*route.upstream_model);
        if let (Some(card), None) = (&route.price, book.find(provider, model_id)) {
            compare(provider, model_id, None, card);
        }
    }
    let holds = |text: &str, part: &String| text.to_lowercase().contains(&part.to_lowercase());
    changes.retain(|change| {
        args.provider.as_ref().is_none_or(|provider| change.provider.eq_ignore_ascii_case(provider))
            && args.model.as_ref().is_none_or(|model| holds(&change.model_id, model))
    });
    changes
}

fn between((provider, model_id): (&str, &str), before: Option<&Version>, after: &Version) -> Vec<Change> {
    if before.is_some_and(|before| before.same_prices(after)) {
        return Vec::new();
    }
    let (old, new) = (before.map(priced).unwrap_or_default(), priced(after));
    let of = |list: &[(Option<String>, Prices)], when: &Option<String>| {
        list.iter().find(|(known, _)| known == when).map(|(_, prices)| prices.clone())
    };
    let gone = old.iter().filter(|(when, _)| of(&new, when).is_none());
    let all: Vec<&Option<String>> = new.iter().chain(gone).map(|(when, _)| when).collect();
    let change = |when: &Option<String>| {
        let (before, after_prices) = (of(&old, when), of(&new, when));
        (before != after_prices).then(|| Change {
            provider: provider.to_owned(),
            model_id: model_id.to_owned(),
            when: when.clone(),
            before,
            after: after_prices,
            valid_from: after.valid_from.map(|from| from.to_string()),
            as_of: after.entry.as_of.to_string(),
            confidence: after.entry.confidence.to_string(),
            source: after.entry.source.to_string(),
        })
    };
    all.into_iter().filter_map(change).collect()
}

/// A version's prices by their condition in words.
fn priced(version: &Version) -> Vec<(Option<String>, Prices)> {
    let base = (None, Prices::new(&version.base));
    let others = version
        .overrides
        .iter()
        .map(|(when, rates)| (Some(named(when, rates, &version.base)), Prices::new(rates)));
    std::iter::once(base).chain(others).collect()
}

fn text(changes: &[Change]) -> String {
    use Align::{Left, Right};
    if changes.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let short = |prices: &Option<Prices>| prices.as_ref().map_or_else(|| "none".to_owned(), Prices::short);
    let rows: Vec<[String; 8]> = changes
        .iter()
        .map(|change| {
            [
                change.provider.clone(),
                change.model_id.clone(),
                short(&change.before),
                short(&change.after),
                change.valid_from.clone().unwrap_or_else(|| "always".to_owned()),
                change.as_of.clone(),
                change.confidence.clone(),
                change.when.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let heading = [
        ("provider", Left),
        ("model id", Left),
        ("before", Right),
        ("after", Right),
        ("valid from", Left),
        ("as of", Left),
        ("confidence", Left),
        ("when", Left),
    ];
    format!("{}\nUSD per million tokens; input / cached / output.\n", columns(heading, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        moment(text).unwrap()
    }

    #[test]
    fn a_change_between_two_days_is_found_in_the_history() {
        let args =
            DiffArgs { from: Some(at("2026-11-02")), to: Some(at("2026-11-04")), ..DiffArgs::default() };
        let found = changes(Book::shipped(), &[], &args, at("2026-11-25"));
        let words: Vec<String> = found
            .iter()
            .map(|change| {
                let short = |prices: &Option<Prices>| prices.as_ref().unwrap().short();
                format!("{} {} {}", change.model_id, short(&change.before), short(&change.after))
            })
            .collect();
        assert_eq!(
            words,
            [
                "openai/gpt-oss-120b 0.03/-/0.17 0.1/-/0.5",
                "meta-llama/llama-3.3-70b-instruct 0.1/-/0.32 0.45/-/0.9",
            ]
        );
        let same = DiffArgs { to: Some(at("2026-11-02T12:00:00Z")), ..args };
        assert_eq!(changes(Book::shipped(), &[], &same, at("2026-11-25")), []);
    }

    #[test]
    fn what_was_fetched_is_compared_with_what_is_shipped() {
        let row = |input: &str, more: &str| {
            format!(
                r#"{{"provider": "openrouter", "model_id": "deepseek/deepseek-v4-pro-0813", "checkpoint": "deepseek-v4-pro-0813",
                "family": "deepseek-v4-pro-0813", "context_length": null, "input_usd_per_mtok": {input},
                "cached_input_usd_per_mtok": 0.022, "output_usd_per_mtok": 1.98, "valid_from": "2026-11-20", "as_of": "2026-11-20",
                "confidence": "fetched", "source": "list"{more}}}"#
            )
        };
        let synced = format!(r#"{{"rows": [{}]}}"#, row("0.7", ""));
        let book = Book::shipped().clone().with_synced(Book::parse(&synced).unwrap());
        let found = changes(&book, &[], &DiffArgs::default(), at("2026-11-25"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].when.as_deref(), &*found[0].confidence), (None, "fetched"));
        assert_eq!(found[0].after.as_ref().unwrap().input, "0.7");
        // The shipped peak is not in the list any more.
        assert!(found[1].after.is_none(), "{found:?}");
        assert!(found[1].when.as_ref().unwrap().starts_with("peak 01:00-04:00"), "{found:?}");
        let text = text(&found);
        assert!(text.contains("0.66/0.022/1.98") && text.contains("none  2026-11-20T00:00:00Z"), "{text}");
        let other = DiffArgs { provider: Some("together".to_owned()), ..DiffArgs::default() };
        assert_eq!(changes(&book, &[], &other, at("2026-11-25")), []);
        // Before it was fetched the shipped prices held.
        assert_eq!(changes(&book, &[], &DiffArgs::default(), at("2026-11-19")), []);
    }
}
