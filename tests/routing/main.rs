//! Decisions: facts, a small table of routes and a policy in YAML in, the explained decision out, compared exactly.
//! `UPDATE=1 cargo test --test routing` writes what is seen into the files, for a person to read in the diff.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "tests: what cannot go on should stop"
)]

mod case;
mod plans;
mod properties;
mod seconds;
mod seen;
mod slow_start;
mod wishes;
mod written;

use std::fs;
use std::path::Path;

use case::Case;

const EXPECT: &str = "\nexpect: |\n";

#[test]
fn every_case_is_decided_as_written() {
    decided_as_written("tests/routing", 30);
}

/// These are what docs/policies.md teaches by.
#[test]
fn every_example_of_the_page_on_policies_is_decided_as_written() {
    decided_as_written("tests/routing/examples", 11);
}

fn decided_as_written(folder: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= least, "only {} cases found", files.len());
    let wrong: Vec<String> = files.iter().filter_map(|file| check(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Decides the case in `file`; `Some` says how the outcome differs from what the file expects.
fn check(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let (input, expected) = text.split_once(EXPECT).unwrap_or((text.trim_end(), ""));
    let case: Case =
        serde_saphyr::from_str(input).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let seen: String = case
        .decide()
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") })
        .collect();
    if seen == expected {
        return None;
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, format!("{input}{EXPECT}{seen}")).unwrap();
    }
    Some(format!("{}\n--- expected\n{expected}--- seen\n{seen}", file.display()))
}
