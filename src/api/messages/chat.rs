//! What a message takes from a chat's answer where its text may stand in more than one place or form.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::chat::answer::{Choice, Speech, Text, ToolCall};

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

/// What it says: one string, or parts of text.
pub(super) fn text<'a>(speech: &Speech<'a>) -> Cow<'a, str> {
    let text = speech.content.or_empty();
    if !text.is_empty() {
        return text;
    }
    let parts = speech.content.value().filter(|raw| raw.get().starts_with('['));
    let parts = parts.and_then(|raw| serde_json::from_str::<Vec<Part<'a>>>(raw.get()).ok());
    Cow::Owned(parts.into_iter().flatten().map(|part| part.text.or_empty()).collect())
}

/// What it thought.
pub(super) fn thinking<'a>(speech: &Speech<'a>) -> Cow<'a, str> {
    first_of(speech.reasoning_content, speech.reasoning)
}

/// The stop text that it met, where the provider tells.
pub(super) fn stop_met<'a>(choice: &Choice<'a>) -> Cow<'a, str> {
    first_of(choice.stop_reason, choice.matched_stop)
}

/// A call's arguments, or the next part of them; JSON as a text, and from some as JSON itself.
pub(super) fn arguments<'a>(call: &ToolCall<'a>) -> Cow<'a, str> {
    let arguments = call.arguments();
    let object = arguments.value().map(RawValue::get).filter(|raw| raw.starts_with('{'));
    object.map_or_else(|| arguments.or_empty(), Cow::Borrowed)
}

fn first_of<'a>(one: Text<'a>, other: Text<'a>) -> Cow<'a, str> {
    let text = one.or_empty();
    if text.is_empty() { other.or_empty() } else { text }
}
