//! How a bank is kept, and what it does without its Redis.

use std::time::Duration;

use crate::budget::OnStoreLoss;

use super::link::ANSWER_MAX;

/// How a bank is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// `redis://…`, `rediss://…`, `redis+cluster://…` or `redis+sentinel://…`.
    pub url: String,
    /// This replica's name, the same in every life of its ledger.
    pub replica: String,
    /// A replica that has been silent for so long is dead, and its holds are charged by another.
    pub lease: Duration,
    /// How often it says that it lives; well below the lease.
    pub beat: Duration,
    /// How long a new epoch waits for all replicas' word: two beats at least.
    pub opens: Duration,
    /// A request waits so long for a Redis that says nothing, and longer for one that has been slow lately.
    pub patience: Duration,
    /// The longest that a request waits for a Redis that says something.
    pub patience_max: Duration,
    /// Without Redis, for requests that say nothing else; where it is `LocalShare` slices of all budgets are leased, else of those
    /// whose requests ask for it.
    pub on_loss: OnStoreLoss,
    /// A slice is this part of a budget's limit, or a quarter of what is left if that is less.
    pub share: u32,
    /// How long a slice may be spent after it was last renewed; so long also lies idle what a dead replica has leased.
    pub share_lasts: Duration,
}

impl Options {
    /// The usual: a lease of 30 s, a beat a second, 3 s for a new epoch, slices of a twentieth for ten minutes.
    pub fn new(url: &str, replica: &str) -> Self {
        Self {
            url: url.to_owned(),
            replica: replica.to_owned(),
            lease: Duration::from_secs(30),
            beat: Duration::from_secs(1),
            opens: Duration::from_secs(3),
            patience: ANSWER_MAX,
            patience_max: Duration::from_secs(1),
            on_loss: OnStoreLoss::default(),
            share: 20,
            share_lasts: Duration::from_mins(10),
        }
    }
}
