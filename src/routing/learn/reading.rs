//! How much of a prompt a route has to read, as far as that is known before it says so.

/// What takes longer than it should is expected to take this share of its time longer.
const OVERDUE: f64 = 0.1;
/// Tokens that time is given for beyond those of a hit, before it is taken for a miss.
const SHOWS: f64 = 5_000.0;

/// How much of a prompt a route has to read: that depends on whether its cache keeps its word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Uncached tokens if it does.
    pub hit: f64,
    /// Uncached tokens if it does not.
    pub miss: f64,
    /// Chance that it does.
    pub chance: f32,
    /// Seconds since what it should hold of the prompt was last served there.
    pub age_s: f32,
}

impl Reading {
    /// `uncached` tokens, whatever the cache does.
    pub const fn of(uncached: f64) -> Self {
        Self { hit: uncached, miss: uncached, chance: 1.0, age_s: 0.0 }
    }

    /// Tokens that are still to be read when there was time for `read`: with that, it shows what the cache did.
    pub fn left(self, read: f64) -> f64 {
        let missed = (self.miss - read).max(OVERDUE * read);
        if read > (1.0 + OVERDUE) * self.hit + SHOWS {
            return missed;
        }
        let chance = f64::from(self.chance);
        chance * (self.hit - read).max(OVERDUE * read) + (1.0 - chance) * missed
    }

    /// Tokens to be read, as expected.
    pub fn expected(self) -> f64 {
        self.miss - f64::from(self.chance) * (self.miss - self.hit)
    }

    /// Whether it makes no difference what the cache does.
    pub fn is_certain(self) -> bool {
        self.miss - self.hit < 1.0
    }

    /// What may have to be read, and the chance of it.
    pub(super) fn cases(self) -> [(f64, f32); 2] {
        if self.is_certain() {
            [(self.hit, 1.0), (self.hit, 0.0)]
        } else {
            [(self.hit, self.chance), (self.miss, 1.0 - self.chance)]
        }
    }
}
