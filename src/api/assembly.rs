//! A whole answer put together from the chunks of a stream, for a caller who asked for no stream.
//!
//! Texts are joined, lists grow, what has an `index` is joined by it, and of everything else the last word counts. Fields that
//! nobody here knows are kept. This is the one place where a provider's answer is parsed into a tree and written again: a whole
//! answer in OpenAI's shape is not among the bytes that came.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::routing::Endpoint;

/// Words that every chunk repeats and none continues.
const SAID_ONCE: &[&str] = &["role", "id", "type", "name", "format"];

/// An answer on its way to being whole.
#[derive(Debug)]
pub struct Assembly {
    endpoint: Endpoint,
    top: Map<String, Value>,
    choices: BTreeMap<u64, Map<String, Value>>,
}

impl Assembly {
    /// The answer to a call of `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, top: Map::new(), choices: BTreeMap::new() }
    }

    /// Takes the next chunk; false: it is no JSON object.
    pub fn take(&mut self, data: &[u8]) -> bool {
        let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else { return false };
        for (name, value) in chunk {
            match (name.as_str(), value) {
                ("choices", Value::Array(choices)) => choices.into_iter().for_each(|one| self.choice(one)),
                // What the first chunk says of the stream holds; the rest may come late.
                ("id" | "created" | "model", value) => {
                    self.top.entry(name).or_insert(value);
                }
                (_, Value::Null) => {
                    self.top.entry(name).or_insert(Value::Null);
                }
                (_, value) => {
                    self.top.insert(name, value);
                }
            }
        }
        true
    }

    /// The body of the whole answer.
    pub fn finish(mut self) -> Vec<u8> {
        let object = if self.endpoint == Endpoint::Chat { "chat.completion" } else { "text_completion" };
        self.top.insert("object".to_owned(), object.into());
        let usage = self.top.remove("usage");
        let choices = std::mem::take(&mut self.choices).into_iter();
        let choices = choices.map(|(index, choice)| whole_choice(index, choice)).collect();
        self.top.insert("choices".to_owned(), Value::Array(choices));
        self.top.extend(usage.filter(|usage| !usage.is_null()).map(|usage| ("usage".to_owned(), usage)));
        // A tree of JSON always serialises.
        serde_json::to_vec(&self.top).unwrap_or_default()
    }

    fn choice(&mut self, choice: Value) {
        let Value::Object(fields) = choice else { return };
        let next = self.choices.len() as u64;
        let index = fields.get("index").map_or(Some(next), Value::as_u64).unwrap_or(next);
        let known = self.choices.entry(index).or_default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("index", _) => {}
                ("delta", Value::Object(delta)) => {
                    let message = known.entry("message").or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(message) = message {
                        join_object(message, delta);
                    }
                }
                // Some say a chat's text twice, in the words of both endpoints.
                ("text", _) if self.endpoint == Endpoint::Chat => {}
                ("text" | "logprobs", value) => join(known, name, value),
                (_, Value::Null) => {
                    known.entry(name).or_insert(Value::Null);
                }
                (_, value) => {
                    known.insert(name, value);
                }
            }
        }
    }
}

fn whole_choice(index: u64, choice: Map<String, Value>) -> Value {
    let mut whole = Map::new();
    whole.insert("index".to_owned(), index.into());
    for (name, value) in choice {
        whole.insert(name, value);
    }
    whole.entry("finish_reason").or_insert(Value::Null);
    if let Some(Value::Object(message)) = whole.get_mut("message") {
        message.entry("role").or_insert_with(|| "assistant".into());
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        let has_calls = calls.as_ref().is_some_and(|calls| !calls.is_empty());
        for call in calls.into_iter().flatten() {
            call.as_object_mut().map(|call| call.remove("index"));
        }
        let content = message.entry("content").or_insert(Value::Null);
        if has_calls && content == "" {
            *content = Value::Null;
        }
    }
    Value::Object(whole)
}

fn join_object(known: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        join(known, name, value);
    }
}

