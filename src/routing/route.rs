//! A route: one provider's offer of one checkpoint, and all that routing may know of it before any request.

use std::sync::Arc;

use crate::pricing::PriceCard;

/// A route's place in the snapshot's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u16);

/// What a provider does with prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retention {
    /// Nothing is kept.
    None,
    /// Kept for a time, not trained on.
    Stored,
    /// May be trained on.
    Training,
    /// Nobody said; no constraint on retention is met.
    Unknown,
}

/// What a route can do beyond plain chat, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// `POST /chat/completions`.
    pub const CHAT: Self = Self(1);
    /// `POST /completions`.
    pub const COMPLETIONS: Self = Self(1 << 1);
    /// `POST /embeddings`.
    pub const EMBEDDINGS: Self = Self(1 << 2);
    /// Tool calls.
    pub const TOOLS: Self = Self(1 << 3);
    /// `response_format: {type: json_schema}`.
    pub const JSON_SCHEMA: Self = Self(1 << 4);
    /// `tool_choice` that forces a call.
    pub const FORCED_TOOL: Self = Self(1 << 5);
    /// Several choices (`n` > 1).
    pub const MANY_CHOICES: Self = Self(1 << 6);
    /// Log probabilities.
    pub const LOGPROBS: Self = Self(1 << 7);
    /// `POST /rerank`.
    pub const RERANK: Self = Self(1 << 8);
    /// Everything above.
    pub const ALL: Self = Self(0x1ff);

    /// The union.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without the others.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Each in words, for messages.
    pub const WORDS: [(Self, &'static str); 9] = [
        (Self::CHAT, "chat completions"),
        (Self::COMPLETIONS, "plain completions"),
        (Self::EMBEDDINGS, "embeddings"),
        (Self::RERANK, "reranking"),
        (Self::TOOLS, "tool calls"),
        (Self::JSON_SCHEMA, "`response_format: json_schema`"),
        (Self::FORCED_TOOL, "a `tool_choice` that forces a call"),
        (Self::MANY_CHOICES, "`n` above 1"),
        (Self::LOGPROBS, "`logprobs`"),
    ];

    /// Whether all of `needed` is here.
    pub const fn covers(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// One provider's offer of one checkpoint.
#[derive(Debug, Clone)]
pub struct Route {
    /// The provider's name in the configuration (`deepseek`, `my-vllm`, `local`).
    pub provider: Arc<str>,
    /// The id the provider wants to hear (`accounts/fireworks/models/deepseek-v4-pro`).
    pub upstream_model: Arc<str>,
    /// `provider/upstream-model`: how the route is named in headers, logs and tables.
    pub name: Arc<str>,
    /// The checkpoint behind it (`deepseek-v4-flash-0731`): price and quality compare only between equal ones.
    pub checkpoint: Arc<str>,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: Option<u64>,
    /// Where requests are processed (`us`, `eu`, `cn`, `sg`, `local`); unknown meets no constraint on region.
    pub region: Option<Arc<str>>,
    /// What happens to the data.
    pub retention: Retention,
    /// `fp8`, `bf16`, …; unknown meets no constraint on quantisation.
    pub quantization: Option<Arc<str>>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its prices; without them it is left out, unless the policy allows unpriced routes.
    pub price: Option<PriceCard>,
    /// Whether it is our own hardware.
    pub local: bool,
    /// Whether this route is a faster, dearer serving path or other variant that only a pin may choose.
    pub pin_only: bool,
    /// Further names that callers may call its provider by (`alibaba`): OpenRouter's slugs for it.
    pub slugs: &'static [&'static str],
    /// Whether a caller's routing fields go there with the request and are honoured there: OpenRouter.
    pub passes_wishes_on: bool,
}

impl Route {
    /// An offer of `checkpoint` of which little more is known than its name: `provider/model`, or that of a provider that
    /// calls its model by the checkpoint's name. It can do everything, for prompts of any length.
    pub fn named(name: &str, checkpoint: &str, price: Option<PriceCard>) -> Self {
        let (provider, upstream_model) = name.split_once('/').unwrap_or((name, checkpoint));
        Self {
            provider: provider.into(),
            upstream_model: upstream_model.into(),
            name: name.into(),
            checkpoint: checkpoint.into(),
            context_tokens: None,
            region: None,
            retention: Retention::Unknown,
            quantization: None,
            capabilities: Capabilities::ALL,
            price,
            local: false,
            pin_only: false,
            slugs: &[],
            passes_wishes_on: false,
        }
    }
}

/// All routes of a snapshot; a `RouteId` is an index here.
pub type Routes = [Route];
