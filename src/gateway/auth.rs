//! Who is calling. A key is looked up by the hash of the whole of it; nothing else of it is compared or kept.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, header, request};
use jiff::Timestamp;

use crate::budget::Limits;
use crate::config::{Auth, Settings};
use crate::keys::{Found, Key, Table};
use crate::routing::{Endpoint, RequestFacts};

use super::listener::ConnInfo;
use super::live::Gateway;

/// The team of a caller without a key, where that is allowed.
static TEAM_OF_NOBODY: LazyLock<Arc<str>> = LazyLock::new(|| "default".into());
static NO_LIMITS: Limits = Limits { budgets: Vec::new(), rates: Vec::new(), places: Vec::new() };

/// A caller, known or nobody.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// The key.
    pub key: Option<&'a Arc<Key>>,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No key was sent.
    NoKey,
    /// A key was sent that is none of ours.
    WrongKey,
    /// The key's time is over.
    Expired,
    /// The key was taken away.
    Revoked,
    /// The store of keys has not been read yet, so that nobody can say.
    Unknown,
    /// Another failure from an address that has had too many.
    TooMany {
        /// How long to wait.
        wait: Duration,
    },
}

impl Stranger {
    /// What to do, for the caller.
    pub fn words(self) -> String {
        match self {
            Self::NoKey => {
                "You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer YOUR_KEY.".to_owned()
            }
            Self::WrongKey => "Incorrect API key provided. Ask whoever runs this gateway for a key.".to_owned(),
            Self::Expired => "This API key has expired. Ask whoever runs this gateway for a new one.".to_owned(),
            Self::Revoked => "This API key was revoked. Ask whoever runs this gateway for a new one.".to_owned(),
            Self::Unknown => {
                "This gateway cannot read its keys at the moment. Try again in a second.".to_owned()
            }
            Self::TooMany { wait } => format!(
                "Too many requests with wrong API keys came from your address. Try again in {} seconds, with the right one.",
                wait.as_secs() + 1
            ),
        }
    }
}

impl<'a> Caller<'a> {
    /// The caller whose key is named `name`; nobody has the empty name. `None`: there is no such key.
    pub fn named(keys: &'a Table, name: &str) -> Option<Self> {
        let key = keys.named(name);
        (key.is_some() || name.is_empty()).then_some(Self { key })
    }

    /// What routing is to know of a request of this caller's, before its model is looked up; `tags` are all that count.
    pub fn facts(&self, endpoint: Endpoint, tags: &'a [(&'a str, &'a str)]) -> RequestFacts<'a> {
        RequestFacts {
            endpoint,
            key: self.name(),
            team: self.team(),
            tags,
            models_allowed: self.key.map_or(&[][..], |key| &key.models),
            ..RequestFacts::default()
        }
    }

    /// The key's name; empty without one.
    pub fn name(&self) -> &'a str {
        self.key.map_or("", |key| &*key.name)
    }

    /// The team.
    pub fn team(&self) -> &'a str {
        self.team_shared()
    }

    /// The person or service whose key it is; empty if it is nobody's in particular.
    pub fn user(&self) -> &'a str {
        self.key.and_then(|key| key.user.as_deref()).unwrap_or_default()
    }

    /// What the team belongs to; empty if that is nothing.
    pub fn organisation(&self) -> &'a str {
        self.key.and_then(|key| key.organisation.as_deref()).unwrap_or_default()
    }

    /// What the key's requests count for by the key itself; nothing without one.
    pub fn limits(&self) -> &'a Limits {
        self.key.map_or(&NO_LIMITS, |key| &key.limits)
    }

    /// The tags that the key gives each of its requests.
    pub fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.key.into_iter().flat_map(|key| key.tags.iter().map(|(name, value)| (&**name, &**value)))
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
        Arc::clone(self.team_shared())
    }

    fn team_shared(&self) -> &'a Arc<str> {
        self.key.map_or(&*TEAM_OF_NOBODY, |key| &key.team)
    }
}

/// Who is calling, by `Authorization: Bearer` or `x-api-key`. Failures count for the address that they come from.
pub fn admit<'t>(
    gateway: &Gateway,
    keys: &'t Table,
    settings: &Settings,
    head: &request::Parts,
    now: Timestamp,
) -> Result<Caller<'t>, Stranger> {
    caller(keys, settings, &head.headers, now).map_err(|stranger| {
        let from = head.extensions.get::<ConnInfo>().map(|from| from.peer.ip());
        counted(gateway, from, stranger)
    })
}

/// Whoever has no key, or has one that was good, guesses at none.
fn counted(gateway: &Gateway, from: Option<IpAddr>, stranger: Stranger) -> Stranger {
    match (stranger, from) {
        (Stranger::WrongKey, Some(from)) => {
            gateway.logins.failed(from).err().map_or(stranger, |wait| Stranger::TooMany { wait })
        }
        _ => stranger,
    }
}

/// Where keys are optional, a text that is no key of ours (clients must send something) is nobody's; one that was taken away
/// is refused there too.
fn caller<'t>(
    keys: &'t Table,
    settings: &Settings,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Caller<'t>, Stranger> {
    let presented = presented(headers);
    match presented.and_then(|text| keys.find(text, now)) {
        Some(Found::Key(key)) => return Ok(Caller { key: Some(key) }),
        Some(Found::Expired) => return Err(Stranger::Expired),
        Some(Found::Revoked) => return Err(Stranger::Revoked),
        None => {}
    }
    match presented {
        _ if is_open(settings, keys) => Ok(Caller { key: None }),
        _ if keys.is_unknown() => Err(Stranger::Unknown),
        None => Err(Stranger::NoKey),
        Some(_) => Err(Stranger::WrongKey),
    }
}

/// Whether callers without a key are let in: where the configuration says so, and where it says nothing as long as nobody
/// has made a key.
pub fn is_open(settings: &Settings, keys: &Table) -> bool {
    settings.auth == Auth::Open && !(settings.auth_by_default && keys.closes())
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).and_then(|value| {
        let (scheme, text) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(text)
    });
    let text = bearer.or_else(|| headers.get("x-api-key").map(http::HeaderValue::as_bytes))?.trim_ascii();
    (!text.is_empty()).then_some(text)
}
