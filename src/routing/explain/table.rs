//! Aligned columns of plain text, and an explanation laid out in them. No colour: the terminal's side adds that.

use std::fmt::Write as _;

use crate::routing::decision::Degraded;

use super::figures::{Percent, Usd, rough};
use super::{Explanation, Offer, PriceInForce};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// Rows under a heading, each column as wide as its widest cell, two blanks between columns, none at a line's end.
pub fn columns<const N: usize>(heading: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let columns = heading.iter().enumerate().map(|(at, (title, align))| Column {
        title,
        align: *align,
        cells: rows.iter().filter_map(|row| row.get(at).cloned()).collect(),
    });
    beside(&columns.collect::<Vec<_>>())
}

/// A column of a table.
struct Column<'t> {
    title: &'t str,
    align: Align,
    cells: Vec<String>,
}

/// Columns side by side, all of one length.
fn beside(columns: &[Column<'_>]) -> String {
    let wide = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.cells.iter().map(|cell| wide(cell)).fold(wide(column.title), usize::max))
        .collect();
    let mut text = String::new();
    let height = columns.first().map_or(0, |column| column.cells.len());
    for line in 0..=height {
        let before = text.len();
        for (column, width) in columns.iter().zip(&widths) {
            let cell =
                if line == 0 { column.title } else { column.cells.get(line - 1).map_or("", String::as_str) };
            if text.len() > before {
                text.push_str("  ");
            }
            let blanks = " ".repeat(width.saturating_sub(wide(cell)));
            match column.align {
                Align::Left => text.extend([cell, &blanks]),
                Align::Right => text.extend([blanks.as_str(), cell]),
            }
        }
        text.truncate(text.trim_end().len().max(before));
        text.push('\n');
    }
    text
}

impl Explanation {
    /// The explanation for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}\n\npolicy {}, objective {}, {} prompt tokens, {} answer tokens assumed, prices at {}\n",
            self.sentence,
            self.policy,
            self.objective,
            self.prompt_tokens,
            self.output_tokens_assumed,
            self.at
        );
        // Writing to a String cannot fail.
        if let Some(promise) = &self.promise {
            let _ = writeln!(
                text,
                "promised: {} of first tokens within {} ms; a late one counts {} USD",
                share_words(promise.attainment),
                promise.within_ms,
                roughly(&promise.lateness_usd)
            );
        }
        if let Some(plan) = &self.plan
            && let (Some(second), Some(score)) = (&plan.second, &plan.score_usd)
        {
            // By its own score the first may come behind.
            let _ = writeln!(text, "plan: with {} behind it, {} scores {score}", second.route, plan.first);
        }
        if let Some(price) = &self.queue_usd_per_s {
            let _ = writeln!(text, "local queue: a second of prefill counts {} USD", roughly(price));
        }
        let degraded = Degraded::ALL.into_iter().find(|one| one.code() == self.degraded);
        if let Some(words) = degraded.and_then(Degraded::words) {
            let _ = writeln!(text, "degraded ({}): {words}", self.degraded);
        }
        if !self.candidates.is_empty() {
            text.push('\n');
            text.push_str(&self.candidates_text());
        }
        if !self.excluded.is_empty() {
            text.push_str("\nleft out\n");
            for left in &self.excluded {
                let _ = writeln!(text, "  {}: {}", left.route, left.why);
            }
        }
        for shadow in &self.shadows {
            let _ = writeln!(text, "\nin the shadow, {}: {}", shadow.policy, shadow.sentence);
        }
        text
    }

    /// The table; a column that says nothing is left out.
    fn candidates_text(&self) -> String {
        use Align::{Left, Right};
        let any = |says: fn(&Offer) -> bool| self.candidates.iter().any(says);
        let (promised, session) = (self.promise.is_some(), any(|one| is_some_money(&one.session_usd)));
        let queue = self.objective == "cost" && any(|one| is_some_money(&one.other_usd));
        let unknown = || "?".to_owned();
        let mut columns = Vec::new();
        let mut add = |shown: bool, title, align, cell: &dyn Fn(usize, &Offer) -> String| {
            if shown {
                let cells = self.candidates.iter().enumerate().map(|(at, offer)| cell(at, offer)).collect();
                columns.push(Column { title, align, cells });
            }
        };
        add(true, "#", Right, &|at, one| format!("{}{}", at + 1, if one.last_resort { "!" } else { "" }));
        add(true, "route", Left, &|_, one| one.route.clone());
        add(true, "checkpoint", Left, &|_, one| one.checkpoint.clone());
        add(true, "expected USD", Right, &|_, one| one.cost_usd_expected.clone().unwrap_or_else(unknown));
        add(true, "first token", Right, &|_, one| {
            one.ttft_ms_expected.map_or_else(unknown, |ms| format!("{ms} ms"))
        });
        add(promised && any(|one| one.ttft_ms_expected.is_some()), "in time", Right, &|_, one| {
            one.ttft_ms_expected.map_or_else(unknown, |_| share_words(one.in_time))
        });
        add(any(|one| one.cached_tokens_expected > 0), "from cache", Right, &|_, one| {
            one.cached_tokens_expected.to_string()
        });
        add(session, "session", Right, &|_, one| one.session_usd.clone());
        add(queue, "queue", Right, &|_, one| one.other_usd.clone());
        add(promised || session || queue, "score", Right, &|_, one| {
            one.score_usd.clone().unwrap_or_else(unknown)
        });
        let price = |of: fn(&PriceInForce) -> Option<&str>| {
            move |_: usize, one: &Offer| {
                one.price.as_ref().map_or_else(unknown, |price| of(price).unwrap_or("-").to_owned())
            }
        };
        add(true, "input", Right, &price(|price| Some(&price.input)));
        add(true, "cached", Right, &price(|price| price.cached_input.as_deref()));
        add(true, "output", Right, &price(|price| Some(&price.output)));
        add(true, "price", Left, &|_, one| provenance(one));
        beside(&columns)
    }
}

/// Why these prices are in force, and how sure they are.
fn provenance(offer: &Offer) -> String {
    let Some(price) = &offer.price else { return "not known".to_owned() };
    let because = price.because.as_ref().map_or(String::new(), |words| format!("{words}; "));
    let fee = if price.fee_ppm == 0 { String::new() } else { format!("{} fee; ", percent(price.fee_ppm)) };
    format!("{because}{fee}{} {}", price.confidence, price.as_of)
}

/// Whether an amount is other than zero.
fn is_some_money(text: &str) -> bool {
    text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// An amount of a ranking, to two digits.
fn roughly(usd: &str) -> Usd {
    rough(usd.parse().unwrap_or(0.0))
}

fn share_words(share: f64) -> String {
    Percent(share).to_string()
}

/// Parts per million as percent (`5.5%`).
fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    let short = text.trim_end_matches('0');
    format!("{}%", short.strip_suffix('.').unwrap_or(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "10".to_owned()], ["Łódź".to_owned(), "5".to_owned()]];
        let text = columns([("name", Align::Left), ("n", Align::Right)], &rows);
        assert_eq!(text, "name   n\na     10\nŁódź   5\n");
        let last_left =
            columns([("n", Align::Right), ("name", Align::Left)], &[["1".to_owned(), String::new()]]);
        assert_eq!(last_left, "n  name\n1\n");
    }

    #[test]
    fn a_fee_reads_as_percent() {
        assert_eq!([percent(55_000), percent(50_000), percent(100)], ["5.5%", "5%", "0.01%"]);
    }
}
