//! What generated traces are fitted to: quantiles and rates measured on published traces, and nothing else of them.
//!
//! Measured on 2026-11-25 on
//! - `CHAT`: Azure `LLM` inference trace, conversations, November 2023 (CC-BY-4.0; Patel et al., Splitwise, ISCA 2024),
//! - `PREFIXES`: Mooncake conversation trace (Apache-2.0; Qin et al., Mooncake, FAST 2025); turns by who extends whose blocks,
//! - `AGENTS`: callanjfox/kv-cache-tester, 175 coding-agent sessions (Apache-2.0),
//! - `DAY`: `ServeGen`'s published statistics of a large model's clients (Apache-2.0; arXiv 2505.09999).

use super::super::draw::Draw;

/// A distribution by its quantiles: (share below, value), values interpolated in the logarithm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantiles(&'static [(f64, f64)]);

impl Quantiles {
    /// A value of chance.
    pub(super) fn draw(self, draw: &mut Draw) -> f64 {
        self.at(draw.uniform())
    }

    /// The value below which `share` of all are.
    pub(super) fn at(self, share: f64) -> f64 {
        let after = self.0.partition_point(|(below, _)| *below < share);
        let (Some(low), Some(high)) = (self.0.get(after.saturating_sub(1)), self.0.get(after.max(1))) else {
            return self.0.last().map_or(1.0, |(_, value)| *value);
        };
        let part = ((share - low.0) / (high.0 - low.0)).clamp(0.0, 1.0);
        (low.1.ln() + part * (high.1.ln() - low.1.ln())).exp()
    }
}

/// How a level wanders: an Ornstein-Uhlenbeck process in its logarithm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wander {
    pub(super) sigma: f64,
    pub(super) relaxation_s: f64,
}

/// Chat without common prefixes.
pub(super) struct Chat {
    pub(super) rate: f64,
    pub(super) wander: Wander,
    pub(super) prompt: Quantiles,
    pub(super) output: Quantiles,
}

pub(super) const CHAT: Chat = Chat {
    rate: 5.53,
    wander: Wander { sigma: 0.22, relaxation_s: 600.0 },
    prompt: Quantiles(&[
        (0.0, 2.0),
        (0.01, 29.0),
        (0.05, 181.0),
        (0.1, 207.0),
        (0.2, 387.0),
        (0.3, 403.0),
        (0.4, 703.0),
        (0.5, 1020.0),
        (0.6, 1071.0),
        (0.7, 1130.0),
        (0.8, 1315.0),
        (0.9, 2735.0),
        (0.95, 4083.0),
        (0.99, 4142.0),
        (1.0, 14_050.0),
    ]),
    output: Quantiles(&[
        (0.0, 7.0),
        (0.01, 16.0),
        (0.05, 41.0),
        (0.1, 54.0),
        (0.2, 77.0),
        (0.3, 91.0),
        (0.4, 103.0),
        (0.5, 129.0),
        (0.6, 177.0),
        (0.7, 384.0),
        (0.8, 400.0),
        (0.9, 424.0),
        (0.95, 451.0),
        (0.99, 601.0),
        (1.0, 1000.0),
    ]),
};

/// Chat in conversations that share a system prompt and grow by turns.
pub(super) struct Prefixed {
    /// Requests a second, and conversations for each of them.
    pub(super) rate: f64,
    pub(super) conversations_per_request: f64,
    pub(super) wander: Wander,
    /// Chance of another turn after the first, the second, and later ones.
    pub(super) goes_on: [f64; 3],
    /// Tokens that all prompts begin with.
    pub(super) system_tokens: u32,
    pub(super) first_prompt: Quantiles,
    /// Tokens that a turn adds, where it adds any; in the other cases the caller took something back.
    pub(super) growth: Quantiles,
    pub(super) shrinks: f64,
    /// Share of the last prompt that a turn keeps from its beginning.
    pub(super) kept: Quantiles,
    pub(super) pause_s: Quantiles,
    pub(super) output: Quantiles,
    /// How many people the conversations belong to.
    pub(super) keys: usize,
}

