//! What routing may know of a request and of the moment.

use std::time::Duration;

use crate::units::TokenPrice;

use super::learn::prefix::Held;
use super::policy::{Glob, Objective};
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
}

impl Endpoint {
    /// The name policies match on (`chat`, `completions`, `embeddings`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }

    /// What a route must be able to do to answer there.
    pub const fn capability(self) -> Capabilities {
        match self {
            Self::Chat => Capabilities::CHAT,
            Self::Completions => Capabilities::COMPLETIONS,
            Self::Embeddings => Capabilities::EMBEDDINGS,
        }
    }
}

/// What the request needs of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs(pub Capabilities);

/// What the caller's own routing fields ask for (OpenRouter's `provider: {…}` and the `:floor` and `:nitro` suffixes).
/// They narrow what the policy allows and never widen it. Names are providers (`deepseek`) or routes
/// (`deepseek/deepseek-v4-pro`), in any case.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wants<'a> {
    /// To be tried first, in this order.
    pub order: &'a [&'a str],
    /// Nobody else; empty: anybody.
    pub only: &'a [&'a str],
    /// Not these.
    pub ignore: &'a [&'a str],
    /// Allowed quantisations; empty: any.
    pub quantizations: &'a [&'a str],
    /// The most a provider may keep.
    pub retention_max: Option<Retention>,
    /// Dearest input price.
    pub input_price_max: Option<TokenPrice>,
    /// Dearest output price.
    pub output_price_max: Option<TokenPrice>,
    /// Instead of the policy's objective.
    pub objective: Option<Objective>,
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
    /// Price of a second of our own engine's prefill work (ν), in USD.
    pub queue_usd_per_s: f64,
    /// What the prompt of a plan's second attempt may be expected to cost now, in USD; `None`: nothing bounds it.
    pub hedge_room_usd: Option<f64>,
    /// What this request's work there does to those that come behind it.
    pub behind: super::learn::queue_price::Behind,
}
