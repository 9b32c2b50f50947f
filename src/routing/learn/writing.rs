//! How much slower an engine of our own reads prompts while it writes answers.

/// Groups of how many answers are being written: none, one, two, up to four, eight, …
const GROUPS: usize = 10;
/// Least share of a new sample in a group's mean. Before, it is the mean of all there were, and of one in which nothing was
/// slower.
const LATER: f64 = 0.03;
/// One sample counts for no more than this factor against what is known: one odd call is not proof.
const BOUND: f64 = 3.0;

/// The logarithms of the factors by which reading is slowed down.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writing {
    slower: [f64; GROUPS],
    samples: [f64; GROUPS],
}

fn group(running: u32) -> usize {
    let above = running.saturating_sub(1);
    let bits = u32::BITS - above.leading_zeros();
    if running == 0 { 0 } else { usize::try_from(bits + 1).unwrap_or(GROUPS).min(GROUPS - 1) }
}

impl Writing {
    /// A prompt was read in `ratio` times the time that it takes when nothing is written, while `running` answers were.
    pub fn seen(&mut self, running: u32, ratio: f64) {
        let at = group(running);
        if at == 0 || ratio <= 0.0 {
            return;
        }
        let known = self.log(at);
        self.samples[at] += 1.0;
        let share = (1.0 / (self.samples[at] + 1.0)).max(LATER);
        let off = (ratio.ln() - known).clamp(-BOUND.ln(), BOUND.ln());
        self.slower[at] = (known + share * off).clamp(0.0, BOUND.ln());
    }

    /// Whether that was ever seen while `running` answers were being written.
    pub fn knows(&self, running: u32) -> bool {
        let at = group(running);
        at == 0 || self.samples[at] > 0.0
    }

    /// How many times as long reading takes while `running` answers are being written.
    pub fn slows(&self, running: u32) -> f64 {
        self.log(group(running)).exp()
    }

    /// A group never seen is like the nearest one with fewer answers that was.
    fn log(&self, at: usize) -> f64 {
        let seen = (1..=at).rev().find(|group| self.samples[*group] > 0.0);
        seen.map_or(0.0, |group| self.slower[group])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(samples: &[(u32, f64)]) -> Writing {
        let mut writing = Writing::default();
        for (running, ratio) in samples {
            writing.seen(*running, *ratio);
        }
        writing
    }

    #[test]
    fn groups_double() {
        let groups = [0, 1, 2, 3, 4, 5, 8, 9, 128, 129, 100_000, u32::MAX].map(group);
        assert_eq!(groups, [0, 1, 2, 3, 3, 4, 4, 5, 8, 9, 9, 9]);
    }

    #[test]
    fn each_group_learns_its_own_factor_and_those_above_it_begin_there() {
        let samples: Vec<_> = (0..400).flat_map(|_| [(2, 1.2), (20, 2.0)]).collect();
        let writing = taught(&samples);
        let near = |running, factor: f64| {
            let slows = writing.slows(running);
            assert!((slows / factor - 1.0).abs() < 0.01, "{running}: {slows}");
        };
        near(0, 1.0);
        near(1, 1.0);
        near(2, 1.2);
        near(10, 1.2);
        near(20, 2.0);
        near(5_000, 2.0);
    }

    #[test]
    fn one_odd_call_is_not_proof_and_nothing_makes_reading_quicker() {
        let odd = taught(&[(4, 1_000.0)]).slows(4);
        assert!((1.5..1.8).contains(&odd), "{odd}");
        let mut usual = vec![(4, 1.1); 200];
        usual.push((4, 1_000.0));
        let later = taught(&usual).slows(4);
        assert!((1.1..1.16).contains(&later), "{later}");
        for nothing in [taught(&[(4, 0.2); 50]), taught(&[(4, 0.0)]), taught(&[(0, 3.0); 50])] {
            assert!((nothing.slows(4) - 1.0).abs() < 1e-12, "{nothing:?}");
        }
    }
}
