//! The way out through a face: what the meter lets through of a chat stream, told in the caller's own shape.

use bytes::Bytes;

use crate::api::face::{Said, Tally, Writer};
use crate::api::sse::{Event, Scanner};
use crate::ledger::{Settlement, Source};

use super::meter::Out;

/// One stream's face.
#[derive(Debug)]
pub struct Faced {
    writer: Writer,
}

impl Faced {
    /// A stream that `writer` tells.
    pub const fn new(writer: Writer) -> Self {
        Self { writer }
    }

    /// What becomes of `out`, which holds whole events; with a tally, the stream has ended with them.
    pub fn relay(&mut self, out: &Out, ended: Option<&Tally>) -> Bytes {
        let bytes = match out.as_slice() {
            [one] => one.clone(),
            many => Bytes::from(many.concat()),
        };
        let mut told = Vec::new();
        // The meter gives whole events, of which none is longer than the scanner before it took.
        let mut events = Scanner::new(usize::MAX);
        events.push(bytes);
        while let Ok(Some(event)) = events.next_event() {
            self.one(&event, &mut told);
        }
        if let Some(event) = events.finish() {
            self.one(&event, &mut told);
        }
        if let Some(tally) = ended {
            self.writer.done(tally, &mut told);
        }
        Bytes::from(told)
    }

    /// What is told of a break.
    pub fn failed(&mut self, said: &Said<'_>) -> Bytes {
        let mut told = Vec::new();
        self.writer.failed(said, &mut told);
        Bytes::from(told)
    }

    fn one(&mut self, event: &Event, told: &mut Vec<u8>) {
        match event.data() {
            None => self.writer.alive(told),
            Some(data) if data.starts_with(b"[DONE]") => {}
            Some(data) => self.writer.event(&data, told),
        }
    }
}

/// What a face tells of a settlement.
pub fn tally(settlement: Option<&Settlement>) -> Tally {
    settlement.map_or_else(Tally::default, |settlement| Tally {
        usage: settlement.usage,
        cost: settlement.cost(),
        estimated: matches!(settlement.source, Source::Estimated(_)),
    })
}
