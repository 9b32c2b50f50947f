//! What is known of each route from its traffic: the live side of what routing observes. It outlives configuration reloads.
//!
//! One writer at a time teaches a route's mind, under a lock that is held for about a microsecond and never across an await;
//! decisions read immutable outlooks behind one pointer each, and wait for nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::providers::fault::{Class, Fault, Weight};
use crate::routing::learn::breaker::State;
use crate::routing::learn::first_token::{Prior, Reading};
use crate::routing::learn::others::{Others, Standing};
use crate::routing::learn::prefix::{Held, Parts};
use crate::routing::learn::route::{AttemptId, Change, Failing, RouteMind};
use crate::routing::weigh::RAMP_HEARD;
use crate::routing::{Observe, RouteId, RouteOutlook};
use crate::units::{Mono, Usage};

/// How old an outlook may be before evidence that is not urgent renews it.
const OUTLOOK_LASTS: Duration = Duration::from_millis(100);
/// How old before a look renews it, while somebody waits there for a first token and while nobody does.
const OUTLOOK_AGES: Duration = Duration::from_millis(250);
const OUTLOOK_RESTS: Duration = Duration::from_secs(2);
/// How long a route that is left to its probe looks closed to a caller's request, at each look.
const LEFT_TO_PROBE: Duration = Duration::from_secs(1);

/// One route's health.
#[derive(Debug)]
pub struct RouteHealth {
    mind: Mutex<RouteMind>,
    outlook: ArcSwap<RouteOutlook>,
    shown_at: Moment,
    /// Whether it was taught something since.
    is_taught: AtomicBool,
    /// Whether prompts are read one after the other there: an engine of our own.
    queues: bool,
    /// The same as long as this lives: what the prefix ledger knows the route by, whatever its place in a snapshot.
    number: RouteId,
    /// When an attempt was last answered or failed.
    pub(super) heard_at: Moment,
    /// When a request last could have gone there under a policy that probes.
    pub(super) wanted_at: Moment,
    /// No probe before then.
    pub(super) probe_from: Moment,
    /// Until then a probe proves nothing there, since the provider refuses it as a bad request.
    pub(super) unprobeable_until: Moment,
    /// Woken when other replicas should hear at once.
    news: Arc<Notify>,
}

/// A moment that many may read and set; never, at first.
#[derive(Debug, Default)]
pub(super) struct Moment(AtomicU64);

impl Moment {
    pub(super) fn set(&self, at: Mono) {
        self.0.store(at.0.max(1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Mono> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Mono)
    }
}

impl RouteHealth {
    /// Health of a route of which nothing is known.
    pub fn new(queues: bool, number: RouteId) -> Self {
        let mut mind = RouteMind::new(if queues { Prior::OWN } else { Prior::default() });
        let outlook = ArcSwap::from_pointee(mind.outlook(Mono::default(), queues));
        Self {
            mind: Mutex::new(mind),
            outlook,
            shown_at: Moment::default(),
            is_taught: AtomicBool::default(),
            queues,
            number,
            heard_at: Moment::default(),
            wanted_at: Moment::default(),
            probe_from: Moment::default(),
            unprobeable_until: Moment::default(),
            news: Arc::default(),
        }
    }

    /// The same, which wakes `news` whenever other replicas should hear at once.
    pub fn telling(self, news: Arc<Notify>) -> Self {
        Self { news, ..self }
    }

    /// What the prefix ledger knows the route by.
    pub const fn number(&self) -> RouteId {
        self.number
    }

    /// What routing may know, as last shown.
    pub fn outlook(&self) -> Arc<RouteOutlook> {
        self.outlook.load_full()
    }

    /// What routing may know at `now`: silence and time tell something too, so that an old outlook is made anew, unless
    /// somebody is teaching at this moment and will show what comes of it.
    pub fn outlook_at(&self, now: Mono) -> Arc<RouteOutlook> {
        let age = self.shown_at.get().map_or(Duration::ZERO, |at| now.since(at));
        let is_taught = self.is_taught.load(Ordering::Relaxed);
        if age >= (if is_taught { OUTLOOK_LASTS } else { OUTLOOK_AGES })
            && let Ok(mut mind) = self.mind.try_lock()
            && (is_taught || age >= OUTLOOK_RESTS || mind.is_waiting())
        {
            self.show(&mut mind, now);
        }
        self.outlook.load_full()
    }

    /// The same for a caller's request while a probe is due to find out whether the breaker may close.
    fn outlook_beside_probe(&self, now: Mono) -> Arc<RouteOutlook> {
        let mut outlook = self.outlook_at(now);
        let half_open = outlook.open_until.is_some_and(|until| until <= now);
        if half_open && self.is_probed(now) {
            Arc::make_mut(&mut outlook).open_until = Some(now.plus(LEFT_TO_PROBE));
        }
        outlook
    }

