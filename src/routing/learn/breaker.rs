//! A circuit breaker for one route: a state machine over times that are given to it. No clock, no lock, no task.
//!
//! Closed, it opens after three failures in a row, or when more than half of the recent attempts failed. Open, it lets
//! nobody through for a while that doubles from 2 s to 60 s; then it lets one attempt try, and that attempt decides.
//!
//! Where some fail at once and others fall silent, silence counts, too, as far as luck does not explain it: it makes a row of
//! failures longer, and begins none, since who is only slow is no failure.
//!
//! An attempt tells of the time when it began. So one that began before the first of some failures does not end their row,
//! unless most of those that began since are still out: a failure comes back sooner than an answer.

use std::time::Duration;

use crate::units::Mono;

use super::others::Spell;

/// Failures in a row that open it.
pub const CONSECUTIVE_FAILURES: u32 = 3;
/// Weight of recent attempts below which their failure rate says nothing.
const SAMPLES_MIN: f32 = 5.0;
const RATE_OPENS: f32 = 0.5;
const OPEN_FIRST: Duration = Duration::from_secs(2);
const OPEN_LONGEST: Duration = Duration::from_mins(1);
/// Half-life of an attempt's weight in the failure rate.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// A trial of which nothing was heard in this time is taken for lost, and another may try.
const TRIAL_LONGEST: Duration = Duration::from_secs(30);

/// What the breaker does with attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lets them through.
    Closed,
    /// Lets none through.
    Open,
    /// Lets one through, whose outcome decides.
    HalfOpen,
}

impl State {
    /// All of them, for the gauge that shows which it is.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one route.
#[derive(Debug, Clone)]
pub struct Breaker {
    consecutive: u32,
    /// When the first of a row of failures came that no later attempt has ended, how many they are, and how many attempts
    /// have begun since.
    row_from: Mono,
    row: u32,
    row_begun: u32,
    failed: f32,
    tried: f32,
    weighed_at: Mono,
    /// Set while open or half open: when it lets a trial through.
    open_until: Option<Mono>,
    open_for: Duration,
    /// The trial under way, or that ended and decided nothing.
    trial: Option<Trial>,
}

/// The attempt that decides for a half-open breaker.
#[derive(Debug, Clone, Copy)]
struct Trial {
    began: Mono,
    /// Others keep away until then.
    until: Mono,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            consecutive: 0,
            row_from: Mono::default(),
            row: 0,
            row_begun: 0,
            failed: 0.0,
            tried: 0.0,
            weighed_at: Mono::default(),
            open_until: None,
            open_for: OPEN_FIRST,
            trial: None,
        }
    }
}

impl Breaker {
    /// Its state at `now`.
    pub fn state(&self, now: Mono) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    /// Until when nobody should be sent here, as routing sees it; a running trial counts as open.
    pub fn closed_to_others_until(&self, now: Mono) -> Option<Mono> {
        let until = self.open_until?;
        if now < until { Some(until) } else { Some(self.trial?.until).filter(|trial| now < *trial) }
    }

    /// When it opened, and until when nobody should be sent here; `None` if somebody may.
    pub fn spell(&self, now: Mono) -> Option<Spell> {
        let until = self.closed_to_others_until(now)?;
        Some(Spell { since: self.open_until?.minus(self.open_for), until })
    }

    /// An attempt begins. When half open it is the trial, and others keep away until it has an outcome.
    pub fn begin(&mut self, now: Mono) {
        self.row_begun = self.row_begun.saturating_add(1);
        if self.state(now) == State::HalfOpen {
            self.trial = Some(Trial { began: now, until: now.plus(TRIAL_LONGEST) });
        }
    }

