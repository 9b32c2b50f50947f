//! `/admin/v1/keys`: virtual keys, listed, made, looked at, rotated and revoked on a running gateway.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::face::Surface;
use crate::config::Limits;
use crate::gateway::framing::RequestBody;
use crate::gateway::intake;
use crate::gateway::target::percent_decoded;
use crate::keys::{Ask, KeyText, Made, Overlap, Record, Shown, Usage};
use crate::relay::RelayBody;
use crate::store::keys::Refusal;

use super::{Admin, error, json, wrong_method};

/// Where all of this is.
pub(super) const PATH: &str = "/admin/v1/keys";
/// Longest body, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// All keys.
#[derive(Serialize, JsonSchema)]
pub(super) struct Page {
    /// By name.
    keys: Vec<Shown>,
}

/// What a path below [`PATH`] means.
enum Place {
    All,
    One(String),
    Rotate(String),
    Usage(String),
}

impl Admin {
    pub(super) async fn keys(&self, request: Request<RequestBody>) -> Response<RelayBody> {
        let (head, body) = request.into_parts();
        let get = head.method == Method::GET || head.method == Method::HEAD;
        let Some(place) = place(head.uri.path().strip_prefix(PATH).unwrap_or_default()) else {
            return error(
                StatusCode::NOT_FOUND,
                "unknown_url",
                "There is no such page; see docs/keys.md for those there are.",
            );
        };
        match (place, &head.method) {
            (Place::All, _) if get => self.list_keys(),
            (Place::All, &Method::POST) => match self.body::<Ask>(&head, body, true).await {
                Ok(ask) => self.create_key(ask).await,
                Err(refused) => refused,
            },
            (Place::All, _) => wrong_method("GET, HEAD, POST"),
            (Place::One(name), _) if get => self.show_key(&name),
            (Place::One(name), &Method::DELETE) => self.revoke_key(&name).await,
            (Place::One(_), _) => wrong_method("GET, HEAD, DELETE"),
            (Place::Rotate(name), &Method::POST) => match self.body::<Overlap>(&head, body, false).await {
                Ok(overlap) => self.rotate_key(&name, overlap).await,
                Err(refused) => refused,
            },
            (Place::Rotate(_), _) => wrong_method("POST"),
            (Place::Usage(name), _) if get => self.key_usage(name).await,
            (Place::Usage(_), _) => wrong_method("GET, HEAD"),
        }
    }

    fn list_keys(&self) -> Response<RelayBody> {
        let Some(stored) = self.gateway.keys.stored() else { return self.nothing_known() };
        let now = self.gateway.books.clock.now().wall;
        let page = Page { keys: stored.records.iter().map(|record| record.shown(now)).collect() };
        told(StatusCode::OK, &page)
    }

    fn show_key(&self, name: &str) -> Response<RelayBody> {
        let Some(stored) = self.gateway.keys.stored() else { return self.nothing_known() };
        let now = self.gateway.books.clock.now().wall;
        let found = stored.records.iter().find(|record| *record.name == *name);
        found.map_or_else(|| missing(name), |record| told(StatusCode::OK, &record.shown(now)))
    }

    async fn create_key(&self, ask: Ask) -> Response<RelayBody> {
        let now = self.gateway.books.clock.now().wall;
        match self.gateway.keys.create(ask, now).await {
            Some(Ok(made)) => self.made(StatusCode::CREATED, &made),
            Some(Err(refusal)) => refused(&refusal),
            None => self.nothing_known(),
        }
    }

    async fn revoke_key(&self, name: &str) -> Response<RelayBody> {
        let now = self.gateway.books.clock.now().wall;
        match self.gateway.keys.revoke(name, now).await {
            Some(Ok(record)) => {
                tracing::info!(key = &*record.name, "a key was revoked");
                told(StatusCode::OK, &record.shown(now))
            }
            Some(Err(refusal)) => refused(&refusal),
            None => self.nothing_known(),
        }
    }

    async fn rotate_key(&self, name: &str, overlap: Overlap) -> Response<RelayBody> {
        let now = self.gateway.books.clock.now().wall;
        let overlap = match overlap.span() {
            Ok(overlap) => overlap,
            Err(fault) => return error(StatusCode::BAD_REQUEST, "invalid_value", &fault.to_string()),
        };
        match self.gateway.keys.rotate(name, overlap, now).await {
            Some(Ok(made)) => self.made(StatusCode::OK, &made),
            Some(Err(refusal)) => refused(&refusal),
            None => self.nothing_known(),
        }
    }

