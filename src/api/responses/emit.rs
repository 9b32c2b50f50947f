//! Events on the wire: named, numbered from 0 without a gap.

use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::{Item, Part, Place};

/// Writes one stream's events; silent, it writes none.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    next: u64,
    silent: bool,
}

#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    said: &'a T,
}

impl Emitter {
    /// For an answer that is told as a whole.
    pub(super) const fn silent() -> Self {
        Self { next: 0, silent: true }
    }

    /// For a stream whose next event has this number.
    pub(super) const fn from(next: u64) -> Self {
        Self { next, silent: false }
    }

    /// Appends an event of this kind that says `said`.
    pub(super) fn emit(&mut self, kind: &'static str, said: &impl Serialize, out: &mut Vec<u8>) {
        if self.silent {
            return;
        }
        let sequence_number = self.next;
        self.next += 1;
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        // Texts, numbers and raw values always serialise, and a vector takes all that is written.
        let _ = serde_json::to_writer(&mut *out, &Event { kind, sequence_number, said });
        out.extend_from_slice(b"\n\n");
    }
}

/// A fault, in mid-stream.
#[derive(Serialize)]
pub(super) struct OfFault<'a> {
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    /// The same as an object, for which the official Python client looks.
    error: FaultDetails<'a>,
}

#[derive(Serialize)]
struct FaultDetails<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
}

impl<'a> OfFault<'a> {
    pub(super) const fn new(code: &'a str, message: &'a str) -> Self {
        let error = FaultDetails { kind: "upstream_error", code, message, param: None };
        Self { code, message, param: None, error }
    }
}

/// What an event says of an item.
#[derive(Serialize)]
pub(super) struct OfItem<'a> {
    pub(super) output_index: usize,
    pub(super) item: &'a Item,
}

/// What an event says of a part of an item, or of a call; each kind of event fills in its own.
#[derive(Serialize)]
pub(super) struct OfPart<'a> {
    item_id: &'a str,
    output_index: usize,
    #[serde(flatten)]
    place: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<&'a Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<&'a [&'a RawValue]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
}

impl<'a> OfPart<'a> {
    /// Of the last part of `item`, which is the answer's item number `output_index`.
    pub(super) fn of(output_index: usize, item: &'a Item) -> Self {
        Self {
            item_id: item.id(),
            output_index,
            place: item.place(),
            part: None,
            delta: None,
            text: None,
            refusal: None,
            logprobs: None,
            name: None,
            arguments: None,
            input: None,
        }
    }
}
