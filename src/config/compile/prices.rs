//! Prices that an operator typed, as a card. They beat the book, and their entry says where they stand.

use std::sync::Arc;

use crate::config::document::gateway::{DayWord, LocalCostDocument, PriceDocument};
use crate::config::document::values::{self, Window};
use crate::config::read::{At, Reader};
use crate::pricing::{Condition, PriceCard, PriceEntry, Rates, Version};
use crate::units::{Factor, PicoUsd, TokenPrice};

/// What a price of an operator's is sure to be.
const CONFIDENCE: &str = "operator";

/// The prices that `typed` makes, their entry dated `as_of` and traced to `file`.
pub(crate) fn version(
    reader: &Reader<'_>,
    typed: &At<PriceDocument>,
    file: &str,
    as_of: &str,
) -> Option<Version> {
    let (Some(input), Some(output)) = (&typed.input, &typed.output) else {
        let missing = if typed.input.is_none() { "input" } else { "output" };
        let help = "give both, in USD per million tokens; 0 if it costs nothing".to_owned();
        reader.missing(
            typed.spot,
            &[missing],
            &format!("a price needs `input` and `output`; `{missing}` is missing"),
            Some(help),
        );
        return None;
    };
    let (rate, source) = currency(reader, typed, file)?;
    let price = |price: &Option<At<values::Price>>| price.as_ref().map(|price| rate.of_price(price.0));
    let base = Rates {
        input: rate.of_price(input.0),
        cached_input: price(&typed.cached_input),
        cache_write: price(&typed.cache_write),
        output: rate.of_price(output.0),
        // The text was read as an amount when it was decoded.
        request: typed
            .request
            .as_ref()
            .and_then(|amount| PicoUsd::from_usd_text(&amount.0).ok())
            .map(|amount| rate.of_amount(amount))
            .unwrap_or_default(),
    };
    let mut overrides = Vec::new();
    for tier in typed.tiers.iter().flat_map(|tiers| &tiers.value) {
        let Some(above) = &tier.prompt_tokens_above else {
            reader.missing(tier.spot, &["prompt_tokens_above"], "a tier needs `prompt_tokens_above`", None);
            continue;
        };
        let condition = Condition { prompt_tokens_above: Some(above.0), ..Condition::default() };
        overrides.push((
            condition,
            changed(rate, base, &tier.input, &tier.cached_input, &tier.cache_write, &tier.output),
        ));
    }
    for peak in typed.peak.iter().flat_map(|peaks| &peaks.value) {
        let Some(windows) = &peak.utc else {
            reader.missing(peak.spot, &["utc"], "a peak needs `utc`, such as [01:00-04:00]", None);
            continue;
        };
        let weekdays =
            peak.days.iter().flat_map(|days| &days.value).fold(0, |bits, day| bits | weekday_bit(day.value));
        let utc_minutes = windows.value.iter().map(|At { value: Window(window), .. }| *window).collect();
        let condition = Condition { utc_minutes, weekdays, ..Condition::default() };
        overrides.push((
            condition,
            changed(rate, base, &peak.input, &peak.cached_input, &peak.cache_write, &peak.output),
        ));
    }
    Some(Version { overrides, ..Version::always(entry(&source, as_of), base) })
}

/// What one unit of the typed prices' currency is worth, and the words that say so.
fn currency(reader: &Reader<'_>, typed: &At<PriceDocument>, file: &str) -> Option<(Factor, String)> {
    match (&typed.currency, &typed.usd_per_unit) {
        (None, None) => Some((Factor::ONE, file.to_owned())),
        (Some(currency), Some(rate)) => {
            let is_usd = *currency.0 == *"USD";
            if is_usd && rate.0 != Factor::ONE {
                reader.error(rate.spot, "a USD is worth 1 USD", Some("remove `usd_per_unit`".to_owned()));
                return None;
            }
            let words = if is_usd { String::new() } else { format!("; {} 1 = USD {}", currency.0, rate.0) };
            Some((rate.0, format!("{file}{words}")))
        }
        (Some(currency), None) if *currency.0 == *"USD" => Some((Factor::ONE, file.to_owned())),
        (Some(currency), None) => {
            let message = format!("prices in {} need `usd_per_unit`", currency.0);
            let help = format!("what one {} is worth in USD, such as `usd_per_unit: 0.139`", currency.0);
            reader.error(currency.spot, &message, Some(help));
            None
        }
        (None, Some(rate)) => {
            let help = "name the prices' `currency`, such as `currency: CNY`".to_owned();
            reader.error(rate.spot, "`usd_per_unit` is of no use without `currency`", Some(help));
            None
        }
    }
}

/// What local tokens cost: nothing, unless the operator says otherwise.
pub(crate) fn local(typed: Option<&At<LocalCostDocument>>, file: &str) -> PriceCard {
    let price = |pick: fn(&LocalCostDocument) -> Option<&At<values::Price>>| {
        typed.and_then(|cost| pick(cost)).map(|price| price.0)
    };
    let free = TokenPrice(0);
    let base = Rates {
        input: price(|cost| cost.input.as_ref()).unwrap_or(free),
        cached_input: price(|cost| cost.cached_input.as_ref()),
        cache_write: None,
        output: price(|cost| cost.output.as_ref()).unwrap_or(free),
        request: PicoUsd::ZERO,
    };
    let source = if typed.is_some() { file } else { "local engine: hardware that is paid for" };
    PriceCard::new(Version::always(entry(source, "always"), base), 0)
}

fn entry(source: &str, as_of: &str) -> PriceEntry {
    PriceEntry { source: source.into(), as_of: as_of.into(), confidence: Arc::from(CONFIDENCE) }
}

type Typed = Option<At<values::Price>>;

/// `base` with what was typed put in its place.
fn changed(rate: Factor, base: Rates, input: &Typed, cached: &Typed, write: &Typed, output: &Typed) -> Rates {
    let of = |typed: &Typed| typed.as_ref().map(|price| rate.of_price(price.0));
    Rates {
        input: of(input).unwrap_or(base.input),
        cached_input: of(cached).or(base.cached_input),
        cache_write: of(write).or(base.cache_write),
        output: of(output).unwrap_or(base.output),
        request: base.request,
    }
}

const fn weekday_bit(day: DayWord) -> u8 {
    1 << match day {
        DayWord::Mon => 0,
        DayWord::Tue => 1,
        DayWord::Wed => 2,
        DayWord::Thu => 3,
        DayWord::Fri => 4,
        DayWord::Sat => 5,
        DayWord::Sun => 6,
    }
}
