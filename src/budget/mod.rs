//! What may be spent, and how fast: budgets and limits as pure state. No I/O, no clock but one passed in.
//!
//! A request asks once, before its first attempt, for a `Demand`: the most it can cost (`hold`) in every budget that it counts
//! for, one request and its tokens in every rate limit, one place in every bound on concurrency. All or nothing is granted.
//! The hold is settled exactly once with what was charged; whatever was held beyond is free again at that moment.
//! `book` does so for one process; `store` has the same in one Redis script for several.

pub mod book;
pub mod demand;
pub mod limits;
pub mod line;
pub mod rate;
pub mod scope;
pub mod window;

pub use book::{Book, Crossed, Level, Settled};
pub use demand::{Demand, HoldId, OnStoreLoss, Refusal, Standing, Why};
pub use limits::{Allowance, Grant, Limits};
pub use line::{Budget, Concurrency, WhenSpent};
pub use rate::{Rate, Unit};
pub use scope::{Scope, ScopeKind};
pub use window::{Calendar, Period, Window};
