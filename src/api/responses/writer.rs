//! A chat stream's events as a Response's, in OpenAI's order: one item after the other, each begun, written and ended.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::chat::answer::{Chat, Choice, ToolCall, UNTOLD_FAULT};
use crate::api::face::{Said, Start, Tally, Untold};

use super::answer::{Error, Item, Part, PartKind, Response};
use super::calls::{Calls, Pending};
use super::draft::{COMPLETED, Draft, FAILED, INCOMPLETE, UNDERWAY};
use super::emit::{Emitter, OfFault, OfItem, OfPart};
use super::face::Face;
use super::tools::{self, Origin};

/// Turns one chat stream into one Response.
#[derive(Debug)]
pub struct Writer {
    pub(super) draft: Draft,
    emitter: Emitter,
    /// Whether the last item is still being written.
    open: bool,
    calls: Calls,
    stage: Stage,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been told.
    Silent,
    Underway,
    Ended,
    Broken,
}

#[derive(Serialize)]
struct Whole<'a> {
    response: Response<'a>,
}

impl Writer {
    /// A writer for a stream that begins at `start`.
    pub fn new(face: &Face, start: &Start<'_>) -> Self {
        Self::with(face, start, Emitter::default())
    }

    pub(super) fn with(face: &Face, start: &Start<'_>, emitter: Emitter) -> Self {
        Self {
            draft: Draft::new(face, start),
            emitter,
            open: false,
            calls: Calls::default(),
            stage: Stage::Silent,
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended | Stage::Broken)
    }

    /// One chat chunk, or a whole chat completion. An error in it ends the stream.
    pub fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untold> {
        if self.is_over() {
            return Ok(());
        }
        let chunk = Chat::read(data).ok_or(Untold::SHAPE)?;
        if let Some(fault) = chunk.fault() {
            let message = fault.text().unwrap_or(UNTOLD_FAULT.into());
            self.break_off("stream_broken", &message, out);
            return Ok(());
        }
        self.draft.note(&chunk);
        self.begin(out);
        if let Some(choice) = chunk.first() {
            self.choice(choice, out)?;
        }
        self.draft.bounded()
    }

    /// The upstream says that it is still there: there is no event for that, so a comment says it.
    pub fn alive(&mut self, out: &mut Vec<u8>) {
        if !self.is_over() {
            out.extend_from_slice(b": still there\n\n");
        }
    }

    /// The stream has ended well.
    pub fn done(&mut self, tally: &Tally, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        self.begin(out);
        let (status, kind) = match self.draft.cut_by() {
            None => (COMPLETED, "response.completed"),
            Some(_) => (INCOMPLETE, "response.incomplete"),
        };
        self.close(status, out);
        self.stage = Stage::Ended;
        self.emitter.emit(kind, &Whole { response: self.draft.response(status, None, Some(tally)) }, out);
    }

    /// The stream has broken. Says nothing where that has been told.
    pub fn failed(&mut self, said: &Said<'_>, out: &mut Vec<u8>) {
        self.break_off(said.code, said.message, out);
    }

    /// The Response object at the end, for an answer that is told as a whole; none where it broke.
    pub(super) fn body(&self, tally: &Tally) -> Option<Bytes> {
        if self.stage == Stage::Broken {
            return None;
        }
        let status = if self.draft.cut_by().is_some() { INCOMPLETE } else { COMPLETED };
        serde_json::to_vec(&self.draft.response(status, None, Some(tally))).map(Bytes::from).ok()
    }

