//! A rate limit as configured, and its arithmetic: GCRA (ITU-T I.371, the virtual scheduling form).

use std::time::Duration;

use super::demand::Left;
use super::scope::Scope;

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Prompt and answer tokens: asked for by an estimate, set right when the answer is known.
    Tokens,
}

/// So many a minute for a scope; a whole minute's worth may come at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// For whom.
    pub scope: Scope,
    /// Of what.
    pub unit: Unit,
    /// How many a minute; above zero.
    pub per_minute: u64,
}

/// A minute in nanoseconds: how far ahead of the clock a rate may be drawn on.
const MINUTE: i128 = 60_000_000_000;

impl Rate {
    /// What `n` of them take, in nanoseconds of the rate's own time, rounded up.
    pub fn span(&self, n: u64) -> i128 {
        let per_minute = i128::from(self.per_minute.max(1));
        (i128::from(n) * MINUTE + per_minute - 1).div_euclid(per_minute)
    }

    /// The theoretical arrival time after `n` more, from the one before and the clock, all in nanoseconds; or how long to wait
    /// until they may come (`None`: they are more than come in a minute).
    pub fn take(&self, tat: i128, now: i128, n: u64) -> Result<i128, Option<Duration>> {
        let after = tat.max(now) + self.span(n);
        let ahead = after - now - MINUTE;
        if ahead <= 0 {
            return Ok(after);
        }
        Err((n <= self.per_minute).then(|| nanoseconds(ahead)))
    }

    /// What is left where the theoretical arrival time is `tat`.
    pub fn left(&self, tat: i128, now: i128) -> Left {
        let used = (tat - now).clamp(0, MINUTE);
        let remaining = ((MINUTE - used) * i128::from(self.per_minute)).div_euclid(MINUTE);
        Left {
            limit: self.per_minute,
            remaining: u64::try_from(remaining).unwrap_or(0),
            reset: nanoseconds((tat - now).max(0)),
        }
    }
}

fn nanoseconds(span: i128) -> Duration {
    Duration::from_nanos(u64::try_from(span).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::ScopeKind;

    fn rate(per_minute: u64) -> Rate {
        let scope = Scope { kind: ScopeKind::Key, name: "k".into() };
        Rate { scope, unit: Unit::Requests, per_minute }
    }

    /// Asks at each of `arrivals` for one; how many came through.
    fn admitted(rate: &Rate, arrivals: impl Iterator<Item = i128>) -> u64 {
        let mut tat = 0;
        let mut admitted = 0;
        for now in arrivals {
            if let Ok(after) = rate.take(tat, now, 1) {
                (tat, admitted) = (after, admitted + 1);
            }
        }
        admitted
    }

    #[test]
    fn r36_a_flood_gets_the_burst_and_then_the_rate() {
        for per_minute in [1, 7, 60, 601, 100_000] {
            let rate = rate(per_minute);
            // Far more than may come, over a minute.
            let asked = i128::from(per_minute) * 20;
            let came = admitted(&rate, (0..=asked).map(|k| k * MINUTE / asked));
            // The burst at once, and a minute's worth as the minute goes by.
            assert!(came.abs_diff(per_minute * 2) <= 1, "{per_minute}: {came}");
        }
    }

    #[test]
    fn r36_a_wait_is_true_and_a_refusal_costs_nothing() {
        let rate = rate(60);
        let mut tat = 0;
        for _ in 0..60 {
            tat = rate.take(tat, 0, 1).unwrap();
        }
        let wait = rate.take(tat, 0, 5).unwrap_err().unwrap();
        assert_eq!(wait, Duration::from_secs(5));
        let then = i128::try_from(wait.as_nanos()).unwrap();
        assert!(rate.take(tat, then - 1, 5).is_err() && rate.take(tat, then, 5).is_ok());
        assert_eq!(rate.take(tat, 0, 61), Err(None), "more than ever may come");
        assert_eq!(rate.left(tat, 0), Left { limit: 60, remaining: 0, reset: Duration::from_mins(1) });
        assert_eq!(rate.left(tat, MINUTE / 2).remaining, 30);
    }
}
