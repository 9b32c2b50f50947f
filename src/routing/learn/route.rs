//! All that is learnt of one route, in one place: evidence in, an outlook out.

mod queue;
mod silence;

use std::time::Duration;

use smallvec::SmallVec;

use crate::routing::outlook::{Abandoned, Counted, RouteOutlook};
use crate::units::Mono;

use super::breaker::{Breaker, State};
use super::cache_hits::CacheHits;
use super::counts::Counts;
use super::errors::Errors;
use super::first_token::{FirstToken, Prior, Reading};
use super::level::Belief;
use super::load::Load;
use super::others::{Others, Spell, Standing};
use super::pace::Pace;
use super::prefix::{Held, Parts, tick};
use super::residence::{Distance, Residence};
use super::writing::Writing;

/// How long a route rests that only the operator can mend.
pub const DISABLED_FOR: Duration = Duration::from_mins(5);
/// A route that answered this recently is known to work.
const RECENT: Duration = Duration::from_secs(10);
/// Who fails more of the recent attempts than this is no safe place to go on to.
const GOOD_FAILS: f32 = 0.25;
/// A route unheard for this long is new again.
const FORGOTTEN: Duration = Duration::from_mins(10);
/// First probes of a route of which nothing is known, one at each look: what they cost is less than a guess may.
const FIRST_PROBES: u8 = 4;
/// Attempts under way that are looked at one by one; more tell nothing more.
const WAITING_MAX: usize = 256;

/// What an attempt is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// How an attempt failed, as far as its route is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It says nothing of the route: the caller's own fault.
    Not,
    /// The route failed: a 5xx, a broken connection, an error inside a 200, a stall.
    Failure,
    /// The route stayed silent for as long as it is given.
    Silence,
    /// The route refused for its rate.
    Limited,
    /// Only the operator can mend it.
    Disabled,
}

/// What an outcome changed, for those who must hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The breaker moved to this state.
    Breaker(State),
    /// The route rests until the operator acts.
    Disabled,
}

/// One route's mind.
#[derive(Debug, Clone, Default)]
pub struct RouteMind {
    first_token: FirstToken,
    errors: Errors,
    pace: Pace,
    cache_hits: CacheHits,
    counts: Counts,
    /// Of an engine of our own: what its cache holds, and how much else was served there since what its attempts under way
    /// were expected to find.
    residence: Option<Box<Residence>>,
    distances: SmallVec<[(AttemptId, Distance); 4]>,
    load: Load,
    breaker: Breaker,
    waiting: SmallVec<[Waiting; 16]>,
    /// First tokens of which it is not known yet how much of the prompt was read.
    unsettled: SmallVec<[Unsettled; 8]>,
    /// Since when, or from when on, an engine of our own has been free to read the first of those waiting, in seconds of
    /// the clock.
    free_s: f64,
    writing: Writing,
    running: u32,
    /// How many answers were being written when it began to read the prompt that it is reading, were it an engine of our own.
    running_then: u32,
    heard: u32,
    /// First probes it was given.
    introduced: u8,
    heard_at: Option<Mono>,
    succeeded_at: Option<Mono>,
    /// When the latest of the attempts began that were answered: what an answer proves, it proves of that time.
    proved_from: Option<Mono>,
    disabled_until: Option<Mono>,
    others: Others,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: AttemptId,
    began: Mono,
    reading: Reading,
    /// What was ahead of it in the queue of an engine of our own, in seconds.
    ahead_s: f64,
}

#[derive(Debug, Clone, Copy)]
struct Unsettled {
    id: AttemptId,
    time_s: f64,
    running: u32,
    /// Since it was asked, and what was ahead of it then.
    total_s: f64,
    ahead_s: f64,
    /// What the level was thought to be before it came.
    level: Belief,
}

impl RouteMind {
    /// A mind that begins with what a catalogue says of first tokens.
    pub fn new(prior: Prior) -> Self {
        let residence = prior.queues.then(Box::default);
        Self { first_token: FirstToken::new(prior), residence, ..Self::default() }
    }