    /// Tells of a fault twice, as OpenAI does: clients look for the one or the other.
    fn break_off(&mut self, code: &str, message: &str, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        self.stage = Stage::Broken;
        if let Some(item) = self.draft.items.last_mut().filter(|_| self.open) {
            item.set_status(INCOMPLETE);
        }
        self.emitter.emit("error", &OfFault::new(code, message), out);
        let error = Error { code: "server_error", message };
        let response = self.draft.response(FAILED, Some(error), None);
        self.emitter.emit("response.failed", &Whole { response }, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.stage == Stage::Silent {
            self.stage = Stage::Underway;
            for kind in ["response.created", "response.in_progress"] {
                let response = self.draft.response(UNDERWAY, None, None);
                self.emitter.emit(kind, &Whole { response }, out);
            }
        }
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Vec<u8>) -> Result<(), Untold> {
        if let Some(speech) = choice.speech() {
            let thought = speech.thought();
            if !thought.is_empty() {
                let kind = if self.draft.terms.summary { PartKind::Summary } else { PartKind::Thought };
                self.say(kind, &thought, &[], out);
            }
            let text = speech.said();
            if !text.is_empty() {
                self.say(PartKind::Text, &text, &choice.logprobs(), out);
            }
            if let Some(refusal) = speech.refusal.some() {
                self.say(PartKind::Refusal, &refusal, &[], out);
            }
            for (place, piece) in speech.tool_calls.iter().flatten().enumerate() {
                self.piece(piece, piece.index().unwrap_or(place as u64), out)?;
            }
        }
        if let Some(finish) = choice.finish_reason.some() {
            self.draft.finished(&finish);
        }
        Ok(())
    }

    /// Adds `text` to the part of this kind, which is begun where another or none is being written.
    fn say(&mut self, kind: PartKind, text: &str, logprobs: &[&RawValue], out: &mut Vec<u8>) {
        self.ready_for(kind, out);
        self.draft.held += text.len();
        let Self { draft, emitter, .. } = self;
        let Some((at, item)) = draft.items.iter_mut().enumerate().next_back() else { return };
        if let Some(part) = item.part_mut() {
            part.text_mut().push_str(text);
            if let Part::OutputText { logprobs: known, .. } = part {
                known.extend(logprobs.iter().map(|entry| (*entry).to_owned()));
            }
        }
        let mut said = OfPart::of(at, item);
        said.delta = Some(text);
        said.logprobs = (kind == PartKind::Text).then_some(logprobs);
        emitter.emit(kind.events()[1], &said, out);
    }

    /// Sees to it that the last item's last part is open and of this kind.
    fn ready_for(&mut self, kind: PartKind, out: &mut Vec<u8>) {
        let is_thought = matches!(kind, PartKind::Thought | PartKind::Summary);
        let last = self.draft.items.last_mut().filter(|_| self.open);
        let fits = last.is_some_and(|item| match item {
            Item::Reasoning { .. } => is_thought,
            Item::Message { .. } => !is_thought,
            Item::FunctionCall { .. } | Item::CustomToolCall { .. } => false,
        });
        if !fits {
            self.close(COMPLETED, out);
            let item = if is_thought {
                let (summary, content) = (Vec::new(), Vec::new());
                Item::Reasoning { id: self.draft.next_id("rs"), status: UNDERWAY, summary, content }
            } else {
                let (id, content) = (self.draft.next_id("msg"), Vec::new());
                Item::Message { id, status: UNDERWAY, role: "assistant", content }
            };
            self.add(item, out);
        }
        let part = self.draft.items.last_mut().and_then(Item::part_mut);
        if part.is_some_and(|part| part.kind() == kind) {
            return;
        }
        self.close_part(out);
        let Self { draft, emitter, .. } = self;
        let Some((at, item)) = draft.items.iter_mut().enumerate().next_back() else { return };
        item.add_part(kind.empty());
        let mut said = OfPart::of(at, item);
        said.part = item.part();
        emitter.emit(kind.events()[0], &said, out);
    }

    fn add(&mut self, item: Item, out: &mut Vec<u8>) {
        self.open = true;
        let output_index = self.draft.items.len();
        self.emitter.emit("response.output_item.added", &OfItem { output_index, item: &item }, out);
        self.draft.items.push(item);
    }

    /// A piece of a call of a tool.
    fn piece(&mut self, piece: &ToolCall<'_>, index: u64, out: &mut Vec<u8>) -> Result<(), Untold> {
        if self.calls.is_empty() {
            self.close(COMPLETED, out);
        }
        let more = piece.arguments();
        self.draft.held += more.len();
        if self.calls.take(piece, index)? {
            match self.calls.first() {
                Some(call) if call.announced => self.argue(&more, out),
                Some(call) if !call.name.is_empty() => self.announce(out),
                _ => {}
            }
        }
        while self.calls.has_next() {
            self.end_call(COMPLETED, out);
            if self.calls.first().is_some_and(|call| !call.name.is_empty()) {
                self.announce(out);
            }
        }
        Ok(())
    }

    /// Begins the item of the call that is told now, with what is known of its arguments.
    fn announce(&mut self, out: &mut Vec<u8>) {
        let Some(call) = self.calls.first() else { return };
        call.announced = true;
        let call_id = call.id_or(|| self.draft.next_id("call"));
        let name = call.name.clone();
        let known = call.arguments.clone();
        let status = UNDERWAY;
        let item = match self.draft.terms.names.origin(&name) {
            Some(Origin::Custom) => {
                let id = self.draft.next_id("ctc");
                Item::CustomToolCall { id, status, call_id, name, input: String::new() }
            }
            origin => {
                let (namespace, name) = match origin {
                    Some(Origin::Namespaced { space, name }) => (Some(space.clone()), name.to_string()),
                    _ => (None, name),
                };
                let id = self.draft.next_id("fc");
                Item::FunctionCall { id, status, call_id, name, namespace, arguments: String::new() }
            }
        };
        self.add(item, out);
        self.argue(&known, out);
    }

    /// More arguments. Those of a custom tool's function are told at the end, when its input can be read from them.
    fn argue(&mut self, more: &str, out: &mut Vec<u8>) {
        let Self { draft, emitter, .. } = self;
        let Some((at, item)) = draft.items.iter_mut().enumerate().next_back() else { return };
        if let Item::FunctionCall { arguments, .. } = item
            && !more.is_empty()
        {
            arguments.push_str(more);
            let mut said = OfPart::of(at, item);
            said.delta = Some(more);
            emitter.emit("response.function_call_arguments.delta", &said, out);
        }
    }

    /// Ends what is being written: calls one by one, of which only the last can have been cut short.
    fn close(&mut self, status: &'static str, out: &mut Vec<u8>) {
        while !self.calls.is_empty() {
            let status = if self.calls.waiting() > 0 { COMPLETED } else { status };
            self.end_call(status, out);
        }
        if self.open {
            self.close_part(out);
            self.end_item(status, out);
        }
    }

    fn end_call(&mut self, status: &'static str, out: &mut Vec<u8>) {
        if self.calls.first().is_some_and(|call| !call.announced) {
            self.announce(out);
        }
        if let Some(call) = self.calls.end_first() {
            self.close_call(&call, out);
            self.end_item(status, out);
        }
    }

    fn end_item(&mut self, status: &'static str, out: &mut Vec<u8>) {
        self.open = false;
        let Some((output_index, item)) = self.draft.items.iter_mut().enumerate().next_back() else { return };
        item.set_status(status);
        self.emitter.emit("response.output_item.done", &OfItem { output_index, item }, out);
    }

    fn close_part(&mut self, out: &mut Vec<u8>) {
        let Self { draft, emitter, .. } = self;
        let Some((at, item)) = draft.items.iter().enumerate().next_back() else { return };
        let Some(part) = item.part() else { return };
        let [_, _, all, ended] = part.kind().events();
        let mut said = OfPart::of(at, item);
        let borrowed: Vec<&RawValue>;
        match part {
            Part::Refusal { refusal } => said.refusal = Some(refusal),
            Part::OutputText { text, logprobs, .. } => {
                borrowed = logprobs.iter().map(|entry| &**entry).collect();
                said.text = Some(text);
                said.logprobs = Some(&borrowed);
            }
            Part::ReasoningText { text } | Part::SummaryText { text } => said.text = Some(text),
        }
        emitter.emit(all, &said, out);
        let mut said = OfPart::of(at, item);
        said.part = Some(part);
        emitter.emit(ended, &said, out);
    }

    fn close_call(&mut self, call: &Pending, out: &mut Vec<u8>) {
        if call.arguments.is_empty() {
            // A call without arguments, as OpenAI writes it: whoever reads them as JSON shall be able to.
            self.argue("{}", out);
        }
        let Self { draft, emitter, .. } = self;
        let Some((at, item)) = draft.items.iter_mut().enumerate().next_back() else { return };
        if let Item::CustomToolCall { input, .. } = item {
            *input = tools::input_of(&call.arguments).into_owned();
            let mut said = OfPart::of(at, item);
            said.delta = item.written();
            emitter.emit("response.custom_tool_call_input.delta", &said, out);
        }
        let mut said = OfPart::of(at, item);
        let kind = if let Item::FunctionCall { name, arguments, .. } = &*item {
            said.name = Some(name);
            said.arguments = Some(arguments);
            "response.function_call_arguments.done"
        } else {
            said.input = item.written();
            "response.custom_tool_call_input.done"
        };
        emitter.emit(kind, &said, out);
    }
}
