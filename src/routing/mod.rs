//! Which route serves a request, in which order the others follow, and why. Pure: no socket, clock or random number.

pub mod decision;
pub mod facts;
pub mod policy;
pub mod route;

pub use decision::{Candidate, Decision, Excluded, Exclusion};
pub use facts::{Endpoint, Needs, Observation, Observe, RequestFacts};
pub use policy::{Budgeted, Constraints, Fallback, Glob, Matcher, Midstream, Objective, Policy, Slo};
pub use route::{Capabilities, Retention, Route, RouteId, Routes};
