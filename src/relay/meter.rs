//! What a stream's events mean: which go on as they came, which are held back, and when the stream has ended, well or not.
//!
//! Where the policy wants a broken stream to be gone on with, it also keeps what was said (`transcript`) and joins what comes
//! after the break (`seam`). Providers end their streams in six ways; OpenAI's is the one promised: exactly one usage chunk with empty `choices` if
//! the caller asked and none if not, then `[DONE]`. A stream that breaks never looks whole. No I/O here.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::chunk::{self, Chunk};
use crate::api::continued::SoFar;
use crate::api::sse::Event;
use crate::api::tokens::{Tally, Vocabulary};
use crate::api::usage;
use crate::units::{Reported, Usage};

use super::chunks::{forward, own_chunk, usage_chunk, with_cost};
use super::parts::Bill;
use super::seam::{Identity, Joined, Seam};
use super::transcript::Transcript;

/// Bytes to send on, in order.
pub type Out = SmallVec<[Bytes; 4]>;

const DONE: &[u8] = b"data: [DONE]\n\n";
pub(super) const NO_FINISH: &str = "the provider's stream ended before its answer did";
/// How far a short text's estimate may be off: of rare words and signs it makes more than they are.
const SLACK_TOKENS: u64 = 32;

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
#[derive(Debug, Default)]
pub struct Meter {
    chunks: chunk::Reader,
    usage_asked: bool,
    prompt_tokens: u64,
    seen: u64,
    finished: u64,
    content_events: u64,
    /// What was said, in so far as it tells how many tokens it was.
    tally: Tally,
    vocabulary: Vocabulary,
    reported: Option<Reported>,
    /// The usage chunk, held until the stream's end so that the last one counts and only one is sent.
    usage_chunk: Option<Out>,
    /// The beginning of a chunk of our own in this stream.
    head: Option<Box<str>>,
    /// What is kept so that another route can go on; `None`: none will be asked to.
    kept: Option<Box<Kept>>,
    /// Whether we may have to end the stream ourselves, and what its chunks say alike, which is kept for that.
    may_end: bool,
    identity: Option<Box<Identity>>,
}

/// What is kept of a stream that another route may have to go on with.
#[derive(Debug, Default)]
struct Kept {
    transcript: Transcript,
    /// What its chunks say alike; known from the first.
    identity: Option<Identity>,
    /// Behind a break: how what comes now is joined to what came before.
    seam: Option<Seam>,
    tokens_before: u64,
}

impl Meter {
    /// A meter for a stream whose caller did or did not ask for usage; `prompt_tokens` is our estimate.
    pub fn new(usage_asked: bool, prompt_tokens: u64) -> Self {
        Self { usage_asked, prompt_tokens, ..Self::default() }
    }

    /// The same, for a stream whose tokens are known to be of that vocabulary.
    pub fn counting_by(self, vocabulary: Vocabulary) -> Self {
        Self { vocabulary, ..self }
    }

    /// Keeps what is said from now on, so that another route can go on where this one breaks off.
    pub fn keep(&mut self) {
        self.kept = Some(Box::default());
    }

    /// We may have to end the stream where more is said than is held for.
    pub fn may_end(&mut self) {
        self.may_end = true;
    }

    /// Tokens said so far, in all parts.
    pub fn said_in_all(&self) -> u64 {
        let before = self.kept.as_deref().map_or(0, |kept| kept.tokens_before);
        before + self.tokens().max(self.said())
    }

