//! What a stream's events mean: which go on as they came, which are held back, and when the stream has ended, well or not.
//!
//! Providers end their streams in six ways; OpenAI's is the one promised: exactly one usage chunk with empty `choices` if
//! the caller asked and none if not, then `[DONE]`. A stream that breaks never looks whole. No I/O here.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::chunk::{self, Chunk};
use crate::api::scan::{self, Span};
use crate::api::sse::Event;
use crate::api::usage;
use crate::units::{NanoUsd, Reported, Usage};

/// Bytes to send on, in order.
pub type Out = SmallVec<[Bytes; 4]>;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// Where a stream stands after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More is to come.
    On,
    /// It has ended as it should.
    Ended,
    /// It has broken, for this reason; an error event has been or must be sent.
    Broken(&'static str),
}

/// Follows one stream.
#[derive(Debug)]
pub struct Meter {
    usage_asked: bool,
    prompt_tokens: u64,
    seen: u64,
    finished: u64,
    content_events: u64,
    reported: Option<Reported>,
    /// The usage chunk, held until the stream's end so that the last one counts and only one is sent.
    usage_chunk: Option<Out>,
    /// The beginning of a chunk of our own in this stream.
    head: Option<Box<str>>,
    /// Whether a fault was told to the caller already, by the upstream's own words.
    told: bool,
}

impl Meter {
    /// A meter for a stream whose caller did or did not ask for usage; `prompt_tokens` is our estimate.
    pub const fn new(usage_asked: bool, prompt_tokens: u64) -> Self {
        Self {
            usage_asked,
            prompt_tokens,
            seen: 0,
            finished: 0,
            content_events: 0,
            reported: None,
            usage_chunk: None,
            head: None,
            told: false,
        }
    }

    /// What the provider reported so far.
    pub const fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// How many events carried content: about one token each.
    pub const fn content_events(&self) -> u64 {
        self.content_events
    }

    /// Whether the caller has been told of a fault by an event that went on.
    pub const fn told(&self) -> bool {
        self.told
    }

    /// Takes one event. `cost` prices a report.
    pub fn take(
        &mut self,
        event: &Event,
        cost: impl Fn(Option<&Reported>, Usage) -> Option<NanoUsd>,
        out: &mut Out,
    ) -> Flow {
        let Some(data) = event.data() else {
            out.push(event.raw.clone());
            return Flow::On;
        };
        if data.starts_with(b"[DONE]") {
            self.usage_at_end(cost, out);
            out.push(event.raw.clone());
            return Flow::Ended;
        }
        let Ok(chunk) = scan::check_utf8(&data).and_then(|()| chunk::read(&data)) else {
            return Flow::Broken("an event was not JSON");
        };
        if chunk.error.is_some() {
            self.told = true;
            out.push(event.raw.clone());
            return Flow::Broken("the provider reported an error");
        }
        if chunk.finish_is_fault {
            return Flow::Broken("the provider broke off its answer");
        }
        if self.usage_asked && self.head.is_none() {
            self.head = Some(head_of(&data, &chunk));
        }
        self.content_events += u64::from(chunk.has_content);
        let finished_before = self.seen != 0 && self.seen & !self.finished == 0;
        self.seen |= chunk.seen;
        self.finished |= chunk.finished;
        let Some(usage) = chunk.usage.clone() else {
            forward(event, &data, &chunk, None, out);
            return Flow::On;
        };
        let report =
            usage::read(&data[usage.clone()]).unwrap_or(Reported { odd: true, ..Reported::default() });
        self.reported = Some(report);
        let is_usage_chunk = chunk.choice_count == 0 || (finished_before && !chunk.has_content);
        match (is_usage_chunk, self.usage_asked) {
            (true, true) => {
                self.usage_chunk =
                    Some(usage_chunk(event, &data, &chunk, &usage, cost(Some(&report), self.counted())));
            }
            (true, false) => {}
            // Usage on the finish chunk: split off, so that the caller finds it where OpenAI puts it.
            (false, true) if chunk.finished != 0 => {
                forward(event, &data, &chunk, Some(usage.clone()), out);
                let head = self.head.as_deref().unwrap_or_default();
                let body = with_cost(
                    data.slice(usage),
                    report.cost.is_none().then(|| cost(Some(&report), self.counted())).flatten(),
                );
                self.usage_chunk = Some(own_chunk(head, body));
            }
            (false, _) => forward(event, &data, &chunk, None, out),
        }
        Flow::On
    }

