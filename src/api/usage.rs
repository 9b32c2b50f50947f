//! Usage as providers report it, in every place and spelling it was seen in, read into one normal form.

use crate::units::{NanoUsd, PicoUsd, Reported, Usage};

use super::scan::{self, Fault, Kind, Scanner, Span};

/// Counts above this are a fault of the provider's, not a bill.
const TOKENS_CREDIBLE_MAX: u64 = 1_000_000_000;
/// Nesting allowed in what a provider sends.
pub const PROVIDER_DEPTH_MAX: usize = 256;

/// Reads the usage object in `bytes` (the whole text of one object).
pub fn read(bytes: &[u8]) -> Result<Reported, Fault> {
    let mut reading = Reading::of(bytes);
    let mut scanner = Scanner::new(bytes, PROVIDER_DEPTH_MAX);
    let mut members = scanner.enter_object()?;
    while let Some(key) = members.next(&mut scanner)? {
        reading.member(&mut scanner, &key)?;
    }
    let mut reported = reading.reported;
    // The Responses API's words count where a chat's are not there.
    let usage = &mut reported.usage;
    usage.prompt = if usage.prompt == 0 { reading.input } else { usage.prompt };
    usage.completion = if usage.completion == 0 { reading.output } else { usage.completion };
    if reported.usage.cached == 0 {
        reported.usage.cached = reading.flat_cached.max(reading.hit_cached);
    }
    reported.usage = reported.usage.clamped();
    Ok(reported)
}

/// A usage object of our own, for a stream whose provider sent none where the caller asked.
pub fn write(usage: &Usage, cost: Option<NanoUsd>, estimated: bool) -> String {
    let Usage { prompt, cached, cache_write, completion, reasoning } = *usage;
    let total = prompt.saturating_add(completion);
    let cost = cost.map(|cost| format!(",\"cost\":{cost}")).unwrap_or_default();
    let estimated = if estimated { ",\"estimated\":true" } else { "" };
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{cached},\"cache_write_tokens\":{cache_write}}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning}}}{cost}{estimated}}}"
    )
}

struct Reading<'a> {
    bytes: &'a [u8],
    reported: Reported,
    flat_cached: u64,
    hit_cached: u64,
    input: u64,
    output: u64,
}

