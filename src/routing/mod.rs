//! Which route serves a request, in which order the others follow, and why. Pure: no socket, clock or random number.
//!
//! `matching` finds the policy, `filter` says who may not serve, `cost`, `weigh` and `plan` weigh the others, `choose` puts them in
//! order, `pursuit` carries the decision out step by step, `explain` says so in words. What is known of a route is an
//! `outlook`, and `learn` makes it from traffic.

pub mod choose;
pub mod cost;
pub mod decision;
pub mod exclusion;
pub mod explain;
pub mod facts;
pub mod filter;
pub mod learn;
pub mod matching;
pub mod outlook;
pub mod plan;
pub mod policy;
pub mod pursuit;
#[cfg(test)]
mod pursuit_seeds;
pub mod route;
pub mod weigh;
pub mod wishes;

pub use choose::decide;
pub use decision::{Candidate, Decision, Degraded, Excluded, Exclusion, Hedge};
pub use explain::Explanation;
pub use facts::{Endpoint, Learned, Model, Needs, Quantile, RequestFacts, Sort, Wants};
pub use matching::{select, shadows};
pub use outlook::{Observe, RouteOutlook};
pub use policy::{
    Cache, CacheScope, Constraints, Fallback, Glob, HedgeAfter, Hedging, Matcher, Midstream, Mode, Objective,
    Policy, Slo,
};
pub use route::{Capabilities, Retention, Route, RouteId, Routes};
