//! What is assumed of a route before anything was heard of it.

/// What is assumed of a route before anything is known: seconds, and seconds a token.
const BASE_ASSUMED_S: f64 = 1.0;
/// A route that is thought too slow for long prompts is never asked one and never cleared; so it is thought quick.
const PER_TOKEN_ASSUMED_S: f64 = 0.03e-3;
const OWN_PER_TOKEN_ASSUMED_S: f64 = 0.02e-3;
const PRIOR_SAMPLES: f64 = 8.0;
/// Share of a call's luck that strikes the prompt's part of its time.
pub const PREFILL_LUCK: f64 = 0.25;

/// What was assumed of a route by its catalogue: the median first token of a short prompt, worth a few samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Seconds for a short prompt.
    pub base_s: f64,
    /// Seconds for each uncached prompt token.
    pub per_token_s: f64,
    /// How many samples it is worth.
    pub samples: f64,
    /// Share of a call's luck that strikes the prompt's part of its time.
    pub prefill_luck: f64,
    /// Whether prompts are read one after the other there.
    pub queues: bool,
}

impl Prior {
    /// What is assumed of an engine of our own: no way to go, and little else but its work, which other answers
    /// slow down.
    pub const OWN: Self = Self {
        base_s: 0.1,
        per_token_s: OWN_PER_TOKEN_ASSUMED_S,
        samples: 3.0,
        prefill_luck: 1.0,
        queues: true,
    };
}

impl Default for Prior {
    fn default() -> Self {
        Self {
            base_s: BASE_ASSUMED_S,
            per_token_s: PER_TOKEN_ASSUMED_S,
            samples: PRIOR_SAMPLES,
            prefill_luck: PREFILL_LUCK,
            queues: false,
        }
    }
}
