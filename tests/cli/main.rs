//! The command line: what it prints, and with which exit status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what cannot go on should stop, and what was not tested should be seen"
)]

mod check;
mod ledger;
mod prices;
mod replay;
mod schema;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in `folder`, without any provider's key.
fn tollway(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollway"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.ends_with("_API_KEY")) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments).output().expect("the binary runs")
}

/// Standard output as text, and the exit status.
fn printed(folder: &Path, arguments: &[&str]) -> (String, i32) {
    let output = tollway(folder, arguments);
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code().expect("an exit status"))
}