    /// An attempt with so much of a prompt to read begins.
    pub fn began(&mut self, now: Mono, id: AttemptId, reading: Reading) {
        self.breaker.begin(now);
        self.load.asked(now, reading.expected());
        self.looked_for(now, id, reading);
        if self.waiting.is_empty() {
            self.running_then = self.running;
        }
        if self.waiting.len() < WAITING_MAX {
            let ahead_s = self.queued(now) * self.token_s();
            self.waiting.push(Waiting { id, began: now, reading, ahead_s });
        }
    }

    /// Its first token came. `queues`: prompts are read one after the other there (an engine of our own), so that what was
    /// ahead of it counts. `timed` is false for a whole answer, whose time says how long it was.
    pub fn answered(&mut self, now: Mono, id: AttemptId, queues: bool, timed: bool) -> Change {
        let waiting = self.take(id);
        let began = waiting.map_or(now, |waiting| waiting.began);
        if let Some(waiting) = waiting.filter(|_| timed) {
            let (time_s, reading) = (seconds(now) - self.read_from_s(&waiting, queues), waiting.reading);
            // Where an abandoned prompt may have been read before it, or not, its time tells nothing.
            if time_s > 0.0 {
                let running = if queues { self.running_then } else { 0 };
                // Before it is known how far so many answers slow it down, its time says nothing of the level.
                let level = if self.writing.knows(running) {
                    self.first_token.noticed(seconds(now), reading, time_s / self.writing.slows(running))
                } else {
                    self.first_token.level()
                };
                let (total_s, ahead_s) = (now.since(waiting.began).as_secs_f64(), waiting.ahead_s);
                let one = Unsettled { id, time_s, running, total_s, ahead_s, level };
                if reading.is_certain() {
                    self.settled(reading.hit, one);
                } else {
                    if self.unsettled.len() >= WAITING_MAX {
                        self.unsettled.remove(0);
                    }
                    self.unsettled.push(one);
                }
            }
            // What is still to be read begins now.
            self.free_s = seconds(now);
        }
        if self.heard_at.is_some_and(|at| now.since(at) > FORGOTTEN) {
            self.heard = 0;
        }
        self.heard = self.heard.saturating_add(1);
        self.heard_at = Some(now);
        self.succeeded_at = Some(now);
        self.proved_from = self.proved_from.max(Some(began));
        // One that began before the operator's fault was found does not disprove it.
        if self.disabled_until.is_some_and(|until| began >= until.minus(DISABLED_FOR)) {
            self.disabled_until = None;
        }
        self.running += 1;
        self.running_then = self.running;
        self.errors.counted(seconds(now), false);
        self.load.taken();
        self.others.taken();
        if self.breaker.succeeded(now, began) { Change::Breaker(State::Closed) } else { Change::None }
    }

    /// An answer that had begun is over: after `tokens` tokens in `seconds` since the first, if it ended well.
    pub fn ended(&mut self, well: Option<(u64, f32)>) {
        self.running = self.running.saturating_sub(1);
        if let Some((tokens, seconds)) = well {
            self.pace.seen(tokens, seconds);
        }
    }

    /// A stream broke after its first token.
    pub fn broke(&mut self, now: Mono) -> Change {
        self.running = self.running.saturating_sub(1);
        self.errors.counted(seconds(now), true);
        if self.breaker.failed(now) { Change::Breaker(State::Open) } else { Change::None }
    }

    /// An attempt's usage is known: of a prompt of `prompt` tokens, of which the route should have held `held`, `cached`
    /// were billed as cached.
    #[expect(clippy::cast_precision_loss, reason = "token counts")]
    pub fn billed(&mut self, now: Mono, id: AttemptId, held: Held, prompt: u64, cached: u64) {
        match &mut self.residence {
            Some(residence) => {
                let at = self.distances.iter().position(|(known, _)| *known == id);
                if let Some((_, distance)) = at.map(|at| self.distances.remove(at)) {
                    residence.reported(tick(now), distance, held.kept(cached));
                }
            }
            None => self.cache_hits.reported(held.age_s, u64::from(held.tokens), cached),
        }
        if let Some(at) = self.unsettled.iter().position(|one| one.id == id) {
            let one = self.unsettled.remove(at);
            // Who counts otherwise reads no more for it.
            let read = prompt as f64 / f64::from(self.counts.share()) - cached as f64;
            self.settled(read.max(0.0), one);
        }
    }

