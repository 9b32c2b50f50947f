//! Where the plain bytes of a string end, found many at a time.

/// First byte at or after `from` that ends a plain run inside a string: a quote, a backslash or a control character.
pub(super) fn plain_run_end(bytes: &[u8], from: usize) -> usize {
    const LANE: usize = 32;
    let mut at = from;
    // Keys and the words of a token are short: most end within two words of eight bytes.
    for _ in 0..2 {
        let Some(word) = bytes[at..].first_chunk() else { break };
        match run_end_in(*word) {
            8 => at += 8,
            end => return at + end,
        }
    }
    // Whole lanes without a branch inside, so that the compiler turns each into a few vector compares.
    while let Some(lane) = bytes.get(at..at + LANE) {
        if lane.iter().fold(false, |hit, &byte| hit | ends_run(byte)) {
            break;
        }
        at += LANE;
    }
    while let Some(word) = bytes[at..].first_chunk() {
        match run_end_in(*word) {
            8 => at += 8,
            end => return at + end,
        }
    }
    bytes[at..].iter().position(|&byte| ends_run(byte)).map_or(bytes.len(), |run| at + run)
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "`||` would be branches, and a byte at a time: four times slower"
)]
pub(super) const fn ends_run(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The first byte of eight that ends a plain run, or 8.
///
/// The eight are tested at once: below `n`, for bytes `x`, is where `(x - n) & !x` has its high bit, and equal to `c` where
/// `x ^ c` is below 1 (Hacker's Delight, 6-1). What a byte borrows from the next can only be seen behind the first that is found.
fn run_end_in(word: [u8; 8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x;
    let word = u64::from_le_bytes(word);
    let (quote, backslash) = (below(word ^ QUOTES, 1), below(word ^ BACKSLASHES, 1));
    let found = (below(word, 0x20) | quote | backslash) & HIGHS;
    (found.trailing_zeros() / 8) as usize
}