    /// An attempt that began at `began` ended and tells nothing: its caller left, or was at fault itself, or the provider
    /// refused for another reason than its health. If it was the trial, another may try: at once, or, where it ended in
    /// silence, after as long as the breaker is open at first, so that a route that stays silent is not given one caller
    /// after the other.
    pub fn undecided(&mut self, now: Mono, began: Mono, in_silence: bool) {
        let pause = if in_silence { OPEN_FIRST } else { Duration::ZERO };
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.began == began) {
            trial.until = trial.until.min(now.plus(pause));
        }
    }

    /// An attempt that began at `began` succeeded. Returns whether this closed the breaker.
    pub fn succeeded(&mut self, now: Mono, began: Mono) -> bool {
        self.weigh(now, 0.0);
        if self.open_until.is_some_and(|until| began < until.minus(self.open_for)) {
            // It began before the breaker opened, and tells nothing new.
            return false;
        }
        self.consecutive = 0;
        if began >= self.row_from {
            self.row = 0;
        }
        let was_open = self.open_until.take().is_some();
        self.trial = None;
        if was_open {
            self.open_for = OPEN_FIRST;
            self.failed = 0.0;
            self.tried = 0.0;
        }
        was_open
    }

    /// An attempt failed. Returns whether this opened the breaker.
    pub fn failed(&mut self, now: Mono) -> bool {
        self.weigh(now, 1.0);
        self.consecutive = self.consecutive.saturating_add(1);
        if self.row == 0 {
            (self.row_from, self.row_begun) = (now, 1);
        }
        self.row += 1;
        match self.state(now) {
            // Attempts that began before it opened tell nothing new.
            State::Open => false,
            State::HalfOpen => {
                self.open_for = (self.open_for * 2).min(OPEN_LONGEST);
                self.open(now);
                true
            }
            State::Closed => {
                let rate_says_so = self.tried >= SAMPLES_MIN && self.failed / self.tried > RATE_OPENS;
                let opens = self.consecutive >= CONSECUTIVE_FAILURES || rate_says_so || self.row_says_so(0);
                if opens {
                    self.open(now);
                }
                opens
            }
        }
    }

    /// Whether attempts failed of late and none that began since was answered: silence counts now.
    pub const fn wavers(&self) -> bool {
        self.row > 0 && self.open_until.is_none()
    }

    /// An attempt was given up that had been silent for longer than luck explains. Returns whether this opened the breaker.
    pub fn hushed(&mut self, now: Mono) -> bool {
        if !self.wavers() {
            return false;
        }
        self.row += 1;
        self.suspected(now, 0)
    }

    /// So many attempts are under way that have been silent for longer than luck explains. Returns whether this opened the
    /// breaker.
    pub fn suspected(&mut self, now: Mono, silent: u32) -> bool {
        let opens = self.wavers() && self.row_says_so(silent);
        if opens {
            self.open(now);
        }
        opens
    }

    /// Of those that began since its first failure, half or more, and as many as it takes: the others may be silent still.
    const fn row_says_so(&self, silent: u32) -> bool {
        let row = self.row.saturating_add(silent);
        row >= CONSECUTIVE_FAILURES && row.saturating_mul(2) >= self.row_begun
    }

    /// Recent failures over recent attempts, 0..1.
    pub fn error_rate(&self) -> f32 {
        if self.tried > 0.0 { self.failed / self.tried } else { 0.0 }
    }

    fn open(&mut self, now: Mono) {
        self.row = 0;
        self.open_until = Some(now.plus(self.open_for));
        self.trial = None;
    }

    fn weigh(&mut self, now: Mono, failure: f32) {
        let age = now.since(self.weighed_at);
        let kept = (-age.as_secs_f32() / HALF_LIFE.as_secs_f32()).exp2();
        self.failed = self.failed * kept + failure;
        self.tried = self.tried * kept + 1.0;
        self.weighed_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_trial_closes_it() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0)));
        assert!(!breaker.failed(at(1)));
        assert!(breaker.failed(at(2)));
        assert_eq!(breaker.state(at(1_000)), State::Open);
        assert_eq!(breaker.closed_to_others_until(at(1_000)), Some(at(2_002)));
        assert_eq!(breaker.state(at(2_002)), State::HalfOpen);
        assert_eq!(breaker.closed_to_others_until(at(2_002)), None);
        breaker.begin(at(2_002));
        assert_eq!(breaker.closed_to_others_until(at(2_003)), Some(at(32_002)));
        assert!(breaker.succeeded(at(2_500), at(2_002)));
        assert_eq!(breaker.state(at(2_500)), State::Closed);
    }

    #[test]
    fn a_failed_trial_doubles_the_wait_up_to_a_minute() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        (0..3).for_each(|_| {
            breaker.failed(now);
        });
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = breaker.closed_to_others_until(now).unwrap();
            waits.push(until.since(now).as_secs());
            now = until;
            breaker.begin(now);
            assert!(breaker.failed(now));
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_trial_that_tells_nothing_makes_room_for_another() {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| {
            breaker.failed(at(0));
        });
        breaker.begin(at(2_000));
        breaker.undecided(at(2_100), at(1_900), true);
        assert_eq!(breaker.closed_to_others_until(at(2_100)), Some(at(32_000)), "another attempt ended");
        breaker.undecided(at(2_200), at(2_000), true);
        assert_eq!(breaker.closed_to_others_until(at(2_200)), Some(at(4_200)), "its caller left it silent");
        assert_eq!(
            (breaker.closed_to_others_until(at(4_200)), breaker.state(at(4_200))),
            (None, State::HalfOpen)
        );
        breaker.begin(at(4_200));
        breaker.undecided(at(4_300), at(4_200), false);
        assert_eq!(breaker.closed_to_others_until(at(4_300)), None, "the provider said something");
        breaker.begin(at(4_300));
        assert!(breaker.succeeded(at(4_500), at(4_300)));
        breaker.undecided(at(4_600), at(4_300), true);
        assert_eq!(breaker.closed_to_others_until(at(4_600)), None);
    }

    #[test]
    fn answers_asked_for_before_it_failed_neither_end_the_row_nor_close_it() {
        let mut breaker = Breaker::default();
        (0..10).for_each(|ms| breaker.begin(at(ms)));
        assert!(!breaker.failed(at(100)));
        assert!(!breaker.succeeded(at(200), at(5)));
        breaker.begin(at(210));
        assert!(!breaker.failed(at(300)));
        assert!(!breaker.succeeded(at(400), at(6)));
        breaker.begin(at(410));
        assert!(breaker.failed(at(500)));
        assert!(!breaker.succeeded(at(600), at(7)));
        assert_eq!(breaker.state(at(600)), State::Open);
        breaker.begin(at(2_600));
        assert!(breaker.succeeded(at(2_900), at(2_600)), "the trial counts");
    }

    #[test]
    fn few_failures_among_many_that_are_still_out_do_not_open_it() {
        let mut breaker = Breaker::default();
        for ms in 0..30 {
            breaker.begin(at(ms * 100));
            if ms % 10 == 5 {
                assert!(!breaker.failed(at(ms * 100 + 50)));
            } else {
                assert!(!breaker.succeeded(at(ms * 100 + 60), at(0)));
            }
        }
        assert_eq!(breaker.state(at(3_100)), State::Closed);
    }

    #[test]
    fn silence_counts_where_attempts_fail_and_only_there() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|ms| breaker.begin(at(ms)));
        assert!(!breaker.suspected(at(3_000), 5) && !breaker.hushed(at(3_000)), "it is slow, no more");
        assert!(!breaker.failed(at(3_100)));
        assert!(!breaker.suspected(at(3_200), 1), "two are no row");
        assert!(!breaker.hushed(at(3_300)));
        assert!(breaker.suspected(at(3_400), 1));
        assert_eq!(breaker.state(at(3_400)), State::Open);
        // One that began since the first failure and is answered ends the row.
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0)));
        breaker.begin(at(10));
        assert!(!breaker.succeeded(at(20), at(10)));
        assert!(!breaker.suspected(at(3_000), 9));
        // Many that began since and are not due yet speak against it.
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0)));
        (0..10).for_each(|ms| breaker.begin(at(ms)));
        assert!(!breaker.suspected(at(3_000), 3) && breaker.suspected(at(3_000), 5));
    }

    #[test]
    fn more_than_half_failed_opens_it_without_three_in_a_row() {
        let mut breaker = Breaker::default();
        let outcomes = [true, false, false, true, false, false, true, false, false];
        let opened = outcomes.iter().enumerate().any(|(i, ok)| {
            let now = at(i as u64);
            if *ok {
                breaker.succeeded(now, now);
                return false;
            }
            breaker.failed(now)
        });
        assert!(opened);
    }
}
