//! One answer of a fake provider: what it says, how it is cut into packets, what it waits for, and how it breaks.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Fixture, Pause, sse};

/// How an answer stops before its end.
#[derive(Clone, Debug)]
pub enum Break {
    /// The connection is closed in good order.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more comes, and the connection stays open.
    Stall,
}

/// Where a body is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Bytes(usize),
    Events(usize),
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    /// A length that is not the body's.
    FalseLength(u64),
    Chunked,
    UntilClose,
}

/// What the reply begins with.
#[derive(Clone, Debug)]
pub(crate) enum Opening {
    Status {
        status: u16,
        reason: String,
        headers: Vec<(String, String)>,
    },
    /// The parts are the whole answer, head included.
    Raw,
    /// The connection ends, this way, before any head.
    Nothing(Break),
}

/// A piece of the body; each is written by itself, and is an HTTP chunk of its own where the body is chunked.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    Pause(Pause),
    /// The request's body, as it came.
    Request,
}

/// An answer under construction; every method takes it and gives it back.
#[derive(Clone, Debug)]
pub struct Reply(pub(crate) Arc<Plan>);

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) opening: Opening,
    pub(crate) parts: Vec<Part>,
    pub(crate) framing: Framing,
    pub(crate) before_head: Option<Pause>,
    pub(crate) after_head: Option<Pause>,
    pub(crate) between_parts: Option<Pause>,
    pub(crate) cut: Option<(Cut, Break)>,
    pub(crate) close_after: bool,
}

