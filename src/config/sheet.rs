//! Files of other kinds, read the way the configuration is: every fault at once, each with its place and a better word.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

use super::environment::{Environment, SecretFileError};
use super::node::{self, Spot, Value};
use super::problem::Problems;
use super::read::{Decode, File, Reader};

/// A world that gives nothing away: what such a file says must not depend on the machine that reads it.
struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn secret_file(&self, _: &Path) -> Result<SecretString, SecretFileError> {
        Err(SecretFileError::Empty)
    }
}

/// Reads the files in `texts`, each with its name, and makes of their documents what `make` says; a file that holds
/// nothing is a fault, and so is whatever `make` reports.
pub(crate) fn read<T: Decode, M>(
    texts: &[(&str, &str)],
    make: impl FnOnce(Vec<T>, &Reader<'_>) -> Option<M>,
) -> Result<M, Problems> {
    let mut files = Vec::with_capacity(texts.len());
    let mut faults = Vec::new();
    for (at, (name, text)) in texts.iter().enumerate() {
        let file = u16::try_from(at).unwrap_or(u16::MAX);
        let (root, found) = match node::parse(text, file) {
            Ok((root, found)) => (root, found),
            Err(fault) => (None, vec![fault]),
        };
        if root.is_none() && found.is_empty() {
            let spot = Spot { file, ..Spot::default() };
            faults.push(node::Fault { spot, message: "holds nothing".to_owned() });
        }
        faults.extend(found);
        files.push(File { name: Arc::from(*name), text: Arc::from(*text), root });
    }
    let reader = Reader::new(&files, &Nothing);
    for node::Fault { spot, message } in faults {
        reader.error(spot, &message, None);
    }
    let documents: Vec<T> = files.iter().filter_map(|file| T::decode(file.root.as_ref()?, &reader)).collect();
    let whole = if documents.len() == files.len() { make(documents, &reader) } else { None };
    let problems = reader.into_problems();
    match whole {
        Some(whole) if !problems.has_errors() => Ok(whole),
        _ => Err(problems),
    }
}

/// The text of `key` at the top of a file, read before all else.
pub(crate) fn peek(text: &str, key: &str) -> Option<String> {
    let (root, _) = node::parse(text, 0).ok()?;
    let Value::Map(entries) = root?.value else { return None };
    let (_, found) = entries.into_iter().find(|(name, _)| name.text == key)?;
    match found.value {
        Value::Scalar { text, .. } => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}
