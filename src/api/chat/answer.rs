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
    stop_reason: Text<'a>,
    matched_stop: Text<'a>,
    logprobs: Option<&'a RawValue>,
}

/// A delta or a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Speech<'a> {
    #[serde(borrow)]
    content: Text<'a>,
    /// What it thought, under either of two names; some providers say it under both.
    reasoning_content: Text<'a>,
    reasoning: Text<'a>,
    /// Why it will not answer.
    pub(crate) refusal: Text<'a>,
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A tool call, or the next part of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall<'a> {
    index: Option<i64>,
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
    /// The text, if it is one; half a surrogate pair in it becomes U+FFFD.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0?.get();
        raw.starts_with('"').then(|| scan::text_of(raw.as_bytes(), &(0..raw.len())))
    }

    /// The same, unless it is empty.
    pub(crate) fn some(self) -> Option<Cow<'a, str>> {
        self.text().filter(|text| !text.is_empty())
    }

    /// The text, or the empty one where it is none.
    pub(crate) fn or_empty(self) -> Cow<'a, str> {
        self.text().unwrap_or_default()
    }

    /// This text, or the other one where this is none or empty.
    fn or(self, other: Self) -> Cow<'a, str> {
        self.some().unwrap_or_else(|| other.or_empty())
    }
}

impl<'a> Chat<'a> {
    /// Reads one; `None` where it has another shape.
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The choice that becomes the answer: a face has a place for one.
    pub(crate) fn first(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find(|choice| choice.index.unwrap_or(0) <= 0)
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

    /// The stop text that it met, where the provider tells.
    pub(crate) fn stop_met(&self) -> Cow<'a, str> {
        self.stop_reason.or(self.matched_stop)
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

impl<'a> Speech<'a> {
    /// What it says: one string, or parts of text.
    pub(crate) fn said(&self) -> Cow<'a, str> {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
        }
        let parts = self.content.0.filter(|raw| raw.get().starts_with('['));
        let Some(raw) = parts else { return self.content.or_empty() };
        let parts = serde_json::from_str::<Vec<Part<'a>>>(raw.get()).unwrap_or_default();
        Cow::Owned(parts.into_iter().map(|part| part.text.or_empty()).collect())
    }

    /// What it thought.
    pub(crate) fn thought(&self) -> Cow<'a, str> {
        self.reasoning_content.or(self.reasoning)
    }
}

impl<'a> ToolCall<'a> {
    /// Which of the calls it is a part of, where the provider says; Together was seen to count from -1.
    pub(crate) fn index(&self) -> Option<u64> {
        self.index.map(|index| u64::try_from(index).unwrap_or(0))
    }

    /// Its function's name.
    pub(crate) fn name(&self) -> Text<'a> {
        self.function.unwrap_or_default().name
    }

    /// Its arguments, or the next part of them: JSON as a text, and from some as JSON itself.
    pub(crate) fn arguments(&self) -> Cow<'a, str> {
        let arguments = self.function.unwrap_or_default().arguments;
        let object = arguments.0.map(RawValue::get).filter(|raw| raw.starts_with('{'));
        object.map_or_else(|| arguments.or_empty(), Cow::Borrowed)
    }
}
