//! Who does what `tollway keys` asks for: the store that the configuration names, or a running gateway.

use std::path::Path;

use http::Uri;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cli::http_get::{self, query_escaped};
use crate::config::{Location, Snapshot, Store, watch};
use crate::keys::{Ask, KeyText, Made, Overlap, Record, Shown, Usage};
use crate::store::keys::secret_file;
use crate::store::{self, KeyStore};

use super::{Error, Place, token_of, token_path};

/// Where keys are changed.
pub(super) enum Desk {
    /// In the store itself.
    Here { store: KeyStore, snapshot: Box<Snapshot> },
    /// On a running gateway.
    There { url: String, token: Option<SecretString> },
}

/// All keys, as `GET /admin/v1/keys` has them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct List {
    /// By name.
    pub(super) keys: Vec<Shown>,
}

impl Desk {
    pub(super) fn open(place: &Place) -> Result<Self, Error> {
        if let Some(url) = &place.url {
            let token = match &place.token {
                Some(token) => Some(SecretString::from(token.as_str())),
                None => token_for(url, place)?,
            };
            return Ok(Self::There { url: url.clone(), token });
        }
        let snapshot = snapshot(place)?;
        let settings = &snapshot.settings;
        let store = match &settings.store {
            Store::Embedded => KeyStore::in_folder(&settings.state_dir)?,
            Store::Redis(url) => KeyStore::in_redis(url.expose_secret(), &settings.state_dir)?,
        };
        Ok(Self::Here { store, snapshot: Box::new(snapshot) })
    }

    pub(super) async fn create(&self, ask: Ask, now: Timestamp) -> Result<Made, Error> {
        match self {
            Self::Here { store, snapshot } => {
                let is_taken = |name: &str| snapshot.keys.iter().any(|key| *key.name == *name);
                Ok(made(&store.create(ask, is_taken, now).await?, now))
            }
            Self::There { .. } => self.ask("POST", "", Some(&ask)),
        }
    }

    pub(super) async fn list(&self, now: Timestamp) -> Result<List, Error> {
        match self {
            Self::Here { store, .. } => {
                let stored = store.read().await?;
                Ok(List { keys: stored.records.iter().map(|record| record.shown(now)).collect() })
            }
            Self::There { .. } => self.ask("GET", "", None::<&()>),
        }
    }

    pub(super) async fn revoke(&self, name: &str, now: Timestamp) -> Result<Shown, Error> {
        match self {
            Self::Here { store, .. } => Ok(store.revoke(name, now).await?.shown(now)),
            Self::There { .. } => self.ask("DELETE", &format!("/{}", query_escaped(name)), None::<&()>),
        }
    }

    pub(super) async fn rotate(&self, name: &str, overlap: Overlap, now: Timestamp) -> Result<Made, Error> {
        match self {
            Self::Here { store, .. } => {
                let span = overlap.span().map_err(Error::Asked)?;
                Ok(made(&store.rotate(name, span, now).await?, now))
            }
            Self::There { .. } => {
                self.ask("POST", &format!("/{}/rotate", query_escaped(name)), Some(&overlap))
            }
        }
    }

    pub(super) async fn usage(&self, name: &str, now: Timestamp) -> Result<Usage, Error> {
        match self {
            Self::Here { store, snapshot } => {
                let stored = store.read().await?;
                if !stored.records.iter().any(|record| *record.name == *name) {
                    return Err(Error::Refused(crate::store::keys::Refusal::Missing(name.to_owned())));
                }
                used(&snapshot.settings.ledger.path, name, now)
            }
            Self::There { .. } => self.ask("GET", &format!("/{}/usage", query_escaped(name)), None::<&()>),
        }
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let Self::There { url, token } = self else { return Err(Error::NoLedger) };
        // Strings, numbers and lists of them always serialise.
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
        let token = token.as_ref().map(SecretString::expose_secret);
        let path = format!("/admin/v1/keys{path}");
        let answer = http_get::ask(method, url, &path, token, body.as_deref())?;
        if !(200..300).contains(&answer.status) {
            let message = http_get::message_in(&answer.body);
            return Err(Error::Answered { status: answer.status, message });
        }
        serde_json::from_slice(&answer.body).map_err(Error::Shape)
    }
}

/// What a key has used, from the ledger on this machine. Other replicas have theirs.
fn used(ledger: &Path, name: &str, now: Timestamp) -> Result<Usage, Error> {
    if !ledger.exists() {
        return Err(Error::NoLedger);
    }
    store::keys::usage(ledger, name, now).map_err(Error::Ledger)
}

fn made((record, text): &(Record, KeyText), now: Timestamp) -> Made {
    Made { key: text.expose().to_owned(), shown: record.shown(now) }
}

fn snapshot(place: &Place) -> Result<Snapshot, Error> {
    watch::read(&Location::new(place.config.clone(), None)).1.map_err(Error::Configuration)
}

/// The token of the gateway on this machine: what the configuration names, or what the gateway made for itself. It goes to
/// no other machine.
fn token_for(url: &str, place: &Place) -> Result<Option<SecretString>, Error> {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !is_here {
        return Ok(None);
    }
    let settings = snapshot(place)?.settings;
    if let Some(token) = settings.admin.token {
        return Ok(Some(token));
    }
    secret_file::read(&token_path(&settings.state_dir))
        .map(|bits| Some(token_of(&bits)))
        .map_err(Error::Token)
}
