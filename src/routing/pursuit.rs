//! Carrying a decision out, step by step: whom to ask, when to ask a second one, when to go on to the next, when to give up.
//!
//! It sees no socket and no clock. Whoever drives it, the gateway or the replay, decides anew whenever a step is due, so that
//! each step rests on what is known by then, and tells it what happened.

use std::time::Duration;

use smallvec::SmallVec;

use crate::units::Mono;

use super::decision::{Candidate, Decision};
use super::outlook::RouteOutlook;
use super::plan;
use super::policy::Policy;
use super::route::RouteId;

/// Attempts under way at once: a first and a second.
pub const RUNNING_MAX: usize = 2;
/// How often a silent first attempt is looked at again, as a share of the limit.
const LOOK_AGAIN: f64 = 0.1;
/// Who is late already has a second route asked once the first has been silent for so many times its usual time, and another
/// would have this much more chance to answer soon.
const HOPELESS_AGE: f32 = 3.0;
const HOPELESS_GAIN: f32 = 0.5;
/// A wait as short as the guess of when there is room again; a provider's word that is no longer counts alike.
const ROOM_SOON: Duration = Duration::from_secs(1);
/// Shortest time between two looks.
const LOOK_AGAIN_LEAST: Duration = Duration::from_millis(50);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Ask this candidate now.
    Ask(Candidate),
    /// Nobody may be asked now; decide again then.
    Pause(Mono),
    /// Nothing but to wait for those who were asked.
    Wait,
    /// Nobody is left to ask.
    GiveUp,
}

/// One request's attempts so far.
#[derive(Debug, Clone)]
pub struct Pursuit {
    began: Mono,
    limit: Duration,
    /// How long one attempt may be silent.
    attempt_most: Duration,
    attempts_max: usize,
    tried: SmallVec<[RouteId; 8]>,
    /// How many of `tried` were not.
    barred: usize,
    running: SmallVec<[Running; RUNNING_MAX]>,
    look_at: Option<Mono>,
    may_hedge: bool,
}

/// An attempt under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// Whom it asks.
    pub candidate: Candidate,
    /// Since when.
    pub since: Mono,
}

impl Pursuit {
    /// A pursuit of a request that came at `began`; `limit` is when its first token is late.
    pub fn new(began: Mono, limit: Duration, policy: &Policy, may_hedge: bool) -> Self {
        Self {
            began,
            limit,
            attempt_most: policy.fallback.first_token_timeout,
            attempts_max: usize::try_from(policy.fallback.attempts.max(1)).unwrap_or(usize::MAX),
            tried: SmallVec::new(),
            barred: 0,
            running: SmallVec::new(),
            look_at: None,
            may_hedge: may_hedge && policy.hedging.is_on() && policy.slo.ttft.is_some(),
        }
    }

