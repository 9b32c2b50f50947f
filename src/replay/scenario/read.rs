//! Reads scenario files: one, or one that extends another in its folder.

use std::path::Path;

use super::compile::compile;
use super::document::ScenarioDocument;
use super::{Scenario, Shapes};
use crate::config::load::{FILE_BYTES_MAX, read_regular};
use crate::config::problem::{Problem, Problems, Severity};
use crate::config::sheet;

/// Most files that extend one another.
const FILES_MAX: usize = 4;

/// Reads a scenario from `text`, which messages call `name`, with the fitted shapes. It stands alone: what it would extend
/// is not looked for.
pub fn read(text: &str, name: &str) -> Result<Scenario, Problems> {
    read_all(&[(name.to_owned(), text.to_owned())], &Shapes::fitted())
}

/// Reads the scenario in `path` and those that it extends.
pub fn load(path: &Path, shapes: &Shapes) -> Result<Scenario, Problems> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut files: Vec<(String, String)> = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let name = path.display().to_string();
        if files.len() == FILES_MAX || files.iter().any(|(known, _)| *known == name) {
            return Err(fault(&name, "extends itself, or more files than make sense"));
        }
        let text = read_regular(&path, FILE_BYTES_MAX).map_err(|error| fault(&name, &error.to_string()))?;
        next = sheet::peek(&text, "extends").map(|file| folder.join(file));
        files.push((name, text));
    }
    read_all(&files, shapes)
}

pub(super) fn read_all(files: &[(String, String)], shapes: &Shapes) -> Result<Scenario, Problems> {
    let texts: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let name = texts.first().map_or("", |(name, _)| *name);
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    sheet::read(&texts, |documents: Vec<ScenarioDocument>, reader| {
        let alone = documents.len() == 1;
        if let Some(extends) =
            documents.iter().find_map(|document| document.extends.as_ref()).filter(|_| alone)
        {
            reader.error(extends.spot, "`extends` needs a file in a folder: this text stands alone", None);
        }
        let whole = documents.into_iter().reduce(|own, base| ScenarioDocument {
            extends: None,
            about: own.about.or(base.about),
            begins: own.begins.or(base.begins),
            slo: own.slo.or(base.slo),
            checkpoint: own.checkpoint.or(base.checkpoint),
            defaults: own.defaults.or(base.defaults),
            routes: own.routes.or(base.routes),
            local: own.local.or(base.local),
            incidents: own.incidents.or(base.incidents),
        });
        Some(compile(reader, stem, &whole?, shapes))
    })
}

fn fault(file: &str, what: &str) -> Problems {
    let mut problems = Problems::default();
    problems.push(Problem {
        severity: Severity::Error,
        place: None,
        key_path: String::new(),
        message: format!("{file}: {what}"),
        suggestion: None,
    });
    problems
}
