//! What a caller may call a model, and which routes that means.
//!
//! A name is looked up in this order: a checkpoint; an alias (a family, or one of the operator's own); a provider's own
//! id, which means every route of the checkpoint behind it; `provider/…`, which pins that provider's routes. The whole
//! table is made once, so that a request costs one look-up.

use std::collections::HashMap;
use std::sync::Arc;

use crate::routing::RouteId;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A checkpoint.
    Canonical,
    /// A family, or an alias of the operator's.
    Alias,
    /// A provider's own id.
    Upstream,
    /// `provider/…`.
    Pin,
}

/// One name and what it means.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) canonical: Arc<str>,
    pub(super) kind: NameKind,
    pub(super) routes: Vec<RouteId>,
    pub(super) offered_by: Vec<Arc<str>>,
}

/// A name resolved.
#[derive(Debug, Clone, Copy)]
pub struct Resolved<'a> {
    /// The checkpoint or alias that the name stands for; of a pin, the checkpoint or family pinned.
    pub canonical: &'a Arc<str>,
    /// What sort of name it was.
    pub kind: NameKind,
    /// Who may serve it. Empty: the model is known, but none of the providers that offer it is usable.
    pub routes: &'a [RouteId],
    /// Providers that offer it, usable or not, for the message that says so.
    pub offered_by: &'a [Arc<str>],
    /// Whether the caller chose the provider (`provider/model`).
    pub pinned: bool,
}

/// A model as `GET /v1/models` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The name to ask for.
    pub id: Arc<str>,
    /// A checkpoint or an alias.
    pub kind: NameKind,
    /// Longest prompt and answer together that every member takes, in tokens.
    pub context_tokens: Option<u64>,
    /// Checkpoints behind it; for a checkpoint itself only that.
    pub checkpoints: Vec<Arc<str>>,
    /// Usable providers that serve it.
    pub providers: Vec<Arc<str>>,
}

/// Every name a caller may use.
#[derive(Debug, Default)]
pub struct ModelNames {
    entries: HashMap<Arc<str>, Entry>,
    listed: Vec<ListedModel>,
}

impl ModelNames {
    pub(super) fn new(entries: HashMap<Arc<str>, Entry>, listed: Vec<ListedModel>) -> Self {
        Self { entries, listed }
    }

    /// What `name` means; `None`: nobody has heard of it.
    pub fn resolve(&self, name: &str) -> Option<Resolved<'_>> {
        let entry = self.entries.get(name)?;
        Some(Resolved {
            canonical: &entry.canonical,
            kind: entry.kind,
            routes: &entry.routes,
            offered_by: &entry.offered_by,
            pinned: entry.kind == NameKind::Pin,
        })
    }

    /// The `n` names that can be served and are nearest to `name`, nearest first.
    pub fn nearest(&self, name: &str, n: usize) -> Vec<&str> {
        // A caller's name has any length; what is compared has a bound, and no name here is longer.
        let wanted: String =
            name.chars().take(super::naming::MODEL_LENGTH_MAX).collect::<String>().to_lowercase();
        let mut scored: Vec<(u32, &str)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.routes.is_empty())
            .map(|(known, _)| (nearness(&wanted, &known.to_lowercase()), &**known))
            .filter(|(score, _)| *score >= 550)
            .collect();
        scored.sort_unstable_by(|a, b| {
            b.0.cmp(&a.0).then_with(|| a.1.len().cmp(&b.1.len())).then_with(|| a.1.cmp(b.1))
        });
        scored.into_iter().take(n).map(|(_, known)| known).collect()
    }

    /// Checkpoints and aliases that can be served, by name.
    pub fn listed(&self) -> impl Iterator<Item = &ListedModel> {
        self.listed.iter()
    }

    /// How many names there are in all.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Likeness in thousandths, without regard to case.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a likeness is between 0 and 1")]
fn nearness(wanted: &str, known: &str) -> u32 {
    let likeness =
        strsim::jaro_winkler(wanted, known).max(strsim::normalized_damerau_levenshtein(wanted, known));
    (likeness * 1000.0) as u32
}
