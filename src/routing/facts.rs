//! What routing may know of a request and of the moment.

use std::time::Duration;

use crate::units::{Mono, TokenPrice};

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
}

/// What is known of a route at this moment from its traffic.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observation {
    /// Smoothed time to first token.
    pub ttft: Option<Duration>,
    /// Smoothed answer tokens per second.
    pub tokens_per_second: Option<f32>,
    /// Share of recent attempts that failed, 0..1.
    pub error_rate: f32,
    /// The breaker is open until then.
    pub open_until: Option<Mono>,
    /// The provider asked us to wait until then (429, Retry-After, no quota left).
    pub limited_until: Option<Mono>,
    /// Set aside by the operator's side: bad key, no money, unknown model.
    pub disabled_until: Option<Mono>,
}

/// Where observations come from: the live table, or a file.
pub trait Observe {
    /// What is known of `route`.
    fn of(&self, route: RouteId) -> Observation;
}

/// Nothing has been seen yet.
impl Observe for () {
    fn of(&self, _route: RouteId) -> Observation {
        Observation::default()
    }
}
