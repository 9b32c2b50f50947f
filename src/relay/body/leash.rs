//! A stream that says more than is held for it: more is held, or it ends.
//!
//! Providers are told how long an answer may be, and some say more: thoughts that they do not count, or all that they have to say.
//! Where an answer has passed its bound, the stream waits until its budgets hold a step more. Where one of them has no room for
//! that, the stream ends with `finish_reason: length`. So no budget is passed by more than a step.

use std::task::{Context, Poll, ready};

use crate::relay::account::{Account, Growing};
use crate::relay::meter::Out;

use super::{Source, StreamBody, bill};

/// Of a bound the step is this part, and no less than so many tokens.
const STEP_PART: u64 = 8;
const STEP_MIN: u64 = 64;
const OUTGROWN: &str = "the answer outgrew its bound, and its budget has no room for more";

/// How far a stream may go.
pub(super) struct Leash {
    /// Tokens that are held for.
    held_for: u64,
    step: u64,
    /// Our count may be so many tokens above the provider's own.
    slack: u64,
    growing: Option<(u64, Growing)>,
}

impl Leash {
    fn new(bound: u64) -> Self {
        let step = (bound / STEP_PART).max(STEP_MIN);
        Self { held_for: bound, step, slack: step / 4, growing: None }
    }

    /// How many tokens more are to be held for, in whole steps, when so many were said.
    fn wanted(&self, said: u64) -> Option<u64> {
        let beyond =
            said.checked_sub(self.held_for.saturating_add(self.slack)).filter(|beyond| *beyond > 0)?;
        Some((beyond + self.slack).div_ceil(self.step).saturating_mul(self.step))
    }
}

impl StreamBody {
    /// At most `tokens` are held for. Whatever is beyond them has to be held first. To be called before it begins.
    #[must_use]
    pub fn held_for(mut self, tokens: u64) -> Self {
        if self.account.as_ref().is_some_and(Account::is_counted) {
            self.ear.may_end();
            self.leash = Some(Leash::new(tokens));
        }
        self
    }

    /// Whether nothing more is to be said until more is held.
    pub(super) fn is_growing(&self) -> bool {
        self.leash.as_ref().is_some_and(|leash| leash.growing.is_some())
    }

    /// Asks for more where more was said than is held for.
    pub(super) fn mind_leash(&mut self) {
        let Some(leash) = self.leash.as_mut().filter(|leash| leash.growing.is_none()) else { return };
        if self.ear.is_finished() || !matches!(self.source, Source::Upstream(_)) {
            return;
        }
        let Some(tokens) = leash.wanted(self.ear.said()) else { return };
        let growing = self.account.as_ref().and_then(|account| account.grow(tokens));
        leash.growing = growing.map(|growing| (tokens, growing));
    }

    /// Ready once more is held, or the stream was ended for want of that.
    pub(super) fn poll_growing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(leash) = self.leash.as_mut() else { return Poll::Ready(()) };
        let Some((tokens, growing)) = leash.growing.as_mut() else { return Poll::Ready(()) };
        let held = ready!(growing.as_mut().poll(context));
        let tokens = *tokens;
        leash.growing = None;
        match (held, self.account.as_mut()) {
            (Some(amount), Some(account)) => {
                leash.held_for = leash.held_for.saturating_add(tokens);
                account.grown(amount);
            }
            _ => self.end_outgrown(),
        }
        Poll::Ready(())
    }

    fn end_outgrown(&mut self) {
        // Closes the provider's stream: it writes no more that anybody would have to pay for.
        self.source = Source::Ended;
        self.leash = None;
        // What was cut short for want of money is no answer to anybody else.
        self.keeping = None;
        if self.account.is_none() {
            return;
        }
        if self.ear.is_native() {
            // Its end would have to be told in the provider's own words.
            self.end_broken(OUTGROWN, Out::new());
            return;
        }
        let mut out = Out::new();
        self.ear.end_at_bound(bill(self.account.as_ref()), &mut out);
        self.send_end(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r37_more_is_asked_for_within_a_step_and_covers_what_was_said() {
        for bound in [1, 20, 64, 500, 1_000, 131_072] {
            let leash = Leash::new(bound);
            assert_eq!(leash.wanted(bound), None, "who keeps to the bound is let alone");
            let first = (bound..bound * 2 + 100).find(|said| leash.wanted(*said).is_some()).unwrap();
            assert!(first - bound <= leash.step, "{bound}: {first}");
            for said in [first, first + 1, bound * 10 + 1_000] {
                let wanted = leash.wanted(said).unwrap();
                assert!(bound + wanted >= said && wanted - (said - bound) < leash.step, "{bound}: {said}");
            }
        }
    }
}
