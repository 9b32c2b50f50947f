//! What an upstream's error means: whose side failed, may another route help, does it count against the route.
//!
//! Statuses alone do not tell: an unknown model is 400 at DeepSeek, a context overflow 403 at Together and 500 at llama.cpp.
//! Each dialect gets the first word on its own bodies; the table here has the last.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::kind::Kind;
use super::{dashscope, deepseek, engines, fireworks, modelarts, openrouter, together};

/// The kinds of fault, as they differ in what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request itself is wrong: it would fail everywhere.
    Caller,
    /// Prompt and answer do not fit this route's context.
    ContextOverflow,
    /// This route refuses a field that another ignores.
    UnknownField,
    /// This route lacks a feature that the request uses.
    FeatureMissing,
    /// The route does not have the model (any more).
    UnknownModel,
    /// Our key is bad or lacks a permission: the operator's to mend.
    BadKey,
    /// Our credit is spent: the operator's to mend.
    NoMoney,
    /// Too much of our credit is reserved by requests in flight; passes by itself.
    InFlightBudget,
    /// The content was refused.
    Moderation,
    /// Over the provider's rate limit.
    Rate,
    /// The provider sheds load.
    Overload,
    /// The provider failed.
    Server,
    /// Nothing came in time.
    Timeout,
    /// No connection, or it broke before an answer began.
    Connect,
    /// An answer that is none: empty, not JSON, of another type, a redirect.
    Malformed,
    /// A stream that ended in the middle.
    BrokenStream,
}

/// How a fault weighs on the route's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Not at all.
    None,
    /// As one failure for the breaker.
    Failure,
    /// The route rests until the provider lets us back.
    Limited,
    /// The route rests for minutes, and the operator hears of it.
    Disabled,
}

impl Class {
    /// Whether another route may serve the same request.
    pub const fn elsewhere(self) -> bool {
        !matches!(self, Self::Caller | Self::Moderation)
    }

    /// How it weighs on the route.
    pub const fn weight(self) -> Weight {
        match self {
            Self::Caller
            | Self::ContextOverflow
            | Self::UnknownField
            | Self::FeatureMissing
            | Self::Moderation => Weight::None,
            Self::UnknownModel | Self::BadKey | Self::NoMoney => Weight::Disabled,
            Self::Rate | Self::InFlightBudget => Weight::Limited,
            Self::Overload
            | Self::Server
            | Self::Timeout
            | Self::Connect
            | Self::Malformed
            | Self::BrokenStream => Weight::Failure,
        }
    }

    /// Whether it tells of our account with the provider, which is no business of the caller's.
    pub const fn is_operators(self) -> bool {
        matches!(self, Self::BadKey | Self::NoMoney | Self::InFlightBudget)
    }

    /// The code in logs, decision records and the `reason` label of metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::ContextOverflow => "context_overflow",
            Self::UnknownField => "unknown_field",
            Self::FeatureMissing => "feature_missing",
            Self::UnknownModel => "unknown_model",
            Self::BadKey => "bad_key",
            Self::NoMoney => "no_money",
            Self::InFlightBudget => "in_flight_budget",
            Self::Moderation => "moderation",
            Self::Rate => "rate",
            Self::Overload => "overload",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Malformed => "malformed",
            Self::BrokenStream => "broken_stream",
        }
    }
}

/// A fault as read off an upstream's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it means.
    pub class: Class,
    /// How long the provider asks us to wait, from headers and body, the larger of the two.
    pub retry_after: Option<Duration>,
    /// The provider's words, for the log: at most 512 bytes.
    pub message: String,
}

/// An error body seen through one pair of glasses, whatever its shape.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) status: u16,
    /// `error.message`, or the whole of a string `error`, or `error_msg`.
    pub(super) message: String,
    /// The same in lower case, for matching on wording.
    pub(super) lower: String,
    /// `error.code`, `error_code`, or the status that stands for it, as text.
    pub(super) code: String,
    /// `error.type`.
    pub(super) kind: String,
    /// The object under `error`, or the body itself.
    pub(super) error: serde_json::Value,
}

