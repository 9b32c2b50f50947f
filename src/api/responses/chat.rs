//! How a Response reads a chat's answer.

use std::borrow::Cow;

use crate::api::chat::answer::{Chat, Speech, UNTOLD_FAULT};

/// Reads the data of an event, or a body; `None` where it has another shape than a Response can follow.
pub(super) fn read(data: &[u8]) -> Option<Chat<'_>> {
    Chat::read(data).filter(counts_from_zero)
}

/// Whether no choice and no call has an index below 0.
fn counts_from_zero(chat: &Chat<'_>) -> bool {
    chat.choices.iter().flatten().all(|choice| {
        let calls = choice.speeches().flat_map(|speech| speech.tool_calls.iter().flatten());
        calls.map(|call| call.index).chain([choice.index]).flatten().all(|index| index >= 0)
    })
}

/// The message of an error, where it is one.
pub(super) fn fault<'a>(chat: &Chat<'a>) -> Option<Cow<'a, str>> {
    chat.fault().map(|fault| fault.text().unwrap_or(UNTOLD_FAULT.into()))
}

/// What it thought.
pub(super) fn thought<'a>(speech: &Speech<'a>) -> Option<Cow<'a, str>> {
    speech.reasoning_content.some().or_else(|| speech.reasoning.some())
}