pub(super) const PREFIXES: Prefixed = Prefixed {
    rate: 3.4,
    conversations_per_request: 0.613,
    wander: Wander { sigma: 0.09, relaxation_s: 600.0 },
    goes_on: [0.306, 0.42, 0.5],
    system_tokens: 512,
    first_prompt: Quantiles(&[
        (0.0, 891.0),
        (0.01, 894.0),
        (0.05, 897.0),
        (0.1, 905.0),
        (0.2, 1092.0),
        (0.3, 1756.0),
        (0.4, 3914.0),
        (0.5, 5264.0),
        (0.6, 7417.0),
        (0.7, 10_780.0),
        (0.8, 15_870.0),
        (0.9, 25_560.0),
        (0.95, 38_540.0),
        (0.99, 89_870.0),
        (1.0, 126_200.0),
    ]),
    growth: Quantiles(&[
        (0.0, 2.0),
        (0.01, 14.0),
        (0.05, 48.0),
        (0.1, 105.0),
        (0.2, 240.0),
        (0.3, 344.0),
        (0.4, 422.0),
        (0.5, 497.0),
        (0.6, 598.0),
        (0.7, 807.0),
        (0.8, 2026.0),
        (0.9, 5047.0),
        (0.95, 7943.0),
        (0.99, 19_190.0),
        (1.0, 91_920.0),
    ]),
    shrinks: 0.104,
    kept: Quantiles(&[
        (0.0, 0.0149),
        (0.01, 0.0565),
        (0.05, 0.147),
        (0.1, 0.362),
        (0.2, 0.829),
        (0.3, 0.909),
        (0.4, 0.939),
        (0.5, 0.960),
        (0.6, 0.973),
        (0.7, 0.983),
        (0.8, 0.990),
        (0.9, 0.996),
        (1.0, 1.0),
    ]),
    pause_s: Quantiles(&[
        (0.0, 3.0),
        (0.01, 12.0),
        (0.05, 30.0),
        (0.1, 42.0),
        (0.2, 60.0),
        (0.3, 75.0),
        (0.4, 96.0),
        (0.5, 123.0),
        (0.6, 162.0),
        (0.7, 222.0),
        (0.8, 318.0),
        (0.9, 480.0),
        (0.95, 615.0),
        (0.99, 1482.0),
        (1.0, 3030.0),
    ]),
    output: Quantiles(&[
        (0.0, 1.0),
        (0.01, 3.0),
        (0.05, 10.0),
        (0.1, 24.0),
        (0.2, 100.0),
        (0.3, 213.0),
        (0.4, 291.0),
        (0.5, 350.0),
        (0.6, 399.0),
        (0.7, 447.0),
        (0.8, 504.0),
        (0.9, 597.0),
        (0.95, 698.0),
        (0.99, 1120.0),
        (1.0, 2000.0),
    ]),
    keys: 600,
};

/// Coding agents: long prompts that grow call by call.
pub(super) struct Agents {
    pub(super) calls: Quantiles,
    pub(super) first_prompt: Quantiles,
    pub(super) growth: Quantiles,
    /// Tokens at the end of the last prompt that a call does not keep.
    pub(super) lost_tokens: u32,
    /// Share of calls that begin anew - the agent packs its history, or sends out a helper - and what such a call is like.
    pub(super) anew: f64,
    pub(super) anew_prompt: Quantiles,
    pub(super) anew_kept: f64,
    /// Longest prompt, at which history is packed.
    pub(super) prompt_max: f64,
    pub(super) pause_s: Quantiles,
    pub(super) output: Quantiles,
}

