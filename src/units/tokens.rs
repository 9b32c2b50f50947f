//! Token counts of one answer, in one normal form whatever the provider's spelling.

use super::money::PicoUsd;

/// What a provider reported (or we estimated) for one answer. A field that was missing, null or 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The whole prompt in tokens, cached and written parts included.
    pub prompt: u64,
    /// The part of `prompt` billed at the cache-read price.
    pub cached: u64,
    /// The part of `prompt` billed at the cache-write price.
    pub cache_write: u64,
    /// The whole answer in tokens, reasoning included.
    pub completion: u64,
    /// The part of `completion` that was reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// The same counts with every part held inside its whole: providers have reported cached > prompt.
    #[must_use]
    pub fn clamped(self) -> Self {
        let cached = self.cached.min(self.prompt);
        let cache_write = self.cache_write.min(self.prompt - cached);
        Self { cached, cache_write, reasoning: self.reasoning.min(self.completion), ..self }
    }

    /// Prompt tokens billed at the plain input price.
    pub fn uncached(&self) -> u64 {
        self.prompt.saturating_sub(self.cached).saturating_sub(self.cache_write)
    }
}

/// What a provider said of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// The counts, parts held inside their wholes.
    pub usage: Usage,
    /// The provider's own statement of the cost (OpenRouter's `usage.cost`, in dollars).
    pub cost: Option<PicoUsd>,
    /// The sum of all tokens, as reported; 0: not.
    pub total: u64,
    /// Searches that are billed instead of tokens (Cohere's `search_units`); 0: none were reported.
    pub searches: u64,
    /// Whether a count was negative, absurd or no whole number; it was read as 0 and the bill needs an estimate.
    pub odd: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_inside_their_wholes() {
        let odd = Usage { prompt: 10, cached: 12, cache_write: 3, completion: 5, reasoning: 9 };
        let even = odd.clamped();
        assert_eq!((even.cached, even.cache_write, even.reasoning, even.uncached()), (10, 0, 5, 0));
    }
}
