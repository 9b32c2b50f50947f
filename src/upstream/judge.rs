//! What makes a body an answer, and an event of a stream its first content: in a chat's words or in a Response's.

use bytes::Bytes;
use http::HeaderMap;

use crate::api::chunk::{self, Chunk};
use crate::api::responses::heard::{self, What};
use crate::api::scan;
use crate::providers::Kind;
use crate::providers::fault::{self, Class};
use crate::routing::Endpoint;

use super::answer::{Form, Whole};
use super::attempt::Failed;

/// Reads a whole answer.
pub(super) fn whole(
    kind: Kind,
    endpoint: Endpoint,
    form: Form,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Whole, Box<Failed>> {
    let no_json = |error| Box::new(Failed::of(Class::Malformed, format!("the answer is not JSON: {error}")));
    scan::check_utf8(&body).map_err(no_json)?;
    let (chunk, fault) = match form {
        Form::Chat => {
            let chunk = chunk::read(&body).map_err(no_json)?;
            let fault = fault_of_whole(&chunk, endpoint);
            (chunk, fault)
        }
        Form::Responses => {
            let outline = heard::whole(&body).map_err(no_json)?;
            let fault = match outline.status_in(&body) {
                _ if outline.has_failed(&body) => Some("an error under status 200"),
                b"completed" | b"incomplete" if outline.items.is_some() => None,
                b"queued" | b"in_progress" => Some("an answer that is not finished"),
                _ => Some("an answer without output"),
            };
            let usage = outline.usage.filter(|_| outline.has_usage);
            (Chunk { usage, ..Chunk::default() }, fault)
        }
    };
    match fault {
        Some(message) => Err(Box::new(inside(kind, &body, message))),
        None => Ok(Whole { headers, body, chunk, form }),
    }
}

/// What makes a well-formed body no answer.
fn fault_of_whole(chunk: &Chunk, endpoint: Endpoint) -> Option<&'static str> {
    if chunk.error.is_some() {
        return Some("an error under status 200");
    }
    match endpoint {
        Endpoint::Chat | Endpoint::Completions => {}
        Endpoint::Embeddings => return (chunk.data_count == 0).then_some("an answer without embeddings"),
        Endpoint::Rerank => return (chunk.data_count == 0).then_some("an answer without results"),
    }
    if chunk.choice_count == 0 {
        return Some("an answer without choices");
    }
    if chunk.finish_is_fault {
        return Some("the provider broke off its answer");
    }
    (!chunk.has_content && chunk.finished == 0).then_some("an empty answer")
}

/// Whether the event with this data, before which nothing was said, says something or ends the answer.
pub(super) fn is_content(kind: Kind, form: Form, data: &Bytes) -> Result<bool, Box<Failed>> {
    let no_json = |error| {
        Box::new(Failed::of(Class::Malformed, format!("an event of the stream is not JSON: {error}")))
    };
    scan::check_utf8(data).map_err(no_json)?;
    let at_fault = "the stream began with a fault";
    match form {
        Form::Chat => {
            let chunk = chunk::read(data).map_err(no_json)?;
            if chunk.error.is_some() || chunk.finish_is_fault {
                return Err(Box::new(inside(kind, data, at_fault)));
            }
            Ok(chunk.has_content || chunk.finished != 0)
        }
        Form::Responses => {
            let heard = heard::event(data).map_err(no_json)?;
            match heard.what {
                What::Fault { .. } => Err(Box::new(failed(kind, data, &heard, at_fault))),
                What::Content | What::End => Ok(true),
                What::Nothing => Ok(false),
            }
        }
    }
}

/// A fault that came under status 200.
pub(super) fn inside(kind: Kind, body: &Bytes, otherwise: &str) -> Failed {
    // A fault without choices is an error in a shape of its provider's own.
    let has_error = chunk::read(body)
        .is_ok_and(|chunk| chunk.error.is_some() || (chunk.finish_is_fault && chunk.choices.is_none()));
    if has_error { told(kind, body) } else { Failed::of(Class::Malformed, otherwise) }
}

/// A fault that came as an event of a Response's stream: its own words stand in the object that it carries, or in itself.
pub(super) fn failed(kind: Kind, data: &Bytes, heard: &heard::Heard, otherwise: &str) -> Failed {
    match &heard.response {
        Some(response) if response.has_error => told(kind, &data[response.span.clone()]),
        Some(_) => Failed::of(Class::Malformed, otherwise),
        None => told(kind, data),
    }
}

fn told(kind: Kind, body: &[u8]) -> Failed {
    let mut fault = fault::read_inside(kind, body);
    if fault.class == Class::Overload {
        fault.class = Class::Server;
    }
    Failed { fault, answer: None, headers: None }
}
