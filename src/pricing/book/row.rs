//! One row of the book's file: read, checked field by field, turned into rates, conditions and provenance.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::pricing::age::{first_day, moment};
use crate::pricing::card::{PriceCard, PriceEntry, Rates};
use crate::pricing::condition::Condition;
use crate::units::{Factor, PicoUsd, TokenPrice};

use super::BookRow;

const CONFIDENCES: [&str; 5] = ["documented", "recorded", "fetched", "third-party tracker", "inferred"];
pub(super) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u16 = 24 * 60;

/// What is wrong with a row.
#[derive(Debug)]
pub(super) struct RowError {
    pub(super) field: &'static str,
    pub(super) problem: String,
}

impl RowError {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

/// A row as it stands in the file. Prices stay text until they are read as decimals.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row<'a> {
    pub(super) provider: String,
    pub(super) model_id: String,
    pub(super) checkpoint: String,
    family: String,
    context_length: Option<u64>,
    region: Option<String>,
    #[serde(default)]
    pin_only: bool,
    /// The currency of prices whose keys do not say USD; a key of the book's `currencies`.
    currency: Option<String>,
    #[serde(borrow)]
    input_usd_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    input_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_input_usd_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_input_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_usd_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    output_usd_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    output_per_mtok: Option<&'a RawValue>,
    #[serde(borrow)]
    request_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    /// The first moment at which the row holds.
    valid_from: Option<String>,
    as_of: String,
    confidence: String,
    source: String,
    condition: Option<When<'a>>,
    note: Option<String>,
}

/// What one unit of a currency is worth, and how that is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Currency {
    /// In USD, a decimal.
    usd: String,
    as_of: String,
    source: String,
}

/// A row's currency, looked up.
#[derive(Clone, Copy)]
pub(super) struct Priced<'a> {
    name: &'a str,
    rate: Factor,
    known: &'a Currency,
}

/// When a row holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct When<'a> {
    min_prompt_tokens: Option<u64>,
    #[serde(default, borrow)]
    utc_windows: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default, borrow)]
    days: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    timezone: Option<Cow<'a, str>>,
    except: Option<String>,
    /// Where the provider publishes the condition; for the book's reader.
    #[serde(borrow, rename = "field")]
    _field: Option<Cow<'a, str>>,
}

