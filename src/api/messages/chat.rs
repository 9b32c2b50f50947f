//! What a face reads of a chat completion, whole or in chunks: as much of it as a message has a place for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A chat completion or one chunk of its stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chat<'a> {
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// One choice. A message is the first.
#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<i64>,
    #[serde(borrow, default)]
    delta: Option<Speech<'a>>,
    #[serde(borrow, default)]
    message: Option<Speech<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    /// The stop text that was met, in vLLM's words and in SGLang's.
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    matched_stop: Option<&'a RawValue>,
}

/// A delta or a message. Fields are read one by one, since providers differ in what they put there when it is empty.
#[derive(Debug, Deserialize)]
pub(super) struct Speech<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
}

/// A tool call, or the next part of one.
#[derive(Debug, Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(default)]
    pub(super) index: Option<i64>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

impl<'a> Chat<'a> {
    /// Reads one; `None` where it has another shape.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The choice that becomes the message.
    pub(super) fn first(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0)
    }

    /// The message of an upstream's own error.
    pub(super) fn fault(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Fault<'a> {
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
        }
        let raw = self.error.filter(|raw| !matches!(raw.get(), "null" | "false" | "\"\""))?;
        let inner = serde_json::from_str::<Fault<'a>>(raw.get()).ok().and_then(|fault| fault.message);
        let said = text_of(inner.or(self.error));
        Some(if said.is_empty() { Cow::Borrowed("The provider reported an error.") } else { said })
    }
}

impl<'a> Choice<'a> {
    /// What it says, or says next.
    pub(super) const fn speech(&self) -> Option<&Speech<'a>> {
        match &self.delta {
            Some(delta) => Some(delta),
            None => self.message.as_ref(),
        }
    }

    /// Why it has ended; empty while it has not.
    pub(super) fn finish(&self) -> Cow<'a, str> {
        text_of(self.finish_reason)
    }

    /// The stop text that it met, where the provider tells.
    pub(super) fn stop_met(&self) -> Cow<'a, str> {
        let met = text_of(self.stop_reason);
        if met.is_empty() { text_of(self.matched_stop) } else { met }
    }
}

impl<'a> Speech<'a> {
    /// Its text: one string, or parts of text.
    pub(super) fn text(&self) -> Cow<'a, str> {
        let text = text_of(self.content);
        if !text.is_empty() {
            return text;
        }
        let parts = self.content.filter(|raw| raw.get().starts_with('['));
        let parts = parts.and_then(|raw| serde_json::from_str::<Vec<Part<'a>>>(raw.get()).ok());
        Cow::Owned(parts.into_iter().flatten().map(|part| text_of(part.text)).collect())
    }

    /// What it thought; some providers say it under both names.
    pub(super) fn thinking(&self) -> Cow<'a, str> {
        let thinking = text_of(self.reasoning_content);
        if thinking.is_empty() { text_of(self.reasoning) } else { thinking }
    }

    /// Why it will not answer.
    pub(super) fn refusal(&self) -> Cow<'a, str> {
        text_of(self.refusal)
    }
}

impl<'a> ToolCall<'a> {
    /// Its id; empty where it is not told.
    pub(super) fn id(&self) -> Cow<'a, str> {
        text_of(self.id)
    }

    /// Its function's name; empty where it is not told.
    pub(super) fn name(&self) -> Cow<'a, str> {
        text_of(self.function.as_ref().and_then(|function| function.name))
    }

    /// Its arguments, or the next part of them; JSON as a text, and from some as JSON itself.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        let raw = self.function.as_ref().and_then(|function| function.arguments);
        match raw {
            Some(raw) if raw.get().starts_with('{') => Cow::Borrowed(raw.get()),
            raw => text_of(raw),
        }
    }
}

/// The text, if it is one; otherwise the empty one.
fn text_of(raw: Option<&RawValue>) -> Cow<'_, str> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| raw.starts_with('"')) else {
        return Cow::Borrowed("");
    };
    let inner = &raw[1..raw.len() - 1];
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(""), Cow::Owned)
}
