//! The queue of an engine of our own, as far as it is known from what was sent there: prompts are read one after the other,
//! so a first token tells how long its own prompt took, and what waits before a new one is known nearly to the second.

use crate::routing::learn::first_token::Reading;
use crate::units::Mono;

use super::{AttemptId, RouteMind, Unsettled, Waiting, seconds};

/// What must be ahead of a prompt, over its own time, for its wait to tell of queues.
const WAITS: f64 = 0.2;

impl RouteMind {
    /// Of a first token that came after `time_s`, `running` answers being written meanwhile, it is known now that `uncached`
    /// tokens were read.
    pub(super) fn settled(&mut self, uncached: f64, one: Unsettled) {
        self.writing.seen(one.running, one.time_s / self.first_token.usual_s(uncached));
        let slower = self.writing.slows(one.running);
        // Where nobody was ahead, nothing is learnt of waiting.
        let own_s = self.first_token.now_s(uncached) * slower;
        if one.ahead_s > WAITS * own_s {
            self.first_token.waited(one.total_s / (one.ahead_s + own_s));
        }
        self.first_token.settled(uncached, one.time_s / slower);
    }

    /// Seconds for each token that is read in the time to come: those that wait will be writing by then.
    pub(super) fn token_s(&self) -> f64 {
        self.first_token.token_s() * self.slower()
    }

    pub(super) fn slower(&self) -> f64 {
        let ahead = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.writing.slows(self.running.saturating_add(ahead.saturating_add(1) / 2))
    }

    /// An attempt is given up before its first token: its whole wait was at least so long.
    pub(super) fn waited_in_vain(&mut self, now: Mono, id: AttemptId, queues: bool) {
        if queues && let Some(waiting) = self.waiting.iter().find(|waiting| waiting.id == id) {
            let own_s = self.first_token.now_s(waiting.reading.expected()) * self.slower();
            if waiting.ahead_s > WAITS * own_s {
                self.first_token
                    .waited_in_vain(now.since(waiting.began).as_secs_f64() / (waiting.ahead_s + own_s));
            }
        }
    }

    /// What changes with every request at an engine of our own: prompt tokens sent and not yet read, and answers under way.
    #[expect(clippy::cast_possible_truncation, reason = "tokens")]
    pub fn queue(&self, now: Mono) -> (f32, u32) {
        (self.queued(now) as f32, self.running)
    }

    /// Prompt tokens sent and not yet read, were it an engine of our own.
    pub(super) fn queued(&self, now: Mono) -> f64 {
        let (at_s, token_s) = (seconds(now), self.token_s());
        let Some((first, others)) = self.waiting.split_first() else {
            return (self.free_s - at_s).max(0.0) / token_s;
        };
        let from_s = self.read_from_s(first, true);
        let first =
            (from_s - at_s).max(0.0) / token_s + first.reading.left((at_s - from_s).max(0.0) / token_s);
        first + others.iter().map(|waiting| waiting.reading.expected()).sum::<f64>()
    }

    /// Since when a prompt has been read, in seconds of the clock: an engine of our own reads one after the other.
    pub(super) fn read_from_s(&self, waiting: &Waiting, queues: bool) -> f64 {
        let began_s = seconds(waiting.began);
        if queues { began_s.max(self.free_s) } else { began_s }
    }

    /// An attempt is given up in silence. Says what of its prompt was being read, for how many seconds; `None`: it was
    /// still waiting for others.
    pub(super) fn leave(&mut self, now: Mono, id: AttemptId, queues: bool) -> Option<(Reading, f64)> {
        let is_first = self.waiting.first().is_some_and(|first| first.id == id);
        let waiting = self.take(id)?;
        let (at_s, from_s) = (seconds(now), self.read_from_s(&waiting, queues));
        if queues {
            if !is_first || from_s >= at_s {
                return None;
            }
            // A prompt that is being read is read to its end.
            let token_s = self.token_s();
            self.free_s = at_s + token_s * waiting.reading.left((at_s - from_s) / token_s);
        }
        Some((waiting.reading, at_s - from_s))
    }
}
