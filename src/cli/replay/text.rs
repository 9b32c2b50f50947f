//! A comparison as people read it on a terminal.

use std::fmt::Write as _;

use crate::replay::compare::{Comparison, Share, Side};
use crate::replay::protocol::report::{percent, span, usd};

/// Everything worth a line; the oracle's curve and the baselines where they are asked for.
pub(super) fn of(all: &Comparison, notes: &[String], oracle: bool, baselines: bool) -> String {
    let mut text = String::new();
    let (ttft_s, per_1k_s) = all.promise_s;
    let _ = writeln!(
        text,
        "{}: {} requests over {}, in market {}, {} seeds\nlate after {ttft_s} s + {per_1k_s} s for each thousand prompt tokens",
        all.trace,
        all.requests,
        span(all.span_s),
        all.market,
        all.seeds
    );
    for note in notes {
        let _ = writeln!(text, "note: {}", note.replace('\n', "\n      "));
    }
    for side in all.sides.iter().filter(|side| side.undecided > 0) {
        let _ = writeln!(
            text,
            "note: no policy of {} decides {} of the requests, which are refused; add one without `match`",
            side.name, side.undecided
        );
    }
    text.push('\n');
    totals(&mut text, all);
    shares(&mut text, "route", all, |side| &side.routes);
    if all.sides.iter().any(|side| side.models.len() > 1) {
        shares(&mut text, "model", all, |side| &side.models);
    }
    if all.sides.iter().any(|side| !side.tags.is_empty()) {
        shares(&mut text, "tags", all, |side| &side.tags);
    }
    if oracle {
        curve(&mut text, all);
    }
    if baselines {
        rivals(&mut text, all);
    }
    text
}

/// A figure of a side, and how two of it differ.
type Row = (&'static str, fn(&Side) -> Option<f64>, fn(f64) -> String, Differs);

#[derive(Clone, Copy)]
enum Differs {
    AsShare,
    InPoints,
    Not,
}

const ROWS: [Row; 19] = [
    ("spend, USD", |side| Some(side.mean.spend_usd), usd, Differs::AsShare),
    ("  of a seed, lowest", |side| Some(side.spend_range_usd.0), usd, Differs::Not),
    ("  of a seed, highest", |side| Some(side.spend_range_usd.1), usd, Differs::Not),
    ("  answers", |side| Some(side.mean.answers_usd), usd, Differs::AsShare),
    ("  attempts without an answer", |side| Some(side.mean.wasted_usd), usd, Differs::Not),
    ("  probes", |side| Some(side.mean.probes_usd), usd, Differs::Not),
    ("  own node's power", |side| Some(side.mean.power_usd).filter(|usd| *usd > 0.0), usd, Differs::Not),
    ("in time", |side| Some(side.mean.attainment), percent2, Differs::InPoints),
    ("  in the worst 60 s", |side| Some(side.mean.worst_minute), percent1, Differs::InPoints),
    ("  which began at", |side| side.worst_minute_at_s, span, Differs::Not),
    ("  of the longest prompts", |side| Some(side.mean.by_size[2]), percent2, Differs::InPoints),
    ("first token, p50", |side| Some(side.mean.ttft_s[0]), seconds, Differs::AsShare),
    ("first token, p95", |side| Some(side.mean.ttft_s[1]), seconds, Differs::AsShare),
    ("first token, p99", |side| Some(side.mean.ttft_s[2]), seconds, Differs::AsShare),
    ("errors that callers saw", |side| Some(side.mean.errors), one_digit, Differs::Not),
    ("attempts a request", |side| Some(side.mean.attempts), three_digits, Differs::Not),
    ("second attempts a request", |side| Some(side.mean.hedges), three_digits, Differs::Not),
    ("above the informed oracle", |side| side.regret.map(|regret| regret.share), percent1, Differs::Not),
    ("times the lower bound", |side| Some(side.mean.spend_usd / side.bound_usd?), two_digits, Differs::Not),
];

fn percent1(share: f64) -> String {
    percent(share, 1)
}
fn percent2(share: f64) -> String {
    percent(share, 2)
}
fn seconds(time: f64) -> String {
    format!("{time:.2} s")
}
fn one_digit(number: f64) -> String {
    format!("{number:.1}")
}
fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}
fn three_digits(number: f64) -> String {
    format!("{number:.3}")
}

