//! Policies as an operator writes them, compiled as the gateway compiles them.

use std::path::Path;

use secrecy::SecretString;
use tollway::config::environment::{Environment, SecretFileError};
use tollway::config::load::Source;
use tollway::config::{Documents, compile};
use tollway::pricing::Book;
use tollway::routing::Policy;

/// Nothing is set.
struct Bare;

impl Environment for Bare {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn secret_file(&self, _: &Path) -> Result<SecretString, SecretFileError> {
        Err(SecretFileError::Empty)
    }
}

/// The policies of one file, or of several with `---` between; a remark on any of them is a fault.
pub(crate) fn policies(text: &str) -> Vec<Policy> {
    let source = |text: &str| Source { name: "policies/example.yaml".into(), text: Ok(text.into()) };
    let documents = Documents { policies: text.split("---\n").map(source).collect(), ..Documents::default() };
    let snapshot =
        compile(&documents, &Bare, Book::shipped()).unwrap_or_else(|problems| panic!("{problems}"));
    let remarks: Vec<_> = snapshot.warnings.iter().filter(|problem| problem.place.is_some()).collect();
    assert!(remarks.is_empty(), "{remarks:?}");
    snapshot.policies
}
