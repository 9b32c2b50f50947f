//! OpenRouter: a router of its own, so most of its faults say which of its upstreams failed and whether to go elsewhere.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::units::PicoUsd;

use super::fault::{Class, View};

/// Its own error words: `metadata.error_type`, `error_type`, `availability.code`, `metadata.limit_source`.
pub(super) fn class(view: &View) -> Option<Class> {
    let text = |path: &[&str]| view.at(path).and_then(Value::as_str).unwrap_or_default();
    let error_type = match text(&["metadata", "error_type"]) {
        "" => text(&["error_type"]),
        stated => stated,
    };
    if let Some(excluded_by) = view.at(&["availability", "excluded_by"]).and_then(Value::as_array)
        && excluded_by.iter().any(|reason| reason == "context_length")
    {
        return Some(Class::ContextOverflow);
    }
    match error_type {
        "context_length_exceeded" | "max_tokens_exceeded" | "token_limit_exceeded" => {
            return Some(Class::ContextOverflow);
        }
        "in_flight_budget_exhausted" => return Some(Class::InFlightBudget),
        "content_policy_violation" | "refusal" => return Some(Class::Moderation),
        "model_not_found" | "not_found" => return Some(Class::UnknownModel),
        _ => {}
    }
    match view.status {
        // One of its upstreams refused what another may take.
        400 if view.mentions(&["provider returned error"])
            || view.at(&["metadata", "provider_name"]).is_some_and(Value::is_string) =>
        {
            // In such a wrapper the overflow of one host is still an overflow.
            Some(if view.mentions(&["maximum context length"]) {
                Class::ContextOverflow
            } else {
                Class::FeatureMissing
            })
        }
        403 if view.at(&["metadata", "reasons"]).is_some()
            || view.at(&["metadata", "patterns"]).is_some() =>
        {
            Some(Class::Moderation)
        }
        403 if view.at(&["metadata", "limit_source"]).is_some() => Some(Class::NoMoney),
        412 => Some(Class::Caller),
        499 => Some(Class::Server),
        502 if view.mentions(&["maximum context length"]) => Some(Class::ContextOverflow),
        _ => None,
    }
}

/// What it charged for an answer, as `GET /generation` says it: exactly as written. `None` where it says no credible sum.
pub fn charged(body: &[u8]) -> Option<PicoUsd> {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        total_cost: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let cost = PicoUsd::from_usd_text(answer.data.total_cost?.get()).ok()?;
    (cost >= PicoUsd::ZERO).then_some(cost)
}

/// `availability.retry_after` or `metadata.retry_after_seconds`, in seconds.
pub(super) fn retry_after(view: &View) -> Option<Duration> {
    let places: [&[&str]; 2] = [&["availability", "retry_after"], &["metadata", "retry_after_seconds"]];
    let seconds = places
        .into_iter()
        .filter_map(|path| view.at(path)?.as_f64())
        .fold(None, |most: Option<f64>, s| Some(most.map_or(s, |known| known.max(s))))?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_read_exactly_and_only_where_it_is_one() {
        let of =
            |text: &str| charged(format!("{{\"data\":{{\"id\":\"g\",\"total_cost\":{text}}}}}").as_bytes());
        assert_eq!(of("0.000554488"), Some(PicoUsd(554_488_000)));
        assert_eq!(of("6.93e-06"), Some(PicoUsd(6_930_000)));
        assert_eq!(of("0"), Some(PicoUsd::ZERO));
        for none in ["null", "-1", "\"free\"", "{}"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(charged(b"{}"), None);
    }
}
