//! Which route serves a request, in which order the others follow, and why. Pure: no socket, clock or random number.
//!
//! `matching` finds the policy, `filter` says who may not serve, `cost` and `latency` predict, `choose` puts the rest
//! in order, `explain` says so in words.

pub mod choose;
pub mod cost;
pub mod decision;
pub mod explain;
pub mod facts;
pub mod filter;
pub mod latency;
pub mod matching;
pub mod policy;
pub mod route;

pub use choose::decide;
pub use decision::{Candidate, Decision, Excluded, Exclusion};
pub use explain::Explanation;
pub use facts::{Endpoint, Needs, Observation, Observe, RequestFacts, Wants};
pub use matching::select;
pub use policy::{Budgeted, Constraints, Fallback, Glob, Matcher, Midstream, Objective, Policy, Slo};
pub use route::{Capabilities, Retention, Route, RouteId, Routes};
