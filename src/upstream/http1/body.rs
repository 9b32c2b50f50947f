//! An answer's body: read by whoever wants it, from the socket itself. Dropped before its end, it closes the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};

use super::connection::{Connection, STREAM_READ_BYTES, WHOLE_READ_BYTES};
use super::framing::{Decoder, Taken};
use super::pool::Place;
use super::{Error, Fault};

/// A read of no more than this, as one of a token's event, goes where the ones before it were once their reader is done with them.
const ROOM_BYTES: usize = 1024;

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    /// None once the body has ended, well or not.
    open: Option<Open>,
    /// Data that came with the head.
    first: Bytes,
    /// Where small reads go.
    room: BytesMut,
    /// What is told behind the data that came before it.
    fault: Option<Fault>,
    is_wanted_whole: bool,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    decoder: Decoder,
    /// Where the connection waits for a next request, if it may.
    place: Option<Place>,
}

/// What a read came to.
enum Step {
    /// More will come.
    Partial,
    /// The body has ended, and nothing stands behind it if so it says.
    Whole {
        is_exact: bool,
    },
    Fault(Fault),
}

impl Body {
    /// What follows a head, of which `rest` was read with it.
    pub(super) fn new(
        connection: Connection,
        mut decoder: Decoder,
        place: Option<Place>,
        rest: &[u8],
    ) -> Self {
        let mut room = BytesMut::new();
        let (first, step) = match (rest, decoder.is_empty()) {
            ([], false) => (Bytes::new(), Step::Partial),
            ([], true) => (Bytes::new(), Step::Whole { is_exact: true }),
            (rest, _) => step(&mut decoder, &mut room, rest),
        };
        let open = Some(Open { connection, decoder, place });
        let mut body = Self { open, first, room, fault: None, is_wanted_whole: false };
        body.take(step);
        body
    }

    /// Nothing is done with this body before all of it is here: more is read at a time.
    pub fn want_whole(&mut self) {
        self.is_wanted_whole = true;
    }

    /// Nothing more of it is of interest, since what it says is whole. Where only its end is missing, the connection may wait for
    /// that and be used again.
    pub fn finished(mut self) {
        let Some(Open { connection, decoder, place: Some(place) }) = self.open.take() else { return };
        if connection.is_sent() && self.first.is_empty() && self.fault.is_none() {
            place.give_unfinished(connection, decoder);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Partial => return,
            Step::Fault(fault) => self.fault = Some(fault),
            Step::Whole { .. } => {}
        }
        let Some(Open { connection, place, .. }) = self.open.take() else { return };
        // Bytes behind an answer belong to nobody: they, or what is left of the request, are the connection's end.
        if let (Some(place), Step::Whole { is_exact: true }, true) = (place, step, connection.is_sent()) {
            place.give(connection);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        loop {
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Some(Err(fault.into())));
            }
            let Some(Open { connection, decoder, .. }) = &mut self.open else { return Poll::Ready(None) };
            let room = &mut self.room;
            connection.poll_rest(cx);
            let read = if self.is_wanted_whole {
                connection.poll_read::<WHOLE_READ_BYTES, _>(cx, |read| step(decoder, room, read))
            } else {
                connection.poll_read::<STREAM_READ_BYTES, _>(cx, |read| step(decoder, room, read))
            };
            match ready!(read) {
                Ok((data, step)) => {
                    self.take(step);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Err(error) => {
                    self.open = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// The data in what was `read`, and what that means for the body; a read of nothing is the connection's end.
fn step(decoder: &mut Decoder, room: &mut BytesMut, read: &[u8]) -> (Bytes, Step) {
    if read.is_empty() {
        return (Bytes::new(), decoder.end().map_or_else(Step::Fault, |()| Step::Whole { is_exact: false }));
    }
    let (taken, data) = if read.len() > ROOM_BYTES {
        let mut data = Vec::with_capacity(read.len());
        (decoder.take(read, &mut data), Bytes::from(data))
    } else {
        if room.capacity() < read.len() {
            // Where nobody has any of it any more, this is the same memory again.
            room.reserve(ROOM_BYTES);
        }
        (decoder.take(read, room), room.split().freeze())
    };
    let step = match taken {
        Ok(Taken::Partial) => Step::Partial,
        Ok(Taken::Whole(bytes)) => Step::Whole { is_exact: bytes == read.len() },
        Err(fault) => Step::Fault(fault),
    };
    (data, step)
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none() && self.first.is_empty() && self.fault.is_none()
    }
}
