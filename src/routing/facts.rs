//! What routing may know of a request and of the moment.

use std::sync::Arc;
use std::time::Duration;

use crate::units::{NanoUsd, TokenPrice};

use super::learn::prefix::Held;
use super::policy::{Glob, Objective, Policy};
use super::route::{Capabilities, Retention, RouteId};

/// Which face of the API was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    #[default]
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/rerank`
    Rerank,
}

impl Endpoint {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Embeddings, Self::Rerank];

    /// The endpoint of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }

    /// Whether an answer there is text that a model writes: what is not has no answer tokens, no first one, and no next turn.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// The name policies match on (`chat`, `completions`, `embeddings`, `rerank`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }

    /// What a route must be able to do to answer there.
    pub const fn capability(self) -> Capabilities {
        match self {
            Self::Chat => Capabilities::CHAT,
            Self::Completions => Capabilities::COMPLETIONS,
            Self::Embeddings => Capabilities::EMBEDDINGS,
            Self::Rerank => Capabilities::RERANK,
        }
    }
}

/// What the request needs of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs(pub Capabilities);

/// What a caller wants to be ordered by (OpenRouter's `provider.sort`, `:floor`, `:nitro`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The cheapest first.
    Price,
    /// The fastest writer first.
    Throughput,
    /// The soonest to answer first.
    Latency,
    /// The most reliable with tools first; only OpenRouter measures that.
    Exacto,
}

impl Sort {
    /// The objective that means the same here.
    pub const fn objective(self) -> Option<Objective> {
        match self {
            Self::Price => Some(Objective::Cost),
            Self::Throughput => Some(Objective::Throughput),
            Self::Latency => Some(Objective::Latency),
            Self::Exacto => None,
        }
    }
}

/// A value that a share of calls should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The share, 0..1.
    pub share: f32,
    /// The value, in the unit of what it is asked of.
    pub value: f32,
}

/// What the caller's own routing fields ask for (OpenRouter's `models` and `provider: {…}`, the `:floor` and `:nitro`
/// suffixes). They narrow or order what the policy allows and never widen it. Names are providers (`deepseek`, or a slug of
/// OpenRouter's), a provider's quantisation (`together/fp8`) or routes (`deepseek/deepseek-v4-pro`), in any case.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wants<'a> {
    /// To be tried first, in this order.
    pub order: &'a [&'a str],
    /// Nobody else; empty: anybody.
    pub only: &'a [&'a str],
    /// Not these.
    pub ignore: &'a [&'a str],
    /// Names among these lists to which nobody here answers: routes that pass wishes on may mean them.
    pub foreign: &'a [&'a str],
    /// No second provider, but those in `order`.
    pub no_fallbacks: bool,
    /// Allowed quantisations; empty: any.
    pub quantizations: &'a [&'a str],
    /// The most a provider may keep.
    pub retention_max: Option<Retention>,
    /// Dearest input price.
    pub input_price_max: Option<TokenPrice>,
    /// Dearest output price.
    pub output_price_max: Option<TokenPrice>,
    /// Dearest fee per request.
    pub fee_max: Option<NanoUsd>,
    /// Instead of the policy's objective.
    pub objective: Option<Objective>,
    /// Tokens a second that are preferred; who is known to write more slowly comes later.
    pub throughput_min: &'a [Quantile],
    /// Seconds to the first token that are preferred; who is known to take longer comes later.
    pub latency_max: &'a [Quantile],
    /// For each eligible route a parameter of the request that it would not heed, where all must be; empty: none.
    pub unheeded: &'a [Option<Arc<str>>],
    /// Models to be tried in this order, each of which has its own candidates; empty: only the one model asked for.
    pub models: &'a [Model<'a>],
    /// For each eligible route its place in `models`.
    pub model_of: &'a [u8],
    /// Whether the order of `models` gives way to the objective.
    pub across_models: bool,
    /// The eligible route that has served the conversation so far, by its place, and what it should hold of it. Counts where
    /// nothing better is known.
    pub session: Option<(usize, Held)>,
}

/// One of several models that a caller names.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// As the caller wrote it, without a suffix.
    pub name: &'a str,
    /// The policy that would decide a request for it alone: it limits its candidates too.
    pub policy: &'a Policy,
}

/// A request as routing sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestFacts<'a> {
    /// The model as the caller wrote it.
    pub model: &'a str,
    /// Which API.
    pub endpoint: Endpoint,
    /// Routes that may serve `model`, most preferred name first: the alias or id already resolved.
    pub eligible: &'a [RouteId],
    /// Prompt length in tokens, estimated.
    pub prompt_tokens: u64,
    /// The caller's bound on the answer, in tokens.
    pub output_tokens_max: Option<u64>,
    /// What a route must be able to do.
    pub needs: Needs,
    /// Name of the caller's key; empty without one.
    pub key: &'a str,
    /// Team of the caller.
    pub team: &'a str,
    /// Tags, `key` and `value`.
    pub tags: &'a [(&'a str, &'a str)],
    /// What is left of the caller's patience.
    pub deadline: Option<Duration>,
    /// What the caller's key may use: model names, checkpoints or route names as globs. Empty: anything.
    pub models_allowed: &'a [Glob],
    /// The caller's own routing fields.
    pub wants: Wants<'a>,
    /// What each eligible route should hold of the prompt in its cache, as `eligible`; empty: nothing.
    pub held: &'a [Held],
    /// What was learnt of such requests.
    pub learned: Learned,
    /// Time that has gone by since the request came: a second decision has less left.
    pub waited: Duration,
    /// Routes that were asked already; they are left out without a word.
    pub tried: &'a [RouteId],
    /// Whether a second route may be asked while the first is silent.
    pub may_hedge: bool,
}

impl RequestFacts<'_> {
    /// The model that the route at `place` among the eligible ones would serve; `None`: the one asked for.
    pub(super) fn model_at(&self, place: usize) -> Option<&Model<'_>> {
        self.wants.models.get(usize::from(*self.wants.model_of.get(place)?))
    }

    /// Whether the caller names several models to be tried in order.
    pub(super) const fn has_several_models(&self) -> bool {
        self.wants.models.len() > 1 && !self.wants.across_models
    }

    /// The place of that model in the caller's order, if it counts.
    pub(super) fn model_place(&self, place: usize) -> u8 {
        if self.wants.across_models { 0 } else { self.wants.model_of.get(place).copied().unwrap_or(0) }
    }

    /// As a policy that only watches has them. What a late answer counts is learnt by carrying decisions out, so that a
    /// shadow begins where any new policy does.
    #[must_use]
    pub const fn in_the_shadow(&self) -> Self {
        let learned = Learned { lateness_usd: None, out_of_reach: false, ..self.learned };
        Self { learned, ..*self }
    }
}

/// What was learnt of requests like this one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Learned {
    /// What one late first token is worth avoiding (λ), in USD; `None`: not known yet.
    pub lateness_usd: Option<f64>,
    /// Mean expected cost of the cheapest candidate, in USD; 0: not known yet.
    pub mean_cost_usd: f64,
    /// Whether not even the ceiling of λ keeps the promise.
    pub out_of_reach: bool,
    /// Expected length of the answer, in tokens.
    pub output_tokens: Option<u64>,
    /// Expected number of further requests that extend this one's prompt.
    pub session_rest: f32,
    /// What the prompt of a plan's second attempt may be expected to cost now, in USD; `None`: nothing bounds it.
    pub hedge_room_usd: Option<f64>,
    /// What work on our own engine does to those that come behind it.
    pub behind: super::learn::queue_price::Behind,
}
