//! Replay: the same seed gives the same figures, no request is lost, and reports say what was run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what cannot go on should stop"
)]

mod comparison;
mod curve;
mod market;
mod page;
mod protocol;

use tollway::replay::scenario::{Scenario, shipped};

fn scenario(name: &str) -> Scenario {
    shipped(name).expect("a scenario that comes along").unwrap_or_else(|problems| panic!("{problems}"))
}