    /// The upstream's body is at its end without `[DONE]`: whole all the same if every choice had finished.
    pub fn end(&mut self, cost: impl Fn(Option<&Reported>, Usage) -> Option<NanoUsd>, out: &mut Out) -> Flow {
        if self.seen == 0 || self.seen & !self.finished != 0 {
            return Flow::Broken("the provider's stream ended before its answer did");
        }
        self.usage_at_end(cost, out);
        out.push(Bytes::from_static(DONE));
        Flow::Ended
    }

    /// Our own count, for a stream without a report.
    pub fn counted(&self) -> Usage {
        Usage { prompt: self.prompt_tokens, completion: self.content_events, ..Usage::default() }
    }

    fn usage_at_end(&mut self, cost: impl Fn(Option<&Reported>, Usage) -> Option<NanoUsd>, out: &mut Out) {
        if !self.usage_asked {
            return;
        }
        if let Some(chunk) = self.usage_chunk.take() {
            out.extend(chunk);
            return;
        }
        // Asked for, and never sent: the caller gets what is known, marked where it is our own count.
        let (counts, estimated) =
            self.reported.map_or((self.counted(), true), |report| (report.usage, report.odd));
        let body = usage::write(&counts, cost(self.reported.as_ref(), self.counted()), estimated);
        out.extend(own_chunk(
            self.head.as_deref().unwrap_or_default(),
            [Bytes::from(body)].into_iter().collect(),
        ));
    }
}

