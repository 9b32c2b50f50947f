//! What went wrong, a variant a step, and the one map from it to a status and OpenAI's error body.
//!
//! Two voices: the caller reads a stable code and what to do; the log has the chain. No key and no inner address is in a
//! caller's message. An upstream's fault that every route shares goes back as it came.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::api::body;
use crate::api::envelope::Envelope;
use crate::api::face::{Said, Surface};
use crate::budget;
use crate::providers::Class;
use crate::upstream;

use super::auth::Stranger;
use super::framing::Refusal;
use super::refused;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The head was refused before it was a request.
    #[error("{0}")]
    Head(Refusal),
    /// No such path.
    #[error(
        "Unknown request URL: {method} {path}. The endpoints are POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, /v1/responses, /v1/messages, /v1/messages/count_tokens and GET /v1/models."
    )]
    UnknownPath {
        /// The method, as sent.
        method: String,
        /// The path, as sent, cut to a bound.
        path: String,
    },
    /// The path exists, for another method.
    #[error("Not allowed to {method} on {path}. Use {allowed}.")]
    WrongMethod {
        /// The method, as sent.
        method: String,
        /// The path.
        path: String,
        /// What to use.
        allowed: &'static str,
    },
    /// The caller is not let in.
    #[error("{}", .0.words())]
    Stranger(Stranger),
    /// Not JSON by its own account.
    #[error("Unsupported Content-Type. Send the body as application/json.")]
    ContentType,
    /// Compressed.
    #[error(
        "Compressed request bodies are not accepted. Send the body without Content-Encoding, or ask whoever runs this gateway to set limits.compressed_bodies."
    )]
    CompressedBody,
    /// Compressed in a way that is not known here.
    #[error("This Content-Encoding is not known here. Send gzip or deflate, or the body as it is.")]
    UnknownCoding,
    /// Compressed, and not what it says, or not to its end.
    #[error("The compressed request body could not be unpacked. Send it whole, or without Content-Encoding.")]
    BadCompression,
    /// It would unpack to far more than anybody writes.
    #[error(
        "The request body unpacks to more than {ratio_max} times its size. Send it without Content-Encoding."
    )]
    Bomb {
        /// The most times its size that is unpacked.
        ratio_max: u64,
    },
    /// Too long.
    #[error(
        "The request body is larger than {bytes_max} bytes. Shorten it, or ask whoever runs this gateway to raise limits.body_bytes_max."
    )]
    BodyTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// It broke off or was badly framed.
    #[error(
        "The request body could not be read: {0}. Send it whole, with a correct Content-Length or chunked coding."
    )]
    BodyFault(String),
    /// It came too slowly.
    #[error("The request body came too slowly. Send it again over a faster connection, or send less.")]
    BodyTooSlow,
    /// It says something that cannot be served.
    #[error("{0}")]
    Body(#[from] body::Error),
    /// The tags cannot be read.
    #[error(
        "The header x-tollway-tags is malformed. Write name=value pairs with commas between: tier=interactive,feature=search."
    )]
    TagsHeader,
    /// The request's name cannot be one.
    #[error("The header Idempotency-Key must be sent once, with 1 to 255 bytes.")]
    IdempotencyKey,
    /// The same request is under way.
    #[error(
        "A request with this Idempotency-Key is still being answered. Wait for its answer, or send this one again in a second."
    )]
    KeyInUse,
    /// The name was given to another request.
    #[error(
        "This Idempotency-Key was used for a request with another body. Use a new key for each request, and the same one only to send it again."
    )]
    KeyReused,
    /// The answer was too long to be kept.
    #[error(
        "The request with this Idempotency-Key was answered, and the answer was too long to be kept. To have it made anew, use another key."
    )]
    AnswerUnkept,
    /// No such model.
    #[error("{message}")]
    UnknownModel {
        /// Says so, with the nearest names.
        message: String,
    },
    /// A response given earlier is asked for.
    #[error(
        "Response with id '{id}' not found. This gateway keeps no responses: keep what you received, and send the whole conversation in 'input'."
    )]
    UnknownResponse {
        /// As sent, cut to a bound.
        id: String,
    },
    /// The key may not use it.
    #[error(
        "Your key may not use the model {model:?}. Ask whoever runs this gateway, or choose another model."
    )]
    ModelForbidden {
        /// As the caller wrote it.
        model: String,
    },
    /// Nobody may or can serve it.
    #[error("No route can serve this request. {reasons}")]
    NoRoute {
        /// Each route and why.
        reasons: String,
    },
    /// Somebody might serve it, but for what the request itself says of who may.
    #[error(
        "No route is left by what the request says of who may serve it. Change its `provider` field. {reasons}"
    )]
    Unwanted {
        /// Each route and why.
        reasons: String,
    },
    /// Everyone who could serve it asked us to wait.
    #[error("Every route that could serve this request is at its provider's rate limit. Try again in {}.", seconds_in_words(.wait))]
    AllLimited {
        /// The shortest wait.
        wait: Duration,
    },
    /// A budget or a limit of the caller's own does not hold it.
    #[error("{}", refused::words(.0))]
    Refused(Box<budget::Refusal>),
    /// What it may cost could not be written down.
    #[error("This gateway cannot keep account of requests at the moment. Try again in a second.")]
    NoLedger,
    /// Nobody answered.
    #[error("{0}")]
    Upstream(#[from] upstream::Error),
    /// More requests than this gateway takes at once.
    #[error("This gateway is serving as many requests as it may. Try again in a second.")]
    Busy,
    /// A bug of ours.
    #[error(
        "Something went wrong inside this gateway. The request id helps whoever runs it to find out what."
    )]
    Bug,
}