    /// Whether probes are told of this route: somebody wants it, and they prove something.
    pub(super) fn is_probed(&self, now: Mono) -> bool {
        self.wanted_at.get().is_some() && self.unprobeable_until.get().is_none_or(|until| until <= now)
    }

    /// Whether nothing speaks against a probe: no pause, no open breaker, no trial under way.
    pub(super) fn may_be_probed(&self, now: Mono) -> bool {
        self.lock().may_be_probed(now)
    }

    /// Whether one of the probes is due that a route gets before anything is known of it; if so, it is counted.
    pub(super) fn introduces(&self) -> bool {
        self.lock().introduces()
    }

    /// The breaker's state at `now`.
    pub fn breaker_state(&self, now: Mono) -> State {
        self.lock().breaker_state(now)
    }

    /// Whether it answered within the last seconds and nothing is wrong with it: going there is no gamble.
    pub fn is_known_good(&self, now: Mono) -> bool {
        self.lock().is_known_good(now)
    }

    /// What other replicas should know of it.
    pub fn standing(&self, now: Mono) -> Standing {
        self.lock().standing(now)
    }

    /// Other replicas say this of it now.
    pub fn others_say(&self, now: Mono, others: Others) {
        self.teach(now, true, |mind| mind.others_say(others));
    }

    /// An attempt with so much of a prompt to read begins.
    pub fn began(&self, now: Mono, id: AttemptId, reading: Reading) {
        // Where prompts queue, each one changes what the next can expect; a trial keeps others away, and so do the first
        // attempts at a new route.
        let urgent = self.queues || {
            let shown = self.outlook.load();
            shown.open_until.is_some() || shown.heard < RAMP_HEARD
        };
        self.teach(now, urgent, |mind| mind.began(now, id, reading));
    }

    /// An attempt brought its first token (`streamed`) or its whole answer.
    pub fn answered(&self, now: Mono, id: AttemptId, streamed: bool) -> Change {
        let queues = self.queues;
        self.heard_at.set(now);
        // A breaker that closes is news that the next decision should have.
        let urgent = self.outlook.load().open_until.is_some();
        self.teach(now, urgent, |mind| mind.answered(now, id, queues, streamed))
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
        self.heard_at.set(now);
        self.teach(now, true, |mind| mind.failed(now, id, failing, fault.retry_after, queues))
    }

    /// The provider's headers said that no quota is left for `wait`.
    pub fn exhausted(&self, now: Mono, wait: Duration) {
        self.teach(now, true, |mind| mind.exhausted(now, wait));
    }

    /// A stream broke after its first token.
    pub fn broke(&self, now: Mono) -> Change {
        self.heard_at.set(now);
        self.teach(now, true, |mind| mind.broke(now))
    }

    /// An attempt's usage is known; see [`RouteMind::billed`].
    /// `expected`: the tokens that its prompt was taken to have, if that is worth a comparison.
    pub fn billed(&self, now: Mono, id: AttemptId, held: Held, expected: Option<u64>, usage: &Usage) {
        self.teach(now, false, |mind| {
            mind.counted(expected.unwrap_or(0), usage.prompt);
            mind.billed(now, id, held, usage.prompt, usage.cached);
        });
    }

    /// A prompt was read at `now`, in these parts; see [`RouteMind::read`].
    pub fn read(&self, now: Mono, parts: &Parts) {
        if self.queues {
            self.teach(now, false, |mind| mind.read(now, parts));
        }
    }

    /// Teaches the mind and shows what it thinks now: at once if `urgent`, else when what is shown is old.
    fn teach<T>(&self, now: Mono, urgent: bool, lesson: impl FnOnce(&mut RouteMind) -> T) -> T {
        let mut mind = self.lock();
        let told = lesson(&mut mind);
        if urgent || self.shown_at.get().is_none_or(|at| now.since(at) >= OUTLOOK_LASTS) {
            self.show(&mut mind, now);
        } else {
            self.is_taught.store(true, Ordering::Relaxed);
        }
        told
    }

