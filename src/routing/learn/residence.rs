//! What the prompt cache of an engine of our own still holds. Such a cache drops what was used longest ago, so what counts is
//! not how long ago a prompt was served but how much else was since: its stack distance (Mattson and others, 1970). How far
//! the cache reaches is learnt from what it keeps and what it has lost.

use crate::routing::outlook::CacheShares;

use super::prefix::TICKS;

/// Seconds that are remembered, and ticks.
const SECONDS: u32 = 4_096;
const REMEMBERED: u32 = SECONDS * TICKS;
/// Distances at which the chance of a hit is told apart, in tokens: the first, and each so many times the one before.
const NEAREST: f32 = 16_384.0;
const RATIO: f32 = 1.11;
const EDGES: usize = 64;
/// Chances that differ by no more are told as one.
const ALIKE: f32 = 0.02;
/// What is assumed of every distance, and for how many reports.
const ASSUMED: f32 = 0.75;
const ASSUMED_REPORTS: f32 = 4.0;
/// A report keeps its weight for about this many further ones.
const MEMORY: f32 = 300.0;
/// A hit was certain above this share, and is none below that; so many of those lost in a row say that the cache is empty.
const CERTAIN: f32 = 0.9;
const NONE: f32 = 0.05;
const EMPTY: usize = 3;

/// How far back something stands in a cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Other tokens served since.
    pub tokens: f32,
    /// When it was last served.
    pub served: u32,
}

/// One engine's cache. Its times are ticks of the prefix ledger's clock.
#[derive(Debug, Clone)]
pub struct Residence {
    /// Tokens by the tick in which they were last served, `REMEMBERED` of them by turns; and by the second, for quick sums.
    last: Vec<u32>,
    in_second: Vec<u32>,
    now: u32,
    /// By distance: hits and reports that tell of it.
    hits: [f32; EDGES + 1],
    reports: [f32; EDGES + 1],
    /// Since when it has had something; it was empty then.
    empty_at: Option<u32>,
    /// Distances of hits that were certain, and lost; since when they were.
    lost: [usize; EMPTY],
    losses: usize,
    losing_since: u32,
}

impl Default for Residence {
    fn default() -> Self {
        Self {
            last: vec![0; REMEMBERED as usize],
            in_second: vec![0; SECONDS as usize],
            now: 0,
            hits: [ASSUMED * ASSUMED_REPORTS; EDGES + 1],
            reports: [ASSUMED_REPORTS; EDGES + 1],
            empty_at: None,
            lost: [0; EMPTY],
            losses: 0,
            losing_since: 0,
        }
    }
}

const fn slot(tick: u32) -> usize {
    (tick % REMEMBERED) as usize
}

