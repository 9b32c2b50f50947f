//! Where conversations are: a caller that names its conversation (`session_id`, `prompt_cache_key`) is kept where it was
//! served, also where the prefix ledger knows nothing of its prompts. Hashes and times, never a name.
//!
//! Two generations of 16,384 conversations, 1.5 MB at most: once the young one is full, the old one is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::routing::RouteId;
use crate::routing::learn::prefix::Held;
use crate::units::Mono;

/// Conversations in one generation.
const CONVERSATIONS: usize = 1 << 14;
/// A conversation that was silent for longer has no cache to go back to, in seconds.
const HORIZON_S: f32 = 3_600.0;

/// The table.
#[derive(Debug, Default)]
pub struct Stays {
    secret: RandomState,
    generations: Mutex<[HashMap<u64, Stay>; 2]>,
}

/// Where a conversation is.
#[derive(Debug, Clone, Copy)]
struct Stay {
    number: RouteId,
    tokens: u32,
    at: Mono,
}

impl Stays {
    /// What a tenant's conversation of this name goes by, for the model `checkpoint`.
    pub fn conversation(&self, team: &str, key: &str, checkpoint: &str, name: &str) -> u64 {
        self.secret.hash_one((team, key, checkpoint, name))
    }

    /// The number of the route that served it last, and what that should hold of its next prompt.
    pub fn of(&self, conversation: u64, now: Mono) -> Option<(RouteId, Held)> {
        // A panic while it was held can only have left one conversation unknown.
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let stay = generations.iter().find_map(|generation| generation.get(&conversation))?;
        let age_s = now.since(stay.at).as_secs_f32();
        (age_s <= HORIZON_S).then_some((stay.number, Held { tokens: stay.tokens, age_s }))
    }

    /// The route with this number has read a prompt of it, of so many tokens.
    pub fn served(&self, conversation: u64, number: RouteId, tokens: u64, now: Mono) {
        let stay = Stay { number, tokens: u32::try_from(tokens).unwrap_or(u32::MAX), at: now };
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= CONVERSATIONS && !generations[0].contains_key(&conversation) {
            let young = std::mem::take(&mut generations[0]);
            generations[1] = young;
        }
        generations[0].insert(conversation, stay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    #[test]
    fn a_conversation_is_a_tenants_own_and_lasts_an_hour() {
        let stays = Stays::default();
        let own = stays.conversation("team", "key", "m", "chat 1");
        stays.served(own, RouteId(3), 700, at(10));
        assert_eq!(stays.of(own, at(40)), Some((RouteId(3), Held { tokens: 700, age_s: 30.0 })));
        assert_eq!(stays.of(own, at(10 + 3_601)), None);
        for other in [
            stays.conversation("other", "key", "m", "chat 1"),
            stays.conversation("team", "", "m", "chat 1"),
            stays.conversation("team", "key", "n", "chat 1"),
            stays.conversation("team", "key", "m", "chat 2"),
        ] {
            assert_eq!(stays.of(other, at(40)), None);
        }
        stays.served(own, RouteId(4), 900, at(50));
        assert_eq!(stays.of(own, at(50)).map(|(number, _)| number), Some(RouteId(4)));
    }

    #[test]
    fn it_holds_so_many_and_forgets_the_oldest() {
        let stays = Stays::default();
        for conversation in 0..4 * CONVERSATIONS as u64 {
            stays.served(conversation, RouteId(1), 1, at(1));
        }
        let known = (0..4 * CONVERSATIONS as u64).filter(|one| stays.of(*one, at(1)).is_some()).count();
        assert!((CONVERSATIONS..=2 * CONVERSATIONS).contains(&known), "{known}");
        assert!(stays.of(4 * CONVERSATIONS as u64 - 1, at(1)).is_some() && stays.of(0, at(1)).is_none());
    }
}
