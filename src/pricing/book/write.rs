//! A book as text, in the format that [`Book::parse`] reads: the history file is one.

use std::fmt::Write as _;

use crate::pricing::card::{PriceEntry, Rates, Version};
use crate::pricing::condition::Condition;
use crate::units::PicoUsd;

use super::row::WEEKDAYS;
use super::{Book, BookRow};

impl Book {
    /// The book's rows in its own format, a row a line, conditions behind the row they refine. Prices are in USD; fees of
    /// holding credit are not in it, nor what was fetched since.
    pub fn to_json(&self) -> String {
        let mut rows = Vec::new();
        for row in &self.rows {
            for version in row.card.versions() {
                rows.push(line(row, version, &version.entry, &version.base, None));
                for (condition, rates) in &version.overrides {
                    let entry = condition.entry.as_ref().unwrap_or(&version.entry);
                    rows.push(line(row, version, entry, rates, Some(condition)));
                }
            }
        }
        format!("{{\"rows\": [\n{}\n]}}\n", rows.join(",\n"))
    }
}

fn line(
    row: &BookRow,
    version: &Version,
    entry: &PriceEntry,
    rates: &Rates,
    when: Option<&Condition>,
) -> String {
    let mut text = String::from(" {");
    // Writing to a String cannot fail.
    let mut put = |key: &str, value: String| {
        let comma = if text.ends_with('{') { "" } else { ", " };
        let _ = write!(text, "{comma}{}: {value}", quoted(key));
    };
    put("provider", quoted(&row.provider));
    put("model_id", quoted(&row.model_id));
    put("checkpoint", quoted(&row.checkpoint));
    put("family", quoted(&row.family));
    put("context_length", row.context_tokens.map_or_else(|| "null".to_owned(), |tokens| tokens.to_string()));
    if let Some(region) = &row.region {
        put("region", quoted(region));
    }
    if row.pin_only {
        put("pin_only", "true".to_owned());
    }
    put("input_usd_per_mtok", rates.input.to_string());
    for (key, price) in
        [("cached_input_usd_per_mtok", rates.cached_input), ("cache_write_usd_per_mtok", rates.cache_write)]
    {
        if let Some(price) = price {
            put(key, price.to_string());
        }
    }
    put("output_usd_per_mtok", rates.output.to_string());
    if rates.request != PicoUsd::ZERO {
        // As many pico-dollars, in the spelling of an exponent.
        put("request_usd", format!("{}e-12", rates.request.0));
    }
    if let Some(from) = version.valid_from {
        put("valid_from", quoted(&from.to_string()));
    }
    put("as_of", quoted(&entry.as_of));
    put("confidence", quoted(&entry.confidence));
    put("source", quoted(&entry.source));
    if let Some(when) = when {
        put("condition", condition(when));
    }
    if let Some(note) = row.note.as_ref().filter(|_| when.is_none()) {
        put("note", quoted(note));
    }
    text.push('}');
    text
}

fn condition(when: &Condition) -> String {
    let mut parts = Vec::new();
    if let Some(tokens) = when.prompt_tokens_above {
        parts.push(format!("\"min_prompt_tokens\": {tokens}"));
    }
    if !when.utc_minutes.is_empty() {
        let clock = |minute: u16| format!("\"{:02}:{:02}\"", minute / 60, minute % 60);
        let windows: Vec<String> = when
            .utc_minutes
            .iter()
            .map(|&(start, end)| format!("[{}, {}]", clock(start), clock(end)))
            .collect();
        parts.push(format!("\"utc_windows\": [{}]", windows.join(", ")));
    }
    if when.weekdays != 0 {
        let days: Vec<String> = (0..WEEKDAYS.len())
            .filter(|day| when.weekdays & (1 << day) != 0)
            .map(|day| quoted(WEEKDAYS[day]))
            .collect();
        parts.push(format!("\"days\": [{}]", days.join(", ")));
    }
    if let Some(calendar) = &when.except {
        parts.push(format!("\"except\": {}", quoted(calendar)));
    }
    format!("{{{}}}", parts.join(", "))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let shipped = Book::shipped();
        let mut again = Book::parse(&shipped.to_json()).unwrap();
        for (read, row) in again.rows.iter_mut().zip(&shipped.rows) {
            read.card.fee_ppm = row.card.fee_ppm;
        }
        assert_eq!(&again, shipped);
        assert_eq!(again.to_json(), shipped.to_json());
    }

    #[test]
    fn an_odd_row_is_written_whole() {
        let text = r#"{"rows": [
 {"provider": "p", "model_id": "m\"", "checkpoint": "c", "family": "c", "context_length": null, "region": "us", "pin_only": true, "input_usd_per_mtok": 0.000001, "cache_write_usd_per_mtok": 2, "output_usd_per_mtok": 3, "request_usd": 5000000e-12, "valid_from": "2026-11-03T08:00:00Z", "as_of": "2026-11-03", "confidence": "fetched", "source": "s", "note": "n"},
 {"provider": "p", "model_id": "m\"", "checkpoint": "c", "family": "c", "context_length": null, "region": "us", "pin_only": true, "input_usd_per_mtok": 1, "output_usd_per_mtok": 3, "valid_from": "2026-11-03T08:00:00Z", "as_of": "2026-11-03", "confidence": "fetched", "source": "s", "condition": {"min_prompt_tokens": 9, "utc_windows": [["22:00", "02:30"]], "days": ["mon", "sun"], "except": "x"}}
]}
"#;
        assert_eq!(Book::parse(text).unwrap().to_json(), text);
    }
}
