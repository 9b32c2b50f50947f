//! Which prefixes a route was served lately: a table of bounded size from block hash to the last time on each route.
//!
//! Chains are closed under prefixes: serving a prompt touches all its blocks. So what a route should still hold of a prompt
//! is found by halving.

use smallvec::SmallVec;

use crate::routing::RouteId;
use crate::units::Mono;

/// Routes remembered for a block; the one longest unused gives way.
const ROUTES: usize = 6;
/// Places a block may stand in.
const WINDOW: usize = 8;

/// A prompt's prefix at one block: the chained hash of all up to its end, and the prompt's length there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    /// Hash of everything up to the block's end, salted per tenant.
    pub hash: u64,
    /// Tokens up to there.
    pub tokens_end: u32,
}

/// What a route should still hold of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Held {
    /// Tokens of the prompt's beginning.
    pub tokens: u32,
    /// Seconds since the longest part of it was last served there.
    pub age_s: f32,
}

impl Held {
    /// The share of it that was found there, `cached` tokens having been.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn kept(&self, cached: u64) -> f32 {
        if self.tokens == 0 { 1.0 } else { (cached as f32 / self.tokens as f32).min(1.0) }
    }
}

/// Ticks of the ledger's clock in a second: an engine of our own may read a few hundred thousand tokens in one.
pub const TICKS: u32 = 8;

/// The tick of the ledger's clock at `now`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a process that runs for seventeen years starts again at 0"
)]
pub const fn tick(now: Mono) -> u32 {
    (now.0 / (1_000_000_000 / TICKS as u64)) as u32
}

/// A prompt in parts, each with the tick in which it was last served on a route, if it ever was, and its tokens.
#[derive(Debug, Clone, Default)]
pub struct Parts(SmallVec<[(Option<u32>, u32); 4]>);

impl Parts {
    /// The next `tokens` of the prompt were last served at `before`.
    pub fn push(&mut self, before: Option<u32>, tokens: u32) {
        match self.0.last_mut() {
            Some((last, sum)) if *last == before => *sum = sum.saturating_add(tokens),
            _ => self.0.push((before, tokens)),
        }
    }

    /// The parts.
    pub fn as_slice(&self) -> &[(Option<u32>, u32)] {
        &self.0
    }
}

/// Last times by block and route.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Vec<Entry>,
    mask: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    hash: u64,
    /// Route + 1 (0: free) and the tick of its last use.
    uses: [(u16, u32); ROUTES],
}

impl Entry {
    fn latest(&self) -> u32 {
        self.uses.iter().filter(|(route, _)| *route != 0).map(|(_, at)| at + 1).max().unwrap_or(0)
    }
}

impl Ledger {
    /// A ledger of at most `blocks` blocks, rounded up to a power of two; about 56 bytes each.
    pub fn new(blocks: usize) -> Self {
        let size = blocks.next_power_of_two().max(WINDOW);
        Self { entries: vec![Entry::default(); size], mask: size - 1 }
    }

    /// The block was served on `route` at tick `now`. Says when it last was before, if that is known.
    pub fn touch(&mut self, hash: u64, route: RouteId, now: u32) -> Option<u32> {
        let place = self.place(hash);
        let entry = &mut self.entries[place];
        if entry.hash != hash {
            *entry = Entry { hash, ..Entry::default() };
        }
        let own = route.0.saturating_add(1);
        let slot = entry.uses.iter().position(|(known, _)| *known == own);
        let slot = slot.unwrap_or_else(|| {
            let oldest = entry
                .uses
                .iter()
                .enumerate()
                .min_by_key(|(_, (known, at))| if *known == 0 { 0 } else { at + 1 });
            oldest.map_or(0, |(slot, _)| slot)
        });
        let (known, before) = std::mem::replace(&mut entry.uses[slot], (own, now));
        (known == own).then_some(before)
    }

    /// Ticks since the block was last served on `route`.
    pub fn age(&self, hash: u64, route: RouteId, now: u32) -> Option<u32> {
        let own = route.0.saturating_add(1);
        let entry = self.window(hash).map(|place| &self.entries[place]).find(|entry| entry.hash == hash)?;
        entry.uses.iter().find(|(known, _)| *known == own).map(|(_, at)| now.saturating_sub(*at))
    }

    fn window(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.mask;
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let start = (hash ^ (hash >> 32)) as usize;
        (0..WINDOW).map(move |step| start.wrapping_add(step) & mask)
    }

    /// Where the block stands, or the place of the one longest unused in its window.
    fn place(&self, hash: u64) -> usize {
        let mut oldest = (u32::MAX, 0);
        for place in self.window(hash) {
            let entry = &self.entries[place];
            if entry.hash == hash {
                return place;
            }
            let latest = entry.latest();
            if latest < oldest.0 {
                oldest = (latest, place);
            }
        }
        oldest.1
    }
}

/// What `route` should hold of the prompt whose blocks are `chain`, shortest prefix first, of what was served there within
/// `horizon_s` seconds. `age` says how many ticks ago a block was served.
#[expect(clippy::cast_precision_loss, reason = "an age in ticks")]
pub fn held(chain: &[Block], horizon_s: u32, age: impl Fn(u64) -> Option<u32>) -> Held {
    let fresh = |block: &Block| age(block.hash).filter(|age| *age / TICKS <= horizon_s);
    let (mut low, mut high) = (0, chain.len());
    let mut found = Held::default();
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(block) = chain.get(middle) else { break };
        if let Some(age) = fresh(block) {
            found = Held { tokens: block.tokens_end, age_s: age as f32 / TICKS as f32 };
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u32) -> Vec<Block> {
        (1..=length)
            .map(|i| Block { hash: super::super::lengths::mix(u64::from(i)), tokens_end: i * 64 })
            .collect()
    }

    #[test]
    fn the_longest_served_prefix_is_found() {
        let mut ledger = Ledger::new(1_024);
        let prompt = chain(100);
        for block in &prompt[..37] {
            ledger.touch(block.hash, RouteId(3), 10 * TICKS);
        }
        let on = |route, at, horizon| held(&prompt, horizon, |hash| ledger.age(hash, route, at * TICKS + 2));
        assert_eq!(on(RouteId(3), 15, 300), Held { tokens: 37 * 64, age_s: 5.25 });
        assert_eq!(on(RouteId(4), 15, 300), Held::default());
        assert_eq!(on(RouteId(3), 500, 300), Held::default());
    }

    #[test]
    fn its_size_is_bounded_and_the_new_displaces_the_old() {
        let mut ledger = Ledger::new(64);
        for i in 0..10_000_u32 {
            ledger.touch(super::super::lengths::mix(u64::from(i)), RouteId(0), i);
        }
        assert_eq!(ledger.entries.len(), 64);
        let recent = (9_990..10_000_u32)
            .filter(|i| ledger.age(super::super::lengths::mix(u64::from(*i)), RouteId(0), 10_000).is_some())
            .count();
        assert!(recent >= 9, "{recent}");
    }
}
