//! A chat answer, whole or in chunks, as far as a Response needs to know of it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;

/// A chunk, or a whole chat completion.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) error: Option<&'a RawValue>,
}

/// One of its choices.
#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Speech<'a>>,
    message: Option<Speech<'a>>,
    finish_reason: Option<&'a RawValue>,
    logprobs: Option<&'a RawValue>,
}

/// What it says, or adds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Speech<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    reasoning: Option<&'a RawValue>,
    reasoning_content: Option<&'a RawValue>,
    refusal: Option<&'a RawValue>,
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
}

/// A call, or a piece of one.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    function: Option<Function<'a>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    arguments: Option<&'a RawValue>,
}

/// The text in a member, if there is one and it is not empty.
fn some_text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    value.and_then(json::text).filter(|text| !text.is_empty())
}

impl<'a> Chunk<'a> {
    /// Reads the data of an event, or a body.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// The only choice that a Response can hold.
    pub(super) fn choice(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0)
    }

    /// The message of an error, where it is one.
    pub(super) fn fault(&self) -> Option<Cow<'a, str>> {
        let error = self.error.filter(|error| !matches!(error.get(), "null" | "false" | "\"\""))?;
        let object: Option<json::Object<'a>> = serde_json::from_str(error.get()).ok();
        let message = object.and_then(|object| object.text("message"));
        Some(message.or_else(|| json::text(error)).unwrap_or("The provider reported an error.".into()))
    }
}

impl<'a> Choice<'a> {
    /// What it says.
    pub(super) fn speech(&self) -> Option<&Speech<'a>> {
        self.delta.as_ref().or(self.message.as_ref())
    }

    /// Why it ended, if it has.
    pub(super) fn finish(&self) -> Option<Cow<'a, str>> {
        some_text(self.finish_reason)
    }

    /// The log probabilities of its content, an entry a token.
    pub(super) fn logprobs(&self) -> Vec<&'a RawValue> {
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
    pub(super) fn content(&self) -> Option<Cow<'a, str>> {
        some_text(self.content)
    }

    /// Under either of its two names.
    pub(super) fn thought(&self) -> Option<Cow<'a, str>> {
        some_text(self.reasoning_content).or_else(|| some_text(self.reasoning))
    }

    pub(super) fn refusal(&self) -> Option<Cow<'a, str>> {
        some_text(self.refusal)
    }
}

impl<'a> Call<'a> {
    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        some_text(self.id)
    }

    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        some_text(self.function.as_ref()?.name)
    }

    pub(super) fn arguments(&self) -> Option<Cow<'a, str>> {
        some_text(self.function.as_ref()?.arguments)
    }
}
