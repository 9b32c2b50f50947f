//! Browsers of other origins, where the operator lets them: preflights are answered, and answers say who may read them.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::config::Cors;
use crate::relay::RelayBody;

/// Headers of an answer that a page may read besides the few that every page may.
const EXPOSED: &str = "x-request-id, x-tollway-policy, x-tollway-route, x-tollway-attempts, x-tollway-cost-usd, \
                       openai-processing-ms, retry-after, retry-after-ms, x-should-retry";

/// The origin to be named as allowed, if a page of the request's origin may read the answer.
pub fn allowed(cors: Option<&Cors>, headers: &HeaderMap) -> Option<HeaderValue> {
    let (cors, origin) = (cors?, headers.get(header::ORIGIN)?);
    let is_listed = cors.origins.iter().any(|one| one.as_bytes() == origin.as_bytes());
    (cors.any || is_listed).then(|| origin.clone())
}

/// The answer to a preflight of an allowed origin; `None`: it is none. What a page may then send is for the key to say.
pub fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<Response<RelayBody>> {
    if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = Response::new(RelayBody::of(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    // The official packages send a dozen headers of their own.
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    Some(response)
}

/// Says on `response` that a page of `origin` may read it, where one may.
pub fn stamp(response: &mut Response<RelayBody>, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}
