//! A whole chat completion as a message.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Face, SIGNATURE, Shown, Stop, Usage, made_tool_id, message_id};
use crate::api::chat::answer::{Chat, ToolCall};
use crate::api::face::{Start, Tally, Untold};

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    #[serde(flatten)]
    stop: Stop<'a>,
    usage: Usage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Thinking { thinking: Cow<'a, str>, signature: Cow<'static, str> },
    Text { text: Cow<'a, str> },
    ToolUse { id: Cow<'a, str>, name: Cow<'a, str>, input: Box<RawValue> },
}

impl Face {
    /// `completion`, told as a message.
    pub fn whole(&self, completion: &[u8], start: &Start<'_>, tally: &Tally) -> Result<Bytes, Untold> {
        let completion = Chat::read(completion).ok_or(Untold::SHAPE)?;
        let choice = completion.first().ok_or(Untold::SHAPE)?;
        let speech = choice.speech().ok_or(Untold::SHAPE)?;
        let mut content = Vec::new();
        let thinking = speech.thought();
        if !thinking.is_empty() {
            content.extend(match self.thinking {
                Shown::Whole => Some(Block::Thinking { thinking, signature: SIGNATURE.into() }),
                Shown::Omitted => {
                    let signature = format!("{SIGNATURE}{thinking}").into();
                    Some(Block::Thinking { thinking: "".into(), signature })
                }
                Shown::Not => None,
            });
        }
        let refusal = speech.refusal.or_empty();
        let refused = !refusal.is_empty();
        content.extend(
            [speech.said(), refusal]
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(|text| Block::Text { text }),
        );
        let calls = speech.tool_calls.as_deref().unwrap_or_default();
        for (place, call) in calls.iter().enumerate() {
            content.push(tool_use(call, place, start)?);
        }
        let stop =
            Stop::of(self, &choice.finish_reason.or_empty(), choice.stop_met(), !calls.is_empty(), refused);
        let message = Message {
            id: message_id(start.request_id),
            kind: "message",
            role: "assistant",
            model: &self.model,
            content,
            stop,
            usage: Usage::of(tally),
        };
        serde_json::to_vec(&message).map(Bytes::from).map_err(|_| Untold::SHAPE)
    }
}

fn tool_use<'a>(call: &ToolCall<'a>, place: usize, start: &Start<'_>) -> Result<Block<'a>, Untold> {
    let id = call.id.or_empty();
    let id = if id.is_empty() { Cow::Owned(made_tool_id(start.request_id, place)) } else { id };
    Ok(Block::ToolUse { id, name: call.name().or_empty(), input: input(&call.arguments())? })
}

/// Arguments as an object. A model's slip in them (cut by `max_tokens`, say) is kept as a text under one name, so that it is
/// neither lost nor taken for arguments.
fn input(arguments: &str) -> Result<Box<RawValue>, Untold> {
    #[derive(Serialize)]
    struct Slip<'a> {
        unparsed_arguments: &'a str,
    }
    let text = arguments.trim();
    let text = if text.is_empty() { "{}" } else { text };
    let parsed = RawValue::from_string(text.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
    parsed.map_or_else(
        || {
            serde_json::value::to_raw_value(&Slip { unparsed_arguments: arguments })
                .map_err(|_| Untold::SHAPE)
        },
        Ok,
    )
}
