//! A chat stream as Anthropic's named events: `message_start`, blocks one after the other, `message_delta`, `message_stop`.

use std::io::Write as _;

use http::StatusCode;

use super::blocks::Blocks;
use super::{Face, Shown, Stop, Usage, message_id};
use crate::api::chat::answer::{Chat, Speech, UNTOLD_FAULT};
use crate::api::face::{Said, Start, Tally, Untold};

/// Turns one stream.
#[derive(Debug)]
pub struct Writer {
    request_id: Box<str>,
    face: Face,
    prompt_tokens: u64,
    started: bool,
    /// Ended, well or not: nothing is told any more.
    over: bool,
    blocks: Blocks,
    finish: Box<str>,
    stop_met: Box<str>,
    refused: bool,
}

impl Writer {
    /// For a stream that begins.
    pub fn new(face: &Face, start: &Start<'_>) -> Self {
        Self {
            request_id: start.request_id.into(),
            face: face.clone(),
            prompt_tokens: start.prompt_tokens,
            started: false,
            over: false,
            blocks: Blocks::new(start.request_id, face.thinking == Shown::Omitted),
            finish: Box::default(),
            stop_met: Box::default(),
            refused: false,
        }
    }

    /// One chat chunk.
    pub fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untold> {
        if self.over {
            return Ok(());
        }
        let chunk = Chat::read(data).ok_or(Untold::SHAPE)?;
        if let Some(fault) = chunk.fault() {
            let message = fault.or_empty();
            self.theirs(if message.is_empty() { UNTOLD_FAULT } else { &message }, out);
            return Ok(());
        }
        let Some(choice) = chunk.first() else { return Ok(()) };
        self.start(out);
        self.speech(choice.speech(), out)?;
        let finish = choice.finish_reason.or_empty();
        if !finish.is_empty() {
            self.finish = (*finish).into();
            self.stop_met = (*choice.stop_met()).into();
        }
        Ok(())
    }

    /// The upstream is still there: so are we.
    pub fn alive(&mut self, out: &mut Vec<u8>) {
        if !self.over {
            self.start(out);
            out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
    }

    /// The end.
    pub fn done(&mut self, tally: &Tally, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.start(out);
        self.blocks.finish(out);
        let met = std::borrow::Cow::Borrowed(&*self.stop_met);
        let stop = Stop::of(&self.face, &self.finish, met, self.blocks.has_calls(), self.refused);
        // Writing into memory cannot fail, here and below.
        out.extend_from_slice(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":");
        let _ = serde_json::to_writer(&mut *out, &stop);
        out.extend_from_slice(b",\"usage\":");
        let _ = serde_json::to_writer(&mut *out, &Usage::of(tally));
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    /// A break, told once.
    pub fn failed(&mut self, said: &Said<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.over, true) {
            out.extend_from_slice(b"event: error\ndata: ");
            out.extend_from_slice(&super::error(said));
            out.extend_from_slice(b"\n\n");
        }
    }

    /// The provider's own words for a fault of its.
    fn theirs(&mut self, message: &str, out: &mut Vec<u8>) {
        let id = self.request_id.clone();
        let said = Said {
            status: StatusCode::BAD_GATEWAY,
            kind: "upstream_error",
            param: None,
            code: "stream_broken",
            message,
            request_id: &id,
        };
        self.failed(&said, out);
    }

    fn speech(&mut self, speech: Option<&Speech<'_>>, out: &mut Vec<u8>) -> Result<(), Untold> {
        let Some(speech) = speech else { return Ok(()) };
        let thinking = speech.thought();
        if !thinking.is_empty() && self.face.thinking != Shown::Not {
            self.blocks.thinking(&thinking, out)?;
        }
        let refusal = speech.refusal.or_empty();
        self.refused |= !refusal.is_empty();
        for text in [speech.said(), refusal] {
            if !text.is_empty() {
                self.blocks.text(&text, out)?;
            }
        }
        for call in speech.tool_calls.iter().flatten() {
            let index = call.index().unwrap_or(0);
            let (id, name) = (call.id.or_empty(), call.name().or_empty());
            self.blocks.tool(index, &id, &name, &call.arguments(), out)?;
        }
        Ok(())
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        out.extend_from_slice(
            b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":",
        );
        let _ = serde_json::to_writer(&mut *out, &message_id(&self.request_id));
        out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        let _ = serde_json::to_writer(&mut *out, &*self.face.model);
        // What is known of the counts by now is our own estimate; `message_delta` tells them as they are charged.
        let _ = write!(
            out,
            ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"usage\":{{\"input_tokens\":{},\
             \"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0}}}}}}\n\n",
            self.prompt_tokens
        );
    }
}