/// How the second of two sides differs in a figure.
fn difference(differs: Differs, from: f64, to: f64) -> String {
    match differs {
        Differs::AsShare if from > 0.0 => format!("{:+.1} %", (to / from - 1.0) * 100.0),
        Differs::InPoints => format!("{:+.2} points", (to - from) * 100.0),
        _ => String::new(),
    }
}

fn totals(text: &mut String, all: &Comparison) {
    let mut head = vec![String::new()];
    head.extend(all.sides.iter().map(|side| side.name.clone()));
    if all.sides.len() == 2 {
        head.push("difference".to_owned());
    }
    let mut rows = vec![head];
    for (what, figure, show, differs) in ROWS {
        let values: Vec<Option<f64>> = all.sides.iter().map(figure).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let mut row = vec![what.to_owned()];
        row.extend(values.iter().map(|value| value.map_or("–".to_owned(), show)));
        if let [Some(from), Some(to)] = values[..] {
            row.push(difference(differs, from, to));
        }
        rows.push(row);
    }
    text.push_str(&table(&rows));
    if all.sides.iter().any(|side| side.regret.is_some_and(|regret| regret.beyond)) {
        text.push_str("(some seeds attain more than the oracle ever does, and are compared with its best)\n");
    }
}

fn shares(text: &mut String, what: &str, all: &Comparison, of: impl Fn(&Side) -> &[Share]) {
    let mut head = vec![what.to_owned()];
    for side in &all.sides {
        let short = if all.sides.len() == 1 { String::new() } else { format!(" {}", side.name) };
        head.extend([format!("requests{short}"), "USD".to_owned(), "in time".to_owned()]);
    }
    let mut names: Vec<&str> =
        all.sides.iter().flat_map(|side| of(side).iter().map(|one| &*one.name)).collect();
    let mut known: Vec<&str> = Vec::new();
    names.retain(|name| {
        let new = !known.contains(name);
        known.push(name);
        new
    });
    let mut rows = vec![head];
    for name in names {
        let mut row = vec![name.to_owned()];
        for side in &all.sides {
            let found = of(side).iter().find(|one| one.name == name);
            row.extend([
                found.map_or("–".to_owned(), |one| format!("{:.0}", one.requests)),
                found.map_or("–".to_owned(), |one| usd(one.usd)),
                found.and_then(|one| one.attainment).map_or(String::new(), percent1),
            ]);
        }
        rows.push(row);
    }
    // Routes are not told in time: a request may have been to several.
    let column_is_empty = |at: usize| rows.iter().skip(1).all(|row| row.get(at).is_none_or(String::is_empty));
    let kept: Vec<usize> = (0..rows[0].len()).filter(|at| !column_is_empty(*at)).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| kept.iter().filter_map(|at| row.get(*at).cloned()).collect()).collect();
    text.push('\n');
    text.push_str(&table(&rows));
}

fn curve(text: &mut String, all: &Comparison) {
    let Some(oracle) = &all.oracle else { return };
    let mut rows = vec![
        ["the informed oracle pays for a late one, USD", "in time", "spend, USD"].map(str::to_owned).to_vec(),
    ];
    for point in &oracle.points {
        rows.push(vec![format!("{:.6}", point.lateness_usd), percent2(point.attainment), usd(point.usd)]);
    }
    text.push('\n');
    text.push_str(&table(&rows));
}

fn rivals(text: &mut String, all: &Comparison) {
    let head = ["others", "spend, USD", "in time", "p95", "errors"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    for rival in &all.baselines {
        let most = rival.local_most.map(|most| format!(", local first below {most}")).unwrap_or_default();
        rows.push(vec![
            format!("{}{most}", rival.name),
            usd(rival.mean.spend_usd),
            percent2(rival.mean.attainment),
            seconds(rival.mean.ttft_s[1]),
            one_digit(rival.mean.errors),
        ]);
    }
    text.push('\n');
    text.push_str(&table(&rows));
}

/// Rows in columns: the first to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            let (before, after) = if at == 0 { ("", &*gap) } else { (&*gap, "") };
            let _ = write!(line, "{}{before}{cell}{after}", if at == 0 { "" } else { "  " });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
