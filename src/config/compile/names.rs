//! What a caller may call a model. Looked up in this order, so that a name means the same whatever else is set up:
//!
//! 1. a checkpoint (`deepseek-v4-flash-0731`);
//! 2. a family (`deepseek-v4-flash`), which is an alias of its checkpoints, or an alias of the operator's;
//! 3. a usable provider's own id, which stands for its checkpoint wherever that is served;
//! 4. `provider/id`, `provider/checkpoint` or `provider/family`, which pins the provider.
//!
//! A provider that serves another checkpoint under an old name (DeepSeek's `deepseek-v4-flash` is V4.1-Flash) is a member of
//! the family of what it serves, never of the name's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::document::TollwayDocument;
use crate::config::models::{Entry, ListedModel, ModelNames, NameKind};
use crate::config::node::Spot;
use crate::config::problem::nearest;
use crate::config::read::Reader;
use crate::pricing::book::Book;
use crate::routing::{Route, RouteId};

use super::providers::Made;

/// Longest chain of aliases that stand for aliases.
const ALIAS_DEPTH_MAX: usize = 8;

pub(super) fn compile(
    reader: &Reader<'_>,
    document: &TollwayDocument,
    made: &Made,
    book: &Book,
) -> ModelNames {
    let mut names = Names { made, book, entries: HashMap::new(), members: BTreeMap::new() };
    let checkpoints = names.checkpoints();
    let families = names.families();
    let aliases = operator_aliases(reader, document, &checkpoints, &families);
    for checkpoint in &checkpoints {
        names.canonical(checkpoint);
    }
    for (family, members) in &families {
        let members = aliases.get(family).map_or(members, |(members, _)| members);
        names.alias(family, members);
    }
    for (name, (members, _)) in &aliases {
        names.alias(name, members);
    }
    names.upstream_ids();
    names.pins(reader, document.providers.as_ref().map(|providers| providers.spot));
    names.finish()
}

type Members = BTreeSet<Arc<str>>;

struct Names<'a> {
    made: &'a Made,
    book: &'a Book,
    entries: HashMap<Arc<str>, Entry>,
    /// Of each alias, for the list.
    members: BTreeMap<Arc<str>, Members>,
}

