//! How much slower an engine of our own reads prompts while it writes answers.

/// Groups of how many answers are being written: none, one, two, up to four, eight, …
const GROUPS: usize = 10;
/// Share of a new sample in a group's mean, at first and later.
const FIRST: f64 = 0.5;
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
        let share = LATER + (FIRST - LATER) / self.samples[at];
        let off = (ratio.ln() - known).clamp(-BOUND.ln(), BOUND.ln());
        self.slower[at] = (known + share * off).clamp(0.0, BOUND.ln());
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
