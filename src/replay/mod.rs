//! A trace under virtual time: what it would have cost, and how fast it would have been, under the router that serves.
//!
//! `trace` is who asks what and when, `scenario` is the market that answers. The router is the production library: replay
//! brings its own time and chance, and nothing of the router's.

pub mod chance;
pub mod compare;
mod failover;
pub mod html;
pub mod prophet;
pub mod protocol;
pub mod router;
pub mod run;
pub mod scenario;
pub mod tally;
pub mod trace;
pub mod world;
