//! The task that asks providers what they charged for answers whose usage never came, and books the difference.
//!
//! What it has to ask it reads from the ledger, so that a restart forgets nothing; what was booked is there too, so that nothing is
//! booked twice. An answer is asked for a few seconds after it was recorded, and then less and less often, for a day.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::ledger::{ADJUSTED, RequestRecord, adjust};
use crate::store::ledger::{self, Reader};
use crate::treasury::Treasury;
use crate::units::Mono;
use crate::upstream::lookup::Unknown;

use super::live::{Gateway, Live};

/// How often the ledger is looked at.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Records that are looked through at once.
const PLACES: i64 = 2_000;
/// Attempts that are asked for in one turn.
const ASKED_MAX: usize = 50;
/// Attempts that wait to be asked for; with more, the ledger is read on later.
const WAITING_MAX: usize = 2_000;
/// How long after its record an answer is asked for first; each time it waits twice as long, up to an hour.
const FIRST: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_hours(1);
/// After so long nobody will know any more.
const LASTS: SignedDuration = SignedDuration::from_hours(24);

/// An attempt that is to be asked for.
struct Waiting {
    record: Arc<RequestRecord>,
    n: usize,
    tries: u32,
    due: Mono,
}

/// Asks until `stop`.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let Some(treasury) = gateway.treasury().map(Arc::clone) else { return };
    let mut lookups = Lookups { gateway, treasury, reader: None, place: None, waiting: VecDeque::new() };
    let mut looks = tokio::time::interval(LOOKS_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        if stop.run_until_cancelled(Box::pin(lookups.turn())).await.is_none() {
            return;
        }
    }
}

struct Lookups {
    gateway: Arc<Gateway>,
    treasury: Arc<Treasury>,
    reader: Option<Reader>,
    /// Up to where the ledger was looked through.
    place: Option<i64>,
    waiting: VecDeque<Waiting>,
}

impl Lookups {
    async fn turn(&mut self) {
        let live = self.gateway.live();
        // Where nobody can be asked there is nothing to look for.
        if !(0..live.snapshot.providers.len()).any(|provider| live.upstreams.can_look_up(provider)) {
            return;
        }
        if self.waiting.len() < WAITING_MAX
            && let Err(error) = self.read(&live).await
        {
            tracing::debug!(%error, "the ledger cannot be looked through for answers without usage");
        }
        let now = self.gateway.books.clock.now().mono;
        let mut left = ASKED_MAX;
        for _ in 0..self.waiting.len() {
            let Some(one) = self.waiting.pop_front() else { return };
            if one.due > now || left == 0 {
                self.waiting.push_back(one);
                continue;
            }
            let (later, well) = self.ask(&live, one).await;
            // Who cannot be asked for one cannot be asked for the next, and each takes its time.
            left = if well { left - 1 } else { 0 };
            self.waiting.extend(later);
        }
    }

    /// Reads on in the ledger.
    async fn read(&mut self, live: &Live) -> Result<(), ledger::Error> {
        let now = self.gateway.books.clock.now();
        let since = now.wall.checked_sub(LASTS).unwrap_or(Timestamp::UNIX_EPOCH);
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.treasury.ledger().reader()?,
        };
        let place = self.place;
        let reading = tokio::task::spawn_blocking(move || (look(&reader, place, since), reader));
        let Ok((found, reader)) = reading.await else { return Ok(()) };
        self.reader = Some(reader);
        let (found, place) = found?;
        self.place = Some(place);
        let due = now.mono.plus(FIRST);
        for (record, n) in found {
            if record.attempts.get(n).is_some_and(|attempt| provider(live, &attempt.provider).is_some()) {
                self.waiting.push_back(Waiting { record, n, tries: 0, due });
            }
        }
        Ok(())
    }

    /// Asks for one: what is to be asked for again, and whether there was an answer.
    async fn ask(&mut self, live: &Live, one: Waiting) -> (Option<Waiting>, bool) {
        let Waiting { record, n, tries, .. } = &one;
        let Some(attempt) = record.attempts.get(*n) else { return (None, true) };
        let Some(at) = provider(live, &attempt.provider) else { return (None, true) };
        let metrics = &self.gateway.books.metrics;
        let (name, route) = (&*attempt.provider, &*attempt.route);
        let result = match live.upstreams.look_up(at, &attempt.generation).await {
            Ok(charged) => match self.treasury.adjust(record, *n, charged.to_nanos()).await {
                Ok(difference) => {
                    if let Some(difference) = difference {
                        metrics.adjusted(name, difference);
                        metrics.looked_up(name, ADJUSTED);
                        tracing::debug!(request = %record.id, route, %difference, "what an answer cost was looked up");
                    }
                    return (None, true);
                }
                // The ledger is in trouble, and will be asked again.
                Err(_) => "failed",
            },
            Err(Unknown::Never) => return (None, true),
            Err(Unknown::Missing) => "missing",
            Err(Unknown::Failed) => "failed",
        };
        metrics.looked_up(name, result);
        let now = self.gateway.books.clock.now();
        if now.wall.duration_since(attempt.asked) > LASTS {
            metrics.looked_up(name, "given_up");
            return (None, true);
        }
        let wait = FIRST.saturating_mul(1 << tries.min(&16)).min(AGAIN_MAX);
        let (tries, due) = (tries.saturating_add(1), now.mono.plus(wait));
        (Some(Waiting { tries, due, record: Arc::clone(record), n: *n }), result == "missing")
    }
}

/// The provider of this name, if it can be asked.
fn provider(live: &Live, name: &str) -> Option<usize> {
    let at = live.snapshot.providers.iter().position(|provider| *provider.name == *name)?;
    live.upstreams.can_look_up(at).then_some(at)
}

/// A record, and which of its attempts is meant.
type Unsure = (Arc<RequestRecord>, usize);

/// The next attempts that were estimated and not corrected yet, and how far that goes.
fn look(reader: &Reader, place: Option<i64>, since: Timestamp) -> Result<(Vec<Unsure>, i64), ledger::Error> {
    let from = match place {
        Some(place) => place,
        None => reader.place_before(since)?,
    };
    let to = reader.newest()?.min(from.saturating_add(PLACES));
    let mut found = Vec::new();
    if to <= from {
        return Ok((found, from));
    }
    for record in reader.unsure_between(from, to)? {
        let record = Arc::new(record);
        for (n, attempt) in record.attempts.iter().enumerate() {
            let unsure = attempt.source == "estimated" && !attempt.generation.is_empty();
            if unsure && !reader.has(adjust::name(record.hold, n), record.began)? {
                found.push((Arc::clone(&record), n));
            }
        }
    }
    Ok((found, to))
}