    async fn key_usage(&self, name: String) -> Response<RelayBody> {
        let Some(stored) = self.gateway.keys.stored() else { return self.nothing_known() };
        if !stored.records.iter().any(|record| *record.name == *name) {
            return missing(&name);
        }
        let Some(usage) = self.usage.clone() else {
            return error(
                StatusCode::NOT_IMPLEMENTED,
                "no_ledger",
                "This gateway keeps no ledger, so that nobody can say what a key has used.",
            );
        };
        let read: Result<Result<Usage, String>, _> = tokio::task::spawn_blocking(move || usage(&name)).await;
        match read {
            Ok(Ok(usage)) => told(StatusCode::OK, &usage),
            Ok(Err(problem)) => unavailable(&format!("The ledger cannot be read: {problem}.")),
            Err(_) => unavailable("The ledger cannot be read."),
        }
    }

    fn made(&self, status: StatusCode, (record, text): &(Record, KeyText)) -> Response<RelayBody> {
        let now = self.gateway.books.clock.now().wall;
        tracing::info!(key = &*record.name, prefix = &*record.prefix, "a key was made or rotated");
        let mut response = told(status, &Made { key: text.expose().to_owned(), shown: record.shown(now) });
        response
            .headers_mut()
            .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        response
    }

    fn nothing_known(&self) -> Response<RelayBody> {
        if self.gateway.keys.has_store() {
            return unavailable("The store of keys cannot be read at the moment. Try again in a second.");
        }
        unavailable("This gateway has no place for keys: let it write to state_dir, and start it again.")
    }

    /// A body of JSON; one that is not needed may be blank.
    async fn body<T: DeserializeOwned + Default>(
        &self,
        head: &http::request::Parts,
        body: RequestBody,
        is_needed: bool,
    ) -> Result<T, Response<RelayBody>> {
        let limits = self.gateway.live().snapshot.settings.limits;
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX, compressed_bodies: false, ..limits };
        let bytes: Bytes = intake::body(&head.headers, body, limits).await.map_err(|failure| {
            let told = failure.told("", Surface::Plain);
            error(told.status, told.code, &failure.to_string())
        })?;
        if bytes.is_empty() && !is_needed {
            return Ok(T::default());
        }
        serde_json::from_slice(&bytes)
            .map_err(|fault| error(StatusCode::BAD_REQUEST, "invalid_value", &format!("The body: {fault}.")))
    }
}

fn place(rest: &str) -> Option<Place> {
    let mut parts = rest.trim_start_matches('/').split('/');
    let name = percent_decoded(parts.next()?)?;
    match (name.is_empty(), parts.next(), parts.next()) {
        (true, None, None) => Some(Place::All),
        (false, None, None) => Some(Place::One(name)),
        (false, Some("rotate"), None) => Some(Place::Rotate(name)),
        (false, Some("usage"), None) => Some(Place::Usage(name)),
        _ => None,
    }
}

fn told<T: Serialize>(status: StatusCode, value: &T) -> Response<RelayBody> {
    // Strings, numbers and lists of them always serialise.
    json(status, serde_json::to_vec(value).map(Bytes::from).unwrap_or_default())
}

fn missing(name: &str) -> Response<RelayBody> {
    refused(&Refusal::Missing(name.chars().take(64).collect()))
}

fn refused(refusal: &Refusal) -> Response<RelayBody> {
    let message = format!("{refusal}.");
    match refusal {
        Refusal::Ask(_) => error(StatusCode::BAD_REQUEST, "invalid_value", &message),
        Refusal::Missing(_) => error(StatusCode::NOT_FOUND, "key_not_found", &message),
        Refusal::Exists(_) => error(StatusCode::CONFLICT, "key_exists", &message),
        Refusal::Ended(_) => error(StatusCode::CONFLICT, "key_ended", &message),
        Refusal::Full => error(StatusCode::CONFLICT, "too_many_keys", &message),
        Refusal::Contended => error(StatusCode::CONFLICT, "key_contended", &message),
        Refusal::Store(problem) => {
            tracing::error!(%problem, "keys cannot be changed");
            unavailable("The store of keys does not answer. Try again in a second; the log says why.")
        }
    }
}

fn unavailable(message: &str) -> Response<RelayBody> {
    error(StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable", message)
}
