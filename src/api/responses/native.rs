//! This API passed through: a request in its caller's own words, and what we add to a provider's own answer.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::face::Tally;
use crate::api::scan::Span;
use crate::api::splice::{self, Member};

use super::answer::{Error, Usage};
use super::draft::FAILED;
use super::emit::{Emitter, OfFault};
use super::heard::Outline;

/// A request as its caller wrote it. What it asks for has been found to be something that a chat can be asked for too.
#[derive(Debug, Clone, Default)]
pub struct Native {
    /// The body as it came.
    pub body: Bytes,
    /// Members of its outermost object, in order.
    pub members: Vec<Member>,
}

impl Native {
    /// The member called `key`, by its place.
    pub fn member(&self, key: &str) -> Option<(usize, &Member)> {
        splice::member(&self.body, &self.members, key)
    }
}

/// What a provider's stream says of its Response at the beginning, for an ending of our own.
#[derive(Debug, Default)]
pub struct Head {
    id: Option<Box<RawValue>>,
    created_at: Option<Box<RawValue>>,
    model: Option<Box<RawValue>>,
}

impl Head {
    /// From the Response object that `outline` found in `data`.
    pub fn of(data: &[u8], outline: &Outline) -> Self {
        let raw = |span: &Option<Span>| {
            let text = std::str::from_utf8(data.get(span.clone()?)?).ok()?;
            RawValue::from_string(text.to_owned()).ok()
        };
        Self { id: raw(&outline.id), created_at: raw(&outline.created_at), model: raw(&outline.model) }
    }
}

/// A Response of which only the end is ours to tell.
#[derive(Serialize)]
struct Failed<'a> {
    id: Option<&'a RawValue>,
    object: &'static str,
    created_at: Option<&'a RawValue>,
    status: &'static str,
    error: Error<'a>,
    incomplete_details: (),
    model: Option<&'a RawValue>,
    output: [(); 0],
    usage: (),
}

#[derive(Serialize)]
struct Whole<'a> {
    response: Failed<'a>,
}

/// The end of a provider's stream that broke off, whose next event would have had the number `next`: told twice, as OpenAI
/// does, since clients look for the one or the other.
pub fn broken_off(next: u64, head: &Head, code: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut emitter = Emitter::from(next);
    emitter.emit("error", &OfFault::new(code, message), &mut out);
    let response = Failed {
        id: head.id.as_deref(),
        object: "response",
        created_at: head.created_at.as_deref(),
        status: FAILED,
        error: Error { code: "server_error", message },
        incomplete_details: (),
        model: head.model.as_deref(),
        output: [],
        usage: (),
    };
    emitter.emit("response.failed", &Whole { response }, &mut out);
    out
}

/// A usage object of our own, where a provider's answer has none.
pub fn usage(tally: &Tally) -> Bytes {
    // Numbers always serialise.
    serde_json::to_vec(&Usage::of(tally)).map(Bytes::from).unwrap_or_default()
}
