//! How long answers are: a distribution by who asks, for which model, and how long the prompt is; never a single guess.

/// Bins of the logarithm to base 2, four to an octave, from 1 to 2^18 tokens.
const BINS: usize = 72;
/// Entries of the table; one that nobody uses gives way to one that somebody does.
const ENTRIES: usize = 2_048;
/// An answer keeps its weight for about this many further ones.
const MEMORY: f32 = 200.0;
/// How many answers the wider group counts for against a narrower one.
const GROUP: f32 = 10.0;

/// Distributions of answer lengths.
#[derive(Debug, Clone)]
pub struct Lengths {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    id: u64,
    total: f32,
    bins: [f32; BINS],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { entries: vec![Entry { id: 0, total: 0.0, bins: [0.0; BINS] }; ENTRIES] }
    }
}

/// Who asks for what: hashes of the key's and the model's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The caller's key or team.
    pub key: u64,
    /// The model.
    pub model: u64,
    /// Length of the prompt in tokens.
    pub prompt_tokens: u64,
}

impl Asker {
    /// The narrow group and the wide one.
    fn groups(self) -> [u64; 2] {
        let bucket = u64::from(64 - self.prompt_tokens.leading_zeros());
        [mix(self.key ^ mix(self.model ^ (bucket << 56))), mix(self.model ^ 0x9e37)]
    }
}

/// Spreads bits (the finaliser of `SplitMix64`, Steele et al. 2014).
pub(in crate::routing) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held inside the bins"
)]
fn bin_of(tokens: u64) -> usize {
    (((tokens.max(1) as f32).log2() * 4.0) as usize).min(BINS - 1)
}

/// The typical length of a bin, in tokens.
#[expect(clippy::cast_precision_loss, reason = "a few dozen bins")]
fn length_of(bin: usize) -> f32 {
    ((bin as f32 + 0.5) / 4.0).exp2()
}

impl Lengths {
    /// An answer of `tokens` tokens was given.
    pub fn seen(&mut self, asker: Asker, tokens: u64) {
        for id in asker.groups() {
            let entry = self.entry_mut(id);
            let keep = 1.0 - 1.0 / MEMORY;
            entry.bins.iter_mut().for_each(|weight| *weight *= keep);
            entry.total = entry.total * keep + 1.0;
            entry.bins[bin_of(tokens)] += 1.0;
        }
    }

    /// The expected length in tokens, held to `most` if the caller sets a bound; `assumed` before anything was seen.
    #[expect(clippy::cast_precision_loss, reason = "an expectation")]
    pub fn expected(&self, asker: Asker, most: Option<u64>, assumed: u64) -> f32 {
        let most = most.map_or(f32::INFINITY, |most| most as f32);
        let [narrow, wide] = asker.groups();
        let wide = self.mean(wide, most);
        let assumed = (assumed as f32).min(most);
        let group = weighted(wide, (assumed, 2.0));
        weighted(self.mean(narrow, most), (group, GROUP))
    }

    fn mean(&self, id: u64, most: f32) -> (f32, f32) {
        let entry = &self.entries[slot(id)];
        if entry.id != id {
            return (0.0, 0.0);
        }
        let sum: f32 = entry
            .bins
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(bin, weight)| weight * length_of(bin).min(most))
            .sum();
        (sum / entry.total, entry.total)
    }

    fn entry_mut(&mut self, id: u64) -> &mut Entry {
        let entry = &mut self.entries[slot(id)];
        if entry.id != id {
            // The one in place pays for each intruder until it is light enough to go.
            entry.total *= 0.5;
            if entry.total < 1.0 {
                *entry = Entry { id, total: 0.0, bins: [0.0; BINS] };
            } else {
                entry.bins.iter_mut().for_each(|weight| *weight *= 0.5);
            }
        }
        entry
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below the number of entries")]
const fn slot(id: u64) -> usize {
    (id % ENTRIES as u64) as usize
}

fn weighted(one: (f32, f32), other: (f32, f32)) -> f32 {
    (one.0 * one.1 + other.0 * other.1) / (one.1 + other.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_asker_and_back_off_to_the_model() {
        let mut lengths = Lengths::default();
        let short = Asker { key: 1, model: 7, prompt_tokens: 1_000 };
        let long = Asker { key: 2, ..short };
        for _ in 0..100 {
            lengths.seen(short, 20);
            lengths.seen(long, 900);
        }
        let of = |asker, most| lengths.expected(asker, most, 512);
        assert!(of(short, None) < 90.0 && of(long, None) > 800.0, "{} {}", of(short, None), of(long, None));
        assert!(of(long, Some(100)) < 101.0);
        let stranger = of(Asker { key: 9, ..short }, None);
        assert!((200.0..700.0).contains(&stranger), "{stranger}");
        assert!((of(Asker { model: 8, ..short }, None) - 512.0).abs() < 1.0);
    }
}
