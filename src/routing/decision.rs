//! A decision: the order of attempts, who was left out and why. One value for the log, `explain` and the admin page.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::units::{PicoUsd, TokenPrice};

use super::route::{Capabilities, RouteId};

/// A route that may serve, with what the choice rested on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which.
    pub route: RouteId,
    /// Expected cost of this request there, fee included; `None`: unpriced and allowed.
    pub cost_expected: Option<PicoUsd>,
    /// Predicted time to first token; `None`: never seen.
    pub ttft_expected: Option<Duration>,
    /// Whether it stands last because its breaker is open or its limit is reached (used only if all else fails).
    pub last_resort: bool,
}

/// Why a route is not among the candidates.
#[derive(Debug, Clone, PartialEq)]
pub enum Exclusion {
    /// The policy's `routes` does not name it.
    NotInPolicy,
    /// The caller's own routing fields rule it out (`provider.only`, `provider.ignore`, …).
    NotWanted,
    /// Only a pin (`provider/model`) may choose it.
    PinOnly,
    /// No price is known and the policy does not allow that.
    Unpriced,
    /// Input or output price over the ceiling.
    PriceOver {
        /// `input` or `output`.
        which: &'static str,
        /// The price in force.
        price: TokenPrice,
        /// The ceiling.
        max: TokenPrice,
    },
    /// Region not allowed, or not known.
    Region(Option<Arc<str>>),
    /// Keeps more than allowed, or nobody knows.
    Retention,
    /// Quantisation not allowed, or not known.
    Quantization(Option<Arc<str>>),
    /// Prompt and answer do not fit.
    ContextTooSmall {
        /// What it takes.
        tokens_max: u64,
        /// What the request needs.
        tokens_needed: u64,
    },
    /// It lacks something the request needs.
    Lacks(Capabilities),
    /// Breaker open.
    BreakerOpen {
        /// For how much longer.
        remaining: Duration,
    },
    /// The provider asked us to wait.
    RateLimited {
        /// For how much longer.
        remaining: Duration,
    },
    /// The operator has to act first: bad key, no credit, unknown model.
    Disabled {
        /// For how much longer it is left alone.
        remaining: Duration,
    },
    /// The key may not use this model.
    Forbidden,
}

/// A route left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Excluded {
    /// Which.
    pub route: RouteId,
    /// Why.
    pub why: Exclusion,
}

/// The outcome: whom to ask, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Attempts in order, best first.
    pub order: SmallVec<[Candidate; 8]>,
    /// Everyone else, and why.
    pub excluded: SmallVec<[Excluded; 8]>,
}
