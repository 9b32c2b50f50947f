//! The second listener: health, metrics, and looking into the running gateway. It binds to loopback unless told otherwise.
//!
//! | path | says |
//! |---|---|
//! | `GET /metrics` | Prometheus's page |
//! | `GET /healthz` | the process is alive |
//! | `GET /readyz` | it can serve; JSON detail either way |
//! | `GET /admin/v1/explain?model=…` | the decision for such a request, from live state |
//! | `GET /admin/v1/decisions` | the last decisions, newest first (`limit`, `policy`, `degraded`) |
//! | `GET /admin/v1/decisions/{request id}` | one of them as `explain` has it, with how it ended |
//! | `GET /admin/v1/routes` | every route with its health |
//! | `GET /admin/v1/engine` | the local engine's state |
//! | `POST /admin/v1/reload` | reads the configuration again |
//! | `/admin/v1/keys…` | virtual keys: list, make, look at, rotate, revoke; always behind the admin token |
//! | `GET /admin/v1/openapi.json` | all of this, for programs |

mod decisions;
mod explain;
mod keys;
pub mod openapi;
mod routes;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::api::envelope::Envelope;
use crate::gateway::framing::{Refusal, RequestBody};
use crate::gateway::listener::ConnInfo;
use crate::gateway::{Gateway, reply};
use crate::keys::usage::ReadUsage;
use crate::providers::Kind;
use crate::relay::RelayBody;

/// The local engine as this listener shows it.
#[derive(Debug, Clone, Default)]
pub struct EngineView {
    /// Its whole status as JSON.
    pub json: Bytes,
    /// Whether it takes requests now.
    pub ready: bool,
    /// `starting`, `ready`, `backing_off`, `failed`, `off`.
    pub state: &'static str,
    /// Requests waiting, requests running, share of its cache in use, USD an hour.
    pub figures: [f64; 4],
}

/// What this listener needs of the rest.
#[derive(Clone)]
pub struct Admin {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Asks the local engine how it is; cheap, never waits.
    pub engine: Arc<dyn Fn() -> EngineView + Send + Sync>,
    /// Reads the configuration again; says what was wrong if it was not taken.
    pub reload: Arc<dyn Fn() -> Result<u64, String> + Send + Sync>,
    /// Why the last reload was not taken, while that is so.
    pub reload_problem: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// The token that keys need where the configuration names none.
    pub own_token: Option<SecretString>,
    /// What a key has used; `None`: nobody keeps account.
    pub usage: Option<ReadUsage>,
}

