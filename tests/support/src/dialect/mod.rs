//! Chat, completions, embeddings, Responses and models as one provider speaks them.
//!
//! Every number in an answer follows from the request, so that a test can work out the cost by hand:
//! [`Dialect::usage`] says what an answer to a body will report. Every text begins with the first word of the body that
//! starts with `tok-`, so that an answer that reached the wrong caller is seen. A user who says `call NAME ARGUMENTS` gets
//! that call of a tool, word for word.

mod ask;
mod body;
mod chunk;
mod generation;
mod lists;
mod refuse;
mod responses;
mod trouble;

use crate::{Pause, Price, Received, Reply, Usage, reply::Framing};

use ask::{Ask, Content};

/// Pieces of text that follow the token; some take several bytes a character.
const WORDS: [&str; 8] = [" tides", " at", " Łódź", " turn", " −7", " naïve", " 🌊", " again"];

/// Whose manners an upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Any OpenAI-compatible server.
    OpenAi,
    /// OpenRouter: comments, a dated slug, the finish twice, `usage.cost`.
    OpenRouter,
    /// Together: text twice over, a usage chunk nobody asked for.
    Together,
    /// Fireworks: refuses fields it does not know.
    Fireworks,
    /// DeepSeek: keep-alive comments, nulls, usage on the finish chunk.
    DeepSeek,
    /// Alibaba: an empty `reasoning_content` in every delta, an empty `id` in the later ones of a tool call.
    DashScope,
    /// Tencent: OpenAI's shapes, and `reasoning_content`.
    Hunyuan,
    /// Huawei: an engine's answers, and a gateway's refusals under `error_code`.
    ModelArts,
    /// vLLM: refusals that are an object of their own, without `error` around them.
    Vllm,
    /// SGLang: the same, and `usage: null` in every chunk.
    Sglang,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OpenAi,
        Self::OpenRouter,
        Self::Together,
        Self::Fireworks,
        Self::DeepSeek,
        Self::DashScope,
        Self::Hunyuan,
        Self::ModelArts,
        Self::Vllm,
        Self::Sglang,
    ];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenRouter => "openrouter",
            Self::Together => "together",
            Self::Fireworks => "fireworks",
            Self::DeepSeek => "deepseek",
            Self::DashScope => "dashscope",
            Self::Hunyuan => "hunyuan",
            Self::ModelArts => "modelarts",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("{name}: not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// A provider's manners, and the size and pace of its answers.
#[derive(Clone, Debug)]
pub struct Dialect {
    kind: Kind,
    /// Content pieces, one token each, unless the request's `max_tokens` is smaller.
    tokens: u64,
    reasoning: u64,
    cached: u64,
    price: Option<Price>,
    models: Vec<String>,
    key: Option<String>,
    first_token: Option<Pause>,
    gap: Option<Pause>,
    /// The words of every answer, instead of the usual ones.
    said: Option<Vec<String>>,
    /// Whether it goes on with an assistant's message that is not marked.
    prefills: bool,
    /// Whether it repeats what it goes on from.
    echoes: bool,
    /// What it charged for each answer, for whoever asks afterwards; clones know the same.
    charges: generation::Charges,
}

impl Dialect {
    /// That provider's manners: twelve tokens, no reasoning, nothing cached, any key, any model.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            tokens: 12,
            reasoning: 0,
            cached: 0,
            price: None,
            models: Vec::new(),
            key: None,
            first_token: None,
            gap: None,
            said: None,
            prefills: false,
            echoes: false,
            charges: generation::Charges::default(),
        }
    }

    /// Every text is these pieces, a token each.
    pub fn saying<P: Into<String>>(mut self, pieces: impl IntoIterator<Item = P>) -> Self {
        let pieces: Vec<String> = pieces.into_iter().map(Into::into).collect();
        self.tokens = pieces.len() as u64;
        self.said = Some(pieces);
        self
    }

    /// An assistant's message at the end is gone on with even where nothing marks it.
    pub fn prefills(mut self) -> Self {
        self.prefills = true;
        self
    }

    /// An answer that goes on begins by repeating what it goes on from.
    pub fn echoes(mut self) -> Self {
        self.echoes = true;
        self
    }

    /// Content tokens of a plain answer.
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.tokens = tokens.max(1);
        self
    }

    /// Reasoning tokens ahead of the content.
    pub fn reasoning(mut self, tokens: u64) -> Self {
        self.reasoning = tokens;
        self
    }

    /// Prompt tokens reported as read from a cache, where the prompt has as many.
    pub fn cached(mut self, tokens: u64) -> Self {
        self.cached = tokens;
        self
    }

    /// What it charges; `OpenRouter` reports the cost of each answer from it.
    pub fn price(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// The only models it has; any other is refused as this provider refuses it.
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// The only key it takes.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Waits so long before the first token, behind the head of a stream.
    pub fn first_token(mut self, pause: impl Into<Pause>) -> Self {
        self.first_token = Some(pause.into());
        self
    }

    /// Waits so long between two events of a stream.
    pub fn gap(mut self, pause: impl Into<Pause>) -> Self {
        self.gap = Some(pause.into());
        self
    }

    /// The answer to `request`, refusals included.
    pub fn answer(&self, request: &Received) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let is_beta = self.kind == Kind::DeepSeek && path.starts_with("/beta");
        let path = path.strip_prefix(if is_beta { "/beta" } else { "/v1" }).unwrap_or(path);
        if let Some(refusal) = self.refuse_key(request) {
            return refusal;
        }
        if request.method == "GET" && path == "/models" {
            return self.model_list();
        }
        if request.method == "GET" && path == "/generation" && self.kind == Kind::OpenRouter {
            return self.generation(&request.path);
        }
        if path == "/responses" && self.has_responses() {
            let Some(ask) = Ask::of_response(&request.body) else { return self.refuse_body() };
            return self.refuse_response(&ask).unwrap_or_else(|| self.response(&ask, request.index));
        }
        let Some(ask) = Ask::read(&request.body) else { return self.refuse_body() };
        let refusal = self.refuse_model(&ask).or_else(|| self.refuse_fields(&ask));
        if ask.marks_prefix() && !is_beta {
            return Reply::error(
                400,
                "invalid_request_error",
                "prefix is a beta feature: use the beta address",
            );
        }
        if refusal.is_none() {
            self.charge(&ask, request.index);
        }
        match path {
            _ if refusal.is_some() => refusal.expect("just seen"),
            "/chat/completions" if ask.stream => self.stream(&ask, request.index),
            "/chat/completions" => self.paced(self.whole(&ask, request.index)),
            "/completions" => self.paced(self.completion(&ask, request.index)),
            "/embeddings" => self.paced(lists::embeddings(&ask)),
            _ => Reply::error(404, "not_found", "no such path"),
        }
    }

    /// The usage that an answer to this body reports.
    pub fn usage(&self, body: &[u8]) -> Usage {
        let ask = Ask::read(body).expect("a request in JSON");
        self.usage_of(&ask, &self.content(&ask))
    }

    /// The same of a Responses request.
    pub fn usage_of_response(&self, body: &[u8]) -> Usage {
        let ask = Ask::of_response(body).expect("a request in JSON");
        self.usage_of(&ask, &self.content(&ask))
    }

    fn usage_of(&self, ask: &Ask, content: &Content) -> Usage {
        let prompt = ask.prompt_tokens();
        let completion = self.reasoning + content.tokens();
        Usage { prompt, cached: self.cached.min(prompt), completion, reasoning: self.reasoning }
    }

    fn content(&self, ask: &Ask) -> Content {
        ask.content(self)
    }

    fn paced(&self, reply: Reply) -> Reply {
        match &self.first_token {
            Some(pause) => reply.before_head(pause.clone()),
            None => reply,
        }
    }

    fn stream(&self, ask: &Ask, index: usize) -> Reply {
        let mut packets = Vec::new();
        let comment = match self.kind {
            Kind::OpenRouter => Some(": OPENROUTER PROCESSING\n\n"),
            Kind::DeepSeek => Some(": keep-alive\n\n"),
            _ => None,
        };
        packets.extend(comment.map(str::to_owned));
        let first = packets.len();
        packets.extend(chunk::Writer::new(self, ask, index).events());
        let mut reply = Reply::stream(packets);
        if let Some(pause) = &self.gap {
            reply = reply.between_packets(pause.clone());
        }
        if let Some(pause) = &self.first_token {
            reply = reply.before_packet(first, pause.clone());
        }
        debug_assert_eq!(reply.0.framing, Framing::Chunked);
        self.headers(reply, index)
    }

    fn headers(&self, reply: Reply, index: usize) -> Reply {
        match self.kind {
            Kind::OpenAi => reply.header("x-request-id", "req_fake").header("openai-processing-ms", "12"),
            Kind::OpenRouter => reply.header("x-generation-id", &chunk::id(self.kind, index)),
            // Together has been seen to put it on a 200; it means nothing there.
            Kind::Together => reply.header("x-request-id", "fake-1").header("retry-after", "1"),
            Kind::Fireworks => reply.header("x-ratelimit-over-limit", "no"),
            Kind::DeepSeek => reply.header("x-ds-trace-id", "fake"),
            Kind::DashScope => reply.header("x-request-id", "fake-1").header("req-cost-time", "12"),
            Kind::Hunyuan | Kind::ModelArts | Kind::Vllm | Kind::Sglang => reply,
        }
    }
}
