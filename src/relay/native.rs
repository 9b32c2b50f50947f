//! A provider's own Responses, streamed and whole: on as they came, with the bill put into the object that ends them.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::responses::heard::{self, Heard, Outline, What};
use crate::api::responses::{self, Head};
use crate::api::scan::{self, Span};
use crate::api::splice::Pieces;
use crate::api::sse::Event;
use crate::api::usage;
use crate::units::{Reported, Usage};

use super::chunks::{cost_member, in_one_line};
use super::meter::{Flow, NO_FINISH, Out};
use super::parts::Bill;

/// Follows one stream.
#[derive(Debug)]
pub struct NativeMeter {
    prompt_tokens: u64,
    content_events: u64,
    reported: Option<Reported>,
    /// The number that the next event will have.
    next: u64,
    head: Option<Head>,
    /// Whether the event that ends the answer has come.
    ended: bool,
    /// Whether the provider has told of a fault in an event that clients know.
    told: bool,
}

impl NativeMeter {
    /// A meter for a stream about a prompt of so many tokens, by our estimate.
    pub const fn new(prompt_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            content_events: 0,
            reported: None,
            next: 0,
            head: None,
            ended: false,
            told: false,
        }
    }

    /// Whether the answer is whole. What comes behind it goes on all the same.
    pub const fn is_finished(&self) -> bool {
        self.ended
    }

    /// What the provider reported.
    pub const fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// Our own count, for a stream without a report.
    pub fn counted(&self) -> Usage {
        Usage { prompt: self.prompt_tokens, completion: self.content_events, ..Usage::default() }
    }

    /// Takes one event. `bill` says what a report, or else a count, comes to.
    pub fn take(
        &mut self,
        event: &Event,
        bill: impl Fn(Option<&Reported>, Usage) -> Bill,
        out: &mut Out,
    ) -> Flow {
        let data = event.data().filter(|_| !self.ended);
        let Some(data) = data else {
            out.push(event.raw.clone());
            return Flow::On;
        };
        if data.starts_with(b"[DONE]") {
            return Flow::Broken(NO_FINISH);
        }
        let Ok(heard) = scan::check_utf8(&data).and_then(|()| heard::event(&data)) else {
            return Flow::Broken("an event was not JSON");
        };
        self.next = heard.number.unwrap_or(self.next).saturating_add(1);
        self.note(&data, &heard);
        match (heard.what, &heard.response) {
            (What::Fault { known }, _) => {
                self.told = known;
                out.push(event.raw.clone());
                return Flow::Broken("the provider reported an error");
            }
            (What::End, Some(response)) => {
                self.ended = true;
                let bill = bill(self.reported.as_ref(), self.counted());
                match billed(&data, response, self.reported.as_ref(), &bill) {
                    None => out.push(event.raw.clone()),
                    Some((place, instead)) => {
                        let (raw, offset) = in_one_line(event, &data);
                        out.push(raw.slice(..offset + place.start));
                        out.push(instead);
                        out.push(raw.slice(offset + place.end..));
                    }
                }
                return Flow::On;
            }
            (What::End, None) => self.ended = true,
            (What::Content, _) => self.content_events += 1,
            (What::Nothing, _) => {}
        }
        out.push(event.raw.clone());
        Flow::On
    }

    fn note(&mut self, data: &Bytes, heard: &Heard) {
        let Some(response) = &heard.response else { return };
        if self.head.is_none() {
            self.head = Some(Head::of(data, response));
        }
        self.reported = reported(data, response).or(self.reported);
    }

    /// The provider's bytes are at their end.
    pub const fn end(&self) -> Flow {
        if self.ended { Flow::Ended } else { Flow::Broken(NO_FINISH) }
    }

    /// What is told of a break; nothing where the provider has told of it so that clients know.
    pub fn failed(&self, code: &str, message: &str) -> Bytes {
        if self.told {
            return Bytes::new();
        }
        let head = Head::default();
        responses::broken_off(self.next, self.head.as_ref().unwrap_or(&head), code, message).into()
    }
}

/// What the provider reported in the Response object that `outline` found in `data`.
fn reported(data: &Bytes, outline: &Outline) -> Option<Reported> {
    let usage = outline.usage.clone().filter(|_| outline.has_usage)?;
    Some(usage::read(&data[usage]).unwrap_or(Reported { odd: true, ..Reported::default() }))
}

/// What puts the bill into a Response object: where it stands in `data`, and what stands there instead. `None`: nothing is to
/// be put in.
fn billed(
    data: &Bytes,
    outline: &Outline,
    reported: Option<&Reported>,
    bill: &Bill,
) -> Option<(Span, Bytes)> {
    match &outline.usage {
        Some(usage) if outline.has_usage => {
            let cost = bill.cost.filter(|_| reported.is_none_or(|report| report.cost.is_none()))?;
            let at = usage.end - 1;
            Some((at..at, cost_member(&data[usage.clone()], cost)))
        }
        // What is missing is counted here, and says so.
        Some(usage) => Some((usage.clone(), responses::usage(&(*bill).into()))),
        None => {
            let at = outline.span.end - 1;
            let own = responses::usage(&(*bill).into());
            Some((at..at, [&b",\"usage\":"[..], &own].concat().into()))
        }
    }
}

/// What the provider reported in the whole Response that `body` is.
pub fn reported_in(body: &Bytes) -> Option<Reported> {
    reported(body, &heard::whole(body).ok()?)
}

