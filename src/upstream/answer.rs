//! An upstream's answer, judged: a whole body that is one, or a stream whose first content is here.

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use crate::api::chunk::{self, Chunk};
use crate::api::sse::{Event, Scanner};

use super::client::Body;

/// Where OpenRouter says the name under which it can be asked for what it charged.
const GENERATION: &str = "x-generation-id";
/// Longer ones are no names.
const GENERATION_MAX: usize = 128;

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

    /// The provider's own name for the answer, to look it up there; empty where it said none that is worth keeping.
    pub fn generation(&self) -> Box<str> {
        if let Some(name) = self.headers().get(GENERATION).and_then(|value| value.to_str().ok()) {
            return name_of(name);
        }
        match self {
            Self::Whole(whole) => {
                whole.chunk.id.clone().map_or_else(Box::default, |id| quoted(&whole.body[id]))
            }
            Self::Streamed(streamed) => {
                let data = streamed.prelude.iter().find_map(Event::data);
                let id = data.as_ref().and_then(|data| chunk::read(data).ok()?.id);
                data.zip(id).map_or_else(Box::default, |(data, id)| quoted(&data[id]))
            }
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

/// A name as it stands in JSON.
fn quoted(text: &[u8]) -> Box<str> {
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or_default();
    name_of(std::str::from_utf8(text).unwrap_or_default())
}

fn name_of(text: &str) -> Box<str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    if text.len() <= GENERATION_MAX && text.bytes().all(plain) { text.into() } else { Box::default() }
}
