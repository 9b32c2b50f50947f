//! A world for configurations: variables and secret files as a test wants them.

use std::path::Path;

use secrecy::SecretString;
use tollway::config::environment::{Environment, SecretFileError};
use tollway::config::load::Source;
use tollway::config::{Documents, Problems, Snapshot, compile};
use tollway::pricing::Book;

/// Variables, by name.
pub(crate) struct World(pub(crate) Vec<(&'static str, &'static str)>);

impl Environment for World {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn secret_file(&self, path: &Path) -> Result<SecretString, SecretFileError> {
        match path.to_str() {
            Some("good-secret") => Ok(SecretString::from("from-the-file-0123456789".to_owned())),
            Some("empty-secret") => Err(SecretFileError::Empty),
            _ => Err(SecretFileError::NotRegular),
        }
    }
}

/// Compiles a configuration and policies, given as texts.
pub(crate) fn compiled(config: &str, policies: &[&str], world: &World) -> Result<Snapshot, Problems> {
    let policies = policies.iter().enumerate().map(|(at, text)| Source {
        name: format!("policies/{}.yaml", at + 1).into(),
        text: Ok((*text).into()),
    });
    let documents = Documents {
        config: Some(Source { name: "tollway.yaml".into(), text: Ok(config.into()) }),
        policies: policies.collect(),
        ..Documents::default()
    };
    compile(&documents, world, Book::shipped())
}

/// The same where everything must be right.
pub(crate) fn good(config: &str, world: &World) -> Snapshot {
    compiled(config, &[], world).unwrap_or_else(|problems| panic!("{problems}"))
}

/// All that is said about it, accepted or not.
pub(crate) fn said(config: &str, policies: &[&str], world: &World) -> Problems {
    match compiled(config, policies, world) {
        Ok(snapshot) => snapshot.warnings,
        Err(problems) => problems,
    }
}
