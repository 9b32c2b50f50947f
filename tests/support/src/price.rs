//! Cost worked out by hand, in whole pico-dollars, independently of the gateway's own arithmetic.
//!
//! One micro-dollar per million tokens is one pico-dollar per token, so a list price with six decimals is a whole number.

/// What one answer used, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The whole prompt, cached and cache-written parts included.
    pub prompt: u64,
    /// The part of the prompt read from a cache.
    pub cached: u64,
    /// Everything generated, reasoning included.
    pub completion: u64,
    /// The part of the completion that was reasoning.
    pub reasoning: u64,
}

/// A price in pico-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Prompt tokens that were not cached.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached_input: u64,
    /// Completion tokens.
    pub output: u64,
}

impl Price {
    /// From list prices in dollars per million tokens: `Price::per_million("0.14", "0.028", "0.28")`.
    pub fn per_million(input: &str, cached_input: &str, output: &str) -> Self {
        Self { input: micro(input), cached_input: micro(cached_input), output: micro(output) }
    }

    /// The cost of `usage` in pico-dollars.
    pub fn cost_pico(&self, usage: &Usage) -> u64 {
        (usage.prompt - usage.cached) * self.input
            + usage.cached * self.cached_input
            + usage.completion * self.output
    }

    /// The cost in nano-dollars, half up: what a ledger keeps.
    pub fn cost_nano(&self, usage: &Usage) -> u64 {
        (self.cost_pico(usage) + 500) / 1000
    }

    /// The three prices in dollars per million, as a configuration writes them.
    pub(crate) fn yaml(&self) -> String {
        let [input, cached, output] =
            [self.input, self.cached_input, self.output].map(|price| decimal(price, 6));
        format!("{{input: {input}, cached_input: {cached}, output: {output}}}")
    }
}

/// A whole number of `10^-places` as a decimal without trailing zeros.
pub(crate) fn decimal(units: u64, places: usize) -> String {
    let scale = 10_u64.pow(u32::try_from(places).expect("a handful of places"));
    let fraction = format!("{:0places$}", units % scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { (units / scale).to_string() } else { format!("{}.{fraction}", units / scale) }
}

fn micro(dollars: &str) -> u64 {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    assert!(fraction.len() <= 6, "{dollars}: at most six decimals");
    format!("{whole}{fraction:0<6}").parse().expect("a price such as 0.14")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_exact_to_the_pico_dollar() {
        let price = Price::per_million("0.66", "0.022", "1.98");
        let usage = Usage { prompt: 1200, cached: 1024, completion: 210, reasoning: 150 };
        assert_eq!(price.cost_pico(&usage), 554_488_000);
        assert_eq!(price.cost_nano(&usage), 554_488);
        assert_eq!(decimal(554_488_000, 12), "0.000554488");
        assert_eq!(price.yaml(), "{input: 0.66, cached_input: 0.022, output: 1.98}");
        assert_eq!(decimal(2_000_000, 6), "2");
    }
}
