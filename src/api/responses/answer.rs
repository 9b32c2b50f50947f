//! The Response object and its items, as a caller reads them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::face::Tally;

use super::face::Echo;

/// An answer, at any time of its life.
#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created_at: i64,
    pub(super) status: &'static str,
    pub(super) error: Option<Error<'a>>,
    pub(super) incomplete_details: Option<Incomplete>,
    pub(super) model: Option<&'a RawValue>,
    pub(super) output: &'a [Item],
    pub(super) service_tier: Option<&'a RawValue>,
    pub(super) usage: Option<Usage>,
    #[serde(flatten)]
    pub(super) echo: &'a Echo,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Error<'a> {
    pub(super) code: &'static str,
    pub(super) message: &'a str,
}

/// What cut the answer short.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Incomplete {
    pub(super) reason: &'static str,
}

/// Tokens, and what they cost in USD.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

#[derive(Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl Usage {
    pub(super) fn of(tally: &Tally) -> Self {
        let usage = tally.usage;
        Self {
            input_tokens: usage.prompt,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached,
                cache_write_tokens: usage.cache_write,
            },
            output_tokens: usage.completion,
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning },
            total_tokens: usage.prompt.saturating_add(usage.completion),
            // A decimal number, digit for digit the one in the log and in the header.
            cost: tally.cost.and_then(|cost| RawValue::from_string(cost.to_string()).ok()),
            estimated: tally.estimated,
        }
    }
}

/// A piece of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning {
        id: String,
        status: &'static str,
        summary: Vec<Part>,
        content: Vec<Part>,
    },
    Message {
        id: String,
        status: &'static str,
        role: &'static str,
        content: Vec<Part>,
    },
    FunctionCall {
        id: String,
        status: &'static str,
        call_id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<Box<str>>,
        arguments: String,
    },
    CustomToolCall {
        id: String,
        status: &'static str,
        call_id: String,
        name: String,
        input: String,
    },
}

impl Item {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. } => id,
        }
    }

    pub(super) fn set_status(&mut self, to: &'static str) {
        match self {
            Self::Reasoning { status, .. }
            | Self::Message { status, .. }
            | Self::FunctionCall { status, .. }
            | Self::CustomToolCall { status, .. } => *status = to,
        }
    }

    /// The part that is being written.
    pub(super) fn part(&self) -> Option<&Part> {
        match self {
            Self::Reasoning { summary, content, .. } => content.last().or(summary.last()),
            Self::Message { content, .. } => content.last(),
            Self::FunctionCall { .. } | Self::CustomToolCall { .. } => None,
        }
    }

    /// The same, to write on it.
    pub(super) fn part_mut(&mut self) -> Option<&mut Part> {
        match self {
            Self::Reasoning { summary, content, .. } => content.last_mut().or(summary.last_mut()),
            Self::Message { content, .. } => content.last_mut(),
            Self::FunctionCall { .. } | Self::CustomToolCall { .. } => None,
        }
    }

    /// Begins another part.
    pub(super) fn add_part(&mut self, part: Part) {
        match (self, part) {
            (Self::Reasoning { summary, .. }, part @ Part::SummaryText { .. }) => summary.push(part),
            (Self::Reasoning { content, .. } | Self::Message { content, .. }, part) => content.push(part),
            (Self::FunctionCall { .. } | Self::CustomToolCall { .. }, _) => {}
        }
    }

    /// Where that part stands.
    pub(super) fn place(&self) -> Option<Place> {
        let last = |parts: &[Part]| parts.len().saturating_sub(1);
        match self {
            Self::Reasoning { summary, content, .. } if content.is_empty() => {
                Some(Place::SummaryIndex(last(summary)))
            }
            Self::Reasoning { content, .. } | Self::Message { content, .. } => {
                Some(Place::ContentIndex(last(content)))
            }
            Self::FunctionCall { .. } | Self::CustomToolCall { .. } => None,
        }
    }

    /// What a call says, as far as it has come.
    pub(super) fn written(&self) -> Option<&str> {
        match self {
            Self::FunctionCall { arguments, .. } => Some(arguments),
            Self::CustomToolCall { input, .. } => Some(input),
            Self::Reasoning { .. } | Self::Message { .. } => None,
        }
    }
}

/// A piece of a message or of a thought.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { annotations: [(); 0], logprobs: Vec<Box<RawValue>>, text: String },
    Refusal { refusal: String },
    ReasoningText { text: String },
    SummaryText { text: String },
}

impl Part {
    pub(super) fn text_mut(&mut self) -> &mut String {
        match self {
            Self::OutputText { text, .. } | Self::ReasoningText { text } | Self::SummaryText { text } => text,
            Self::Refusal { refusal } => refusal,
        }
    }

    pub(super) const fn kind(&self) -> PartKind {
        match self {
            Self::OutputText { .. } => PartKind::Text,
            Self::Refusal { .. } => PartKind::Refusal,
            Self::ReasoningText { .. } => PartKind::Thought,
            Self::SummaryText { .. } => PartKind::Summary,
        }
    }
}

/// What a part is, and how its events are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Text,
    Refusal,
    Thought,
    Summary,
}

impl PartKind {
    /// An empty part of this kind.
    pub(super) const fn empty(self) -> Part {
        match self {
            Self::Text => Part::OutputText { annotations: [], logprobs: Vec::new(), text: String::new() },
            Self::Refusal => Part::Refusal { refusal: String::new() },
            Self::Thought => Part::ReasoningText { text: String::new() },
            Self::Summary => Part::SummaryText { text: String::new() },
        }
    }

    /// The events of a part: begun, a piece, all its text, ended.
    pub(super) const fn events(self) -> [&'static str; 4] {
        match self {
            Self::Text => [
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
            ],
            Self::Refusal => [
                "response.content_part.added",
                "response.refusal.delta",
                "response.refusal.done",
                "response.content_part.done",
            ],
            Self::Thought => [
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
            ],
            Self::Summary => [
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
            ],
        }
    }
}

/// Where a part stands among the parts of its item: summaries are counted by themselves.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    ContentIndex(usize),
    SummaryIndex(usize),
}
