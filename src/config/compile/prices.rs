//! Prices that an operator typed, as a card. They beat the book, and their entry says where they stand.

use std::sync::Arc;

use crate::config::document::gateway::{DayWord, LocalCostDocument, PriceDocument};
use crate::config::document::values::{self, Window};
use crate::config::read::{At, Reader};
use crate::pricing::{Condition, PriceCard, PriceEntry, Rates};
use crate::units::{PicoUsd, TokenPrice};

/// What a price of an operator's is sure to be.
const CONFIDENCE: &str = "operator";

/// The card that `typed` makes, its entry dated `as_of` and traced to `file`.
pub(crate) fn card(
    reader: &Reader<'_>,
    typed: &At<PriceDocument>,
    file: &str,
    as_of: &str,
    fee_ppm: u32,
) -> Option<PriceCard> {
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
    let price = |price: &Option<At<values::Price>>| price.as_ref().map(|price| price.0);
    let base = Rates {
        input: input.0,
        cached_input: price(&typed.cached_input),
        cache_write: price(&typed.cache_write),
        output: output.0,
        // The text was read as an amount when it was decoded.
        request: typed
            .request
            .as_ref()
            .and_then(|usd| PicoUsd::from_usd_text(&usd.0).ok())
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
            changed(base, &tier.input, &tier.cached_input, &tier.cache_write, &tier.output),
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
            changed(base, &peak.input, &peak.cached_input, &peak.cache_write, &peak.output),
        ));
    }
    Some(PriceCard { entry: entry(file, as_of), base, overrides, fee_ppm })
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
    PriceCard { entry: entry(source, "always"), base, overrides: Vec::new(), fee_ppm: 0 }
}

fn entry(source: &str, as_of: &str) -> PriceEntry {
    PriceEntry { source: source.into(), as_of: as_of.into(), confidence: Arc::from(CONFIDENCE) }
}

type Typed = Option<At<values::Price>>;

/// `base` with what was typed put in its place.
fn changed(base: Rates, input: &Typed, cached: &Typed, write: &Typed, output: &Typed) -> Rates {
    let of = |typed: &Typed| typed.as_ref().map(|price| price.0);
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
