//! Answers as OpenAI writes them: whole, and as the chunks of a stream.

use serde_json::{Value, json};

use super::{
    fields::Form,
    queue::Done,
    tools::{CallPart, CallReader},
};
use crate::clock;

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Answer {
    id: String,
    created: u64,
    model: String,
    kind: Kind,
    prompt_tokens: u32,
    include_usage: bool,
}

#[derive(Debug)]
enum Kind {
    Chat,
    Call(CallReader),
    Completion,
}

impl Answer {
    /// The answer to a chat.
    pub(crate) fn chat(model: &str, form: &Form, prompt_tokens: u32, include_usage: bool) -> Self {
        let kind = match form {
            Form::Call(functions) => Kind::Call(CallReader::new(format!("call_{}", random()), functions)),
            Form::Text | Form::Json(_) => Kind::Chat,
        };
        Self {
            id: format!("chatcmpl-{}", random()),
            created: clock::unix_seconds(),
            model: model.to_owned(),
            kind,
            prompt_tokens,
            include_usage,
        }
    }

    /// The continuation of a prompt.
    pub(crate) fn completion(model: &str, prompt_tokens: u32, include_usage: bool) -> Self {
        Self {
            id: format!("cmpl-{}", random()),
            created: clock::unix_seconds(),
            model: model.to_owned(),
            kind: Kind::Completion,
            prompt_tokens,
            include_usage,
        }
    }

    /// What a stream opens with.
    pub(crate) fn opening(&self) -> Option<Value> {
        match self.kind {
            Kind::Chat => Some(self.delta(&json!({"role": "assistant", "content": "", "refusal": null}))),
            Kind::Call(_) => Some(self.delta(&json!({"role": "assistant", "content": null}))),
            Kind::Completion => None,
        }
    }

    /// The chunks for more text.
    pub(crate) fn more(&mut self, text: &str) -> Vec<Value> {
        let deltas = match &mut self.kind {
            Kind::Chat => vec![json!({"content": text})],
            Kind::Completion => {
                return vec![
                    self.chunk(&json!({"index": 0, "text": text, "logprobs": null, "finish_reason": null})),
                ];
            }
            Kind::Call(reader) => reader.push(text).into_iter().map(call_delta).collect(),
        };
        deltas.iter().map(|delta| self.delta(delta)).collect()
    }

    /// The chunks at the end.
    pub(crate) fn closing(&self, done: Done) -> Vec<Value> {
        let reason = self.finish_reason(done);
        let last = match self.kind {
            Kind::Completion => json!({"index": 0, "text": "", "logprobs": null, "finish_reason": reason}),
            Kind::Chat | Kind::Call(_) => {
                json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason})
            }
        };
        let mut chunks = vec![self.chunk(&last)];
        if self.include_usage {
            let mut usage = self.chunk(&Value::Null);
            usage["choices"] = json!([]);
            usage["usage"] = self.usage(done);
            chunks.push(usage);
        }
        chunks
    }

    /// The answer in one piece.
    pub(crate) fn whole(mut self, text: &str, done: Done) -> Value {
        let reason = self.finish_reason(done);
        let usage = self.usage(done);
        let choice = match &mut self.kind {
            Kind::Completion => json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason}),
            Kind::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason})
            }
            Kind::Call(reader) => {
                let message = json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": whole_calls(reader.push(text))});
                json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason})
            }
        };
        let object =
            if matches!(self.kind, Kind::Completion) { "text_completion" } else { "chat.completion" };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": [choice], "usage": usage})
    }

    fn finish_reason(&self, done: Done) -> &'static str {
        match self.kind {
            _ if done.cut => "length",
            Kind::Call(_) => "tool_calls",
            Kind::Chat | Kind::Completion => "stop",
        }
    }

    fn usage(&self, done: Done) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "total_tokens": u64::from(self.prompt_tokens) + u64::from(done.completion_tokens),
            "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
        })
    }

    fn delta(&self, delta: &Value) -> Value {
        self.chunk(&json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}))
    }

    fn chunk(&self, choice: &Value) -> Value {
        let object =
            if matches!(self.kind, Kind::Completion) { "text_completion" } else { "chat.completion.chunk" };
        let mut chunk = json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": [choice]});
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

fn call_delta(part: CallPart) -> Value {
    match part {
        CallPart::Name { id, name } => {
            json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]})
        }
        CallPart::Arguments(text) => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
    }
}

/// None when the answer was cut before the function was named.
fn whole_calls(parts: Vec<CallPart>) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    for part in parts {
        match part {
            CallPart::Name { id, name } => {
                calls
                    .push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}}));
            }
            CallPart::Arguments(text) => {
                if let Some(call) = calls.last_mut() {
                    call["function"]["arguments"] = text.into();
                }
            }
        }
    }
    calls
}

/// 24 hexadecimal digits that no other answer has.
fn random() -> String {
    format!("{:024x}", fastrand::u128(..) >> 32)
}
