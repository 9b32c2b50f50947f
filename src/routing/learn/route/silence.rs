//! What silence tells of a route. Some of it is luck; more is slowness, which first tokens are learnt by; and where other
//! attempts fail at once, what luck does not explain is an outage that answers some and not others.

use crate::routing::learn::first_token::Reading;
use crate::units::Mono;

use super::{AttemptId, RouteMind, Waiting, seconds};

/// An attempt that is abandoned after so many times its usual silence counts as failed.
const SILENCE_FAILS: f64 = 4.0;
/// Silence that fewer calls than this share would keep is not explained by luck.
const LUCK_EXPLAINS: f32 = 0.05;

impl RouteMind {
    /// An attempt was abandoned before its first token: its caller left, or another route was quicker.
    pub fn abandoned(&mut self, now: Mono, id: AttemptId, queues: bool) {
        self.waited_in_vain(now, id, queues);
        let began = self.waiting.iter().find(|waiting| waiting.id == id).map(|waiting| waiting.began);
        if let Some(began) = began {
            self.breaker.undecided(now, began, true);
        }
        if let Some((reading, age_s)) = self.leave(now, id, queues) {
            // Silence that luck does not explain is a failure, whoever ended it.
            if age_s > SILENCE_FAILS * self.first_token.usual_s(reading.miss) {
                self.errors.counted(seconds(now), true);
                self.breaker.failed(now);
            } else if !queues && self.breaker.wavers() && self.is_overdue(reading, age_s) {
                self.breaker.hushed(now);
            }
            self.first_token.silent(seconds(now), reading, age_s);
        }
    }

    /// Whether luck does not explain a silence.
    fn is_overdue(&self, reading: Reading, age_s: f64) -> bool {
        age_s > self.first_token.usual_s(reading.hit)
            && self.first_token.still(reading, age_s) < LUCK_EXPLAINS
    }

    /// Attempts under way whose silence luck does not explain, and after which none began that was answered.
    pub(super) fn overdue(&self, now: Mono) -> u32 {
        let is_overdue = |one: &&Waiting| {
            self.proved_from.is_none_or(|from| one.began >= from)
                && self.is_overdue(one.reading, now.since(one.began).as_secs_f64())
        };
        u32::try_from(self.waiting.iter().filter(is_overdue).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::learn::route::Failing;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    /// A route that answers within a second and a half, one call a second until 100 s.
    fn known() -> RouteMind {
        let mut mind = RouteMind::default();
        for call in 0..100_u64 {
            mind.began(at(call * 1_000), AttemptId(call), Reading::of(100.0));
            mind.answered(at(call * 1_000 + 700 + (call * 37) % 600), AttemptId(call), false, true);
        }
        mind
    }

    /// From 101 s on two attempts are silent; in between a third fails, if `fails`.
    fn half_down(fails: bool) -> RouteMind {
        let mut mind = known();
        for id in 201..=203 {
            mind.began(at(101_000 + 100 * (id - 201)), AttemptId(id), Reading::of(100.0));
        }
        if fails {
            mind.failed(at(101_500), AttemptId(202), Failing::Failure, None, false);
        } else {
            mind.failed(at(101_500), AttemptId(202), Failing::Not, None, false);
        }
        mind
    }

    #[test]
    fn silence_beside_a_failure_is_an_outage() {
        let mut mind = half_down(true);
        assert_eq!(mind.outlook(at(101_900), false).open_until, None, "they may come yet");
        let mut slow = half_down(false);
        let until = |mind: &mut RouteMind, ms| mind.outlook(at(ms), false).open_until;
        assert!(until(&mut mind, 104_000).is_some(), "neither has come");
        assert_eq!(until(&mut slow, 104_000), None, "it may be slow: nothing has failed");
        // Own hardware reads one after the other: the second's silence tells nothing.
        assert_eq!(half_down(true).outlook(at(104_000), true).open_until, None);
    }

    #[test]
    fn silence_counts_when_a_second_route_was_quicker() {
        let mut mind = half_down(true);
        mind.abandoned(at(103_500), AttemptId(201), false);
        mind.abandoned(at(103_500), AttemptId(203), false);
        assert!(mind.outlook(at(103_500), false).open_until.is_some());
        let mut early = half_down(true);
        early.abandoned(at(101_800), AttemptId(201), false);
        early.abandoned(at(101_800), AttemptId(203), false);
        assert_eq!(early.outlook(at(104_000), false).open_until, None, "their callers left soon");
    }

    #[test]
    fn who_answers_one_that_was_asked_later_is_up() {
        let mut mind = half_down(true);
        mind.began(at(101_600), AttemptId(204), Reading::of(100.0));
        mind.answered(at(102_600), AttemptId(204), false, true);
        assert_eq!(mind.outlook(at(104_000), false).open_until, None);
    }
}
