//! The last decisions, for whoever asks why: a ring of fixed size, and the line of each in the access log.
//!
//! A record takes half a kilobyte, more for a decision among many routes, and is written once when the request is decided and once when it has ended, each under a lock
//! that is held for that copy alone. What routes and policies were called is kept for the last few configurations.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Snapshot;
use crate::routing::explain::{self, Explanation, KEPT_WITHIN, Origin, Outcome, Shadow};
use crate::routing::{Decision, Observe, Policy, RequestFacts, RouteId, decide, shadows};
use crate::telemetry::Metrics;
use crate::telemetry::access_log::escape_into;
use crate::telemetry::kept::{End, Keeper, Kept};
use crate::units::{Now, RequestId};

/// Decisions kept.
pub const KEPT: usize = 4_096;
const SHARDS: usize = 8;
/// Configurations whose names are kept; decisions of older ones are not shown.
const SNAPSHOTS: usize = 16;
/// Longest line of a decision in the access log, in bytes before escaping.
const LINE_BYTES: usize = 512;

/// A decision as it is kept here.
pub type Record = explain::Record<KEPT_WITHIN>;

/// The ring.
pub struct Decisions {
    shards: [Mutex<Vec<Slot>>; SHARDS],
    next: AtomicU64,
    snapshots: Mutex<VecDeque<Arc<Snapshot>>>,
}

struct Slot {
    ticket: u64,
    record: Record,
}

/// A decision and what it was made from.
pub struct Made<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The policy's place in it.
    pub policy_at: usize,
    /// The policy.
    pub policy: &'a Policy,
    /// What it decided.
    pub decision: &'a Decision,
    /// From these facts.
    pub facts: &'a RequestFacts<'a>,
    /// At that moment.
    pub now: Now,
}

/// Which decisions to show.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// At most so many.
    pub limit: usize,
    /// Only this policy's.
    pub policy: Option<String>,
    /// Only those that were, or were not, degraded; or degraded in this way.
    pub degraded: Option<Degraded>,
}

/// A choice of decisions by how much was possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Degraded {
    /// In any way, or in none.
    Any(bool),
    /// In the way of this name.
    Named(String),
}

/// A record, and the configuration that its places belong to.
pub struct Told {
    /// The record.
    pub record: Record,
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            next: AtomicU64::new(0),
            snapshots: Mutex::default(),
        }
    }
}

