//! A chat stream as Anthropic's named events.

use super::Face;
use crate::api::face::{Said, Start, Tally};

/// Turns one stream.
#[derive(Debug)]
pub struct Writer {
    over: bool,
}

impl Writer {
    /// For a stream that begins.
    pub fn new(_face: &Face, _start: &Start<'_>) -> Self {
        Self { over: false }
    }

    /// One chat chunk.
    pub fn event(&mut self, _data: &[u8], _out: &mut Vec<u8>) {}

    /// The upstream is still there.
    pub fn alive(&mut self, _out: &mut Vec<u8>) {}

    /// The end.
    pub fn done(&mut self, _tally: &Tally, _out: &mut Vec<u8>) {
        self.over = true;
    }

    /// A break, told once.
    pub fn failed(&mut self, said: &Said<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.over, true) {
            out.extend_from_slice(b"event: error\ndata: ");
            out.extend_from_slice(&super::error(said));
            out.extend_from_slice(b"\n\n");
        }
    }
}
