//! What is known of each route from its traffic: the live side of what routing observes. It outlives configuration reloads.
//!
//! One writer at a time teaches a route's mind, under a lock that is held for about a microsecond and never across an await;
//! decisions read immutable outlooks behind one pointer each, and wait for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::providers::fault::{Class, Fault, Weight};
use crate::routing::learn::breaker::State;
use crate::routing::learn::route::{AttemptId, Change, Failing, RouteMind};
use crate::routing::{Observe, RouteId, RouteOutlook};
use crate::units::Mono;

/// How old an outlook may be before evidence that is not urgent renews it.
const OUTLOOK_LASTS: Duration = Duration::from_millis(100);

/// One route's health.
#[derive(Debug)]
pub struct RouteHealth {
    mind: Mutex<Minding>,
    outlook: ArcSwap<RouteOutlook>,
    /// Whether prompts are read one after the other there: an engine of our own.
    queues: bool,
}

#[derive(Debug, Default)]
struct Minding {
    mind: RouteMind,
    shown_at: Mono,
}

impl RouteHealth {
    /// Health of a route of which nothing is known.
    pub fn new(queues: bool) -> Self {
        Self { mind: Mutex::default(), outlook: ArcSwap::default(), queues }
    }

    /// What routing may know.
    pub fn outlook(&self) -> Arc<RouteOutlook> {
        self.outlook.load_full()
    }

    /// The breaker's state at `now`.
    pub fn breaker_state(&self, now: Mono) -> State {
        self.lock().mind.breaker_state(now)
    }

    /// Whether it answered within the last seconds and nothing is wrong with it: going there is no gamble.
    pub fn is_known_good(&self, now: Mono) -> bool {
        self.lock().mind.is_known_good(now)
    }

    /// An attempt with `uncached` prompt tokens begins.
    pub fn began(&self, now: Mono, id: AttemptId, uncached: f64) {
        self.teach(now, true, |mind| mind.began(now, id, uncached));
    }

    /// An attempt brought its first token (`streamed`) or its whole answer.
    pub fn answered(&self, now: Mono, id: AttemptId, streamed: bool) -> Change {
        let queues = self.queues;
        self.teach(now, false, |mind| mind.answered(now, id, queues, streamed))
    }

    /// An answer that had begun is over; `well`: after so many tokens in so many seconds since the first.
    pub fn ended(&self, now: Mono, well: Option<(u64, f32)>) {
        self.teach(now, false, |mind| mind.ended(well));
    }

    /// An attempt was dropped before its first token.
    pub fn abandoned(&self, now: Mono, id: AttemptId) {
        let queues = self.queues;
        self.teach(now, false, |mind| mind.abandoned(now, id, queues));
    }

    /// An attempt failed.
    pub fn failed(&self, now: Mono, id: AttemptId, fault: &Fault) -> Change {
        let failing = match (fault.class.weight(), fault.class) {
            (Weight::None, _) => Failing::Not,
            (Weight::Failure, Class::Timeout) => Failing::Silence,
            (Weight::Failure, _) => Failing::Failure,
            (Weight::Limited, _) => Failing::Limited,
            (Weight::Disabled, _) => Failing::Disabled,
        };
        let queues = self.queues;
        self.teach(now, true, |mind| mind.failed(now, id, failing, fault.retry_after, queues))
    }

    /// The provider's headers said that no quota is left for `wait`.
    pub fn exhausted(&self, now: Mono, wait: Duration) {
        self.teach(now, true, |mind| mind.exhausted(now, wait));
    }

    /// Teaches the mind and shows what it thinks now: at once if `urgent`, else when what is shown is old.
    fn teach<T>(&self, now: Mono, urgent: bool, lesson: impl FnOnce(&mut RouteMind) -> T) -> T {
        let mut minding = self.lock();
        let told = lesson(&mut minding.mind);
        if urgent || now.since(minding.shown_at) >= OUTLOOK_LASTS {
            minding.shown_at = now;
            self.outlook.store(Arc::new(minding.mind.outlook(now, self.queues)));
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Minding> {
        // A panic while it was held can only have left a sample half counted.
        self.mind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outlooks of the routes that are eligible for one request, in their order.
#[derive(Debug)]
pub struct Table(pub smallvec::SmallVec<[Arc<RouteOutlook>; 32]>);

impl Observe for Table {
    fn outlook(&self, place: usize, route: RouteId) -> &RouteOutlook {
        self.0.get(place).map_or_else(|| ().outlook(place, route), |outlook| outlook)
    }
}

/// All health ever kept, by route name, so that a reload finds what was known. Bounded by what configurations name.
#[derive(Debug, Default)]
pub struct Archive {
    by_name: Mutex<HashMap<Arc<str>, Arc<RouteHealth>>>,
}

impl Archive {
    /// The health of these routes (name, whether it queues), kept where known; what no route names any more is forgotten.
    pub fn of<'n>(&self, names: impl Iterator<Item = (&'n Arc<str>, bool)>) -> Vec<Arc<RouteHealth>> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let table = names
            .map(|(name, queues)| {
                let health = by_name.get(name).cloned().unwrap_or_else(|| Arc::new(RouteHealth::new(queues)));
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

    #[test]
    fn a_reload_keeps_what_was_known() {
        let archive = Archive::default();
        let (a, b): (Arc<str>, Arc<str>) = ("p/a".into(), "p/b".into());
        let before = archive.of([(&a, false), (&b, false)].into_iter());
        let after = archive.of([(&b, false)].into_iter());
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert!(!Arc::ptr_eq(&before[0], &archive.of([(&a, false)].into_iter())[0]));
    }
}
