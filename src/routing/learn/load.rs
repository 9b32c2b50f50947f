//! What a route is asked for a second, and the most it seems to take: learnt from refusals (429), never from failures.

use std::time::Duration;

use crate::units::Mono;

use super::others::Cap;

/// The window in which load is measured, in seconds.
const WINDOW: usize = 10;
/// The same, as a number to divide by.
pub const WINDOW_S: f32 = 10.0;
/// After a refusal the cap is this share of the load that was refused.
const CAP_OF_REFUSED: f64 = 0.92;
/// How much each success lets the cap grow.
pub(super) const GROWTH: f64 = 1.003;
/// Wait after a refusal that named none; doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LONGEST: Duration = Duration::from_secs(30);

/// Load and cap of one route.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Uncached prompt tokens asked for, by second of the window.
    tokens: [f64; WINDOW],
    second: u64,
    cap: Option<f64>,
    refused_at: Mono,
    /// What others ask for beside us, in tokens a second.
    beside: f64,
    limited_until: Option<Mono>,
    waited: Option<Duration>,
}

impl Load {
    /// An attempt with `uncached` prompt tokens begins.
    pub fn asked(&mut self, now: Mono, uncached: f64) {
        self.pass(now);
        self.tokens[slot(self.second)] += uncached;
    }

    /// An attempt was taken.
    pub fn taken(&mut self) {
        self.waited = None;
        if let Some(cap) = &mut self.cap {
            *cap *= GROWTH;
        }
    }

    /// An attempt with `uncached` tokens was refused for the rate, `retry_after` said how long to wait.
    pub fn refused(&mut self, now: Mono, uncached: f64, retry_after: Option<Duration>) {
        self.pass(now);
        // What was refused was not taken.
        let slot = &mut self.tokens[slot(self.second)];
        *slot = (*slot - uncached).max(0.0);
        let first = self.limited_until.is_none_or(|until| until <= now);
        let wait = retry_after.unwrap_or_else(|| match self.waited {
            Some(last) if first => (last * 2).min(WAIT_LONGEST),
            Some(last) => last,
            None => WAIT_FIRST,
        });
        if retry_after.is_none() {
            self.waited = Some(wait);
        }
        if first {
            // Refusals of one burst tell of one limit: that of what was under way, with what was refused on top.
            #[expect(clippy::cast_precision_loss, reason = "ten")]
            let rate = self.rate(now) + self.beside + uncached / WINDOW as f64;
            self.cap = Some((rate * CAP_OF_REFUSED).max(1.0));
            self.refused_at = now;
        }
        self.limited_until = Some(now.plus(wait));
    }

    /// Nothing may be asked for `wait`, the provider's headers say.
    pub fn exhausted(&mut self, now: Mono, wait: Duration) {
        self.limited_until = Some(now.plus(wait.min(WAIT_LONGEST)));
    }

    /// Uncached prompt tokens a second over the window.
    #[expect(clippy::cast_precision_loss, reason = "ten")]
    pub fn rate(&mut self, now: Mono) -> f64 {
        self.pass(now);
        self.tokens.iter().sum::<f64>() / WINDOW as f64
    }

    /// The most it seems to take, in uncached prompt tokens a second; `None`: never refused.
    pub const fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// The cap with the refusal that taught it.
    pub fn cap_refused(&self) -> Option<Cap> {
        self.cap.map(|tokens| Cap { tokens, refused_at: self.refused_at })
    }

    /// Others ask for so many tokens a second, which a refusal is about as well.
    pub const fn beside(&mut self, rate: f64) {
        self.beside = rate;
    }

    /// Until when it must not be asked.
    pub fn limited_until(&self, now: Mono) -> Option<Mono> {
        self.limited_until.filter(|until| now < *until)
    }

    fn pass(&mut self, now: Mono) {
        let second = now.0 / 1_000_000_000;
        let passed = second.saturating_sub(self.second);
        for step in 0..passed.min(WINDOW as u64) {
            self.tokens[slot(second - step)] = 0.0;
        }
        self.second = self.second.max(second);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below the window")]
const fn slot(second: u64) -> usize {
    (second % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    #[test]
    fn a_refusal_caps_and_successes_raise() {
        let mut load = Load::default();
        for second in 0..10 {
            load.asked(at(second), 1_000.0);
        }
        load.asked(at(9), 500.0);
        load.refused(at(9), 500.0, None);
        let cap = load.cap().unwrap();
        assert!((cap - 966.0).abs() < 1.0, "{cap}");
        assert_eq!(load.limited_until(at(9)), Some(at(10)));
        (0..100).for_each(|_| load.taken());
        assert!(load.cap().unwrap() > 1_250.0);
        assert!(load.rate(at(30)) < 1e-9);
    }

    #[test]
    fn waits_double_without_a_word_and_obey_one() {
        let mut load = Load::default();
        load.refused(at(0), 0.0, None);
        load.refused(at(2), 0.0, None);
        assert_eq!(load.limited_until(at(2)), Some(at(4)));
        load.refused(at(5), 0.0, Some(Duration::from_secs(7)));
        assert_eq!(load.limited_until(at(5)), Some(at(12)));
    }
}
