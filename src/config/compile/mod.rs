//! From what was typed to what it means, in one pure step that reports every problem at once.

mod address;
mod budgets;
mod contract;
mod cors;
mod keys;
mod ledger;
mod local;
mod names;
mod policies;
pub(crate) mod prices;
mod provider_words;
mod providers;
mod settings;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use crate::pricing::book::Book;

use super::document::{PolicyDocument, TollwayDocument};
use super::environment::Environment;
use super::load::{Documents, Source};
use super::node::{self, Node, Spot, Value};
use super::problem::{Problems, Severity};
use super::read::{At, Decode as _, File, Reader};
use super::snapshot::{Catalog, Snapshot};

/// What a file could not be read for, to be reported with everything else.
struct Unread {
    spot: Spot,
    message: String,
}

/// Compiles `documents`. On success the snapshot carries the warnings; otherwise everything that is wrong comes back.
pub fn compile(
    documents: &Documents,
    environment: &dyn Environment,
    book: &Book,
) -> Result<Snapshot, Problems> {
    let mut files = Vec::new();
    let mut unread = Vec::new();
    let has_config = documents.config.is_some();
    for source in documents.config.iter().chain(&documents.policies).chain(&documents.faults) {
        files.push(parsed(source, files.len(), &mut unread));
    }
    let reader = Reader::new(&files, environment);
    for Unread { spot, message } in unread {
        reader.error(spot, &message, None);
    }
    let root = |at: usize| files.get(at).and_then(|file| file.root.as_ref());
    let document = root(0).filter(|_| has_config).and_then(|root| TollwayDocument::decode(root, &reader));
    let document = document.unwrap_or_default();
    let first_policy = usize::from(has_config);
    let policy_files = first_policy..first_policy + documents.policies.len();
    let typed: Vec<At<PolicyDocument>> =
        policy_files.filter_map(root).flat_map(|root| typed_policies(root, &reader)).collect();

    for (at, source) in documents.policies.iter().enumerate() {
        // A file that holds nothing is most likely one on its way to hold something.
        if source.text.as_ref().is_ok_and(|text| is_blank(text)) {
            let spot = Spot { file: u16::try_from(first_policy + at).unwrap_or(u16::MAX), ..Spot::default() };
            reader.error(
                spot,
                "holds no policy",
                Some("write one (`policy: some-name`), or remove the file".to_owned()),
            );
        }
    }
    refuse_other_versions(&reader, &document, &typed);
    let groups = budgets::groups(&reader, &document);
    let keys = keys::compile(&reader, &document, &groups);
    let settings = settings::compile(&reader, &document, documents, !keys.is_empty());
    let synced = synced(&reader, documents);
    let catalog = Catalog { book: book.newest(), synced: synced.newest() };
    let book = book.clone().with_synced(synced).with_holidays(&settings::holidays(&document));
    let made = providers::compile(&reader, &document, &settings, &book);
    let names = names::compile(&reader, &document, &made, &book);
    let (policies, policy_budgets) = policies::compile(&reader, &typed, &made);
    let on_store_loss = store::of_policies(&reader, &typed, &policies, &settings.store, settings.store_terms);
    let problems = reader.into_problems();
    if problems.has_errors() {
        return Err(problems);
    }
    let providers::Made { providers, routes, route_provider, .. } = made;
    Ok(Snapshot {
        generation: 0,
        settings,
        providers,
        routes,
        route_provider,
        names,
        policies,
        policy_budgets,
        on_store_loss,
        keys,
        groups,
        catalog,
        warnings: problems,
    })
}

/// Where the configuration says that lasting things live; what is wrong with it is told when it is compiled.
pub fn state_dir(documents: &Documents, environment: &dyn Environment) -> PathBuf {
    let files: Vec<File> = documents.config.iter().map(|source| parsed(source, 0, &mut Vec::new())).collect();
    let reader = Reader::new(&files, environment);
    let root = files.first().and_then(|file| file.root.as_ref());
    let document = root.and_then(|root| TollwayDocument::decode(root, &reader)).unwrap_or_default();
    settings::state_dir(&document, &documents.folder)
}

/// The prices that `tollway prices sync` fetched. Without them, or where they cannot be read, the shipped book serves.
fn synced(reader: &Reader<'_>, documents: &Documents) -> Book {
    documents.synced_book().unwrap_or_else(|message| {
        let help = "remove it and run `tollway prices sync`; until then the shipped prices hold".to_owned();
        reader.push(Severity::Warning, None, &message, Some(help));
        Book::default()
    })
}

fn parsed(source: &Source, at: usize, unread: &mut Vec<Unread>) -> File {
    let file = u16::try_from(at).unwrap_or(u16::MAX);
    let whole = Spot { file, ..Spot::default() };
    let text = match &source.text {
        Ok(text) => Arc::clone(text),
        Err(message) => {
            unread.push(Unread { spot: whole, message: message.clone() });
            "".into()
        }
    };
    let root = match node::parse(&text, file) {
        Ok((root, faults)) => {
            unread
                .extend(faults.into_iter().map(|fault| Unread { spot: fault.spot, message: fault.message }));
            root
        }
        Err(fault) => {
            unread.push(Unread { spot: fault.spot, message: fault.message });
            None
        }
    };
    File { name: Arc::clone(&source.name), text, root }
}

/// Whether there is nothing but comments.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

/// The policies of one file: one, or a list of them.
fn typed_policies(root: &Node, reader: &Reader<'_>) -> Vec<At<PolicyDocument>> {
    if let Value::List(_) = &root.value {
        return Vec::<At<PolicyDocument>>::decode(root, reader).unwrap_or_default();
    }
    PolicyDocument::decode(root, reader).map(|value| At { value, spot: root.spot }).into_iter().collect()
}

fn refuse_other_versions(reader: &Reader<'_>, document: &TollwayDocument, policies: &[At<PolicyDocument>]) {
    let versions =
        document.version.iter().chain(policies.iter().filter_map(|policy| policy.version.as_ref()));
    for version in versions {
        if version.0 != 1 {
            reader.error(
                version.spot,
                &format!("version {} is not known: this Tollway reads version 1", version.0),
                None,
            );
        }
    }
}

/// Accepted, and not acted on by this version: said aloud, so that nobody relies on it.
fn not_yet(reader: &Reader<'_>, spot: Spot, what: &str, meanwhile: &str) {
    let message = format!("{what} is accepted, but this version does not act on it yet");
    reader.push(Severity::Warning, Some(spot), &message, Some(meanwhile.to_owned()));
}
