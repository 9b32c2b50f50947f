//! A chat or a completion in one piece.

use crate::{Reply, Usage, price::decimal};

use super::{
    Ask, Content, Dialect, Kind,
    chunk::{id, quoted, served_model},
};

impl Dialect {
    /// A chat that does not stream.
    pub(super) fn whole(&self, ask: &Ask, index: usize) -> Reply {
        let content = self.content(ask);
        let finish = quoted(content.finish());
        let (text, calls) = match &content {
            Content::Text { pieces, .. } => (quoted(&pieces.concat()), String::new()),
            Content::Tool { name, arguments } => {
                let (name, arguments) = (quoted(name), quoted(&arguments.concat()));
                let function = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
                let call =
                    format!(r#"{{"id":"call_{}","type":"function","function":{function}}}"#, ask.token);
                ("null".to_owned(), format!(r#","tool_calls":[{call}]"#))
            }
        };
        let thought = "hm ".repeat(usize::try_from(self.reasoning).expect("a handful of tokens"));
        let thought = if thought.is_empty() { "null".to_owned() } else { quoted(&thought) };
        let message = match self.kind {
            Kind::OpenAi => format!(r#""content":{text},"refusal":null{calls}"#),
            Kind::OpenRouter => format!(r#""content":{text},"refusal":null,"reasoning":{thought}{calls}"#),
            Kind::Together => {
                let calls = if calls.is_empty() { r#","tool_calls":[]"# } else { &calls };
                format!(r#""content":{text}{calls},"reasoning":{thought}"#)
            }
            Kind::DashScope => {
                // Never null there.
                let thought = if self.reasoning == 0 { quoted("") } else { thought };
                format!(r#""content":{text},"reasoning_content":{thought}{calls}"#)
            }
            Kind::Sglang | Kind::ModelArts | Kind::Vllm if calls.is_empty() => {
                format!(r#""content":{text},"reasoning_content":{thought},"tool_calls":null"#)
            }
            _ => format!(r#""content":{text},"reasoning_content":{thought}{calls}"#),
        };
        let extra = match self.kind {
            Kind::OpenAi | Kind::DeepSeek | Kind::DashScope | Kind::Hunyuan => {
                r#","logprobs":null"#.to_owned()
            }
            Kind::ModelArts | Kind::Vllm => r#","logprobs":null,"stop_reason":null"#.to_owned(),
            Kind::Sglang => r#","logprobs":null,"matched_stop":null"#.to_owned(),
            Kind::OpenRouter => format!(r#","logprobs":null,"native_finish_reason":{finish}"#),
            Kind::Together => r#","logprobs":null,"seed":1"#.to_owned(),
            Kind::Fireworks => r#","raw_output":null"#.to_owned(),
        };
        let choice = format!(
            r#"{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":{finish}{extra}}}"#
        );
        let usage = self.usage_of(ask, &content);
        let reply = Reply::json(200, self.document("chat.completion", ask, index, &choice, &usage));
        let reply = self.headers(reply, index);
        match self.kind {
            Kind::Fireworks => reply
                .header("fireworks-prompt-tokens", &usage.prompt.to_string())
                .header("fireworks-cached-prompt-tokens", &usage.cached.to_string()),
            // Both have been seen to hold a connection open with blanks while the answer is made.
            Kind::OpenRouter | Kind::DeepSeek => reply.padded(1).one_packet(),
            _ => reply,
        }
    }

    /// A text completion, streamed or not.
    pub(super) fn completion(&self, ask: &Ask, index: usize) -> Reply {
        let content = self.content(ask);
        let Content::Text { pieces, .. } = &content else { return self.refuse_body() };
        let finish = quoted(content.finish());
        let usage = self.usage_of(ask, &content);
        let choice = |text: &str, finish: &str| {
            format!(r#"{{"index":0,"text":{},"logprobs":null,"finish_reason":{finish}}}"#, quoted(text))
        };
        if !ask.stream {
            let choice = choice(&pieces.concat(), &finish);
            let body = self.document("text_completion", ask, index, &choice, &usage);
            return self.headers(Reply::json(200, body), index);
        }
        let start = format!(
            r#"{{"id":"{}","object":"text_completion","created":1790000000,"model":{},"choices""#,
            id(self.kind, index),
            quoted(&served_model(self.kind, &ask.model))
        );
        let nothing = [String::new()];
        let pieces = if pieces.is_empty() { &nothing[..] } else { pieces };
        let last = pieces.len() - 1;
        let chunks = pieces.iter().enumerate().map(|(place, piece)| {
            let choice = choice(piece, if place == last { &finish } else { "null" });
            format!(r"{start}:[{choice}]}}")
        });
        let mut chunks: Vec<_> = chunks.collect();
        if ask.include_usage || matches!(self.kind, Kind::OpenRouter | Kind::Together) {
            chunks.push(format!(r#"{start}:[],"usage":{}}}"#, usage_json(self, &usage)));
        }
        self.headers(Reply::events(chunks), index)
    }

    fn document(&self, object: &str, ask: &Ask, index: usize, choice: &str, usage: &Usage) -> String {
        let (id, model) = (id(self.kind, index), quoted(&served_model(self.kind, &ask.model)));
        let usage = usage_json(self, usage);
        let extra = match self.kind {
            Kind::OpenAi | Kind::DeepSeek => r#","system_fingerprint":"fp_fake""#,
            Kind::OpenRouter => r#","provider":"Harbourlight""#,
            Kind::Together => r#","prompt":[],"metadata":{"weight_version":"default"}"#,
            Kind::DashScope => r#","system_fingerprint":null"#,
            Kind::Fireworks | Kind::Hunyuan | Kind::ModelArts | Kind::Vllm | Kind::Sglang => "",
        };
        let start =
            format!(r#"{{"id":"{id}","object":"{object}","created":1790000000,"model":{model}{extra}"#);
        format!(r#"{start},"choices":[{choice}],"usage":{usage}}}"#)
    }
}

/// The usage object as this provider writes it.
pub(super) fn usage_json(dialect: &Dialect, usage: &Usage) -> String {
    let Usage { prompt, cached, completion, reasoning } = usage;
    let total = prompt + completion;
    let counts =
        format!(r#""prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}"#);
    let cache = format!(r#""prompt_tokens_details":{{"cached_tokens":{cached}}}"#);
    let thought = format!(r#""completion_tokens_details":{{"reasoning_tokens":{reasoning}}}"#);
    let rest = match dialect.kind {
        Kind::OpenAi | Kind::Hunyuan => format!("{cache},{thought}"),
        Kind::DashScope => {
            let cache =
                format!(r#""prompt_tokens_details":{{"cached_tokens":{cached},"text_tokens":{prompt}}}"#);
            let said = completion - reasoning;
            format!(
                r#"{cache},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"text_tokens":{said}}}"#
            )
        }
        // An engine says nothing of a cache that gave nothing, and nothing at all of thoughts.
        Kind::ModelArts | Kind::Vllm if *cached == 0 => r#""prompt_tokens_details":null"#.to_owned(),
        Kind::ModelArts | Kind::Vllm => cache,
        Kind::Sglang if *cached == 0 => {
            format!(r#""prompt_tokens_details":null,"reasoning_tokens":{reasoning}"#)
        }
        Kind::Sglang => format!(r#"{cache},"reasoning_tokens":{reasoning}"#),
        Kind::OpenRouter => {
            let cost = dialect.price.map_or(String::new(), |price| {
                format!(r#""cost":{},"is_byok":false,"#, decimal(price.cost_pico(usage), 12))
            });
            format!("{cost}{cache},{thought}")
        }
        // No details at all where nothing was cached: a missing field means 0.
        Kind::Together if *cached == 0 => format!(r#""reasoning_tokens":{reasoning}"#),
        Kind::Together => format!(r#""reasoning_tokens":{reasoning},"cached_tokens":{cached}"#),
        Kind::Fireworks => cache,
        Kind::DeepSeek => {
            let missed = prompt - cached;
            let hits = format!(r#""prompt_cache_hit_tokens":{cached},"prompt_cache_miss_tokens":{missed}"#);
            format!("{cache},{thought},{hits}")
        }
    };
    format!("{{{counts},{rest}}}")
}
