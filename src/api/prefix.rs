//! A prompt as a chain of blocks, so that a later request with the same beginning is known again: hashes, and no text.
//!
//! The prompt-bearing members of a request, as bytes, in the order in which models read them (tools before messages), are
//! cut into blocks at fixed places. A block's hash covers everything up to its end, so that two prompts share a chain as far
//! as they are the same. Hashes are keyed per tenant: the same conversation of another tenant has other hashes.

use crate::routing::learn::prefix::Block;

use super::body::Call;

/// Bytes of a block, about 250 tokens: with the 32 bytes of the hash before it, what BLAKE3 takes in one step.
pub const BLOCK_BYTES: usize = (1 << 10) - 32;
/// Blocks of a request, at most.
pub const BLOCKS_MAX: usize = 4_096;
/// Behind as many blocks they are longer, at the same places for everyone, so that the number stays bounded.
const FINE_BLOCKS: usize = 2_048;
const COARSE_BYTES: usize = 64 << 10;

/// A tenant's own key for its hashes.
pub type Salt = [u8; 32];

/// The key of the tenant called `team` and `key`, made from a secret of this process.
pub fn salt(secret: &Salt, team: &str, key: &str) -> Salt {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(&(team.len() as u64).to_le_bytes()).update(team.as_bytes()).update(key.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The chain of `call`'s prompt. `bytes_per_token` says where a block ends in tokens. What is left over behind the last
/// whole block has no hash.
pub fn chain(call: &Call, salt: &Salt, bytes_per_token: f32) -> Vec<Block> {
    let whole = usize::try_from(call.prompt_bytes).unwrap_or(usize::MAX) / BLOCK_BYTES;
    let mut chaining = Chaining {
        salt,
        bytes_per_token: bytes_per_token.max(0.1),
        hasher: None,
        filled: 0,
        end: 0,
        last: [0; 32],
        blocks: Vec::new(),
    };
    if whole == 0 {
        return chaining.blocks;
    }
    chaining.blocks.reserve_exact(whole.min(BLOCKS_MAX));
    for name in ["tools", "functions", "messages", "prompt"] {
        if let Some((_, member)) = call.member(name) {
            chaining.take(&call.body[member.value.clone()]);
        }
    }
    chaining.blocks
}

struct Chaining<'a> {
    salt: &'a Salt,
    bytes_per_token: f32,
    hasher: Option<blake3::Hasher>,
    /// Bytes in the block under way, and up to the end of the last one.
    filled: usize,
    end: usize,
    last: [u8; 32],
    blocks: Vec<Block>,
}

impl Chaining<'_> {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.blocks.len() < BLOCKS_MAX {
            let length = if self.blocks.len() < FINE_BLOCKS { BLOCK_BYTES } else { COARSE_BYTES };
            let (now, later) = bytes.split_at(bytes.len().min(length - self.filled));
            let (salt, last) = (self.salt, &self.last);
            let hasher = self.hasher.get_or_insert_with(|| {
                let mut hasher = blake3::Hasher::new_keyed(salt);
                hasher.update(last);
                hasher
            });
            hasher.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == length {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let Some(hasher) = self.hasher.take() else { return };
        self.last = *hasher.finalize().as_bytes();
        self.end += self.filled;
        self.filled = 0;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate in tokens"
        )]
        let tokens_end = (self.end as f32 / self.bytes_per_token) as u32;
        let hash = self.last.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        self.blocks.push(Block { hash, tokens_end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Endpoint;

    fn call(messages: &[String], more: &str) -> Call {
        let messages: Vec<String> =
            messages.iter().map(|text| format!("{{\"role\":\"user\",\"content\":{text:?}}}")).collect();
        let body = format!("{{\"model\":\"m\",\"messages\":[{}]{more}}}", messages.join(","));
        Call::parse(Endpoint::Chat, body.into(), 64).unwrap()
    }

    fn shared(one: &[Block], other: &[Block]) -> usize {
        one.iter().zip(other).take_while(|(a, b)| a.hash == b.hash).count()
    }

    const SECRET: Salt = [7; 32];

    #[test]
    fn a_next_turn_shares_the_chain_and_another_tenant_shares_nothing() {
        let first = vec!["a".repeat(5_000), "b".repeat(3_000)];
        let mut second = first.clone();
        second.push("c".repeat(2_000));
        let own = salt(&SECRET, "team", "key");
        let (one, two) = (chain(&call(&first, ""), &own, 4.0), chain(&call(&second, ""), &own, 4.0));
        assert_eq!((one.len(), two.len()), (8, 10));
        assert!(shared(&one, &two) >= 7, "{}", shared(&one, &two));
        assert_eq!(one[6].tokens_end, 7 * 248);
        for other in
            [salt(&SECRET, "other", "key"), salt(&SECRET, "team", "keys"), salt(&[8; 32], "team", "key")]
        {
            assert_eq!(shared(&one, &chain(&call(&first, ""), &other, 4.0)), 0);
        }
        let mut changed = first.clone();
        changed[0].replace_range(1_500..1_501, "x");
        assert_eq!(shared(&one, &chain(&call(&changed, ""), &own, 4.0)), 1);
    }

    #[test]
    fn other_fields_change_nothing_and_tools_come_first() {
        let text = vec!["a".repeat(3_000)];
        let own = salt(&SECRET, "t", "");
        let plain = chain(&call(&text, ""), &own, 4.0);
        assert_eq!(plain, chain(&call(&text, ",\"temperature\":1,\"user\":\"u\""), &own, 4.0));
        let tools =
            |name: &str| format!(",\"tools\":[{{\"type\":\"function\",\"function\":{{\"name\":{name:?}}}}}]");
        let (one, two) =
            (chain(&call(&text, &tools("f")), &own, 4.0), chain(&call(&text, &tools("g")), &own, 4.0));
        assert_eq!((shared(&plain, &one), shared(&one, &two)), (0, 0));
    }

    #[test]
    fn a_short_prompt_has_no_chain_and_a_huge_one_a_bounded_one() {
        let own = salt(&SECRET, "t", "");
        assert!(chain(&call(&["hi".to_owned()], ""), &own, 4.0).is_empty());
        let fine = chain(&call(&["a".repeat(2_600_000)], ""), &own, 4.0);
        assert_eq!(fine.len(), FINE_BLOCKS + (2_600_000 - FINE_BLOCKS * BLOCK_BYTES) / COARSE_BYTES);
        let longer = chain(&call(&["a".repeat(2_800_000)], ""), &own, 4.0);
        assert_eq!(shared(&fine, &longer), fine.len());
        assert!(fine.is_sorted_by_key(|block| block.tokens_end));
    }
}
