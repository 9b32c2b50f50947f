//! Answers kept for equal requests: taken down as the upstream says them, and told again as if it said them now, at no cost.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::api::chunk;
use crate::api::responses::heard;
use crate::api::scan::{self, Scanner as JsonScanner, Span};
use crate::api::splice::{self, Edit, splice};
use crate::api::sse::{Event, Scanner};
use crate::units::{NanoUsd, Reported, Usage};
use crate::upstream::{Form, Whole};

use super::chunks::in_one_line;
use super::ear::Ear;
use super::faced::Faced;
use super::meter::{Flow, Meter, Out};
use super::native::NativeMeter;
use super::parts::Bill;
use super::whole;

/// Longest answer that is kept, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A stream that is being taken down.
pub struct Keeping {
    said: Vec<u8>,
    /// What becomes of it once it has ended well, with what it cost.
    keep: Box<dyn FnOnce(Bytes, NanoUsd) + Send>,
    too_long: bool,
}

impl Keeping {
    /// Gives the whole stream to `keep`, if it ends well and is not too long.
    pub fn new(keep: impl FnOnce(Bytes, NanoUsd) + Send + 'static) -> Self {
        Self { said: Vec::new(), keep: Box::new(keep), too_long: false }
    }

    pub(super) fn hear(&mut self, event: &Event) {
        if self.too_long || self.said.len() + event.raw.len() > ANSWER_BYTES_MAX {
            self.too_long = true;
            self.said = Vec::new();
            return;
        }
        match event.data().and_then(|data| without_cost(&data)) {
            None => self.said.extend_from_slice(&event.raw),
            Some(free) => self.said.extend_from_slice(&Event::of(&free).raw),
        }
    }

    pub(super) fn whole(self, cost: Option<NanoUsd>) {
        if let Some(cost) = cost.filter(|_| !self.too_long) {
            (self.keep)(Bytes::from(self.said), cost);
        }
    }
}

/// A whole answer as it is kept, of `answer`; `None`: it is too long.
pub fn kept(answer: &Whole) -> Option<Bytes> {
    let fits = answer.form == Form::Chat && answer.body.len() <= ANSWER_BYTES_MAX;
    fits.then(|| without_cost(&answer.body).unwrap_or_else(|| Bytes::copy_from_slice(&answer.body)))
}

/// What a stream is told by.
pub enum By {
    /// A chat's words, in this shape if it is another.
    Chat(Box<Meter>, Option<Faced>),
    /// A provider's own Responses.
    Native(NativeMeter),
}

/// A kept stream as it is told now; `None`: it does not end as it should. `bill` is what it comes to, where that is known.
pub fn stream_told(said: Bytes, by: By, bill: Option<Bill>) -> Option<VecDeque<Bytes>> {
    let (mut ear, mut face) = match by {
        By::Chat(meter, face) => (Ear::Chat(*meter), face),
        By::Native(meter) => (Ear::Native(meter), None),
    };
    let bill = |reported: Option<&Reported>, counted: Usage| bill.unwrap_or_else(|| free(reported, counted));
    let mut events = Scanner::new(ANSWER_BYTES_MAX);
    events.push(said);
    let mut told = VecDeque::new();
    loop {
        let event = events.next_event().ok()?.or_else(|| events.finish());
        let mut out = Out::new();
        let flow = match &event {
            Some(event) => ear.take(&freed(event, ear.is_native()), bill, &mut out),
            None => ear.end(bill, &mut out),
        };
        let ended = match flow {
            Flow::On => None,
            Flow::Ended => Some(bill(ear.reported(), ear.counted())),
            Flow::Broken(_) => return None,
        };
        match face.as_mut() {
            None => told.extend(out.into_iter().filter(|bytes| !bytes.is_empty())),
            Some(face) => {
                let mut words = Vec::new();
                face.relay(&out, ended.map(Bill::into).as_ref(), &mut words).ok()?;
                told.extend((!words.is_empty()).then(|| Bytes::from(words)));
            }
        }
        if ended.is_some() {
            return Some(told);
        }
        event?;
    }
}

/// A kept whole answer as it is told now, with what was reported of it; `None`: it cannot be read.
pub fn whole_told(body: Bytes, writes: bool) -> Option<(Whole, Bill)> {
    let chunk = chunk::read(&body).ok()?;
    let whole = Whole { headers: http::HeaderMap::new(), body, chunk, form: Form::Chat };
    let bill = free(whole::reported(&whole, writes).as_ref(), Usage::default());
    Some((whole, bill))
}

