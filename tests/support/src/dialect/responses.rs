//! The Responses API, as the providers that have one speak it: named events with numbers, and the usage in the last.

use serde_json::{Map, Value, json};

use crate::{Reply, Usage, price::decimal};

use super::{
    Ask, Content, Dialect, Kind,
    chunk::{quoted, served_model},
};

impl Ask {
    /// A Responses request, as the chat request that means the same.
    pub(super) fn of_response(body: &[u8]) -> Option<Self> {
        let mut ask = Self::read(body)?;
        let messages = match ask.fields.remove("input")? {
            Value::String(text) => vec![json!({"role": "user", "content": text})],
            Value::Array(items) => items.iter().map(message).collect(),
            _ => return None,
        };
        ask.fields.insert("messages".to_owned(), messages.into());
        if let Some(Value::Array(tools)) = ask.fields.get_mut("tools") {
            for tool in tools {
                *tool = json!({"type": "function", "function": tool.clone()});
            }
        }
        if let Some(bound) = ask.fields.remove("max_output_tokens") {
            ask.fields.insert("max_tokens".to_owned(), bound);
        }
        let format = ask.fields.get("text").and_then(|text| text.get("format")).cloned();
        if let Some(format) = format.filter(|format| format["type"] == "json_schema") {
            let schema = json!({"type": "json_schema", "json_schema": format});
            ask.fields.insert("response_format".to_owned(), schema);
        }
        Some(ask)
    }
}

fn message(item: &Value) -> Value {
    match item["type"].as_str() {
        Some("function_call_output") => json!({"role": "tool", "content": item["output"]}),
        Some("function_call") => json!({"role": "assistant", "content": null}),
        _ => json!({"role": item["role"], "content": item["content"]}),
    }
}

impl Dialect {
    /// Whether this provider has the API at all.
    pub(super) fn has_responses(&self) -> bool {
        self.kind != Kind::Together
    }

    /// What this provider refuses of a Responses request.
    pub(super) fn refuse_response(&self, ask: &Ask) -> Option<Reply> {
        if let Some(refusal) = self.refuse_model(ask) {
            return Some(refusal);
        }
        if self.kind == Kind::OpenAi && ask.fields.contains_key("top_k") {
            return Some(Reply::error(400, "unknown_parameter", "Unknown parameter: 'top_k'."));
        }
        let kept = ask.fields.get("previous_response_id").is_some_and(|id| !id.is_null());
        kept.then(|| Reply::error(400, "previous_response_not_found", "There is no such response."))
    }

    /// A Response, streamed or not.
    pub(super) fn response(&self, ask: &Ask, index: usize) -> Reply {
        let content = self.content(ask);
        let usage = self.usage_of(ask, &content);
        let told = Told { dialect: self, ask, content, usage, index };
        if !ask.stream {
            let reply = self.headers(Reply::json(200, told.object(told.status(), true)), index);
            let padded = matches!(self.kind, Kind::OpenRouter | Kind::DeepSeek);
            return self.paced(if padded { reply.padded(1).one_packet() } else { reply });
        }
        let comment = match self.kind {
            Kind::OpenRouter => Some(": OPENROUTER PROCESSING\n\n"),
            Kind::DeepSeek => Some(": keep-alive\n\n"),
            _ => None,
        };
        let mut packets: Vec<String> = comment.map(str::to_owned).into_iter().collect();
        packets.extend(told.events());
        // Seen of OpenRouter only.
        packets.extend((self.kind == Kind::OpenRouter).then(|| "data: [DONE]\n\n".to_owned()));
        let first = 1 + usize::from(comment.is_some());
        let mut reply = Reply::stream(packets);
        if let Some(pause) = &self.gap {
            reply = reply.between_packets(pause.clone());
        }
        if let Some(pause) = &self.first_token {
            reply = reply.before_packet(first, pause.clone());
        }
        self.headers(reply, index)
    }
}

/// One answer.
struct Told<'a> {
    dialect: &'a Dialect,
    ask: &'a Ask,
    content: Content,
    usage: Usage,
    index: usize,
}

