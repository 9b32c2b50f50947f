//! What is known of a route at a moment, as a decision reads it: immutable, made by `learn::route` when something changed.

use crate::units::Mono;

use super::learn::cache_hits::{self, BUCKETS};
use super::learn::first_token::FirstTokenOutlook;
use super::learn::pace::PaceOutlook;
use super::route::RouteId;

/// One route's outlook.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteOutlook {
    /// When its first token comes.
    pub first_token: FirstTokenOutlook,
    /// Chance that an attempt fails quickly, 0..1.
    pub error: f32,
    /// How fast it writes.
    pub pace: PaceOutlook,
    /// Share of what its cache should hold that is billed as cached, by age bucket.
    pub cache_hits: CacheShares,
    /// Share of an abandoned attempt's prompt that is billed all the same, 0..1.
    pub abandoned_billed: Abandoned,
    /// First tokens heard since it was new or long unheard.
    pub heard: u32,
    /// Uncached prompt tokens a second it is asked for, over ten seconds.
    pub rate: f32,
    /// The most it seems to take of those; `None`: never refused.
    pub cap: Option<f32>,
    /// Prompt tokens sent there that are still being read: the queue of an engine of our own.
    pub queued_tokens: f32,
    /// Attempts under way that have brought nothing yet.
    pub waiting: u32,
    /// Answers being written.
    pub running: u32,
    /// As many as it writes at once; `None`: not known.
    pub running_max: Option<u32>,
    /// The breaker is open until then.
    pub open_until: Option<Mono>,
    /// The provider asked us to wait until then (429, Retry-After, no quota left).
    pub limited_until: Option<Mono>,
    /// Set aside by the operator's side: bad key, no money, unknown model.
    pub disabled_until: Option<Mono>,
}

/// Hit shares by age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheShares(pub [f32; BUCKETS]);

impl Default for CacheShares {
    fn default() -> Self {
        Self(cache_hits::CacheHits::default().shares())
    }
}

impl CacheShares {
    /// The share for a prefix last served `age_s` ago.
    pub fn at(&self, age_s: f32) -> f32 {
        self.0[cache_hits::bucket(age_s)]
    }
}

/// A share that is 1 until shown otherwise: who is not known to stop billing bills in full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Abandoned(pub f32);

impl Default for Abandoned {
    fn default() -> Self {
        Self(1.0)
    }
}

/// Where outlooks come from: the live table, the replay's, or a file.
pub trait Observe {
    /// What is known of `route`, which stands at `place` among the eligible ones.
    fn outlook(&self, place: usize, route: RouteId) -> &RouteOutlook;
}

/// Nothing has been seen yet.
impl Observe for () {
    fn outlook(&self, _place: usize, _route: RouteId) -> &RouteOutlook {
        static UNSEEN: std::sync::LazyLock<RouteOutlook> = std::sync::LazyLock::new(RouteOutlook::default);
        &UNSEEN
    }
}

/// A table by route.
impl Observe for [RouteOutlook] {
    fn outlook(&self, place: usize, route: RouteId) -> &RouteOutlook {
        self.get(usize::from(route.0)).unwrap_or_else(|| ().outlook(place, route))
    }
}
