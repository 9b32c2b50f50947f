//! What is known of each route from its traffic: the live side of what routing observes. It outlives configuration reloads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::providers::fault::{Fault, Weight};
use crate::routing::{Observation, Observe, RouteId};
use crate::units::Mono;

use super::breaker::{Breaker, State};

/// Share of a new sample in the smoothed values.
const SMOOTHING: f32 = 0.2;
/// How long a route rests that only the operator can mend.
pub const DISABLED_FOR: Duration = Duration::from_mins(5);
/// Wait after a 429 that named none; doubles up to the longest.
const LIMITED_FIRST: Duration = Duration::from_secs(1);
const LIMITED_LONGEST: Duration = Duration::from_secs(30);
/// A route that answered this recently is known to work.
const RECENT: Duration = Duration::from_secs(10);

/// One route's health.
#[derive(Debug, Default)]
pub struct RouteHealth {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    breaker: Breaker,
    ttft_seconds: Option<f32>,
    tokens_per_second: Option<f32>,
    limited_until: Option<Mono>,
    limited_for: Option<Duration>,
    disabled_until: Option<Mono>,
    succeeded_at: Option<Mono>,
}

/// What an outcome changed, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anyone must hear of.
    None,
    /// The breaker moved to this state.
    Breaker(State),
    /// The route rests until the operator acts.
    Disabled,
}

impl RouteHealth {
    /// What routing may know at `now`.
    pub fn observation(&self, now: Mono) -> Observation {
        let inner = self.lock();
        let ahead = |until: Option<Mono>| until.filter(|until| now < *until);
        Observation {
            ttft: inner.ttft_seconds.map(Duration::from_secs_f32),
            tokens_per_second: inner.tokens_per_second,
            error_rate: inner.breaker.error_rate(),
            open_until: inner.breaker.closed_to_others_until(now),
            limited_until: ahead(inner.limited_until),
            disabled_until: ahead(inner.disabled_until),
        }
    }

    /// The breaker's state at `now`.
    pub fn breaker_state(&self, now: Mono) -> State {
        self.lock().breaker.state(now)
    }

    /// Whether it answered within the last seconds and nothing is wrong with it: going there is no gamble.
    pub fn is_known_good(&self, now: Mono) -> bool {
        let inner = self.lock();
        inner.breaker.state(now) == State::Closed
            && inner.succeeded_at.is_some_and(|at| now.since(at) < RECENT)
    }

    /// An attempt begins.
    pub fn begin(&self, now: Mono) {
        self.lock().breaker.begin(now);
    }

    /// An attempt brought its first token (or its whole answer) after `ttft`; `streamed` if that was a first token.
    pub fn succeeded(&self, now: Mono, ttft: Duration, streamed: bool) -> Change {
        let mut inner = self.lock();
        inner.limited_for = None;
        inner.disabled_until = None;
        inner.succeeded_at = Some(now);
        // A whole answer's time says how long the answer was, so it only stands in until a stream was seen.
        if streamed || inner.ttft_seconds.is_none() {
            inner.ttft_seconds = Some(smooth(inner.ttft_seconds, ttft.as_secs_f32()));
        }
        if inner.breaker.succeeded(now) { Change::Breaker(State::Closed) } else { Change::None }
    }

    /// A stream ended well after `tokens` tokens in `duration` since the first.
    pub fn paced(&self, tokens: u64, duration: Duration) {
        const TOKENS_MIN: u64 = 16;
        if tokens < TOKENS_MIN || duration.is_zero() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
        let rate = tokens as f32 / duration.as_secs_f32();
        let mut inner = self.lock();
        inner.tokens_per_second = Some(smooth(inner.tokens_per_second, rate));
    }