/// What a caller gets.
#[derive(Debug)]
pub struct Told {
    /// The status.
    pub status: StatusCode,
    /// The body, JSON.
    pub body: Bytes,
    /// How long to wait, where waiting helps.
    pub retry_after: Option<Duration>,
    /// Whether the client should try by itself; `None`: it knows.
    pub should_retry: Option<bool>,
    /// The method to use instead.
    pub allow: Option<&'static str>,
    /// The code, also in the log and the metrics.
    pub code: &'static str,
}

/// The wait where nobody knows better.
const MOMENT: Duration = Duration::from_secs(1);

const CALLERS: &str = "invalid_request_error";
const OURS: &str = "tollway_error";

impl Failure {
    /// The status and body for the caller, in the shape that it speaks.
    pub fn told(&self, request_id: &str, surface: Surface) -> Told {
        if let Self::Upstream(error) = self
            && let Some(told) = as_it_came(error, request_id, surface)
        {
            return told;
        }
        let (status, kind, param, code) = self.shape();
        let message = match self {
            Self::Upstream(error) => upstream_message(error),
            other => other.to_string(),
        };
        let retry_after = match self {
            Self::AllLimited { wait } | Self::Stranger(Stranger::TooMany { wait }) => Some(*wait),
            Self::Refused(refusal) => refusal.retry_after,
            Self::Upstream(error) => {
                error.wait().or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(MOMENT))
            }
            Self::Busy
            | Self::NoRoute { .. }
            | Self::NoLedger
            | Self::KeyInUse
            | Self::Stranger(Stranger::Unknown) => Some(MOMENT),
            Self::Head(Refusal::Connections) => Some(MOMENT),
            _ => None,
        };
        // Every route has been tried: a client that tries again by itself would only repeat the whole chain.
        let exhausted = matches!(self, Self::Upstream(_)) && status != StatusCode::TOO_MANY_REQUESTS;
        let should_retry = match self {
            Self::Refused(refusal) => refused::should_retry(refusal),
            // Clients try a conflict again by themselves, which helps with the first of these alone.
            Self::KeyInUse => Some(true),
            Self::AnswerUnkept => Some(false),
            _ => (exhausted || matches!(self, Self::NoRoute { .. })).then_some(false),
        };
        let allow = if let Self::WrongMethod { allowed, .. } = self { Some(*allowed) } else { None };
        let said = Said { status, kind, param, code, message: &message, request_id };
        let body = surface
            .error(&said)
            .unwrap_or_else(|| Envelope::new(&message, kind, param, Some(code), Some(request_id)).body());
        Told { status, body, retry_after, should_retry, allow, code }
    }

    /// The `outcome` label of `tollway_requests_total`.
    pub fn outcome(&self) -> &'static str {
        let status = self.shape().0;
        match self {
            Self::Upstream(upstream::Error::Refused(_)) => "client_error",
            Self::Upstream(_) | Self::NoRoute { .. } => "upstream_error",
            Self::AllLimited { .. } | Self::Busy | Self::Stranger(Stranger::TooMany { .. }) => "rate_limited",
            Self::Refused(refusal) => refused::outcome(refusal),
            _ if status.is_client_error() => "client_error",
            _ => "upstream_error",
        }
    }

    /// Status, type, param and code. A new variant must be given its own: no arm here catches the rest.
    #[deny(clippy::wildcard_enum_match_arm)]
    fn shape(&self) -> (StatusCode, &'static str, Option<&str>, &'static str) {
        match self {
            Self::Head(refusal) => (
                refusal.status(),
                if refusal.status().is_server_error() { OURS } else { CALLERS },
                None,
                refusal.code(),
            ),
            Self::UnknownPath { .. } => (StatusCode::NOT_FOUND, CALLERS, None, "unknown_url"),
            Self::WrongMethod { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, CALLERS, None, "method_not_supported")
            }
            Self::Stranger(Stranger::NoKey) => (StatusCode::UNAUTHORIZED, CALLERS, None, "missing_api_key"),
            Self::Stranger(Stranger::WrongKey) => {
                (StatusCode::UNAUTHORIZED, CALLERS, None, "invalid_api_key")
            }
            Self::Stranger(Stranger::Expired) => (StatusCode::UNAUTHORIZED, CALLERS, None, "expired_api_key"),
            Self::Stranger(Stranger::Revoked) => (StatusCode::UNAUTHORIZED, CALLERS, None, "revoked_api_key"),
            Self::Stranger(Stranger::TooMany { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, "requests", None, "too_many_failed_logins")
            }
            Self::Stranger(Stranger::Unknown) => {
                (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "keys_unavailable")
            }
            Self::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, CALLERS, None, "unsupported_content_type")
            }
            Self::CompressedBody => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, CALLERS, None, "unsupported_content_encoding")
            }
            Self::UnknownCoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, CALLERS, None, "unknown_content_encoding")
            }
            Self::BadCompression => (StatusCode::BAD_REQUEST, CALLERS, None, "bad_compression"),
            Self::Bomb { .. } => (StatusCode::PAYLOAD_TOO_LARGE, CALLERS, None, "request_expands_too_much"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, CALLERS, None, "request_too_large"),
            Self::BodyFault(_) => (StatusCode::BAD_REQUEST, CALLERS, None, "bad_request_body"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, CALLERS, None, "request_too_slow"),
            Self::Body(error) => (StatusCode::BAD_REQUEST, CALLERS, error.param(), error.code()),
            Self::TagsHeader => (StatusCode::BAD_REQUEST, CALLERS, Some("x-tollway-tags"), "invalid_value"),
            Self::IdempotencyKey => {
                (StatusCode::BAD_REQUEST, CALLERS, Some("idempotency-key"), "invalid_value")
            }
            Self::KeyInUse => {
                (StatusCode::CONFLICT, CALLERS, Some("idempotency-key"), "idempotency_key_in_use")
            }
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, CALLERS, Some("idempotency-key"), "idempotency_key_reused")
            }
            Self::AnswerUnkept => {
                (StatusCode::CONFLICT, CALLERS, Some("idempotency-key"), "idempotent_answer_not_kept")
            }
            Self::UnknownModel { .. } => (StatusCode::NOT_FOUND, CALLERS, Some("model"), "model_not_found"),
            Self::UnknownResponse { .. } => (StatusCode::NOT_FOUND, CALLERS, None, "response_not_found"),
            Self::ModelForbidden { .. } => {
                (StatusCode::FORBIDDEN, CALLERS, Some("model"), "model_not_allowed")
            }
            Self::NoRoute { .. } => (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "no_route"),
            Self::Unwanted { .. } => (StatusCode::NOT_FOUND, CALLERS, Some("provider"), "no_allowed_route"),
            Self::AllLimited { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "requests", None, "rate_limit_exceeded")
            }
            Self::Refused(refusal) => refused::shape(refusal),
            Self::NoLedger => (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "ledger_unavailable"),
            Self::Upstream(error) => upstream_shape(error),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "overloaded"),
            Self::Bug => (StatusCode::INTERNAL_SERVER_ERROR, OURS, None, "internal_error"),
        }
    }
}

