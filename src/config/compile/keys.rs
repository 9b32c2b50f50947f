//! Callers' keys.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use crate::budget::{Limits, ScopeKind};
use crate::config::budgets::Groups;
use crate::config::document::TollwayDocument;
use crate::config::document::keys::KeyDocument;
use crate::config::document::values::TagValue;
use crate::config::naming;
use crate::config::node::Spot;
use crate::config::read::{At, Pairs, Reader};
use crate::config::snapshot::{Key, key_hash};
use crate::routing::Glob;

use super::budgets::say_if_mistyped;

/// The keys, sorted by their hash.
pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument, groups: &Groups) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut names: HashMap<Arc<str>, Spot> = HashMap::new();
    for typed in document.keys.iter().flat_map(|keys| &keys.value) {
        let Some(name) = &typed.name else {
            reader.missing(typed.spot, &["name"], "a key needs a `name`", None);
            continue;
        };
        if let Some(first) = names.insert(Arc::clone(&name.0), name.spot) {
            reader.error(
                name.spot,
                &format!("there are two keys named `{}`; the first in line {}", name.0, first.line),
                None,
            );
        }
        let Some(hash) = hash(reader, typed) else { continue };
        if keys.iter().any(|known| known.hash == hash) {
            reader.error(typed.spot, "another key has the same text: each needs its own", None);
        }
        let grant = super::budgets::grant(
            reader,
            typed.budget.as_ref(),
            typed.rpm.as_ref(),
            typed.tpm.as_ref(),
            typed.concurrency.as_ref(),
        );
        keys.push(Key {
            name: Arc::clone(&name.0),
            team: typed.team.as_ref().map_or_else(|| "default".into(), |team| Arc::clone(&team.0)),
            user: typed.user.as_ref().map(|user| Arc::clone(&user.0)),
            organisation: organisation(reader, typed, groups),
            expires: typed.expires.as_ref().map(|moment| moment.0),
            limits: Limits::of(ScopeKind::Key, &name.0, &grant),
            hash,
            models: typed
                .models
                .iter()
                .flat_map(|models| &models.value)
                .map(|glob| Glob(Arc::clone(&glob.0)))
                .collect(),
            tags: tags(reader, typed.tags.as_ref()),
        });
    }
    keys.sort_unstable_by_key(|key| key.hash);
    keys
}

/// What the key belongs to, by its own word or its team's.
fn organisation(reader: &Reader<'_>, typed: &KeyDocument, groups: &Groups) -> Option<Arc<str>> {
    if let Some(user) = &typed.user {
        say_if_mistyped(reader, user, &groups.users, "user");
    }
    if let Some(team) = &typed.team {
        say_if_mistyped(reader, team, &groups.teams, "team");
    }
    let team = typed.team.as_ref().map_or("default", |team| &*team.0);
    let of_team = groups.teams.get(team).and_then(|team| team.organisation.clone());
    let Some(own) = &typed.organisation else { return of_team };
    say_if_mistyped(reader, own, &groups.organisations, "organisation");
    if let Some(of_team) = of_team.filter(|of_team| *of_team != own.0) {
        let message = format!("the team `{team}` belongs to `{of_team}`, not to `{}`", own.0);
        reader.error(own.spot, &message, Some("remove `organisation` here: the team's counts".to_owned()));
    }
    Some(Arc::clone(&own.0))
}

/// Tags as typed, their names checked.
pub(super) fn tags(reader: &Reader<'_>, typed: Option<&At<Pairs<TagValue>>>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut tags = Vec::new();
    for (name, value) in typed.iter().flat_map(|tags| &tags.value.0) {
        if naming::is_name(&name.value) {
            tags.push((name.value.as_str().into(), Arc::clone(&value.0)));
        } else {
            reader.error(name.spot, "a tag's name has letters, digits and `. _ -`, 64 at most", None);
        }
    }
    tags
}

fn hash(reader: &Reader<'_>, typed: &At<KeyDocument>) -> Option<[u8; 32]> {
    if let Some(stated) = &typed.key_sha256 {
        let hash = unhex(&stated.0);
        if hash.is_none() {
            reader.error(
                stated.spot,
                "`key_sha256` must be 64 hexadecimal digits",
                Some("make it with: printf %s KEY | sha256sum".to_owned()),
            );
        }
        if typed.key.is_some() || typed.key_file.is_some() {
            reader.error(
                stated.spot,
                "the same key is given twice: keep one of `key`, `key_file`, `key_sha256`",
                None,
            );
        }
        return hash;
    }
    match super::settings::secret(reader, typed.key.as_ref(), typed.key_file.as_ref()) {
        Some(Ok(secret)) => {
            const LENGTH_MIN: usize = 8;
            if secret.expose_secret().len() < LENGTH_MIN {
                reader.error(typed.spot, &format!("a key needs at least {LENGTH_MIN} characters"), None);
            }
            Some(key_hash(secret.expose_secret().as_bytes()))
        }
        Some(Err(variable)) => {
            let message = format!("`key` needs the variable {variable}, which is unset or empty");
            reader.error(typed.spot, &message, Some(format!("set {variable}, or remove this key")));
            None
        }
        None => {
            let given = reader.typed(typed.spot);
            if !["key", "key_file", "key_sha256"].iter().any(|key| given.contains(key)) {
                reader.error(typed.spot, "a key needs `key`, `key_file` or `key_sha256`", None);
            }
            None
        }
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
