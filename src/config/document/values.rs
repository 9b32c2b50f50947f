//! The single values that documents are made of: how each is typed, and what the reader hears who typed it wrongly.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;

use crate::config::environment::is_secret;
use crate::config::excerpt::shortened;
use crate::config::expand::{Unfilled, expand};
use crate::config::naming;
use crate::config::node::{Node, Value};
use crate::config::read::{Decode, Reader};
use crate::routing::HedgeAfter;
use crate::units::{Factor, MoneyError, TokenPrice};

/// A value that stands in one scalar.
pub(crate) trait Word: Sized {
    /// The value, or what the text must be instead (`a duration such as …`).
    fn read(text: &str) -> Result<Self, String>;
}

impl<T: Word> Decode for T {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        let text = reader.text(node)?;
        match T::read(text.trim()) {
            Ok(value) => Some(value),
            Err(wanted) => {
                let typed = shortened(text.trim(), 60);
                let message = format!("`{}` must be {wanted}, not `{typed}`", reader.key(node.spot));
                reader.error(node.spot, &message, None);
                None
            }
        }
    }
}

/// Types of one field, each with what it is in a JSON Schema.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident($inner:ty) = $schema:tt, $read:expr;)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name(pub $inner);

        impl Word for $name {
            fn read(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<$inner, String> = $read;
                read(text).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )* };
}

pub(crate) use words;

