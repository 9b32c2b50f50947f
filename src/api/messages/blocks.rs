//! Chat deltas as blocks that follow each other. A chat may write several tool calls at once, and text between; a message
//! has one open block at a time. So one is told as it comes, and what belongs to others waits its turn.

use std::collections::VecDeque;
use std::io::Write as _;

use super::{SIGNATURE, made_tool_id};
use crate::api::face::Untold;

/// Most text that may wait, in bytes.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// The blocks of one stream.
#[derive(Debug)]
pub(super) struct Blocks {
    request_id: Box<str>,
    /// Thoughts are told without their text, which goes into their signature.
    omits_thinking: bool,
    /// The first is being told; the others wait, in the order in which they began.
    queue: VecDeque<Block>,
    /// Each tool call by its index and the last id that it had there.
    calls: Vec<(u64, Box<str>)>,
    /// Index of the block at the front.
    at: usize,
}

/// More waits than may.
const TOO_MUCH_WAITS: Untold = Untold("it wrote too many tool calls at once");

#[derive(Debug)]
struct Block {
    kind: Kind,
    begun: bool,
    /// What is not told yet.
    text: String,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thinking,
    Tool { call: usize, name: String, arguments: Extent },
}

impl Blocks {
    pub(super) fn new(request_id: &str, omits_thinking: bool) -> Self {
        Self {
            request_id: request_id.into(),
            omits_thinking,
            queue: VecDeque::new(),
            calls: Vec::new(),
            at: 0,
        }
    }

    /// Whether there were tool calls.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// More text.
    pub(super) fn text(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Untold> {
        if !matches!(self.queue.back(), Some(Block { kind: Kind::Text, .. })) {
            self.queue.push_back(Block { kind: Kind::Text, begun: false, text: String::new() });
        }
        self.append(text, out)
    }

    /// More thoughts.
    pub(super) fn thinking(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Untold> {
        if !matches!(self.queue.back(), Some(Block { kind: Kind::Thinking, .. })) {
            self.queue.push_back(Block { kind: Kind::Thinking, begun: false, text: String::new() });
        }
        self.append(text, out)
    }

    /// More of the tool call at `index`; a new id there begins a new one.
    pub(super) fn tool(
        &mut self,
        index: u64,
        id: &str,
        name: &str,
        arguments: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), Untold> {
        let known = self.calls.iter().rposition(|(at, _)| *at == index);
        let known = known
            .filter(|place| id.is_empty() || self.calls[*place].1.is_empty() || *self.calls[*place].1 == *id);
        let call = known.unwrap_or_else(|| {
            self.calls.push((index, id.into()));
            let kind =
                Kind::Tool { call: self.calls.len() - 1, name: String::new(), arguments: Extent::default() };
            self.queue.push_back(Block { kind, begun: false, text: String::new() });
            self.calls.len() - 1
        });
        if self.calls[call].1.is_empty() {
            self.calls[call].1 = id.into();
        }
        for block in &mut self.queue {
            if let Kind::Tool { call: own, name: known, arguments: extent } = &mut block.kind
                && *own == call
            {
                if known.is_empty() {
                    known.push_str(name);
                }
                extent.take(arguments);
                block.text.push_str(arguments);
            }
        }
        // A call that is told already was whole: nothing can follow it but white space.
        self.tell(out);
        self.bounded()
    }

    /// No more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        while let Some(mut front) = self.queue.pop_front() {
            self.tell_one(&mut front, true, out);
            self.close(&front, out);
        }
    }

    fn append(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Untold> {
        if let Some(block) = self.queue.back_mut() {
            block.text.push_str(text);
        }
        self.tell(out);
        self.bounded()
    }

    fn bounded(&self) -> Result<(), Untold> {
        let waiting: usize = self.queue.iter().map(|block| block.text.len()).sum();
        if waiting > WAITING_BYTES_MAX { Err(TOO_MUCH_WAITS) } else { Ok(()) }
    }

    /// Tells of the front what can be told, and goes on to the next where it is whole and another waits.
    fn tell(&mut self, out: &mut Vec<u8>) {
        while let Some(mut front) = self.queue.pop_front() {
            self.tell_one(&mut front, false, out);
            let whole = match &front.kind {
                Kind::Text | Kind::Thinking => true,
                Kind::Tool { arguments, .. } => front.begun && arguments.is_whole(),
            };
            if !whole || self.queue.is_empty() {
                self.queue.push_front(front);
                return;
            }
            self.close(&front, out);
        }
    }

    fn tell_one(&mut self, block: &mut Block, last: bool, out: &mut Vec<u8>) {
        if !block.begun {
            let nameless = matches!(&block.kind, Kind::Tool { name, .. } if name.is_empty());
            if nameless && !last {
                return;
            }
            block.begun = true;
            self.begin(&block.kind, out);
        }
        if block.text.is_empty() || (self.omits_thinking && matches!(block.kind, Kind::Thinking)) {
            return;
        }
        let (kind, member) = match block.kind {
            Kind::Text => ("text_delta", "text"),
            Kind::Thinking => ("thinking_delta", "thinking"),
            Kind::Tool { .. } => ("input_json_delta", "partial_json"),
        };
        self.delta(kind, member, &block.text, out);
        block.text.clear();
    }

    fn begin(&self, kind: &Kind, out: &mut Vec<u8>) {
        // Writing into memory cannot fail, here and below.
        let _ = write!(
            out,
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{},\"content_block\":",
            self.at
        );
        match kind {
            Kind::Text => out.extend_from_slice(br#"{"type":"text","text":""}"#),
            Kind::Thinking => out.extend_from_slice(br#"{"type":"thinking","thinking":"","signature":""}"#),
            Kind::Tool { call, name, .. } => {
                let id = &*self.calls[*call].1;
                let made = id.is_empty().then(|| made_tool_id(&self.request_id, *call));
                out.extend_from_slice(br#"{"type":"tool_use","id":"#);
                let _ = serde_json::to_writer(&mut *out, made.as_deref().unwrap_or(id));
                out.extend_from_slice(br#","name":"#);
                let _ = serde_json::to_writer(&mut *out, name);
                out.extend_from_slice(br#","input":{}}"#);
            }
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn delta(&self, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":\"{kind}\",\"{member}\":",
            self.at
        );
        let _ = serde_json::to_writer(&mut *out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    fn close(&mut self, block: &Block, out: &mut Vec<u8>) {
        if matches!(block.kind, Kind::Thinking) {
            // The text stands here only where it was held back for it.
            self.delta("signature_delta", "signature", &format!("{SIGNATURE}{}", block.text), out);
        }
        let _ = write!(
            out,
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{}}}\n\n",
            self.at
        );
        self.at += 1;
    }
}

/// How far an object that is being written has come: enough to see where it ends.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    depth: u32,
    begun: bool,
    in_text: bool,
    escaped: bool,
}

impl Extent {
    fn take(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    const fn is_whole(self) -> bool {
        self.begun && self.depth == 0 && !self.in_text
    }
}
