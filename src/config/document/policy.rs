//! A policy file: what people edit every week.

use crate::config::node::{Node, Value};
use crate::config::read::{At, Decode, Pairs, Reader};
use crate::config::record::{choice, record};

use super::budget::{BudgetDocument, OneOrSeveral};
use super::gateway::RetentionWord;
use super::store::OnStoreLossWord;
use super::values::{
    Count, Flag, HedgeMoment, Name, Pattern, Price, Share, Span, Speed, TagValue, Word as _,
};

record! {
    /// A policy: which requests it decides, who may serve them, and what it wants least of. Files apply in name order; the
    /// first policy that matches a request decides it.
    #[schemars(extend("required" = ["policy"]))]
    pub struct PolicyDocument {
        /// Its name, unique among all policies.
        policy: Name,
        /// Version of this format: 1.
        version: Count,
        /// Which requests it decides. Without it: all.
        #[schemars(rename = "match")]
        matches: MatchDocument,
        /// Who may serve: providers, or single routes (`deepseek/deepseek-v4-pro`), with `*` and `?`. Default: every usable
        /// route that has the model.
        routes: Vec<At<Pattern>>,
        /// Whether the order of `routes` decides, and `objective` only among routes of the same entry. Default: false.
        in_order: Flag,
        /// What it wants least of. Default: cost.
        objective: ObjectiveWord,
        /// The promise about speed.
        slo: SloDocument,
        /// What a route must satisfy to be asked at all.
        constraints: ConstraintsDocument,
        /// What happens when a route fails.
        fallback: FallbackDocument,
        /// Whether a second route is asked while the first is silent, and when: `off`, `on`, or terms. Needs `slo.ttft`.
        /// Default: on, whenever it is worth its price.
        hedge: HedgeSetting,
        /// Whether routes without fresh evidence are asked for one token now and then, so that one that has recovered is
        /// seen. Default: on.
        probe: OnOff,
        /// Whether its decisions are carried out, or only recorded beside those that are. Default: live.
        mode: ModeWord,
        /// Money that these requests may cost: one budget, or a list of several, of which each must hold a request.
        budget: OneOrSeveral<BudgetDocument>,
        /// What happens to these requests while the Redis that budgets are shared in does not answer. Default: as `store` says.
        on_store_loss: OnStoreLossWord,
        /// Keeps answers.
        cache: CacheDocument,
        /// Whether answers that are no streams are asked of providers as streams and put together here, so that time-outs
        /// count from token to token. Default: false.
        stream_upstream: Flag,
        /// Whether a route without a known price may serve. Default: false.
        allow_unpriced: Flag,
        /// Answer length that expected costs assume where a caller sets none, in tokens. Default 512.
        output_tokens_assumed: Count,
        /// Longest answer where a caller sets no bound, in tokens: it is put into the request. Without it such a request holds
        /// as much of a budget as the longest answer of any route would cost.
        output_tokens_max: Count,
        /// What is asked of the prices that it decides by.
        prices: PricesDocument,
    }
}

record! {
    /// What is asked of prices.
    pub struct PricesDocument {
        /// How old a price may be. Older ones still count, and are warned of in the log and in `tollway_price_stale`; 0s: no
        /// warning. Default 45d.
        max_age: Span,
    }
}

record! {
    /// Which requests a policy decides: all of what stands here must match.
    pub struct MatchDocument {
        /// Models as the caller names them, with `*` and `?`.
        models: Vec<At<Pattern>>,
        /// Names of callers' keys, with `*` and `?`.
        keys: Vec<At<Pattern>>,
        /// Teams, with `*` and `?`.
        teams: Vec<At<Pattern>>,
        /// Tags that must all be there, their values with `*` and `?`.
        tags: Pairs<TagValue>,
        /// Which API was called.
        endpoints: Vec<At<EndpointWord>>,
    }
}

choice! {
    /// An API.
    pub enum EndpointWord {
        /// Chat completions.
        Chat = "chat",
        /// Text completions.
        Completions = "completions",
        /// Embeddings.
        Embeddings = "embeddings",
        /// Reranking.
        Rerank = "rerank",
    }
}

