//! What a request asks for before it may spend, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use crate::units::NanoUsd;

use super::line::{Budget, Concurrency};
use super::rate::{Rate, Unit};
use super::scope::Scope;

/// Names one hold: 128 bits that nobody can guess; the ledger's records of the request bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub u128);

/// What happens to a request while the store that budgets are shared in does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStoreLoss {
    /// Whoever has a hard budget is refused (503 `store_unavailable`).
    #[default]
    Refuse,
    /// Each replica spends on from a slice that it has leased beforehand, and never more.
    LocalShare,
    /// All are admitted, and told to the store when it is back.
    Allow,
}

/// Everything that a request counts for, and the most it can take of it.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The hold's name.
    pub id: HoldId,
    /// The most that the request can cost, rounded up, hedges and further attempts included.
    pub hold: NanoUsd,
    /// Estimated prompt and answer tokens, for the token rates.
    pub tokens: u64,
    /// Budgets it counts for.
    pub budgets: Vec<Arc<Budget>>,
    /// Rates it counts for.
    pub rates: Vec<Arc<Rate>>,
    /// Bounds on requests at once.
    pub places: Vec<Arc<Concurrency>>,
    /// While the store does not answer. Where nothing is shared it means nothing.
    pub on_loss: OnStoreLoss,
}

impl Demand {
    /// Whether no budget, rate or bound has anything to do with it.
    pub fn counts_for_nothing(&self) -> bool {
        self.budgets.is_empty() && self.rates.is_empty() && self.places.is_empty()
    }
}

/// What is left of the tightest rate of each unit, for `x-ratelimit-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// How many a minute.
    pub limit: u64,
    /// How many may come now.
    pub remaining: u64,
    /// Until all may come again.
    pub reset: Duration,
}

/// What an admitted request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Requests.
    pub requests: Option<Left>,
    /// Tokens.
    pub tokens: Option<Left>,
}

/// Why a request is not admitted. Nothing was taken of anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The first reason.
    pub why: Why,
    /// After which time the same request may pass; `None`: never as it is (it asks for more than the whole limit).
    pub retry_after: Option<Duration>,
    /// As for an admitted one.
    pub standing: Standing,
}

/// The reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A hard budget cannot hold it.
    Budget {
        /// Which.
        budget: Arc<Budget>,
        /// Spent in this window.
        spent: NanoUsd,
        /// Held by requests under way.
        held: NanoUsd,
    },
    /// Too many a minute.
    Rate {
        /// Whose.
        scope: Scope,
        /// Of what.
        unit: Unit,
        /// How many a minute there may be.
        per_minute: u64,
    },
    /// Too many at once.
    Places {
        /// Whose.
        scope: Scope,
        /// How many there may be.
        max: u32,
    },
    /// The store does not answer, and the policy says that nothing is spent unseen.
    StoreLost,
}