pub(super) const AGENTS: Agents = Agents {
    calls: Quantiles(&[
        (0.0, 3.0),
        (0.05, 4.0),
        (0.1, 5.0),
        (0.2, 11.0),
        (0.3, 17.0),
        (0.4, 25.0),
        (0.5, 35.0),
        (0.6, 57.0),
        (0.7, 69.0),
        (0.8, 97.0),
        (0.9, 143.0),
        (0.95, 202.0),
        (0.99, 317.0),
        (1.0, 561.0),
    ]),
    first_prompt: Quantiles(&[
        (0.0, 10_970.0),
        (0.05, 13_840.0),
        (0.1, 15_930.0),
        (0.2, 17_890.0),
        (0.3, 19_540.0),
        (0.4, 21_220.0),
        (0.5, 27_290.0),
        (0.6, 65_040.0),
        (0.7, 90_670.0),
        (0.8, 140_900.0),
        (0.9, 293_500.0),
        (0.95, 415_200.0),
        (0.99, 716_100.0),
        (1.0, 790_800.0),
    ]),
    growth: Quantiles(&[
        (0.0, 1.0),
        (0.01, 98.0),
        (0.05, 151.0),
        (0.1, 183.0),
        (0.2, 272.0),
        (0.3, 370.0),
        (0.4, 483.0),
        (0.5, 635.0),
        (0.6, 866.0),
        (0.7, 1249.0),
        (0.8, 1936.0),
        (0.9, 3920.0),
        (0.95, 6669.0),
        (0.99, 13_420.0),
        (1.0, 60_400.0),
    ]),
    lost_tokens: 32,
    anew: 0.019,
    anew_prompt: Quantiles(&[
        (0.0, 9832.0),
        (0.05, 24_400.0),
        (0.1, 29_990.0),
        (0.2, 36_620.0),
        (0.3, 41_030.0),
        (0.4, 45_610.0),
        (0.5, 55_730.0),
        (0.6, 73_190.0),
        (0.7, 90_840.0),
        (0.8, 116_700.0),
        (0.9, 157_400.0),
        (0.95, 258_300.0),
        (0.99, 503_100.0),
        (1.0, 580_300.0),
    ]),
    anew_kept: 0.25,
    prompt_max: 800_000.0,
    pause_s: Quantiles(&[
        (0.0, 0.1),
        (0.01, 5.0),
        (0.05, 7.0),
        (0.1, 8.0),
        (0.2, 10.0),
        (0.3, 12.0),
        (0.4, 14.0),
        (0.5, 17.0),
        (0.6, 21.0),
        (0.7, 29.0),
        (0.8, 50.0),
        (0.9, 130.0),
        (0.95, 311.0),
        (0.99, 2409.0),
        (1.0, 143_100.0),
    ]),
    output: Quantiles(&[
        (0.0, 1.0),
        (0.01, 58.0),
        (0.05, 87.0),
        (0.1, 103.0),
        (0.2, 126.0),
        (0.3, 147.0),
        (0.4, 172.0),
        (0.5, 207.0),
        (0.6, 254.0),
        (0.7, 337.0),
        (0.8, 488.0),
        (0.9, 834.0),
        (0.95, 1544.0),
        (0.99, 3738.0),
        (1.0, 13_740.0),
    ]),
};

/// A day of many clients.
pub(super) struct Day {
    pub(super) wander: Wander,
    /// How busy each hour is, relative to the mean.
    pub(super) hours: [f64; 24],
    /// How many clients, and how fast their shares fall: the k-th has 1 ÷ k to this power.
    pub(super) clients: usize,
    pub(super) falls: f64,
    pub(super) prompt: Quantiles,
    pub(super) output: Quantiles,
}

pub(super) const DAY: Day = Day {
    wander: Wander { sigma: 0.30, relaxation_s: 900.0 },
    hours: [
        0.9, 1.79, 1.57, 2.07, 1.92, 1.93, 0.69, 0.58, 0.52, 0.58, 0.76, 0.99, 0.83, 0.68, 0.79, 0.8, 0.79,
        0.78, 0.92, 0.73, 0.85, 0.8, 0.92, 0.82,
    ],
    clients: 77,
    falls: 1.2,
    prompt: Quantiles(&[
        (0.0, 11.0),
        (0.01, 60.0),
        (0.05, 65.0),
        (0.1, 75.0),
        (0.2, 313.0),
        (0.3, 573.0),
        (0.4, 586.0),
        (0.5, 622.0),
        (0.6, 728.0),
        (0.7, 833.0),
        (0.8, 851.0),
        (0.9, 1438.0),
        (0.95, 1920.0),
        (0.99, 3061.0),
        (1.0, 29_500.0),
    ]),
    output: Quantiles(&[
        (0.0, 1.0),
        (0.05, 1.0),
        (0.1, 2.0),
        (0.2, 4.0),
        (0.3, 11.0),
        (0.4, 15.0),
        (0.5, 31.0),
        (0.6, 43.0),
        (0.7, 58.0),
        (0.8, 90.0),
        (0.9, 406.0),
        (0.95, 468.0),
        (0.99, 625.0),
        (1.0, 8192.0),
    ]),
};
