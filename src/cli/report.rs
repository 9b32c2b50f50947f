//! `tollway report`: what was spent, by whatever one asks.

use std::process::ExitCode;

use clap::Args;
use rusqlite::types::ValueRef;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ledger::{Error, When, Which, told};
use super::output::Output;
use crate::routing::explain::table::{Align, columns};
use crate::store::ledger::Reader;
use crate::units::NanoUsd;

/// Show spend, tokens, requests, savings and waste, by team, model, day, tag, …
///
/// Waste is what attempts cost that brought no whole answer: failed, cancelled, broken off, beaten by a hedge, or lost with
/// their gateway. Savings are what a cache of answers kept from being spent.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway report --by team,model --from 2026-11-01\n  \
    tollway report --by month,tag:env --output json")]
pub(super) struct ReportArgs {
    /// What to group by, with commas between: key, user, team, organisation, policy, model, endpoint, outcome, provider, route,
    /// checkpoint, hour, day, month (UTC), tag:NAME
    #[arg(long, value_delimiter = ',', default_value = "team,model", value_name = "NAMES")]
    by: Vec<String>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    which: Which,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// One group.
#[derive(Debug, Clone, Default, Serialize)]
struct Line {
    #[serde(flatten)]
    group: Map<String, Value>,
    requests: i64,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
    spend_usd: String,
    saved_usd: String,
    waste_usd: String,
}

/// Reports. 0: done; 1: there is no ledger, or it is damaged; 2: wrong usage.
pub(super) fn run(args: &ReportArgs) -> ExitCode {
    told("tollway report", report(args))
}

fn report(args: &ReportArgs) -> Result<ExitCode, Error> {
    let sql = query(&args.by)?;
    let reader = args.which.open()?;
    let lines = lines(&reader, args, &sql).map_err(|error| reader.misread(&error))?;
    args.output.print(&lines, |lines| text(&args.by, lines), &mut anstream::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Columns of an attempt; all others are the request's.
const OF_ATTEMPTS: [&str; 3] = ["provider", "route", "checkpoint"];
const OF_REQUESTS: [&str; 8] =
    ["key", "user", "team", "organisation", "policy", "model", "endpoint", "outcome"];
const OF_TIME: [(&str, &str); 3] = [("hour", "%Y-%m-%dT%H"), ("day", "%Y-%m-%d"), ("month", "%Y-%m")];

/// What one name groups by, in SQL. Names come from lists, and a tag's from letters, digits and `. _ -` alone.
fn expression(name: &str) -> Result<String, Error> {
    if OF_REQUESTS.contains(&name) {
        return Ok(format!("r.{name}"));
    }
    if OF_ATTEMPTS.contains(&name) {
        return Ok(format!("coalesce(a.{name}, '')"));
    }
    if let Some((_, format)) = OF_TIME.iter().find(|(word, _)| *word == name) {
        return Ok(format!("strftime('{format}', r.began_ns / 1000000000, 'unixepoch')"));
    }
    let tag = name.strip_prefix("tag:").filter(|tag| !tag.is_empty());
    let is_plain = |tag: &&str| tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if let Some(tag) = tag.filter(is_plain) {
        return Ok(format!("coalesce(json_extract(r.tags, '$.\"{tag}\"'), '')"));
    }
    let known: Vec<&str> =
        OF_REQUESTS.into_iter().chain(OF_ATTEMPTS).chain(OF_TIME.map(|(word, _)| word)).collect();
    let known = known.join(", ");
    Err(Error::Usage(format!("nothing can be grouped by {name:?}; there are {known} and tag:NAME")))
}

fn query(by: &[String]) -> Result<String, Error> {
    let groups = by.iter().map(|name| expression(name)).collect::<Result<Vec<_>, _>>()?.join(", ");
    // A request counts once in each of its groups; with none of an attempt's columns it has one group, and its first row is it.
    let requests = if by.iter().any(|name| OF_ATTEMPTS.contains(&name.as_str())) {
        "count(DISTINCT r.seq)"
    } else {
        "count(CASE WHEN coalesce(a.n, 0) = 0 THEN 1 END)"
    };
    Ok(format!(
        "SELECT {groups}, {requests}, coalesce(sum(a.prompt_tokens), 0), coalesce(sum(a.cached_tokens), 0), \
         coalesce(sum(a.completion_tokens), 0), coalesce(sum(a.amount_nanos), 0), \
         coalesce(sum(CASE WHEN coalesce(a.n, 0) = 0 THEN r.saved_nanos END), 0), \
         coalesce(sum(CASE WHEN a.outcome != 'ok' THEN a.amount_nanos END), 0) \
         FROM requests r LEFT JOIN attempts a ON a.seq = r.seq WHERE r.began_ns >= ?1 AND r.began_ns < ?2 \
         GROUP BY {groups} ORDER BY sum(a.amount_nanos) DESC, {groups}"
    ))
}

fn lines(reader: &Reader, args: &ReportArgs, sql: &str) -> rusqlite::Result<Vec<Line>> {
    let (from, to) = args.when.span().nanos();
    let mut statement = reader.connection().prepare(sql)?;
    let mut rows = statement.query([from, to])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let mut group = Map::new();
        for (at, name) in args.by.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            group.insert(name.clone(), value.into());
        }
        let number = |at: usize| row.get::<_, i64>(args.by.len() + at);
        let money = |at: usize| number(at).map(|nanos| NanoUsd(nanos).to_string());
        lines.push(Line {
            group,
            requests: number(0)?,
            prompt_tokens: number(1)?,
            cached_tokens: number(2)?,
            completion_tokens: number(3)?,
            spend_usd: money(4)?,
            saved_usd: money(5)?,
            waste_usd: money(6)?,
        });
    }
    Ok(lines)
}

/// For a terminal.
fn text(by: &[String], lines: &[Line]) -> String {
    use Align::{Left, Right};
    let name = |line: &Line| {
        let values = by.iter().map(|name| match line.group.get(name).and_then(Value::as_str) {
            Some("") | None => "-".to_owned(),
            Some(value) => value.to_owned(),
        });
        values.collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<[String; 8]> = lines
        .iter()
        .map(|line| {
            [
                name(line),
                line.requests.to_string(),
                line.prompt_tokens.to_string(),
                line.cached_tokens.to_string(),
                line.completion_tokens.to_string(),
                line.spend_usd.clone(),
                line.saved_usd.clone(),
                line.waste_usd.clone(),
            ]
        })
        .collect();
    columns(
        [
            (&by.join(", "), Left),
            ("REQUESTS", Right),
            ("PROMPT", Right),
            ("CACHED", Right),
            ("ANSWER", Right),
            ("SPENT USD", Right),
            ("SAVED", Right),
            ("WASTE", Right),
        ],
        &rows,
    )
}