fn join(known: &mut Map<String, Value>, name: String, more: Value) {
    let said_once = SAID_ONCE.contains(&name.as_str());
    match (known.get_mut(&name), more) {
        (None | Some(Value::Null), more) => {
            known.insert(name, more);
        }
        (Some(Value::String(text)), Value::String(more)) if !said_once || text.is_empty() => {
            text.push_str(&more);
        }
        (Some(Value::String(_)), Value::String(_)) | (Some(_), Value::Null) => {}
        (Some(Value::Object(known)), Value::Object(more)) => join_object(known, more),
        (Some(Value::Array(known)), Value::Array(more)) => {
            for item in more {
                join_item(known, item);
            }
        }
        (Some(known), more) => *known = more,
    }
}

/// An item joins the one with the same `index`; without one it is a further one.
fn join_item(known: &mut Vec<Value>, more: Value) {
    let index = more.get("index").filter(|index| index.is_u64()).cloned();
    let same = index.and_then(|index| known.iter().position(|one| one.get("index") == Some(&index)));
    match (same.and_then(|at| known.get_mut(at)), more) {
        (Some(Value::Object(known)), Value::Object(more)) => join_object(known, more),
        (_, more) => known.push(more),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole(endpoint: Endpoint, chunks: &[Value]) -> Value {
        let mut assembly = Assembly::new(endpoint);
        assert!(chunks.iter().all(|chunk| assembly.take(chunk.to_string().as_bytes())));
        serde_json::from_slice(&assembly.finish()).unwrap()
    }

    fn delta(delta: &Value) -> Value {
        json!({"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "m", "usage": null,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]})
    }

    #[test]
    fn text_reasoning_and_usage() {
        let chunks = [
            delta(&json!({"role": "assistant", "content": null, "reasoning_content": ""})),
            delta(&json!({"content": null, "reasoning_content": "hm "})),
            delta(&json!({"content": null, "reasoning_content": "hm"})),
            delta(&json!({"role": "assistant", "content": "a", "x_own": {"n": 1}})),
            delta(&json!({"content": "\u{e9}"})),
            json!({"id": "y", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": 5}], "service_tier": "x"}),
            json!({"id": "y", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
        ];
        assert_eq!(
            whole(Endpoint::Chat, &chunks),
            json!({"id": "x", "object": "chat.completion", "created": 7, "model": "m", "service_tier": "x",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\u{e9}", "reasoning_content": "hm hm",
                    "x_own": {"n": 1}}, "logprobs": null, "finish_reason": "stop", "stop_reason": 5}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
        );
    }

    #[test]
    fn tool_calls_are_joined_by_their_index() {
        let call = |index: u64, rest: Value| {
            let mut call = rest;
            call["index"] = index.into();
            delta(&json!({"tool_calls": [call]}))
        };
        let chunks = [
            delta(&json!({"role": "assistant", "content": ""})),
            call(0, json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
            call(
                0,
                json!({"id": "a", "type": "function", "function": {"name": null, "arguments": "{\"p\":"}}),
            ),
            call(0, json!({"function": {"arguments": "1}"}})),
            call(1, json!({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
        ];
        let message = &whole(Endpoint::Chat, &chunks)["choices"][0]["message"];
        assert_eq!(
            message["tool_calls"],
            json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"p\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}])
        );
        assert_eq!(message["content"], Value::Null);
    }

    #[test]
    fn log_probabilities_choices_and_completions() {
        let said = |index: u64, text: &str| {
            json!({"choices": [{"index": index, "delta": {"content": text}, "text": text,
                "logprobs": {"content": [{"token": text, "logprob": -0.25}]}}]})
        };
        let answer = whole(Endpoint::Chat, &[said(0, "a"), said(1, "c"), said(0, "b")]);
        assert_eq!(answer["choices"][0]["message"]["content"], "ab");
        assert_eq!(answer["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 2);
        assert_eq!(answer["choices"][1]["message"]["content"], "c");
        assert!(answer["choices"][0].get("text").is_none());
        let text = |text: &str| json!({"choices": [{"index": 0, "text": text, "finish_reason": null}]});
        let answer = whole(Endpoint::Completions, &[text("a"), text("b")]);
        assert_eq!(
            (&answer["object"], &answer["choices"][0]["text"]),
            (&json!("text_completion"), &json!("ab"))
        );
    }
}
