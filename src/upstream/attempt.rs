//! One try at one route: send, wait for an answer that is one, or say what went wrong. Nothing here knows of other routes.
//!
//! Dropping the future closes the connection (HTTP/1.1) or resets the stream (HTTP/2), which is how an upstream is cancelled.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::sse::Scanner;
use crate::providers::fault::{self, Class, Fault};
use crate::providers::{Continuation, Kind, continuation, request, responses};
use crate::routing::Endpoint;

use super::answer::{Answer, Form, Streamed};
use super::client::{self, Client, RequestBody};
use super::gather::gather;
use super::judge::{self, inside};

/// Largest whole answer taken, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Largest event of a stream, in bytes.
pub const EVENT_BYTES_MAX: usize = 8 << 20;
/// Largest error body read, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How many events may come before the first content.
const PRELUDE_EVENTS_MAX: usize = 256;

/// Where a provider is and how it knows us: made once per snapshot, so that an attempt only clones.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its dialect.
    pub kind: Kind,
    /// How it goes on with an answer that another one began.
    pub continuation: Continuation,
    /// As [`Endpoint::ALL`].
    uris: [Uri; Endpoint::ALL.len()],
    /// Where it is asked for what a caller of the Responses API wants, as it came.
    responses_uri: Uri,
    /// Whether it is.
    speaks_responses: bool,
    /// Chat that goes on, where that has an address of its own.
    prefix_uri: Option<Uri>,
    /// Authorization, content type and what else every request carries.
    headers: HeaderMap,
    /// What all addresses begin with.
    base: Box<str>,
}

/// Why a provider cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its base URL and a path make no URL.
    #[error("base_url: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// Its key has characters that no header may carry.
    #[error("api_key: it has characters that an HTTP header cannot carry")]
    Key,
}