impl<'a> Row<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, RowError> {
        serde_json::from_str(text).map_err(|error| RowError::new("row", error.to_string()))
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model_id)
    }

    /// The name of a row that could not be read whole.
    pub(super) fn name_in(text: &str) -> String {
        #[derive(Deserialize)]
        struct Name {
            provider: String,
            model_id: String,
        }
        serde_json::from_str::<Name>(text)
            .map_or_else(|_| "?".to_owned(), |name| format!("{}/{}", name.provider, name.model_id))
    }

    /// The currency of the row's prices; `None`: USD.
    pub(super) fn currency<'b>(
        &'b self,
        known: &'b BTreeMap<String, Currency>,
    ) -> Result<Option<Priced<'b>>, RowError> {
        let Some(name) = self.currency.as_deref() else { return Ok(None) };
        let Some(currency) = known.get(name) else {
            let problem = format!("{name:?} has no rate in the book's `currencies`");
            return Err(RowError::new("currency", problem));
        };
        let rate = Factor::from_text(&currency.usd).filter(|_| first_day(&currency.as_of).is_some());
        let Some(rate) = rate.filter(|_| !currency.source.trim().is_empty()) else {
            let problem = format!(
                "the rate of {name} needs `usd` (a decimal above 0 as text), `as_of` (a day) and `source`"
            );
            return Err(RowError::new("currency", problem));
        };
        Ok(Some(Priced { name, rate, known: currency }))
    }

    /// Its prices in USD. One in another currency is rounded once, half up, to a whole pico-dollar per token.
    pub(super) fn rates(&self, currency: Option<Priced<'_>>) -> Result<Rates, RowError> {
        let is_foreign = currency.is_some();
        let rate = currency.map_or(Factor::ONE, |currency| currency.rate);
        let optional = |usd, own| -> Result<Option<TokenPrice>, RowError> {
            let (field, raw) = named(is_foreign, usd, own)?;
            raw.map(|raw| price(field, raw).map(|price| rate.of_price(price))).transpose()
        };
        let needed = |usd, own| {
            let (field, _) = named(is_foreign, usd, own)?;
            optional(usd, own)?.ok_or_else(|| RowError::new(field, "missing"))
        };
        let request = named(is_foreign, ("request_usd", self.request_usd), ("request", self.request))?;
        let rates = Rates {
            input: needed(
                ("input_usd_per_mtok", self.input_usd_per_mtok),
                ("input_per_mtok", self.input_per_mtok),
            )?,
            cached_input: optional(
                ("cached_input_usd_per_mtok", self.cached_input_usd_per_mtok),
                ("cached_input_per_mtok", self.cached_input_per_mtok),
            )?,
            cache_write: optional(
                ("cache_write_usd_per_mtok", self.cache_write_usd_per_mtok),
                ("cache_write_per_mtok", self.cache_write_per_mtok),
            )?,
            output: needed(
                ("output_usd_per_mtok", self.output_usd_per_mtok),
                ("output_per_mtok", self.output_per_mtok),
            )?,
            request: request.1.map_or(Ok(PicoUsd::ZERO), |raw| {
                super::super::card::stated_cost(raw.get())
                    .map(|fee| rate.of_amount(fee))
                    .map_err(|error| RowError::new(request.0, error.to_string()))
            })?,
        };
        // Some model lists write 0 for what is not on offer; taken as a price it would win every comparison.
        if rates.input == TokenPrice(0) && rates.output == TokenPrice(0) {
            return Err(RowError::new("input_usd_per_mtok", "a row that costs nothing; leave the offer out"));
        }
        Ok(rates)
    }

    /// The first moment at which it holds: a day's is midnight, UTC.
    pub(super) fn valid_from(&self) -> Result<Option<Timestamp>, RowError> {
        let Some(text) = &self.valid_from else { return Ok(None) };
        moment(text).map(Some).ok_or_else(|| {
            let problem =
                format!("{text:?} is not a day like 2026-11-15 or a moment like 2026-11-15T08:00:00Z");
            RowError::new("valid_from", problem)
        })
    }

    pub(super) fn entry(&self, currency: Option<Priced<'_>>) -> Result<PriceEntry, RowError> {
        if first_day(&self.as_of).is_none() {
            let problem = format!("{:?} is not a date like 2026-11-15, 2026-11 or 2026-H2", self.as_of);
            return Err(RowError::new("as_of", problem));
        }
        if !CONFIDENCES.contains(&self.confidence.as_str()) {
            let problem = format!("{:?} is none of: {}", self.confidence, CONFIDENCES.join(", "));
            return Err(RowError::new("confidence", problem));
        }
        if self.source.trim().is_empty() {
            return Err(RowError::new("source", "empty; say where the price was read"));
        }
        let source = currency.map_or_else(
            || self.source.as_str().into(),
            |Priced { name, rate, known }| {
                let Currency { as_of, source, .. } = known;
                format!("{}; {name} 1 = USD {rate} ({source}, {as_of})", self.source).into()
            },
        );
        Ok(PriceEntry {
            source,
            as_of: self.as_of.as_str().into(),
            confidence: self.confidence.as_str().into(),
        })
    }

    pub(super) fn condition(&self) -> Result<Option<Condition>, RowError> {
        let Some(when) = &self.condition else { return Ok(None) };
        if when.timezone.as_deref().is_some_and(|zone| zone != "UTC") {
            return Err(RowError::new("condition.timezone", "only UTC is understood; convert the windows"));
        }
        if when.min_prompt_tokens.is_none() && when.utc_windows.is_empty() && when.days.is_empty() {
            return Err(RowError::new(
                "condition",
                "holds always; give `min_prompt_tokens`, `utc_windows` or `days`",
            ));
        }
        let mut weekdays = 0;
        for day in &when.days {
            let at = WEEKDAYS.iter().position(|name| name == day).ok_or_else(|| {
                RowError::new(
                    "condition.days",
                    format!("{day:?} is not a weekday; write {}", WEEKDAYS.join(", ")),
                )
            })?;
            weekdays |= 1 << at;
        }
        Ok(Some(Condition {
            prompt_tokens_above: when.min_prompt_tokens,
            utc_minutes: when.utc_windows.iter().map(window).collect::<Result<_, _>>()?,
            weekdays,
            except: when.except.as_deref().map(Arc::from),
            ..Condition::default()
        }))
    }

    pub(super) fn offer(&self, card: PriceCard) -> Result<BookRow, RowError> {
        for (field, text) in [
            ("provider", &self.provider),
            ("model_id", &self.model_id),
            ("checkpoint", &self.checkpoint),
            ("family", &self.family),
        ] {
            if text.is_empty() {
                return Err(RowError::new(field, "empty"));
            }
        }
        if !self.checkpoint.starts_with(&self.family) {
            return Err(RowError::new("checkpoint", "does not begin with the `family`"));
        }
        Ok(BookRow {
            provider: self.provider.as_str().into(),
            model_id: self.model_id.as_str().into(),
            checkpoint: self.checkpoint.as_str().into(),
            family: self.family.as_str().into(),
            context_tokens: self.context_length,
            region: self.region.as_deref().map(Arc::from),
            pin_only: self.pin_only,
            card,
            note: self.note.as_deref().map(Arc::from),
        })
    }
}

/// A key with what stands there.
type Field<'a> = (&'static str, Option<&'a RawValue>);

/// The key that a row in USD, or in another currency, has; the other one must not be there.
fn named<'a>(is_foreign: bool, usd: Field<'a>, own: Field<'a>) -> Result<Field<'a>, RowError> {
    let stray = |stray: Field<'_>, wanted: Field<'_>| {
        let problem = format!("this row's currency asks for `{}`", wanted.0);
        RowError::new(stray.0, problem)
    };
    // Each case by itself: rustc 1.95 with optimisation mixes up the two pairs of `let (a, b) = if … { (x, y) } else { (y, x) }`.
    if is_foreign {
        return if usd.1.is_some() { Err(stray(usd, own)) } else { Ok(own) };
    }
    if own.1.is_some() { Err(stray(own, usd)) } else { Ok(usd) }
}

fn price(field: &'static str, raw: &RawValue) -> Result<TokenPrice, RowError> {
    TokenPrice::from_usd_per_mtok(raw.get()).map_err(|error| RowError::new(field, error.to_string()))
}

fn window((start, end): &(Cow<'_, str>, Cow<'_, str>)) -> Result<(u16, u16), RowError> {
    let window = minute_of_day(start).zip(minute_of_day(end));
    window.filter(|(start, end)| start != end && *start < MINUTES_A_DAY).ok_or_else(|| {
        let problem = format!("[{start:?}, {end:?}] is not a window like [\"22:00\", \"02:00\"]");
        RowError::new("condition.utc_windows", problem)
    })
}

/// `HH:MM` as minutes of the day; `24:00` is the day's end.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}