impl Decisions {
    /// From now on decisions are made under `snapshot`.
    pub fn under(&self, snapshot: Arc<Snapshot>) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        snapshots.truncate(SNAPSHOTS - 1);
        snapshots.push_front(snapshot);
    }

    /// Keeps a decision, and beside it what the policies that only watch make of the same facts.
    pub fn keep(
        self: &Arc<Self>,
        id: &RequestId,
        made: &Made<'_>,
        seen: &(impl Observe + ?Sized),
        metrics: &Metrics,
    ) -> Kept {
        let Made { snapshot, policy_at, policy, decision, facts, now } = *made;
        let origin = |policy| Origin { generation: snapshot.generation, policy };
        let record = explain::Record::new(id.as_str(), origin(policy_at), policy, decision, facts, now);
        let ticket = self.push(record.small());
        let first = decision.order.first();
        for (at, shadow) in shadows(&snapshot.policies, facts) {
            let facts = facts.in_the_shadow();
            let would = decide(&snapshot.routes, shadow, &facts, seen, now);
            let other = would.order.first();
            let agrees = first.map(|one| one.route) == other.map(|one| one.route);
            let cost = |one: Option<&crate::routing::Candidate>| Some(one?.cost_expected?.to_nanos());
            metrics.shadow(&shadow.name, agrees, cost(first).zip(cost(other)));
            let record = explain::Record::new(id.as_str(), origin(at), shadow, &would, &facts, now);
            self.push(Record { shadow: true, agrees, ..record.small() });
        }
        Kept::new(Arc::clone(self) as Arc<dyn Keeper>, ticket)
    }

    fn push(&self, record: Record) -> u64 {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (shard, at) = place(ticket);
        let mut slots = self.lock(shard);
        let slot = Slot { ticket, record };
        if let Some(old) = slots.get_mut(at) {
            // Overtaken by a whole round: the newer one stays.
            if old.ticket < ticket {
                *old = slot;
            }
        } else {
            if slots.capacity() == 0 {
                slots.reserve_exact(KEPT / SHARDS);
            }
            slots.push(slot);
        }
        ticket
    }

    fn lock(&self, shard: usize) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        let shard = self.shards.get(shard).unwrap_or(&self.shards[0]);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest first.
    pub fn list(&self, filter: &Filter) -> Vec<Told> {
        let snapshots = self.snapshots();
        let wanted = |record: &Record| {
            let Some(snapshot) = of(&snapshots, record) else { return false };
            let policy = snapshot.policies.get(usize::from(record.policy));
            let code = record.gist.degraded.code();
            let degraded = match &filter.degraded {
                None => true,
                Some(Degraded::Any(any)) => (code != "no") == *any,
                Some(Degraded::Named(name)) => code == name,
            };
            let named = filter.policy.as_ref();
            degraded && named.is_none_or(|name| policy.is_some_and(|policy| *policy.name == **name))
        };
        self.matching(&snapshots, filter.limit, wanted)
    }

    /// The latest decision of the request with this id that was carried out, explained, with what shadows made of it.
    pub fn find(&self, id: &str) -> Option<(Told, Explanation)> {
        let snapshots = self.snapshots();
        let mut shadows = Vec::new();
        for told in self.matching(&snapshots, KEPT, |record| record.id.as_str() == id) {
            let explanation = told.explanation()?;
            if told.record.shadow {
                shadows.insert(
                    0,
                    Shadow { policy: explanation.policy.clone(), sentence: explanation.sentence.clone() },
                );
                continue;
            }
            return Some((told, Explanation { shadows, ..explanation }));
        }
        None
    }

    fn matching(
        &self,
        snapshots: &[Arc<Snapshot>],
        limit: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Vec<Told> {
        let mut found: Vec<(u64, Told)> = Vec::new();
        for shard in 0..SHARDS {
            let slots = self.lock(shard);
            let mut here: Vec<&Slot> = slots.iter().filter(|slot| wanted(&slot.record)).collect();
            here.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.ticket));
            found.extend(here.into_iter().take(limit).filter_map(|slot| {
                let snapshot = Arc::clone(of(snapshots, &slot.record)?);
                Some((slot.ticket, Told { record: slot.record.clone(), snapshot }))
            }));
        }
        found.sort_unstable_by_key(|(ticket, _)| std::cmp::Reverse(*ticket));
        found.truncate(limit);
        found.into_iter().map(|(_, told)| told).collect()
    }

    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn snapshot(&self, generation: u64) -> Option<Arc<Snapshot>> {
        let snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        snapshots.iter().find(|snapshot| snapshot.generation == generation).cloned()
    }
}

impl Told {
    /// The decision explained.
    pub fn explanation(&self) -> Option<Explanation> {
        let policy = self.snapshot.policies.get(usize::from(self.record.policy))?;
        Some(Explanation::of(&self.snapshot.routes, policy, &self.record.view()))
    }
}

impl Keeper for Decisions {
    fn ended(&self, ticket: u64, end: &End<'_>, line: &mut Vec<u8>) {
        let (shard, at) = place(ticket);
        let mut slots = self.lock(shard);
        let Some(slot) = slots.get_mut(at).filter(|slot| slot.ticket == ticket) else { return };
        let record = &mut slot.record;
        let Some(snapshot) = self.snapshot(record.generation) else { return };
        let name = |id: RouteId| snapshot.route(id).map(|route| &*route.name);
        let small = |ms: u128| u32::try_from(ms).unwrap_or(u32::MAX);
        record.outcome = Outcome {
            ended: Some(end.outcome),
            route: record.candidates.iter().map(|one| one.route).find(|id| name(*id) == end.route),
            attempts: u16::try_from(end.attempts).unwrap_or(u16::MAX),
            ttft_ms: end.ttft.map(|ttft| small(ttft.as_millis())),
            total_ms: small(end.total.as_millis()),
            cost: end.cost,
        };
        // A line that would be too long ends where it may.
        let _ = record.write_line(&snapshot.routes, &mut Bounded { line, left: LINE_BYTES });
    }
}

