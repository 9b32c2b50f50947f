//! A policy as routing uses it: compiled from YAML, immutable, cheap to ask.

use std::sync::Arc;
use std::time::Duration;

use crate::units::TokenPrice;

use super::route::Retention;

/// What a policy wants least of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// Expected cost.
    #[default]
    Cost,
    /// Time to first token.
    Latency,
    /// Time per token.
    Throughput,
    /// Cost, with latency weighing in.
    Balanced,
}

/// A glob over names: `*` is any run of characters, `?` any one; everything else is itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(pub Arc<str>);

/// Which requests a policy decides. An empty list matches everything.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Model names as the caller wrote them.
    pub models: Vec<Glob>,
    /// Names of callers' keys.
    pub keys: Vec<Glob>,
    /// Teams.
    pub teams: Vec<Glob>,
    /// `chat`, `completions`, `embeddings`, `rerank`.
    pub endpoints: Vec<Arc<str>>,
    /// Tags that must all be there with a value that matches.
    pub tags: Vec<(Arc<str>, Glob)>,
}

/// The promise about speed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    /// Time to first token.
    pub ttft: Option<Duration>,
    /// What each thousand prompt tokens adds to it.
    pub ttft_per_1k: Duration,
    /// Answer tokens a second.
    pub tokens_per_second: Option<f32>,
    /// Share of requests that must keep it, 0..1.
    pub attainment: f32,
}

/// What a route must satisfy to be asked at all.
#[derive(Debug, Clone, Default)]
pub struct Constraints {
    /// Dearest input price.
    pub input_price_max: Option<TokenPrice>,
    /// Dearest output price.
    pub output_price_max: Option<TokenPrice>,
    /// Allowed regions; empty: any.
    pub regions: Vec<Arc<str>>,
    /// The most a provider may keep.
    pub retention_max: Option<Retention>,
    /// Allowed quantisations; empty: any.
    pub quantizations: Vec<Arc<str>>,
}

/// What to do once a stream that the caller has seen part of breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Midstream {
    /// Another route goes on from the text so far.
    Resume,
    /// An error event ends it.
    #[default]
    Error,
}

/// How a failed attempt is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// How long one attempt may stay silent before its first token.
    pub first_token_timeout: Duration,
    /// How long a stream may stay silent between events.
    pub idle_timeout: Duration,
    /// What happens after the first token.
    pub midstream: Midstream,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_token_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            midstream: Midstream::Error,
        }
    }
}

/// From when on a second route may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum HedgeAfter {
    /// Whenever it is worth its price.
    #[default]
    Worth,
    /// Not before this share of the first route's calls have begun to answer, 0..1.
    Quantile(f32),
    /// Not before this much silence.
    Silence(Duration),
}

/// A second route for a silent first one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedging {
    /// Whether there is one at all.
    pub on: bool,
    /// From when on.
    pub after: HedgeAfter,
    /// What second attempts may cost, as a share of the spend of ten minutes; none are made where it is 0.
    pub max_extra_cost: f32,
}

impl Hedging {
    /// What second attempts may cost, in parts per million of the spend of ten minutes.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share from 0 to 1")]
    pub fn share_ppm(&self) -> u32 {
        (self.max_extra_cost.clamp(0.0, 1.0) * 1e6) as u32
    }

    /// Whether a second route may be asked at all.
    pub fn is_on(&self) -> bool {
        self.on && self.share_ppm() > 0
    }
}

impl Default for Hedging {
    fn default() -> Self {
        Self { on: true, after: HedgeAfter::default(), max_extra_cost: 0.05 }
    }
}

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Its decisions are carried out.
    #[default]
    Live,
    /// Its decisions are recorded beside those that are carried out, and nothing more.
    Shadow,
}

/// Answers kept for equal requests; routing itself does not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// For how long; above zero.
    pub ttl: Duration,
    /// Who shares them.
    pub scope: CacheScope,
}

/// Who shares kept answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheScope {
    /// Each key by itself.
    Key,
    /// A team.
    #[default]
    Team,
    /// All that the policy serves.
    All,
}

/// One policy.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of the policy's file")]
pub struct Policy {
    /// Its name, unique in a snapshot.
    pub name: Arc<str>,
    /// Which requests it decides.
    pub matcher: Matcher,
    /// Providers (`deepseek`) or single routes (`deepseek/deepseek-v4-pro`) that may serve; empty: every usable one. Globs.
    pub routes: Vec<Glob>,
    /// What it wants least of.
    pub objective: Objective,
    /// Whether the order of `routes` decides before the objective does.
    pub in_order: bool,
    /// The promise.
    pub slo: Slo,
    /// Hard limits.
    pub constraints: Constraints,
    /// What happens on failure.
    pub fallback: Fallback,
    /// What happens on silence.
    pub hedging: Hedging,
    /// Whether routes without fresh evidence are probed for this policy's models.
    pub probe: bool,
    /// Whether it acts.
    pub mode: Mode,
    /// Whether answers that are no streams are asked for as streams.
    pub stream_upstream: bool,
    /// Whether answers are kept for equal requests.
    pub cache: Option<Cache>,
    /// Whether a route without a known price may serve.
    pub allow_unpriced: bool,
    /// Bound put on the answer when the caller gives none, in tokens, for pricing alone.
    pub output_tokens_assumed: u64,
    /// Bound put on each answer whose caller gave none, in tokens; routing itself does not look at it.
    pub output_tokens_max: Option<u64>,
    /// How old a price may be before it is warned of; routing itself does not look at it.
    pub price_age_max: Option<Duration>,
}

impl Policy {
    /// A policy for everyone and everything that wants it cheap and promises nothing; it probes, acts, and assumes answers of
    /// 500 tokens.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            matcher: Matcher::default(),
            routes: Vec::new(),
            objective: Objective::Cost,
            in_order: false,
            slo: Slo::default(),
            constraints: Constraints::default(),
            fallback: Fallback::default(),
            hedging: Hedging::default(),
            probe: true,
            mode: Mode::Live,
            price_age_max: None,
            stream_upstream: false,
            cache: None,
            allow_unpriced: false,
            output_tokens_assumed: 500,
            output_tokens_max: None,
        }
    }
}
