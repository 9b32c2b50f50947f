//! An upstream's answer, judged: a whole body that is one, or a stream whose first content is here.

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use crate::api::chunk::Chunk;
use crate::api::sse::{Event, Scanner};

use super::client::Body;

/// In whose words an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// This gateway's own: a chat completion, or what the other plain endpoints answer.
    Chat,
    /// The Responses API's, as the provider said it.
    Responses,
}

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
    /// In whose words it is; of a Response only its usage stands in `chunk`.
    pub form: Form,
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
    pub body: Body,
    /// In whose words it is.
    pub form: Form,
}
