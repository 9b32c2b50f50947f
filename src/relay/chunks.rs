//! Chunks as the caller gets them: as they came but for a foreign word, and the usage chunk where OpenAI puts it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::chunk::Chunk;
use crate::api::scan::Span;
use crate::api::sse::Event;
use crate::api::usage;
use crate::units::NanoUsd;

use super::meter::Out;

/// Sends an event on: as it came, but for a foreign finish reason and a usage that is sent apart.
pub(super) fn forward(
    event: &Event,
    data: &Bytes,
    chunk: &Chunk,
    usage_to_null: Option<Span>,
    out: &mut Out,
) {
    let eos = chunk.finish.clone().filter(|span| &data[span.clone()] == b"\"eos\"");
    if eos.is_none() && usage_to_null.is_none() {
        out.push(event.raw.clone());
        return;
    }
    let mut changes: SmallVec<[(Span, &'static [u8]); 2]> = SmallVec::new();
    changes.extend(eos.map(|span| (span, &b"\"stop\""[..])));
    changes.extend(usage_to_null.map(|span| (span, &b"null"[..])));
    changes.sort_by_key(|(span, _)| span.start);
    replaced(event, data, &changes, out);
}

/// The event with `changes` made in its data.
fn replaced(event: &Event, data: &Bytes, changes: &[(Span, &'static [u8])], out: &mut Out) {
    let (raw, offset) = in_one_line(event, data);
    let mut at = 0;
    for (span, instead) in changes {
        out.push(raw.slice(at..offset + span.start));
        out.push(Bytes::from_static(instead));
        at = offset + span.end;
    }
    out.push(raw.slice(at..));
}

/// The event's bytes and where its data begins in them. Data over several lines is put on one: JSON does not mind.
pub(super) fn in_one_line(event: &Event, data: &Bytes) -> (Bytes, usize) {
    if let Some(span) = event.data_span() {
        return (event.raw.clone(), span.start);
    }
    let mut line = b"data: ".to_vec();
    line.extend(data.iter().map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    line.extend_from_slice(b"\n\n");
    (Bytes::from(line), 6)
}

/// The provider's usage chunk with empty `choices` and the cost inside.
pub(super) fn usage_chunk(
    event: &Event,
    data: &Bytes,
    chunk: &Chunk,
    usage: &Span,
    cost: Option<NanoUsd>,
) -> Out {
    let mut out = Out::new();
    let (raw, offset) = in_one_line(event, data);
    let mut changes: SmallVec<[(Span, Bytes); 2]> = SmallVec::new();
    if chunk.choice_count > 0 {
        changes.extend(chunk.choices.clone().map(|span| (span, Bytes::from_static(b"[]"))));
    }
    let states_cost = usage::read(&data[usage.clone()]).is_ok_and(|report| report.cost.is_some());
    if let Some(cost) = cost.filter(|_| !states_cost) {
        let at = usage.end - 1;
        changes.push((at..at, cost_member(&data[usage.clone()], cost)));
    }
    changes.sort_by_key(|(span, _)| span.start);
    let mut at = 0;
    for (span, instead) in changes {
        out.push(raw.slice(at..offset + span.start));
        out.push(instead);
        at = offset + span.end;
    }
    out.push(raw.slice(at..));
    out
}

/// A usage object with the cost as its last member.
pub(super) fn with_cost(usage: Bytes, cost: Option<NanoUsd>) -> Out {
    let Some(cost) = cost else { return [usage].into_iter().collect() };
    let end = usage.len() - 1;
    let member = cost_member(&usage, cost);
    [usage.slice(..end), member, usage.slice(end..)].into_iter().collect()
}

pub(super) fn cost_member(usage: &[u8], cost: NanoUsd) -> Bytes {
    let empty = usage.iter().all(|byte| b"{} \t\r\n".contains(byte));
    Bytes::from(format!("{}\"cost\":{cost}", if empty { "" } else { "," }))
}

pub(super) fn own_chunk(head: &str, usage: Out) -> Out {
    let mut out = Out::new();
    let head = if head.is_empty() { "{\"object\":\"chat.completion.chunk\"" } else { head };
    out.push(Bytes::from(format!("data: {head},\"choices\":[],\"usage\":")));
    out.extend(usage);
    out.push(Bytes::from_static(b"}\n\n"));
    out
}