impl View {
    fn new(status: u16, body: &[u8]) -> Self {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let whole = parsed.unwrap_or(serde_json::Value::Null);
        let error = match whole.get("error") {
            Some(object @ serde_json::Value::Object(_)) => object.clone(),
            _ => whole.clone(),
        };
        let text = |value: Option<&serde_json::Value>| match value {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = match error.get("message").or_else(|| error.get("error_msg")) {
            // Seen through intermediaries: a message that is an object again.
            Some(serde_json::Value::Object(inner)) => text(inner.get("message")),
            Some(value) => text(Some(value)),
            None => text(whole.get("error")),
        };
        let code = text(error.get("code").or_else(|| error.get("error_code")));
        let kind = text(error.get("type"));
        Self { status, lower: message.to_lowercase(), message, code, kind, error }
    }

    /// Whether the message contains one of these words (given in lower case).
    pub(super) fn mentions(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }

    /// A text at `path` below the error object.
    pub(super) fn at(&self, path: &[&str]) -> Option<&serde_json::Value> {
        path.iter().try_fold(&self.error, |value, key| value.get(key))
    }

    fn is_overflow(&self) -> bool {
        self.code == "context_length_exceeded"
            || self.mentions(&[
                "maximum context length",
                "prompt is too long",
                "longer than the model's context length",
                "context size has been exceeded",
                "`inputs` tokens + `max_new_tokens` must be <=",
            ])
    }
}

/// Reads an upstream's error answer. `body` may be cut; nothing in it is trusted.
pub fn read(kind: Kind, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Fault {
    let view = View::new(status.as_u16(), body);
    let own = match kind {
        Kind::OpenRouter => openrouter::class(&view),
        Kind::Together => together::class(&view),
        Kind::Fireworks => fireworks::class(&view),
        Kind::DeepSeek => deepseek::class(&view),
        Kind::DashScope => dashscope::class(&view),
        Kind::ModelArts => modelarts::class(&view),
        Kind::Vllm | Kind::Sglang | Kind::Local => engines::class(&view),
        // Anything may stand behind a bare OpenAI-compatible URL, engines most of all.
        Kind::OpenAi | Kind::Hunyuan => engines::class(&view),
    };
    let class = own.unwrap_or_else(|| by_status(&view));
    let stated = [retry_after(headers), openrouter::retry_after(&view)].into_iter().flatten().max();
    let retry_after = matches!(class.weight(), Weight::Limited | Weight::Failure).then_some(stated).flatten();
    Fault { class, retry_after, message: clip(&view.message) }
}

/// A fault inside an answer of status 200: an error object where a body or a chunk was due.
pub fn read_inside(kind: Kind, body: &[u8]) -> Fault {
    let view = View::new(200, body);
    let status = match &*view.code {
        // The Responses API has words where others have numbers.
        "rate_limit_exceeded" => Some(429),
        "context_length_exceeded" | "invalid_prompt" => Some(400),
        number => number.parse::<u16>().ok(),
    };
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| status.as_u16() >= 400).unwrap_or(StatusCode::BAD_GATEWAY);
    read(kind, status, &HeaderMap::new(), body)
}

fn by_status(view: &View) -> Class {
    if matches!(view.status, 400 | 403 | 413 | 422 | 500) && view.is_overflow() {
        return Class::ContextOverflow;
    }
    match view.status {
        400 | 422 if view.mentions(&["extra inputs are not permitted", "extra_forbidden"]) => {
            Class::UnknownField
        }
        400 if view.code == "unsupported_parameter" || view.code == "unsupported_value" => {
            Class::FeatureMissing
        }
        400 | 404
            if view.code == "model_not_found" || view.mentions(&["model not exist", "model not found"]) =>
        {
            Class::UnknownModel
        }
        401 => Class::BadKey,
        402 => Class::NoMoney,
        403 if view.mentions(&["flagged", "moderation", "content risk"]) => Class::Moderation,
        403 => Class::BadKey,
        404 => Class::UnknownModel,
        405 | 501 => Class::FeatureMissing,
        408 | 504 => Class::Timeout,
        // Too long for this route's own limit on bodies; another's may be larger.
        413 => Class::FeatureMissing,
        429 => Class::Rate,
        409 | 425 | 502 | 503 | 520..=530 => Class::Overload,
        300..=399 => Class::Malformed,
        400..=499 => Class::Caller,
        _ => Class::Server,
    }
}

/// `Retry-After-Ms`, else `Retry-After` in (fractional) seconds. A date is not used by any provider we know of.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn clip(message: &str) -> String {
    let printable = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_takes_both_spellings_and_no_nonsense() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(of("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(of("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        for odd in ["-1", "NaN", "inf", "soon", "1e300"] {
            assert_eq!(of("retry-after", odd), None, "{odd}");
        }
    }

    #[test]
    fn words_for_what_others_number() {
        for (code, class) in [
            ("rate_limit_exceeded", Class::Rate),
            ("context_length_exceeded", Class::ContextOverflow),
            ("invalid_prompt", Class::Caller),
            ("server_error", Class::Overload),
            ("503", Class::Overload),
        ] {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#);
            assert_eq!(read_inside(Kind::OpenAi, body.as_bytes()).class, class, "{code}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_goes_by_its_status() {
        let fault = read(Kind::Together, StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>502</html>");
        assert_eq!(fault.class, Class::Overload);
    }

    #[test]
    fn every_error_of_the_fixtures_has_its_class_and_wait() {
        let entries: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/providers/errors_by_provider.json"))
                .unwrap();
        let mut wrong = Vec::new();
        for entry in entries.as_array().unwrap() {
            let kind = match entry["provider"].as_str().unwrap() {
                "llama.cpp" | "any" => Kind::OpenAi,
                name => Kind::from_name(name).unwrap(),
            };
            let headers: HeaderMap = entry["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| {
                    let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
                    (name, http::HeaderValue::from_str(value.as_str().unwrap()).unwrap())
                })
                .collect();
            let status = u16::try_from(entry["status"].as_u64().unwrap()).unwrap();
            let body = entry["body"].as_str().unwrap().as_bytes();
            let fault = read(kind, StatusCode::from_u16(status).unwrap(), &headers, body);
            // A budget of requests in flight is a kind of having no money that passes by itself.
            let class = if fault.class == Class::InFlightBudget { Class::NoMoney } else { fault.class };
            let expect = &entry["expect"];
            let wait = expect.get("retry_after_s").map(|wait| Duration::from_secs(wait.as_u64().unwrap()));
            let found = (class.code(), fault.class.elsewhere(), fault.retry_after);
            let wanted = (
                expect["fault_class"].as_str().unwrap(),
                expect["retryable_elsewhere"].as_bool().unwrap(),
                wait,
            );
            if found != wanted {
                wrong.push(format!("{}: {found:?}, not {wanted:?}", entry["id"]));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