words! {
    /// Any text.
    Text(Arc<str>) = { "type": ["string", "number", "boolean"] }, |text| Ok(text.into());
    /// A name of the operator's own.
    Name(Arc<str>) = { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }, |text| {
        naming::is_name(text).then(|| text.into()).ok_or_else(|| {
            "a name: a letter or digit, then up to 63 of `A-Z a-z 0-9 . _ -`".to_owned()
        })
    };
    /// A model's name.
    ModelName(Arc<str>) = { "type": "string", "pattern": "^[A-Za-z0-9._/:@+~-]{1,256}$" }, |text| {
        naming::is_model_name(text).then(|| text.into()).ok_or_else(|| {
            "a model's name: up to 256 of `A-Z a-z 0-9 . _ - / : @ + ~`".to_owned()
        })
    };
    /// A name in which `*` is any run of characters and `?` any one.
    Pattern(Arc<str>) = { "type": "string", "pattern": "^[A-Za-z0-9._/:@+~*?-]{1,256}$" }, |text| {
        naming::is_model_name(&text.replace(['*', '?'], "x")).then(|| text.into()).ok_or_else(|| {
            "a name, with `*` for any run of characters and `?` for any one".to_owned()
        })
    };
    /// A tag's value, in which `*` is any run of characters and `?` any one where it is matched.
    TagValue(Arc<str>) = { "type": ["string", "number", "boolean"] }, |text| {
        naming::is_tag_value(text).then(|| text.into()).ok_or_else(|| {
            "a tag's value: up to 128 printable ASCII characters without a comma".to_owned()
        })
    };
    /// Yes or no.
    Flag(bool) = { "type": ["boolean", "string"], "pattern": "^(true|false)$|\\$\\{" }, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("`true` or `false`".to_owned()),
    };
    /// How many; at least one.
    Count(u64) = { "type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+$|\\$\\{" }, |text| match text.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err("a whole number, 1 or more".to_owned()),
    };
    /// How long: `800ms`, `5s`, `10m`, `2h`, `0s`.
    Span(Duration) = { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$|\\$\\{", "examples": ["800ms", "5s", "2h"] }, duration;
    /// For how many days: `400d`, or `forever`, which is `None`.
    Days(Option<Duration>) = { "type": "string", "pattern": "^([1-9][0-9]{0,4}d|forever)$|\\$\\{", "examples": ["400d", "forever"] }, days;
    /// How many bytes: `512KiB`, `8MiB`, `1GiB`, or a plain number.
    Size(u64) = { "type": ["string", "integer"], "pattern": "^[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)?$|\\$\\{", "examples": ["8MiB"] }, size;
    /// USD per million tokens.
    Price(TokenPrice) = { "type": ["number", "string"], "minimum": 0, "description": "USD per million tokens" }, |text| {
        TokenPrice::from_usd_per_mtok(text).map_err(|error| match error {
            MoneyError::Negative(_) => "0 or more".to_owned(),
            MoneyError::TooFine(_) => "a price in USD per million tokens with at most 6 decimals".to_owned(),
            MoneyError::TooLarge(_) => "a price in USD per million tokens that someone could pay".to_owned(),
            MoneyError::NotANumber(_) => "a price in USD per million tokens, such as `0.14`".to_owned(),
        })
    };
    /// An amount in USD, as typed.
    Usd(Arc<str>) = { "type": ["number", "string"], "minimum": 0, "description": "USD" }, |text| {
        match crate::units::PicoUsd::from_usd_text(text) {
            Ok(amount) if amount.0 >= 0 => Ok(text.into()),
            Ok(_) => Err("0 or more".to_owned()),
            Err(_) => Err("an amount in USD, such as `3.10`".to_owned()),
        }
    };
    /// A time zone's name.
    Zone(Arc<str>) = { "type": "string", "examples": ["UTC", "Europe/Berlin"] }, |text| Ok(text.into());
    /// A share between 0 and 1.
    Share(f32) = { "type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": "^[0-9.]+$|\\$\\{" }, |text| match text.parse::<f32>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1".to_owned()),
    };
    /// A speed above zero.
    Speed(f32) = { "type": ["number", "string"], "exclusiveMinimum": 0, "pattern": "^[0-9.]+$|\\$\\{" }, |text| match text.parse::<f32>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("a number above 0".to_owned()),
    };
    /// When a second route may be asked: `worth`, a percentile of the first one's own time (`p95`), or a silence (`800ms`).
    HedgeMoment(HedgeAfter) = { "type": "string", "pattern": "^(worth|p[5-9][0-9]|[0-9]+(\\.[0-9]+)?(ms|s|m|h|d))$|\\$\\{", "examples": ["worth", "p95", "800ms"] }, hedge_moment;
    /// A calendar day: `2026-10-01`.
    Day(Date) = { "type": "string", "format": "date" }, |text| {
        text.parse::<Date>().map_err(|_| "a day such as `2026-10-01`".to_owned())
    };
    /// A day, which is its first moment in UTC, or a moment.
    Moment(Timestamp) = { "type": "string", "examples": ["2026-10-01", "2026-10-01T08:00:00Z"] }, |text| {
        crate::pricing::moment(text)
            .ok_or_else(|| "a day such as `2026-10-01`, or a moment such as `2026-10-01T08:00:00Z`".to_owned())
    };
    /// What one unit of a currency is worth in USD.
    Rate(Factor) = { "type": ["number", "string"], "exclusiveMinimum": 0, "description": "USD for one unit of the currency" }, |text| {
        Factor::from_text(text).ok_or_else(|| "a number above 0 with at most 12 decimals, such as `0.1390`".to_owned())
    };
    /// A currency's code.
    Currency(Arc<str>) = { "type": "string", "pattern": "^[A-Z]{3}$", "examples": ["CNY"] }, |text| {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        is_code.then(|| text.into()).ok_or_else(|| "a currency's three-letter code, such as `CNY`".to_owned())
    };
    /// A file or folder; a relative one starts at the configuration file's folder.
    FilePath(PathBuf) = { "type": "string" }, |text| if text.contains('\0') { Err("a path without NUL".to_owned()) } else { Ok(text.into()) };
    /// Where to listen: an address and a port.
    Listen(SocketAddr) = { "type": "string", "examples": ["127.0.0.1:8080", "0.0.0.0:8080"] }, listen;
    /// A window of the UTC day: `01:00-04:00`.
    Window((u16, u16)) = { "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$" }, window;
}

/// A secret: its text, or the variable that should hold it and does not.
#[derive(Debug, Clone)]
pub struct Secret(pub Result<SecretString, String>);

impl Decode for Secret {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        let key = reader.key(node.spot);
        let Value::Scalar { text, .. } = &node.value else {
            reader.error(node.spot, &format!("`{key}` must be a single value, not {}", node.sort()), None);
            return None;
        };
        match expand(text, reader.environment) {
            Ok(filled) if is_secret(filled.trim()) => {
                Some(Self(Ok(SecretString::from(filled.trim().to_owned()))))
            }
            Ok(filled) if filled.trim().is_empty() => {
                reader.blank(node.spot);
                None
            }
            Ok(_) => {
                let message = format!("`{key}` must be one line of visible ASCII characters without spaces");
                reader.error(node.spot, &message, Some("what it holds is not shown here".to_owned()));
                None
            }
            Err(Unfilled::Unset { variable, message: None }) => Some(Self(Err(variable))),
            Err(unfilled) => {
                let (message, help) = reader.unfilled(node.spot, unfilled);
                reader.error(node.spot, &message, help);
                None
            }
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["${OPENROUTER_API_KEY}"] })
    }
}

