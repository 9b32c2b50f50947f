//! Responses: the headers every one carries, an answer's own, and an error's.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::api::face::Surface;
use crate::budget::Standing;
use crate::relay::RelayBody;
use crate::units::NanoUsd;

use super::failure::Told;
use super::refused;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const POLICY: HeaderName = HeaderName::from_static("x-tollway-policy");
const ROUTE: HeaderName = HeaderName::from_static("x-tollway-route");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tollway-attempts");
const COST: HeaderName = HeaderName::from_static("x-tollway-cost-usd");
const OUTPUT_MAX: HeaderName = HeaderName::from_static("x-tollway-output-tokens-max");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Headers of an upstream's answer that go on to the caller; every other stops here.
const PASSED_ON: [&str; 12] = [
    "openai-version",
    "openai-processing-ms",
    "x-generation-id",
    "x-openrouter-cache-status",
    "x-openrouter-cache-age",
    "x-ds-trace-id",
    "x-inference-version",
    "fireworks-server-time-to-first-token",
    "fireworks-server-processing-time",
    "fireworks-prompt-tokens",
    "fireworks-cached-prompt-tokens",
    "fireworks-sampling-options",
];

/// What is known of a request's way when its response begins.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// The policy that decided.
    pub policy: Option<HeaderValue>,
    /// The route that answered, or was tried last.
    pub route: Option<HeaderValue>,
    /// Tries made.
    pub attempts: u32,
    /// What is left of the caller's own limits.
    pub standing: Standing,
    /// How long the answer may be, where a budget pays for no more than that, in tokens.
    pub output_max: Option<u64>,
}

/// A response with `content_type` and nothing known of any route.
pub fn plain(status: StatusCode, content_type: &'static str, body: RelayBody) -> Response<RelayBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer from upstream: its content type by what it is, and those of its headers that are the caller's business.
pub fn answer(
    upstream: &HeaderMap,
    stream: bool,
    cost: Option<NanoUsd>,
    body: RelayBody,
) -> Response<RelayBody> {
    let content_type = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    let mut response = plain(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    if stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Tells reverse proxies in front of us not to hold a stream back.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    for name in PASSED_ON {
        if let Some(value) = upstream.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    if let Some(cost) = cost
        && let Ok(value) = HeaderValue::from_str(&cost.to_string())
    {
        headers.insert(COST, value);
    }
    response
}

/// An error as the caller gets it.
pub fn error(told: &Told) -> Response<RelayBody> {
    let mut response = plain(told.status, "application/json", RelayBody::of(told.body.clone()));
    let headers = response.headers_mut();
    if let Some(wait) = told.retry_after_value() {
        headers.insert(header::RETRY_AFTER, wait);
    }
    if let Some(wait) = told.retry_after_ms_value() {
        headers.insert(RETRY_AFTER_MS, wait);
    }
    if let Some(should) = told.should_retry {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if should { "true" } else { "false" }));
    }
    if let Some(allow) = told.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if told.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if told.status == StatusCode::PAYLOAD_TOO_LARGE {
        // What is left of the body is not read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Puts on what clients of another surface look for.
pub fn stamp_surface(response: &mut Response<RelayBody>, surface: Surface) {
    match surface {
        Surface::Plain | Surface::Responses => {}
        Surface::Messages => {
            let id = response.headers().get(REQUEST_ID).cloned();
            response.headers_mut().extend(id.map(|id| (HeaderName::from_static("request-id"), id)));
        }
    }
}

/// Puts on what every response carries; `took` is the time from the request's arrival to here.
pub fn stamp(response: &mut Response<RelayBody>, request_id: &str, trail: Trail, took: Option<Duration>) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    // Of a provider that tells its own time, that stands.
    if let Some(took) = took
        && !headers.contains_key(PROCESSING_MS)
    {
        headers.insert(PROCESSING_MS, HeaderValue::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
    }
    let nobody = || HeaderValue::from_static("none");
    headers.insert(POLICY, trail.policy.unwrap_or_else(nobody));
    headers.insert(ROUTE, trail.route.unwrap_or_else(nobody));
    headers.insert(ATTEMPTS, HeaderValue::from(trail.attempts));
    refused::stamp(headers, &trail.standing);
    if let Some(max) = trail.output_max {
        headers.insert(OUTPUT_MAX, HeaderValue::from(max));
    }
}