/// Sends an event on: as it came, but for a foreign finish reason and a usage that is sent apart.
fn forward(event: &Event, data: &Bytes, chunk: &Chunk, usage_to_null: Option<Span>, out: &mut Out) {
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
fn in_one_line(event: &Event, data: &Bytes) -> (Bytes, usize) {
    if let Some(span) = event.data_span() {
        return (event.raw.clone(), span.start);
    }
    let mut line = b"data: ".to_vec();
    line.extend(data.iter().map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    line.extend_from_slice(b"\n\n");
    (Bytes::from(line), 6)
}

/// The provider's usage chunk with empty `choices` and the cost inside.
fn usage_chunk(event: &Event, data: &Bytes, chunk: &Chunk, usage: &Span, cost: Option<NanoUsd>) -> Out {
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
pub fn with_cost(usage: Bytes, cost: Option<NanoUsd>) -> Out {
    let Some(cost) = cost else { return [usage].into_iter().collect() };
    let end = usage.len() - 1;
    let member = cost_member(&usage, cost);
    [usage.slice(..end), member, usage.slice(end..)].into_iter().collect()
}

fn cost_member(usage: &[u8], cost: NanoUsd) -> Bytes {
    let empty = usage.iter().all(|byte| b"{} \t\r\n".contains(byte));
    Bytes::from(format!("{}\"cost\":{cost}", if empty { "" } else { "," }))
}

/// `{"id":…,"object":…,"created":…,"model":…` in the stream's own words, for a chunk that the provider did not send.
fn head_of(data: &Bytes, chunk: &Chunk) -> Box<str> {
    let text = |span: &Option<Span>, otherwise: &str| {
        span.as_ref().map_or_else(
            || otherwise.to_owned(),
            |span| String::from_utf8_lossy(&data[span.clone()]).into_owned(),
        )
    };
    let (id, created, model) =
        (text(&chunk.id, "\"\""), text(&chunk.created, "0"), text(&chunk.model, "\"\""));
    format!("{{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model}")
        .into()
}

fn own_chunk(head: &str, usage: Out) -> Out {
    let mut out = Out::new();
    let head = if head.is_empty() { "{\"object\":\"chat.completion.chunk\"" } else { head };
    out.push(Bytes::from(format!("data: {head},\"choices\":[],\"usage\":")));
    out.extend(usage);
    out.push(Bytes::from_static(b"}\n\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sse::Scanner;

    fn relayed(stream: &str, usage_asked: bool) -> (String, Flow, Meter) {
        let mut scanner = Scanner::new(1 << 20);
        let mut meter = Meter::new(usage_asked, 3);
        let mut out = Out::new();
        let cost = |_: Option<&Reported>, _: Usage| Some(NanoUsd(740_080));
        scanner.push(Bytes::copy_from_slice(stream.as_bytes()));
        let mut flow = Flow::On;
        while let Some(event) = scanner.next_event().unwrap() {
            flow = meter.take(&event, cost, &mut out);
            if flow != Flow::On {
                break;
            }
        }
        if flow == Flow::On {
            flow = meter.end(cost, &mut out);
        }
        (String::from_utf8(out.concat()).unwrap(), flow, meter)
    }

    const TEXT: &str = "data: {\"id\":\"x\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    const FINISH: &str =
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str =
        "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n";
    const FINISH_WITH_USAGE: &str = "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n";
    const REPEATED: &str = "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"cost\":0.5}}\n\n";
    const END: &str = "data: [DONE]\n\n";

    #[test]
    fn r08_unasked_usage_is_taken_out_and_the_rest_is_the_same_bytes() {
        let (out, flow, meter) = relayed(&[": hi\n\n", TEXT, FINISH, USAGE, END].concat(), false);
        assert_eq!((out, flow), ([": hi\n\n", TEXT, FINISH, END].concat(), Flow::Ended));
        assert_eq!(meter.reported().unwrap().usage.prompt, 9);
        let (out, ..) = relayed(&[TEXT, FINISH, REPEATED, END].concat(), false);
        assert_eq!(out, [TEXT, FINISH, END].concat());
        let (out, ..) = relayed(&[TEXT, FINISH_WITH_USAGE, END].concat(), false);
        assert_eq!(out, [TEXT, FINISH_WITH_USAGE, END].concat());
    }

    #[test]
    fn asked_usage_comes_once_with_the_cost_and_empty_choices() {
        let costed = USAGE.replace("1}}", "1,\"cost\":0.000740080}}");
        let (out, ..) = relayed(&[TEXT, FINISH, USAGE, END].concat(), true);
        assert_eq!(out, [TEXT, FINISH, &costed, END].concat());
        let (out, ..) = relayed(&[TEXT, FINISH, REPEATED, END].concat(), true);
        let own = "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"cost\":0.5}}\n\n";
        assert_eq!(out, [TEXT, FINISH, own, END].concat());
        let (out, ..) = relayed(&[TEXT, FINISH_WITH_USAGE, END].concat(), true);
        let finish = FINISH_WITH_USAGE.replace("{\"prompt_tokens\":9,\"completion_tokens\":1}", "null");
        let own = "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"cost\":0.000740080}}\n\n";
        assert_eq!(out, [TEXT, &finish, own, END].concat());
    }

    #[test]
    fn asked_and_never_sent_is_estimated_and_says_so() {
        let (out, flow, _) = relayed(&[TEXT, FINISH, END].concat(), true);
        assert_eq!(flow, Flow::Ended);
        assert!(out.contains("\"completion_tokens\":1") && out.contains("\"estimated\":true"), "{out}");
    }

    #[test]
    fn r08_a_cut_stream_never_looks_whole() {
        let (out, flow, _) = relayed(TEXT, false);
        assert_eq!(out, TEXT);
        assert!(matches!(flow, Flow::Broken(_)));
        let (out, flow, _) = relayed(&[TEXT, FINISH].concat(), false);
        assert_eq!((out, flow), ([TEXT, FINISH, END].concat(), Flow::Ended));
    }

    #[test]
    fn r08_an_error_event_ends_it_even_when_done_follows() {
        let error = "data: {\"error\":{\"message\":\"worker died\",\"code\":500}}\n\n";
        let (out, flow, meter) = relayed(&[TEXT, error, END].concat(), false);
        assert_eq!(out, [TEXT, error].concat());
        assert!(matches!(flow, Flow::Broken(_)) && meter.told());
    }

    #[test]
    fn togethers_eos_is_a_stop() {
        let (out, ..) = relayed(&[TEXT, &FINISH.replace("stop", "eos"), END].concat(), false);
        assert_eq!(out, [TEXT, FINISH, END].concat());
    }
}
