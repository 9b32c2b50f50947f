//! The body of a response: bytes that are all here, or a stream under way.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::StreamBody;

/// A body of any of the kinds a caller gets.
pub enum RelayBody {
    /// Bytes that are all here.
    Whole(VecDeque<Bytes>),
    /// A stream under way.
    Stream(Box<StreamBody>),
}

impl RelayBody {
    /// A body of one piece.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::pieces([bytes.into()])
    }

    /// A body of several pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self::Whole(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Self::Stream(stream) => stream.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(pieces) => pieces.is_empty(),
            Self::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
