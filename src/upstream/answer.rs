//! An upstream's answer, judged: a whole body that is one, or a stream whose first content is here.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Incoming;
use smallvec::SmallVec;

use crate::api::chunk::Chunk;
use crate::api::sse::{Event, Scanner};

/// What an attempt brought.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and the larger is the one to save an allocation on"
)]
pub enum Answer {
    /// A body that came whole.
    Whole(Whole),
    /// A stream that has begun.
    Streamed(Box<Streamed>),
}

impl Answer {
    /// The upstream's headers.
    pub const fn headers(&self) -> &HeaderMap {
        match self {
            Self::Whole(whole) => &whole.headers,
            Self::Streamed(streamed) => &streamed.headers,
        }
    }
}

/// A whole answer, read and found good.
#[derive(Debug)]
pub struct Whole {
    /// The upstream's headers.
    pub headers: HeaderMap,
    /// Its body as it came.
    pub body: Bytes,
    /// What it says, by spans into `body`.
    pub chunk: Chunk,
}

/// A stream whose first content-bearing event has arrived.
#[derive(Debug)]
pub struct Streamed {
    /// The upstream's headers.
    pub headers: HeaderMap,
    /// Events up to and including the first content, in order.
    pub prelude: SmallVec<[Event; 4]>,
    /// Finds the events that follow; it may hold some already.
    pub events: Scanner,
    /// The rest of the body.
    pub body: Incoming,
}
