//! What listens to a stream: for a chat's chunks, or for a provider's own Responses events, which go on as they came.

use bytes::Bytes;

use crate::api::continued::SoFar;
use crate::api::sse::Event;
use crate::units::{Reported, Usage};

use super::meter::{Flow, Meter, Out};
use super::native::NativeMeter;
use super::parts::Bill;

/// One stream's listener.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a stream, and the larger is the common one")]
pub enum Ear {
    /// For a chat, or a completion.
    Chat(Meter),
    /// For a Response in the provider's own words.
    Native(NativeMeter),
}

impl Ear {
    /// Keeps what is said from now on, where another route can go on with it.
    pub(super) fn keep(&mut self) {
        if let Self::Chat(meter) = self {
            meter.keep();
        }
    }

    /// What another route would have to go on from, or why none can.
    pub(super) fn so_far(&self) -> Result<SoFar, &'static str> {
        match self {
            Self::Chat(meter) => meter.so_far(),
            Self::Native(_) => Err("it is in the provider's own words"),
        }
    }

    /// Another route goes on from `so_far`.
    pub(super) fn resume(&mut self, so_far: &SoFar, may_echo: bool, resumed: &str) {
        if let Self::Chat(meter) = self {
            meter.resume(so_far, may_echo, resumed);
        }
    }

    /// The stream may have to be ended where more is said than is held for.
    pub(super) fn may_end(&mut self) {
        if let Self::Chat(meter) = self {
            meter.may_end();
        }
    }

    /// Tokens said so far.
    pub(super) fn said(&self) -> u64 {
        match self {
            Self::Chat(meter) => meter.said_in_all(),
            Self::Native(meter) => meter.counted().completion,
        }
    }

    /// The answer ends where its bound was reached.
    pub(super) fn end_at_bound(&mut self, bill: impl Fn(Option<&Reported>, Usage) -> Bill, out: &mut Out) {
        if let Self::Chat(meter) = self {
            meter.end_at_bound(bill, out);
        }
    }

    /// Whether only a report, or nothing, is missing.
    pub(super) const fn is_finished(&self) -> bool {
        match self {
            Self::Chat(meter) => meter.is_finished(),
            Self::Native(meter) => meter.is_finished(),
        }
    }

    /// Whether the answer is whole with its report, although more bytes may come.
    pub(super) const fn is_whole(&self) -> bool {
        match self {
            Self::Chat(_) => false,
            Self::Native(meter) => meter.is_finished(),
        }
    }

    /// What the provider reported so far.
    pub(super) const fn reported(&self) -> Option<&Reported> {
        match self {
            Self::Chat(meter) => meter.reported(),
            Self::Native(meter) => meter.reported(),
        }
    }

    /// Our own count.
    pub(super) fn counted(&self) -> Usage {
        match self {
            Self::Chat(meter) => meter.counted(),
            Self::Native(meter) => meter.counted(),
        }
    }

    /// Takes one event.
    pub(super) fn take(
        &mut self,
        event: &Event,
        bill: impl Fn(Option<&Reported>, Usage) -> Bill,
        out: &mut Out,
    ) -> Flow {
        match self {
            Self::Chat(meter) => meter.take(event, bill, out),
            Self::Native(meter) => meter.take(event, bill, out),
        }
    }

    /// The provider's bytes are at their end.
    pub(super) fn end(&mut self, bill: impl Fn(Option<&Reported>, Usage) -> Bill, out: &mut Out) -> Flow {
        match self {
            Self::Chat(meter) => meter.end(bill, out),
            Self::Native(meter) => meter.end(),
        }
    }

    /// Whether the words are the provider's own.
    pub(super) const fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// What is told of a break behind the provider's own words, where these alone would not do.
    pub(super) fn failed(&self, code: &str, message: &str) -> Option<Bytes> {
        match self {
            Self::Chat(_) => None,
            Self::Native(meter) => Some(meter.failed(code, message)),
        }
    }
}
