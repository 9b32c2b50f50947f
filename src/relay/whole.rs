//! A whole answer: its bytes as they came, with the cost put into its usage.

use bytes::Bytes;

use crate::api::splice::Pieces;
use crate::api::usage;
use crate::units::{NanoUsd, Reported};
use crate::upstream::Whole;

use super::chunks;

/// What the provider reported in `whole`, if it did. Of an answer that nobody `writes`, all tokens are the prompt's, and some
/// report no more than their sum.
pub fn reported(whole: &Whole, writes: bool) -> Option<Reported> {
    let span = whole.chunk.usage.clone()?;
    let mut reported =
        usage::read(&whole.body[span]).unwrap_or(Reported { odd: true, ..Reported::default() });
    if !writes {
        let usage = &mut reported.usage;
        usage.prompt = if usage.prompt == 0 { reported.total } else { usage.prompt };
        usage.completion = 0;
    }
    Some(reported)
}

/// The body as the caller gets it.
pub fn body_with_cost(whole: &Whole, reported: Option<&Reported>, cost: Option<NanoUsd>) -> Pieces {
    let body = &whole.body;
    let mut changes: Vec<(usize, usize, Bytes)> = Vec::new();
    if let Some(span) = whole.chunk.finish.clone().filter(|span| &body[span.clone()] == b"\"eos\"") {
        changes.push((span.start, span.end, Bytes::from_static(b"\"stop\"")));
    }
    let own_cost = cost.filter(|_| reported.is_some_and(|report| report.cost.is_none()));
    if let (Some(span), Some(cost)) = (whole.chunk.usage.clone(), own_cost) {
        let usage = chunks::with_cost(body.slice(span.clone()), Some(cost));
        // Only the inserted member matters: the pieces before and after are the body's own.
        if let [_, member, _] = usage.as_slice() {
            changes.push((span.end - 1, span.end - 1, member.clone()));
        }
    }
    changes.sort_by_key(|change| change.0);
    let mut pieces = Pieces::new();
    let mut at = 0;
    for (start, end, instead) in changes {
        pieces.push(body.slice(at..start));
        pieces.push(instead);
        at = end;
    }
    pieces.push(body.slice(at..));
    pieces
}
