//! The scenarios that come with the binary, so that a report can be made wherever it is.

use super::read::read_all;
use super::{Scenario, Shapes};
use crate::config::problem::Problems;
use crate::config::sheet;

macro_rules! scenarios {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../tests/scenarios/", $name, ".yaml")))),+]
    };
}

const TEXTS: &[(&str, &str)] = scenarios![
    "reference",
    "reference-calm",
    "reference-hybrid",
    "reference-hybrid-calm",
    "reference-ascend",
    "market-b",
    "market-b-hybrid",
    "market-c",
    "live",
];

/// The names of the scenarios that come with the binary.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(name, _)| *name)
}

/// The scenario that comes under this name; `None`: there is none.
pub fn shipped(name: &str) -> Option<Result<Scenario, Problems>> {
    let text_of = |wanted: &str| TEXTS.iter().find(|(known, _)| *known == wanted).map(|(_, text)| *text);
    let mut files: Vec<(String, String)> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next.filter(|_| files.len() < TEXTS.len()) {
        let Some(text) = text_of(&name) else { break };
        next = sheet::peek(text, "extends").map(|file| file.trim_end_matches(".yaml").to_owned());
        files.push((format!("{name}.yaml"), text.to_owned()));
    }
    (!files.is_empty()).then(|| read_all(&files, &Shapes::fitted()))
}