impl<'a> Reading<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, reported: Reported::default(), flat_cached: 0, hit_cached: 0, input: 0, output: 0 }
    }

    fn member(&mut self, scanner: &mut Scanner<'_>, key: &Span) -> Result<(), Fault> {
        let name = scan::text_of(self.bytes, key);
        match &*name {
            "prompt_tokens" => self.reported.usage.prompt = self.count(scanner)?,
            "completion_tokens" => self.reported.usage.completion = self.count(scanner)?,
            "input_tokens" => self.input = self.count(scanner)?,
            "output_tokens" => self.output = self.count(scanner)?,
            "total_tokens" => self.reported.total = self.lenient(scanner)?,
            "search_units" => self.reported.searches = self.count(scanner)?,
            "cached_tokens" => self.flat_cached = self.count(scanner)?,
            "prompt_cache_hit_tokens" => self.hit_cached = self.count(scanner)?,
            "reasoning_tokens" => self.reasoning(scanner)?,
            "prompt_tokens_details"
            | "completion_tokens_details"
            | "input_tokens_details"
            | "output_tokens_details" => self.details(scanner)?,
            "cost" => {
                let kind = scanner.kind()?;
                let span = scanner.value()?;
                if kind == Kind::Number {
                    let text = std::str::from_utf8(&self.bytes[span]).unwrap_or_default();
                    let cost = PicoUsd::from_usd_text(text).ok();
                    self.reported.odd |= cost.is_none_or(|cost| cost < PicoUsd::ZERO);
                    self.reported.cost = cost.filter(|cost| *cost >= PicoUsd::ZERO);
                }
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    }

    fn details(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        if scanner.kind()? != Kind::Object {
            scanner.value()?;
            return Ok(());
        }
        let mut members = scanner.enter_object()?;
        while let Some(key) = members.next(scanner)? {
            let name = scan::text_of(self.bytes, &key);
            match &*name {
                "cached_tokens" => self.reported.usage.cached = self.count(scanner)?,
                "cache_write_tokens" | "cache_creation_input_tokens" => {
                    let written = self.count(scanner)?;
                    self.reported.usage.cache_write = self.reported.usage.cache_write.max(written);
                }
                "reasoning_tokens" => self.reasoning(scanner)?,
                _ => {
                    scanner.value()?;
                }
            }
        }
        Ok(())
    }

    fn reasoning(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        let tokens = self.count(scanner)?;
        self.reported.usage.reasoning = self.reported.usage.reasoning.max(tokens);
        Ok(())
    }

    /// A count that no bill of text rests on: what is odd about it spoils nothing.
    fn lenient(&mut self, scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
        let odd = self.reported.odd;
        let count = self.count(scanner)?;
        self.reported.odd = odd;
        Ok(count)
    }

    /// A count; missing, null and 0 are all 0, and so is what no count can be, which is marked.
    fn count(&mut self, scanner: &mut Scanner<'_>) -> Result<u64, Fault> {
        let kind = scanner.kind()?;
        let span = scanner.value()?;
        if kind == Kind::Null {
            return Ok(0);
        }
        let text = std::str::from_utf8(&self.bytes[span]).unwrap_or_default();
        let whole = text.strip_suffix(".0").unwrap_or(text);
        let count =
            whole.parse::<u64>().ok().filter(|count| kind == Kind::Number && *count <= TOKENS_CREDIBLE_MAX);
        self.reported.odd |= count.is_none();
        Ok(count.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_of(text: &str) -> Reported {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_spelling_of_cached_and_reasoning() {
        let nested = usage_of(
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},
                "completion_tokens_details":{"reasoning_tokens":2}}"#,
        );
        let flat = usage_of(
            r#"{"prompt_tokens":10,"completion_tokens":5,"cached_tokens":4,"reasoning_tokens":2,"prompt_tokens_details":null}"#,
        );
        let hits = usage_of(
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6,
            "completion_tokens_details":{"reasoning_tokens":2}}"#,
        );
        assert_eq!(
            nested.usage,
            Usage { prompt: 10, cached: 4, cache_write: 0, completion: 5, reasoning: 2 }
        );
        assert_eq!(nested, flat);
        assert_eq!(nested, hits);
        let responses = usage_of(
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,
                "output_tokens_details":{"reasoning_tokens":2}}"#,
        );
        assert_eq!(nested, responses);
    }

    #[test]
    fn odd_counts_are_zero_and_marked() {
        for odd in ["-1", "9.5", "\"9\"", "9223372036854775808", "1e3", "true", "{}"] {
            let reported = usage_of(&format!(r#"{{"prompt_tokens":{odd},"completion_tokens":5}}"#));
            assert!(reported.odd && reported.usage.prompt == 0, "{odd}");
        }
        assert!(!usage_of(r#"{"prompt_tokens":9.0,"completion_tokens":null}"#).odd);
    }

    #[test]
    fn what_we_write_we_read() {
        let usage = Usage { prompt: 10, cached: 4, cache_write: 1, completion: 5, reasoning: 2 };
        let text = write(&usage, Some(NanoUsd(1_234)), true);
        assert_eq!(
            usage_of(&text),
            Reported { usage, cost: Some(PicoUsd(1_234_000)), total: 15, ..Reported::default() }
        );
    }

    #[test]
    fn a_stated_cost_is_exact() {
        assert_eq!(usage_of(r#"{"cost":6.93e-06}"#).cost, Some(PicoUsd(6_930_000)));
        assert_eq!(usage_of(r#"{"cost":-1}"#).cost, None);
        assert_eq!(usage_of(r#"{"cost":null}"#).cost, None);
    }
}
