//! What a face reads of a chat completion, whole or in chunks.
//!
//! Members are read one by one and only where they are needed, since providers differ in what they put there when there is
//! nothing to say: one of an unexpected kind spoils no answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::scan;

/// What is told of an upstream's error that has no message.
pub(crate) const UNTOLD_FAULT: &str = "The provider reported an error.";

/// A chat completion or one chunk of its stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chat<'a> {
    #[serde(borrow)]
    pub(crate) model: Option<&'a RawValue>,
    pub(crate) service_tier: Option<&'a RawValue>,
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    error: Option<&'a RawValue>,
}

/// One choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice<'a> {
    pub(crate) index: Option<i64>,
    #[serde(borrow)]
    delta: Option<Speech<'a>>,
    message: Option<Speech<'a>>,
    /// Why it has ended, once it has.
    pub(crate) finish_reason: Text<'a>,
    /// The stop text that was met, in vLLM's words and in SGLang's.
    pub(crate) stop_reason: Text<'a>,
    pub(crate) matched_stop: Text<'a>,
    logprobs: Option<&'a RawValue>,
}

/// A delta or a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Speech<'a> {
    #[serde(borrow)]
    pub(crate) content: Text<'a>,
    /// What it thought, under either of two names; some providers say it under both.
    pub(crate) reasoning_content: Text<'a>,
    pub(crate) reasoning: Text<'a>,
    /// Why it will not answer.
    pub(crate) refusal: Text<'a>,
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A tool call, or the next part of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall<'a> {
    pub(crate) index: Option<i64>,
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    function: Option<Function<'a>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    arguments: Text<'a>,
}

/// A member that is a text in most answers; null is none.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl<'a> Text<'a> {
    /// Whatever stands there.
    pub(crate) const fn value(self) -> Option<&'a RawValue> {
        self.0
    }

    /// The text, if it is one; half a surrogate pair in it becomes U+FFFD.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0?.get();
        raw.starts_with('"').then(|| scan::text_of(raw.as_bytes(), &(0..raw.len())))
    }

    /// The same, unless it is empty.
    pub(crate) fn some(self) -> Option<Cow<'a, str>> {
        self.text().filter(|text| !text.is_empty())
    }

    /// The text, or the empty one where it is none or has half a surrogate pair in it.
    pub(crate) fn or_empty(self) -> Cow<'a, str> {
        let Some(raw) = self.0.map(RawValue::get).filter(|raw| raw.starts_with('"')) else {
            return Cow::Borrowed("");
        };
        let inner = &raw[1..raw.len() - 1];
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(""), Cow::Owned)
    }
}

impl<'a> Chat<'a> {
    /// Reads one; `None` where it has another shape.
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The choice that becomes the answer: a face has a place for one.
    pub(crate) fn first(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0)
    }

    /// What an upstream says of an error of its own, where there is one.
    pub(crate) fn fault(&self) -> Option<Text<'a>> {
        #[derive(Deserialize)]
        struct Fault<'a> {
            #[serde(borrow)]
            message: Option<&'a RawValue>,
        }
        let error = self.error.filter(|error| !matches!(error.get(), "null" | "false" | "\"\""))?;
        let inner = serde_json::from_str::<Fault<'a>>(error.get()).ok().and_then(|fault| fault.message);
        Some(Text(inner.or(Some(error))))
    }
}

impl<'a> Choice<'a> {
    /// What it says, or says next.
    pub(crate) fn speech(&self) -> Option<&Speech<'a>> {
        self.speeches().next()
    }

    /// All that it brings: one, unless a provider sends a delta and a message at once.
    pub(crate) fn speeches(&self) -> impl Iterator<Item = &Speech<'a>> {
        self.delta.iter().chain(&self.message)
    }

    /// The log probabilities of its content, an entry a token.
    pub(crate) fn logprobs(&self) -> Vec<&'a RawValue> {
        #[derive(Deserialize)]
        struct Logprobs<'a> {
            #[serde(borrow)]
            content: Option<Vec<&'a RawValue>>,
        }
        let read = |value: &'a RawValue| serde_json::from_str::<Logprobs<'a>>(value.get()).ok();
        self.logprobs.and_then(read).and_then(|logprobs| logprobs.content).unwrap_or_default()
    }
}

impl<'a> ToolCall<'a> {
    /// Its function's name.
    pub(crate) fn name(&self) -> Text<'a> {
        self.function.unwrap_or_default().name
    }

    /// Its arguments, or the next part of them: JSON as a text.
    pub(crate) fn arguments(&self) -> Text<'a> {
        self.function.unwrap_or_default().arguments
    }
}