/// Text into a JSON string of the log's own buffer, no more than there is room for.
struct Bounded<'l> {
    line: &'l mut Vec<u8>,
    left: usize,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.get(..text.floor_char_boundary(self.left)).unwrap_or_default();
        escape_into(self.line, fits);
        self.left -= fits.len();
        if fits.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of a few thousand")]
const fn place(ticket: u64) -> (usize, usize) {
    let at = (ticket % KEPT as u64) as usize;
    (at % SHARDS, at / SHARDS)
}

fn of<'s>(snapshots: &'s [Arc<Snapshot>], record: &Record) -> Option<&'s Arc<Snapshot>> {
    snapshots.iter().find(|snapshot| snapshot.generation == record.generation)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::environment::SecretFileError;
    use crate::config::{Documents, Environment, compile};
    use crate::pricing::Book;
    use crate::units::Mono;

    struct Bare;

    impl Environment for Bare {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn secret_file(&self, _: &std::path::Path) -> Result<secrecy::SecretString, SecretFileError> {
            Err(SecretFileError::Empty)
        }
    }

    #[test]
    fn the_oldest_gives_way_and_an_end_that_comes_too_late_is_nobodys() {
        let under = |generation| {
            let snapshot = compile(&Documents::default(), &Bare, Book::shipped()).unwrap();
            Arc::new(Snapshot { generation, ..snapshot })
        };
        let snapshot = under(0);
        let decisions = Arc::new(Decisions::default());
        decisions.under(Arc::clone(&snapshot));
        let (facts, decision) = (RequestFacts { model: "m", ..RequestFacts::default() }, Decision::default());
        let now = Now { mono: Mono(0), wall: jiff::Timestamp::UNIX_EPOCH };
        let policy = &snapshot.policies[0];
        let made =
            Made { snapshot: &snapshot, policy_at: 0, policy, decision: &decision, facts: &facts, now };
        let metrics = Metrics::new();
        let keep = |number: usize| {
            let id = RequestId::from_caller(number.to_string().as_bytes()).unwrap();
            decisions.keep(&id, &made, &(), &metrics)
        };
        let first = keep(0);
        let last = (1..=KEPT).map(keep).last().unwrap();
        assert!(decisions.find("0").is_none() && decisions.find("1").is_some());
        let all = decisions.list(&Filter { limit: KEPT * 2, ..Filter::default() });
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].record.id.as_str(), KEPT.to_string());
        let end =
            End { outcome: "ok", route: None, attempts: 1, ttft: None, total: Duration::ZERO, cost: None };
        let mut line = Vec::new();
        first.ended(&end, &mut line);
        assert_eq!(line, br#","decision":"""#);
        line.clear();
        last.ended(&end, &mut line);
        assert_eq!(line, br#","decision":"no route may serve m: 0 left out""#);
        let found = decisions.find(&KEPT.to_string()).unwrap().0;
        assert_eq!(found.record.outcome.ended, Some("ok"));
        // Under later configurations the names of the first are forgotten in the end, and its decisions with them.
        for generation in 1..=SNAPSHOTS as u64 {
            decisions.under(under(generation));
        }
        assert!(decisions.find(&KEPT.to_string()).is_none());
    }

    #[test]
    fn every_ticket_of_a_round_has_a_place_of_its_own() {
        let places: std::collections::BTreeSet<_> = (7..7 + KEPT as u64).map(place).collect();
        assert_eq!(places.len(), KEPT);
        assert!(places.iter().all(|(shard, at)| *shard < SHARDS && *at < KEPT / SHARDS));
        assert_eq!(place(3), place(3 + KEPT as u64));
    }

    #[test]
    fn a_line_is_bounded_and_stays_inside_its_string() {
        use std::fmt::Write as _;
        let mut line = Vec::new();
        let mut bounded = Bounded { line: &mut line, left: 5 };
        assert!(write!(bounded, "a\"b").is_ok());
        assert!(write!(bounded, "cé").is_err());
        assert_eq!(line, b"a\\\"bc");
    }
}
