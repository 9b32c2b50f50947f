//! How likely it is that a request will be followed by another that extends its prompt: what makes a warm cache worth having.

use super::lengths::mix;

const ENTRIES: usize = 4_096;
/// How many requests the wider group counts for, and the assumption behind it.
const GROUP: f32 = 10.0;
const ASSUMED_REQUESTS: f32 = 30.0;
/// A request keeps its weight for about this many further ones.
const MEMORY: f32 = 300.0;
/// Longest expected rest of a session, in requests.
const REST_MAX: f32 = 25.0;

/// Shares by key, and over all.
#[derive(Debug, Clone)]
pub struct Sessions {
    entries: Vec<(u64, Share)>,
    all: [Share; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    extended: f32,
    requests: f32,
}

impl Share {
    fn count(&mut self, extends: bool) {
        let keep = 1.0 - 1.0 / MEMORY;
        self.extended = self.extended * keep + f32::from(u8::from(extends));
        self.requests = self.requests * keep + 1.0;
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { entries: vec![(0, Share::default()); ENTRIES], all: [Share::default(); 2] }
    }
}

impl Sessions {
    /// A request of `key` came; `extends` if most of its prompt was seen lately.
    pub fn seen(&mut self, key: u64, extends: bool) {
        self.all[0].count(extends);
        let entry = &mut self.entries[slot(key)];
        if entry.0 != key {
            *entry = (key, Share::default());
        }
        entry.1.count(extends);
    }

    /// Expected number of further requests of the session: ρ ÷ (1 − ρ), ρ the chance of one more.
    pub fn rest(&self, key: u64) -> f32 {
        let all = self.all[0].extended / (self.all[0].requests + ASSUMED_REQUESTS);
        let (owner, share) = &self.entries[slot(key)];
        let own = if *owner == key { *share } else { Share::default() };
        let chance = (own.extended + all * GROUP) / (own.requests + GROUP);
        (chance / (1.0 - chance).max(1e-3)).min(REST_MAX)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below the number of entries")]
const fn slot(key: u64) -> usize {
    (mix(key) % ENTRIES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_expected_where_prompts_come_again() {
        let mut sessions = Sessions::default();
        assert!(sessions.rest(1) < 1e-6);
        for _ in 0..200 {
            sessions.seen(1, true);
            sessions.seen(2, false);
        }
        assert!(
            sessions.rest(1) > 5.0 && sessions.rest(2) < 0.2,
            "{} {}",
            sessions.rest(1),
            sessions.rest(2)
        );
    }
}
