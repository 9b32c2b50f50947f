//! Price lists as providers publish them: OpenRouter's (text, USD per token) and Together's (numbers, USD per million).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::units::{Factor, MoneyError, PicoUsd, TokenPrice};

use super::card::{Rates, stated_cost};
use super::condition::Condition;

/// What a provider publishes for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The provider's id.
    pub model_id: String,
    /// Longest prompt and answer together, in tokens, if it says.
    pub context_tokens: Option<u64>,
    /// Its prices, or why they cannot be taken.
    pub prices: Result<Quoted, String>,
}

/// Prices and the conditions under which others hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Where no condition holds.
    pub base: Rates,
    /// The last whose condition holds wins.
    pub overrides: Vec<(Condition, Rates)>,
}

const ALL_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

#[derive(Deserialize)]
struct OpenRouterList<'a> {
    #[serde(borrow)]
    data: Vec<OpenRouterModel<'a>>,
}

#[derive(Deserialize)]
struct OpenRouterModel<'a> {
    id: String,
    context_length: Option<u64>,
    #[serde(borrow)]
    pricing: Option<&'a RawValue>,
}

/// `GET /models` of OpenRouter: each model at the price of its first endpoint.
pub fn openrouter(text: &str) -> Result<Vec<Quote>, String> {
    let list: OpenRouterList<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let quote = |model: OpenRouterModel<'_>| Quote {
        model_id: model.id,
        context_tokens: model.context_length,
        prices: openrouter_prices(model.pricing),
    };
    Ok(list.data.into_iter().map(quote).collect())
}

#[derive(Deserialize)]
struct OpenRouterEndpoints<'a> {
    #[serde(borrow)]
    data: EndpointsOf<'a>,
}

#[derive(Deserialize)]
struct EndpointsOf<'a> {
    id: String,
    #[serde(borrow)]
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Deserialize)]
struct Endpoint<'a> {
    context_length: Option<u64>,
    #[serde(borrow)]
    pricing: Option<&'a RawValue>,
    status: Option<i64>,
    service_tier: Option<String>,
}

/// `GET /models/{author}/{slug}/endpoints` of OpenRouter: the price of the first endpoint that is well and of no special
/// tier, as the list would give it.
pub fn openrouter_endpoints(text: &str) -> Result<Quote, String> {
    let page: OpenRouterEndpoints<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut usual = page
        .data
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.service_tier.is_none() && endpoint.status.unwrap_or(0) >= 0);
    let first = usual.next().ok_or("no endpoint is well")?;
    Ok(Quote {
        model_id: page.data.id,
        context_tokens: first.context_length,
        prices: openrouter_prices(first.pricing),
    })
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn openrouter_prices(pricing: Option<&RawValue>) -> Result<Quoted, String> {
    let pricing = pricing.ok_or("no price is given")?;
    let fields: Fields<'_> = serde_json::from_str(pricing.get()).map_err(|error| error.to_string())?;
    let rest = discount(&fields)?;
    let needed = |key: &str| price(&fields, key, rest)?.ok_or_else(|| format!("`{key}` is missing"));
    let base = Rates {
        input: needed("prompt")?,
        cached_input: price(&fields, "input_cache_read", rest)?,
        cache_write: price(&fields, "input_cache_write", rest)?,
        output: needed("completion")?,
        request: fee(&fields, rest)?.unwrap_or(PicoUsd::ZERO),
    };
    let listed: Vec<Fields<'_>> = fields
        .get("overrides")
        .map_or(Ok(None), |list| serde_json::from_str(list.get()))
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    let mut overrides: Vec<(Condition, Rates)> = Vec::new();
    for entry in &listed {
        let (condition, rates) = (condition(entry)?, changed(base, entry, rest)?);
        match overrides.last_mut() {
            // One window an entry, there; one condition with all its windows, here.
            Some((last, same)) if *same == rates && differ_in_windows_alone(last, &condition) => {
                last.utc_minutes.extend(condition.utc_minutes);
            }
            _ => overrides.push((condition, rates)),
        }
    }
    Ok(Quoted { base, overrides })
}

/// `discount` is a share: what is charged is the price times the rest.
fn discount(fields: &Fields<'_>) -> Result<Factor, String> {
    let Some(raw) = fields.get("discount").map(|raw| text_of(raw)) else { return Ok(Factor::ONE) };
    match TokenPrice::from_usd_per_token(raw) {
        Ok(TokenPrice(0)) => Ok(Factor::ONE),
        _ if raw == "null" => Ok(Factor::ONE),
        _ => Factor::from_text(raw)
            .and_then(Factor::rest)
            .ok_or_else(|| format!("`discount` {raw:?} is not a share below 1")),
    }
}