impl Admin {
    /// Answers one request. What waits is a change of a key, which is made whole whether or not its asker stays.
    pub async fn answer(&self, request: Request<RequestBody>, from: ConnInfo) -> Response<RelayBody> {
        let path = request.uri().path();
        let get = request.method() == Method::GET || request.method() == Method::HEAD;
        let post = request.method() == Method::POST;
        // Probes and scrapers carry no token; neither answer says anything of callers or keys.
        match path {
            "/healthz" if get => return json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"alive\"}")),
            "/readyz" if get => return self.ready(),
            "/metrics" if get => return self.metrics(),
            _ => {}
        }
        let keys = path.strip_prefix(keys::PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(refused) = self.refusal(request.headers(), from, keys.is_some()) {
            return refused;
        }
        if keys.is_some() {
            return Box::pin(self.keys(request)).await;
        }
        if let Some(id) = path.strip_prefix("/admin/v1/decisions/") {
            return if get { self.decision(id) } else { wrong_method("GET, HEAD") };
        }
        match path {
            "/admin/v1/explain" if get => self.explain(request.uri().query().unwrap_or_default()),
            "/admin/v1/decisions" if get => self.decisions(request.uri().query().unwrap_or_default()),
            "/admin/v1/routes" if get => self.routes(),
            "/admin/v1/engine" if get => json(StatusCode::OK, (self.engine)().json),
            "/admin/v1/openapi.json" if get => json(StatusCode::OK, openapi::document()),
            "/admin/v1/reload" if post => self.reloaded(),
            "/healthz"
            | "/readyz"
            | "/metrics"
            | "/admin/v1/explain"
            | "/admin/v1/decisions"
            | "/admin/v1/routes"
            | "/admin/v1/engine"
            | "/admin/v1/openapi.json" => wrong_method("GET, HEAD"),
            "/admin/v1/reload" => wrong_method("POST"),
            _ => error(
                StatusCode::NOT_FOUND,
                "unknown_url",
                "There is no such page; see docs/operations.md for those there are.",
            ),
        }
    }

    /// A head that the listener refused.
    pub fn refused(refusal: Refusal) -> Response<RelayBody> {
        error(refusal.status(), refusal.code(), &refusal.to_string())
    }

    /// The answer to whoever sends these headers and may not go on. Pages that only show are open where the listener is on loopback and the
    /// configuration names no token; keys are not: any program and any web page on this machine could make itself one.
    fn refusal(&self, headers: &HeaderMap, from: ConnInfo, always: bool) -> Option<Response<RelayBody>> {
        let live = self.gateway.live();
        let configured = live.snapshot.settings.admin.token.as_ref();
        let token = match (configured, &self.own_token) {
            (Some(token), _) => token,
            (None, _) if !always => return None,
            (None, Some(own)) => own,
            (None, None) => {
                return Some(error(
                    StatusCode::FORBIDDEN,
                    "no_admin_token",
                    "This page needs an admin token, and there is none: set admin.token.",
                ));
            }
        };
        let presented = headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .and_then(|v| v.strip_prefix(b"Bearer "));
        let is_right = presented.is_some_and(|presented| {
            // Hashes have one length, so that the comparison tells nothing of the token's.
            let (theirs, ours) = (blake3::hash(presented), blake3::hash(token.expose_secret().as_bytes()));
            theirs.as_bytes().ct_eq(ours.as_bytes()).into()
        });
        if is_right {
            return None;
        }
        let failed = if presented.is_some() { self.gateway.logins.failed(from.peer.ip()) } else { Ok(()) };
        Some(match failed {
            Ok(()) => {
                let mut refused = error(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "This needs the admin token: Authorization: Bearer TOKEN.",
                );
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                refused
            }
            Err(wait) => {
                let mut refused = error(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_failed_logins",
                    "Too many wrong tokens came from your address. Try again later, with the right one.",
                );
                refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
                refused
            }
        })
    }

    fn ready(&self) -> Response<RelayBody> {
        let live = self.gateway.live();
        let engine = (self.engine)();
        let draining = self.gateway.is_draining();
        let remote =
            live.snapshot.providers.iter().filter(|p| p.usable.is_ok() && p.kind != Kind::Local).count();
        let ready = !draining && (remote > 0 || engine.ready);
        let detail = serde_json::json!({
            "ready": ready,
            "draining": draining,
            "generation": live.snapshot.generation,
            "providers_usable": remote,
            "routes": live.snapshot.routes.len(),
            "policies": live.snapshot.policies.len(),
            "local_engine": engine.state,
            "reload_problem": (self.reload_problem)(),
        });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, Bytes::from(detail.to_string()))
    }

    fn metrics(&self) -> Response<RelayBody> {
        let live = self.gateway.live();
        live.tell_breakers();
        live.tell_prices();
        if let Some(treasury) = self.gateway.treasury() {
            treasury.tell();
        }
        self.gateway.books.metrics.local("embedded", (self.engine)().figures);
        let page = self.gateway.books.metrics.page();
        reply::plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", RelayBody::of(page))
    }

    fn reloaded(&self) -> Response<RelayBody> {
        match (self.reload)() {
            Ok(generation) => json(StatusCode::OK, Bytes::from(format!("{{\"generation\":{generation}}}"))),
            Err(problem) => error(StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration", &problem),
        }
    }
}

fn json(status: StatusCode, body: Bytes) -> Response<RelayBody> {
    reply::plain(status, "application/json", RelayBody::of(body))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<RelayBody> {
    json(status, Envelope::new(message, "invalid_request_error", None, Some(code), None).body())
}

fn wrong_method(allowed: &'static str) -> Response<RelayBody> {
    let mut response =
        error(StatusCode::METHOD_NOT_ALLOWED, "method_not_supported", &format!("Use {allowed}."));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
