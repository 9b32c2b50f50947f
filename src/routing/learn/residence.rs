//! What the prompt cache of an engine of our own still holds. Such a cache drops what was used longest ago, so what counts is
//! not how long ago a prompt was served but how much else was since: its stack distance (Mattson and others, 1970). How far
//! the cache reaches is learnt from what it keeps and what it has lost.

use crate::routing::outlook::CacheShares;

/// Seconds that are remembered.
const SECONDS: u32 = 4_096;
/// Distances at which the chance of a hit is told apart, in tokens: the first, and each so many times the one before.
const NEAREST: f32 = 16_384.0;
const RATIO: f32 = 1.35;
const EDGES: usize = CacheShares::EDGES - 1;
/// What is assumed of every distance, and for how many reports.
const ASSUMED: f32 = 0.75;
const ASSUMED_REPORTS: f32 = 4.0;
/// A report keeps its weight for about this many further ones.
const MEMORY: f32 = 300.0;
/// A hit was certain above this share, and is none below that; so many of those lost in a row say that the cache is empty.
const CERTAIN: f32 = 0.9;
const NONE: f32 = 0.05;
const EMPTY: usize = 3;

/// One engine's cache.
#[derive(Debug, Clone)]
pub struct Residence {
    /// Tokens by the second in which they were last served, `SECONDS` of them by turns.
    last: Vec<u32>,
    second: u32,
    /// By distance: hits and reports that tell of it.
    hits: [f32; EDGES + 1],
    reports: [f32; EDGES + 1],
    /// Since when it has had something; it was empty then.
    empty_at: Option<u32>,
    /// Distances of hits that were certain, and lost; since when they were.
    lost: [usize; EMPTY],
    losses: usize,
}

impl Default for Residence {
    fn default() -> Self {
        Self {
            last: vec![0; SECONDS as usize],
            second: 0,
            hits: [ASSUMED * ASSUMED_REPORTS; EDGES + 1],
            reports: [ASSUMED_REPORTS; EDGES + 1],
            empty_at: None,
            lost: [0; EMPTY],
            losses: 0,
        }
    }
}

const fn slot(second: u32) -> usize {
    (second % SECONDS) as usize
}

/// The distances, nearest first.
const EDGE: [f32; EDGES] = {
    let mut edges = [NEAREST; EDGES];
    let mut at = 1;
    while at < EDGES {
        edges[at] = edges[at - 1] * RATIO;
        at += 1;
    }
    edges
};

impl Residence {
    /// Seconds that are no longer remembered are forgotten.
    fn pass(&mut self, second: u32) {
        let passed = second.saturating_sub(self.second).min(SECONDS);
        for back in 0..passed {
            self.last[slot(second.wrapping_sub(back))] = 0;
        }
        self.second = self.second.max(second);
    }

    /// Tokens were served at `second` that had last been served at `before`, if ever.
    pub fn served(&mut self, second: u32, before: Option<u32>, tokens: u32) {
        self.pass(second);
        if let Some(before) = before.filter(|before| self.second.saturating_sub(*before) < SECONDS) {
            let left = &mut self.last[slot(before)];
            *left = left.saturating_sub(tokens);
        }
        let now = &mut self.last[slot(self.second)];
        *now = now.saturating_add(tokens);
    }

