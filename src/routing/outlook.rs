//! What is known of a route at a moment, as a decision reads it: immutable, made by `learn::route` when something changed.

use crate::units::Mono;

use super::learn::cache_hits::CacheHits;
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
    /// Prompt tokens that it bills for each that a prompt is taken to have.
    pub counts: Counted,
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
    /// The longest of their prompts, in uncached tokens as expected.
    pub waiting_tokens: f32,
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
pub struct CacheShares {
    /// Where each share ends, in seconds of age; the last has no end.
    ends_s: [f32; CacheShares::EDGES],
    shares: [f32; CacheShares::EDGES + 1],
    /// How many ends there are.
    ends: u8,
}

impl Default for CacheShares {
    fn default() -> Self {
        CacheHits::default().shares()
    }
}

impl CacheShares {
    /// The most ends that shares may have.
    pub const EDGES: usize = 24;

    /// The same share at any age.
    pub fn even(share: f32) -> Self {
        Self::of(&[], &[share])
    }

    /// The first of `shares` up to the first of `ends_s`, in seconds, and so on. One more share than ends; of more than
    /// there is room for the last are left out.
    pub fn of(ends_s: &[f32], shares: &[f32]) -> Self {
        let mut this = Self { ends_s: [0.0; Self::EDGES], shares: [0.0; Self::EDGES + 1], ends: 0 };
        for (into, from) in this.ends_s.iter_mut().zip(ends_s) {
            *into = *from;
            this.ends += 1;
        }
        for (into, from) in this.shares.iter_mut().zip(shares) {
            *into = *from;
        }
        this
    }

    /// The share for a prefix last served `age_s` ago.
    pub fn at(&self, age_s: f32) -> f32 {
        let ends = usize::from(self.ends);
        let ends_s = self.ends_s.get(..ends).unwrap_or_default();
        let at = ends_s.iter().position(|end| age_s < *end).unwrap_or(ends);
        self.shares.get(at).copied().unwrap_or(0.0)
    }
}

/// A ratio that is 1 until shown otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted(pub f32);

impl Default for Counted {
    fn default() -> Self {
        Self(1.0)
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