    /// A prompt that was taken to have `expected` tokens was reported to have `reported`.
    pub fn counted(&mut self, expected: u64, reported: u64) {
        self.counts.reported(expected, reported);
    }

    /// An attempt looks for what the cache of an engine of our own should hold.
    fn looked_for(&mut self, now: Mono, id: AttemptId, reading: Reading) {
        let Some(residence) = self.residence.as_mut().filter(|_| !reading.is_certain()) else { return };
        if let Some(distance) = residence.distance(tick(now), reading.age_s) {
            if self.distances.len() >= WAITING_MAX {
                self.distances.remove(0);
            }
            self.distances.push((id, distance));
        }
    }

    /// Parts of a prompt were read, each of so many tokens, last read there at such a tick: [`super::prefix::Parts`].
    pub fn read(&mut self, now: Mono, parts: &Parts) {
        if let Some(residence) = &mut self.residence {
            for (before, tokens) in parts.as_slice() {
                residence.served(tick(now), *before, *tokens);
            }
        }
    }

    /// An attempt failed.
    pub fn failed(
        &mut self,
        now: Mono,
        id: AttemptId,
        failing: Failing,
        retry_after: Option<Duration>,
        queues: bool,
    ) -> Change {
        if queues && self.waiting.first().is_some_and(|first| first.id == id) && failing != Failing::Silence {
            self.free_s = seconds(now);
        }
        match failing {
            Failing::Not => {
                self.take_undecided(now, id);
                Change::None
            }
            Failing::Silence => {
                if let Some((reading, age_s)) = self.leave(now, id, queues) {
                    self.first_token.silent(seconds(now), reading, age_s);
                }
                self.count_failure(now, retry_after)
            }
            Failing::Failure => {
                self.take(id);
                self.count_failure(now, retry_after)
            }
            Failing::Limited => {
                // It may be that the cache would have failed, and that the provider counted so.
                let uncached = self.take_undecided(now, id).map_or(0.0, |waiting| waiting.reading.miss);
                self.load.beside(self.others.rate(now));
                self.load.refused(now, uncached, retry_after);
                Change::None
            }
            Failing::Disabled => {
                self.take_undecided(now, id);
                let newly = self.disabled_until.is_none_or(|until| until <= now);
                self.disabled_until = Some(now.plus(DISABLED_FOR));
                if newly { Change::Disabled } else { Change::None }
            }
        }
    }

    fn count_failure(&mut self, now: Mono, retry_after: Option<Duration>) -> Change {
        if let Some(wait) = retry_after {
            self.load.exhausted(now, wait);
        }
        self.errors.counted(seconds(now), true);
        if self.breaker.failed(now) { Change::Breaker(State::Open) } else { Change::None }
    }

    /// The provider's headers said that no quota is left for `wait`.
    pub fn exhausted(&mut self, now: Mono, wait: Duration) {
        self.load.exhausted(now, wait);
    }

    /// Other replicas say this of the route now.
    pub fn others_say(&mut self, others: Others) {
        self.others.hear(others);
    }

    /// What other replicas should know of it.
    pub fn standing(&mut self, now: Mono) -> Standing {
        let disabled = self.disabled_until.filter(|until| now < *until);
        Standing {
            rate: self.load.rate(now),
            cap: self.load.cap_refused(),
            limited_until: self.load.limited_until(now),
            open: self.breaker.spell(now),
            disabled: disabled.map(|until| Spell { since: until.minus(DISABLED_FOR), until }),
        }
    }

    /// The breaker's state.
    pub fn breaker_state(&self, now: Mono) -> State {
        self.breaker.state(now)
    }

    /// Whether it answered within the last seconds, hardly fails and nothing else is wrong with it: going there is no gamble.
    pub fn is_known_good(&self, now: Mono) -> bool {
        self.breaker.state(now) == State::Closed
            && self.succeeded_at.is_some_and(|at| now.since(at) < RECENT)
            && self.errors.recent_share() < GOOD_FAILS
    }

