//! `tollway report`: what was spent, by whatever one asks.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ledger::{Error, Fleet, Source, When, Which, told};
use super::output::Output;
use crate::ledger::ADJUSTED;
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
    let rows = match args.which.source()? {
        Source::Here(reader) => {
            let sql = query(&args.by, Dialect::Sqlite)?;
            here(&reader, args, &sql).map_err(|error| reader.misread(&error))?
        }
        Source::Fleet(Fleet { mut reader, runtime }) => {
            let sql = query(&args.by, Dialect::Postgres)?;
            runtime.block_on(reader.texts(&sql, args.when.span()))?
        }
    };
    let lines: Vec<Line> = rows.iter().map(|row| line(args, row)).collect();
    args.output.print(&lines, |lines| text(&args.by, lines), &mut anstream::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Whose SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// Columns of an attempt; all others are the request's.
const OF_ATTEMPTS: [&str; 3] = ["provider", "route", "checkpoint"];
const OF_REQUESTS: [&str; 8] =
    ["key", "user", "team", "organisation", "policy", "model", "endpoint", "outcome"];
/// Spans of time, as SQLite and as PostgreSQL write them.
const OF_TIME: [(&str, &str, &str); 3] = [
    ("hour", "%Y-%m-%dT%H", "YYYY-MM-DD\"T\"HH24"),
    ("day", "%Y-%m-%d", "YYYY-MM-DD"),
    ("month", "%Y-%m", "YYYY-MM"),
];

/// What one name groups by, in SQL. Names come from lists, and a tag's from letters, digits and `. _ -` alone.
fn expression(name: &str, dialect: Dialect) -> Result<String, Error> {
    if OF_REQUESTS.contains(&name) {
        // `user` is a word of PostgreSQL's own.
        let column = if (name, dialect) == ("user", Dialect::Postgres) { "user_name" } else { name };
        return Ok(format!("r.{column}"));
    }
    if OF_ATTEMPTS.contains(&name) {
        return Ok(format!("coalesce(a.{name}, '')"));
    }
    if let Some((_, sqlite, postgres)) = OF_TIME.iter().find(|(word, ..)| *word == name) {
        return Ok(match dialect {
            Dialect::Sqlite => format!("strftime('{sqlite}', r.began_ns / 1000000000, 'unixepoch')"),
            Dialect::Postgres => format!("to_char(r.began AT TIME ZONE 'UTC', '{postgres}')"),
        });
    }
    let tag = name.strip_prefix("tag:").filter(|tag| !tag.is_empty());
    let is_plain = |tag: &&str| tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if let Some(tag) = tag.filter(is_plain) {
        return Ok(match dialect {
            Dialect::Sqlite => format!("coalesce(json_extract(r.tags, '$.\"{tag}\"'), '')"),
            Dialect::Postgres => format!("coalesce(r.tags ->> '{tag}', '')"),
        });
    }
    let known: Vec<&str> =
        OF_REQUESTS.into_iter().chain(OF_ATTEMPTS).chain(OF_TIME.map(|(word, ..)| word)).collect();
    let known = known.join(", ");
    Err(Error::Usage(format!("nothing can be grouped by {name:?}; there are {known} and tag:NAME")))
}

/// Columns of groups, then of numbers, all of them as texts; `$1` and `$2` are the span.
fn query(by: &[String], dialect: Dialect) -> Result<String, Error> {
    let groups = by.iter().map(|name| expression(name, dialect)).collect::<Result<Vec<_>, _>>()?;
    // A request counts once in each of its groups; with none of an attempt's columns it has one group, and its first row is it.
    let (names, tables, from, to) = match dialect {
        Dialect::Sqlite => ("r.seq", "requests r LEFT JOIN attempts a ON a.seq = r.seq", "?1", "?2"),
        Dialect::Postgres => {
            let tables = "tollway.requests r LEFT JOIN tollway.attempts a ON a.hold = r.hold AND a.replica = r.replica";
            ("(r.hold, r.replica)", tables, "$1", "$2")
        }
    };
    let requests = if by.iter().any(|name| OF_ATTEMPTS.contains(&name.as_str())) {
        format!("count(DISTINCT CASE WHEN r.outcome != '{ADJUSTED}' THEN {names} END)")
    } else {
        format!("count(CASE WHEN coalesce(a.n, 0) = 0 AND r.outcome != '{ADJUSTED}' THEN 1 END)")
    };
    let sum = |of: &str| format!("coalesce(sum({of}), 0)");
    let numbers = [
        requests,
        sum("a.prompt_tokens"),
        sum("a.cached_tokens"),
        sum("a.completion_tokens"),
        sum("a.amount_nanos"),
        sum("CASE WHEN coalesce(a.n, 0) = 0 THEN r.saved_nanos END"),
        sum(&format!("CASE WHEN a.outcome NOT IN ('ok', '{ADJUSTED}') THEN a.amount_nanos END")),
    ];
    let columns: Vec<String> =
        groups.iter().chain(&numbers).map(|column| format!("CAST({column} AS text)")).collect();
    let groups = groups.join(", ");
    Ok(format!(
        "SELECT {} FROM {tables} WHERE r.began_ns >= {from} AND r.began_ns < {to} \
         GROUP BY {groups} ORDER BY coalesce(sum(a.amount_nanos), 0) DESC, {groups}",
        columns.join(", ")
    ))
}

fn here(reader: &Reader, args: &ReportArgs, sql: &str) -> rusqlite::Result<Vec<Vec<String>>> {
    let (from, to) = args.when.span().nanos();
    let mut statement = reader.connection().prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([from, to], |row| {
        (0..columns).map(|at| Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())).collect()
    })?;
    rows.collect()
}

fn line(args: &ReportArgs, row: &[String]) -> Line {
    let (values, numbers) = row.split_at(args.by.len().min(row.len()));
    let mut group = Map::new();
    for (name, value) in args.by.iter().zip(values) {
        group.insert(name.clone(), value.clone().into());
    }
    let number = |at: usize| numbers.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let money = |at: usize| NanoUsd(number(at)).to_string();
    Line {
        group,
        requests: number(0),
        prompt_tokens: number(1),
        cached_tokens: number(2),
        completion_tokens: number(3),
        spend_usd: money(4),
        saved_usd: money(5),
        waste_usd: money(6),
    }
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
