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
        self.writing.seen(one.running, one.time_s / self.first_token.now_s(uncached));
        let slower = self.writing.slows(one.running);
        // Where nobody was ahead, nothing is learnt of waiting.
        let own_s = self.first_token.now_s(uncached) * slower;
        if one.ahead_s > WAITS * own_s {
            self.first_token.waited(one.total_s / (one.ahead_s + own_s));
        }
        self.first_token.settled(uncached, one.time_s / slower, one.level);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::routing::learn::first_token::Prior;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    /// An engine that reads 10,000 tokens a second, known well: it has read prompts of 1,000 and 4,000 tokens, one at a time,
    /// and writes nothing now.
    fn engine() -> RouteMind {
        let mut mind = RouteMind::new(Prior::OWN);
        for call in 0..200_u64 {
            let (began, tokens) = (call * 1_000, [1_000_u32, 4_000][usize::from(call % 2 == 0)]);
            mind.began(at(began), AttemptId(call), Reading::of(f64::from(tokens)));
            mind.answered(at(began + 50 + u64::from(tokens / 10)), AttemptId(call), true, true);
            mind.ended(None);
        }
        mind
    }

    /// When the tests begin, in milliseconds.
    const NOW: u64 = 300_000;

    fn queued(mind: &RouteMind, ms: u64) -> f64 {
        mind.queued(at(ms))
    }

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.15, "{value}, not {expected}");
    }

    #[test]
    fn prompts_are_read_one_after_the_other() {
        let mut mind = engine();
        assert_eq!(mind.queue(at(NOW)), (0.0, 0));
        (0..3).for_each(|id| mind.began(at(NOW), AttemptId(1_000 + id), Reading::of(4_000.0)));
        near(queued(&mind, NOW), 12_000.0);
        near(queued(&mind, NOW + 200), 10_000.0);
        let before = mind.first_token.now_s(4_000.0);
        for (id, came) in [(0, 450), (1, 900), (2, 1_350)] {
            mind.answered(at(NOW + came), AttemptId(1_000 + id), true, true);
        }
        // The third waited three times as long as it was read, and made the engine no slower.
        near(mind.first_token.now_s(4_000.0), before);
        assert!(queued(&mind, NOW + 1_350) < 1.0);
    }

    #[test]
    fn a_prompt_given_up_while_it_is_read_is_read_to_its_end() {
        let mut mind = engine();
        mind.began(at(NOW), AttemptId(1_000), Reading::of(4_000.0));
        mind.began(at(NOW), AttemptId(1_001), Reading::of(1_000.0));
        assert!(mind.leave(at(NOW + 100), AttemptId(1_000), true).is_some());
        // Five thousand, less what was read in the time since.
        let token_s = mind.token_s();
        near(token_s, 1e-4);
        for ms in [100, 200, 300] {
            near(queued(&mind, NOW + ms), 5_000.0 - Duration::from_millis(ms).as_secs_f64() / token_s);
        }
    }

    #[test]
    fn what_an_idle_engine_takes_is_more_certain_than_a_queue() {
        let mut mind = engine();
        let within = |mind: &mut RouteMind| {
            let seen = mind.outlook(at(NOW), true);
            let tokens = 4_000.0 + seen.queued_tokens;
            let [soon, late] = [0.7, 1.3].map(|share| share * seen.first_token.typical_s(tokens));
            (seen.first_token.within(soon, tokens), seen.first_token.within(late, tokens))
        };
        // Nobody has ever waited there: nothing is known of that, and all of reading.
        let (soon, late) = within(&mut mind);
        assert!(soon < 0.03 && late > 0.97, "{soon} {late}");
        mind.began(at(NOW), AttemptId(1_000), Reading::of(4_000.0));
        let (soon, late) = within(&mut mind);
        assert!(soon > 0.1 && late < 0.9, "{soon} {late}");
    }

    #[test]
    fn one_given_up_while_it_waits_tells_nothing_and_leaves_no_work() {
        let mut mind = engine();
        mind.began(at(NOW), AttemptId(1_000), Reading::of(4_000.0));
        mind.began(at(NOW), AttemptId(1_001), Reading::of(4_000.0));
        assert_eq!(mind.leave(at(NOW + 100), AttemptId(1_001), true), None);
        near(queued(&mind, NOW + 100), 3_000.0);
        // Where prompts are read side by side its silence does tell something.
        let mut elsewhere = RouteMind::default();
        elsewhere.began(at(NOW), AttemptId(1), Reading::of(4_000.0));
        elsewhere.began(at(NOW), AttemptId(2), Reading::of(4_000.0));
        let silent = elsewhere.leave(at(NOW + 100), AttemptId(2), false);
        assert!(silent.is_some_and(|(_, age_s)| (age_s - 0.1).abs() < 1e-9), "{silent:?}");
    }

    #[test]
    fn answers_being_written_make_the_queue_longer_in_time() {
        let mut mind = engine();
        let alone = mind.token_s();
        for call in 0..100_u64 {
            // Four are written all the while, and prompts take half as long again.
            mind.running = 4;
            let began = NOW + call * 1_000;
            mind.began(at(began), AttemptId(2_000 + call), Reading::of(4_000.0));
            mind.answered(at(began + 675), AttemptId(2_000 + call), true, true);
        }
        mind.running = 4;
        near(mind.token_s() / alone, 1.5);
        mind.running = 0;
        near(mind.token_s() / alone, 1.0);
    }
}