    /// Whether a probe may be sent: it is not resting for its rate or for the operator, and no trial of an open breaker is
    /// ahead or under way.
    pub fn may_be_probed(&self, now: Mono) -> bool {
        self.breaker.closed_to_others_until(now).is_none()
            && self.load.limited_until(now).is_none()
            && self.disabled_until.is_none_or(|until| until <= now)
    }

    /// Whether one of the probes is due that a route gets before anything is known of it; if so, it is counted.
    pub fn introduces(&mut self) -> bool {
        let is_new = self.introduced > 0 || self.heard_at.is_none();
        let due = is_new && self.introduced < FIRST_PROBES;
        self.introduced += u8::from(due);
        due
    }

    /// Whether attempts are under way that have brought nothing yet: their silence tells something as time passes.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When something was last heard of it.
    pub const fn heard_at(&self) -> Option<Mono> {
        self.heard_at
    }

    /// What a decision needs, at `now`. `queues` as for [`Self::answered`].
    #[expect(clippy::cast_possible_truncation, reason = "rates and shares")]
    pub fn outlook(&mut self, now: Mono, queues: bool) -> RouteOutlook {
        let at_s = seconds(now);
        if !queues && self.breaker.wavers() {
            let overdue = self.overdue(now);
            self.breaker.suspected(now, overdue);
        }
        // Of those that wait for an engine of our own only the first is being read: the others' silence tells nothing.
        let told = if queues { 1 } else { self.waiting.len() };
        let waiting = self
            .waiting
            .iter()
            .take(told)
            .map(|waiting| (waiting.reading, at_s - self.read_from_s(waiting, queues)));
        // Those that wait no longer than is usual tell nothing; of the others the first eight tell enough.
        let mut overdue: SmallVec<[(Reading, f64); 8]> = SmallVec::new();
        for (reading, age_s) in waiting {
            if overdue.len() < 8 && age_s > 0.7 * self.first_token.usual_s(reading.hit) {
                overdue.push((reading, age_s));
            }
        }
        let queued_tokens = if queues { self.queued(now) as f32 } else { 0.0 };
        let mut first_token = self.first_token.outlook_behind(at_s, overdue.into_iter(), queued_tokens > 0.0);
        if queues {
            first_token.level *= self.slower() as f32;
        }
        RouteOutlook {
            first_token,
            error: self.errors.share(at_s),
            pace: self.pace.outlook(),
            cache_hits: match &mut self.residence {
                Some(residence) => residence.shares(tick(now)),
                None => self.cache_hits.shares(),
            },
            counts: Counted(self.counts.share()),
            abandoned_billed: Abandoned::default(),
            heard: if self.heard_at.is_some_and(|at| now.since(at) > FORGOTTEN) { 0 } else { self.heard },
            rate: (self.load.rate(now) + self.others.rate(now)) as f32,
            cap: self.others.cap_beside(now, self.load.cap_refused()).map(|cap| cap.at(now) as f32),
            queued_tokens,
            waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            waiting_tokens: self.waiting.iter().map(|one| one.reading.expected()).fold(0.0, f64::max) as f32,
            running: self.running,
            running_max: None,
            open_until: self
                .breaker
                .closed_to_others_until(now)
                .max(self.others.open_until(now, self.proved_from)),
            limited_until: self.load.limited_until(now).max(self.others.limited_until(now)),
            disabled_until: self
                .disabled_until
                .filter(|until| now < *until)
                .max(self.others.disabled_until(now, self.proved_from)),
        }
    }

    /// [`Self::take`] of one whose end says nothing of the breaker.
    fn take_undecided(&mut self, now: Mono, id: AttemptId) -> Option<Waiting> {
        let waiting = self.take(id)?;
        self.breaker.undecided(now, waiting.began, false);
        Some(waiting)
    }

    fn take(&mut self, id: AttemptId) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        // Their order is that of an engine of our own.
        Some(self.waiting.remove(at))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a clock's seconds")]
fn seconds(now: Mono) -> f64 {
    now.0 as f64 / 1e9
}

#[cfg(test)]
mod tests;