/// A number and its unit, apart.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(end)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "a duration such as `800ms`, `5s` or `2h`".to_owned();
    let (number, unit) = split(text);
    let seconds_per_unit = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wanted()),
    };
    let number: f64 = number.parse().map_err(|_| wanted())?;
    let seconds = number * seconds_per_unit;
    if seconds > 366.0 * 86_400.0 {
        return Err("a duration of a year at most".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
}

fn days(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" {
        return Ok(None);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    match days.filter(|days| (1..=99_999).contains(days)) {
        Some(days) => Ok(Some(Duration::from_secs(u64::from(days) * 86_400))),
        None => Err("a number of days such as `400d`, or `forever`".to_owned()),
    }
}

fn hedge_moment(text: &str) -> Result<HedgeAfter, String> {
    let wanted = || "`worth`, a percentile from `p50` to `p99`, or a duration such as `800ms`".to_owned();
    if text == "worth" {
        return Ok(HedgeAfter::Worth);
    }
    if let Some(percent) = text.strip_prefix('p') {
        let percent: u8 = percent.parse().map_err(|_| wanted())?;
        return if (50..=99).contains(&percent) {
            Ok(HedgeAfter::Quantile(f32::from(percent) / 100.0))
        } else {
            Err(wanted())
        };
    }
    duration(text).map(HedgeAfter::Silence).map_err(|_| wanted())
}

fn size(text: &str) -> Result<u64, String> {
    let wanted = || "a size such as `512KiB`, `8MiB` or `1GiB`".to_owned();
    let (number, unit) = split(text);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wanted()),
    };
    let number: u64 = number.parse().map_err(|_| wanted())?;
    match number.checked_mul(factor) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(wanted()),
    }
}

pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let wanted = || "an address and a port, such as `127.0.0.1:8080`".to_owned();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
    let port = port.parse().map_err(|_| wanted())?;
    match host {
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ => Err(wanted()),
    }
}

fn window(text: &str) -> Result<(u16, u16), String> {
    let wanted = || "a window of the UTC day such as `01:00-04:00`".to_owned();
    let minute = |text: &str| -> Option<u16> {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour <= 24 && minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
    };
    let (start, end) = text.split_once('-').ok_or_else(wanted)?;
    match (minute(start), minute(end)) {
        (Some(start), Some(end)) if start != end => Ok((start, end)),
        _ => Err(wanted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_windows() {
        assert_eq!(duration("800ms"), Ok(Duration::from_millis(800)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for odd in ["", "5", "s", "-1s", "NaNs", "infs", "1e9h", "99999999h", "5 parsecs", "1.2.3s"] {
            assert!(duration(odd).is_err(), "{odd}");
        }
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("10"), Ok(10));
        for odd in ["", "0", "-1", "8mib", "1.5MiB", "99999999999GiB"] {
            assert!(size(odd).is_err(), "{odd}");
        }
        assert_eq!(window("01:00-04:00"), Ok((60, 240)));
        assert_eq!(window("22:00-02:00"), Ok((1320, 120)));
        for odd in ["", "1-4", "25:00-26:00", "01:00", "01:00-01:00", "00:60-01:00"] {
            assert!(window(odd).is_err(), "{odd}");
        }
        assert_eq!(listen("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        for odd in ["8080", ":8080", "127.0.0.1", "example.com:80", "1.2.3.4:99999"] {
            assert!(listen(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_hedge_begins_when_it_is_worth_it_or_by_a_quantile_or_a_silence() {
        assert_eq!(hedge_moment("worth"), Ok(HedgeAfter::Worth));
        assert_eq!(hedge_moment("p95"), Ok(HedgeAfter::Quantile(0.95)));
        assert_eq!(hedge_moment("800ms"), Ok(HedgeAfter::Silence(Duration::from_millis(800))));
        for odd in ["", "p", "p49", "p100", "p9.5", "p-5", "95", "P95", "soon", "800"] {
            assert!(hedge_moment(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn rates_and_currencies() {
        assert!(
            Currency::read("CNY").is_ok()
                && Currency::read("yuan").is_err()
                && Currency::read("cny").is_err()
        );
        assert!(Rate::read("0.1390").is_ok() && Rate::read("0").is_err() && Rate::read("-1").is_err());
    }

    #[test]
    fn shares_and_speeds_are_finite() {
        for odd in ["NaN", "inf", "-0.1", "1.1", "x"] {
            assert!(Share::read(odd).is_err(), "{odd}");
        }
        for odd in ["NaN", "inf", "-1", "0"] {
            assert!(Speed::read(odd).is_err(), "{odd}");
        }
    }
}