impl Reply {
    /// An answer with that status and body, its length declared. Further headers come with [`Reply::header`].
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let reason = reason(status).to_owned();
        Self::with(Opening::Status { status, reason, headers: Vec::new() }, vec![Part::Bytes(body.into())])
    }

    /// JSON under that status.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, body).header("content-type", "application/json")
    }

    /// HTML, as a load balancer sends it.
    pub fn html(status: u16) -> Self {
        let body =
            format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n");
        Self::new(status, body).header("content-type", "text/html")
    }

    /// A 200 with nothing in it.
    pub fn empty() -> Self {
        Self::json(200, "")
    }

    /// OpenAI's error envelope under that status.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let error =
            serde_json::json!({"message": message, "type": "server_error", "param": null, "code": code});
        Self::json(status, serde_json::json!({ "error": error }).to_string())
    }

    /// A plain chat completion, in no provider's dialect, with exactly that text and usage.
    pub fn chat(text: &str, usage: crate::Usage) -> Self {
        let body = serde_json::json!({
            "id": "chatcmpl-fake", "object": "chat.completion", "created": 1_790_000_000, "model": "fake-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
                "total_tokens": usage.prompt + usage.completion,
                "prompt_tokens_details": {"cached_tokens": usage.cached},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            },
        });
        Self::json(200, body.to_string())
    }

    /// An event stream of exactly these packets: each is written by itself, wherever an event begins or ends.
    pub fn stream<P: Into<Bytes>>(packets: impl IntoIterator<Item = P>) -> Self {
        let mut reply = Self::new(200, "").header("content-type", "text/event-stream");
        reply.plan().parts = packets.into_iter().map(|packet| Part::Bytes(packet.into())).collect();
        reply.plan().framing = Framing::Chunked;
        reply
    }

    /// An event stream of these JSON documents, one event a packet, `[DONE]` behind them.
    pub fn events<D: AsRef<str>>(data: impl IntoIterator<Item = D>) -> Self {
        let event = |data: &str| Bytes::from(format!("data: {data}\n\n"));
        let mut packets: Vec<_> = data.into_iter().map(|data| event(data.as_ref())).collect();
        packets.push(event("[DONE]"));
        Self::stream(packets)
    }

    /// A stored payload with its status and headers: a file's name, or the id of a stored refusal.
    pub fn fixture(name: &str) -> Self {
        Fixture::named(name).reply()
    }

    /// Sends the request's own body back, byte for byte.
    pub fn echo() -> Self {
        let mut reply = Self::json(200, "");
        reply.plan().parts = vec![Part::Request];
        reply
    }

    /// A redirect to `location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "").header("location", location)
    }

    /// Exactly these packets and nothing around them; then the connection closes.
    pub fn raw<P: Into<Bytes>>(packets: impl IntoIterator<Item = P>) -> Self {
        let parts = packets.into_iter().map(|packet| Part::Bytes(packet.into())).collect();
        let mut reply = Self::with(Opening::Raw, parts);
        reply.plan().close_after = true;
        reply
    }

    /// No answer: the request is read, then the connection closes, is reset, or says nothing for ever.
    pub fn nothing(how: Break) -> Self {
        Self::with(Opening::Nothing(how), Vec::new())
    }

    /// Adds a header field, spelt so.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Opening::Status { headers, .. } = &mut self.plan().opening {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Another status over the same answer.
    pub fn status(mut self, new: u16) -> Self {
        if let Opening::Status { status, reason: words, .. } = &mut self.plan().opening {
            (*status, *words) = (new, reason(new).to_owned());
        }
        self
    }

    /// Waits before the first byte of the head.
    pub fn before_head(mut self, pause: impl Into<Pause>) -> Self {
        self.plan().before_head = Some(pause.into());
        self
    }

    /// Waits between the head and the first byte of the body.
    pub fn after_head(mut self, pause: impl Into<Pause>) -> Self {
        self.plan().after_head = Some(pause.into());
        self
    }

    /// Waits between any two packets.
    pub fn between_packets(mut self, pause: impl Into<Pause>) -> Self {
        self.plan().between_parts = Some(pause.into());
        self
    }

    /// Waits before packet number `index` (the first is 0).
    pub fn before_packet(mut self, index: usize, pause: impl Into<Pause>) -> Self {
        let parts = &mut self.plan().parts;
        let place = parts.iter().enumerate().filter(|(_, part)| !matches!(part, Part::Pause(_))).nth(index);
        let place = place.map_or(parts.len(), |(place, _)| place);
        parts.insert(place, Part::Pause(pause.into()));
        self
    }

    /// One packet for the whole body.
    pub fn one_packet(mut self) -> Self {
        let whole = self.body();
        self.plan().parts = vec![Part::Bytes(whole)];
        self
    }

    /// Packets of at most `bytes` each, without regard to events, lines or characters.
    pub fn packets_of(mut self, bytes: usize) -> Self {
        let whole = self.body();
        let starts = (0..whole.len()).step_by(bytes.max(1));
        self.plan().parts =
            starts.map(|start| Part::Bytes(whole.slice(start..(start + bytes).min(whole.len())))).collect();
        self
    }

    /// Packets that end at these offsets of the body.
    pub fn split_at(mut self, offsets: &[usize]) -> Self {
        let whole = self.body();
        let mut edges = vec![0];
        edges.extend(offsets.iter().map(|offset| (*offset).min(whole.len())));
        edges.push(whole.len());
        self.plan().parts = edges.windows(2).map(|pair| Part::Bytes(whole.slice(pair[0]..pair[1]))).collect();
        self
    }

    /// Blanks and newlines ahead of the body, as a queueing provider sends them to keep a connection open.
    pub fn padded(mut self, lines: usize) -> Self {
        self.plan().parts.insert(0, Part::Bytes("\n         \n".repeat(lines).into()));
        self
    }

    /// Stops after `bytes` of the body. Inside a chunk, the chunk's size has been promised already.
    pub fn cut_after_bytes(mut self, bytes: usize, how: Break) -> Self {
        self.plan().cut = Some((Cut::Bytes(bytes), how));
        self
    }

    /// Stops behind that many whole events with data; comments do not count.
    pub fn cut_after_events(mut self, events: usize, how: Break) -> Self {
        self.plan().cut = Some((Cut::Events(events), how));
        self
    }

    /// The body goes out in chunks, a packet each.
    pub fn chunked(mut self) -> Self {
        self.plan().framing = Framing::Chunked;
        self
    }

    /// The body ends where the connection does, as HTTP/1.0 has it.
    pub fn until_close(mut self) -> Self {
        self.plan().framing = Framing::UntilClose;
        self.plan().close_after = true;
        self
    }

    /// Declares a length that is not the body's, then closes.
    pub fn false_length(mut self, length: u64) -> Self {
        self.plan().framing = Framing::FalseLength(length);
        self.plan().close_after = true;
        self
    }

    /// Closes the connection behind a whole answer, without having said so.
    pub fn then_close(mut self) -> Self {
        self.plan().close_after = true;
        self
    }

    /// The body as the caller should see it if nothing breaks; an echoed request is not in it.
    pub fn body(&self) -> Bytes {
        let parts = self.0.parts.iter().filter_map(|part| match part {
            Part::Bytes(bytes) => Some(&bytes[..]),
            Part::Pause(_) | Part::Request => None,
        });
        parts.collect::<Vec<_>>().concat().into()
    }

    pub(crate) fn with(opening: Opening, parts: Vec<Part>) -> Self {
        Self(Arc::new(Plan {
            opening,
            parts,
            framing: Framing::Length,
            before_head: None,
            after_head: None,
            between_parts: None,
            cut: None,
            close_after: false,
        }))
    }

    pub(crate) fn plan(&mut self) -> &mut Plan {
        Arc::make_mut(&mut self.0)
    }
}

impl Plan {
    /// The number of body bytes that go out, and what happens behind them.
    pub(crate) fn limit(&self, body: &[u8]) -> Option<(usize, Break)> {
        let (cut, how) = self.cut.clone()?;
        let bytes = match cut {
            Cut::Bytes(bytes) => bytes.min(body.len()),
            Cut::Events(0) => 0,
            Cut::Events(events) => sse::data_ends(body).get(events - 1).copied().unwrap_or(body.len()),
        };
        Some((bytes, how))
    }
}

/// Cuts an event stream into one packet an event, with the comments that stand before it.
pub(crate) fn packets_by_event(body: &Bytes) -> Vec<Bytes> {
    let mut from = 0;
    let mut packets = Vec::new();
    for end in sse::data_ends(body).into_iter().chain([body.len()]).filter(|end| *end > 0) {
        if end > from {
            packets.push(body.slice(from..end));
        }
        from = end;
    }
    packets
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