    /// An attempt failed.
    pub fn failed(&self, now: Mono, fault: &Fault) -> Change {
        let mut inner = self.lock();
        match fault.class.weight() {
            Weight::None => Change::None,
            Weight::Failure => {
                if let Some(wait) = fault.retry_after {
                    inner.limited_until = Some(now.plus(wait));
                }
                if inner.breaker.failed(now) { Change::Breaker(State::Open) } else { Change::None }
            }
            Weight::Limited => {
                let wait = fault.retry_after.unwrap_or_else(|| {
                    inner.limited_for.map_or(LIMITED_FIRST, |last| (last * 2).min(LIMITED_LONGEST))
                });
                inner.limited_for = Some(wait);
                inner.limited_until = Some(now.plus(wait));
                Change::None
            }
            Weight::Disabled => {
                let newly = inner.disabled_until.is_none_or(|until| until <= now);
                inner.disabled_until = Some(now.plus(DISABLED_FOR));
                if newly { Change::Disabled } else { Change::None }
            }
        }
    }

    /// The provider's headers said that no quota is left for `wait`.
    pub fn exhausted(&self, now: Mono, wait: Duration) {
        self.lock().limited_until = Some(now.plus(wait.min(LIMITED_LONGEST)));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held can only have left a sample half counted.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn smooth(known: Option<f32>, sample: f32) -> f32 {
    known.map_or(sample, |known| known + SMOOTHING * (sample - known))
}

/// Health of a snapshot's routes, by `RouteId`, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// By `RouteId`.
    pub routes: &'a [Arc<RouteHealth>],
    /// The moment.
    pub now: Mono,
}

impl Observe for Table<'_> {
    fn of(&self, route: RouteId) -> Observation {
        self.routes.get(usize::from(route.0)).map(|health| health.observation(self.now)).unwrap_or_default()
    }
}

/// All health ever kept, by route name, so that a reload finds what was known. Bounded by what configurations name.
#[derive(Debug, Default)]
pub struct Archive {
    by_name: Mutex<HashMap<Arc<str>, Arc<RouteHealth>>>,
}

impl Archive {
    /// The health of these routes, kept where known; what no route names any more is forgotten.
    pub fn of<'n>(&self, names: impl Iterator<Item = &'n Arc<str>>) -> Vec<Arc<RouteHealth>> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let table = names
            .map(|name| {
                let health = by_name.get(name).cloned().unwrap_or_default();
                kept.insert(Arc::clone(name), Arc::clone(&health));
                health
            })
            .collect();
        *by_name = kept;
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Class;

    fn fault(class: Class, wait: Option<u64>) -> Fault {
        Fault { class, retry_after: wait.map(Duration::from_secs), message: String::new() }
    }

    #[test]
    fn a_limit_blocks_until_retry_after_and_backs_off_without_one() {
        let health = RouteHealth::default();
        let start = Mono(0);
        health.failed(start, &fault(Class::Rate, Some(7)));
        assert_eq!(health.observation(start).limited_until, Some(start.plus(Duration::from_secs(7))));
        let other = RouteHealth::default();
        other.failed(start, &fault(Class::Rate, None));
        other.failed(start, &fault(Class::Rate, None));
        assert_eq!(other.observation(start).limited_until, Some(start.plus(Duration::from_secs(2))));
        assert_eq!(other.breaker_state(start), State::Closed);
    }

    #[test]
    fn an_operators_fault_disables_once_aloud() {
        let health = RouteHealth::default();
        assert_eq!(health.failed(Mono(0), &fault(Class::BadKey, None)), Change::Disabled);
        assert_eq!(health.failed(Mono(1), &fault(Class::BadKey, None)), Change::None);
        assert!(health.observation(Mono(2)).disabled_until.is_some());
    }

    #[test]
    fn a_callers_fault_leaves_no_trace() {
        let health = RouteHealth::default();
        for _ in 0..10 {
            health.failed(Mono(0), &fault(Class::Caller, None));
        }
        assert_eq!(health.observation(Mono(0)), Observation::default());
    }

    #[test]
    fn a_reload_keeps_what_was_known() {
        let archive = Archive::default();
        let (a, b): (Arc<str>, Arc<str>) = ("p/a".into(), "p/b".into());
        let before = archive.of([&a, &b].into_iter());
        let after = archive.of([&b].into_iter());
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert!(!Arc::ptr_eq(&before[0], &archive.of([&a].into_iter())[0]));
    }
}
