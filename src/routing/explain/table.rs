//! Aligned columns of plain text, and an explanation laid out in them. No colour: the terminal's side adds that.

use std::fmt::Write as _;

use super::{Explanation, Offer};

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
    let mut widths = heading.map(|(title, _)| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = heading.map(|(title, _)| title.to_owned());
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(widths).zip(heading) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line.extend([cell.as_str(), &blanks]),
                Align::Right => line.extend([blanks.as_str(), cell]),
            }
        }
        text.push_str(line.trim_end());
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
        if !self.candidates.is_empty() {
            text.push('\n');
            text.push_str(&self.candidates_text());
        }
        if !self.excluded.is_empty() {
            text.push_str("\nleft out\n");
            for left in &self.excluded {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {}: {}", left.route, left.why);
            }
        }
        text
    }

    fn candidates_text(&self) -> String {
        use Align::{Left, Right};
        let rows: Vec<[String; 9]> =
            self.candidates.iter().enumerate().map(|(index, offer)| row(index + 1, offer)).collect();
        columns(
            [
                ("#", Right),
                ("route", Left),
                ("checkpoint", Left),
                ("expected USD", Right),
                ("first token", Right),
                ("input", Right),
                ("cached", Right),
                ("output", Right),
                ("price", Left),
            ],
            &rows,
        )
    }
}

fn row(place: usize, offer: &Offer) -> [String; 9] {
    let price = offer.price.as_ref();
    let unknown = || "?".to_owned();
    let provenance = price.map_or_else(
        || "not known".to_owned(),
        |price| {
            let because = price.because.as_ref().map_or(String::new(), |words| format!("{words}; "));
            let fee =
                if price.fee_ppm == 0 { String::new() } else { format!("{} fee; ", percent(price.fee_ppm)) };
            format!("{because}{fee}{} {}", price.confidence, price.as_of)
        },
    );
    [
        format!("{place}{}", if offer.last_resort { "!" } else { "" }),
        offer.route.clone(),
        offer.checkpoint.clone(),
        offer.cost_usd_expected.clone().unwrap_or_else(unknown),
        offer.ttft_ms_expected.map_or_else(unknown, |ms| format!("{ms} ms")),
        price.map_or_else(unknown, |price| price.input.clone()),
        price.map_or_else(unknown, |price| price.cached_input.clone().unwrap_or_else(|| "-".to_owned())),
        price.map_or_else(unknown, |price| price.output.clone()),
        provenance,
    ]
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