    fn show(&self, mind: &mut RouteMind, now: Mono) {
        self.shown_at.set(now);
        self.is_taught.store(false, Ordering::Relaxed);
        let mut outlook = mind.outlook(now, self.queues);
        if outlook.open_until.is_none() && mind.breaker_state(now) == State::HalfOpen {
            // In the past: open to all, and known to wait for a trial.
            outlook.open_until = Some(now);
        }
        let before = self.outlook.swap(Arc::new(outlook));
        if is_news(&before, &self.outlook.load(), now) {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, RouteMind> {
        // A panic while it was held can only have left a sample half counted.
        self.mind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what one replica should tell the others at once is another than before.
fn is_news(before: &RouteOutlook, after: &RouteOutlook, now: Mono) -> bool {
    let waits = |outlook: &RouteOutlook| {
        [outlook.open_until, outlook.limited_until, outlook.disabled_until]
            .map(|until| until.filter(|until| now < *until))
    };
    waits(before) != waits(after)
}

/// Outlooks of the routes that are eligible for one request, in their order.
#[derive(Debug)]
pub struct Table(pub smallvec::SmallVec<[Arc<RouteOutlook>; 32]>);

impl Observe for Table {
    fn outlook(&self, place: usize, route: RouteId) -> &RouteOutlook {
        match self.0.get(place) {
            Some(outlook) => outlook,
            None => ().outlook(place, route),
        }
    }
}

impl Table {
    /// What is known at `now` of the routes `eligible`, by `health`; with `probing`, routes that a probe will try are left to
    /// it.
    pub(super) fn of(health: &[Arc<RouteHealth>], eligible: &[RouteId], now: Mono, probing: bool) -> Self {
        let outlook = |id: &RouteId| {
            let health = health.get(usize::from(id.0))?;
            Some(if probing { health.outlook_beside_probe(now) } else { health.outlook_at(now) })
        };
        Self(eligible.iter().map(|id| outlook(id).unwrap_or_default()).collect())
    }
}

/// What is kept by name over reloads. Bounded by what configurations name.
#[derive(Debug)]
pub struct Archive<T> {
    by_name: Mutex<HashMap<Arc<str>, Arc<T>>>,
    made: AtomicU16,
}

impl<T> Default for Archive<T> {
    fn default() -> Self {
        Self { by_name: Mutex::default(), made: AtomicU16::default() }
    }
}

impl<T> Archive<T> {
    /// What is kept of these names, each with what `make` needs of it and a number of its own; what no name stands for any
    /// more is forgotten.
    pub fn of<'n, N>(
        &self,
        names: impl Iterator<Item = (&'n Arc<str>, N)>,
        make: impl Fn(N, u16) -> T,
    ) -> Vec<Arc<T>> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: HashMap<Arc<str>, Arc<T>> = HashMap::new();
        let table = names
            .map(|(name, needs)| {
                let known = by_name.get(name).or_else(|| kept.get(name)).cloned();
                let one = known.unwrap_or_else(|| {
                    // Numbers come round after 65,536 names in the life of a process.
                    Arc::new(make(needs, self.made.fetch_add(1, Ordering::Relaxed)))
                });
                kept.insert(Arc::clone(name), Arc::clone(&one));
                one
            })
            .collect();
        *by_name = kept;
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(archive: &Archive<RouteHealth>, names: &[&Arc<str>]) -> Vec<Arc<RouteHealth>> {
        archive.of(names.iter().map(|name| (*name, false)), |queues, number| {
            RouteHealth::new(queues, RouteId(number))
        })
    }

    #[test]
    fn a_reload_keeps_what_was_known() {
        let archive = Archive::default();
        let (a, b): (Arc<str>, Arc<str>) = ("p/a".into(), "p/b".into());
        let before = of(&archive, &[&a, &b]);
        let after = of(&archive, &[&b]);
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert_ne!(before[0].number(), before[1].number());
        assert!(!Arc::ptr_eq(&before[0], &of(&archive, &[&a])[0]));
    }

    #[test]
    fn a_half_open_route_is_left_to_its_probe_where_there_is_one() {
        let health = RouteHealth::new(false, RouteId(0));
        let at = |ms: u64| Mono(ms * 1_000_000);
        let fault = Fault { class: Class::Server, retry_after: None, message: String::new() };
        for id in 0..3 {
            health.began(at(1), AttemptId(id), Reading::of(1.0));
            health.failed(at(1), AttemptId(id), &fault);
        }
        let closed = |outlook: &RouteOutlook, now| outlook.open_until.is_some_and(|until| until > now);
        assert!(closed(&health.outlook_beside_probe(at(10)), at(10)));
        let later = at(2_500);
        assert!(!closed(&health.outlook_beside_probe(later), later), "nobody probes it");
        health.wanted_at.set(at(1));
        assert!(closed(&health.outlook_beside_probe(later), later));
        assert!(!closed(&health.outlook_at(later), later));
        health.unprobeable_until.set(at(600_000));
        assert!(!closed(&health.outlook_beside_probe(later), later), "its probe proves nothing");
        health.answered(later, AttemptId(9), true);
        assert_eq!(health.outlook().open_until, None);
    }

    #[test]
    fn the_first_attempts_at_a_new_route_show_at_once() {
        let health = RouteHealth::new(false, RouteId(0));
        for id in 0..3 {
            health.began(Mono(1), AttemptId(id), Reading::of(100.0));
        }
        assert_eq!(health.outlook().waiting, 3);
    }

    #[test]
    fn silence_shows_without_any_lesson() {
        let health = RouteHealth::new(false, RouteId(0));
        health.began(Mono(1), AttemptId(1), Reading::of(100.0));
        let hopeful = health.outlook_at(Mono(2)).first_token.within(2.0, 100.0);
        let later = Mono(20_000_000_000);
        assert!(health.outlook_at(later).first_token.within(2.0, 100.0) < hopeful);
    }
}
