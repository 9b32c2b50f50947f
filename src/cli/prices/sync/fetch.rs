//! Asks providers for their price lists. Each answer is bounded in time and size; no redirect is followed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use secrecy::ExposeSecret as _;

use crate::api::splice::Pieces;
use crate::config::{Provider, Snapshot};
use crate::pricing::published::{self, Quote};
use crate::providers::Kind;
use crate::routing::RouteId;
use crate::upstream::client::{Client, RequestBody};

/// How long one list may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest list, in bytes.
const LIST_BYTES_MAX: usize = 32 << 20;

/// What one provider said.
pub(super) struct Fetched {
    /// The quotes for its routes.
    pub(super) quotes: Vec<(RouteId, Quote)>,
    /// Ids of its routes that it does not list.
    pub(super) unlisted: Vec<String>,
    /// Why something is missing.
    pub(super) error: Option<String>,
    /// Where the prices were read.
    pub(super) source: String,
}

/// Whether providers of this kind publish their prices.
pub(super) const fn publishes(kind: Kind) -> bool {
    matches!(kind, Kind::OpenRouter | Kind::Together)
}

pub(super) struct Fetcher {
    client: Client,
}

impl Fetcher {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let allowed = snapshot.providers.iter().filter(|provider| provider.allow_link_local);
        let hosts: HashSet<String> =
            allowed.filter_map(|provider| provider.base_url.as_ref()?.host().map(str::to_owned)).collect();
        Self { client: Client::new(None, Arc::new(ArcSwap::from_pointee(hosts))) }
    }

    /// Asks the providers at these places, one after the other.
    pub(super) async fn all<'a>(
        &self,
        snapshot: &'a Snapshot,
        places: &[usize],
    ) -> Vec<(&'a Provider, Fetched)> {
        let mut all = Vec::new();
        for place in places {
            let Some(provider) = snapshot.providers.get(*place) else { continue };
            let routes: Vec<(RouteId, &str)> = snapshot
                .route_provider
                .iter()
                .zip(0_u16..)
                .filter(|(provider, _)| usize::from(**provider) == *place)
                .filter_map(|(_, id)| Some((RouteId(id), &*snapshot.route(RouteId(id))?.upstream_model)))
                .collect();
            all.push((provider, self.one(provider, &routes).await));
        }
        all
    }

    async fn one(&self, provider: &Provider, routes: &[(RouteId, &str)]) -> Fetched {
        let base = provider.base_url.as_ref().map(|url| url.to_string().trim_end_matches('/').to_owned());
        let base = base.unwrap_or_default();
        let source = format!("{base}/models");
        let mut fetched = Fetched { quotes: Vec::new(), unlisted: Vec::new(), error: None, source };
        let read = match provider.kind {
            Kind::Together => published::together,
            _ => published::openrouter,
        };
        let listed = self.get(provider, &fetched.source).await.and_then(|text| {
            read(&text).map_err(|problem| format!("its list of models cannot be read: {problem}"))
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                fetched.error = Some(error);
                return fetched;
            }
        };
        for (route, model_id) in routes {
            if let Some(quote) = listed.iter().find(|quote| quote.model_id == *model_id) {
                fetched.quotes.push((*route, quote.clone()));
                continue;
            }
            match self.unlisted(provider, &base, model_id).await {
                Ok(Some(quote)) => fetched.quotes.push((*route, quote)),
                Ok(None) => fetched.unlisted.push((*model_id).to_owned()),
                Err(error) => fetched.error = Some(format!("{model_id}: {error}")),
            }
        }
        fetched
    }

    /// A model that the list leaves out may have a page of its own.
    async fn unlisted(
        &self,
        provider: &Provider,
        base: &str,
        model_id: &str,
    ) -> Result<Option<Quote>, String> {
        if provider.kind != Kind::OpenRouter || !model_id.contains('/') {
            return Ok(None);
        }
        match self.answer(provider, &format!("{base}/models/{model_id}/endpoints")).await? {
            (StatusCode::OK, text) => published::openrouter_endpoints(&text)
                .map(Some)
                .map_err(|problem| format!("its page of endpoints cannot be read: {problem}")),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    async fn get(&self, provider: &Provider, url: &str) -> Result<String, String> {
        match self.answer(provider, url).await? {
            (StatusCode::OK, text) => Ok(text),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Err("it refused the API key".to_owned()),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    async fn answer(&self, provider: &Provider, url: &str) -> Result<(StatusCode, String), String> {
        let request = request(provider, url)?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LIST_BYTES_MAX).collect().await;
            let body = body.map_err(|error| format!("its answer broke off or is too long: {error}"))?;
            let text = String::from_utf8(body.to_bytes().into()).map_err(|_| "its answer is not UTF-8")?;
            Ok((status, text))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("it did not answer within {} s", TIMEOUT.as_secs())))
    }
}

fn request(provider: &Provider, url: &str) -> Result<Request<RequestBody>, String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
    let mut request = Request::new(RequestBody::new(Pieces::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.extend(provider.headers.iter().cloned());
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("tollway/", env!("CARGO_PKG_VERSION"))));
    if let Some(key) = &provider.api_key {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| "its API key cannot stand in a header")?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Ok(request)
}

/// An error with what lies beneath it: hyper's own words alone say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut beneath = error.source();
    while let Some(inner) = beneath {
        words = format!("{words}: {inner}");
        beneath = inner.source();
    }
    words
}
