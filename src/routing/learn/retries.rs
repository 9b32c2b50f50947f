//! A budget for extra attempts: a share of the requests and a few a second, so that an outage of everything costs hardly
//! more upstream requests than there are callers' requests. The shape is Finagle's: credits live ten seconds.
//!
//! A route with an open breaker is a gamble. Where nothing else is left a request makes one for nothing; for a further one an
//! answer must have been had lately, and each answer pays for one: with everyone down there are none, with everyone failing
//! half of the time there are enough.

use crate::units::Mono;

/// Extra attempts a request pays for, and a second.
const SHARE: f64 = 0.2;
const PER_SECOND: f64 = 2.0;
/// How long a credit lives, in seconds.
const LIVES_S: f64 = 10.0;
/// How long an answer is taken for a sign that not all is lost, in seconds, and how many are kept at most.
const ANSWER_LIVES_S: f64 = 60.0;
const ANSWERS_MOST: f64 = 10.0;

/// Credits for extra attempts of one model.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    credits: f64,
    rate: f64,
    /// Answers that have not paid for a gamble yet.
    answers: f64,
    at: Mono,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { credits: PER_SECOND * LIVES_S, rate: 0.0, answers: 0.0, at: Mono::default() }
    }
}

impl RetryBudget {
    /// A caller's request came.
    pub fn deposit(&mut self, now: Mono) {
        self.pass(now);
        self.rate += 1.0 / LIVES_S;
        self.credits = (self.credits + SHARE).min(self.most());
    }

    /// Takes a credit for an extra attempt, if there is one.
    pub fn withdraw(&mut self, now: Mono) -> bool {
        self.pass(now);
        let has = self.credits >= 1.0;
        if has {
            self.credits -= 1.0;
        }
        has
    }

    /// An attempt for a caller was answered.
    pub fn answered(&mut self, now: Mono) {
        self.pass(now);
        self.answers = (self.answers + 1.0).min(ANSWERS_MOST);
    }

    /// Takes a credit for going on to another route, if there is one; with `gamble`, where that is a last resort, an answer
    /// as well.
    pub fn withdraw_to_go_on(&mut self, now: Mono, gamble: bool) -> bool {
        self.pass(now);
        if gamble && self.answers < 0.5 {
            return false;
        }
        let may = self.withdraw(now);
        if may && gamble {
            self.answers = (self.answers - 1.0).max(0.0);
        }
        may
    }

    fn most(&self) -> f64 {
        PER_SECOND * LIVES_S + SHARE * self.rate * LIVES_S
    }

    fn pass(&mut self, now: Mono) {
        let passed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.rate *= (-passed / LIVES_S).exp();
        self.answers *= (-passed / ANSWER_LIVES_S).exp();
        self.credits = (self.credits + PER_SECOND * passed).min(self.most());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_extra_attempts_are_a_fifth_of_the_requests_and_a_few() {
        let mut budget = RetryBudget::default();
        let mut extra = 0;
        // 100 requests a second for 60 s, each of which would like two more attempts.
        for i in 0..6_000_u64 {
            let now = Mono(i * 10_000_000);
            budget.deposit(now);
            extra += (0..2).filter(|_| budget.withdraw(now)).count();
        }
        assert!((1_200..=1_200 + 20 + 120 + 1).contains(&extra), "{extra}");
    }

    #[test]
    fn r20_only_answers_pay_for_further_gambles() {
        let at = |ms: u64| Mono(ms * 1_000_000);
        let mut budget = RetryBudget::default();
        assert!(!budget.withdraw_to_go_on(at(0), true), "nothing was answered");
        (0..100).for_each(|ms| budget.answered(at(ms)));
        let gambles = (0..1_000).filter(|ms| budget.withdraw_to_go_on(at(100 + ms), true)).count();
        assert!((9..=11).contains(&gambles), "{gambles} in an outage of everything after good times");
        budget.answered(at(2_000));
        assert!(!budget.withdraw_to_go_on(at(80_000), true), "that was long ago");
    }
}