impl Target {
    /// A target at `base_url` (no slash at the end), with `key` as bearer token.
    pub fn new(
        kind: Kind,
        continuation: Continuation,
        base_url: &str,
        key: Option<&str>,
        extra: &HeaderMap,
    ) -> Result<Self, Unusable> {
        let base = base_url.trim_end_matches('/');
        let uri = |endpoint| format!("{base}{}", request::path_of(endpoint)).parse::<Uri>();
        let mut headers = extra.clone();
        if let Some(key) = key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| Unusable::Key)?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("tollway/", env!("CARGO_PKG_VERSION"))),
        );
        let uris = [
            uri(Endpoint::Chat)?,
            uri(Endpoint::Completions)?,
            uri(Endpoint::Embeddings)?,
            uri(Endpoint::Rerank)?,
        ];
        let is_prefix = continuation == Continuation::Prefix;
        let prefix_uri = is_prefix.then(|| continuation::beta_url(base).parse()).transpose()?;
        let responses_uri = format!("{base}{}", responses::PATH).parse()?;
        Ok(Self {
            kind,
            continuation,
            uris,
            responses_uri,
            speaks_responses: false,
            prefix_uri,
            headers,
            base: base.into(),
        })
    }

    /// The same, which speaks the Responses API itself or does not.
    #[must_use]
    pub fn speaking_responses(mut self, speaks: bool) -> Self {
        self.speaks_responses = speaks;
        self
    }

    /// What all its addresses begin with; no slash at the end.
    pub(super) const fn base(&self) -> &str {
        &self.base
    }

    /// What every request carries.
    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// In whose words it is asked.
    fn form(&self, asking: &Asking<'_>) -> Form {
        let is_native = self.speaks_responses && asking.as_it_came && asking.call.native().is_some();
        if is_native { Form::Responses } else { Form::Chat }
    }

    fn uri(&self, call: &Call) -> &Uri {
        if let (Some(uri), true, Endpoint::Chat) = (&self.prefix_uri, call.so_far.is_some(), call.endpoint) {
            return uri;
        }
        match call.endpoint {
            Endpoint::Chat => &self.uris[0],
            Endpoint::Completions => &self.uris[1],
            Endpoint::Embeddings => &self.uris[2],
            Endpoint::Rerank => &self.uris[3],
        }
    }

    /// Takes our own key out of what an upstream says of it.
    fn without_key(&self, mut failed: Failed) -> Failed {
        let bearer = self
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let Some(key) = bearer.and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty())
        else {
            return failed;
        };
        if failed.fault.message.contains(key) {
            failed.fault.message = failed.fault.message.replace(key, "[our key]");
        }
        failed.answer =
            failed.answer.filter(|(_, _, body)| memchr::memmem::find(body, key.as_bytes()).is_none());
        failed
    }

    fn request(&self, asking: &Asking<'_>, form: Form) -> Request<RequestBody> {
        let Asking { call, upstream_model, caller_headers, gathered, .. } = *asking;
        let body_for = if gathered.is_some() { request::body_as_stream } else { request::body_for };
        let native = call.native().filter(|_| form == Form::Responses);
        let (uri, body) = match native {
            Some(native) => {
                let as_stream = gathered.is_some();
                let body = responses::body_for(self.kind, native, call, upstream_model, as_stream);
                (&self.responses_uri, body)
            }
            None => (self.uri(call), body_for(self.kind, self.continuation, call, upstream_model)),
        };
        let mut sent = Request::new(RequestBody::new(body).read_whole(!call.stream));
        *sent.method_mut() = Method::POST;
        *sent.uri_mut() = uri.clone();
        let mut headers = self.headers.clone();
        for name in request::forwarded_headers(self.kind) {
            if let Some(value) = caller_headers.get(*name) {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        *sent.headers_mut() = headers;
        sent
    }
}

/// A failed attempt: what it means, and the upstream's answer where there was one.
#[derive(Debug)]
pub struct Failed {
    /// What it means.
    pub fault: Fault,
    /// Status, content type and body as they came.
    pub answer: Option<(StatusCode, Option<HeaderValue>, Bytes)>,
    /// The answer's headers, for what they say of rate limits.
    pub headers: Option<HeaderMap>,
}

impl Failed {
    pub(super) fn of(class: Class, message: impl Into<String>) -> Self {
        Self {
            fault: Fault { class, retry_after: None, message: message.into() },
            answer: None,
            headers: None,
        }
    }
}

/// What is asked, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The request.
    pub call: &'a Call,
    /// What the route calls the model.
    pub upstream_model: &'a str,
    /// The request's head, of which a few fields go on.
    pub caller_headers: &'a HeaderMap,
    /// How long until there is an answer worth showing.
    pub patience: Duration,
    /// For an answer that is no stream and is asked for as one: how long it may be silent once it has begun, and how long
    /// it may take in all.
    pub gathered: Option<(Duration, Duration)>,
    /// Whether a request to another API than this gateway's own may go on as it came, where the route speaks that.
    pub as_it_came: bool,
}

/// Asks `target` and waits until there is an answer worth showing.
pub async fn attempt(client: &Client, target: &Target, asking: Asking<'_>) -> Result<Answer, Failed> {
    let began = tokio::time::Instant::now();
    let answer = tokio::time::timeout(asking.patience, asked(client, target, &asking)).await;
    let answer = match (answer, asking.gathered) {
        (Ok(Ok(Answer::Streamed(streamed))), Some((idle, left))) => {
            let gathering = gather(target.kind, asking.call.endpoint, *streamed, idle);
            match tokio::time::timeout_at(began + left, gathering).await {
                Ok(gathered) => gathered,
                Err(_) => Err(late(left)),
            }
        }
        (Ok(outcome), _) => outcome,
        (Err(_), _) => Err(late(asking.patience)),
    };
    answer.map_err(|failed| target.without_key(failed))
}

fn late(after: Duration) -> Failed {
    Failed::of(Class::Timeout, format!("no answer within {after:?}"))
}

/// Asks in the caller's own words where the route speaks them; where it refuses those, it is asked for the same as a chat.
async fn asked(client: &Client, target: &Target, asking: &Asking<'_>) -> Result<Answer, Failed> {
    let form = target.form(asking);
    let outcome = answered(client, target, asking, form).await;
    let Err(Failed { fault, answer: Some((status, ..)), .. }) = &outcome else { return outcome };
    if form == Form::Chat || !responses::may_refuse_form(*status, fault) {
        return outcome;
    }
    let (model, message) = (asking.upstream_model, &*fault.message);
    tracing::debug!(model, message, "refused as it came, and asked for as a chat completion");
    // Seldom, so that its room is made only then.
    match Box::pin(answered(client, target, asking, Form::Chat)).await {
        Err(second) if responses::tells_more(*status, fault, &second.fault) => outcome,
        second => second,
    }
}