    /// The same after `attempts` others for the same request; those `barred` are left out as if they had been tried.
    #[must_use]
    pub fn after(self, attempts: u32, barred: &[RouteId]) -> Self {
        let before = usize::try_from(attempts).unwrap_or(usize::MAX);
        let attempts_max = self.attempts_max.saturating_sub(before).saturating_add(barred.len());
        Self { attempts_max, tried: SmallVec::from_slice(barred), barred: barred.len(), ..self }
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> usize {
        self.tried.len().saturating_sub(self.barred)
    }

    /// Routes asked so far.
    pub fn tried(&self) -> &[RouteId] {
        &self.tried
    }

    /// Attempts under way.
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// When a silent attempt is to be looked at ([`Self::silence`]); `None`: never.
    pub fn look_at(&self) -> Option<Mono> {
        self.look_at.filter(|_| self.running.len() == 1)
    }

    /// When its first token is late, counted from when it came.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether a first token would be late now.
    pub fn is_late(&self, now: Mono) -> bool {
        self.waited(now) >= self.limit
    }

    /// Time since the request came.
    pub fn waited(&self, now: Mono) -> Duration {
        now.since(self.began)
    }

    /// With nobody under way: whom to ask by `decision`, which leaves out those tried. Whether a further attempt is paid for
    /// is for whoever drives to say ([`super::learn::retries`]), and a further gamble is paid for by answers alone.
    pub fn open(&self, decision: &Decision, now: Mono) -> Step {
        if self.tried.len() >= self.attempts_max {
            return Step::GiveUp;
        }
        match decision.order.first() {
            Some(first) => Step::Ask(*first),
            None => match decision.wait_min().filter(|_| decision.limit.is_some()) {
                Some(wait) if self.waited(now) + wait < self.patience(wait) => Step::Pause(now.plus(wait)),
                _ => Step::GiveUp,
            },
        }
    }

    /// How long it may have waited once it has waited for `wait` more. Who comes anew and would be late is refused, or a crowd
    /// that waits would make everyone late. Whom others failed is one of few, and late is better than never, where room may
    /// come any moment; a provider that asked for a longer pause has the caller told of it.
    fn patience(&self, wait: Duration) -> Duration {
        if self.attempts() > 0 && wait <= ROOM_SOON { self.limit.max(self.attempt_most) } else { self.limit }
    }

    /// `candidate` is asked now.
    pub fn asked(&mut self, candidate: Candidate, decision: &Decision, now: Mono) {
        self.tried.push(candidate.route);
        self.running.push(Running { candidate, since: now });
        if !self.may_hedge || candidate.last_resort {
            self.look_at = None;
            return;
        }
        let planned = decision.hedge.map(|hedge| self.began.plus(hedge.after));
        // Without a plan it is looked at when half of the time is gone: it may never answer.
        self.look_at =
            Some(planned.unwrap_or_else(|| self.began.plus(self.limit / 2)).max(now.plus(LOOK_AGAIN_LEAST)));
    }

    /// The attempt at `route` is over and brought nothing.
    pub fn lost(&mut self, route: RouteId) {
        self.running.retain(|running| running.candidate.route != route);
        if let Some(left) = self.running.first() {
            // The other one is looked at at once: the plan counted on both.
            self.look_at = self.may_hedge.then_some(left.since.plus(LOOK_AGAIN_LEAST));
        }
    }

    /// The one attempt under way is still silent: whether to ask a second by `decision`, made now without those tried.
    /// `first` is what is known of the silent one's route.
    pub fn silence(&mut self, decision: &Decision, first: &RouteOutlook, now: Mono) -> Step {
        let Some(running) = self.running.first().copied().filter(|_| self.running.len() == 1) else {
            self.look_at = None;
            return Step::Wait;
        };
        let step =
            Duration::try_from_secs_f64(self.limit.as_secs_f64() * LOOK_AGAIN).unwrap_or(LOOK_AGAIN_LEAST);
        self.look_at = Some(now.plus(step.max(LOOK_AGAIN_LEAST)));
        if self.tried.len() >= self.attempts_max {
            self.look_at = None;
            return Step::Wait;
        }
        let waited = self.waited(now);
        let is_late = waited >= self.limit;
        let left_s = if is_late { self.limit } else { self.limit.saturating_sub(waited) }.as_secs_f32();
        let age_s = now.since(running.since).as_secs_f32();
        let lateness_usd = decision.lateness_usd;
        let own = running.candidate.offer;
        let mut best: Option<(f64, &Candidate)> = None;
        let model = running.candidate.place.model;
        let others = || decision.order.iter().filter(|one| !one.last_resort && one.place.model == model);
        // What an answer that may else never come is worth: the same from whoever it comes, or the dearest would be asked.
        let least_usd = others().map(|one| one.offer.cost_usd()).fold(f64::INFINITY, f64::min);
        let answer_usd = lateness_usd.max(least_usd) * 2.0;
        for candidate in others() {
            let gained = plan::gained(&own, first, age_s, candidate.in_time, left_s);
            // Who is late already gains no promise kept, but an answer that may else never come.
            let worth = if is_late {
                let usual_s = first.first_token.usual_s(own.uncached_miss);
                let hopeless = gained > HOPELESS_GAIN && age_s > HOPELESS_AGE * usual_s;
                if hopeless { answer_usd * f64::from(gained) } else { 0.0 }
            } else {
                lateness_usd * f64::from(gained)
            };
            let dearer =
                (candidate.offer.answer_usd - own.answer_usd).max(0.0) * f64::from(candidate.in_time);
            let net = worth - candidate.offer.prompt_usd - candidate.offer.queue_usd - dearer;
            if net > 0.0 && best.is_none_or(|(known, _)| net > known) {
                best = Some((net, candidate));
            }
        }
        best.map_or(Step::Wait, |(_, candidate)| Step::Ask(*candidate))
    }
}

#[cfg(test)]
mod tests {
    use crate::routing::decision::{Excluded, Exclusion};

    use super::*;

    /// Whom a request asks whose only attempt has been silent for `silent_s` seconds of one that may be waited for, where
    /// three others cost `usd`.
    fn asked_beside(silent_s: u64, usd: [f64; 3]) -> Option<RouteId> {
        let mut policy = Policy::named("p");
        policy.slo.ttft = Some(Duration::from_secs(1));
        let mut pursuit = Pursuit::new(Mono(0), Duration::from_secs(1), &policy, true);
        let mut decision = Decision { lateness_usd: 1e-5, ..Decision::default() };
        pursuit.asked(Candidate::costing(RouteId(0), 1e-4), &decision, Mono(0));
        for (route, usd) in (1..).zip(usd) {
            decision.order.push(Candidate::costing(RouteId(route), usd));
        }
        let now = Mono(silent_s * 1_000_000_000);
        match pursuit.silence(&decision, &RouteOutlook::default(), now) {
            Step::Ask(candidate) => Some(candidate.route),
            _ => None,
        }
    }

    #[test]
    fn whom_others_failed_waits_longer_for_room_than_who_comes_anew() {
        let mut policy = Policy::named("p");
        policy.slo.ttft = Some(Duration::from_secs(1));
        policy.fallback.first_token_timeout = Duration::from_secs(5);
        let mut pursuit = Pursuit::new(Mono(0), Duration::from_secs(1), &policy, true);
        let mut full = Decision { limit: policy.slo.ttft, ..Decision::default() };
        let why = Exclusion::Full { running: 4 };
        full.excluded.push(Excluded { route: RouteId(1), why });
        let after = |ms: u64| Mono(ms * 1_000_000);
        assert_eq!(pursuit.open(&full, after(500)), Step::GiveUp);
        pursuit.asked(Candidate::costing(RouteId(0), 1e-4), &full, after(0));
        pursuit.lost(RouteId(0));
        assert_eq!(pursuit.open(&full, after(500)), Step::Pause(after(1_500)));
        assert_eq!(pursuit.open(&full, after(4_500)), Step::GiveUp);
    }

    #[test]
    fn who_may_never_answer_is_replaced_by_the_cheapest() {
        assert_eq!(asked_beside(60, [2e-3, 1e-4, 5e-3]), Some(RouteId(2)));
        assert_eq!(asked_beside(2, [2e-3, 1e-4, 5e-3]), None, "it is late, and may come yet");
    }
}