fn upstream_shape(error: &upstream::Error) -> (StatusCode, &'static str, Option<&'static str>, &'static str) {
    if error.wait().is_some() {
        return (StatusCode::TOO_MANY_REQUESTS, "requests", None, "rate_limit_exceeded");
    }
    match error {
        upstream::Error::Refused(reason) => match reason.fault.class {
            Class::Moderation => (StatusCode::FORBIDDEN, CALLERS, None, "content_refused"),
            _ => (StatusCode::BAD_REQUEST, CALLERS, None, "bad_request"),
        },
        upstream::Error::DeadlinePassed { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, OURS, None, "deadline_exceeded")
        }
        upstream::Error::Exhausted(reasons) | upstream::Error::Down(reasons) => {
            let all = |class: Class| {
                !reasons.is_empty() && reasons.iter().all(|reason| reason.fault.class == class)
            };
            if all(Class::Timeout) {
                (StatusCode::GATEWAY_TIMEOUT, OURS, None, "upstream_timeout")
            } else if all(Class::ContextOverflow) {
                (StatusCode::BAD_REQUEST, CALLERS, Some("messages"), "context_length_exceeded")
            } else if reasons.iter().all(|reason| reason.fault.class.is_operators()) {
                // The operator's account, not the caller's request: said without saying whose.
                (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "no_route")
            } else if matches!(error, upstream::Error::Down(_)) {
                (StatusCode::SERVICE_UNAVAILABLE, OURS, None, "all_routes_down")
            } else {
                (StatusCode::BAD_GATEWAY, OURS, None, "all_routes_failed")
            }
        }
    }
}

