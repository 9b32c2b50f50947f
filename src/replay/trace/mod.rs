//! Who asks what, and when: a trace in memory, whatever file it came from.
//!
//! `load` opens a file and sees by its content what it is; a format a file (`table`, `sessions`, `lines`). `build` puts
//! requests in order of time, `prefix` is what prompts have in common, `draw` is chance from a seed. `generate` makes
//! traces that are like published ones, and `statistics` says what a trace is like.

mod build;
mod draw;
pub mod generate;
mod lines;
mod load;
mod prefix;
#[cfg(test)]
mod real;
mod sessions;
mod statistics;
mod table;

pub use generate::{Kind, generate};
pub use lines::line;
pub(crate) use load::Lines;
pub use load::{Error, Load, load, read};
pub use prefix::shared_tokens;
pub use statistics::Statistics;
pub(crate) use table::Header;

/// One request. What the router may know of it is all but `output_tokens`, which only the world knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it comes, in microseconds from the trace's start.
    pub at_us: u64,
    /// The prompt's length in tokens.
    pub prompt_tokens: u32,
    /// The length the answer will have, in tokens.
    pub output_tokens: u32,
    /// The caller's own bound on the answer, in tokens; 0: none.
    pub output_tokens_max: u32,
    /// Who asks: an index into `Trace::keys`.
    pub key: u32,
    /// Which tags it carries: an index into `Trace::tags`.
    pub tags: u32,
    /// Which model it asks for: an index into `Trace::models`.
    pub model: u16,
    /// Where its prefix blocks begin in `Trace::links`.
    pub links_from: u32,
    /// How many there are.
    pub links: u16,
}

/// A block of a prompt's prefix. Two prompts that have the same block have everything before it in common, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Which block: dense numbers from 0.
    pub block: u32,
    /// The prompt's length in tokens at the block's end.
    pub tokens_end: u32,
}

/// A trace: requests by time.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Its name, for reports.
    pub name: String,
    /// By `at_us`, which never falls.
    pub arrivals: Vec<Arrival>,
    /// The requests' prefix blocks, each request's in a run.
    pub links: Vec<Link>,
    /// How many different blocks there are.
    pub blocks: u32,
    /// Names of those who ask.
    pub keys: Vec<Box<str>>,
    /// Sets of tags; the first is empty.
    pub tags: Vec<Vec<(Box<str>, Box<str>)>>,
    /// Model names.
    pub models: Vec<Box<str>>,
}

impl Trace {
    /// The prefix blocks of `arrival`, shortest prefix first.
    pub fn links_of(&self, arrival: &Arrival) -> &[Link] {
        let from = arrival.links_from as usize;
        self.links.get(from..from + usize::from(arrival.links)).unwrap_or_default()
    }

    /// The same requests, `rate` times as many a second. Pauses inside a conversation shrink with all else, so that the
    /// order of requests stays.
    #[must_use]
    pub fn scaled(mut self, rate: f64) -> Self {
        debug_assert!(rate > 0.0, "a rate above zero");
        for arrival in &mut self.arrivals {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a trace fit a float's 53 bits")]
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float cast saturates, and times are not negative"
            )]
            let at_us = (arrival.at_us as f64 / rate).round() as u64;
            arrival.at_us = at_us;
        }
        self
    }

    /// The first `count` requests.
    #[must_use]
    pub fn head(mut self, count: usize) -> Self {
        self.arrivals.truncate(count);
        let end = self
            .arrivals
            .iter()
            .map(|arrival| arrival.links_from as usize + usize::from(arrival.links))
            .max();
        self.links.truncate(end.unwrap_or(0));
        self
    }

    /// From the first request to the last, in microseconds.
    pub fn span_us(&self) -> u64 {
        let first = self.arrivals.first().map_or(0, |arrival| arrival.at_us);
        self.arrivals.last().map_or(0, |arrival| arrival.at_us.saturating_sub(first))
    }
}
