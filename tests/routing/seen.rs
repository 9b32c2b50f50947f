//! What is known of a route, as a case has it in few words, and the outlook made of it.

use std::time::Duration;

use serde::Deserialize;
use tollway::routing::RouteOutlook;
use tollway::routing::learn::first_token::{FirstTokenOutlook, PREFILL_LUCK, STRUCK};
use tollway::routing::learn::pace::PaceOutlook;
use tollway::routing::learn::prefix::Held;
use tollway::routing::learn::shape::{LOWEST, WIDTH};
use tollway::routing::outlook::{CacheShares, Counted};
use tollway::units::Mono;

pub(crate) const MONO: Mono = Mono(1_000_000_000_000);
/// First tokens that a route with `ttft_ms` was heard to bring.
const HEARD: u32 = 40;

/// One route's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SeenCase {
    /// Median time to first token for the whole of this request's prompt, uncached.
    ttft_ms: Option<u64>,
    /// What each thousand uncached prompt tokens adds to it.
    ttft_per_1k_ms: f32,
    /// Spread of its logarithm.
    spread: f64,
    /// First tokens heard; 40 where `ttft_ms` is given.
    heard: Option<u32>,
    tokens_per_second: Option<f32>,
    error_rate: f32,
    /// Prompt tokens that its cache should hold, and for how many seconds it has.
    held: u32,
    held_s: f32,
    /// Share of what it should hold that is billed as cached.
    cache_share: Option<f32>,
    /// Prompt tokens that it bills for each that a prompt is taken to have.
    counts: f32,
    /// Uncached prompt tokens a second that it is asked for, and takes.
    rate: f32,
    cap: Option<f32>,
    /// Attempts under way that have brought nothing yet.
    waiting: u32,
    /// Of an engine of our own.
    queued_tokens: f32,
    running: u32,
    running_max: Option<u32>,
    open_s: Option<u64>,
    limited_s: Option<u64>,
    disabled_s: Option<u64>,
}

impl Default for SeenCase {
    fn default() -> Self {
        Self {
            ttft_ms: None,
            ttft_per_1k_ms: 10.0,
            spread: 0.25,
            heard: None,
            tokens_per_second: None,
            error_rate: 0.0,
            held: 0,
            held_s: 30.0,
            cache_share: None,
            counts: 1.0,
            rate: 0.0,
            cap: None,
            waiting: 0,
            queued_tokens: 0.0,
            running: 0,
            running_max: None,
            open_s: None,
            limited_s: None,
            disabled_s: None,
        }
    }
}

impl SeenCase {
    /// One that was seen in this way; first tokens with a median in milliseconds and a spread.
    pub(crate) fn random(
        ttft: Option<(u64, f64)>,
        tokens_per_second: Option<f32>,
        error_rate: f32,
        cache_share: f32,
    ) -> Self {
        Self {
            ttft_ms: ttft.map(|(ms, _)| ms),
            spread: ttft.map_or(0.25, |(_, spread)| spread),
            tokens_per_second,
            error_rate,
            cache_share: Some(cache_share),
            ..Self::default()
        }
    }

    pub(crate) fn held(&self) -> Held {
        Held { tokens: self.held, age_s: self.held_s }
    }

    pub(crate) fn outlook(&self, prompt_tokens: u64) -> RouteOutlook {
        let until = |seconds: Option<u64>| seconds.map(|seconds| MONO.plus(Duration::from_secs(seconds)));
        let plain = RouteOutlook::default();
        RouteOutlook {
            first_token: self
                .ttft_ms
                .map_or_else(FirstTokenOutlook::default, |ms| self.first_token(ms, prompt_tokens)),
            error: self.error_rate,
            pace: self.tokens_per_second.map_or(plain.pace, |rate| PaceOutlook::of(1.0 / rate, 0.15)),
            cache_hits: self.cache_share.map_or(plain.cache_hits, CacheShares::even),
            counts: Counted(self.counts),
            heard: self.heard.unwrap_or(if self.ttft_ms.is_some() { HEARD } else { 0 }),
            rate: self.rate,
            cap: self.cap,
            waiting: self.waiting,
            queued_tokens: self.queued_tokens,
            running: self.running,
            running_max: self.running_max,
            open_until: until(self.open_s),
            limited_until: until(self.limited_s),
            disabled_until: until(self.disabled_s),
            ..plain
        }
    }

    /// Times around the median as the case has it, by the logistic curve, which stands in for the normal one; two in a
    /// thousand never come. How first tokens are learnt makes no difference here.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "milliseconds of a case"
    )]
    fn first_token(&self, ttft_ms: u64, prompt_tokens: u64) -> FirstTokenOutlook {
        // A little more, so that whole milliseconds stay whole.
        let (tokens, median_s) = (prompt_tokens as f32, ttft_ms as f32 / 1e3 + 1e-5);
        // At most half of it is the prompt's.
        let per_token_s = (self.ttft_per_1k_ms / 1e6).min(median_s / 2.0 / tokens.max(1.0));
        let within = std::array::from_fn(|edge| {
            let z = LOWEST + edge as f32 * WIDTH;
            0.998 / (1.0 + (-1.702 * z / self.spread as f32).exp())
        });
        FirstTokenOutlook {
            doubt: [0.0; 3],
            base_s: median_s - per_token_s * tokens,
            per_token_s,
            prefill_luck: PREFILL_LUCK as f32,
            level: 1.0,
            within: [within; STRUCK.len()],
        }
    }
}
