//! A stream read to its end, unseen by its caller, who asked for none: what is put together is judged as a whole answer is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::BodyExt as _;

use crate::api::assembly::Assembly;
use crate::api::responses::heard::{self, What};
use crate::api::sse::Event;
use crate::api::{chunk, scan};
use crate::providers::Kind;
use crate::providers::fault::Class;
use crate::routing::Endpoint;

use super::answer::{Answer, Form, Streamed, Whole};
use super::attempt::{ANSWER_BYTES_MAX, Failed, chain};
use super::judge::{self, inside};

const BROKE_OFF: &str = "the provider broke off its answer";

/// Reads a stream to its end and puts a whole answer together. What is broken off brings nothing: nobody has seen any of it,
/// so that another route begins anew.
pub(super) async fn gather(
    kind: Kind,
    endpoint: Endpoint,
    streamed: Streamed,
    idle: Duration,
) -> Result<Answer, Failed> {
    let Streamed { mut headers, prelude, mut events, mut body, form } = streamed;
    let assembly = Assembly::new(endpoint);
    let mut gathered = Gathered { kind, form, assembly, seen: 0, finished: 0, bytes: 0, response: None };
    let mut is_done = false;
    for event in &prelude {
        is_done |= gathered.take(event).map_err(|failed| *failed)?;
    }
    while !is_done {
        if let Some(event) =
            events.next_event().map_err(|error| Failed::of(Class::Malformed, error.to_string()))?
        {
            is_done = gathered.take(&event).map_err(|failed| *failed)?;
            continue;
        }
        match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(Failed::of(Class::Timeout, format!("silent for {idle:?} in mid-stream"))),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    events.push(bytes);
                }
            }
            // As with a stream, what has finished is whole without its end mark.
            Ok(None | Some(Err(_))) if gathered.is_finished() => is_done = true,
            Ok(Some(Err(error))) => return Err(Failed::of(Class::BrokenStream, chain(&error))),
            Ok(None) => {
                return Err(Failed::of(Class::BrokenStream, "the stream ended before its answer did"));
            }
        }
    }
    body.finished();
    if !gathered.is_finished() {
        return Err(Failed::of(Class::BrokenStream, "the stream ended before its answer did"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(body) = gathered.response {
        let whole = judge::whole(kind, endpoint, form, headers, body);
        return whole.map(Answer::Whole).map_err(|failed| *failed);
    }
    let body = Bytes::from(gathered.assembly.finish());
    let chunk = chunk::read(&body).map_err(|error| Failed::of(Class::Malformed, error.to_string()))?;
    Ok(Answer::Whole(Whole { headers, body, chunk, form }))
}

/// A stream being gathered.
struct Gathered {
    kind: Kind,
    form: Form,
    assembly: Assembly,
    seen: u64,
    finished: u64,
    bytes: usize,
    /// The Response object of the event that ended a Response's stream.
    response: Option<Bytes>,
}

impl Gathered {
    /// Takes one event; true: it was the end mark.
    fn take(&mut self, event: &Event) -> Result<bool, Box<Failed>> {
        let Some(data) = event.data() else { return Ok(false) };
        if data.starts_with(b"[DONE]") {
            return Ok(true);
        }
        self.bytes += data.len();
        if self.bytes > ANSWER_BYTES_MAX {
            let message = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(Box::new(Failed::of(Class::Malformed, message)));
        }
        let no_json = || Box::new(Failed::of(Class::Malformed, "an event of the stream is not JSON"));
        scan::check_utf8(&data).map_err(|_| no_json())?;
        if self.form == Form::Responses {
            let heard = heard::event(&data).map_err(|_| no_json())?;
            return match (heard.what, &heard.response) {
                (What::Fault { .. }, _) => Err(Box::new(judge::failed(self.kind, &data, &heard, BROKE_OFF))),
                (What::End, Some(response)) => {
                    self.response = Some(data.slice(response.span.clone()));
                    Ok(true)
                }
                (What::End | What::Content | What::Nothing, _) => Ok(false),
            };
        }
        let chunk = chunk::read(&data).map_err(|_| no_json())?;
        if chunk.error.is_some() || chunk.finish_is_fault {
            return Err(Box::new(inside(self.kind, &data, BROKE_OFF)));
        }
        self.seen |= chunk.seen;
        self.finished |= chunk.finished;
        if self.assembly.take(&data) { Ok(false) } else { Err(no_json()) }
    }

    const fn is_finished(&self) -> bool {
        self.response.is_some() || (self.seen != 0 && self.seen & !self.finished == 0)
    }
}
