//! What a provider's headers say is left of its rate limits, in each of the spellings that were seen.
//!
//! OpenAI: `x-ratelimit-remaining-requests`, `-tokens`, resets as `1s`, `6m0s`, `120ms`. Together: `x-ratelimit-remaining`,
//! resets in seconds. OpenRouter, on its own 429 alone: `X-RateLimit-Reset` as milliseconds since 1970.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// The limits that headers speak of, as metrics name them, with the suffix of their headers.
const LIMITS: [(&str, &str); 3] = [("requests", "-requests"), ("tokens", "-tokens"), ("rate", "")];
/// Numbers beyond this are moments, not waits.
const EPOCH_MS_MIN: f64 = 1e11;

/// One limit as the headers have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// `requests`, `tokens` or `rate`.
    pub limit: &'static str,
    /// How many are left.
    pub remaining: f64,
    /// When there will be more.
    pub reset: Option<Duration>,
}

/// Each limit of which the headers say what is left.
pub fn left(headers: &HeaderMap, at: Timestamp) -> impl Iterator<Item = Left> + '_ {
    LIMITS.into_iter().filter_map(move |(limit, suffix)| {
        let remaining = text(headers, &format!("x-ratelimit-remaining{suffix}"))?.parse::<f64>().ok()?;
        let reset = text(headers, &format!("x-ratelimit-reset{suffix}")).and_then(|value| wait(value, at));
        (remaining.is_finite() && remaining >= 0.0).then_some(Left { limit, remaining, reset })
    })
}

/// Whether there are such headers at all: most answers have none, and looking each up costs more than this.
pub fn is_stated(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-ratelimit-remaining"))
}

/// How long to wait by the reset headers of a 429 that has no `Retry-After`.
pub fn reset(headers: &HeaderMap, at: Timestamp) -> Option<Duration> {
    let resets = LIMITS.into_iter().filter_map(|(_, suffix)| {
        let spent = text(headers, &format!("x-ratelimit-remaining{suffix}"))
            .is_none_or(|left| left.parse() == Ok(0.0));
        text(headers, &format!("x-ratelimit-reset{suffix}"))
            .filter(|_| spent)
            .and_then(|value| wait(value, at))
    });
    resets.max()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `1s`, `6m0s`, `120ms`, seconds, or a moment in milliseconds since 1970.
fn wait(value: &str, at: Timestamp) -> Option<Duration> {
    const DAY: f64 = 86_400.0;
    let seconds = match value.parse::<f64>() {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact in a float")]
        Ok(moment) if moment >= EPOCH_MS_MIN => (moment - at.as_millisecond() as f64) / 1000.0,
        Ok(seconds) => seconds,
        Err(_) => spoken(value)?,
    };
    (0.0..=DAY).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn spoken(value: &str) -> Option<f64> {
    let mut rest = value;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let (factor, length) = match unit {
            _ if unit.starts_with("ms") => (0.001, 2),
            _ if unit.starts_with('s') => (1.0, 1),
            _ if unit.starts_with('m') => (60.0, 1),
            _ if unit.starts_with('h') => (3600.0, 1),
            _ if unit.starts_with('d') => (86_400.0, 1),
            _ => return None,
        };
        seconds += number * factor;
        rest = &unit[length..];
    }
    (!value.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn every_spelling_of_a_reset() {
        let at = Timestamp::from_millisecond(1_790_000_000_000).unwrap();
        for (text, ms) in [
            ("1s", 1000),
            ("6m0s", 360_000),
            ("120ms", 120),
            ("2", 2000),
            ("1790000003000", 3000),
            ("1h0m1.5s", 3_601_500),
        ] {
            assert_eq!(wait(text, at), Some(Duration::from_millis(ms)), "{text}");
        }
        for odd in ["", "soon", "-1", "1x", "1790000003000000", "NaN"] {
            assert_eq!(wait(odd, at), None, "{odd}");
        }
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let stated = headers(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-remaining-tokens", "7"),
        ]);
        let found: Vec<Left> = left(&stated, Timestamp::UNIX_EPOCH).collect();
        assert_eq!(
            found[0],
            Left { limit: "requests", remaining: 0.0, reset: Some(Duration::from_millis(120)) }
        );
        assert_eq!((found[1].limit, found[1].remaining), ("tokens", 7.0));
        assert_eq!(reset(&stated, Timestamp::UNIX_EPOCH), Some(Duration::from_millis(120)));
        assert!(is_stated(&stated) && !is_stated(&HeaderMap::new()));
    }
}