/// Names each route that was tried and what became of it, in words that give nothing of our accounts away.
fn upstream_message(error: &upstream::Error) -> String {
    let said = |reason: &upstream::Reason| {
        let what = match reason.fault.class {
            Class::Caller | Class::Moderation => "it refused the request",
            Class::ContextOverflow => "the prompt does not fit its context",
            Class::UnknownField | Class::FeatureMissing => "it does not support something the request uses",
            Class::UnknownModel => "it does not have the model",
            Class::BadKey | Class::NoMoney | Class::InFlightBudget => "it is not available to this gateway",
            Class::Rate => "it is at its rate limit",
            Class::Overload => "it is overloaded",
            Class::Server => "it failed",
            Class::Timeout => "it did not answer in time",
            Class::Connect => "it could not be reached",
            Class::Malformed => "its answer was not usable",
            Class::BrokenStream => "its answer broke off",
        };
        format!("{}: {what}", reason.route)
    };
    let tried: Vec<String> = error.reasons().iter().map(said).collect();
    match error {
        upstream::Error::Refused(reason) => format!("The provider refused the request ({}).", said(reason)),
        upstream::Error::Exhausted(_) => {
            format!("No route could answer this request. Tried {}.", tried.join("; "))
        }
        upstream::Error::Down(_) => {
            format!(
                "Every route that could answer this request has failed too often lately. Tried {}. Try again in a second.",
                tried.join("; ")
            )
        }
        upstream::Error::DeadlinePassed { limit, .. } if tried.is_empty() => {
            format!("The request was not answered within {limit:?}.")
        }
        upstream::Error::DeadlinePassed { limit, .. } => {
            format!("The request was not answered within {limit:?}. Tried {}.", tried.join("; "))
        }
    }
}

/// The upstream's own error, where it is one that the caller can read; a face says the same in its own shape.
fn as_it_came(error: &upstream::Error, request_id: &str, surface: Surface) -> Option<Told> {
    let (status, _, body) = error.shared_answer()?;
    let parsed: serde_json::Value = serde_json::from_slice(body).ok()?;
    let inner = parsed.get("error").filter(|inner| inner.is_object() || inner.is_string())?;
    let status = *status;
    let retry_after = error.wait();
    let should_retry = (status != StatusCode::TOO_MANY_REQUESTS).then_some(false);
    let code = error.reasons().first().map_or("upstream", |reason| reason.fault.class.code());
    let message =
        inner.get("message").unwrap_or(inner).as_str().unwrap_or("The provider refused the request.");
    let said = Said { status, kind: CALLERS, param: None, code, message, request_id };
    let body = surface.error(&said).unwrap_or_else(|| body.clone());
    Some(Told { status, body, retry_after, should_retry, allow: None, code })
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn seconds_in_words(wait: &Duration) -> String {
    match whole_seconds(*wait) {
        0 | 1 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

impl Told {
    /// `retry-after` as a header value.
    pub fn retry_after_value(&self) -> Option<HeaderValue> {
        self.retry_after.map(|wait| HeaderValue::from(whole_seconds(wait).max(1)))
    }

    /// `retry-after-ms` as a header value: the same to the millisecond, which the official clients prefer.
    pub fn retry_after_ms_value(&self) -> Option<HeaderValue> {
        let ms = |wait: Duration| u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.retry_after.map(|wait| HeaderValue::from(ms(wait).max(1)))
    }
}