/// What an answer costs that was paid for before.
fn free(reported: Option<&Reported>, counted: Usage) -> Bill {
    let usage = reported.map_or(counted, |reported| reported.usage);
    Bill { cost: Some(NanoUsd::ZERO), usage, estimated: reported.is_none() }
}

/// `event` without what it says of a cost.
fn freed(event: &Event, is_native: bool) -> Event {
    let free = event.data().and_then(|data| {
        if !is_native {
            return without_cost(&data).map(|free| Event::of(&free));
        }
        let free = without_native_cost(&data)?;
        // Its name stands before its data.
        let (raw, at) = in_one_line(event, &data);
        let raw = [&raw[..at], &free, &raw[at + data.len()..]].concat();
        let mut events = Scanner::new(usize::MAX);
        events.push(Bytes::from(raw));
        events.next_event().ok().flatten()
    });
    free.unwrap_or_else(|| event.clone())
}

/// `answer` without what its provider says that it cost; `None`: it says nothing of that.
pub(super) fn without_cost(answer: &Bytes) -> Option<Bytes> {
    // Most events say nothing of usage at all.
    memchr::memmem::find(answer, b"\"usage\"")?;
    without_members(answer, chunk::read(answer).ok()?.usage?)
}

/// The same of a provider's own Response, or of the event that ends one.
pub(super) fn without_native_cost(answer: &Bytes) -> Option<Bytes> {
    memchr::memmem::find(answer, b"\"usage\"")?;
    let of_event = heard::event(answer).ok().and_then(|heard| heard.response);
    let outline = of_event.or_else(|| heard::whole(answer).ok())?;
    without_members(answer, outline.usage.filter(|_| outline.has_usage)?)
}

/// `answer` without the members of `usage` that tell of a cost.
fn without_members(answer: &Bytes, span: Span) -> Option<Bytes> {
    let usage = answer.slice(span.clone());
    let members = splice::members(&mut JsonScanner::new(&usage, scan::DEPTH_LIMIT)).ok()?;
    let places =
        ["cost", "cost_details"].map(|name| splice::member(&usage, &members, name).map(|(at, _)| at));
    let edits: Vec<Edit> = places.into_iter().flatten().map(Edit::Remove).collect();
    if edits.is_empty() {
        return None;
    }
    let free = splice(&usage, &members, &edits).concat();
    Some(Bytes::from([&answer[..span.start], &free, &answer[span.end..]].concat()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn text(told: &VecDeque<Bytes>) -> String {
        told.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    const STREAM: &str = "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n\
                          data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                          data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"cost\":0.5}}\n\n\
                          data: [DONE]\n\n";

    fn taken_down(stream: &'static str) -> Bytes {
        let got = Arc::new(Mutex::new(None));
        let into = Arc::clone(&got);
        let mut keeping = Keeping::new(move |said, _| *into.lock().unwrap() = Some(said));
        let mut events = Scanner::new(1 << 20);
        events.push(Bytes::from_static(stream.as_bytes()));
        while let Ok(Some(event)) = events.next_event() {
            keeping.hear(&event);
        }
        keeping.whole(Some(NanoUsd(1)));
        let said = got.lock().unwrap().take();
        said.unwrap()
    }

    #[test]
    fn a_stream_is_told_again_at_no_cost() {
        let told = text(
            &stream_told(taken_down(STREAM), By::Chat(Box::new(Meter::new(true, 3)), None), None).unwrap(),
        );
        assert!(told.contains("\"content\":\"hi\"") && told.ends_with("data: [DONE]\n\n"), "{told}");
        assert!(told.contains("\"cost\":0.000000000") && !told.contains("0.5"), "{told}");
        let without = text(
            &stream_told(taken_down(STREAM), By::Chat(Box::new(Meter::new(false, 3)), None), None).unwrap(),
        );
        assert!(!without.contains("usage"), "nobody asked: {without}");
    }

    #[test]
    fn what_does_not_end_as_it_should_is_not_told() {
        let cut = &STREAM[..STREAM.find("\"finish_reason").unwrap() - 40];
        assert!(stream_told(taken_down(cut), By::Chat(Box::new(Meter::new(true, 3)), None), None).is_none());
    }

    #[test]
    fn a_whole_answer_is_told_again_at_no_cost() {
        let body = Bytes::from_static(br#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"cost":1,"prompt_tokens":2,"completion_tokens":1}}"#);
        let (whole, bill) = whole_told(without_cost(&body).unwrap(), true).unwrap();
        assert_eq!((bill.cost, bill.usage.prompt), (Some(NanoUsd::ZERO), 2));
        assert!(!String::from_utf8_lossy(&whole.body).contains("cost"));
    }
}