async fn answered(
    client: &Client,
    target: &Target,
    asking: &Asking<'_>,
    form: Form,
) -> Result<Answer, Failed> {
    let (kind, call) = (target.kind, asking.call);
    let sent = target.request(asking, form);
    let response = client.request(sent).await.map_err(|error| Failed::of(Class::Connect, chain(&error)))?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(kind, response).await);
    }
    if response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Failed::of(Class::Malformed, "the answer is compressed although identity was asked for"));
    }
    let is_stream = content_type(response.headers()).starts_with("text/event-stream");
    match (call.stream, is_stream) {
        (_, true) if call.stream || asking.gathered.is_some() => first_content(kind, form, response).await,
        // An error object where a stream was due, or a whole answer: neither is what the caller waits for.
        (true, _) => {
            let (parts, body) = response.into_parts();
            let body = collect(body, content_length(&parts.headers), ERROR_BYTES_MAX).await?;
            Err(inside(kind, &body, "a whole answer came where a stream was asked for"))
        }
        (false, _) => {
            let (parts, body) = response.into_parts();
            let body = collect(body, content_length(&parts.headers), ANSWER_BYTES_MAX).await?;
            let whole = judge::whole(kind, call.endpoint, form, parts.headers, body);
            whole.map(Answer::Whole).map_err(|failed| *failed)
        }
    }
}

async fn refused(kind: Kind, response: Response<client::Body>) -> Failed {
    let (parts, body) = response.into_parts();
    // A body that breaks off still leaves the status to go by.
    let body = collect(body, content_length(&parts.headers), ERROR_BYTES_MAX).await.unwrap_or_default();
    let fault = fault::read(kind, parts.status, &parts.headers, &body);
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    Failed { fault, answer: Some((parts.status, content_type, body)), headers: Some(parts.headers) }
}

/// Reads a stream up to its first content, so that a route which opens with an error or silence is replaced unseen.
async fn first_content(kind: Kind, form: Form, response: Response<client::Body>) -> Result<Answer, Failed> {
    let (parts, mut body) = response.into_parts();
    let mut events = Scanner::new(EVENT_BYTES_MAX);
    let mut prelude = SmallVec::new();
    loop {
        while let Some(event) =
            events.next_event().map_err(|error| Failed::of(Class::Malformed, error.to_string()))?
        {
            let data = event.data();
            prelude.push(event);
            let Some(data) = data else { continue };
            if data.starts_with(b"[DONE]") {
                return Err(Failed::of(Class::Malformed, "the stream ended without content"));
            }
            if judge::is_content(kind, form, &data).map_err(|failed| *failed)? {
                return Ok(Answer::Streamed(Box::new(Streamed {
                    headers: parts.headers,
                    prelude,
                    events,
                    body,
                    form,
                })));
            }
            if prelude.len() > PRELUDE_EVENTS_MAX {
                return Err(Failed::of(Class::Malformed, "the stream goes on without content"));
            }
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    events.push(bytes);
                }
            }
            Some(Err(error)) => return Err(Failed::of(Class::BrokenStream, chain(&error))),
            None => return Err(Failed::of(Class::BrokenStream, "the stream ended before its first content")),
        }
        // Comments keep a connection open, not our patience: the caller's time-out for the first token runs on.
        prelude.truncate(PRELUDE_EVENTS_MAX);
    }
}

async fn collect(mut body: client::Body, expected: Option<u64>, bytes_max: usize) -> Result<Bytes, Failed> {
    let expected = expected.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    if expected > bytes_max {
        return Err(Failed::of(Class::Malformed, format!("the answer is longer than {bytes_max} bytes")));
    }
    body.want_whole();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::of(Class::Connect, chain(&error)))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if first.is_empty() && rest.is_empty() {
            // An answer that came in one piece is not copied.
            first = bytes;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(expected.max(first.len() + bytes.len()));
            rest.extend_from_slice(&first);
        }
        if rest.len() + bytes.len() > bytes_max {
            return Err(Failed::of(Class::Malformed, format!("the answer is longer than {bytes_max} bytes")));
        }
        rest.extend_from_slice(&bytes);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An error and what caused it, in one line for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
