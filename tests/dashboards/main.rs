//! The dashboards and rules that ship with the gateway: held to their format, asked of a real Prometheus that watches a
//! real gateway under load, and compared with what the answers said they cost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: what cannot go on should stop, and they run outside the gateway's tasks"
)]
#![allow(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Prometheus speaks floats; the sums here are far below where they lose a nano-dollar"
)]

mod board;
mod budgets;
mod families;
mod lint;
mod live;
mod load;
mod prometheus;
mod rules;

use std::path::{Path, PathBuf};

/// A path under `dashboards/`.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name)
}

/// The text of a file under `dashboards/`.
fn text_of(name: &str) -> String {
    let path = shipped(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
