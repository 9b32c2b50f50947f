//! Faces: endpoints of another shape than chat completions, served by it. A face turns a request into a chat completion on
//! the way in, and the answer, its stream or the failure back into its own shape on the way out.
//!
//! Between the two the gateway sees chat only: routing, fallback, metering and the bill know of no face. Pure: ids, times
//! and counts are arguments. A new face is a [`Surface`], a [`Face`] and a [`Writer`] variant, and its path in `gateway/target`.

use bytes::Bytes;
use http::StatusCode;

use crate::units::{NanoUsd, Usage};

use super::body::Error;
use super::{messages, responses};

/// The shape that a caller speaks, known by the path: what errors look like, before anything else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Surface {
    /// OpenAI's own endpoints, which need no face.
    #[default]
    Plain,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses, whose errors are the plain ones.
    Responses,
}

/// A request of another shape, as far as its answer needs to know of it.
#[derive(Debug, Clone)]
pub enum Face {
    /// Anthropic's Messages.
    Messages(messages::Face),
    /// OpenAI's Responses.
    Responses(responses::Face),
}

/// A face cannot tell a provider's answer, for this reason: it ends as broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untold(pub &'static str);

impl Untold {
    /// The answer, or a chunk of it, is no chat completion.
    pub const SHAPE: Self = Self("the answer had another shape than a chat completion's");
}

/// Images in a prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Images {
    /// How many.
    pub count: u64,
    /// Bytes of them that stand in the body.
    pub bytes: u64,
}

/// What is known when an answer begins.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The request's id; an answer's own id is made from it.
    pub request_id: &'a str,
    /// The wall clock, in seconds since 1970.
    pub at_s: i64,
    /// Our estimate of the prompt's tokens.
    pub prompt_tokens: u64,
}

/// What is charged for an answer: known at its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Tokens.
    pub usage: Usage,
    /// In nano-dollars; `None`: nobody knows a price.
    pub cost: Option<NanoUsd>,
    /// Whether the counts are our own, because the provider reported none or absurd ones.
    pub estimated: bool,
}

/// A failure, in the words that every shape is made from.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The status; in mid-stream what it would have been.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub kind: &'a str,
    /// The member at fault.
    pub param: Option<&'a str>,
    /// Our code.
    pub code: &'a str,
    /// For people.
    pub message: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

impl Surface {
    /// Reads a request's body: as chat completions understands it, and the face for its answer. A plain body is passed
    /// on as it is.
    pub fn translate(self, body: Bytes, depth_max: usize) -> Result<(Bytes, Option<Box<Face>>), Error> {
        match self {
            Self::Plain => Ok((body, None)),
            Self::Messages => {
                let (chat, face) = messages::translate(&body, depth_max, messages::Purpose::Answer)?;
                Ok((chat, Some(Box::new(Face::Messages(face)))))
            }
            Self::Responses => {
                let (chat, face) = responses::translate(&body, depth_max)?;
                Ok((chat, Some(Box::new(Face::Responses(face)))))
            }
        }
    }

    /// The body of an error in this shape; `None` for the plain one, whose errors `api/envelope` writes.
    pub fn error(self, said: &Said<'_>) -> Option<Bytes> {
        match self {
            Self::Plain | Self::Responses => None,
            Self::Messages => Some(messages::error(said)),
        }
    }
}

impl Face {
    /// Its word in records, where a plain endpoint has its own.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Messages(_) => "messages",
            Self::Responses(_) => "responses",
        }
    }

    /// Tags that the request named, of which its translation says nothing.
    pub fn tags(&self) -> &[(Box<str>, Box<str>)] {
        match self {
            Self::Messages(face) => &face.tags,
            Self::Responses(_) => &[],
        }
    }

    /// The images in its prompt, whose bytes tell nothing of their tokens.
    pub fn images(&self) -> Images {
        match self {
            Self::Messages(face) => face.images,
            Self::Responses(face) => face.images(),
        }
    }

    /// The request as it came, where some providers speak its API themselves.
    pub fn native(&self) -> Option<&responses::Native> {
        match self {
            Self::Messages(_) => None,
            Self::Responses(face) => Some(&face.native),
        }
    }

    /// A writer for a stream that begins now.
    pub fn writer(&self, start: &Start<'_>) -> Writer {
        match self {
            Self::Messages(face) => Writer::Messages(Box::new(messages::Writer::new(face, start))),
            Self::Responses(face) => Writer::Responses(Box::new(responses::Writer::new(face, start))),
        }
    }

    /// A whole chat completion in this shape.
    pub fn whole(&self, chat: &[u8], start: &Start<'_>, tally: &Tally) -> Result<Bytes, Untold> {
        match self {
            Self::Messages(face) => face.whole(chat, start, tally),
            Self::Responses(face) => face.whole(chat, start, tally),
        }
    }
}

/// Turns the events of one chat stream into those of a face. All methods append whole events to `out`, or nothing.
#[derive(Debug)]
pub enum Writer {
    /// Anthropic's Messages.
    Messages(Box<messages::Writer>),
    /// OpenAI's Responses.
    Responses(Box<responses::Writer>),
}

impl Writer {
    /// One chat chunk: the data of an event, JSON. An upstream's own error is told as [`Self::failed`] would.
    pub fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untold> {
        match self {
            Self::Messages(writer) => writer.event(data, out),
            Self::Responses(writer) => writer.event(data, out),
        }
    }

    /// The upstream says that it is still there.
    pub fn alive(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.alive(out),
            Self::Responses(writer) => writer.alive(out),
        }
    }

    /// The stream has ended well.
    pub fn done(&mut self, tally: &Tally, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.done(tally, out),
            Self::Responses(writer) => writer.done(tally, out),
        }
    }

    /// The stream has broken. Says nothing where a fault has been told already.
    pub fn failed(&mut self, said: &Said<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.failed(said, out),
            Self::Responses(writer) => writer.failed(said, out),
        }
    }
}

impl From<messages::Face> for Face {
    fn from(face: messages::Face) -> Self {
        Self::Messages(face)
    }
}