impl Told<'_> {
    fn status(&self) -> &'static str {
        match self.content {
            Content::Text { cut: true, .. } => "incomplete",
            Content::Text { .. } | Content::Tool { .. } => "completed",
        }
    }

    /// The Response object, which repeats the request's settings.
    fn object(&self, status: &str, whole: bool) -> String {
        let model = quoted(&served_model(self.dialect.kind, &self.ask.model));
        let cut = status == "incomplete";
        let details = if cut { r#"{"reason":"max_output_tokens"}"# } else { "null" };
        let output = if whole { self.output() } else { Vec::new() };
        let output = output.iter().map(Value::to_string).collect::<Vec<_>>().join(",");
        let usage = if whole { self.usage() } else { "null".to_owned() };
        let own = |name: &str| self.ask.fields.get(name).map_or("null".to_owned(), Value::to_string);
        let store = self.ask.fields.get("store").map_or("true".to_owned(), Value::to_string);
        format!(
            r#"{{"id":"resp_fake{:08}","object":"response","created_at":1790000000,"status":"{status}","error":null,"incomplete_details":{details},"instructions":{},"model":{model},"output":[{output}],"store":{store},"temperature":1.0,"top_p":1.0E0,"metadata":{{}},"usage":{usage}}}"#,
            self.index,
            own("instructions"),
        )
    }

    fn output(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if self.dialect.reasoning > 0 {
            items.push(self.thought("completed", true));
        }
        items.push(self.item("completed", true));
        items
    }

    fn thought(&self, status: &str, whole: bool) -> Value {
        let text = "hm ".repeat(usize::try_from(self.dialect.reasoning).expect("a handful of tokens"));
        let content = if whole { json!([{"type": "reasoning_text", "text": text}]) } else { json!([]) };
        let sealed = format!("sealed-{}", self.dialect.kind.name());
        json!({"id": format!("rs_fake{:08}", self.index), "type": "reasoning", "status": status,
               "summary": [], "content": content, "encrypted_content": sealed})
    }

    fn item(&self, status: &str, whole: bool) -> Value {
        match &self.content {
            Content::Text { pieces, .. } => {
                let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": pieces.concat()});
                let content = if whole { json!([part]) } else { json!([]) };
                json!({"id": format!("msg_fake{:08}", self.index), "type": "message", "status": status,
                       "role": "assistant", "content": content})
            }
            Content::Tool { name, arguments } => {
                let arguments = if whole { arguments.concat() } else { String::new() };
                json!({"id": format!("fc_fake{:08}", self.index), "type": "function_call", "status": status,
                       "call_id": format!("call_{}", self.ask.token), "name": name, "arguments": arguments})
            }
        }
    }

    fn usage(&self) -> String {
        let Usage { prompt, cached, completion, reasoning } = self.usage;
        let cost = match (self.dialect.kind, self.dialect.price) {
            (Kind::OpenRouter, Some(price)) => {
                format!(r#","cost":{},"is_byok":false"#, decimal(price.cost_pico(&self.usage), 12))
            }
            _ => String::new(),
        };
        format!(
            r#"{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{completion},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{}{cost}}}"#,
            prompt + completion
        )
    }

    fn events(&self) -> Vec<String> {
        let mut writer = Writer::default();
        for kind in ["response.created", "response.in_progress"] {
            writer.with_object(kind, &self.object("in_progress", false));
        }
        if self.dialect.reasoning > 0 {
            let item = self.thought("in_progress", false);
            writer.event("response.output_item.added", &json!({"output_index": 0, "item": item}));
            for _ in 0..self.dialect.reasoning {
                let place =
                    json!({"item_id": item["id"], "output_index": 0, "content_index": 0, "delta": "hm "});
                writer.event("response.reasoning_text.delta", &place);
            }
            let item = self.thought("completed", true);
            writer.event("response.output_item.done", &json!({"output_index": 0, "item": item}));
        }
        let at = usize::from(self.dialect.reasoning > 0);
        let (open, done) = (self.item("in_progress", false), self.item("completed", true));
        writer.event("response.output_item.added", &json!({"output_index": at, "item": open}));
        match &self.content {
            Content::Text { pieces, .. } => {
                let place = |more: Value| {
                    let mut place = json!({"item_id": open["id"], "output_index": at, "content_index": 0});
                    place
                        .as_object_mut()
                        .expect("an object")
                        .extend(more.as_object().expect("an object").clone());
                    place
                };
                let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
                writer.event("response.content_part.added", &place(json!({"part": part})));
                for piece in pieces {
                    writer
                        .event("response.output_text.delta", &place(json!({"delta": piece, "logprobs": []})));
                }
                let part = &done["content"][0];
                writer.event(
                    "response.output_text.done",
                    &place(json!({"text": part["text"], "logprobs": []})),
                );
                writer.event("response.content_part.done", &place(json!({"part": part})));
            }
            Content::Tool { arguments, .. } => {
                let place =
                    |name: &str, text: &str| json!({"item_id": open["id"], "output_index": at, name: text});
                for piece in arguments {
                    writer.event("response.function_call_arguments.delta", &place("delta", piece));
                }
                let whole = place("arguments", &arguments.concat());
                writer.event("response.function_call_arguments.done", &whole);
            }
        }
        writer.event("response.output_item.done", &json!({"output_index": at, "item": done}));
        let status = self.status();
        writer.with_object(&format!("response.{status}"), &self.object(status, true));
        writer.events
    }
}

/// Named events, numbered from 0.
#[derive(Default)]
struct Writer {
    events: Vec<String>,
}

impl Writer {
    fn event(&mut self, kind: &str, said: &Value) {
        let mut data = Map::new();
        data.insert("type".to_owned(), kind.into());
        data.insert("sequence_number".to_owned(), self.events.len().into());
        data.extend(said.as_object().expect("an object").clone());
        self.events.push(format!("event: {kind}\ndata: {}\n\n", Value::Object(data)));
    }

    fn with_object(&mut self, kind: &str, object: &str) {
        let number = self.events.len();
        self.events.push(format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},\"response\":{object}}}\n\n"
        ));
    }
}