fn condition(entry: &Fields<'_>) -> Result<Condition, String> {
    const PRICES: [&str; 6] =
        ["prompt", "completion", "request", "input_cache_read", "input_cache_write", "internal_reasoning"];
    const UNUSED: [&str; 7] =
        ["image", "audio", "audio_output", "input_audio_cache", "image_token", "image_output", "web_search"];
    const CONDITIONS: [&str; 4] = ["min_prompt_tokens", "utc_start", "utc_end", "utc_days"];
    let known = |key: &str| {
        PRICES.contains(&key)
            || UNUSED.contains(&key)
            || CONDITIONS.contains(&key)
            || key == "input_cache_write_1h"
    };
    if let Some(key) = entry.keys().find(|key| !known(key)) {
        return Err(format!("an override depends on `{key}`, which is not understood"));
    }
    let whole = |key: &str| -> Result<Option<u64>, String> {
        let Some(raw) = entry.get(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| format!("an override's `{key}` is not a whole number"))
    };
    let minute = |key: &str| -> Result<Option<u16>, String> {
        let Some(clock) = whole(key)? else { return Ok(None) };
        let (hour, minute) = (clock / 100, clock % 100);
        let total = hour.saturating_mul(60).saturating_add(minute);
        u16::try_from(total)
            .ok()
            .filter(|total| minute < 60 && *total <= 1440)
            .map(Some)
            .ok_or_else(|| format!("an override's `{key}` is not a time such as 1000"))
    };
    let utc_minutes = match (minute("utc_start")?, minute("utc_end")?) {
        (None, None) => Vec::new(),
        (Some(start), Some(end)) if start != end => vec![(start, end)],
        _ => return Err("an override's window has no two ends".to_owned()),
    };
    let days: Option<Vec<String>> = entry
        .get("utc_days")
        .map_or(Ok(None), |raw| serde_json::from_str(raw.get()))
        .map_err(|_| "an override's `utc_days` is not a list of weekdays".to_owned())?;
    let mut weekdays = 0_u8;
    for day in days.unwrap_or_default() {
        let place = ALL_DAYS.iter().position(|name| *name == day);
        weekdays |= 1 << place.ok_or_else(|| format!("an override's day {day:?} is not a weekday"))?;
    }
    let condition = Condition {
        prompt_tokens_above: whole("min_prompt_tokens")?,
        utc_minutes,
        weekdays,
        ..Condition::default()
    };
    if condition.is_timeless() && condition.prompt_tokens_above.is_none() {
        return Err("an override holds always".to_owned());
    }
    Ok(condition)
}

/// The base with what an override names in its place. Where two overrides hold at once, OpenRouter lets the later win key
/// by key and our card whole; they differ only where the later leaves a key out.
fn changed(base: Rates, entry: &Fields<'_>, rest: Factor) -> Result<Rates, String> {
    Ok(Rates {
        input: price(entry, "prompt", rest)?.unwrap_or(base.input),
        cached_input: price(entry, "input_cache_read", rest)?.or(base.cached_input),
        cache_write: price(entry, "input_cache_write", rest)?.or(base.cache_write),
        output: price(entry, "completion", rest)?.unwrap_or(base.output),
        request: fee(entry, rest)?.unwrap_or(base.request),
    })
}

fn differ_in_windows_alone(one: &Condition, other: &Condition) -> bool {
    one.prompt_tokens_above == other.prompt_tokens_above
        && one.weekdays == other.weekdays
        && !one.utc_minutes.is_empty()
        && !other.utc_minutes.is_empty()
}

fn price(fields: &Fields<'_>, key: &str, rest: Factor) -> Result<Option<TokenPrice>, String> {
    let Some(raw) = fields.get(key).map(|raw| text_of(raw)).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let price = TokenPrice::from_noisy_usd_per_token(raw).map_err(|error| bad(key, &error))?;
    Ok(Some(rest.of_price(price)))
}

fn fee(fields: &Fields<'_>, rest: Factor) -> Result<Option<PicoUsd>, String> {
    let Some(raw) = fields.get("request").map(|raw| text_of(raw)).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    stated_cost(raw).map(|fee| Some(rest.of_amount(fee))).map_err(|error| bad("request", &error))
}

fn bad(key: &str, error: &MoneyError) -> String {
    format!("`{key}`: {error}")
}

/// A number's text, whether it stands in quotes or not.
fn text_of(raw: &RawValue) -> &str {
    raw.get().trim().trim_matches('"')
}

#[derive(Deserialize)]
struct TogetherModel<'a> {
    id: String,
    context_length: Option<u64>,
    #[serde(borrow)]
    pricing: Option<TogetherPricing<'a>>,
}

#[derive(Deserialize)]
struct TogetherPricing<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_input: Option<&'a RawValue>,
}

/// `GET /models` of Together: a bare list, numbers with the noise of floats in them.
pub fn together(text: &str) -> Result<Vec<Quote>, String> {
    let list: Vec<TogetherModel<'_>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let quote = |model: TogetherModel<'_>| Quote {
        model_id: model.id,
        context_tokens: model.context_length,
        prices: together_prices(model.pricing.as_ref()),
    };
    Ok(list.into_iter().map(quote).collect())
}

fn together_prices(pricing: Option<&TogetherPricing<'_>>) -> Result<Quoted, String> {
    let pricing = pricing.ok_or("no price is given")?;
    let read = |key: &str, raw: Option<&RawValue>| {
        raw.map(|raw| TokenPrice::from_noisy_usd_per_mtok(text_of(raw)).map_err(|error| bad(key, &error)))
            .transpose()
    };
    let base = Rates {
        input: read("input", pricing.input)?.ok_or("`input` is missing")?,
        // Without one, and at 0, there is no discount.
        cached_input: read("cached_input", pricing.cached_input)?.filter(|price| *price != TokenPrice(0)),
        cache_write: None,
        output: read("output", pricing.output)?.ok_or("`output` is missing")?,
        request: PicoUsd::ZERO,
    };
    Ok(Quoted { base, overrides: Vec::new() })
}

#[cfg(test)]
mod tests;