    /// How many other tokens were served at `second` and before, since what was last served `age_s` ago; `None`: the cache
    /// has been empty since.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an age in whole seconds, a sum of tokens"
    )]
    pub fn distance(&mut self, second: u32, age_s: f32) -> Option<f32> {
        self.pass(second);
        let age = (age_s.max(0.0) as u32).min(SECONDS - 1);
        if self.empty_at.is_some_and(|at| second.saturating_sub(age) <= at) {
            return None;
        }
        let since = (0..age).map(|back| u64::from(self.last[slot(second.wrapping_sub(back))]));
        Some(since.sum::<u64>() as f32)
    }

    /// Of what should have been held at `distance`, the share `kept` was.
    pub fn reported(&mut self, second: u32, distance: f32, kept: f32) {
        let at = EDGE.iter().position(|edge| distance < *edge).unwrap_or(EDGES);
        if kept < NONE && self.hits[at] / self.reports[at] > CERTAIN {
            self.lost[self.losses] = at;
            self.losses += 1;
            if self.losses == EMPTY {
                self.losses = 0;
                self.empty_at = Some(second);
            }
            return;
        }
        // It was not empty, then: they were misses like others.
        for lost in 0..std::mem::take(&mut self.losses) {
            self.count(self.lost[lost], 0.0);
        }
        self.count(at, kept);
    }

    /// What is held at a distance is held at every shorter one, and what is lost at every longer one.
    fn count(&mut self, at: usize, kept: f32) {
        let keep = 1.0 - 1.0 / MEMORY;
        for (place, (hits, reports)) in self.hits.iter_mut().zip(&mut self.reports).enumerate() {
            let hit = if place <= at { kept } else { 0.0 };
            let miss = if place >= at { 1.0 - kept } else { 0.0 };
            *hits = *hits * keep + hit;
            *reports = *reports * keep + hit + miss;
        }
    }

    /// The chance of a hit by age at `second`.
    #[expect(clippy::cast_precision_loss, reason = "tokens and seconds for a chance")]
    pub fn shares(&mut self, second: u32) -> CacheShares {
        self.pass(second);
        let mut ends_s = [f32::INFINITY; EDGES + 1];
        let empty_s = self.empty_at.map_or(SECONDS, |at| second.saturating_sub(at)).min(SECONDS);
        let (mut since, mut next) = (0_u64, 0);
        for age in 0..empty_s {
            while next < EDGES && since as f32 >= EDGE[next] {
                ends_s[next] = age as f32;
                next += 1;
            }
            since += u64::from(self.last[slot(second.wrapping_sub(age))]);
        }
        if self.empty_at.is_some() {
            ends_s[next..].fill(empty_s as f32);
        }
        let mut shares = [0.0; EDGES + 2];
        let mut least = 1.0_f32;
        for (share, (hits, reports)) in shares.iter_mut().zip(self.hits.iter().zip(&self.reports)) {
            least = least.min(hits / reports);
            *share = least;
        }
        CacheShares::of(&ends_s, &shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of `capacity` tokens that drops whole prompts, longest unused first.
    struct Lru {
        capacity: u32,
        prompts: Vec<(u32, u32)>,
    }

    impl Lru {
        /// Whether `prompt` is held; it is afterwards.
        fn serve(&mut self, prompt: u32, tokens: u32) -> bool {
            let held = self.prompts.iter().position(|(known, _)| *known == prompt);
            if let Some(at) = held {
                self.prompts.remove(at);
            }
            self.prompts.push((prompt, tokens));
            while self.prompts.iter().map(|(_, tokens)| tokens).sum::<u32>() > self.capacity {
                self.prompts.remove(0);
            }
            held.is_some()
        }
    }

    /// Forty prompts of 20,000 tokens, by chance, one a second, before an engine that holds `capacity`; says how many of the
    /// last thousand were foretold wrongly.
    fn wrong(capacity: u32, emptied: Option<u32>) -> (u32, u32) {
        let mut engine = Lru { capacity, prompts: Vec::new() };
        let mut known = Residence::default();
        let mut last = [None; 40];
        let mut state = 9_u64;
        let (mut wrong, mut hits) = (0, 0);
        for second in 0..3_000_u32 {
            if emptied == Some(second) {
                engine.prompts.clear();
            }
            state = super::super::lengths::mix(state);
            // Some come often, some seldom.
            let prompt = (state % 40).min((state >> 20) % 40);
            let before: Option<u32> = last[usize::try_from(prompt).unwrap()];
            let hit = engine.serve(u32::try_from(prompt).unwrap(), 20_000);
            if let Some(before) = before {
                let age_s = f32::from(u16::try_from(second - before).unwrap());
                let foretold = known.shares(second).at(age_s);
                if second >= 2_000 {
                    wrong += u32::from((foretold > 0.5) != hit);
                    hits += u32::from(hit);
                }
                if let Some(distance) = known.distance(second, age_s) {
                    known.reported(second, distance, if hit { 1.0 } else { 0.0 });
                }
            }
            known.served(second, before, 20_000);
            last[usize::try_from(prompt).unwrap()] = Some(second);
        }
        (wrong, hits)
    }

    #[test]
    fn how_far_a_cache_reaches_is_learnt() {
        for capacity in [60_000, 200_000, 500_000] {
            let (wrong, hits) = wrong(capacity, None);
            // What lies next to the edge is told apart no better than the distances are.
            assert!(
                (50..950).contains(&hits) && wrong < 60,
                "{capacity}: {wrong} of 1000 wrong, {hits} hits"
            );
        }
    }

    #[test]
    fn a_cache_that_was_emptied_is_known_to_be() {
        let (steady, _) = wrong(500_000, None);
        let (emptied, _) = wrong(500_000, Some(2_300));
        assert!(emptied < steady + 8, "{emptied} against {steady}");
    }

    #[test]
    fn what_is_served_again_stands_for_itself_once() {
        let mut known = Residence::default();
        known.served(10, None, 5_000);
        for second in 11..21 {
            known.served(second, (second > 11).then(|| second - 1), 1_000);
        }
        assert_eq!(known.distance(20, 10.0), Some(1_000.0));
        assert_eq!(known.distance(20, 11.0), Some(6_000.0));
        // Longer ago than is remembered.
        assert_eq!(known.distance(20 + 2 * SECONDS, 50.0), Some(0.0));
    }
}
