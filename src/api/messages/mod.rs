//! Anthropic's Messages as a face on chat completions: a request in, a message or its stream of named events out.

mod answer;
mod blocks;
mod content;
mod parts;
mod read;
mod request;
mod stream;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use smallvec::SmallVec;

use super::face::{Images, Said, Tally};

pub use request::{Purpose, translate};
pub use stream::Writer;

/// What an answer must know of its request.
#[derive(Debug, Clone, Default)]
pub struct Face {
    /// The model as the caller wrote it: an answer repeats it.
    model: Box<str>,
    thinking: Shown,
    /// Texts at which the caller wants the answer to stop.
    stops: Vec<Box<str>>,
    /// Texts of `metadata` that policies may match.
    pub tags: SmallVec<[(Box<str>, Box<str>); 2]>,
    /// Images in the prompt.
    pub images: Images,
}

/// How a model's thoughts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    /// As blocks of their own.
    #[default]
    Whole,
    /// As blocks without text. It stands in the signature, since it must come back with the conversation.
    Omitted,
    /// The caller wants none: what a model thinks all the same is left out.
    Not,
}

/// Stands where Anthropic signs a model's thoughts, before the thought itself where that is omitted. Ours are not sealed;
/// but some clients drop a thought without a signature.
const SIGNATURE: &str = "unsigned:";

/// Tokens as Anthropic counts them: what came from a cache or went into one stands beside the input, not within it.
#[derive(Debug, Serialize)]
struct Usage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    /// In dollars, to the nano-dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Box<serde_json::value::RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

/// What part of an answer was thinking, where the provider tells.
#[derive(Debug, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl Usage {
    fn of(tally: &Tally) -> Self {
        let usage = tally.usage.clamped();
        Self {
            input_tokens: usage.prompt.saturating_sub(usage.cached).saturating_sub(usage.cache_write),
            cache_creation_input_tokens: usage.cache_write,
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.completion,
            output_tokens_details: (usage.reasoning > 0)
                .then_some(OutputDetails { thinking_tokens: usage.reasoning }),
            // A sum of money prints as a JSON number.
            cost: tally.cost.and_then(|cost| serde_json::value::RawValue::from_string(cost.to_string()).ok()),
            estimated: tally.estimated,
        }
    }
}

/// Why an answer ended.
#[derive(Serialize)]
struct Stop<'a> {
    #[serde(rename = "stop_reason")]
    reason: &'static str,
    #[serde(rename = "stop_sequence")]
    sequence: Option<Cow<'a, str>>,
    #[serde(rename = "stop_details")]
    details: Option<Refusal>,
}

/// More on a refusal than anybody but Anthropic tells.
#[derive(Serialize)]
struct Refusal {
    #[serde(rename = "type")]
    kind: &'static str,
    category: Option<()>,
    explanation: Option<()>,
}

impl<'a> Stop<'a> {
    /// From chat's `finish`, and the stop text that was met where the provider tells it: a text of the caller's counts, and
    /// no end mark of the model's own.
    fn of(face: &Face, finish: &str, met: Cow<'a, str>, has_calls: bool, refused: bool) -> Self {
        let plain = |reason| Self { reason, sequence: None, details: None };
        let refusal = || {
            let details = Refusal { kind: "refusal", category: None, explanation: None };
            Self { details: Some(details), ..plain("refusal") }
        };
        match finish {
            "length" => plain("max_tokens"),
            "content_filter" => refusal(),
            // Some say `stop` after a call that they were told to make.
            _ if has_calls => plain("tool_use"),
            _ if refused => refusal(),
            _ if face.stops.iter().any(|stop| **stop == *met) => {
                Self { sequence: Some(met), ..plain("stop_sequence") }
            }
            _ => plain("end_turn"),
        }
    }
}

/// An id for the tool call at `place`, whose provider gave it none.
fn made_tool_id(request_id: &str, place: usize) -> String {
    format!("toolu_{request_id}_{place}")
}

/// An answer's id, made from the request's.
fn message_id(request_id: &str) -> String {
    format!("msg_{request_id}")
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: ErrorInner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct ErrorInner<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

/// An error in Anthropic's envelope.
pub fn error(said: &Said<'_>) -> Bytes {
    let error = ErrorInner { kind: error_kind(said.status), message: said.message };
    let body = ErrorBody { kind: "error", error, request_id: said.request_id };
    // Strings always serialise.
    serde_json::to_vec(&body).map(Bytes::from).unwrap_or_default()
}

/// Anthropic's `error.type` for a status.
fn error_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests;
