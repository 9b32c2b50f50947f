//! Who is calling. A key is looked up by the hash of the whole of it; nothing else of it is compared or kept.

use std::sync::Arc;

use http::{HeaderMap, header};
use jiff::Timestamp;

use crate::budget::Limits;
use crate::config::{Auth, Key, Snapshot, key_hash};
use crate::routing::{Endpoint, RequestFacts};

/// The team of a caller without a key, where that is allowed.
const TEAM_OF_NOBODY: &str = "default";

/// A caller, known or nobody.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The key, and its place in the snapshot.
    pub key: Option<(usize, &'a Key)>,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No key was sent.
    NoKey,
    /// A key was sent that is none of ours.
    WrongKey,
}

impl<'a> Caller<'a> {
    /// The caller whose key is named `name`; nobody has the empty name. `None`: there is no such key.
    pub fn named(snapshot: &'a Snapshot, name: &str) -> Option<Self> {
        let key = snapshot.keys.iter().enumerate().find(|(_, key)| *key.name == *name);
        (key.is_some() || name.is_empty()).then_some(Self { key })
    }

    /// What routing is to know of a request of this caller's, before its model is looked up; `tags` are all that count.
    pub fn facts(&self, endpoint: Endpoint, tags: &'a [(&'a str, &'a str)]) -> RequestFacts<'a> {
        RequestFacts {
            endpoint,
            key: self.name(),
            team: self.team(),
            tags,
            models_allowed: self.key.map_or(&[][..], |(_, key)| &key.models),
            ..RequestFacts::default()
        }
    }

    /// The key's name; empty without one.
    pub fn name(&self) -> &'a str {
        self.key.map_or("", |(_, key)| &*key.name)
    }

    /// The team.
    pub fn team(&self) -> &'a str {
        self.key.map_or(TEAM_OF_NOBODY, |(_, key)| &*key.team)
    }

    /// The person or service whose key it is; empty if it is nobody's in particular.
    pub fn user(&self) -> &'a str {
        self.key.and_then(|(_, key)| key.user.as_deref()).unwrap_or_default()
    }

    /// What the key or its team belongs to; empty if that is nothing.
    pub fn organisation(&self, snapshot: &'a Snapshot) -> &'a str {
        let of_team = || snapshot.groups.teams.get(self.team())?.organisation.as_deref();
        self.key.and_then(|(_, key)| key.organisation.as_deref()).or_else(of_team).unwrap_or_default()
    }

    /// What the key's requests count for by the key itself.
    pub fn limits(&self) -> Option<&'a Limits> {
        self.key.map(|(_, key)| &key.limits)
    }

    /// The tags that the key gives each of its requests.
    pub fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.key.into_iter().flat_map(|(_, key)| key.tags.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// Puts the key's tags among those that were asked for, in place of any of the same name: who pays is not for a request
    /// to say.
    pub fn replace_tags(&self, tags: &mut Vec<(&'a str, &'a str)>) {
        for tag in self.tags() {
            tags.retain(|(known, _)| *known != tag.0);
            tags.push(tag);
        }
    }

    /// The team, to keep.
    pub fn team_arc(&self) -> Arc<str> {
        self.key.map_or_else(|| TEAM_OF_NOBODY.into(), |(_, key)| Arc::clone(&key.team))
    }
}

/// Who is calling, by `Authorization: Bearer` or `x-api-key`. Where keys are optional, a text that is no key of ours
/// (clients must send something) is nobody's.
pub fn caller<'a>(
    snapshot: &'a Snapshot,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Caller<'a>, Stranger> {
    let presented = presented(headers);
    let known = presented.and_then(|text| snapshot.key(&key_hash(text)));
    if known.is_some_and(|key| key.expires.is_some_and(|expires| expires <= now)) {
        return Err(Stranger::WrongKey);
    }
    if let Some(key) = known {
        let place = snapshot.keys.iter().position(|other| std::ptr::eq(other, key)).unwrap_or_default();
        return Ok(Caller { key: Some((place, key)) });
    }
    match (snapshot.settings.auth, presented) {
        (Auth::Open, _) => Ok(Caller { key: None }),
        (Auth::Required, None) => Err(Stranger::NoKey),
        (Auth::Required, Some(_)) => Err(Stranger::WrongKey),
    }
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).and_then(|value| {
        let (scheme, text) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(text)
    });
    let text = bearer.or_else(|| headers.get("x-api-key").map(http::HeaderValue::as_bytes))?.trim_ascii();
    (!text.is_empty()).then_some(text)
}
