//! A model's prices as OpenRouter's list has them: decimal strings in USD per token, exact to the last digit, with the hours and
//! prompt lengths at which others hold.

use jiff::Timestamp;
use serde::Serialize;

use crate::pricing::Rates;
use crate::pricing::condition::Condition;
use crate::routing::Route;
use crate::units::TokenPrice;

/// What stands for a price that is not known, as in OpenRouter's own list.
const UNKNOWN: &str = "-1";
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

#[derive(Serialize)]
pub(super) struct Pricing {
    #[serde(flatten)]
    base: Prices,
    request: String,
    image: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<Override>,
}

#[derive(Serialize)]
struct Prices {
    prompt: String,
    completion: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_read: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cache_write: Option<String>,
}

/// Prices that hold on all of these conditions; of several that hold, the last does.
#[derive(Serialize)]
struct Override {
    #[serde(skip_serializing_if = "Option::is_none")]
    min_prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utc_start: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utc_end: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    utc_days: Vec<&'static str>,
    #[serde(flatten)]
    prices: Prices,
}

/// Of these routes the one whose prices are shown: that with the lowest price of three prompt tokens and one of an answer now.
/// A route without a price comes last.
pub(super) fn cheapest<'a>(routes: &[&'a Route], now: Timestamp) -> Option<&'a Route> {
    let price = |route: &&&Route| {
        let rates = route.price.as_ref().map(|card| card.rates(0, now));
        rates.map_or(u128::MAX, |rates| u128::from(rates.input.0) * 3 + u128::from(rates.output.0))
    };
    routes.iter().min_by_key(price).copied()
}

impl Pricing {
    /// Of `route`'s card in force.
    pub(super) fn new(route: Option<&Route>, now: Timestamp) -> Self {
        let Some(card) = route.and_then(|route| route.price.as_ref()) else {
            let base = Prices {
                prompt: UNKNOWN.to_owned(),
                completion: UNKNOWN.to_owned(),
                input_cache_read: None,
                input_cache_write: None,
            };
            return Self { base, request: "0".to_owned(), image: "0", overrides: Vec::new() };
        };
        let version = card.at(now);
        Self {
            base: Prices::of(&version.base),
            request: dollars(version.base.request.0),
            image: "0",
            overrides: version.overrides.iter().flat_map(|(when, rates)| Override::of(when, rates)).collect(),
        }
    }
}

impl Prices {
    fn of(rates: &Rates) -> Self {
        let text = |price: TokenPrice| dollars(price.0.into());
        Self {
            prompt: text(rates.input),
            completion: text(rates.output),
            input_cache_read: rates.cached_input.map(text),
            input_cache_write: rates.cache_write.map(text),
        }
    }
}

impl Override {
    /// One for each window of the day. Days on which a window does not hold (holidays) have no word here.
    fn of(when: &Condition, rates: &Rates) -> Vec<Self> {
        let one = |window: Option<(u16, u16)>| {
            let clock = |minute: u16| minute / 60 % 24 * 100 + minute % 60;
            Self {
                min_prompt_tokens: when.prompt_tokens_above,
                utc_start: window.map(|(start, _)| clock(start)),
                utc_end: window.map(|(_, end)| clock(end)),
                utc_days: (0..7).filter(|day| when.weekdays >> day & 1 == 1).map(|day| DAYS[day]).collect(),
                prices: Prices::of(rates),
            }
        };
        if when.utc_minutes.is_empty() {
            vec![one(None)]
        } else {
            when.utc_minutes.iter().map(|window| one(Some(*window))).collect()
        }
    }
}

/// Pico-dollars as a decimal in dollars, without trailing zeros (`0.00000066`).
fn dollars(pico: i128) -> String {
    let text = format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000);
    let short = text.trim_end_matches('0');
    short.strip_suffix('.').unwrap_or(short).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_per_token_is_exact() {
        for (price, text) in [
            (TokenPrice(660_000), "0.00000066"),
            (TokenPrice(1), "0.000000000001"),
            (TokenPrice(0), "0"),
            (TokenPrice(4_200), "0.0000000042"),
        ] {
            assert_eq!(dollars(price.0.into()), text);
            assert_eq!(TokenPrice::from_usd_per_token(text), Ok(price), "and reads back the same");
        }
        assert_eq!(dollars(2_500_000_000_000), "2.5");
    }

    #[test]
    fn a_window_is_told_by_the_clock() {
        let rates = Rates {
            input: TokenPrice(1_320_000),
            cached_input: Some(TokenPrice(44_000)),
            cache_write: None,
            output: TokenPrice(3_960_000),
            request: crate::units::PicoUsd::ZERO,
        };
        let when = Condition {
            utc_minutes: vec![(60, 240), (22 * 60 + 30, 1440)],
            weekdays: 0b001_1111,
            ..Condition::default()
        };
        let told = serde_json::to_string(&Override::of(&when, &rates)).unwrap();
        let days = r#""utc_days":["monday","tuesday","wednesday","thursday","friday"]"#;
        let prices = r#""prompt":"0.00000132","completion":"0.00000396","input_cache_read":"0.000000044""#;
        assert_eq!(
            told,
            format!(
                r#"[{{"utc_start":100,"utc_end":400,{days},{prices}}},{{"utc_start":2230,"utc_end":0,{days},{prices}}}]"#
            )
        );
    }
}
