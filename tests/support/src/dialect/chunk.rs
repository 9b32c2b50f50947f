//! A chat as a stream of chunks, in each provider's own order of fields.

use crate::{Usage, dialect::Content};

use super::{Ask, Dialect, Kind, body::usage_json};

/// What one chunk adds.
enum Delta<'a> {
    Role,
    Reasoning(&'a str),
    Text(&'a str),
    ToolStart(&'a str),
    ToolArguments(&'a str),
    Empty,
}

pub(super) struct Writer<'a> {
    dialect: &'a Dialect,
    ask: &'a Ask,
    content: Content,
    usage: Usage,
    id: String,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dialect: &'a Dialect, ask: &'a Ask, index: usize) -> Self {
        let content = dialect.content(ask);
        let usage = dialect.usage_of(ask, &content);
        Self { dialect, ask, content, usage, id: id(dialect.kind, index) }
    }

    /// Every event of the answer, `[DONE]` included.
    pub(super) fn events(&self) -> Vec<String> {
        let kind = self.dialect.kind;
        let mut events = Vec::new();
        if kind != Kind::OpenRouter {
            events.push(self.chunk(&Delta::Role, None, Tail::First));
        }
        for _ in 0..self.dialect.reasoning {
            events.push(self.chunk(&Delta::Reasoning("hm "), None, Tail::Plain));
        }
        match &self.content {
            Content::Text { pieces, .. } => {
                let chunks = pieces.iter().map(|piece| self.chunk(&Delta::Text(piece), None, Tail::Plain));
                events.extend(chunks);
            }
            Content::Tool { name, arguments } => {
                events.push(self.chunk(&Delta::ToolStart(name), None, Tail::Plain));
                let chunks =
                    arguments.iter().map(|piece| self.chunk(&Delta::ToolArguments(piece), None, Tail::Plain));
                events.extend(chunks);
            }
        }
        let on_finish = kind == Kind::DeepSeek || (kind == Kind::Fireworks && !self.ask.include_usage);
        let finish = Some(self.content.finish());
        events.push(self.chunk(&Delta::Empty, finish, if on_finish { Tail::Usage } else { Tail::Plain }));
        match kind {
            Kind::OpenRouter => events.push(self.chunk(&Delta::Empty, finish, Tail::Usage)),
            Kind::Together => events.push(self.usage_chunk()),
            Kind::DeepSeek => {}
            _ if self.ask.include_usage => events.push(self.usage_chunk()),
            _ => {}
        }
        events.push("[DONE]".to_owned());
        events.into_iter().map(|data| format!("data: {data}\n\n")).collect()
    }

    fn chunk(&self, delta: &Delta<'_>, finish: Option<&str>, tail: Tail) -> String {
        let finish = finish.map_or("null".to_owned(), quoted);
        let delta_json = self.delta(delta);
        let choice = match self.dialect.kind {
            Kind::OpenAi | Kind::DeepSeek | Kind::Hunyuan => {
                format!(r#"{{"index":0,"delta":{{{delta_json}}},"logprobs":null,"finish_reason":{finish}}}"#)
            }
            Kind::DashScope => {
                format!(r#"{{"delta":{{{delta_json}}},"finish_reason":{finish},"index":0,"logprobs":null}}"#)
            }
            Kind::ModelArts | Kind::Vllm => format!(
                r#"{{"index":0,"delta":{{{delta_json}}},"logprobs":null,"finish_reason":{finish},"stop_reason":null}}"#
            ),
            Kind::Sglang => format!(
                r#"{{"index":0,"delta":{{{delta_json}}},"logprobs":null,"finish_reason":{finish},"matched_stop":null}}"#
            ),
            Kind::OpenRouter => format!(
                r#"{{"index":0,"delta":{{{delta_json}}},"finish_reason":{finish},"native_finish_reason":{finish}}}"#
            ),
            Kind::Together => {
                let text = if let Delta::Text(text) = delta { quoted(text) } else { quoted("") };
                format!(
                    r#"{{"index":0,"text":{text},"logprobs":null,"finish_reason":{finish},"delta":{{{delta_json}}}}}"#
                )
            }
            Kind::Fireworks => {
                format!(
                    r#"{{"index":0,"delta":{{{delta_json}}},"finish_reason":{finish},"raw_output":null}}"#
                )
            }
        };
        self.document(&choice, &self.tail(tail))
    }

    fn usage_chunk(&self) -> String {
        self.document("", &self.tail(Tail::Usage))
    }

    fn document(&self, choices: &str, tail: &str) -> String {
        let (id, model) = (&self.id, quoted(&served_model(self.dialect.kind, &self.ask.model)));
        let start = format!(r#"{{"id":"{id}","object":"chat.completion.chunk","created":1790000000"#);
        match self.dialect.kind {
            Kind::OpenAi | Kind::DeepSeek => format!(
                r#"{start},"model":{model},"system_fingerprint":"fp_fake","choices":[{choices}]{tail}}}"#
            ),
            Kind::OpenRouter => {
                format!(r#"{start},"model":{model},"provider":"Harbourlight","choices":[{choices}]{tail}}}"#)
            }
            Kind::Together => format!(r#"{start},"choices":[{choices}],"model":{model}{tail}}}"#),
            Kind::DashScope => format!(
                r#"{{"choices":[{choices}],"object":"chat.completion.chunk"{tail},"created":1790000000,"system_fingerprint":null,"model":{model},"id":"{id}"}}"#
            ),
            Kind::Fireworks | Kind::Hunyuan | Kind::ModelArts | Kind::Vllm | Kind::Sglang => {
                format!(r#"{start},"model":{model},"choices":[{choices}]{tail}}}"#)
            }
        }
    }

    fn tail(&self, tail: Tail) -> String {
        let null = match (self.dialect.kind, tail) {
            // Together's first chunk has no such key; OpenRouter and DeepSeek never send a null.
            (Kind::Together, Tail::First) | (Kind::OpenRouter | Kind::DeepSeek, _) => "",
            (Kind::OpenAi | Kind::Hunyuan, _) if !self.ask.include_usage => "",
            // An engine's chunks have the key only where it has a value; SGLang's always do.
            (Kind::ModelArts | Kind::Vllm, _) => "",
            _ => r#","usage":null"#,
        };
        match tail {
            Tail::First | Tail::Plain => null.to_owned(),
            Tail::Usage => format!(r#","usage":{}"#, usage_json(self.dialect, &self.usage)),
        }
    }

    fn delta(&self, delta: &Delta<'_>) -> String {
        let inner = match delta {
            Delta::ToolStart(name) => format!(
                r#""tool_calls":[{{"index":0,"id":"call_{}","type":"function","function":{{"name":{},"arguments":""}}}}]"#,
                self.ask.token,
                quoted(name)
            ),
            Delta::ToolArguments(piece) if self.dialect.kind == Kind::Together => format!(
                r#""tool_calls":[{{"id":null,"index":0,"type":"function","function":{{"name":null,"arguments":{}}}}}]"#,
                quoted(piece)
            ),
            Delta::ToolArguments(piece) if self.dialect.kind == Kind::DashScope => format!(
                r#""tool_calls":[{{"index":0,"id":"","type":"function","function":{{"arguments":{}}}}}]"#,
                quoted(piece)
            ),
            Delta::ToolArguments(piece) => {
                format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":{}}}}}]"#, quoted(piece))
            }
            _ => String::new(),
        };
        let text = if let Delta::Text(text) = delta { quoted(text) } else { quoted("") };
        let thought = if let Delta::Reasoning(thought) = delta { Some(quoted(thought)) } else { None };
        let plain = match (self.dialect.kind, delta) {
            (Kind::OpenRouter, _) => {
                let reasoning = thought.map_or(String::new(), |thought| {
                    let detail = format!(
                        r#"{{"type":"reasoning.text","text":{thought},"format":"unknown","index":0}}"#
                    );
                    format!(r#","reasoning":{thought},"reasoning_details":[{detail}]"#)
                });
                format!(r#""content":{text},"role":"assistant"{reasoning}"#)
            }
            (Kind::Together, _) => {
                let thought = thought.unwrap_or("null".to_owned());
                format!(r#""token_id":null,"role":"assistant","content":{text},"reasoning":{thought}"#)
            }
            (Kind::DeepSeek, Delta::Role) => {
                let (content, thought) =
                    if self.dialect.reasoning > 0 { ("null", "\"\"") } else { ("\"\"", "null") };
                format!(r#""role":"assistant","content":{content},"reasoning_content":{thought}"#)
            }
            (Kind::DeepSeek, Delta::Reasoning(_)) => {
                format!(r#""content":null,"reasoning_content":{}"#, thought.unwrap_or_default())
            }
            (Kind::DeepSeek, _) => format!(r#""content":{text},"reasoning_content":null"#),
            (Kind::DashScope, Delta::Role) => {
                r#""content":"","reasoning_content":null,"role":"assistant""#.to_owned()
            }
            (Kind::DashScope, _) => {
                format!(r#""content":{text},"reasoning_content":{}"#, thought.unwrap_or(quoted("")))
            }
            (Kind::Sglang, Delta::Role) => r#""role":"assistant","content":"""#.to_owned(),
            (Kind::Sglang, _) => {
                let text = if let Delta::Text(text) = delta { quoted(text) } else { "null".to_owned() };
                let thought = thought.unwrap_or("null".to_owned());
                format!(r#""role":null,"content":{text},"reasoning_content":{thought}"#)
            }
            (_, Delta::Reasoning(_)) => format!(r#""reasoning_content":{}"#, thought.unwrap_or_default()),
            (_, Delta::Text(_)) => format!(r#""content":{text}"#),
            (Kind::OpenAi, Delta::Role) => r#""role":"assistant","content":"","refusal":null"#.to_owned(),
            (Kind::Fireworks, Delta::Role) => r#""role":"assistant""#.to_owned(),
            (_, Delta::Role) => r#""role":"assistant","content":"""#.to_owned(),
            _ => String::new(),
        };
        [plain, inner].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
    }
}

/// What stands behind a chunk's choices.
#[derive(Clone, Copy)]
enum Tail {
    First,
    Plain,
    Usage,
}

pub(super) fn id(kind: Kind, index: usize) -> String {
    match kind {
        Kind::Sglang => format!("fake{index:028}"),
        Kind::OpenRouter => format!("gen-1790000000-fake{index:08}"),
        Kind::Together => format!("fake{index:08}-2abCdE"),
        Kind::DeepSeek => format!("00000000-0000-4000-8000-fake{index:08}"),
        _ => format!("chatcmpl-fake{index:08}"),
    }
}

/// The name under which the provider says it served the model.
pub(super) fn served_model(kind: Kind, model: &str) -> String {
    match kind {
        Kind::OpenRouter => format!("{}-20260813", model.split(':').next().unwrap_or_default()),
        _ => model.to_owned(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