const fn slot_of_second(second: u32) -> usize {
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

#[expect(clippy::cast_precision_loss, reason = "tokens for a chance")]
impl Residence {
    /// What is no longer remembered is forgotten.
    fn pass(&mut self, now: u32) {
        if now <= self.now {
            return;
        }
        for back in 0..(now - self.now).min(REMEMBERED) {
            self.last[slot(now - back)] = 0;
        }
        for back in 0..(now / TICKS - self.now / TICKS).min(SECONDS) {
            self.in_second[slot_of_second(now / TICKS - back)] = 0;
        }
        self.now = now;
    }

    fn is_remembered(&self, tick: u32) -> bool {
        // Less than the whole, since its second must be remembered, too.
        self.now.saturating_sub(tick) < REMEMBERED - TICKS
    }

    /// Tokens were served at `now` that had last been served at `before`, if ever.
    pub fn served(&mut self, now: u32, before: Option<u32>, tokens: u32) {
        self.pass(now);
        if let Some(before) = before.filter(|before| self.is_remembered(*before)) {
            let left = &mut self.last[slot(before)];
            let taken = tokens.min(*left);
            *left -= taken;
            let in_second = &mut self.in_second[slot_of_second(before / TICKS)];
            *in_second = in_second.saturating_sub(taken);
        }
        let now = self.now;
        for sum in [&mut self.last[slot(now)], &mut self.in_second[slot_of_second(now / TICKS)]] {
            *sum = sum.saturating_add(tokens);
        }
    }

    /// How far back at `now` what was last served `age_s` ago stands; `None`: the cache has been empty since.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an age in ticks")]
    pub fn distance(&mut self, now: u32, age_s: f32) -> Option<Distance> {
        self.pass(now);
        let age = ((age_s.max(0.0) * TICKS as f32).round() as u32).min(REMEMBERED - TICKS - 1);
        let at = self.now.saturating_sub(age);
        if self.empty_at.is_some_and(|empty_at| at <= empty_at) {
            return None;
        }
        // Of its own tick half came after it, as likely as not.
        Some(Distance { tokens: self.since(at) + 0.5 * self.last[slot(at)] as f32, served: at })
    }

    /// Tokens served after `tick`.
    fn since(&self, tick: u32) -> f32 {
        let (from, to) = (tick + 1, self.now + 1);
        let (first, last) = (from.div_ceil(TICKS), to / TICKS);
        let ticks = |from: u32, to: u32| (from..to).map(|tick| u64::from(self.last[slot(tick)])).sum::<u64>();
        if first >= last {
            return ticks(from, to) as f32;
        }
        let seconds = (first..last).map(|second| u64::from(self.in_second[slot_of_second(second)]));
        (ticks(from, first * TICKS) + seconds.sum::<u64>() + ticks(last * TICKS, to)) as f32
    }

    /// Of what should have been held at `distance`, the share `kept` was.
    pub fn reported(&mut self, now: u32, distance: Distance, kept: f32) {
        let at = EDGE.iter().position(|edge| distance.tokens < *edge).unwrap_or(EDGES);
        if kept < NONE && self.hits[at] / self.reports[at] > CERTAIN {
            if self.losses == 0 {
                self.losing_since = now;
            }
            self.lost[self.losses] = at;
            self.losses += 1;
            if self.losses == EMPTY {
                self.losses = 0;
                // What was served since the first of them is there.
                self.empty_at = Some(self.losing_since.saturating_sub(1));
            }
            return;
        }
        // What is held of the time before the first of them was not lost: they were misses like others. Nothing is said by what
        // was served since, or was likely to be lost in any case.
        if kept >= NONE && distance.served < self.losing_since {
            for lost in 0..std::mem::take(&mut self.losses) {
                self.count(self.lost[lost], 0.0);
            }
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

    /// The chance of a hit by age at `now`.
    pub fn shares(&mut self, now: u32) -> CacheShares {
        self.pass(now);
        let mut chances = [0.0; EDGES + 1];
        let mut least = 1.0_f32;
        for (chance, (hits, reports)) in chances.iter_mut().zip(self.hits.iter().zip(&self.reports)) {
            least = least.min(hits / reports);
            *chance = least;
        }
        let age_s = |tick: u32| (self.now - tick) as f32 / TICKS as f32;
        let mut told = Told::new(chances[0]);
        let (mut since, mut next) = (0.0, 0);
        let from = self.now.saturating_sub(REMEMBERED - TICKS - 1).max(self.empty_at.map_or(0, |at| at + 1));
        let mut tick = self.now + 1;
        while tick > from && next < EDGES {
            // Whole seconds in which no distance is reached are passed over.
            let whole = self.in_second[slot_of_second((tick - 1) / TICKS)] as f32;
            if tick.is_multiple_of(TICKS) && since + whole < EDGE[next] && tick - from >= TICKS {
                since += whole;
                tick -= TICKS;
                continue;
            }
            tick -= 1;
            let here = self.last[slot(tick)] as f32;
            while next < EDGES && since + 0.5 * here >= EDGE[next] {
                next += 1;
            }
            told.from(age_s(tick), chances[next]);
            since += here;
        }
        if let Some(at) = self.empty_at {
            told.end(age_s(at.min(self.now)));
        }
        CacheShares::of(&told.ends_s[..told.ends], &told.chances[..=told.ends])
    }
}

/// The chances of a hit in the making: as few as tell them apart.
struct Told {
    ends_s: [f32; CacheShares::EDGES],
    chances: [f32; CacheShares::EDGES + 1],
    ends: usize,
}

impl Told {
    fn new(chance: f32) -> Self {
        let mut chances = [0.0; CacheShares::EDGES + 1];
        chances[0] = chance;
        Self { ends_s: [0.0; CacheShares::EDGES], chances, ends: 0 }
    }

    /// From this age on the chance is so much, unless that is like the one before. There is always room for an end.
    fn from(&mut self, age_s: f32, chance: f32) {
        if self.chances[self.ends] - chance > ALIKE && self.ends + 1 < CacheShares::EDGES {
            self.push(age_s, chance);
        }
    }

    /// From this age on there is none.
    fn end(&mut self, age_s: f32) {
        self.push(age_s, 0.0);
    }

    fn push(&mut self, age_s: f32, chance: f32) {
        self.ends_s[self.ends] = age_s;
        self.ends += 1;
        self.chances[self.ends] = chance;
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
                let foretold = known.shares(second * TICKS).at(age_s);
                if second >= 2_000 {
                    wrong += u32::from((foretold > 0.5) != hit);
                    hits += u32::from(hit);
                }
                if let Some(distance) = known.distance(second * TICKS, age_s) {
                    known.reported(second * TICKS, distance, if hit { 1.0 } else { 0.0 });
                }
            }
            known.served(second * TICKS, before.map(|before| before * TICKS), 20_000);
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
        known.served(80, None, 5_000);
        for tick in 81..168 {
            known.served(tick, (tick > 81).then(|| tick - 1), 1_000);
        }
        let ago = |ticks: u16| f32::from(ticks) / 8.0;
        let mut tokens = |now: u32, age_s: f32| known.distance(now, age_s).map(|distance| distance.tokens);
        assert_eq!(tokens(167, ago(86)), Some(1_000.0));
        // Half of what came in the same tick came after it.
        assert_eq!(tokens(167, ago(87)), Some(3_500.0));
        assert_eq!(tokens(167, ago(88)), Some(6_000.0));
        // Longer ago than is remembered.
        assert_eq!(tokens(167 + 2 * REMEMBERED, 50.0), Some(0.0));
    }
}
