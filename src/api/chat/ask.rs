//! Pieces of a chat request that a face writes: what a message says and calls, and the tools that it may call.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// The content of a message: a text where it is nothing else, since not every route takes parts.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

/// A part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part<'a> {
    Text {
        text: Cow<'a, str>,
    },
    ImageUrl {
        image_url: ImageUrl<'a>,
    },
    InputAudio {
        input_audio: &'a RawValue,
    },
    File {
        file: File<'a>,
    },
    /// Only in what an assistant said; it goes into a member of its own.
    #[serde(skip)]
    Refusal {
        refusal: Cow<'a, str>,
    },
}

/// Where an image is.
#[derive(Debug, Serialize)]
pub(crate) struct ImageUrl<'a> {
    pub(crate) url: Written<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'a RawValue>,
}

/// A file, as a whole.
#[derive(Debug, Serialize)]
pub(crate) struct File<'a> {
    pub(crate) file_data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filename: Option<&'a RawValue>,
}

/// A text of ours, or a value as its caller spelt it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Written<'a> {
    Here(Cow<'a, str>),
    AsItCame(&'a RawValue),
}

impl Written<'_> {
    /// Its length in bytes, as far as it is known before it is written.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Here(text) => text.len(),
            Self::AsItCame(value) => value.get().len(),
        }
    }
}

/// A call of a tool that an assistant has made.
#[derive(Debug, Serialize)]
pub(crate) struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Called<'a>,
}

#[derive(Debug, Serialize)]
struct Called<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

impl<'a> ToolCall<'a> {
    /// The call `id` of the function `name`; `arguments` are JSON, as a text.
    pub(crate) const fn new(id: Cow<'a, str>, name: Cow<'a, str>, arguments: Cow<'a, str>) -> Self {
        Self { id, kind: "function", function: Called { name, arguments } }
    }
}

/// A tool that a model may call.
#[derive(Debug, Serialize)]
pub(crate) struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

/// The function that a tool is.
#[derive(Debug, Serialize)]
pub(crate) struct Function<'a> {
    pub(crate) name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Written<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<&'a RawValue>,
}

impl<'a> Tool<'a> {
    pub(crate) const fn new(function: Function<'a>) -> Self {
        Self { kind: "function", function }
    }

    /// By which a model calls it.
    pub(crate) fn name(&self) -> &str {
        &self.function.name
    }
}

/// Parts as a message's content: one text where there are only texts, with `between` them.
pub(crate) fn content<'a>(mut parts: Vec<Part<'a>>, between: &str) -> Content<'a> {
    let is_text = |part: &Part<'_>| matches!(part, Part::Text { .. });
    match parts.as_mut_slice() {
        [] => Content::Text("".into()),
        [Part::Text { text }] => Content::Text(std::mem::take(text)),
        texts if texts.iter().all(is_text) => Content::Text(joined(texts, between).into()),
        _ => Content::Parts(parts),
    }
}

/// The texts among `parts`, with `between` them.
pub(crate) fn joined(parts: &[Part<'_>], between: &str) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(&**text),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(between)
}