impl Names<'_> {
    fn checkpoints(&self) -> Members {
        let of_book = self.book.rows.iter().map(|row| Arc::clone(&row.checkpoint));
        of_book.chain(self.made.routes.iter().map(|route| Arc::clone(&route.checkpoint))).collect()
    }

    fn families(&self) -> BTreeMap<Arc<str>, Members> {
        let mut families: BTreeMap<Arc<str>, Members> = BTreeMap::new();
        for row in &self.book.rows {
            families.entry(Arc::clone(&row.family)).or_default().insert(Arc::clone(&row.checkpoint));
        }
        for (route, family) in self.made.routes.iter().zip(&self.made.families) {
            families.entry(Arc::clone(family)).or_default().insert(Arc::clone(&route.checkpoint));
        }
        families
    }

    /// Routes that serve one of `checkpoints` and need no pin.
    fn serving(&self, checkpoints: &Members) -> Vec<RouteId> {
        self.routes_where(|route| checkpoints.contains(&route.checkpoint) && !route.pin_only)
    }

    fn routes_where(&self, wanted: impl Fn(&Route) -> bool) -> Vec<RouteId> {
        let all = self.made.routes.iter().enumerate().filter(|(_, route)| wanted(route));
        all.filter_map(|(at, _)| u16::try_from(at).ok()).map(RouteId).collect()
    }

    /// Kinds that the book says offer one of these, set up or not.
    fn offered_by(&self, checkpoints: &Members) -> Vec<Arc<str>> {
        let rows = self.book.rows.iter().filter(|row| checkpoints.contains(&row.checkpoint));
        rows.map(|row| Arc::clone(&row.provider)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn entry(&self, canonical: &Arc<str>, kind: NameKind, checkpoints: &Members) -> Entry {
        Entry {
            canonical: Arc::clone(canonical),
            kind,
            routes: self.serving(checkpoints),
            offered_by: self.offered_by(checkpoints),
        }
    }

    fn canonical(&mut self, checkpoint: &Arc<str>) {
        let only = Members::from([Arc::clone(checkpoint)]);
        let entry = self.entry(checkpoint, NameKind::Canonical, &only);
        self.entries.insert(Arc::clone(checkpoint), entry);
    }

    /// A family of one checkpoint of the same name is that checkpoint.
    fn alias(&mut self, name: &Arc<str>, members: &Members) {
        if members.len() == 1 && members.contains(name) {
            return;
        }
        let entry = self.entry(name, NameKind::Alias, members);
        self.entries.insert(Arc::clone(name), entry);
        self.members.insert(Arc::clone(name), members.clone());
    }

    fn upstream_ids(&mut self) {
        for (at, route) in self.made.routes.iter().enumerate() {
            if self.entries.contains_key(&route.upstream_model) {
                continue;
            }
            let entry = if route.pin_only {
                // Its own full name is the one way to such a route.
                let id = u16::try_from(at).map(RouteId).into_iter().collect();
                Entry {
                    canonical: Arc::clone(&route.checkpoint),
                    kind: NameKind::Pin,
                    routes: id,
                    offered_by: vec![Arc::clone(&route.provider)],
                }
            } else {
                self.entry(
                    &route.checkpoint,
                    NameKind::Upstream,
                    &Members::from([Arc::clone(&route.checkpoint)]),
                )
            };
            self.entries.insert(Arc::clone(&route.upstream_model), entry);
        }
    }

    fn pins(&mut self, reader: &Reader<'_>, spot: Option<Spot>) {
        let mut pins: BTreeMap<String, (Arc<str>, Vec<RouteId>)> = BTreeMap::new();
        for (at, route) in self.made.routes.iter().enumerate() {
            let Ok(id) = u16::try_from(at).map(RouteId) else { continue };
            let mut pin = |tail: &str, canonical: &Arc<str>| {
                let (_, routes) = pins
                    .entry(format!("{}/{tail}", route.provider))
                    .or_insert_with(|| (Arc::clone(canonical), Vec::new()));
                if !routes.contains(&id) {
                    routes.push(id);
                }
            };
            pin(&route.upstream_model, &route.checkpoint);
            if !route.pin_only {
                pin(&route.checkpoint, &route.checkpoint);
                // A family pins what this provider has of it, unless a provider's own id says something by that name.
                let family = self.made.families.get(at).filter(|family| {
                    let own =
                        self.made.routes.iter().find(|other| {
                            other.provider == route.provider && other.upstream_model == **family
                        });
                    own.is_none_or(|own| own.upstream_model == route.upstream_model)
                });
                if let Some(family) = family {
                    pin(family, family);
                }
            }
        }
        let mut shadowed: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for (name, (canonical, routes)) in pins {
            let provider: Arc<str> = name.split('/').next().unwrap_or_default().into();
            match self.entries.get(&*name) {
                Some(taken) if taken.routes == routes => {}
                Some(_) => shadowed.entry(provider).or_default().push(format!("`{name}`")),
                None => {
                    let offered_by = vec![provider];
                    self.entries
                        .insert(name.into(), Entry { canonical, kind: NameKind::Pin, routes, offered_by });
                }
            }
        }
        for (provider, names) in shadowed {
            let message = format!(
                "another provider's own ids look like pins of `{provider}` and win: {} mean every route of that model",
                names.join(", ")
            );
            let help = format!(
                "to pin `{provider}`, send `\"provider\": {{\"only\": [\"{provider}\"]}}` with the request"
            );
            reader.push(crate::config::Severity::Warning, spot, &message, Some(help));
        }
    }

    fn finish(self) -> ModelNames {
        let mut listed: Vec<ListedModel> = Vec::new();
        for (name, entry) in &self.entries {
            let named = matches!(entry.kind, NameKind::Canonical | NameKind::Alias);
            if !named || entry.routes.is_empty() {
                continue;
            }
            let routes = || entry.routes.iter().filter_map(|id| self.made.routes.get(usize::from(id.0)));
            let checkpoints = match self.members.get(name) {
                Some(members) => members.iter().cloned().collect(),
                None => vec![Arc::clone(name)],
            };
            listed.push(ListedModel {
                id: Arc::clone(name),
                kind: entry.kind,
                context_tokens: routes().map(|route| route.context_tokens).min().flatten(),
                checkpoints,
                providers: routes()
                    .map(|route| Arc::clone(&route.provider))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            });
        }
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        ModelNames::new(self.entries, listed)
    }
}

/// The operator's aliases, each with the checkpoints that it stands for in the end.
fn operator_aliases(
    reader: &Reader<'_>,
    document: &TollwayDocument,
    checkpoints: &Members,
    families: &BTreeMap<Arc<str>, Members>,
) -> BTreeMap<Arc<str>, (Members, Spot)> {
    let typed: Vec<_> = document.aliases.iter().flat_map(|aliases| &aliases.value.0).collect();
    let mut aliases: BTreeMap<Arc<str>, (Members, Spot)> = BTreeMap::new();
    for (name, _) in &typed {
        let is_checkpoint =
            checkpoints.contains(name.value.as_str()) && !families.contains_key(name.value.as_str());
        if is_checkpoint || !crate::config::naming::is_model_name(&name.value) {
            let message =
                format!("`{}` cannot be an alias", crate::config::excerpt::shortened(&name.value, 60));
            reader.error(
                name.spot,
                &message,
                Some("a checkpoint's own name always means that checkpoint; choose another".to_owned()),
            );
        }
    }
    // Aliases may stand for aliases; a few rounds settle them all, and what is not settled then goes in a circle.
    for _ in 0..ALIAS_DEPTH_MAX {
        for (name, members) in &typed {
            let mut all = Members::new();
            let own: Arc<str> = name.value.as_str().into();
            for member in &members.value {
                let member = &member.value.0;
                if checkpoints.contains(member) {
                    all.insert(Arc::clone(member));
                } else if let Some((known, _)) = aliases.get(member).filter(|_| *member != own) {
                    all.extend(known.iter().cloned());
                } else if let Some(of_family) = families.get(member) {
                    all.extend(of_family.iter().cloned());
                }
            }
            aliases.insert(own, (all, name.spot));
        }
    }
    for (name, members) in &typed {
        let is_empty = aliases.get(name.value.as_str()).is_some_and(|(all, _)| all.is_empty());
        if is_empty && members.value.iter().all(|member| aliases.contains_key(&member.value.0)) {
            let message = format!(
                "`{}` stands for nothing in the end",
                crate::config::excerpt::shortened(&name.value, 60)
            );
            reader.error(
                name.spot,
                &message,
                Some("list at least one checkpoint or family; aliases must not go in a circle".to_owned()),
            );
        }
        for member in &members.value {
            let text = &*member.value.0;
            let known =
                checkpoints.contains(text) || families.contains_key(text) || aliases.contains_key(text);
            if !known {
                let all = checkpoints.iter().chain(families.keys()).map(|name| &**name);
                let help = nearest(text, all).map(|word| format!("did you mean `{word}`?"));
                reader.error(member.spot, &format!("`{text}` is no checkpoint, family or alias"), help);
            }
        }
    }
    aliases
}
