//! Which prompts were served where, and when: the prefix ledger in service, shared by all requests. It holds hashes and
//! times, never text.
//!
//! Sixteen shards, each with a lock that is held for one look-up: 65,536 blocks of 56 bytes, 3.7 MB in all, which remember
//! about 64 MB of prompts.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::api::prefix::{Salt, salt};
use crate::routing::RouteId;
use crate::routing::learn::prefix::{Block, Held, Ledger, Parts, held, tick};
use crate::units::Mono;

/// Shards, and blocks in all of them.
const SHARDS: usize = 16;
const BLOCKS: usize = 1 << 16;
/// What was served longer ago is taken for gone, in seconds.
const HORIZON_S: u32 = 3_600;

/// The ledger.
#[derive(Debug)]
pub struct Prefixes {
    shards: [Mutex<Ledger>; SHARDS],
    secret: Salt,
}

impl Default for Prefixes {
    fn default() -> Self {
        let mut secret = Salt::default();
        let keys = RandomState::new();
        for (at, part) in secret.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&keys.hash_one(at).to_le_bytes());
        }
        Self { shards: std::array::from_fn(|_| Mutex::new(Ledger::new(BLOCKS / SHARDS))), secret }
    }
}

impl Prefixes {
    /// The key under which the prompts of a tenant are hashed.
    pub fn salt(&self, team: &str, key: &str) -> Salt {
        salt(&self.secret, team, key)
    }

    /// What the route with this number ([`super::RouteHealth::number`]) should hold of a prompt.
    pub fn held(&self, chain: &[Block], number: RouteId, now: Mono) -> Held {
        if chain.is_empty() {
            return Held::default();
        }
        held(chain, HORIZON_S, |hash| self.with(hash, |ledger| ledger.age(hash, number, tick(now))))
    }

    /// A prompt was read by the route with this number. Says when its parts last were before.
    pub fn served(&self, chain: &[Block], number: RouteId, now: Mono) -> Parts {
        let (mut parts, mut from) = (Parts::default(), 0);
        for block in chain {
            let before = self.with(block.hash, |ledger| ledger.touch(block.hash, number, tick(now)));
            parts.push(before, block.tokens_end.saturating_sub(from));
            from = block.tokens_end;
        }
        parts
    }

    fn with<T>(&self, hash: u64, look: impl FnOnce(&mut Ledger) -> T) -> T {
        // The upper bits: the ledger itself goes by others.
        let shard = &self.shards[(hash >> 60) as usize % SHARDS];
        // A panic while it was held can only have left a block unknown.
        look(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::Call;
    use crate::api::prefix::chain;
    use crate::routing::Endpoint;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    #[test]
    fn what_a_tenant_was_served_is_held_for_it_alone_and_for_an_hour() {
        let prefixes = Prefixes::default();
        let text = "word ".repeat(2_000);
        let body = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}");
        let call = Call::parse(Endpoint::Chat, body.into(), 64).unwrap();
        let of = |team: &str, key: &str| chain(&call, &prefixes.salt(team, key), 4.0);
        let own = of("a", "k");
        prefixes.served(&own, RouteId(3), at(10));
        let held = prefixes.held(&own, RouteId(3), at(40));
        assert_eq!((u64::from(held.tokens), held.age_s), (10 * 248, 30.0));
        assert_eq!(prefixes.held(&own, RouteId(4), at(40)), Held::default());
        assert_eq!(prefixes.held(&own, RouteId(3), at(10 + 3_601)), Held::default());
        for other in [of("b", "k"), of("a", "other"), of("a", "")] {
            assert_eq!(prefixes.held(&other, RouteId(3), at(40)), Held::default());
        }
        assert_ne!(
            Prefixes::default().salt("a", "k"),
            prefixes.salt("a", "k"),
            "another process, other hashes"
        );
    }
}
