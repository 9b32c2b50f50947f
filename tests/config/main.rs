//! The configuration from its text to its snapshot: faults and their wording, hostile files, names, files as people change them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "tests: what cannot go on should stop"
)]

mod faults;
mod hostile;
mod names;
mod prices;
mod settings;
mod watch;
mod world;
