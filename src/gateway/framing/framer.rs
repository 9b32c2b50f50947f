//! The whole of a connection as heads and bodies in turn, without input or output.

use super::chunked::{Chunked, ChunkedStep};
use super::head::{BodyFraming, Head, HeadStep};
use super::{BodyFault, HeadLimits, Refusal};

/// What a connection's bytes mean so far. See [`Framer::scan`].
#[derive(Debug, Clone)]
pub struct Framer {
    limits: HeadLimits,
    state: State,
    heads: u64,
}

#[derive(Debug, Clone)]
enum State {
    Head(Head),
    Length(u64),
    Chunked(Chunked),
    Stopped,
}

/// What a piece of the connection is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// So many bytes at the start are good: whole heads, and parts of bodies.
    pub good: usize,
    /// Why nothing behind them will ever be good.
    pub stop: Option<Stop>,
}

/// What ends the reading of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The head behind the good bytes is not served.
    Refused(Refusal),
    /// The body that the good bytes end in breaks off.
    Fault(BodyFault),
}

impl Framer {
    /// At the start of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head(Head::default()), heads: 0 }
    }

    /// How many heads were good so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and is not whole.
    pub fn is_within_head(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.has_begun())
    }

    /// Whether a body has begun and is not whole.
    pub fn is_within_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// Goes on through `input`. Bytes behind the good ones are the beginning of a head: give them again at the front of
    /// the next input, with more behind them. Once stopped, nothing is good.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut good = 0;
        loop {
            let rest = &input[good..];
            match &mut self.state {
                State::Stopped => return Scan { good, stop: None },
                _ if rest.is_empty() => return Scan { good, stop: None },
                State::Head(head) => match head.step(rest, &self.limits) {
                    HeadStep::Partial => return Scan { good, stop: None },
                    HeadStep::Refused(refusal) => {
                        self.state = State::Stopped;
                        return Scan { good, stop: Some(Stop::Refused(refusal)) };
                    }
                    HeadStep::Whole { bytes, body } => {
                        good += bytes;
                        self.heads += 1;
                        self.state = match body {
                            BodyFraming::Length(0) => State::Head(Head::default()),
                            BodyFraming::Length(length) => State::Length(length),
                            BodyFraming::Chunked => State::Chunked(Chunked::new()),
                        };
                    }
                },
                State::Length(remaining) => {
                    let here = usize::try_from(*remaining).map_or(rest.len(), |bytes| bytes.min(rest.len()));
                    good += here;
                    *remaining -= here as u64;
                    if *remaining == 0 {
                        self.state = State::Head(Head::default());
                    }
                }
                State::Chunked(chunked) => match chunked.step(rest) {
                    ChunkedStep::Partial => return Scan { good: input.len(), stop: None },
                    ChunkedStep::Whole(bytes) => {
                        good += bytes;
                        self.state = State::Head(Head::default());
                    }
                    ChunkedStep::Fault(bytes, fault) => {
                        self.state = State::Stopped;
                        return Scan { good: good + bytes, stop: Some(Stop::Fault(fault)) };
                    }
                },
            }
        }
    }
}
