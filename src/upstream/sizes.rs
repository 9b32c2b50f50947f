//! How many bytes of a request make a token, by who asks and for which model: learnt from what providers report.

/// Entries of the table, 16 bytes each; a newcomer takes its place from whoever stands there.
const ENTRIES: usize = 4_096;
/// What is assumed, and for how many tokens.
const ASSUMED: f32 = 4.0;
const ASSUMED_TOKENS: f32 = 500.0;
/// Tokens beyond which older reports lose weight.
const MEMORY_TOKENS: f32 = 100_000.0;
/// Bounds: JSON with escapes has many bytes a token, base64 and rare scripts have few.
const LEAST: f32 = 1.0;
const MOST: f32 = 12.0;
/// Tokens reported after which what is assumed hardly counts.
const KNOWN_TOKENS: f32 = 10.0 * ASSUMED_TOKENS;
/// Prompts below this are mostly envelope and tell nothing.
const BYTES_MIN: u64 = 256;

/// Bytes and tokens by asker.
#[derive(Debug, Clone)]
pub struct TokenSizes {
    entries: Vec<(u64, f32, f32)>,
}

impl Default for TokenSizes {
    fn default() -> Self {
        Self { entries: vec![(0, 0.0, 0.0); ENTRIES] }
    }
}

const fn id(key: u64, model: u64) -> u64 {
    (key.rotate_left(32) ^ model).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const fn slot(id: u64) -> usize {
    (id >> 52) as usize % ENTRIES
}

impl TokenSizes {
    /// A prompt of `bytes` was reported to have `tokens`.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn reported(&mut self, key: u64, model: u64, bytes: u64, tokens: u64) {
        if bytes < BYTES_MIN || tokens == 0 {
            return;
        }
        let id = id(key, model);
        let entry = &mut self.entries[slot(id)];
        if entry.0 != id {
            *entry = (id, 0.0, 0.0);
        }
        // One report of a huge prompt must not drown the others.
        let most = MEMORY_TOKENS / 4.0;
        let scale = (most / tokens as f32).min(1.0);
        entry.1 += bytes as f32 * scale;
        entry.2 += tokens as f32 * scale;
        if entry.2 > MEMORY_TOKENS {
            let keep = MEMORY_TOKENS / entry.2;
            entry.1 *= keep;
            entry.2 *= keep;
        }
    }

    /// Whether enough was reported for [`Self::bytes_per_token`] to be more than a guess.
    pub fn is_known(&self, key: u64, model: u64) -> bool {
        let id = id(key, model);
        let (owner, _, tokens) = self.entries[slot(id)];
        owner == id && tokens >= KNOWN_TOKENS
    }

    /// Bytes a token.
    pub fn bytes_per_token(&self, key: u64, model: u64) -> f32 {
        let id = id(key, model);
        let (owner, bytes, tokens) = self.entries[slot(id)];
        let (bytes, tokens) = if owner == id { (bytes, tokens) } else { (0.0, 0.0) };
        ((bytes + ASSUMED * ASSUMED_TOKENS) / (tokens + ASSUMED_TOKENS)).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_learnt_by_asker_and_stay_in_bounds() {
        let mut sizes = TokenSizes::default();
        assert!((sizes.bytes_per_token(1, 2) - 4.0).abs() < 1e-6);
        for _ in 0..50 {
            sizes.reported(1, 2, 5_000, 2_000);
            sizes.reported(3, 2, 4_000_000, 1);
        }
        assert!((2.5..2.6).contains(&sizes.bytes_per_token(1, 2)));
        assert!((sizes.bytes_per_token(3, 2) - 12.0).abs() < 1e-6);
        assert!((sizes.bytes_per_token(9, 2) - 4.0).abs() < 1e-6);
        assert!(sizes.is_known(1, 2) && !sizes.is_known(9, 2));
        sizes.reported(4, 2, 100, 90);
        assert!((sizes.bytes_per_token(4, 2) - 4.0).abs() < 1e-6, "an envelope tells nothing");
    }
}