    /// What another route would have to go on from, or why none can.
    pub fn so_far(&self) -> Result<SoFar, &'static str> {
        let kept = self.kept.as_deref().ok_or("nothing was kept")?;
        if self.is_finished() {
            return Err("it had ended");
        }
        kept.transcript.so_far(kept.tokens_before + self.tokens())
    }

    /// Another route goes on from `so_far`; `resumed` is what the caller is told of that, a JSON array. `may_echo`: it may begin
    /// by saying all of it again.
    pub fn resume(&mut self, so_far: &SoFar, may_echo: bool, resumed: &str) {
        let Some(kept) = self.kept.as_deref_mut() else { return };
        let identity = kept.identity.clone().unwrap_or_default();
        kept.seam = Some(Seam::new(identity, so_far, may_echo, resumed));
        let before = std::mem::replace(&mut kept.tokens_before, so_far.tokens);
        let to_read = self.prompt_tokens + so_far.tokens.saturating_sub(before);
        let (kept, head, vocabulary) = (self.kept.take(), self.head.take(), self.vocabulary);
        let (may_end, identity) = (self.may_end, self.identity.take());
        *self = Self { vocabulary, head, kept, may_end, identity, ..Self::new(self.usage_asked, to_read) };
    }

    /// Whether every choice seen has had its finish reason.
    pub const fn is_finished(&self) -> bool {
        self.seen != 0 && self.seen & !self.finished == 0
    }

    /// The answer ends where its bound was reached: nothing is left to say but that, of each choice that has not ended.
    pub fn end_at_bound(&mut self, bill: impl Fn(Option<&Reported>, Usage) -> Bill, out: &mut Out) {
        let kept = self.kept.as_deref_mut();
        let mut more = "";
        let mut identity = self.identity.as_deref();
        if let Some(Kept { seam, identity: known, .. }) = kept {
            more = seam.as_mut().map_or("", |seam| seam.extension());
            identity = known.as_ref().or(identity);
        }
        let open = Some(self.seen & !self.finished).filter(|open| *open != 0).unwrap_or(1);
        for index in (0..u64::BITS).filter(|index| open & (1 << index) != 0) {
            out.extend(identity.map(|identity| identity.at_bound(index, std::mem::take(&mut more)).raw));
        }
        self.usage_at_end(bill, out);
        out.push(Bytes::from_static(DONE));
    }

    /// Tokens of the part under way.
    fn tokens(&self) -> u64 {
        self.reported.map_or(0, |report| report.usage.completion).max(self.content_events)
    }

    /// What the provider reported so far.
    pub const fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// Takes one event. `bill` says what a report, or else a count, comes to.
    pub fn take(
        &mut self,
        event: &Event,
        bill: impl Fn(Option<&Reported>, Usage) -> Bill,
        out: &mut Out,
    ) -> Flow {
        let Some(data) = event.data() else {
            out.push(event.raw.clone());
            return Flow::On;
        };
        if data.starts_with(b"[DONE]") {
            if !self.is_finished() {
                return Flow::Broken(NO_FINISH);
            }
            self.usage_at_end(bill, out);
            out.push(event.raw.clone());
            return Flow::Ended;
        }
        // It holds the chunk meanwhile; a stream that breaks needs it no more.
        let mut chunks = std::mem::take(&mut self.chunks);
        let Ok(chunk) = chunks.read(&data) else {
            return Flow::Broken("an event was not JSON");
        };
        if chunk.error.is_some() {
            out.push(event.raw.clone());
            return Flow::Broken("the provider reported an error");
        }
        if chunk.finish_is_fault {
            return Flow::Broken("the provider broke off its answer");
        }
        if self.kept.as_ref().is_some_and(|kept| kept.seam.is_some()) {
            let flow = self.join(&data, chunk, bill, out);
            self.chunks = chunks;
            return flow;
        }
        let report = self.report(&data, chunk);
        self.heard(event, &data, chunk, report, bill, out);
        self.chunks = chunks;
        Flow::On
    }

    fn report(&mut self, data: &Bytes, chunk: &Chunk) -> Option<Reported> {
        let usage = chunk.usage.clone()?;
        let report = usage::read(&data[usage]).unwrap_or(Reported { odd: true, ..Reported::default() });
        self.reported = Some(report);
        Some(report)
    }

    /// Takes a chunk of a continuation.
    fn join(
        &mut self,
        data: &Bytes,
        chunk: &Chunk,
        bill: impl Fn(Option<&Reported>, Usage) -> Bill,
        out: &mut Out,
    ) -> Flow {
        let usage = self.report(data, chunk).map(|report| {
            let Bill { cost, usage, estimated } = bill(Some(&report), self.counted());
            Bytes::from(usage::write(&usage, cost, estimated))
        });
        let Some(seam) = self.kept.as_deref_mut().and_then(|kept| kept.seam.as_mut()) else {
            return Flow::On;
        };
        let Joined::Chunks(chunks) = seam.join(data, chunk, usage) else {
            return Flow::Broken("the next route did not go on, but began anew");
        };
        for event in &chunks {
            // Ours, and whole: they were made of a chunk that was.
            let Some(data) = event.data() else { continue };
            let Ok(chunk) = chunk::read(&data) else { continue };
            let report = chunk.usage.clone().and_then(|usage| usage::read(&data[usage]).ok());
            self.heard(event, &data, &chunk, report, &bill, out);
        }
        Flow::On
    }

    /// Takes a chunk as the caller gets it, whose usage says `report`.
    fn heard(
        &mut self,
        event: &Event,
        data: &Bytes,
        chunk: &Chunk,
        report: Option<Reported>,
        bill: impl Fn(Option<&Reported>, Usage) -> Bill,
        out: &mut Out,
    ) {
        if self.usage_asked && self.head.is_none() {
            self.head = Some(Identity::of(data, chunk).head().into());
        }
        if self.may_end && self.identity.is_none() {
            self.identity = Some(Box::new(Identity::of(data, chunk)));
        }
        if let Some(kept) = &mut self.kept {
            kept.identity.get_or_insert_with(|| Identity::of(data, chunk));
            kept.transcript.hear(data, chunk);
        }
        self.content_events += u64::from(chunk.has_content);
        let text = chunk.content.as_ref().or(chunk.text.as_ref());
        for said in chunk.reasoning.as_ref().into_iter().chain(text) {
            self.tally.value(&data[said.clone()]);
        }
        if let Some(tools) = &chunk.tools {
            self.tally.arguments(&data[tools.clone()]);
        }
        let finished_before = self.is_finished();
        self.seen |= chunk.seen;
        self.finished |= chunk.finished;
        let (Some(usage), Some(report)) = (chunk.usage.clone(), report) else {
            forward(event, data, chunk, None, out);
            return;
        };
        let is_usage_chunk = chunk.choice_count == 0 || (finished_before && !chunk.has_content);
        match (is_usage_chunk, self.usage_asked) {
            (true, true) => {
                let cost = bill(self.reported.as_ref(), self.counted()).cost;
                self.usage_chunk = Some(usage_chunk(event, data, chunk, &usage, cost));
            }
            (true, false) => {}
            // Usage on the finish chunk: split off, so that the caller finds it where OpenAI puts it.
            (false, true) if chunk.finished != 0 => {
                forward(event, data, chunk, Some(usage.clone()), out);
                let head = self.head.as_deref().unwrap_or_default();
                let cost = bill(self.reported.as_ref(), self.counted()).cost;
                let body = with_cost(data.slice(usage), cost.filter(|_| report.cost.is_none()));
                self.usage_chunk = Some(own_chunk(head, body));
            }
            (false, _) => forward(event, data, chunk, None, out),
        }
    }

    /// The upstream's body is at its end without `[DONE]`: whole all the same if every choice had finished.
    pub fn end(&mut self, bill: impl Fn(Option<&Reported>, Usage) -> Bill, out: &mut Out) -> Flow {
        if !self.is_finished() {
            return Flow::Broken(NO_FINISH);
        }
        self.usage_at_end(bill, out);
        out.push(Bytes::from_static(DONE));
        Flow::Ended
    }

    /// Our own count, for a stream without a report.
    pub fn counted(&self) -> Usage {
        Usage { prompt: self.prompt_tokens, completion: self.said(), ..Usage::default() }
    }

    /// Most providers send a token an event, and then the events are the tokens. Some put several into one: where the text is
    /// clearly longer than that, it is what counts.
    fn said(&self) -> u64 {
        let by_text = self.tally.tokens(self.vocabulary);
        let clearly_more = by_text > SLACK_TOKENS + self.content_events + self.content_events / 4;
        if clearly_more { by_text } else { self.content_events }
    }

    fn usage_at_end(&mut self, bill: impl Fn(Option<&Reported>, Usage) -> Bill, out: &mut Out) {
        if !self.usage_asked {
            return;
        }
        if let Some(chunk) = self.usage_chunk.take() {
            out.extend(chunk);
            return;
        }
        // Asked for, and never sent: the caller gets what is known, marked where it is our own count.
        let Bill { cost, usage, estimated } = bill(self.reported.as_ref(), self.counted());
        let body = usage::write(&usage, cost, estimated);
        out.extend(own_chunk(
            self.head.as_deref().unwrap_or_default(),
            [Bytes::from(body)].into_iter().collect(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sse::Scanner;
    use crate::units::NanoUsd;

    fn relayed(stream: &str, usage_asked: bool) -> (String, Flow, Meter) {
        let mut scanner = Scanner::new(1 << 20);
        let mut meter = Meter::new(usage_asked, 3);
        let mut out = Out::new();
        let cost = |report: Option<&Reported>, counted: Usage| Bill {
            cost: Some(NanoUsd(740_080)),
            usage: report.map_or(counted, |report| report.usage),
            estimated: report.is_none(),
        };
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
    fn r31_several_tokens_in_one_event_are_counted_by_their_text() {
        let said = |pieces: &[&str]| {
            let events = pieces.iter().map(|piece| {
                let piece = serde_json::to_string(piece).unwrap();
                format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{piece}}}}}]}}\n\n")
            });
            let (_, _, meter) = relayed(&events.collect::<String>(), true);
            meter.counted().completion
        };
        let sentence = "The tide turns twice a day, and nobody asks the clock.\n";
        let words: Vec<&str> = sentence.split_inclusive(' ').collect();
        assert_eq!(said(&words.repeat(20)), 11 * 20, "a word an event");
        let one_an_event = said(&[sentence; 20]);
        // 14 tokens each: eleven words, a comma, a full stop, a line end.
        assert!((270..=290).contains(&one_an_event), "{one_an_event}");
        assert_eq!(said(&["tok-7", " \u{1f30a}"]), 2, "a short text goes by its events");
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
        let (out, flow, _) = relayed(&[TEXT, error, END].concat(), false);
        assert_eq!(out, [TEXT, error].concat());
        assert!(matches!(flow, Flow::Broken(_)));
    }

    #[test]
    fn togethers_eos_is_a_stop() {
        let (out, ..) = relayed(&[TEXT, &FINISH.replace("stop", "eos"), END].concat(), false);
        assert_eq!(out, [TEXT, FINISH, END].concat());
    }
}
