//! A whole chat completion as a message.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Face, Usage, message_id};
use crate::api::face::{Start, Tally};

impl Face {
    /// `chat`, told as a message.
    pub fn whole(&self, chat: &[u8], start: &Start<'_>, tally: &Tally) -> Bytes {
        let chat: Value = serde_json::from_slice(chat).unwrap_or_default();
        let text = &chat["choices"][0]["message"]["content"];
        let message = json!({
            "id": message_id(start.request_id), "type": "message", "role": "assistant", "model": self.model,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": Usage::of(tally),
        });
        Bytes::from(message.to_string())
    }
}