choice! {
    /// What a policy wants least of.
    pub enum ObjectiveWord {
        /// Expected cost.
        Cost = "cost",
        /// Time to first token.
        Latency = "latency",
        /// Time per token.
        Throughput = "throughput",
        /// Cost, with latency weighing in.
        Balanced = "balanced",
    }
}

record! {
    /// The promise about speed.
    pub struct SloDocument {
        /// Time to first token, from the request's arrival.
        ttft: Span,
        /// What each thousand prompt tokens adds to `ttft`. Default: 0s.
        ttft_per_1k: Span,
        /// Answer tokens a second.
        tokens_per_second: Speed,
        /// Share of requests that must keep it, from 0 to 1. Default 0.95.
        attainment: Share,
    }
}

record! {
    /// What a route must satisfy. A route of which it is not known does not satisfy it.
    pub struct ConstraintsDocument {
        /// Dearest prices, in USD per million tokens, as they are at the time of the request.
        max_price: MaxPriceDocument,
        /// Regions in which requests may be processed.
        regions: Vec<At<Name>>,
        /// The most that may be kept of prompts and answers.
        data_retention: RetentionWord,
        /// Quantisations that may serve.
        quantizations: Vec<At<Name>>,
    }
}

record! {
    /// Dearest prices in USD per million tokens.
    pub struct MaxPriceDocument {
        /// Prompt tokens.
        input: Price,
        /// Answer tokens.
        output: Price,
    }
}

record! {
    /// How a failed attempt is replaced.
    pub struct FallbackDocument {
        /// Tries in all, the first included. Default 3.
        attempts: Count,
        /// How long an attempt may stay silent before its first token. Default 30s.
        first_token_timeout: Span,
        /// How long a stream may stay silent between two events. Default 60s.
        idle_timeout: Span,
        /// What happens when a stream breaks that the caller has seen part of. Default error.
        midstream: MidstreamWord,
    }
}

choice! {
    /// What happens to a broken stream.
    pub enum MidstreamWord {
        /// Another route goes on from the text so far.
        Resume = "resume",
        /// An error event ends it.
        Error = "error",
    }
}

record! {
    /// When a second route is asked, and what that may cost.
    pub struct HedgeDocument {
        /// The earliest moment: `worth` (whenever it is worth its price), a percentile of the first one's own time to first
        /// token (`p50` to `p99`), or a silence (`800ms`). Default: worth.
        after: HedgeMoment,
        /// What second attempts may cost, as a share of the spend of the last ten minutes. Default 0.05.
        max_extra_cost: Share,
    }
}

/// A second route for a silent first one: `on`, `off`, or its terms.
#[derive(Debug, Clone, schemars::JsonSchema)]
#[schemars(untagged)]
pub enum HedgeSetting {
    /// `on` or `off`.
    Word(OnOff),
    /// On, with these terms.
    Terms(HedgeDocument),
}

impl Decode for HedgeSetting {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Scalar { .. } => {
                let text = reader.text(node)?;
                // `hedge: p95` says when, and only lacks the key for it.
                if HedgeMoment::read(&text).is_ok() {
                    let message =
                        format!("`{}` must be `on`, `off` or a mapping, not `{text}`", reader.key(node.spot));
                    reader.error(node.spot, &message, Some(format!("write {{after: {text}}}")));
                    return None;
                }
                OnOff::decode(node, reader).map(Self::Word)
            }
            _ => HedgeDocument::decode(node, reader).map(Self::Terms),
        }
    }
}

choice! {
    /// Yes or no.
    pub enum OnOff {
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }
}

choice! {
    /// Whether a policy acts.
    pub enum ModeWord {
        /// It decides the requests that it matches.
        Live = "live",
        /// It decides nothing: what it would have decided is recorded beside what was done.
        Shadow = "shadow",
    }
}

record! {
    /// Keeps answers for equal requests.
    pub struct CacheDocument {
        /// For how long; 0s: not at all.
        ttl: Span,
        /// Who gets an answer that was given before: whoever has the same key, is of the same team, or anyone whom this policy
        /// serves. Default: team.
        scope: CacheScopeWord,
    }
}

choice! {
    /// Who shares kept answers.
    pub enum CacheScopeWord {
        /// Each key by itself.
        Key = "key",
        /// A team.
        Team = "team",
        /// All that the policy serves.
        All = "all",
    }
}
