//! A request's decision, as whoever writes the request's line sees it: told how it ended, and put into the line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::units::NanoUsd;

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// `ok`, or a failure's name.
    pub outcome: &'static str,
    /// Who served it, or was asked last.
    pub route: Option<&'a str>,
    /// Attempts made.
    pub attempts: u32,
    /// From arrival to the first token.
    pub ttft: Option<Duration>,
    /// From arrival to the end.
    pub total: Duration,
    /// What it cost.
    pub cost: Option<NanoUsd>,
}

/// Where decisions are kept.
pub trait Keeper: Send + Sync {
    /// The request of this ticket ended so; appends its decision in one line, as the inside of a JSON string, if it is
    /// still kept.
    fn ended(&self, ticket: u64, end: &End<'_>, line: &mut Vec<u8>);
}

/// A decision that is kept.
#[derive(Clone)]
pub struct Kept {
    keeper: Arc<dyn Keeper>,
    ticket: u64,
}

impl Kept {
    /// By `keeper`, under this ticket.
    pub fn new(keeper: Arc<dyn Keeper>, ticket: u64) -> Self {
        Self { keeper, ticket }
    }

    /// Tells how the request ended, and appends `,"decision":"…"` to its line.
    pub fn ended(&self, end: &End<'_>, line: &mut Vec<u8>) {
        line.extend_from_slice(b",\"decision\":\"");
        self.keeper.ended(self.ticket, end, line);
        line.push(b'"');
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.ticket)
    }
}
