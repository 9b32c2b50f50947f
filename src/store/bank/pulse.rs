//! Whether Redis is slow or gone. Pure.
//!
//! As TCP tells a slow peer from a dead one (RFC 6298): from how long answers have taken lately, and how much that varied, follows
//! how long a silence may be before it means something. A Redis that was quick is silent soon; one that was slow is given time.

use std::time::Duration;

/// A silence is counted in so many parts, each of which counts once however long it lasted: where this process did not get to run,
/// it is not Redis that was silent.
pub(super) const PARTS: u32 = 5;

/// What was heard of Redis lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulse {
    /// How many answers came.
    pub(super) answers: u64,
    /// How long they took, smoothed, and by how much that varied; nothing before the first.
    usual: Option<(Duration, Duration)>,
}

impl Pulse {
    /// An answer came after so long.
    pub(super) fn beat(&mut self, took: Duration) {
        self.usual = Some(match self.usual {
            None => (took, took / 2),
            Some((usual, spread)) => ((usual * 7 + took) / 8, (spread * 3 + usual.abs_diff(took)) / 4),
        });
    }

    /// How long a silence means nothing yet, between `least` and `most`.
    pub(super) fn silence(&self, least: Duration, most: Duration) -> Duration {
        let likely = self.usual.map_or(least, |(usual, spread)| usual + spread * 4);
        likely.clamp(least, most.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_secs(1);

    #[test]
    fn r40_who_was_quick_is_silent_soon() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.silence(LEAST, MOST), LEAST, "nothing is known yet");
        for _ in 0..100 {
            pulse.beat(Duration::from_micros(300));
        }
        assert_eq!(pulse.silence(LEAST, MOST), LEAST);
    }

    #[test]
    fn who_is_slow_is_given_time_but_never_without_end() {
        let mut pulse = Pulse::default();
        pulse.beat(Duration::from_micros(300));
        pulse.beat(Duration::from_millis(120));
        let once = pulse.silence(LEAST, MOST);
        assert!(once > Duration::from_millis(120), "one slow answer makes the next no surprise: {once:?}");
        for _ in 0..20 {
            pulse.beat(Duration::from_millis(120));
        }
        let steady = pulse.silence(LEAST, MOST);
        assert!((Duration::from_millis(120)..Duration::from_millis(200)).contains(&steady), "{steady:?}");
        pulse.beat(Duration::from_secs(30));
        assert_eq!(pulse.silence(LEAST, MOST), MOST);
        for _ in 0..60 {
            pulse.beat(Duration::from_micros(300));
        }
        assert_eq!(pulse.silence(LEAST, MOST), LEAST, "and is forgotten");
    }
}