/// A whole Response as the caller gets it.
pub fn body_with_bill(body: &Bytes, reported: Option<&Reported>, bill: &Bill) -> Pieces {
    let change = heard::whole(body).ok().and_then(|outline| billed(body, &outline, reported, bill));
    match change {
        None => SmallVec::from_iter([body.clone()]),
        Some((place, instead)) => {
            SmallVec::from_iter([body.slice(..place.start), instead, body.slice(place.end..)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sse::Scanner;
    use crate::units::NanoUsd;

    const FIXTURE: &str = include_str!("../../tests/fixtures/providers/openai_responses_stream.sse");

    fn bill(report: Option<&Reported>, counted: Usage) -> Bill {
        Bill {
            cost: Some(NanoUsd(740_080)),
            usage: report.map_or(counted, |report| report.usage),
            estimated: report.is_none(),
        }
    }

    fn relayed<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> (String, Flow, NativeMeter) {
        let (mut scanner, mut meter) = (Scanner::new(1 << 20), NativeMeter::new(3));
        let (mut out, mut flow) = (Out::new(), Flow::On);
        for frame in frames {
            scanner.push(Bytes::copy_from_slice(frame));
            while let Some(event) = scanner.next_event().unwrap().filter(|_| flow == Flow::On) {
                flow = meter.take(&event, bill, &mut out);
            }
        }
        if flow == Flow::On {
            flow = meter.end();
        }
        (String::from_utf8(out.concat()).unwrap(), flow, meter)
    }

    #[test]
    fn r05_a_stream_differs_by_its_cost_alone() {
        let (out, flow, meter) = relayed([FIXTURE.as_bytes()]);
        assert_eq!(flow, Flow::Ended);
        let without = out.replace(",\"cost\":0.000740080", "");
        assert_eq!(without, FIXTURE);
        assert_eq!(out.matches("\"cost\"").count(), 1);
        let usage = meter.reported().unwrap().usage;
        assert_eq!((usage.prompt, usage.completion, meter.counted().completion), (40, 4, 3));
        // And what the provider states itself is left as it is.
        let stated = FIXTURE.replace("\"input_tokens\":40", "\"cost\":0.5,\"input_tokens\":40");
        assert_eq!(relayed([stated.as_bytes()]).0, stated);
    }

    #[test]
    fn a_usage_that_is_missing_is_counted_and_says_so() {
        for usage in ["\"usage\":null,", ""] {
            let end = format!(
                "data: {{\"type\":\"response.completed\",\"response\":{{{usage}\"id\":\"r\"}}}}\n\ndata: [DONE]\n\n"
            );
            let (out, flow, _) = relayed([end.as_bytes()]);
            assert_eq!(flow, Flow::Ended);
            let data = out.strip_prefix("data: ").unwrap().strip_suffix("\n\ndata: [DONE]\n\n").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let usage = &data["response"]["usage"];
            assert_eq!((&usage["input_tokens"], &usage["estimated"]), (&3.into(), &true.into()), "{out}");
        }
    }

    #[test]
    fn r08_a_cut_stream_never_looks_whole() {
        let ends: Vec<usize> = FIXTURE.match_indices("\n\n").map(|(at, _)| at + 2).collect();
        for (number, end) in ends[..ends.len() - 1].iter().enumerate() {
            let (out, flow, meter) = relayed([&FIXTURE.as_bytes()[..*end]]);
            assert_eq!((out.as_str(), flow), (&FIXTURE[..*end], Flow::Broken(NO_FINISH)));
            let told = String::from_utf8(meter.failed("stream_broken", "gone").to_vec()).unwrap();
            let next = number + 1;
            assert!(told.starts_with(&format!(
                "event: error\ndata: {{\"type\":\"error\",\"sequence_number\":{next},"
            )));
            assert!(told.contains("event: response.failed") && told.contains("resp_fixture0000000000000001"));
        }
    }

    #[test]
    fn r08_a_fault_is_told_once_in_words_that_clients_know() {
        let begun = &FIXTURE[..FIXTURE.find("event: response.output_text.done").unwrap()];
        let known =
            "event: error\ndata: {\"type\":\"error\",\"message\":\"worker died\",\"sequence_number\":6}\n\n";
        let (out, flow, meter) = relayed([[begun, known, known].concat().as_bytes()]);
        assert_eq!(out, [begun, known].concat());
        assert!(matches!(flow, Flow::Broken(_)) && meter.failed("c", "m").is_empty());
        let odd = "data: {\"error\":{\"message\":\"worker died\"}}\n\n";
        let (out, flow, meter) = relayed([[begun, odd].concat().as_bytes()]);
        assert_eq!(out, [begun, odd].concat());
        assert!(matches!(flow, Flow::Broken(_)) && !meter.failed("c", "m").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn r07_any_split_of_a_stream_relays_the_same(cuts in proptest::collection::vec(0..FIXTURE.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.push(FIXTURE.len());
            cuts.sort_unstable();
            let mut from = 0;
            let frames = cuts.into_iter().map(|end| &FIXTURE.as_bytes()[std::mem::replace(&mut from, end)..end]);
            let (out, flow, meter) = relayed(frames);
            let (whole, ..) = relayed([FIXTURE.as_bytes()]);
            proptest::prop_assert_eq!((out, flow), (whole, Flow::Ended));
            proptest::prop_assert_eq!(meter.reported().unwrap().usage.prompt, 40);
        }
    }
}
