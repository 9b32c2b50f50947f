//! What a caller is told whose own budget or limit does not hold a request, and how much is left of its limits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::budget::demand::Left;
use crate::budget::{Refusal, ScopeKind, Standing, Unit, Why};

/// Names whose limit it is: a tag is `tag env=prod`, a caller's own key `your key`.
fn whose(kind: ScopeKind, name: &str) -> String {
    match kind {
        ScopeKind::Key => "your key".to_owned(),
        kind => format!("{} {name}", kind.word()),
    }
}

/// What happened and what to do.
pub(super) fn words(refusal: &Refusal) -> String {
    let wait = refusal.retry_after.map(|wait| in_words(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
    match &refusal.why {
        Why::Budget { budget, spent, held } => {
            let whose = whose(budget.scope.kind, &budget.scope.name);
            let renews = wait.map_or_else(
                || "It asks for more than the whole budget: shorten it, or lower max_tokens.".to_owned(),
                |wait| format!("It renews in {wait}; until then ask for less, or ask whoever runs this gateway for more."),
            );
            format!(
                "The budget of {whose} cannot hold this request: {spent} of {} USD are spent and {held} held by requests under \
                 way. {renews}",
                budget.limit
            )
        }
        Why::Rate { scope, unit, per_minute } => {
            let (whose, unit) = (whose(scope.kind, &scope.name), unit_words(*unit));
            let wait = wait.map_or_else(
                || format!("It asks for more {unit} than may come in a minute: shorten it."),
                |wait| format!("Try again in {wait}."),
            );
            format!("Rate limit reached for {whose}: {per_minute} {unit} a minute. {wait}")
        }
        Why::Places { scope, max } => {
            let whose = whose(scope.kind, &scope.name);
            format!("{whose} may have {max} requests under way at once. Try again when one has ended.")
        }
        Why::StoreLost => "The store that budgets and limits are shared in does not answer, and nothing is spent unseen. Try again in \
                           a few seconds."
            .to_owned(),
    }
}

const fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
    }
}

/// The status, type, param and code, as OpenAI's own API has them where it has any.
pub(super) fn shape(refusal: &Refusal) -> (StatusCode, &'static str, Option<&'static str>, &'static str) {
    match &refusal.why {
        Why::Budget { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", None, "insufficient_quota")
        }
        Why::Rate { unit, .. } => {
            (StatusCode::TOO_MANY_REQUESTS, unit_words(*unit), None, "rate_limit_exceeded")
        }
        Why::Places { .. } => (StatusCode::TOO_MANY_REQUESTS, "requests", None, "concurrency_limit_exceeded"),
        Why::StoreLost => (StatusCode::SERVICE_UNAVAILABLE, "tollway_error", None, "store_unavailable"),
    }
}

/// The word in metrics and records.
pub(super) const fn outcome(refusal: &Refusal) -> &'static str {
    match refusal.why {
        Why::Budget { .. } => "budget_denied",
        Why::Rate { .. } | Why::Places { .. } => "rate_limited",
        Why::StoreLost => "upstream_error",
    }
}

/// Whether a client should try again by itself: not where only time or money would help.
pub(super) const fn should_retry(refusal: &Refusal) -> Option<bool> {
    match refusal.why {
        Why::Budget { .. } => Some(false),
        _ if refusal.retry_after.is_none() => Some(false),
        _ => None,
    }
}

/// Puts on how much is left of the caller's own limits, in OpenAI's headers.
pub(super) fn stamp(headers: &mut HeaderMap, standing: &Standing) {
    if let Some(left) = &standing.requests {
        put(
            headers,
            left,
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        );
    }
    if let Some(left) = &standing.tokens {
        put(
            headers,
            left,
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        );
    }
}

fn put(headers: &mut HeaderMap, left: &Left, [limit, remaining, reset]: [&'static str; 3]) {
    headers.insert(HeaderName::from_static(limit), HeaderValue::from(left.limit));
    headers.insert(HeaderName::from_static(remaining), HeaderValue::from(left.remaining));
    if let Ok(value) = HeaderValue::from_str(&as_openai_writes(left.reset)) {
        headers.insert(HeaderName::from_static(reset), value);
    }
}

/// As `6m0s`, `1s` or `120ms`.
fn as_openai_writes(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        1_000..60_000 => format!("{}.{:03}s", ms / 1_000, ms % 1_000),
        _ => {
            let seconds = ms.div_ceil(1_000);
            format!("{}m{}s", seconds / 60, seconds % 60)
        }
    }
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0 | 1 => "1 second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} hours", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_openais() {
        let cases = [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_500, "1.500s"),
            (60_000, "1m0s"),
            (359_001, "6m0s"),
        ];
        for (ms, text) in cases {
            assert_eq!(as_openai_writes(Duration::from_millis(ms)), text);
        }
    }
}
