//! The market that answers a trace: what each route costs, how it behaves, and what goes wrong when. Levels are a
//! scenario file's to say; nothing here is known to the router.
//!
//! `document` is what a scenario file holds, `compile` and `incident` what that means, `read` opens the files; `shapes` is how much first
//! tokens of real providers vary, `shipped` holds the files that come with the binary, and `infer` reads a market off an access log.

mod compile;
pub mod document;
mod incident;
mod infer;
mod read;
mod shapes;
mod shipped;

pub use infer::{ANSWERS_MIN, Inferred, from_records};
pub use read::{load, read};
pub use shapes::Shapes;
pub use shipped::{names, shipped};

use crate::routing::Route;

/// A market and its incidents.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// The calendar's moment at which the trace begins: prices depend on the hour.
    pub begins: jiff::Timestamp,
    /// The promise that requests without a policy of their own are held to.
    pub slo: SloClass,
    /// Who sells. A route's behaviour stands beside what the router knows of it.
    pub routes: Vec<MarketRoute>,
    /// Hardware of our own.
    pub local: Option<LocalNode>,
    /// What goes wrong, in any order.
    pub incidents: Vec<Incident>,
}

/// How late a first token may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SloClass {
    /// The part that every request has, in seconds.
    pub ttft_s: f64,
    /// What each thousand prompt tokens adds, in seconds.
    pub ttft_s_per_1k: f64,
}

/// One seller's offer: what the router knows of it, and how it behaves.
#[derive(Debug, Clone)]
pub struct MarketRoute {
    /// As in a snapshot: name, prices, region and all.
    pub route: Route,
    /// First tokens.
    pub first_token: FirstToken,
    /// Tokens after the first.
    pub pace: Pace,
    /// Attempts that fail.
    pub errors: Errors,
    /// What it takes a second.
    pub limits: Limits,
    /// Its prompt cache; `None`: it has none.
    pub cache: Option<Cache>,
    /// Share of the prompt that is billed although the attempt was cancelled, 0..1.
    pub cancelled_prompt_billed: f64,
}

/// Time to first token = rtt + base · noise · drift(t) · slow(t) + uncached ÷ prefill · drift · slow.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstToken {
    /// Way there and back, in seconds.
    pub rtt_s: f64,
    /// Median of the rest for a short prompt, in seconds.
    pub base_s: f64,
    /// Uncached prompt tokens a second.
    pub prefill_tokens_per_s: f64,
    /// What the base is multiplied by: draws of a measured or fitted distribution with median 1, ascending.
    pub noise: std::sync::Arc<[f32]>,
    /// Spread of a further lognormal factor.
    pub noise_sigma: f64,
    /// Share of calls in the tail.
    pub tail_share: f64,
    /// What a call in the tail is multiplied by.
    pub tail_factor: f64,
    /// Spread and relaxation time (seconds) of the slow drift of its level, an Ornstein-Uhlenbeck process in the logarithm.
    pub drift_sigma: f64,
    /// As above.
    pub drift_relaxation_s: f64,
    /// How much slower it is at the busiest hour of the day than on average, as a share.
    pub day_amplitude: f64,
}

/// Tokens after the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Mean tokens a second.
    pub tokens_per_s: f64,
    /// Spread of a lognormal factor, one draw an answer.
    pub noise_sigma: f64,
    /// Share of answers that stall once.
    pub stall_share: f64,
    /// For how long, in seconds.
    pub stall_s: f64,
}

/// Attempts that fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Share of attempts.
    pub share: f64,
    /// Share of those that fail at once with a 5xx; the others stay silent for ever.
    pub quick_share: f64,
    /// How soon a 5xx comes, in seconds.
    pub quick_s: f64,
}

/// Token buckets: what a route takes a second on average, with a burst of some seconds' worth. `None`: no such limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Uncached prompt tokens.
    pub uncached_per_s: Option<f64>,
    /// All prompt tokens.
    pub prompt_per_s: Option<f64>,
    /// Answer tokens.
    pub output_per_s: Option<f64>,
    /// Requests.
    pub requests_per_s: Option<f64>,
    /// How many seconds' worth may come at once.
    pub burst_s: f64,
    /// Whether the limit grows a tenth a minute under use and shrinks when idle.
    pub adaptive: bool,
    /// How soon a 429 comes, in seconds.
    pub refusal_s: f64,
    /// Whether a 429 says `retry-after`.
    pub says_retry_after: bool,
}

/// A route's prompt cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// How long a block lives after its last use, in seconds.
    pub ttl_s: f64,
    /// Chance that a request whose prefix is there is billed for it as cached.
    pub honoured: f64,
    /// Only whole multiples of this many tokens are served from it.
    pub granularity_tokens: u32,
}

/// A node of our own: prompts are worked on in turn, answers side by side.
#[derive(Debug, Clone)]
pub struct LocalNode {
    /// As in a snapshot.
    pub route: Route,
    /// Uncached prompt tokens a second with no answers being written.
    pub prefill_tokens_per_s: f64,
    /// Answer tokens a second of one stream alone.
    pub stream_tokens_per_s: f64,
    /// Answer tokens a second of all streams together.
    pub decode_tokens_per_s: f64,
    /// Streams at once.
    pub active_max: u32,
    /// Tokens that its prefix cache holds, least recently used out first.
    pub cache_tokens: u64,
    /// How long a block lives in it, in seconds.
    pub cache_ttl_s: f64,
    /// What its power costs, in USD an hour.
    pub power_usd_per_hour: f64,
    /// Share of the node that this trace gets; `None`: as much as lets it carry about half of the trace's prompt tokens.
    pub share: Option<f64>,
}

/// Something that goes wrong for a while. Times are shares of the trace, so that one scenario fits all.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The route it befalls, by name.
    pub route: String,
    /// From here,
    pub from: f64,
    /// to here.
    pub to: f64,
    /// What.
    pub kind: IncidentKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IncidentKind {
    /// First tokens take so many times as long.
    Slow(f64),
    /// Nothing works: half of the attempts get a 5xx, the others silence.
    Down,
    /// So much of its limits is left.
    LimitCut(f64),
    /// Its prices are so many times as high, as the price book says, too.
    Price(f64),
    /// Usage reports count so many times the prompt tokens.
    WrongUsage(f64),
    /// Streams write at so much of their pace after a good first token.
    SlowStream(f64),
    /// This share of attempts is answered 200 with an error inside.
    ErrorInside(f64),
    /// The node is restarted: its queue and cache are gone, and it is away until the end.
    Restart,
}

#[cfg(test)]
mod tests;
